"""From the sums of a tile's five rows to an int8 product, and from sums to the 18 bits of a lane."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import TRITS
from ..technology.shifter import ShiftInto


__all__ = ["COMBINER_LATENCY", "Combiner", "NARROW_LATENCY", "Narrow"]


COMBINER_LATENCY = 5  # cycles from the rows' sums to the product
NARROW_LATENCY = 2


class Combiner(wiring.Component):
    """o = i[0] + 3 i[1] + 9 i[2] + 27 i[3] + 81 i[4], five cycles later: five rows are the digits of int8 weights.

    A drawing of the cycles; each name is a register, and 8 additions do it::

        pair_0 = i0 + 2 i1     low  = pair_0 + i1     .                     near = low + upper     o = near + 8 upper
        pair_1 = i2 + 2 i3     high = pair_1 + i3     upper = high + nine
        nine = i4 + 8 i4

    Parameters
    ----------
    width : int
        Bits of a row's sum.
    to : int
        Bits of the product.

    Members
    -------
    i : In(signed(width)), five
    show : In(1)
        A cycle before ``o``: else it is 0.
    o : Out(signed(to))
    """

    def __init__(self, *, width, to):
        super().__init__({"i": In(signed(width)).array(TRITS), "show": In(1), "o": Out(signed(to))})

    def elaborate(self, platform):
        m = Module()

        def register(value, name):
            stored = Signal.like(value, name=name, reset_less=True)
            m.d.sync += stored.eq(value)
            return stored

        def add(a, b, places):
            """a + (b << places), in so many places less."""
            return Cat(a[:places], (a >> places) + b).as_signed()

        i, to = self.i, len(self.o)
        pair_0, pair_1 = register(add(i[0], i[1], 1), "pair_0"), register(add(i[2], i[3], 1), "pair_1")
        nine = register(register(add(i[4], i[4], 3), "nine"), "later_nine")
        second, fourth = register(i[1], "second"), register(i[3], "fourth")
        low, high = register(pair_0 + second, "low"), register(pair_1 + fourth, "high")
        upper = register(high + nine, "upper")
        near = register((register(low, "later_low") + upper)[:to].as_signed(), "near")
        o = Signal.like(self.o, reset_less=True)
        m.d.sync += o.eq(Mux(self.show, add(near, register(upper, "later_upper"), 3), 0))
        m.d.comb += self.o.eq(o)
        return m


class Narrow(wiring.Component):
    """Sums with what rounds them, shifted right and saturated, two cycles later.

    With half of 2 ** ``shift`` added to a sum before this is golden.lanes.narrow_sums.

    Parameters
    ----------
    width : int
        Bits of a sum.
    to : int
        Bits of a lane.

    Members
    -------
    i : In(signed(width))
    shift : In
        At most what brings ``width`` to ``to`` bits. Holds while sums pass.
    o : Out(signed(to))
    """

    def __init__(self, *, width, to):
        self.to = to
        super().__init__({"i": In(signed(width)), "shift": In(range(max(width - to, 0) + 1)), "o": Out(signed(to))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.shifter = shifter = ShiftInto(width=len(self.i), to=self.to, places=len(self.shift))
        m.d.comb += [shifter.i.eq(self.i), shifter.shift.eq(self.shift)]
        shifted, o = Signal.like(self.o, reset_less=True), Signal.like(self.o, reset_less=True)
        beyond, negative = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [shifted.eq(shifter.o), beyond.eq(shifter.beyond), negative.eq(self.i[-1]),
                     o.eq(Mux(beyond, Cat((~negative).replicate(self.to - 1), negative), shifted))]
        m.d.comb += self.o.eq(o)
        return m
