"""One ternary x int8 product of a systolic chain, and the accumulator at the chain's end, for any technology."""

from typing import NamedTuple

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .holding import Holding
from .memory import BlockMemory, SinglePortMemory


__all__ = ["Accumulator", "AccumulatorSignature", "FoldedAdd", "PORTABLE", "Product", "ProductSignature", "Technology",
           "sum_width"]


def sum_width(products):
    """Bits of a signed sum of ``products`` ternary x int8 products, which reaches +-128 each."""
    return (128 * products).bit_length() + 1 if products else 1


class ProductSignature(wiring.Signature):
    """Ports of a product: the trit comes a cycle before the activation and the partial sum.

    Members
    -------
    i : In(signed)
        Partial sum of the products before, in the technology's own form.
    i_sign : In(1)
        ``o_sign`` of the product before.
    non_zero, sign : In(1)
        The weight.
    x : In(signed(8))
        The activation, one cycle after the weight.
    o : Out(signed)
        Partial sum with this product, two cycles after the weight, in the technology's own form.
    o_sign : Out(1)
        What the next product and the accumulator need to know of that form, one cycle after the weight.
    """

    def __init__(self, position):
        super().__init__({
            "i": In(signed(sum_width(position))),
            "i_sign": In(1),
            "non_zero": In(1),
            "sign": In(1),
            "x": In(signed(8)),
            "o": Out(signed(sum_width(position + 1))),
            "o_sign": Out(1),
        })


class AccumulatorSignature(wiring.Signature):
    """Ports of an accumulator: ``o`` follows ``i`` after a cycle.

    Members
    -------
    i : In(signed)
        Sum of the chain, in the technology's own form.
    i_sign : In(1)
        ``o_sign`` of the last product, a cycle before ``i``.
    enable : In(1)
        With ``i``: accumulate it.
    first : In(1)
        With ``i``: forget what was accumulated before.
    o : Out(signed(width))
    """

    def __init__(self, products, width):
        super().__init__({
            "i": In(signed(sum_width(products))),
            "i_sign": In(1),
            "enable": In(1),
            "first": In(1),
            "o": Out(signed(width)),
        })


class Product(wiring.Component):
    """Adds or subtracts an activation, or neither: o = i + weight * x, in two's complement.

    -x is ~x + 1: the sign inverts x and is the carry into the adder.

    Parameters
    ----------
    position : int
        Products before this one in the chain; sets the width of the sum.
    """

    def __init__(self, *, position):
        self.position = position
        super().__init__(ProductSignature(position))

    def elaborate(self, platform):
        m = Module()
        non_zero, sign = Signal(reset_less=True), Signal(reset_less=True)
        o = Signal.like(self.o, reset_less=True)
        m.d.sync += [non_zero.eq(self.non_zero), sign.eq(self.sign)]
        m.d.comb += self.o.eq(o)
        if self.position:
            operand = Signal(signed(8))
            m.d.comb += operand.eq((self.x & non_zero.replicate(8).as_signed()) ^ sign.replicate(8).as_signed())
            total = Signal(signed(len(self.o) + 1))
            m.d.comb += total.eq(Cat(C(1, 1), self.i).as_signed() + Cat(sign, operand).as_signed())
            m.d.sync += o.eq(total[1:].as_signed())
        else:  # nothing to add to, and all rows share one -x
            m.d.sync += o.eq(Mux(non_zero, Mux(sign, -self.x, self.x), 0))
        return m


class Accumulator(wiring.Component):
    """Accumulates the sums of a chain of products.

    Parameters
    ----------
    products : int
        Length of the chain.
    width : int
        Bits of the total.
    """

    def __init__(self, *, products, width):
        super().__init__(AccumulatorSignature(products, width))

    def elaborate(self, platform):
        m = Module()
        o = Signal.like(self.o, reset_less=True)
        with m.If(self.enable):
            m.d.sync += o.eq(Mux(self.first, self.i, o + self.i))
        m.d.comb += self.o.eq(o)
        return m


class FoldedAdd(wiring.Component):
    """o = (first ? 0 : total) + (flip ? ~i : i), modulo 2 ** width. Combinational.

    Members
    -------
    total, i : In(signed(width))
    first, flip : In(1)
    o : Out(signed(width))
    """

    def __init__(self, *, width):
        super().__init__({"total": In(signed(width)), "i": In(signed(width)), "first": In(1), "flip": In(1),
                          "o": Out(signed(width))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(Mux(self.first, 0, self.total) + Mux(self.flip, ~self.i, self.i))
        return m


class Technology(NamedTuple):
    """The components that are written once more for a device where that pays."""
    product: type = Product
    accumulator: type = Accumulator
    folded_add: type = FoldedAdd
    holding: type = Holding
    memory: type = BlockMemory
    single_port_memory: type = SinglePortMemory


PORTABLE = Technology()
