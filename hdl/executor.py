"""Executes commands, one after another, and answers them."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .command import Command
from .frame import LinkHeader
from .lists import ListState
from .registers import MAX_PAYLOAD, REPLY, Error, Flags, Kind, Register
from .sequencer import QUEUE_DEPTH, Run


__all__ = ["Executor"]


class Executor(wiring.Component):
    """Checks a command against the memories and does it, or refuses it and changes nothing.

    Every command waits until the vector unit rests. One cycle after that a run is offered to the sequencer.

    Members
    -------
    i : In(stream.Signature(Command))
    i_data : In(stream.Signature(8))
    o_header : Out(stream.Signature(LinkHeader))
    o_payload : Out(stream.Signature(8))
        The answer.
    clear : Out(1)
        RESET.
    snapshot : Out(1)
    register : Out
    value : In(32)
        Of ``register``, combinational.
    load_start : Out(1)
        The bytes that follow on ``o_weights`` go to the word in the command.
    o_weights : Out(stream.Signature(8))
    vector_start : Out(1)
        The bytes that follow on ``o_vector`` are a piece of a vector.
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
            "snapshot": Out(1),
            "register": Out(range(len(Register))),
            "value": In(32),
            "load_start": Out(1),
            "o_weights": Out(stream.Signature(8)),
            "vector_start": Out(1),
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

    def _checks(self, m, opened):
        """Conditions under which each kind is refused, the first that holds."""
        config, command = self.config, self.i.payload
        span, weights, vector, run = (command.arguments[name] for name in ("span", "weights", "vector", "run"))
        int8 = (vector.flags & Flags.INT8).any()
        ragged = Signal()  # more or less than whole elements
        m.d.comb += ragged.eq((command.data_bytes == 0) | ~int8 & (command.data_bytes & 3).any())
        same = vector.as_value()[:48] == opened
        end = Signal(17)
        m.d.comb += [self.vector_count.eq(Mux(int8, command.data_bytes, command.data_bytes >> 2)),
                     end.eq(vector.offset + self.vector_count)]
        return {
            Kind.READ: [(span.first + span.count > len(Register), Error.RANGE)],
            Kind.WEIGHTS: [(command.data_bytes != command.product, Error.LENGTH),
                           (weights.address + weights.count > config.depth, Error.RANGE)],
            Kind.VECTOR: [((vector.slot >= config.slots) | (vector.flags > int(Flags.INT8 | Flags.SKIP))
                           | (vector.length > config.columns) | (end > vector.length)
                           | (vector.live > vector.length), Error.RANGE),
                          (ragged, Error.LENGTH),
                          ((vector.offset != 0) & ((vector.offset != self.vector_expected) | ~same), Error.ORDER)],
            Kind.RUN: [((run.slot >= config.slots) | (run.zero != 0) | (run.blocks == 0)
                        | (run.base + command.product > config.depth)
                        | (run.destination + run.blocks > config.blocks), Error.RANGE),
                       (~self.ready.bit_select(run.slot, 1) | (self.list.words > run.stride), Error.LIST)],
            Kind.RESULTS: [((span.first + span.count > config.blocks) | (span.count == 0)
                            | (command.product > MAX_PAYLOAD), Error.RANGE)],
        }

    def elaborate(self, platform):
        m = Module()
        command = self.i.payload
        opened = Signal(48, reset_less=True)  # slot, flags, length, live of the vector that was opened last
        error, refused = Signal(8), Signal(8, reset_less=True)
        m.d.comb += error.eq(command.error)
        with m.If(command.error == Error.NONE):
            with m.Switch(command.kind):
                for kind, checks in self._checks(m, opened).items():
                    with m.Case(kind):
                        for condition, code in reversed(checks):
                            with m.If(condition):
                                m.d.comb += error.eq(code)

        run = command.arguments.run
        m.d.comb += [
            self.o_run.payload.slot.eq(run.slot),
            self.o_run.payload.beats.eq(self.list.beats),
            self.o_run.payload.active.eq(self.list.active),
            self.o_run.payload.base.eq(run.base),
            self.o_run.payload.stride.eq(run.stride),
            self.o_run.payload.blocks.eq(run.blocks),
            self.o_run.payload.destination.eq((run.destination << 2) + run.destination),  # five results a tile
        ]

        header = Signal(LinkHeader, reset_less=True)
        left = Signal(16)  # bytes, of data or of the answer's payload
        register, byte = Signal(range(len(Register))), Signal(2)
        m.d.comb += [
            self.o_header.payload.eq(header),
            self.register.eq(register),
            self.o_weights.payload.eq(self.i_data.payload),
            self.o_vector.payload.eq(self.i_data.payload),
        ]
        is_kind = {kind: command.kind == kind for kind in Kind}

        with m.FSM():
            with m.State("CHECK"):
                m.d.sync += [
                    header.kind.eq(command.kind | REPLY), header.sequence.eq(command.sequence), header.length.eq(0),
                    left.eq(command.data_bytes), register.eq(command.arguments.span.first), byte.eq(0),
                ]
                # What is checked of lists is known when the vector unit rests, which it soon does by itself.
                with m.If(self.i.valid & ~self.vector_busy):
                    m.d.sync += refused.eq(error)
                    with m.If(error != Error.NONE):
                        m.d.sync += [header.kind.eq(Kind.ERROR), header.length.eq(1)]
                        m.next = "ANSWER"
                    with m.Elif(is_kind[Kind.WAIT] | is_kind[Kind.RESULTS]):
                        m.next = "SETTLE"
                    with m.Elif(is_kind[Kind.RUN]):
                        m.next = "QUEUE"
                    with m.Elif(is_kind[Kind.WEIGHTS] | is_kind[Kind.VECTOR]):
                        m.d.comb += [self.load_start.eq(is_kind[Kind.WEIGHTS]),
                                     self.vector_start.eq(is_kind[Kind.VECTOR])]
                        with m.If(is_kind[Kind.VECTOR]):
                            m.d.sync += opened.eq(command.arguments.vector.as_value())
                        m.next = "DATA"
                    with m.Else():
                        m.d.comb += [self.clear.eq(is_kind[Kind.RESET]), self.snapshot.eq(is_kind[Kind.READ])]
                        with m.If(is_kind[Kind.READ]):
                            m.d.sync += header.length.eq(command.arguments.span.count << 2)
                        m.next = "ANSWER"
            with m.State("SETTLE"):
                with m.If(self.pending == 0):
                    with m.If(is_kind[Kind.RESULTS]):
                        m.d.comb += self.results_start.eq(1)
                        m.d.sync += header.length.eq(command.product)
                    m.next = "ANSWER"
            with m.State("QUEUE"):
                m.d.comb += self.o_run.valid.eq(1)
                with m.If(self.o_run.ready):
                    m.next = "ANSWER"
            with m.State("DATA"):
                sink = {Kind.WEIGHTS: self.o_weights, Kind.VECTOR: self.o_vector}
                for kind, o in sink.items():
                    with m.If(is_kind[kind] & (left != 0)):
                        m.d.comb += [o.valid.eq(self.i_data.valid), self.i_data.ready.eq(o.ready)]
                with m.If(self.i_data.valid & self.i_data.ready):
                    m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.o_header.valid.eq(1)
                m.d.sync += left.eq(header.length)
                with m.If(self.o_header.ready):
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                m.d.comb += [self.o_payload.valid.eq(left != 0), self.o_payload.payload.eq(refused)]
                with m.If(header.kind == Kind.READ | REPLY):
                    m.d.comb += self.o_payload.payload.eq(self.value.word_select(byte, 8))
                with m.Elif(header.kind == Kind.RESULTS | REPLY):
                    m.d.comb += [self.o_payload.payload.eq(self.i_results.payload),
                                 self.o_payload.valid.eq(self.i_results.valid & (left != 0)),
                                 self.i_results.ready.eq(self.o_payload.ready & (left != 0))]
                with m.If(self.o_payload.valid & self.o_payload.ready):
                    m.d.sync += [left.eq(left - 1), byte.eq(byte + 1)]
                    with m.If(byte == 3):
                        m.d.sync += register.eq(register + 1)
                with m.If(left == 0):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "CHECK"
        return m
