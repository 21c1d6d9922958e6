"""Ternary x int8 products of a row, added up, and the accumulator at the row's end, for any technology."""

from typing import NamedTuple

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import sum_width
from .holding import Holding
from .memory import BlockMemory, LutMemory
from .multiplier import Multiplier
from .shifter import ShiftAdd
from .table import Table


__all__ = ["Accumulator", "AccumulatorSignature", "ChosenAdd", "DOT_LATENCY", "Dot", "DotSignature", "FoldedAdd",
           "LEVELS", "PORTABLE", "Technology"]


LEVELS = 2  # of the tree in a dot product: four products at most
DOT_LATENCY = 1 + LEVELS  # from the weights of the first dot product of a row to its sum; one more for the others


class DotSignature(wiring.Signature):
    """Ports of a dot product of up to four weights of a row: all weights come in the cycle of their activations.

    Members
    -------
    non_zero, sign : In(products)
        The weights.
    x : In(signed(8)), one for each
        The activations.
    i : In(signed)
        Sum of the row's products before, ``position`` of them, in the technology's own form, ``DOT_LATENCY`` cycles
        after the weights.
    i_carry : In(1)
        ``o_carry`` of the dot product before.
    o : Out(signed)
        Sum with these products, in the technology's own form: in the cycle of ``i`` where it is the first of the row,
        and else in the one after.
    o_carry : Out(1)
        What the next one and the accumulator need to know of that form, with ``o``.
    """

    def __init__(self, position, products):
        super().__init__({
            "non_zero": In(products),
            "sign": In(products),
            "x": In(signed(8)).array(products),
            "i": In(signed(sum_width(position))),
            "i_carry": In(1),
            "o": Out(signed(sum_width(position + products))),
            "o_carry": Out(1),
        })


class AccumulatorSignature(wiring.Signature):
    """Ports of an accumulator: ``o`` follows ``i`` after a cycle.

    Members
    -------
    i : In(signed)
        Sum of a row, in the technology's own form.
    i_carry : In(1)
        ``o_carry`` of the last dot product.
    enable : In(1)
        With ``i``: accumulate it.
    first : In(1)
        With ``i``: forget what was accumulated before.
    start : In(width)
        Added with the first. 0 where it is not connected.
    o : Out(signed(width))
    """

    def __init__(self, products, width):
        super().__init__({
            "i": In(signed(sum_width(products))),
            "i_carry": In(1),
            "enable": In(1),
            "first": In(1),
            "start": In(width),
            "o": Out(signed(width)),
        })


def _carried(a, b, carry):
    """a + b + carry with the carry into the adder."""
    return (Cat(C(1, 1), a).as_signed() + Cat(carry, b).as_signed())[1:].as_signed()


class Dot(wiring.Component):
    """Adds up to four products in a tree, and their sum to that of the row's products before, in two's complement.

    -x is ~x + 1: a sign inverts x and is a carry. Of four terms three have one, for the first is negated as it is, and
    three adders take them in; so the sum is exact, and no carry is left.

    Parameters
    ----------
    position : int
        Products before these in the row.
    products : int
        1 to 4.
    """

    def __init__(self, *, position, products):
        self.position, self.products = position, products
        super().__init__(DotSignature(position, products))

    def elaborate(self, platform):
        m = Module()
        nodes = []
        for index, x in enumerate(self.x):
            sign = self.sign[index]
            value = x ^ sign.replicate(8).as_signed() if index else Mux(sign, -x, x)  # all rows share one -x
            term, carry = Signal.like(value, name=f"term_{index}", reset_less=True), C(0, 1)
            m.d.sync += term.eq(value & self.non_zero[index].replicate(8).as_signed())
            if index:
                carry = Signal(name=f"carry_{index}", reset_less=True)
                m.d.sync += carry.eq(sign & self.non_zero[index])
            nodes.append((term, carry))
        for level in range(LEVELS):
            nodes = [self._add(m, f"{level}_{low}", *nodes[low:low + 2]) for low in range(0, len(nodes), 2)]
        (total, carry), = nodes
        if self.position:
            o = Signal.like(self.o, reset_less=True)
            m.d.sync += o.eq(self.i + total)
            m.d.comb += self.o.eq(o)
        else:
            m.d.comb += self.o.eq(total)
        return m

    def _add(self, m, name, left, right=None):
        """A node of the tree: a sum and the carry that is still to be added to it, in registers."""
        value = left[0] if right is None else _carried(left[0], *right)
        total = Signal.like(value, name=f"total_{name}", reset_less=True)
        m.d.sync += total.eq(value)
        if isinstance(left[1], Const):
            return total, left[1]
        carry = Signal(name=f"carry_{name}", reset_less=True)
        m.d.sync += carry.eq(left[1])
        return total, carry


class Accumulator(wiring.Component):
    """Accumulates the sums of a row.

    Parameters
    ----------
    products : int
        Products of the row.
    width : int
        Bits of the total.
    """

    def __init__(self, *, products, width):
        super().__init__(AccumulatorSignature(products, width))

    def elaborate(self, platform):
        m = Module()
        o = Signal.like(self.o, reset_less=True)
        with m.If(self.enable):
            m.d.sync += o.eq(Mux(self.first, self.start + self.i, o + self.i))
        m.d.comb += self.o.eq(o)
        return m


class FoldedAdd(wiring.Component):
    """o = total + (flip ? ~i : i), modulo 2 ** width. Combinational.

    Members
    -------
    total, i : In(signed(width))
    flip : In(1)
    o : Out(signed(width))
    """

    def __init__(self, *, width):
        super().__init__({"total": In(signed(width)), "i": In(signed(width)), "flip": In(1),
                          "o": Out(signed(width))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self.total + Mux(self.flip, ~self.i, self.i))
        return m


class ChosenAdd(wiring.Component):
    """o = total + (choose ? b : a) + carry, modulo 2 ** width. Combinational.

    Members
    -------
    total, a, b : In(signed(width))
    choose, carry : In(1)
    o : Out(signed(width))
    """

    def __init__(self, *, width):
        super().__init__({"total": In(signed(width)), "a": In(signed(width)), "b": In(signed(width)),
                          "choose": In(1), "carry": In(1), "o": Out(signed(width))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(_carried(self.total, Mux(self.choose, self.b, self.a), self.carry))
        return m


class Technology(NamedTuple):
    """The components that are written once more for a device where that pays."""
    dot: type = Dot
    accumulator: type = Accumulator
    folded_add: type = FoldedAdd
    chosen_add: type = ChosenAdd
    multiplier: type = Multiplier
    shift_add: type = ShiftAdd
    holding: type = Holding
    memory: type = BlockMemory
    lut_memory: type = LutMemory
    table: type = Table


PORTABLE = Technology()
