"""Takes commands from the link, one after the other, and answers them."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..array.codes import ByteDecoder, WordEncoder
from ..link.frame import PREFIX_BYTES, LinkHeader, Status
from ..link.slip import Framed
from ..protocol import (
    ANSWER_BYTES,
    ARGUMENT_BYTES,
    LIVE,
    MAX_PAYLOAD,
    MAX_READ,
    REFUSED,
    REPLY,
    WAIT_UNIT,
    ArgumentsLayout,
    Command,
    Refusal,
    Space,
    space_sizes,
    word_bytes,
)
from .access import Access


__all__ = ["Commander"]


BYTE = 8
NUMBER_BITS = 32


class Commander(wiring.Component):
    """Executes the commands of hdl.protocol.

    Parameters
    ----------
    config : Config
    latencies : dict
        {Space: cycles from ``o_access.read`` to what is read}; None stands for the spaces that are not named.

    Members
    -------
    i : In(stream.Signature(8))
        From the FrameReceiver.
    o_header : Out(stream.Signature(LinkHeader))
    o_payload : Out(stream.Signature(Framed))
        The answer, and an END.
    o_access : Out(Access)
    i_value : In
        What is read, so many cycles after ``o_access.read``, if there was no ``hold`` since.
    hold : In(1)
        The memory is taken: a write waits, and what is read is waited for anew.
    clear : Out(1)
        Pulse: a session begins.
    go : Out(1)
        Pulse: run the positions from ``o_first`` to before ``o_limit``.
    o_first, o_limit : Out
    running : In(1)
    i_position : In
        That comes next: the largest first one of GO.
    """

    def __init__(self, config, *, latencies):
        self.config, self.latencies = config, latencies
        position = range(config.context + 1)
        access = Access(config)
        super().__init__({
            "i": In(stream.Signature(BYTE)),
            "o_header": Out(stream.Signature(LinkHeader)),
            "o_payload": Out(stream.Signature(Framed)),
            "o_access": Out(access),
            "i_value": In(access["data"].width),
            "hold": In(1),
            "clear": Out(1),
            "go": Out(1),
            "o_first": Out(position),
            "o_limit": Out(position),
            "running": In(1),
            "i_position": In(position),
        })

    def elaborate(self, platform):
        m = Module()
        self.prefix = Signal(BYTE * PREFIX_BYTES)
        self.header = LinkHeader(self.prefix[:LinkHeader.as_shape().size])
        self.status = Status(self.prefix[-Status.as_shape().size:])
        self.arguments = Signal(ArgumentsLayout)
        self.taken = Signal(range(max(PREFIX_BYTES, ARGUMENT_BYTES)))  # bytes of what is collected
        self.left = Signal(range(MAX_PAYLOAD + 1))  # bytes of the payload that were not taken
        self.reason = Signal(Refusal)
        self.session, self.opened, self.expected = Signal(16), Signal(), Signal(NUMBER_BITS)
        self.number = Signal(NUMBER_BITS)
        self.is_read, self.fresh = Signal(), Signal()
        m.d.comb += [
            self.number.eq(Cat(self.header.sequence, self.arguments.turn)),
            self.o_first.eq(self.arguments.address),
        ]
        self._items(m)
        with m.FSM():
            self._collect(m)
            self._judge(m)
            self._write(m)
            self._answer(m)
            self._read(m)
        return m

    def _take(self, m):
        """Whether a byte of the payload is taken in this state."""
        m.d.comb += self.i.ready.eq(1)
        with m.If(self.i.valid):
            m.d.sync += self.left.eq(self.left - 1)
        return self.i.valid

    def _collect(self, m):
        """Header, status and arguments."""
        with m.State("HEADER"):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [self.is_read.eq(0), self.fresh.eq(0)]
            with m.If(self.i.valid):
                m.d.sync += [self.prefix.eq(Cat(self.prefix[BYTE:], self.i.payload)), self.taken.eq(self.taken + 1)]
                with m.If(self.taken == PREFIX_BYTES - 1):
                    m.d.sync += self.taken.eq(0)
                    m.next = "STATUS"
        with m.State("STATUS"):
            m.d.sync += [self.left.eq(self.header.length), self.reason.eq(self.status.error)]
            m.next = "DISCARD"
            with m.If(self.status.error == 0):
                m.next = "ARGUMENTS"
        with m.State("ARGUMENTS"):
            with m.If(self.left == 0):
                m.d.sync += [self.reason.eq(Refusal.LENGTH), self.taken.eq(0), self.arguments.eq(0)]
                m.next = "ANSWER"
            with m.Else():
                with m.If(self._take(m)):
                    m.d.sync += [self.arguments.eq(Cat(self.arguments.as_value()[BYTE:], self.i.payload)),
                                 self.taken.eq(self.taken + 1)]
                    with m.If(self.taken == ARGUMENT_BYTES - 1):
                        m.d.sync += self.taken.eq(0)
                        m.next = "COMPARE"

    def _judge(self, m):
        """Whether the command is executed, acknowledged or refused."""
        arguments, kind = self.arguments, self.header.kind
        end = Signal(range((1 << 24) + (1 << 16)))  # behind the last word, or position
        same, is_next, is_old, beyond, live, wrong_length = (Signal(name=name) for name in (
            "same_session", "is_next", "is_old", "beyond", "is_live", "wrong_length"))
        m.d.sync += [self.clear.eq(0), self.go.eq(0)]
        first_item = [self.o_access.bank.eq(0), self.o_access.lane.eq(0), self.o_access.address.eq(arguments.address),
                      self.o_access.space.eq(arguments.space)]
        with m.State("COMPARE"):
            m.d.sync += [
                end.eq(arguments.address + arguments.count),
                same.eq(self.opened & (arguments.session == self.session)),
                is_next.eq(self.number == self.expected),
                is_old.eq(self.number < self.expected),
                live.eq(Cat(arguments.space == space for space in LIVE).any()),
                *first_item,
            ]
            m.next = "BOUND"
        with m.State("BOUND"):
            m.d.sync += beyond.eq(1)
            with m.If(kind == Command.GO):
                m.d.sync += beyond.eq((end > self.config.context) | (arguments.address > self.i_position))
            with m.Elif(kind == Command.WAIT):
                m.d.sync += beyond.eq(0)
            with m.Else():
                with m.Switch(arguments.space):
                    for space, size in space_sizes(self.config).items():
                        with m.Case(space):
                            m.d.sync += beyond.eq(end > size)
            m.d.sync += [self.o_limit.eq(end), wrong_length.eq(
                (self.left != Mux(kind == Command.WRITE, arguments.bytes, 0))
                | (kind == Command.READ) & (arguments.bytes > MAX_READ))]
            m.next = "JUDGE"
        with m.State("JUDGE"):
            m.next = "DISCARD"
            executes, repeats = Signal(), Signal()
            m.d.comb += repeats.eq((kind == Command.READ) | (kind == Command.WAIT))
            with m.Switch(kind):
                with m.Case(Command.OPEN):
                    with m.If(self.number != 0):
                        m.d.sync += self.reason.eq(Refusal.ORDER)
                    with m.Elif(~same):
                        m.d.sync += [self.clear.eq(1), self.session.eq(arguments.session), self.opened.eq(1),
                                     self.expected.eq(1)]
                with m.Case(Command.READ, Command.WAIT, Command.WRITE, Command.GO):
                    with m.If(~same):
                        m.d.sync += self.reason.eq(Refusal.SESSION)
                    with m.Elif(~is_next & ~is_old):
                        m.d.sync += self.reason.eq(Refusal.ORDER)
                    with m.Elif(is_next | repeats):
                        m.d.comb += executes.eq(1)
                with m.Default():
                    m.d.sync += self.reason.eq(Refusal.KIND)
            with m.If(executes):
                m.d.sync += self.fresh.eq(is_next)
                with m.If(beyond):
                    m.d.sync += self.reason.eq(Refusal.RANGE)
                with m.Elif(self.running & ((kind == Command.GO) | ~live & (kind != Command.WAIT))):
                    m.d.sync += self.reason.eq(Refusal.BUSY)
                with m.Elif(wrong_length):
                    m.d.sync += self.reason.eq(Refusal.LENGTH)
                with m.Elif(kind == Command.WRITE):
                    m.next = "WRITE"
                with m.Elif(kind == Command.GO):
                    m.d.sync += self.go.eq(1)
                with m.Elif(kind == Command.WAIT):
                    m.next = "WAIT"
                with m.Else():
                    m.d.sync += self.is_read.eq(1)
        waited = Signal(range(WAIT_UNIT))
        with m.State("WAIT"):
            m.d.sync += waited.eq(waited + 1)
            with m.If(waited == WAIT_UNIT - 1):
                m.d.sync += [waited.eq(0), arguments.count.eq(arguments.count - 1)]
            with m.If(~self.running | (self.i_position >= arguments.address) | (arguments.count == 0)):
                m.d.sync += waited.eq(0)
                m.next = "ANSWER"
        with m.State("DISCARD"):
            with m.If(self.left == 0):
                m.next = "ANSWER"
            with m.Else():
                self._take(m)

    def _advance(self, m):
        """To the next item of the space; ``arguments.count`` counts words down."""
        access, config, arguments = self.o_access, self.config, self.arguments
        weights = access.space == Space.WEIGHTS
        laned = weights | (access.space == Space.RESULTS) | (access.space == Space.ELEMENTS)
        last_lane = ~laned | (access.lane == config.tiles - 1)
        last_bank = ~weights | (access.bank == config.banks - 1)
        m.d.sync += access.lane.eq(Mux(last_lane, 0, access.lane + 1))
        with m.If(last_lane):
            m.d.sync += access.bank.eq(Mux(last_bank, 0, access.bank + 1))
        with m.If(last_lane & last_bank):
            m.d.sync += [access.address.eq(access.address + 1), arguments.count.eq(arguments.count - 1)]

    def _items(self, m):
        """What every state has of items: their bytes, their way to the memory, and when one that is read is there."""
        access = self.o_access
        self.place, self.last_byte = Signal(range(len(access.data) // BYTE)), Signal()  # a byte of an item
        with m.Switch(access.space):
            for space in Space:
                with m.Case(space):
                    m.d.comb += self.last_byte.eq(self.place == word_bytes(space, self.config) - 1)
        self.wait, self.there = Signal(range(max(self.latencies.values()) + 1)), Signal()
        with m.Switch(access.space):
            for space, latency in self.latencies.items():
                with m.Default() if space is None else m.Case(space):
                    m.d.comb += self.there.eq(self.wait == latency)

        # A byte a cycle: it is collected, a weight's code is changed for that of the memories, and an item is written.
        m.submodules.decoder, m.submodules.encoder = self.decoder, encoder = ByteDecoder(), WordEncoder()
        self.collected, self.trits = Signal.like(access.data), Signal.like(self.decoder.trits)
        self.whole, self.writes = Signal(), Signal()
        m.d.comb += [self.decoder.code.eq(self.i.payload), encoder.trits.eq(self.trits),
                     access.write.eq(self.writes & ~self.hold & (self.arguments.count != 0))]
        with m.If(~self.hold):
            m.d.sync += [self.whole.eq(0), self.writes.eq(self.whole),
                         access.data.eq(Mux(access.space == Space.WEIGHTS, encoder.word, self.collected))]
        with m.If(access.write):
            self._advance(m)
        with m.If(self.writes & (self.arguments.count == 0)):
            m.d.sync += self.reason.eq(Refusal.LENGTH)

    def _write(self, m):
        """Bytes to items."""
        with m.State("WRITE"):
            with m.If((self.left == 0) & ~self.whole & ~self.writes):
                with m.If((self.arguments.count != 0) | (self.place != 0)):
                    m.d.sync += [self.reason.eq(Refusal.LENGTH), self.place.eq(0)]
                m.next = "ANSWER"
            with m.Elif((self.left != 0) & ~self.hold):
                with m.If(self._take(m)):
                    m.d.sync += [self.collected.word_select(self.place, BYTE).eq(self.i.payload),
                                 self.trits.eq(self.decoder.trits), self.place.eq(self.place + 1)]
                    with m.If(self.last_byte):
                        m.d.sync += [self.place.eq(0), self.whole.eq(1)]
                    with m.If((self.o_access.space == Space.WEIGHTS) & ~self.decoder.valid):
                        m.d.sync += [self.reason.eq(Refusal.CODE), self.whole.eq(0)]
                        m.next = "DISCARD"

    def _answer(self, m):
        """Header, session and turn; the reason of a refusal."""
        header, payload, refused = self.o_header.payload, self.o_payload, self.reason != Refusal.NONE
        answer = Signal(BYTE * (ANSWER_BYTES + 1))
        m.d.comb += [
            header.kind.eq(Mux(refused, REFUSED, self.header.kind | REPLY)),
            header.sequence.eq(self.header.sequence),
            header.length.eq(ANSWER_BYTES + Mux(refused, 1, Mux(self.is_read, self.arguments.bytes, 0))),
            payload.payload.data.eq(answer[:BYTE]),
        ]
        with m.State("ANSWER"):
            m.d.comb += self.o_header.valid.eq(1)
            m.d.sync += [answer.eq(Cat(self.arguments.session, self.arguments.turn, self.reason)),
                         self.left.eq(self.arguments.bytes)]
            with m.If(self.o_header.ready):
                with m.If(self.fresh & ~refused):
                    m.d.sync += self.expected.eq(self.expected + 1)
                m.next = "TELL"
        with m.State("TELL"):
            m.d.comb += payload.valid.eq(1)
            with m.If(payload.ready):
                m.d.sync += [answer.eq(answer >> BYTE), self.taken.eq(self.taken + 1)]
                with m.If(self.taken == ANSWER_BYTES - 1 + refused):
                    m.d.sync += self.taken.eq(0)
                    m.next = "END"
                    with m.If(self.is_read & ~refused):
                        m.next = "LOOK"
        with m.State("END"):
            m.d.comb += [payload.valid.eq(1), payload.payload.end.eq(1)]
            with m.If(payload.ready):
                m.d.sync += [self.reason.eq(Refusal.NONE), self.arguments.eq(0)]
                m.next = "HEADER"

    def _read(self, m):
        """Items to bytes; zeros behind the last word."""
        payload, wait = self.o_payload, self.wait
        value = Signal.like(self.i_value)
        with m.State("LOOK"):
            m.d.comb += self.o_access.read.eq(wait == 0)
            m.d.sync += wait.eq(wait + 1)
            with m.If(self.there):
                m.d.sync += value.eq(Mux(self.arguments.count == 0, 0, self.i_value))
                m.next = "SEND"
            with m.If(self.hold):
                m.next = "LOOK"
            with m.If(self.hold | self.there):
                m.d.sync += wait.eq(0)
        with m.State("SEND"):
            with m.If(self.left == 0):
                m.d.sync += self.place.eq(0)
                m.next = "END"
            with m.Else():
                m.d.comb += [payload.valid.eq(1), payload.payload.data.eq(value[:BYTE])]
                with m.If(payload.ready):
                    m.d.sync += [value.eq(value >> BYTE), self.left.eq(self.left - 1), self.place.eq(self.place + 1)]
                    with m.If(self.last_byte):
                        m.d.sync += self.place.eq(0)
                        with m.If(self.arguments.count != 0):
                            self._advance(m)
                        m.next = "LOOK"
