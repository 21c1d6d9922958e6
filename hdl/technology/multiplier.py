"""A signed multiplier with registers, as DSP blocks have them."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["MULTIPLIER_LATENCY", "Multiplier"]


MULTIPLIER_LATENCY = 3  # cycles from the factors to the product, one less where it is not pipelined


class Multiplier(wiring.Component):
    """o = a b, MULTIPLIER_LATENCY later: registers before, within and behind the product.

    Parameters
    ----------
    width : int
        Bits of a factor.
    pipelined : bool
        Whether there is the register within.

    Members
    -------
    a, b : In(signed(width))
    o : Out(signed(2 * width))
    """

    def __init__(self, *, width, pipelined=True):
        self.width, self.pipelined = width, pipelined
        super().__init__({"a": In(signed(width)), "b": In(signed(width)), "o": Out(signed(2 * width))})

    def elaborate(self, platform):
        m = Module()
        a, b = (Signal(signed(self.width), name=name, reset_less=True) for name in ("factor_a", "factor_b"))
        product, o = (Signal.like(self.o, name=name, reset_less=True) for name in ("product", "registered"))
        if self.pipelined:
            m.d.sync += product.eq(a * b)
        else:
            m.d.comb += product.eq(a * b)
        m.d.sync += [a.eq(self.a), b.eq(self.b), o.eq(product)]
        m.d.comb += self.o.eq(o)
        return m
