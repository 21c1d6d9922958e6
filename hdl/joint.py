"""Frames as one stream of bytes."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .frame import Header


__all__ = ["FrameBytes"]


class FrameBytes(wiring.Component):
    """For every frame its kind, sequence, length (two bytes), status, and then its payload.

    The status is the Error, and 0x80 where the frame is not decodable.

    Members
    -------
    i_header, i_payload : In
        From the FrameReceiver.
    o : Out(stream.Signature(8))
    """

    i_header: In(stream.Signature(Header))
    i_payload: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        header, place, left = self.i_header.payload, Signal(range(6)), Signal(16)
        status = Cat(header.error, C(0, 4), ~header.decodable)
        with m.If(left == 0):
            m.d.comb += [
                self.o.valid.eq(self.i_header.valid),
                self.o.payload.eq(Array([header.kind, header.sequence, header.length[:8], header.length[8:],
                                         status])[place]),
                self.i_header.ready.eq(self.o.ready & (place == 4)),
            ]
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += place.eq(place + 1)
                with m.If(place == 4):
                    m.d.sync += [place.eq(0), left.eq(header.length)]
        with m.Else():
            m.d.comb += [self.o.valid.eq(self.i_payload.valid), self.o.payload.eq(self.i_payload.payload),
                         self.i_payload.ready.eq(self.o.ready)]
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += left.eq(left - 1)
        return m
