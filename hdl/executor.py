"""Executes commands, one after another, and answers them."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .command import Command
from .frame import LinkHeader
from .lists import ListState
from .registers import MAX_PAYLOAD, REPLY, Error, Flags, Kind, Register
from .sequencer import QUEUE_DEPTH, Run


__all__ = ["Executor"]


KIND_BITS = ceil_log2(max(kind for kind in Kind if kind != Kind.ERROR) + 1)  # CommandReader lets no other kind pass


class Executor(wiring.Component):
    """Checks a command against the memories and does it, or refuses it and changes nothing.

    Every command waits until the vector unit rests. Three cycles after that a run is offered to the sequencer.

    Members
    -------
    i : In(stream.Signature(Command))
    i_data : In(stream.Signature(8))
    o_header : Out(stream.Signature(LinkHeader))
    o_payload : Out(stream.Signature(8))
        The answer.
    clear : Out(1)
        RESET.
    registers_start : Out(1)
        Read the registers in the command.
    i_registers : In(stream.Signature(8))
    load_start : Out(1)
        The bytes that follow on ``o_weights`` go to the word in the command.
    o_weights : Out(stream.Signature(8))
    vector_start : Out(1)
        The bytes that follow on ``o_vector`` are a piece of a vector.
    vector_opens : Out(1)
        It is the first.
    vector_count : Out(16)
        Elements of that piece.
    vector_busy, vector_expected : In
        Of the VectorUnit.
    o_vector : Out(stream.Signature(8))
    ready : In(config.slots)
        Slots whose list is complete.
    list : In(ListState)
        Of the slot in the command.
    o_run : Out(stream.Signature(Run))
    pending : In
        Runs that are not finished.
    results_start : Out(1)
        Read the blocks in the command.
    i_results : In(stream.Signature(8))
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(Command)),
            "i_data": In(stream.Signature(8)),
            "o_header": Out(stream.Signature(LinkHeader)),
            "o_payload": Out(stream.Signature(8)),
            "clear": Out(1),
            "registers_start": Out(1),
            "i_registers": In(stream.Signature(8)),
            "load_start": Out(1),
            "o_weights": Out(stream.Signature(8)),
            "vector_start": Out(1),
            "vector_opens": Out(1),
            "vector_count": Out(16),
            "vector_busy": In(1),
            "vector_expected": In(range(config.columns + 1)),
            "o_vector": Out(stream.Signature(8)),
            "ready": In(config.slots),
            "list": In(ListState(config)),
            "o_run": Out(stream.Signature(Run(config))),
            "pending": In(range(QUEUE_DEPTH + 3)),
            "results_start": Out(1),
            "i_results": In(stream.Signature(8)),
        })

    def _spans(self, m, beyond):
        """Registers what must stay within what, and the commands that are out of range besides."""
        config, command = self.config, self.i.payload
        span, weights, vector, run = (command.arguments[name] for name in ("span", "weights", "vector", "run"))
        large = command.product[16:].any()
        spans = {  # first, count, limit
            Kind.READ: [(span.first, span.count, len(Register))],
            Kind.WEIGHTS: [(weights.address, weights.count, config.depth)],
            Kind.VECTOR: [(vector.offset, self.vector_count, vector.length), (vector.live, 0, vector.length)],
            Kind.RUN: [(run.base, command.product[:16], config.depth), (run.destination, run.blocks, config.blocks)],
            Kind.RESULTS: [(span.first, span.count, config.blocks), (command.product[:16], 0, MAX_PAYLOAD)],
        }
        besides = {
            Kind.VECTOR: (vector.slot >= config.slots) | (vector.flags > int(Flags.INT8 | Flags.SKIP))
                         | (vector.length > config.columns),
            Kind.RUN: (run.slot >= config.slots) | (run.zero != 0) | (run.blocks == 0) | large,
            Kind.RESULTS: (span.count == 0) | large,
        }
        ends, limits = ([Signal(17, name=f"{name}_{index}", reset_less=True) for index in range(2)]
                        for name in ("end", "limit"))
        m.d.sync += [beyond.eq(0), *(end.eq(0) for end in ends)]
        with m.Switch(command.kind[:KIND_BITS]):
            for kind, checks in spans.items():
                with m.Case(kind):
                    m.d.sync += beyond.eq(besides.get(kind, 0))
                    for end, limit, (first, count, most) in zip(ends, limits, checks):
                        m.d.sync += [end.eq(first + count), limit.eq(most)]
        return ends, limits

    def _judge(self, m, opened):
        """What is wrong with the command, two cycles after it and all that it is compared with are there."""
        command = self.i.payload
        vector, run = command.arguments.vector, command.arguments.run
        int8 = (vector.flags & Flags.INT8).any()
        ragged = (command.data_bytes == 0) | ~int8 & command.data_bytes[:2].any()  # no, or no whole, elements
        m.d.comb += self.vector_count.eq(Mux(int8, command.data_bytes, command.data_bytes >> 2))

        beyond, length, order, unlisted = (Signal(name=name, reset_less=True) for name in (
            "beyond", "length", "order", "unlisted"))
        ends, limits = self._spans(m, beyond)
        is_weights, is_vector, is_run = (command.kind[:KIND_BITS] == kind
                                         for kind in (Kind.WEIGHTS, Kind.VECTOR, Kind.RUN))
        m.d.sync += [
            length.eq(is_weights & (command.data_bytes != command.product) | is_vector & ragged),
            order.eq(is_vector & (vector.offset != 0)
                     & ((vector.offset != self.vector_expected) | (vector.as_value()[:48] != opened))),
            unlisted.eq(is_run & (~self.ready.bit_select(run.slot, 1) | (run.stride - self.list.words)[-1])),
        ]

        error, refused = Signal(8, reset_less=True), Signal(reset_less=True)
        beyond_any = Signal()
        m.d.comb += beyond_any.eq(beyond | Cat((limit - end)[-1] for end, limit in zip(ends, limits)).any())
        m.d.sync += [error.eq(command.error),
                     refused.eq((command.error != Error.NONE) | beyond_any | length | order | unlisted)]
        with m.If(command.error == Error.NONE):
            with m.If(beyond_any):
                m.d.sync += error.eq(Error.RANGE)
            with m.Elif(length):
                m.d.sync += error.eq(Error.LENGTH)
            with m.Elif(order):
                m.d.sync += error.eq(Error.ORDER)
            with m.Elif(unlisted):
                m.d.sync += error.eq(Error.LIST)
        return error, refused

    def _answer(self, m, is_kind, refused, error, more):
        """Offers the bytes of the answer while there are more; combinational."""
        m.d.comb += [self.o_payload.valid.eq(more), self.o_payload.payload.eq(error)]
        for kind, source in ((Kind.READ, self.i_registers), (Kind.RESULTS, self.i_results)):
            with m.If(is_kind[kind] & ~refused):
                m.d.comb += [self.o_payload.payload.eq(source.payload),
                             self.o_payload.valid.eq(source.valid & more),
                             source.ready.eq(self.o_payload.ready & more)]

    def elaborate(self, platform):
        m = Module()
        command = self.i.payload
        opened = Signal(48, reset_less=True)  # slot, flags, length, live of the vector that was opened last
        error, refused = self._judge(m, opened)
        run = command.arguments.run
        header = Signal(LinkHeader, reset_less=True)
        left, more = Signal(16), Signal()  # bytes of data or of the answer's payload, and whether there are any
        m.d.comb += [
            self.o_run.payload.slot.eq(run.slot),
            self.o_run.payload.beats.eq(self.list.beats),
            self.o_run.payload.active.eq(self.list.active),
            self.o_run.payload.base.eq(run.base),
            self.o_run.payload.stride.eq(run.stride),
            self.o_run.payload.blocks.eq(run.blocks),
            self.o_run.payload.destination.eq((run.destination << 2) + run.destination),  # five results a tile
            self.o_header.payload.eq(header),
            self.o_weights.payload.eq(self.i_data.payload),
            self.o_vector.payload.eq(self.i_data.payload),
        ]
        is_kind = {kind: Signal(name=f"is_{kind.name.lower()}", reset_less=True) for kind in Kind if kind != Kind.ERROR}
        m.d.sync += [flag.eq(command.kind[:KIND_BITS] == kind) for kind, flag in is_kind.items()]
        m.d.sync += self.vector_opens.eq(command.arguments.vector.offset == 0)

        pulses = (self.clear, self.registers_start, self.load_start, self.vector_start, self.results_start)
        m.d.sync += [pulse.eq(0) for pulse in pulses]
        with m.FSM():
            with m.State("REST"):
                # What is checked of lists is known when the vector unit rests, which it soon does by itself.
                with m.If(self.i.valid & ~self.vector_busy):
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += [
                    header.kind.eq(command.kind | REPLY), header.sequence.eq(command.sequence), header.length.eq(0),
                    left.eq(command.data_bytes), more.eq(command.data_bytes != 0),
                ]
                m.next = "BEGIN"
            with m.State("BEGIN"):
                with m.If(refused):
                    m.d.sync += [header.kind.eq(Kind.ERROR), header.length.eq(1)]
                    m.next = "ANSWER"
                with m.Elif(is_kind[Kind.WAIT] | is_kind[Kind.RESULTS]):
                    m.next = "SETTLE"
                with m.Elif(is_kind[Kind.RUN]):
                    m.next = "QUEUE"
                with m.Elif(is_kind[Kind.WEIGHTS] | is_kind[Kind.VECTOR]):
                    m.d.sync += [self.load_start.eq(is_kind[Kind.WEIGHTS]), self.vector_start.eq(is_kind[Kind.VECTOR])]
                    with m.If(is_kind[Kind.VECTOR]):
                        m.d.sync += opened.eq(command.arguments.vector.as_value())
                    m.next = "START"
                    if self.config.single_port:
                        with m.If(is_kind[Kind.WEIGHTS]):
                            m.next = "SETTLE"
                with m.Else():
                    m.d.sync += self.clear.eq(is_kind[Kind.RESET])
                    m.next = "ANSWER"
                    with m.If(is_kind[Kind.READ] & (command.arguments.span.count != 0)):
                        m.d.sync += [self.registers_start.eq(1),
                                     header.length.eq(command.arguments.span.count << 2)]
                        m.next = "FETCH"
            with m.State("FETCH"):  # nothing of the answer is on its way when the registers are read
                with m.If(self.i_registers.valid):
                    m.next = "ANSWER"
            with m.State("SETTLE"):
                with m.If(self.pending == 0):
                    m.next = "ANSWER"
                    with m.If(is_kind[Kind.RESULTS]):
                        m.d.sync += [self.results_start.eq(1), header.length.eq(command.product)]
                    with m.If(is_kind[Kind.WEIGHTS]):
                        m.next = "DATA"
            with m.State("START"):  # what comes next is told so in this cycle
                m.next = "DATA"
            with m.State("QUEUE"):
                m.d.comb += self.o_run.valid.eq(1)
                with m.If(self.o_run.ready):
                    m.next = "ANSWER"
            with m.State("DATA"):
                for kind, o in ((Kind.WEIGHTS, self.o_weights), (Kind.VECTOR, self.o_vector)):
                    with m.If(is_kind[kind] & more):
                        m.d.comb += [o.valid.eq(self.i_data.valid), self.i_data.ready.eq(o.ready)]
                with m.If(self.i_data.valid & self.i_data.ready):
                    m.d.sync += [left.eq(left - 1), more.eq(left != 1)]
                with m.If(~more):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.o_header.valid.eq(1)
                m.d.sync += [left.eq(header.length), more.eq(header.length != 0)]
                with m.If(self.o_header.ready):
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                self._answer(m, is_kind, refused, error, more)
                with m.If(self.o_payload.valid & self.o_payload.ready):
                    m.d.sync += [left.eq(left - 1), more.eq(left != 1)]
                with m.If(~more):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "REST"
        return m
