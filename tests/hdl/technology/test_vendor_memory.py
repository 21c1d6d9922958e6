"""The vendors' memories against their plain twins, cycle by cycle, with models of the vendors' cells."""

import random
import re

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hdl.build.verilog import generate
from setun.hdl.technology import ecp5
from setun.hdl.technology import memory as plain
from setun.sim.netlist.netlist import cells
from setun.sim.rtl.simulator import Simulator


CASES = {  # depth, width, lanes
    "ecp5": (ecp5.FAMILY, ecp5.BlockMemory, plain.BlockMemory,
             [(2048, 9, 1), (1024, 17, 1), (8192, 32, 1), (510, 24, 1), (100, 41, 1), (16384, 3, 1), (3000, 7, 1)]),
    "ecp5-lanes": (ecp5.FAMILY, ecp5.BlockMemory, plain.BlockMemory,
                   [(1024, 9, 2), (512, 9, 4), (1000, 9, 4), (2048, 9, 2), (512, 18, 2), (700, 18, 2)]),
}
WORDS = 2 ** 14
CYCLES = 4 * WORDS
SEED_BITS = 64


class Pair(wiring.Component):
    """A memory and its twin: all words are written, in order, then each port is used in every other cycle, at random.

    No word is read in the cycle in which it is written.

    Members
    -------
    equal : Out(1)
        ``read_data`` is the same, or undefined: nothing was read yet.
    """

    def __init__(self, memory, twin, *, seed):
        self.memory, self.twin, self.seed = memory, twin, seed
        super().__init__({"equal": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory, m.submodules.twin = memory, twin = self.memory, self.twin

        def xorshift(state):  # Marsaglia (2003)
            state ^= (state << 13)[:SEED_BITS]
            state ^= state >> 7
            return state ^ (state << 17)[:SEED_BITS]

        first, second = (Signal(SEED_BITS, name=name, init=self.seed.getrandbits(SEED_BITS) | 1)
                         for name in ("first", "second"))
        m.d.sync += [first.eq(xorshift(first)), second.eq(xorshift(second))]

        filled = Signal(range(WORDS + 1))
        filling = filled != WORDS
        m.d.sync += filled.eq(filled + filling)
        words, enables = len(memory.write_address), len(memory.write_enable)
        write_address, read_address = first[:words] % memory.depth, first[words:2 * words] % memory.depth
        writes = Mux(first[-1], second[-enables:], 0)
        reads = second[-enables - 1] & ~filling & ~(writes.any() & (write_address == read_address))
        for each in (memory, twin):
            m.d.comb += [
                each.write_enable.eq(Mux(filling, ~C(0, enables), writes)),
                each.write_select.eq(filling | second[-enables - 3]),
                each.write_address.eq(Mux(filling, filled % memory.depth, write_address)),
                each.write_data.eq(second[:len(memory.write_data)]),
                each.read_enable.eq(reads),
                each.read_address.eq(read_address),
                each.output_enable.eq(second[-enables - 2]),
            ]

        word_known, data_known = Signal(), Signal()
        with m.If(memory.output_enable):
            m.d.sync += data_known.eq(word_known)
        with m.If(memory.read_enable):
            m.d.sync += word_known.eq(1)
        m.d.comb += self.equal.eq(~data_known | (memory.read_data == twin.read_data))
        return m


class Pairs(wiring.Component):
    """A byte a cycle: its bits are what the pairs' ``equal`` is, and ones."""

    def __init__(self, vendor, twin, shapes):
        self.vendor, self.twin, self.shapes = vendor, twin, shapes
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        seed, ones = random.Random(0), C(0xff, 8)
        pairs = []
        for number, (depth, width, lanes) in enumerate(self.shapes):
            shape = {"depth": depth, "width": width, "lanes": lanes}
            m.submodules[f"pair_{number}"] = pair = Pair(self.vendor(**shape), self.twin(**shape), seed=seed)
            pairs.append(pair.equal)
        m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(Cat(*pairs, ones)), self.i.ready.eq(1)]
        return m


def differs(case, change=lambda text: text):
    """Numbers of the shapes whose memories differ from their twins', with the Verilog as ``change`` makes it."""
    family, vendor, twin, shapes = CASES[case]
    pairs = Pairs(vendor, twin, shapes)
    verilog = change(generate(pairs, "top"))
    simulator = Simulator(pairs, "top", sources={"top.v": verilog, "cells.v": cells(family, verilog)})
    simulator.reset()
    equal = simulator.exchange(b"", want=CYCLES, limit=CYCLES + 1)
    simulator.close()
    return {number for number in range(len(shapes)) if not all(byte >> number & 1 for byte in equal)}


@pytest.mark.parametrize("case", CASES)
def test_equals_twin(case):
    assert not differs(case)


def test_comparison_can_fail():
    """Without the last register, and with two lanes' enables exchanged, of blocks that have several."""
    assert differs("ecp5", lambda text: text.replace('.REGMODE_B("OUTREG")', '.REGMODE_B("NOREG")')) == set(range(7))
    exchanged = {".ADA0(": ".ADA1(", ".ADA1(": ".ADA0("}
    wrong = differs("ecp5-lanes", lambda text: re.sub(r"\.ADA[01]\(", lambda match: exchanged[match[0]], text))
    assert wrong == {0, 1, 2}  # a lane of 18 bits has both enables


@pytest.mark.parametrize("component, shape, message", [
    (ecp5.BlockMemory, {"depth": 16385, "width": 1}, "the ECP5's block RAM has no 16385 words of 1 x 1 bits"),
    (ecp5.BlockMemory, {"depth": 100, "width": 8, "lanes": 2}, "no 100 words of 2 x 8 bits"),
    (ecp5.BlockMemory, {"depth": 100, "width": 9, "lanes": 3}, "no 100 words of 3 x 9 bits"),
])
def test_impossible_shapes(component, shape, message):
    with pytest.raises(ValueError, match=message):
        component(**shape)._MustUse__used = True
