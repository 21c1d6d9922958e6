"""Frames of the link: header, payload and CRC."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .codes import ByteDecoder
from .product import PORTABLE
from .registers import CRC_BYTES, HEADER_BYTES, MAX_PAYLOAD, WINDOW_FRAMES, Error, WeightsLayout
from .slip import Framed, SlipDecoder, SlipEncoder
from .stage import Stage


__all__ = ["FrameReceiver", "FrameTransmitter", "Header", "LinkHeader"]


CODES_AT = HEADER_BYTES + WeightsLayout.size // 8  # place of the first byte code in a body
LONGEST = HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES  # bytes of a body
RING_BYTES = 2 * MAX_PAYLOAD  # a power of two: addresses wrap by themselves
SPARE_BYTES = 4  # what comes before the ring is known to be full


class LinkHeader(data.Struct):
    """The header as it stands on the link."""
    kind: 8
    sequence: 8
    length: 16


class Header(data.Struct):
    """What is known of a frame that was received.

    Where ``error`` is not NONE, ``length`` is 0, ``kind`` and ``sequence`` are as they came, or 0. ``decodable``, of a
    sound frame: every byte of the payload behind the fields of WEIGHTS stands for trits.
    """
    kind: 8
    sequence: 8
    length: 16
    error: Error
    decodable: 1


class Ring(wiring.Component):
    """Ring buffer of RING_BYTES in block RAM, whose bytes can be taken back until they are committed.

    One byte a cycle in and out; the first byte comes out three cycles after ``commit``.

    Members
    -------
    i : In(stream.Signature(8, always_ready=True))
    full : Out(1)
        All but the last SPARE_BYTES are used, or were in the cycle before.
    commit : In(1)
        Release the bytes since the last ``commit``, but forget the last CRC_BYTES of them. No byte is taken meanwhile.
    drop : In(1)
        Forget all bytes since the last ``commit``. No byte is taken meanwhile.
    o : Out(stream.Signature(8))
    """

    def __init__(self, technology):
        self.technology = technology
        super().__init__({"i": In(stream.Signature(8, always_ready=True)), "full": Out(1), "commit": In(1),
                          "drop": In(1), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = self.technology.memory(depth=RING_BYTES, width=8)
        # One bit more than an address, to tell full from empty.
        written, committed, taken = (Signal(range(2 * RING_BYTES), name=name)
                                     for name in ("written", "committed", "taken"))
        filled = Signal.like(written)
        m.d.comb += [
            filled.eq(written - taken),
            storage.write_enable.eq(self.i.valid),
            storage.write_address.eq(written),
            storage.write_data.eq(self.i.payload),
        ]
        with m.If(storage.write_enable):
            m.d.sync += written.eq(written + 1)
        with m.If(self.commit):
            m.d.sync += [written.eq(written - CRC_BYTES), committed.eq(written - CRC_BYTES)]
        with m.If(self.drop):
            m.d.sync += written.eq(committed)
        m.d.sync += self.full.eq(filled >= RING_BYTES - SPARE_BYTES)

        valid = Signal()  # of what the memory has read
        advance = ~self.o.valid | self.o.ready
        m.d.comb += [
            storage.read_enable.eq(advance),
            storage.output_enable.eq(advance),
            storage.read_address.eq(taken),
            self.o.payload.eq(storage.read_data),
        ]
        with m.If(advance):
            m.d.sync += [valid.eq(taken != committed), self.o.valid.eq(valid)]
            with m.If(taken != committed):
                m.d.sync += taken.eq(taken + 1)
        return m


class Inspector(wiring.Component):
    """Reads the header of a body and judges the whole, the cycle after its end.

    Members
    -------
    taken : In(1)
        ``item`` goes by.
    item : In(Framed)
    stored : Out(1)
        ``item`` is a byte of the payload or the CRC, and there is room for it in a payload of MAX_PAYLOAD.
    found : Out(1)
        A body ended that is not empty; ``header`` is its own. The cycle after, and no item goes by in it.
    header : Out(Header)
    """

    taken: In(1)
    item: In(Framed)
    stored: Out(1)
    found: Out(1)
    header: Out(Header)

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        m.submodules.codes = codes = ByteDecoder()
        item, count = self.item, Signal(range(LONGEST + 2))  # bytes of the body; stops when there are too many
        inside, ended = Signal(), self.taken & item.end  # inside: past the header, and not past the longest body
        excess = Signal()  # past it
        head, expected = Signal(LinkHeader), Signal(range(2 ** 16 + HEADER_BYTES + CRC_BYTES), reset_less=True)
        recent, undecodable = Signal(CRC_BYTES), Signal()  # the last bytes may yet turn out to be the CRC
        m.d.comb += [
            self.stored.eq(~item.end & inside),
            crc.valid.eq(self.taken & ~item.end),
            crc.start.eq(ended),
            crc.data.eq(item.data),
            codes.code.eq(item.data),
        ]
        m.d.sync += expected.eq(head.length + HEADER_BYTES + CRC_BYTES)
        with m.If(self.taken):
            m.d.sync += [
                count.eq(count + ~excess),
                excess.eq(count >= LONGEST),
                inside.eq((count >= HEADER_BYTES - 1) & (count < LONGEST - 1)),
                recent.eq(Cat(~codes.valid & (count >= CODES_AT), recent)),
                undecodable.eq(undecodable | recent[-1]),
            ]
            with m.If(count < HEADER_BYTES):
                m.d.sync += head.as_value().word_select(count[:2], 8).eq(item.data)
            with m.If(item.end):
                m.d.sync += [signal.eq(0) for signal in (count, inside, excess, head, recent, undecodable)]

        error, header = Signal(Error), Signal(Header, reset_less=True)
        with m.If(item.bad):
            m.d.comb += error.eq(Error.CRC)
        with m.Elif(count < HEADER_BYTES + CRC_BYTES):
            m.d.comb += error.eq(Error.LENGTH)
        with m.Elif(~crc.match_detected):
            m.d.comb += error.eq(Error.CRC)
        with m.Elif((count != expected) | excess):
            m.d.comb += error.eq(Error.LENGTH)
        m.d.sync += [
            self.found.eq(ended & ((count != 0) | item.bad)),
            header.kind.eq(head.kind),
            header.sequence.eq(head.sequence),
            header.length.eq(head.length),
            header.error.eq(error),
            header.decodable.eq(~undecodable),
        ]
        m.d.comb += self.header.eq(header)
        with m.If(header.error != Error.NONE):
            m.d.comb += self.header.length.eq(0)
        return m


class FrameReceiver(wiring.Component):
    """Bytes of the link to frames that were received whole; firmware.frames.Decoder.

    Every body that is not empty gives a header; it is the consumer who then takes ``length`` bytes of the payload. One
    byte a cycle in and out, and one more after each frame. The header comes four cycles after the END of its frame is
    taken, the payload's first byte five. The input stalls when WINDOW_FRAMES headers or almost RING_BYTES of payload
    wait, and loses nothing.

    What is wrong with a frame is told in this order: CRC for a bad escape, LENGTH for a body too short for header and
    CRC, CRC, LENGTH for a payload that is not as long as the header says or longer than MAX_PAYLOAD.

    Members
    -------
    i : In(stream.Signature(8))
    o_header : Out(stream.Signature(Header))
    o_payload : Out(stream.Signature(8))
        Of sound frames only.
    """

    def __init__(self, technology=PORTABLE):
        self.technology = technology
        super().__init__({"i": In(stream.Signature(8)), "o_header": Out(stream.Signature(Header)),
                          "o_payload": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.slip = slip = SlipDecoder()
        m.submodules.inspector = inspector = Inspector()
        m.submodules.ring = ring = Ring(self.technology)
        m.submodules.headers = headers = SyncFIFOBuffered(width=Header.as_shape().size, depth=WINDOW_FRAMES)
        wiring.connect(m, wiring.flipped(self.i), slip.i)
        wiring.connect(m, ring.o, wiring.flipped(self.o_payload))

        item, sound, stalled = slip.o.payload, inspector.header.error == Error.NONE, Signal()
        m.d.sync += [
            stalled.eq(~headers.w_rdy | ring.full),
            ring.i.valid.eq(inspector.taken & inspector.stored),
            ring.i.payload.eq(item.data),
        ]
        m.d.comb += [
            slip.o.ready.eq(~stalled & ~inspector.found),
            inspector.item.eq(item),
            inspector.taken.eq(slip.o.valid & slip.o.ready),
            ring.commit.eq(inspector.found & sound),
            ring.drop.eq(inspector.found & ~sound),
            headers.w_data.eq(inspector.header),
            headers.w_en.eq(inspector.found),
            self.o_header.payload.eq(headers.r_data),
            self.o_header.valid.eq(headers.r_rdy),
            headers.r_en.eq(self.o_header.ready),
        ]
        return m


class FrameTransmitter(wiring.Component):
    """Headers and payloads to bytes of the link; firmware.frames.encode.

    One byte of the link a cycle, but for the three cycles in which the CRC is made, fewer after an escaped byte, and
    one between frames. The first END comes four cycles after the header is offered.

    Members
    -------
    i_header : In(stream.Signature(LinkHeader))
    i_payload : In(stream.Signature(8))
        ``length`` bytes a header.
    o : Out(stream.Signature(8))
    """

    i_header: In(stream.Signature(LinkHeader))
    i_payload: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        m.submodules.slip = slip = SlipEncoder()
        m.submodules.stage = stage = Stage(Framed)
        wiring.connect(m, stage.o, slip.i)
        wiring.connect(m, slip.o, wiring.flipped(self.o))
        item, header = stage.i.payload, self.i_header.payload
        word, index = Signal(8 * HEADER_BYTES, reset_less=True), Signal(range(HEADER_BYTES))  # header or CRC, as long
        left = Signal.like(header.length, reset_less=True)  # bytes of the payload
        payload, final = Signal(reset_less=True), Signal(reset_less=True)  # whether there is one, and one byte of it
        taken, leaves = stage.i.valid & stage.i.ready, stage.o.valid & stage.o.ready
        last = index == HEADER_BYTES - 1
        summed, sums = Signal(Framed, reset_less=True), Signal()  # behind the register
        m.d.sync += [summed.eq(stage.o.payload), sums.eq(leaves)]
        m.d.comb += [
            crc.data.eq(summed.data),
            crc.valid.eq(sums & ~summed.end),
            crc.start.eq(sums & summed.end),  # which forgets what it took of the CRC itself
        ]

        # States, one-hot: few levels of logic lie between a stalled link and all that waits for it.
        rest, head, body, settle, check, end = (
            Signal(name=name, init=name == "rest") for name in ("rest", "head", "body", "settle", "check", "end"))
        offers = Signal()  # head | check | end
        m.d.comb += [
            self.i_header.ready.eq(rest),
            self.i_payload.ready.eq(body & stage.i.ready),
            stage.i.valid.eq(offers | body & self.i_payload.valid),
            item.data.eq(Mux(body, self.i_payload.payload, word[:8])),
            item.end.eq(end),
        ]
        with m.If(taken):
            m.d.sync += [index.eq(index + offers), word.eq(word >> 8), left.eq(left - body)]
        with m.If(rest):
            m.d.sync += [word.eq(header), left.eq(header.length), index.eq(0)]
            with m.If(self.i_header.valid):
                m.d.sync += [rest.eq(0), head.eq(1), offers.eq(1)]
        with m.If(head):
            m.d.sync += [payload.eq(left != 0), final.eq(left == 1)]
            with m.If(taken & last):
                m.d.sync += [head.eq(0), offers.eq(0), body.eq(payload), settle.eq(~payload)]
        with m.If(body & taken):
            m.d.sync += final.eq(left == 2)
            with m.If(final):
                m.d.sync += [body.eq(0), settle.eq(1)]
        with m.If(settle):  # until all bytes are in the CRC
            m.d.sync += word.eq(crc.crc)
            with m.If(~stage.o.valid & ~sums):
                m.d.sync += [settle.eq(0), check.eq(1), offers.eq(1)]
        with m.If(check & taken & last):
            m.d.sync += [check.eq(0), end.eq(1)]
        with m.If(end & taken):
            m.d.sync += [end.eq(0), offers.eq(0), rest.eq(1)]
        return m
