"""From the sums of a tile's five rows to an int8 product, and from sums to the 18 bits of a lane."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import TRITS


__all__ = ["COMBINER_LATENCY", "Combiner", "NARROW_LATENCY", "NARROW_SHIFT_BITS", "Narrow"]


COMBINER_LATENCY = 4  # cycles from the rows' sums to the product
COMBINED_BITS = 8  # that a sum of rows has more than a row: 1 + 3 + 9 + 27 + 81 is 121
NARROW_LATENCY = 3
NARROW_SHIFT_BITS = 5


class Combiner(wiring.Component):
    """o = i[0] + 3 i[1] + 9 i[2] + 27 i[3] + 81 i[4], four cycles later: five rows are the digits of int8 weights.

    A drawing of the cycles; each name is a register::

        pair_0 = i0 + i1          low  = pair_0 + 2 i1         low + high        o
        pair_1 = i2 + i3          high = pair_1 + 2 i3         8 high + top      = both
        quint  = i4 + 4 i4        top  = i4 + 16 quint

    Parameters
    ----------
    width : int
        Bits of a row's sum.

    Members
    -------
    i : In(signed(width)), five
    o : Out(signed(width + 8))
    """

    def __init__(self, *, width):
        super().__init__({"i": In(signed(width)).array(TRITS), "o": Out(signed(width + COMBINED_BITS))})

    def elaborate(self, platform):
        m = Module()

        def register(value, name):
            stored = Signal.like(value, name=name, reset_less=True)
            m.d.sync += stored.eq(value)
            return stored

        i = self.i
        pair_0, pair_1 = register(i[0] + i[1], "pair_0"), register(i[2] + i[3], "pair_1")
        quint = register(i[4] + (i[4] << 2), "quint")
        second, fourth, fifth = (register(i[row], f"row_{row}") for row in (1, 3, 4))
        low, high = register(pair_0 + (second << 1), "low"), register(pair_1 + (fourth << 1), "high")
        top = register(fifth + (quint << 4), "top")
        near = register(low + high, "near")  # 9 high is high and 8 high
        far = register((high << 3) + top, "far")
        m.d.comb += self.o.eq(register((near + far)[:len(self.o)].as_signed(), "both"))
        return m


class Narrow(wiring.Component):
    """golden.lanes.narrow_sums, three cycles later: shifted right, rounded half up, saturated.

    Parameters
    ----------
    width : int
        Bits of a sum.
    to : int
        Bits of a lane.

    Members
    -------
    i : In(signed(width))
    shift : In(5)
        Holds while sums pass.
    o : Out(signed(to))
    """

    def __init__(self, *, width, to):
        self.to = to
        super().__init__({"i": In(signed(width)), "shift": In(NARROW_SHIFT_BITS), "o": Out(signed(to))})

    def elaborate(self, platform):
        m = Module()
        shifted = Signal(signed(len(self.i) + 1), reset_less=True)  # with the bit that decides the rounding
        rounded = Signal(signed(len(self.i) + 1), reset_less=True)
        o = Signal.like(self.o, reset_less=True)
        beyond = rounded[self.to - 1:]
        m.d.sync += [
            shifted.eq(Cat(C(0, 1), self.i).as_signed() >> self.shift),
            rounded.eq((shifted >> 1) + shifted[0]),
            o.eq(Mux(beyond.all() | ~beyond.any(), rounded, Cat((~rounded[-1]).replicate(self.to - 1), rounded[-1]))),
        ]
        m.d.comb += self.o.eq(o)
        return m
