"""Memories of the vendors' cells against their plain twins, cycle for cycle, with the cells' models."""

import random

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import memory
from hdl.boards import ecp5, ice40
from sim.netlist import cells
from sim.simulator import Simulator
from sim.verilog import generate


SHAPES = {
    ecp5.FAMILY: [{"depth": 2048, "width": 9}, {"depth": 1024, "width": 17}, {"depth": 8192, "width": 32},
                  {"depth": 510, "width": 24}, {"depth": 100, "width": 41}, {"depth": 16384, "width": 3},
                  {"depth": 3000, "width": 7}, {"depth": 1024, "width": 9, "lanes": 2},
                  {"depth": 512, "width": 9, "lanes": 4}, {"depth": 1000, "width": 9, "lanes": 4},
                  {"depth": 2048, "width": 9, "lanes": 2}],
    ice40.FAMILY: [{"depth": 16384, "width": 8, "lanes": 2}, {"depth": 300, "width": 8, "lanes": 1},
                   {"depth": 5000, "width": 8, "lanes": 4}],
}
STATE_BITS = 128


class Bench(wiring.Component):
    """Stirs each byte of ``i`` into a state that drives a memory and its twin; ``o`` says for each whether they differ.

    Addresses keep to a few at either end, so that what was written is also read.
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, vendor, twin, shape, *, single):
        self.vendor, self.twin, self.shape, self.single = vendor, twin, shape, single
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        depth, lanes = self.shape["depth"], self.shape.get("lanes", 1)
        m.submodules.vendor = vendor = self.vendor(**self.shape)
        m.submodules.twin = twin = self.twin(**self.shape)
        state = Signal(STATE_BITS, init=1)
        with m.If(self.i.valid):
            m.d.sync += state.eq(Cat(state[8:] ^ state[3:STATE_BITS - 5], self.i.payload ^ state[:8]))

        def address(bits):
            return Mux(bits[3], depth - 1 - bits[:3], bits[:3])

        write, read = state[:lanes].as_unsigned() & state[8].replicate(lanes), state[9]
        reads = read & ~(write.any() if self.single else write.any() & (address(state[16:20]) == address(state[20:24])))
        data = Cat(state[30:], state[40:], state[50:])
        for component in (vendor, twin):
            m.d.comb += [
                component.write_enable.eq(write), component.write_address.eq(address(state[16:20])),
                component.write_data.eq(data), component.read_enable.eq(reads),
                component.read_address.eq(address(state[20:24])), component.output_enable.eq(state[24]),
            ]
        word, known = Signal(), Signal()  # what is in the two registers was read, and not lost in a write since
        with m.If(reads):
            m.d.sync += word.eq(1)
        if self.single:
            with m.If(write.any()):
                m.d.sync += word.eq(0)
        with m.If(state[24]):
            m.d.sync += known.eq(word)
        m.d.comb += [self.i.ready.eq(1), self.o.valid.eq(self.i.valid),
                     self.o.payload.eq(Cat(known & (vendor.read_data != twin.read_data), known,
                                           known & vendor.read_data.any()))]
        return m


def outcome(family, vendor, shape):
    single = family is ice40.FAMILY
    twin = memory.SinglePortMemory if single else memory.BlockMemory
    bench = Bench(vendor, twin, shape, single=single)
    verilog = generate(Bench(vendor, twin, shape, single=single), "top")
    simulator = Simulator(bench, "top", sources={"top.v": verilog, "cells.v": cells(family, verilog)})
    simulator.reset()
    seen = simulator.exchange(random.Random(1958).randbytes(20_000), want=20_000, limit=30_000)
    simulator.close()
    return [byte & 1 for byte in seen], sum(byte >> 1 & 1 for byte in seen), sum(byte >> 2 for byte in seen)


@pytest.mark.parametrize("family, shape", [(family, shape) for family, shapes in SHAPES.items() for shape in shapes],
                         ids=lambda value: getattr(value, "name", None) or "x".join(map(str, value.values())))
def test_equals_twin(family, shape):
    vendor = ecp5.BlockMemory if family is ecp5.FAMILY else ice40.SinglePortMemory
    differ, compared, not_zero = outcome(family, vendor, shape)
    assert not any(differ)
    assert compared > 5_000 and not_zero > 2_000


def test_comparison_can_fail():
    """A memory whose words have another order of lanes."""
    class Swapped(ecp5.BlockMemory):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            wrapper = Module()
            wrapper.submodules.block = m
            return wrapper

        def _block(self, m, low):
            self.write_enable, kept = self.write_enable[::-1], self.write_enable
            try:
                return super()._block(m, low)
            finally:
                self.write_enable = kept

    differ, _, _ = outcome(ecp5.FAMILY, Swapped, {"depth": 512, "width": 9, "lanes": 4})
    assert any(differ)


@pytest.mark.parametrize("component, shape, message", [
    (ecp5.BlockMemory, {"depth": 16385, "width": 1}, "the ECP5's block RAM has no 16385 words of 1 x 1 bits"),
    (ecp5.BlockMemory, {"depth": 100, "width": 8, "lanes": 2}, "no 100 words of 2 x 8 bits"),
    (ecp5.BlockMemory, {"depth": 100, "width": 9, "lanes": 3}, "no 100 words of 3 x 9 bits"),
    (ice40.SinglePortMemory, {"depth": 16385, "width": 8}, "the iCE40's SPRAM has no 16385 words"),
    (ice40.SinglePortMemory, {"depth": 100, "width": 9}, "of lanes of a multiple of 4 bits"),
])
def test_impossible_shapes(component, shape, message):
    with pytest.raises(ValueError, match=message):
        component(**shape)._MustUse__used = True
