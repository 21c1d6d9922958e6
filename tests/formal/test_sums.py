"""Sums of products fit their registers, for all operands and as many of them as is stated."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hdl.config import PRESETS
from hdl.product import Accumulator, Product, sum_width
from sim.formal import Disproved, prove


MOST_BANKS = 64
LARGEST = 128  # of an activation


# Of products of the same widths, the last in a chain has most to add to.
WIDTHS = {(sum_width(position), sum_width(position + 1)): position for position in range(MOST_BANKS)}


class Link(wiring.Component):
    """A product of a chain adds its own to the sum of those before it.

    That it fits there too, and so the sum of any chain, follows by induction over the position.

    Parameters
    ----------
    position : int
    """

    def __init__(self, position):
        self.position = position
        super().__init__({"i": In(signed(sum_width(position))), "non_zero": In(1), "sign": In(1), "x": In(signed(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.product = product = Product(position=self.position)
        non_zero, sign, begun = Signal(reset_less=True), Signal(reset_less=True), Signal()
        total, reach = Signal(signed(len(product.o) + 1), reset_less=True), LARGEST * self.position
        m.d.sync += [begun.eq(1), non_zero.eq(self.non_zero), sign.eq(self.sign),
                     total.eq(self.i + Mux(non_zero, Mux(sign, -self.x, self.x), 0))]
        m.d.comb += [product.i.eq(self.i), product.non_zero.eq(self.non_zero), product.sign.eq(self.sign),
                     product.x.eq(self.x), Assume((self.i <= reach) & (self.i >= -reach))]
        with m.If(begun):
            m.d.comb += [Assert(product.o == total), Assert(total <= reach + LARGEST),
                         Assert(total >= -reach - LARGEST)]
        return m


@pytest.mark.parametrize("position", WIDTHS.values())
def test_link(position):
    prove(Link(position), f"link_{position}", depth=2)


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
    prove(Total(config, config.accumulator_bits), f"total_{config.name}", depth=2)


def test_narrow():
    config = PRESETS["1x5"]
    with pytest.raises(Disproved, match="narrow: .* is not inductive"):
        prove(Total(config, config.accumulator_bits - 1), "narrow", depth=2)
