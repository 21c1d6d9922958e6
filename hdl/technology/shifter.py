"""A shift to the right that leaves fewer bits, for any technology."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["ShiftInto", "differ"]


def differ(bits):
    """Whether bits of a number, the sign among them, are not all the same."""
    return ~(bits.all() | ~bits.any())


class ShiftInto(wiring.Component):
    """o = i >> shift, rounded down, if ``to`` bits hold that; otherwise ``beyond`` is set. Combinational.

    Each place of ``shift`` only keeps what the lower ones can still bring into ``to`` bits: a multiplexer a bit.

    Parameters
    ----------
    width, to : int
        Bits of ``i`` and ``o``.
    places : int
        Bits of ``shift``.

    Members
    -------
    i : In(signed(width))
    shift : In(places)
    o : Out(signed(to))
    beyond : Out(1)
    """

    def __init__(self, *, width, to, places):
        super().__init__({"i": In(signed(width)), "shift": In(places), "o": Out(signed(to)), "beyond": Out(1)})

    def elaborate(self, platform):
        m = Module()
        value, beyond = self.i, C(0, 1)
        for place in reversed(range(len(self.shift))):
            step, shifts = 1 << place, self.shift[place]
            bits = max(len(value) - step, len(self.o) + step - 1)
            if bits < len(value):
                beyond = beyond | Mux(shifts, differ((value >> step)[bits - 1:]), differ(value[bits - 1:]))
            left = Signal(signed(bits), name=f"left_{place}")
            m.d.comb += left.eq(Mux(shifts, value >> step, value))
            value = left
        if len(value) > len(self.o):
            beyond = beyond | differ(value[len(self.o) - 1:])
        m.d.comb += [self.o.eq(value), self.beyond.eq(beyond)]
        return m
