"""Frames of the link: header, payload and CRC."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..protocol import CRC_BYTES, HEADER_BYTES, MAX_PAYLOAD, WINDOW_BYTES, WINDOW_FRAMES, Error
from ..technology.memory import BLOCK_LATENCY
from ..technology.product import PORTABLE
from .crc import Crc
from .slip import Framed, SlipDecoder, SlipEncoder
from .stream_buffer import StreamBuffer


__all__ = ["FrameReceiver", "FrameTransmitter", "LinkHeader", "PREFIX_BYTES", "Status"]


PREFIX_BYTES = HEADER_BYTES + 1  # header and status
RING_BYTES = 2048  # a power of two: addresses wrap by themselves
SPARE_BYTES = 32  # more than comes before the ring is known to be full: three bodies of nothing but a bad escape and 3
assert WINDOW_BYTES + WINDOW_FRAMES * (PREFIX_BYTES - CRC_BYTES) <= RING_BYTES - SPARE_BYTES


class LinkHeader(data.Struct):
    """The header as it stands on the link."""
    kind: 8
    sequence: 8
    length: 16


class Status(data.Struct):
    """What is wrong with a frame."""
    error: Error
    unused: 5


class Ring(wiring.Component):
    """Ring buffer of RING_BYTES in block RAM, whose bytes can be taken back until they are committed.

    One byte a cycle in and out; the first byte comes out four cycles after ``commit``. There are no more than
    PREFIX_BYTES + MAX_PAYLOAD that are not committed.

    Members
    -------
    i : In(stream.Signature(8, always_ready=True))
    leap : In(1)
        With a byte: a place is left free behind it.
    full : Out(1)
        All but the last SPARE_BYTES were used two cycles ago, or before an ``amend`` or ``curtail`` then.
    amend : In(1)
        Write ``value`` to ``place``, counted from the first byte that is not committed. No byte is taken meanwhile.
    place : In(range(PREFIX_BYTES + 1))
    value : In(8)
    commit : In(1)
        Release the bytes that came. No byte is taken meanwhile, nor amended.
    curtail : In(1)
        Release those before ``place``, and forget the others. No byte is taken meanwhile, nor amended.
    o : Out(stream.Signature(8))
    """

    def __init__(self, technology):
        self.technology = technology
        super().__init__({"i": In(stream.Signature(8, always_ready=True)), "leap": In(1), "full": Out(1),
                          "amend": In(1), "place": In(range(PREFIX_BYTES + 1)), "value": In(8), "commit": In(1),
                          "curtail": In(1), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = self.technology.memory(depth=RING_BYTES, width=8)
        # One bit more than an address, to tell full from empty.
        committed, taken = (Signal(range(2 * RING_BYTES), name=name) for name in ("committed", "taken"))
        written, end, filled = Signal.like(committed), Signal.like(committed), Signal.like(committed)
        came = Signal(range(PREFIX_BYTES + MAX_PAYLOAD + 1))
        elsewhere = self.amend | self.curtail
        m.d.comb += [written.eq(committed + Mux(elsewhere, self.place, came)), filled.eq(end - taken)]
        # Through a register, for the block RAM may lie far away: a byte is there when it is committed.
        m.d.sync += [
            storage.write_enable.eq(self.i.valid | self.amend),
            storage.write_address.eq(written),
            storage.write_data.eq(Mux(self.amend, self.value, self.i.payload)),
        ]
        with m.If(self.i.valid):
            m.d.sync += came.eq(came + Mux(self.leap, 2, 1))
        with m.If(self.commit | self.curtail):
            m.d.sync += [committed.eq(written), came.eq(0)]
        with m.If(~elsewhere):
            m.d.sync += end.eq(written)
        m.d.sync += self.full.eq(filled[-1] | filled[ceil_log2(SPARE_BYTES):-1].all())

        m.submodules.stage = stage = StreamBuffer(8)  # as far away
        wiring.connect(m, stage.o, wiring.flipped(self.o))
        valid, flows = Signal(BLOCK_LATENCY), Signal()  # what the memory has read; it goes on
        m.d.comb += [
            flows.eq(~stage.i.valid | stage.i.ready),
            storage.read_enable.eq(flows),
            storage.output_enable.eq(flows),
            storage.read_address.eq(taken),
            stage.i.payload.eq(storage.read_data),
            stage.i.valid.eq(valid[-1]),
        ]
        with m.If(flows):
            m.d.sync += [valid.eq(Cat(taken != committed, valid)), taken.eq(taken + (taken != committed))]
        return m


class Inspector(wiring.Component):
    """Judges a body, the cycle after its end.

    Members
    -------
    taken : In(1)
        ``item`` goes by.
    item : In(Framed)
    heads : Out(1)
        ``item`` is the last byte of a header.
    stored : Out(1)
        It is a byte of the header, or of a payload of MAX_PAYLOAD at most.
    found : Out(1)
        A body ended that is not empty. The cycle after, and no item goes by in it; until one does, the following tell
        of that body.
    status : Out(Status)
    named : Out(range(3))
        How much came of kind and sequence.
    """

    taken: In(1)
    item: In(Framed)
    heads: Out(1)
    stored: Out(1)
    found: Out(1)
    status: Out(Status)
    named: Out(range(3))

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = Crc()
        item, whole = self.item, HEADER_BYTES + CRC_BYTES
        count, inside = Signal(range(whole + 1)), Signal()  # bytes of the body, up to ``whole``; past the header
        ended = self.taken & item.end
        left = Signal(range(1 - CRC_BYTES, MAX_PAYLOAD + 1))  # bytes of the payload; negative, of the CRC
        complete, over = Signal(), Signal()  # payload and CRC are; there is more
        wide, wide_low = Signal(), Signal(reset_less=True)  # length says more than MAX_PAYLOAD; its low byte does
        most_high, most_low = divmod(MAX_PAYLOAD, 256)
        m.d.comb += [
            self.heads.eq(count == HEADER_BYTES - 1),
            self.stored.eq(~item.end & (~inside | ~wide & (left > 0))),
            crc.valid.eq(self.taken & ~item.end),
            crc.start.eq(ended),
            crc.data.eq(item.data),
        ]
        with m.If(self.taken):
            m.d.sync += [
                count.eq(count + (count != whole)),
                complete.eq(inside & (left == 1 - CRC_BYTES)),
                over.eq(over | complete),
            ]
            with m.If(inside):
                m.d.sync += left.eq(left - ~over)  # a body of any length comes to its end
            with m.Elif(count == HEADER_BYTES - 2):
                m.d.sync += [left[:8].eq(item.data), wide_low.eq(item.data > most_low)]
            with m.Elif(self.heads):
                m.d.sync += [left[8:].eq(item.data), inside.eq(1),
                             wide.eq((item.data >= most_high + 1) | (item.data == most_high) & wide_low)]
            with m.If(item.end):
                m.d.sync += [signal.eq(0) for signal in (count, inside, complete, over, wide)]

        error = Signal(Error)
        with m.If(item.bad):
            m.d.comb += error.eq(Error.CRC)
        with m.Elif(count < HEADER_BYTES + CRC_BYTES):
            m.d.comb += error.eq(Error.LENGTH)
        with m.Elif(~crc.matches):
            m.d.comb += error.eq(Error.CRC)
        with m.Elif(~complete | over | wide):
            m.d.comb += error.eq(Error.LENGTH)
        m.d.sync += self.found.eq(ended & ((count != 0) | item.bad))
        with m.If(self.taken):
            m.d.sync += [self.status.error.eq(error), self.named.eq(Mux(count < 2, count, 2))]
        return m


class FrameReceiver(wiring.Component):
    """Bytes of the link to frames that were received whole; setun.driver.frames.Decoder.

    Every body that is not empty gives its header, which is kind, sequence and length (two bytes), a Status, and the
    payload. Of a frame that is not sound kind and sequence are as they came, or 0, and there is no payload: length is
    0. One byte a cycle in and out, and one more after each frame, up to seven where it is not sound. The first byte
    comes seven cycles after the END of its frame is taken. The input stalls when almost RING_BYTES wait, and loses
    nothing.

    What is wrong with a frame is told in this order: CRC for a bad escape, LENGTH for a body too short for header and
    CRC, CRC, LENGTH for a payload that is not as long as the header says or longer than MAX_PAYLOAD.

    Members
    -------
    i, o : stream.Signature(8)
    """

    def __init__(self, technology=PORTABLE):
        self.technology = technology
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.slip = slip = SlipDecoder()
        m.submodules.inspector = inspector = Inspector()
        m.submodules.ring = ring = Ring(self.technology)
        wiring.connect(m, wiring.flipped(self.i), slip.i)
        wiring.connect(m, ring.o, wiring.flipped(self.o))

        item, sound = slip.o.payload, inspector.status.error == Error.NONE
        # Before the status of a frame that is not sound, what is missing of its header is cleared, and its length.
        clears, place = Signal(), Signal(range(PREFIX_BYTES + 1), init=HEADER_BYTES)
        m.d.sync += [
            ring.i.valid.eq(inspector.taken & inspector.stored),
            ring.i.payload.eq(item.data),
            ring.leap.eq(inspector.heads),
            ring.commit.eq(inspector.found & sound),
            ring.curtail.eq(clears & (place == PREFIX_BYTES - 1)),
        ]
        m.d.comb += [
            slip.o.ready.eq(~ring.full & ~inspector.found & ~clears),
            inspector.item.eq(item),
            inspector.taken.eq(slip.o.valid & slip.o.ready),
            ring.amend.eq(inspector.found | clears & ~ring.curtail),
            ring.place.eq(place),
            ring.value.eq(Mux(place == HEADER_BYTES, inspector.status, 0)),
        ]
        with m.If(inspector.found & ~sound):
            m.d.sync += [clears.eq(1), place.eq(inspector.named)]
        with m.If(clears):
            m.d.sync += place.eq(place + 1)
        with m.If(ring.curtail):
            m.d.sync += [clears.eq(0), place.eq(HEADER_BYTES)]
        return m


class FrameTransmitter(wiring.Component):
    """Headers and payloads to bytes of the link; setun.driver.frames.encode.

    One byte of the link a cycle, but for one cycle before the CRC, which an escaped byte before it hides. The first END
    comes two cycles after the header is offered.

    Members
    -------
    i_header : In(stream.Signature(LinkHeader))
        Taken a cycle after the last of its bytes.
    i_payload : In(stream.Signature(Framed))
        ``length`` bytes a header, and an END.
    o : Out(stream.Signature(8))
    """

    i_header: In(stream.Signature(LinkHeader))
    i_payload: In(stream.Signature(Framed))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = Crc()
        m.submodules.slip = slip = SlipEncoder()
        wiring.connect(m, slip.o, wiring.flipped(self.o))
        header, payload = self.i_header, self.i_payload
        head, body, check, end = state = Signal(4, init=1)  # one-hot
        index, taken, done = Signal(range(HEADER_BYTES)), Signal(), Signal()  # of header or CRC, as long
        sent, checked = Signal.like(self.o.payload, reset_less=True), Signal()  # in the cycle before; and the CRC's
        byte, last = Signal(8), index == HEADER_BYTES - 1
        m.d.comb += [
            byte.eq(Mux(body, payload.payload.data, Value.cast(header.payload).word_select(index, 8))),
            slip.i.payload.data.eq(Mux(check, crc.crc[:8], byte)),
            slip.i.payload.end.eq(end),
            slip.i.valid.eq(check | end | head & header.valid | body & payload.valid & ~payload.payload.end),
            taken.eq(slip.i.valid & slip.i.ready),
            payload.ready.eq(body & (slip.i.ready | payload.payload.end)),
            crc.valid.eq(checked | check & taken),
            crc.data.eq(sent),
            crc.shift.eq(check),
            crc.start.eq(end),
            done.eq(Mux(body, payload.valid & payload.payload.end, taken & (last | end))),
        ]
        m.d.sync += [sent.eq(byte), checked.eq(taken & (head | body)),
                     header.ready.eq(taken & head & last)]
        with m.If(taken):
            m.d.sync += index.eq(index + 1)
        with m.If(done):
            m.d.sync += [state.eq(state.rotate_left(1)), index.eq(0)]
        return m
