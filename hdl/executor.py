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
from .stage import Stage


__all__ = ["Executor"]


KIND_BITS = ceil_log2(max(kind for kind in Kind if kind != Kind.ERROR) + 1)  # CommandReader lets no other kind pass


class Executor(wiring.Component):
    """Checks a command against the memories and does it, or refuses it and changes nothing.

    Every command waits until the vector unit rests. Five cycles after that a run is offered to the sequencer.

    Members
    -------
    i : In(stream.Signature(Command))
    i_data : In(stream.Signature(8))
    i_more : In(1)
        There are bytes of data that were not taken.
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
            "i_more": In(1),
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

    def _spans(self, m, is_kind):
        """Registers that tell of what lies beyond its memory, three cycles after the command is there."""
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
            Kind.VECTOR: [vector.slot >= config.slots, vector.flags > int(Flags.INT8 | Flags.SKIP),
                          vector.length > config.columns],
            Kind.RUN: [run.slot >= config.slots, run.zero != 0, run.blocks == 0, large],
            Kind.RESULTS: [span.count == 0, large],
        }
        ends, limits = ([Signal(17, name=f"{name}_{index}", reset_less=True) for index in range(2)]
                        for name in ("end", "limit"))
        beyond = Signal(len(ends) + len(besides), reset_less=True)
        m.d.sync += [end.eq(0) for end in ends]
        for kind, checks in spans.items():
            with m.If(is_kind[kind]):
                for end, limit, (first, count, most) in zip(ends, limits, checks):
                    m.d.sync += [end.eq(first + count), limit.eq(most)]
        for index, (kind, checks) in enumerate(besides.items(), len(ends)):
            found = [Signal(name=f"{kind.name.lower()}_{place}", reset_less=True) for place in range(len(checks))]
            m.d.sync += [signal.eq(check) for signal, check in zip(found, checks)]
            m.d.sync += beyond[index].eq(is_kind[kind] & Cat(found).any())
        m.d.sync += [beyond[index].eq((limit - end)[-1]) for index, (end, limit) in enumerate(zip(ends, limits))]
        return beyond

    def _judge(self, m, is_kind, opened):
        """What is wrong with the command, four cycles after it and all that it is compared with are there."""
        command = self.i.payload
        vector, run = command.arguments.vector, command.arguments.run
        int8 = (vector.flags & Flags.INT8).any()
        ragged = (command.data_bytes == 0) | ~int8 & command.data_bytes[:2].any()  # no, or no whole, elements
        m.d.sync += self.vector_count.eq(Mux(int8, command.data_bytes, command.data_bytes >> 2))

        odd, continues, elsewhere, lacks, short = (Signal(name=name, reset_less=True) for name in (
            "odd", "continues", "elsewhere", "lacks", "short"))
        other = Signal(len(opened) // 8, reset_less=True)
        unequal, length, order, unlisted = (Signal(name=name, reset_less=True) for name in (
            "unequal", "length", "order", "unlisted"))
        m.d.sync += [
            odd.eq(ragged),
            unequal.eq(command.data_bytes != command.product),
            length.eq(is_kind[Kind.WEIGHTS] & unequal | is_kind[Kind.VECTOR] & odd),
            continues.eq(vector.offset != 0),
            elsewhere.eq(vector.offset != self.vector_expected),
            other.eq(Cat(vector.as_value().word_select(index, 8) != opened.word_select(index, 8)
                         for index in range(len(other)))),
            order.eq(is_kind[Kind.VECTOR] & continues & (elsewhere | other.any())),
            lacks.eq(~self.ready.bit_select(run.slot, 1)),
            short.eq((run.stride - self.list.words)[-1]),
            unlisted.eq(is_kind[Kind.RUN] & (lacks | short)),
        ]

        beyond = self._spans(m, is_kind)
        error, refused = Signal(8, reset_less=True), Signal(reset_less=True)
        m.d.sync += [error.eq(command.error),
                     refused.eq((command.error != Error.NONE) | beyond.any() | length | order | unlisted)]
        with m.If(command.error == Error.NONE):
            with m.If(beyond.any()):
                m.d.sync += error.eq(Error.RANGE)
            with m.Elif(length):
                m.d.sync += error.eq(Error.LENGTH)
            with m.Elif(order):
                m.d.sync += error.eq(Error.ORDER)
            with m.Elif(unlisted):
                m.d.sync += error.eq(Error.LIST)
        return error, refused

    def _answer(self, m, sources):
        """Streams the answer from one of the sources, {flag: stream}, until it has as many bytes as the header says.

        A flag is set where there is an answer to be had, and falls with its last byte.
        """
        m.submodules.answer = answer = Stage(8)
        wiring.connect(m, answer.o, wiring.flipped(self.o_payload))
        left, final = Signal(16), Signal()  # final: one is
        for flag, source in sources:
            with m.If(flag):
                m.d.comb += [answer.i.payload.eq(source.payload), answer.i.valid.eq(source.valid),
                             source.ready.eq(answer.i.ready)]
        with m.If(answer.i.valid & answer.i.ready):
            m.d.sync += [left.eq(left - 1), final.eq(left == 2)]
            m.d.sync += [flag.eq(flag & ~final) for flag, _ in sources]
        return left, final

    def elaborate(self, platform):
        m = Module()
        m.submodules.data = data = Stage(8)
        command = self.i.payload
        is_kind = {kind: Signal(name=f"is_{kind.name.lower()}", reset_less=True) for kind in Kind if kind != Kind.ERROR}
        m.d.sync += [flag.eq(command.kind[:KIND_BITS] == kind) for kind, flag in is_kind.items()]
        opened = Signal(48, reset_less=True)  # slot, flags, length, live of the vector that was opened last
        error, refused = self._judge(m, is_kind, opened)
        run = command.arguments.run
        header = Signal(LinkHeader, reset_less=True)
        m.d.comb += [
            self.o_run.payload.slot.eq(run.slot),
            self.o_run.payload.beats.eq(self.list.beats),
            self.o_run.payload.active.eq(self.list.active),
            self.o_run.payload.base.eq(run.base),
            self.o_run.payload.stride.eq(run.stride),
            self.o_run.payload.blocks.eq(run.blocks),
            self.o_run.payload.destination.eq((run.destination << 2) + run.destination),  # five results a tile
            self.o_header.payload.eq(header),
        ]
        taking = Signal()  # the data
        m.d.comb += [
            data.i.payload.eq(self.i_data.payload),
            data.i.valid.eq(self.i_data.valid & taking),
            self.i_data.ready.eq(data.i.ready & taking),
            self.o_weights.payload.eq(data.o.payload),
            self.o_weights.valid.eq(data.o.valid & is_kind[Kind.WEIGHTS]),
            self.o_vector.payload.eq(data.o.payload),
            self.o_vector.valid.eq(data.o.valid & is_kind[Kind.VECTOR]),
            data.o.ready.eq(Mux(is_kind[Kind.WEIGHTS], self.o_weights.ready, self.o_vector.ready)),
        ]
        tells, reads, fetches = Signal(), Signal(), Signal()  # that answer is an error, registers, results
        wrong = stream.Signature(8, always_valid=True).create(path=("wrong",))
        m.d.comb += wrong.payload.eq(error)
        left, final = self._answer(m, [(tells, wrong), (reads, self.i_registers), (fetches, self.i_results)])

        settled, spans = Signal(), Signal(reset_less=True)
        size = Signal(16, reset_less=True)  # of the answer's payload, if the command is not refused
        m.d.sync += [settled.eq(self.pending == 0), spans.eq(size != 0), size.eq(0),
                     self.vector_opens.eq(command.arguments.vector.offset == 0)]
        with m.If(is_kind[Kind.READ]):
            m.d.sync += size.eq(command.arguments.span.count << 2)
        with m.If(is_kind[Kind.RESULTS]):
            m.d.sync += size.eq(command.product)
        pulses = (self.clear, self.registers_start, self.load_start, self.vector_start, self.results_start)
        m.d.sync += [pulse.eq(0) for pulse in pulses]
        with m.FSM():
            with m.State("REST"):
                # What is checked of lists is known when the vector unit rests, which it soon does by itself.
                with m.If(self.i.valid & ~self.vector_busy):
                    m.next = "SUMS"
            with m.State("SUMS"):
                m.next = "LIMITS"
            with m.State("LIMITS"):
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += [header.kind.eq(command.kind | REPLY), header.sequence.eq(command.sequence)]
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += [header.length.eq(Mux(refused, 1, size)), left.eq(size), final.eq(refused)]
                with m.If(refused):
                    m.d.sync += [header.kind.eq(Kind.ERROR), tells.eq(1)]
                    m.next = "ANSWER"
                with m.Elif(is_kind[Kind.WAIT] | is_kind[Kind.RESULTS]):
                    m.next = "SETTLE"
                with m.Elif(is_kind[Kind.RUN]):
                    m.next = "QUEUE"
                with m.Elif(is_kind[Kind.WEIGHTS] | is_kind[Kind.VECTOR]):
                    m.d.sync += [self.load_start.eq(is_kind[Kind.WEIGHTS]), self.vector_start.eq(is_kind[Kind.VECTOR])]
                    with m.If(is_kind[Kind.VECTOR]):
                        m.d.sync += opened.eq(command.arguments.vector.as_value())
                    m.d.sync += taking.eq(1)
                    m.next = "DATA"
                    if self.config.single_port:
                        with m.If(is_kind[Kind.WEIGHTS]):
                            m.d.sync += taking.eq(0)
                            m.next = "SETTLE"
                with m.Else():
                    m.d.sync += self.clear.eq(is_kind[Kind.RESET])
                    m.next = "ANSWER"
                    with m.If(is_kind[Kind.READ] & spans):
                        m.d.sync += [self.registers_start.eq(1), reads.eq(1)]
                        m.next = "FETCH"
            with m.State("FETCH"):  # nothing of the answer is on its way when the registers are read
                with m.If(self.i_registers.valid):
                    m.next = "ANSWER"
            with m.State("SETTLE"):
                with m.If(settled):
                    m.next = "ANSWER"
                    with m.If(is_kind[Kind.RESULTS]):
                        m.d.sync += [self.results_start.eq(1), fetches.eq(1)]
                    with m.If(is_kind[Kind.WEIGHTS]):
                        m.d.sync += taking.eq(1)
                        m.next = "DATA"
            with m.State("QUEUE"):
                m.d.comb += self.o_run.valid.eq(1)
                with m.If(self.o_run.ready):
                    m.next = "ANSWER"
            with m.State("DATA"):
                with m.If(~self.i_more & ~data.o.valid):
                    m.d.sync += taking.eq(0)
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.o_header.valid.eq(1)
                with m.If(self.o_header.ready):
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                with m.If(~(tells | reads | fetches | self.o_payload.valid)):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += self.i.ready.eq(1)
                m.next = "REST"
        return m
