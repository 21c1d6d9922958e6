"""Frames as runs of bytes that hold no END: SLIP, RFC 1055."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..protocol import END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE


__all__ = ["Framed", "SlipDecoder", "SlipEncoder"]


class Framed(data.Struct):
    """A byte of a body or, where ``end`` is set, the END after it.

    ``bad`` goes with ``end``: the body held an ESCAPE that escapes nothing, and is cut there.
    """
    data: 8
    end: 1
    bad: 1


class SlipDecoder(wiring.Component):
    """Bytes of the link to bodies, each followed by an END; setun.driver.frames.unescape.

    An END where there was no body gives an empty body. One byte a cycle, escapes included; a cycle from a byte to its
    item. A stalled item stops the input.

    Members
    -------
    i : In(stream.Signature(8))
    o : Out(stream.Signature(Framed))
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(Framed))

    def elaborate(self, platform):
        m = Module()
        byte, item = self.i.payload, self.o.payload
        escaped, bad = Signal(), Signal()
        advance = ~self.o.valid | self.o.ready
        m.d.comb += self.i.ready.eq(advance)
        with m.If(advance):
            m.d.sync += self.o.valid.eq(0)
        with m.If(advance & self.i.valid):
            m.d.sync += [item.data.eq(byte), item.end.eq(byte == END), item.bad.eq(bad | escaped), escaped.eq(0)]
            with m.If(byte == END):
                m.d.sync += [self.o.valid.eq(1), bad.eq(0)]
            with m.Elif(escaped):
                known = (byte == ESCAPED_END) | (byte == ESCAPED_ESCAPE)
                m.d.sync += [
                    item.data.eq(Mux(byte == ESCAPED_END, END, ESCAPE)),
                    self.o.valid.eq(known & ~bad),
                    bad.eq(bad | ~known),
                ]
            with m.Elif(byte == ESCAPE):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.sync += self.o.valid.eq(~bad)
        return m


class SlipEncoder(wiring.Component):
    """Bodies to bytes of the link, each between two ENDs: the first flushes what noise has left on the line;
    setun.driver.frames.escape.

    One byte of the link a cycle: a byte of the body a cycle, and one more for each that is escaped. The first END
    comes two cycles after the first byte of the body is offered, and that byte a cycle later.

    Members
    -------
    i : In(stream.Signature(Framed))
        ``bad`` is ignored.
    o : Out(stream.Signature(8))
    """

    i: In(stream.Signature(Framed))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        item, full = Signal(Framed, reset_less=True), Signal()
        special = Signal(reset_less=True)  # the item is escaped
        opened, escaped, advance = Signal(), Signal(), Signal()
        byte, mark = self.i.payload.data, ~opened | item.end
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(~full | advance & opened & (escaped | ~special)),
        ]
        with m.If(self.i.ready):
            m.d.sync += [item.eq(self.i.payload), full.eq(self.i.valid),
                         special.eq(((byte == END) | (byte == ESCAPE)) & ~self.i.payload.end)]
        with m.If(advance):
            m.d.sync += [
                self.o.valid.eq(full),
                self.o.payload.eq(Mux(mark, END, Mux(~special, item.data, Mux(
                    ~escaped, ESCAPE, Mux(item.data[0], ESCAPED_ESCAPE, ESCAPED_END))))),
            ]
        with m.If(advance & full):
            m.d.sync += [opened.eq(opened ^ mark), escaped.eq(opened & special & ~escaped)]
        return m
