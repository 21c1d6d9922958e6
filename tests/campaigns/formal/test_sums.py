"""Sums of products fit their registers, for all operands and as many of them as is stated."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from setun.hdl.array.engine import total_bits
from setun.hdl.config import GROUP, PRESETS, sum_width
from setun.hdl.technology.product import DOT_LATENCY, Accumulator, Dot
from setun.sim.verify.formal import Disproved, prove


MOST_BANKS = 64
LARGEST = 128  # of an activation


# Of dot products of the same widths, the last in a row has most to add to.
LINKS = {(sum_width(position), products, sum_width(position + products)): (position, products)
         for position in range(0, MOST_BANKS, GROUP) for products in range(1, GROUP + 1)}


class Link(wiring.Component):
    """A dot product of a row adds its own products to the sum of those before it.

    That it fits there too, and so the sum of any row, follows by induction over the position.

    Parameters
    ----------
    position, products : int
    """

    def __init__(self, position, products):
        self.position, self.products = position, products
        super().__init__({"i": In(signed(sum_width(position))), "non_zero": In(products), "sign": In(products),
                          "x": In(signed(8)).array(products)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dot = dot = Dot(position=self.position, products=self.products)
        m.d.comb += [dot.i.eq(self.i), dot.non_zero.eq(self.non_zero), dot.sign.eq(self.sign)]
        m.d.comb += [port.eq(x) for port, x in zip(dot.x, self.x, strict=True)]
        total, width = C(0, signed(1)), len(dot.o) + 2
        for index, x in enumerate(self.x):
            total = total + Mux(self.non_zero[index], Mux(self.sign[index], -x, x), 0)
        for stage in range(DOT_LATENCY):
            m.d.sync += (later := Signal(signed(width), name=f"own_{stage}", reset_less=True)).eq(total)
            total = later
        if self.position:
            m.d.sync += (later := Signal(signed(width), name="total", reset_less=True)).eq(total + self.i)
            total = later
        before, reach = LARGEST * self.position, LARGEST * (self.position + self.products)
        m.d.comb += [Assume((self.i <= before) & (self.i >= -before)), Assert(dot.o == total), Assert(total <= reach),
                     Assert(total >= -reach), Assert(~dot.o_carry)]
        return m


@pytest.mark.parametrize("position, products", LINKS.values())
def test_link(position, products):
    prove(Link(position, products), f"link_{position}_{products}", depth=DOT_LATENCY + 1)


class Total(wiring.Component):
    """Accumulates sums of at most ``banks`` products each, ``columns`` in all since ``first``.

    Parameters
    ----------
    config : Config
    width : int
        Bits of the accumulator.
    """

    def __init__(self, config, width):
        self.config, self.width = config, width
        super().__init__({"i": In(signed(sum_width(config.banks))), "enable": In(1), "first": In(1),
                          "products": In(range(config.banks + 1))})

    def elaborate(self, platform):
        m = Module()
        banks, columns = self.config.banks, self.config.columns
        m.submodules.accumulator = accumulator = Accumulator(products=banks, width=self.width)
        m.d.comb += [accumulator.i.eq(self.i), accumulator.enable.eq(self.enable), accumulator.first.eq(self.first)]
        total, count = Signal(signed(self.width + sum_width(banks))), Signal(range(columns + 1))
        began = Signal()
        more = Mux(self.first, 0, count) + self.products
        m.d.comb += [
            Assume(self.products <= banks), Assume(self.i <= LARGEST * self.products),
            Assume(self.i >= -LARGEST * self.products), Assume((more <= columns) & (began | self.first)),
        ]
        with m.If(self.enable):
            m.d.sync += [began.eq(1), count.eq(more), total.eq(Mux(self.first, 0, total) + self.i)]
        with m.If(began):
            m.d.comb += [Assert(accumulator.o == total), Assert(total <= LARGEST * count),
                         Assert(total >= -LARGEST * count), Assert(count <= columns)]
        return m


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_total(config):
    prove(Total(config, total_bits(config, 1)), f"total_{config.name}", depth=2)


def test_refutes_narrow():
    config = PRESETS["8x20"]
    with pytest.raises(Disproved, match="narrow: .* is not inductive"):
        prove(Total(config, total_bits(config, 1) - 1), "narrow", depth=2)
