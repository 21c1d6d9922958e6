"""Multipliers: their latency and products, and the ECP5's against the plain one with a model of its cell."""

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hdl.build.verilog import generate
from setun.hdl.technology import ecp5
from setun.hdl.technology.multiplier import MULTIPLIER_LATENCY, Multiplier
from setun.sim.netlist.netlist import cells
from setun.sim.rtl.simulator import Simulator
from setun.sim.verify.streams import simulate


EXTREMES = [-(1 << 17), 1 - (1 << 17), -1, 0, 1, (1 << 17) - 1]
FACTOR_BYTES, PRODUCT_BYTES = 3, 5


class Port(wiring.Component):
    """Takes both factors, three bytes each, and gives the product after six cycles, in five bytes."""

    def __init__(self, multiplier):
        self.multiplier = multiplier
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiplier = multiplier = self.multiplier
        record, left = Signal(8 * 2 * FACTOR_BYTES), Signal(range(2 * FACTOR_BYTES + 1), init=2 * FACTOR_BYTES)
        reply, sending, wait = Signal(8 * PRODUCT_BYTES), Signal(range(PRODUCT_BYTES + 1)), Signal(range(6))
        m.d.comb += [multiplier.a.eq(record), multiplier.b.eq(record[8 * FACTOR_BYTES:]),
                     self.i.ready.eq(left != 0), self.o.valid.eq(sending != 0), self.o.payload.eq(reply)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [record.eq(Cat(record[8:], self.i.payload)), left.eq(left - 1), wait.eq(5)]
        with m.Elif((left == 0) & (wait != 0)):
            m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 1):
                m.d.sync += [reply.eq(multiplier.o), sending.eq(PRODUCT_BYTES)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [reply.eq(reply >> 8), sending.eq(sending - 1)]
            with m.If(sending == 1):
                m.d.sync += left.eq(2 * FACTOR_BYTES)
        return m


@pytest.mark.parametrize("width, pipelined", [(18, True), (17, False)])
def test_latency(width, pipelined):
    multiplier, rng = Multiplier(width=width, pipelined=pipelined), np.random.default_rng(0)
    factors, found = rng.integers(-1 << width - 1, 1 << width - 1, (50, 2)).tolist(), []
    latency = MULTIPLIER_LATENCY - (not pipelined)

    async def drive(ctx):
        for a, b in factors:
            ctx.set(multiplier.a, a)
            ctx.set(multiplier.b, b)
            await ctx.tick()
            found.append(ctx.get(multiplier.o))

    simulate(multiplier, drive)
    assert found[latency - 1:] == [a * b for a, b in factors][:len(factors) - latency + 1]


@pytest.mark.parametrize("width, pipelined", [(18, True), (17, False)])
def test_ecp5(width, pipelined):
    port, rng = Port(ecp5.Multiplier(width=width, pipelined=pipelined)), np.random.default_rng(1)
    low = -1 << width - 1
    factors = [(max(a, low), min(b, ~low)) for a in EXTREMES for b in EXTREMES]
    factors = [(min(a, ~low), max(b, low)) for a, b in factors] + rng.integers(low, -low, (60, 2)).tolist()
    verilog = generate(port, "top")
    simulator = Simulator(port, "top", sources={"top.v": verilog, "cells.v": cells(ecp5.FAMILY, verilog)})
    simulator.reset()
    sent = b"".join((factor & 0xffffff).to_bytes(FACTOR_BYTES, "little") for pair in factors for factor in pair)
    reply = simulator.exchange(sent, want=PRODUCT_BYTES * len(factors), limit=10_000)
    simulator.close()
    found = [int.from_bytes(reply[first:first + PRODUCT_BYTES], "little", signed=True)
             for first in range(0, len(reply), PRODUCT_BYTES)]
    assert found == [a * b for a, b in factors]
