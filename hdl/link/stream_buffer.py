"""A register in a stream."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


__all__ = ["StreamBuffer"]


class StreamBuffer(wiring.Component):
    """Parts a stream in time, both ways: no path leads through it. An item a cycle; a cycle from input to output.

    Parameters
    ----------
    shape : ShapeLike

    Members
    -------
    i, o : stream.Signature(shape)
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        spare, full = Signal.like(self.i.payload, reset_less=True), Signal()  # what came while the output was stalled
        advance = ~self.o.valid | self.o.ready
        m.d.comb += self.i.ready.eq(~full)
        with m.If(advance):
            m.d.sync += [self.o.valid.eq(self.i.valid | full), self.o.payload.eq(Mux(full, spare, self.i.payload)),
                         full.eq(0)]
        with m.Elif(self.i.valid & ~full):
            m.d.sync += [spare.eq(self.i.payload), full.eq(1)]
        return m
