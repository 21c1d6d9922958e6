"""Executes commands, one after another, and answers them."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..array.lists import ListState
from ..link.frame import LinkHeader
from ..link.slip import Framed
from ..link.stream_buffer import StreamBuffer
from ..protocol import REPLY, Error, Flags, Kind
from ..technology.memory import BLOCK_LATENCY, Lag
from ..technology.product import PORTABLE
from .program import CONSTANTS, LAYOUTS, OTHER, Program, digits, factor_bits, total_bits, word_bits
from .sequencer import QUEUE_DEPTH, Run, RunWrite
from .steps import WORDS, Action, Operand, StepLayout


__all__ = ["Executor"]


BYTE = 8
FETCH_LATENCY = BLOCK_LATENCY + 1  # cycles from the place of a step to the step
HIGH = 9  # place of the high byte in a word: lanes of block RAM have nine bits


class Executor(wiring.Component):
    """Checks a command against the memories and does it, or refuses it and changes nothing.

    Runs hdl.control.program, a step a cycle. Every command waits until the vector unit rests. Data go from ``i`` to
    ``o_weights`` or ``o_vector`` in the cycle in which they come, answers to ``o_payload`` a cycle later. A run is
    queued 44 cycles and two for each of ``digits(config)`` after its first byte is taken, if nothing is waited for.

    Members
    -------
    i : In(stream.Signature(8))
        From the FrameReceiver.
    kind : Out(Kind)
        Of the command that is executed, or was last; 0 is none.
    busy : Out(1)
        A frame is executed, from the cycle after its kind is taken until its answer is.
    o_header : Out(stream.Signature(LinkHeader))
    o_payload : Out(stream.Signature(Framed))
        The answer, and an END.
    word, factor, slot, flags : Out
        Arguments, where the following say so.
    clear : Out(1)
        RESET.
    registers_start : Out(1)
        Read ``factor`` registers from ``word`` on, which holds until the first is there.
    i_registers : In(stream.Signature(8))
    load_start : Out(1)
        The bytes that follow on ``o_weights`` go to ``word``.
    o_weights : Out(stream.Signature(8))
    vector_start : Out(1)
        The bytes that follow on ``o_vector`` are a piece of a vector, of which ``word`` is the length and ``factor``
        tells how many elements live.
    vector_opens : Out(1)
        It is the first.
    vector_busy, vector_expected : In
        Of the VectorUnit.
    o_vector : Out(stream.Signature(8))
    ready : In(config.slots)
        Slots whose list is complete.
    list : In(ListState)
        Of ``slot``.
    o_run : Out(Run)
    run_write : Out(RunWrite)
    waiting, pending : In
        Of the Sequencer.
    results_start : Out(1)
        Read ``factor`` blocks from ``word`` on, whose results begin at ``result``.
    result : Out
    i_results : In(stream.Signature(8))
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        super().__init__({
            "i": In(stream.Signature(8)),
            "kind": Out(Kind, init=Kind.RESET),
            "busy": Out(1),
            "o_header": Out(stream.Signature(LinkHeader)),
            "o_payload": Out(stream.Signature(Framed)),
            "word": Out(word_bits(config)),
            "factor": Out(factor_bits(config)),
            "slot": Out(config.slot_bits),
            "flags": Out(2),
            "clear": Out(1),
            "registers_start": Out(1),
            "i_registers": In(stream.Signature(8)),
            "load_start": Out(1),
            "o_weights": Out(stream.Signature(8)),
            "vector_start": Out(1),
            "vector_opens": Out(1),
            "vector_busy": In(1),
            "vector_expected": In(range(config.columns + 1)),
            "o_vector": Out(stream.Signature(8)),
            "ready": In(config.slots),
            "list": In(ListState(config)),
            "o_run": Out(Run(config)),
            "run_write": Out(RunWrite),
            "waiting": In(1),
            "pending": In(range(QUEUE_DEPTH + 3)),
            "results_start": Out(1),
            "result": Out(config.result_bits),
            "i_results": In(stream.Signature(8)),
        })

    def _fetch(self, m, advance, stops, more):
        """The step, which is nothing while none runs, and flags of its action."""
        program = Program(self.config)
        m.submodules.code = code = self.technology.memory(
            depth=len(program.code), width=StepLayout.size,
            init=[StepLayout.const(fields).as_value().value for fields in program.code])
        constants = [value & 0xff | value >> BYTE << HIGH for value in program.constants]
        m.submodules.words = words = self.technology.memory(
            depth=WORDS, width=HIGH, lanes=2, init=[0] * CONSTANTS + constants)
        place, turned = Signal(range(len(program.code))), Signal()  # the places of VECTOR's words are exchanged
        step, address = Signal(StepLayout), Signal(range(WORDS))
        number = Signal(range(len(program.entries)))
        m.submodules.lag = lag = Lag(StepLayout.size)
        fetched = StepLayout(lag.o)
        is_action = {action: Signal(name=f"is_{action.name.lower()}") for action in Action}
        with m.If(advance):
            m.d.sync += [step.eq(fetched), *(flag.eq(fetched.action == action) for action, flag in is_action.items())]
        m.d.comb += [
            code.read_address.eq(place),
            code.read_enable.eq(lag.flows),
            code.output_enable.eq(lag.flows),
            lag.i.eq(code.read_data),
            lag.goes.eq(~stops),
            address.eq(step.word),
            words.read_address.eq(address),
            words.read_enable.eq(advance),
            words.output_enable.eq(advance),
            self.word.eq(Cat(words.read_data[:BYTE], words.read_data[HIGH:])),
            number.eq(self.kind),
        ]
        # Through a register, for the block RAM may lie far away.
        m.d.sync += [
            words.write_enable.eq(Cat(~step.one, step.one) & (self.i.valid & (
                is_action[Action.STORE] | is_action[Action.ARGUMENT] & more)).replicate(2)),
            words.write_address.eq(address),
            words.write_data.eq(Cat(self.i.payload, C(0, 1), self.i.payload)),
        ]
        first, second = [bit for bit in range(len(address)) if OTHER >> bit & 1]
        other = turned & (step.word[first] ^ step.word[second]) & ~step.word[-1]
        m.d.comb += [address[bit].eq(step.word[bit] ^ other) for bit in (first, second)]
        with m.If(advance):
            m.d.sync += place.eq(place + 1)
            with m.If(is_action[Action.COMMAND]):
                m.d.sync += place.eq(Array(program.entries[kind] for kind in range(len(program.entries)))[number])
        with m.If(is_action[Action.END]):
            m.d.sync += [signal.eq(0) for signal in (step.as_value(), place, *is_action.values())]
        with m.If(self.vector_start):
            m.d.sync += turned.eq(~turned)
        return step, is_action

    def _calculate(self, m, step, go):
        """The total, and the carry of what is added to it."""
        total, operand = Signal(total_bits(self.config)), Signal(total_bits(self.config))
        with m.Switch(step.operand):
            with m.Case(Operand.WORD):
                m.d.comb += operand.eq(self.word)
            with m.Case(Operand.INVERSE):
                m.d.comb += operand.eq(~Cat(self.word, C(0, len(operand) - len(self.word))))
            with m.Case(Operand.TOTAL):
                m.d.comb += operand.eq(total)
            with m.Case(Operand.ONES):
                m.d.comb += operand.eq(-1)
        one = step.one & (step.operand == Operand.INVERSE)
        added = Signal(len(total) + 1)
        m.d.comb += added.eq(total + operand + one)
        with m.If(go):
            m.d.sync += total.eq(added)
        with m.If(step.clear):
            m.d.sync += total.eq(0)
        return total, added[-1]

    def _judge(self, m, step, is_action, total_carry, more, executes, advance):
        """What a step has found, which its test is about a cycle later; and whether that refuses the command."""
        carry, left, ragged, unexpected, listed, reaches = (Signal(name=name, reset_less=True) for name in (
            "carry", "left", "ragged", "unexpected", "listed", "reaches"))
        undecodable, refuses = Signal(reset_less=True), Signal()
        int8 = (self.flags & Flags.INT8).any()
        with m.If(advance):
            m.d.sync += [
                carry.eq(total_carry),
                left.eq(more),
                ragged.eq(~int8 & self.word[:2].any()),
                unexpected.eq(self.word != self.vector_expected),
                listed.eq(self.ready.bit_select(self.slot, 1)),
                reaches.eq(self.list.words > self.word),
            ]
            with m.If(is_action[Action.STATUS]):
                m.d.sync += undecodable.eq(self.i.payload[-1])
            with m.If(is_action[Action.CONTINUES]):
                m.d.sync += self.vector_opens.eq(~carry)
            with m.If(~executes):
                m.d.sync += carry.eq(0)
        found = Array([C(0), carry, left, ragged, unexpected, undecodable, listed, reaches])[step.test.as_value()]
        m.d.comb += refuses.eq((found ^ step.unless) & ~((step.error == Error.ORDER) & self.vector_opens))
        return carry, refuses

    def _keep(self, m, is_action, step):
        """Kind and arguments, for as long as the command is executed."""
        with m.If(is_action[Action.KIND] & self.i.valid):
            known = (self.i.payload != 0) & (self.i.payload <= max(LAYOUTS))
            m.d.sync += self.kind.eq(Mux(known, self.i.payload, 0))
        with m.If(is_action[Action.FACTOR]):
            m.d.sync += self.factor.eq(self.word)
        with m.If(step.multiply):
            m.d.sync += self.factor.eq(self.factor << 1)
        with m.If(is_action[Action.SLOT]):
            m.d.sync += self.slot.eq(self.word)
        with m.If(is_action[Action.FLAGS]):
            m.d.sync += self.flags.eq(self.word)

    def _start(self, m, is_action, total, carry, refused):
        """What a command that is not refused sets off."""
        does = {action: is_action[action] & ~refused for action in Action}
        five_times = (self.word << 2) + self.word  # as many results has a tile a block
        m.d.comb += [
            self.clear.eq(does[Action.CLEAR]),
            self.registers_start.eq(does[Action.READ] & carry),
            self.load_start.eq(does[Action.LOAD]),
            self.vector_start.eq(does[Action.VECTOR]),
            self.results_start.eq(does[Action.RESULTS]),
            self.result.eq(five_times),
            self.run_write.base.eq(does[Action.BASE]),
            self.run_write.stride.eq(does[Action.STRIDE]),
            self.run_write.blocks.eq(does[Action.BLOCKS]),
            self.run_write.rest.eq(does[Action.RUN]),
            self.o_run.slot.eq(self.slot),
            self.o_run.beats.eq(self.list.beats),
            self.o_run.active.eq(self.list.active),
            self.o_run.base.eq(self.word),
            self.o_run.stride.eq(self.word),
            self.o_run.blocks.eq(self.word),
            self.o_run.destination.eq(self.result),
        ]

    def _waits(self, m, is_action, more, carry, refused):
        """Whether the step goes on in the next cycle."""
        settled, works, filled = Signal(), Signal(), Signal()  # in the cycle before
        m.d.sync += [settled.eq(self.pending == 0), works.eq(self.vector_busy), filled.eq(self.i_registers.valid)]
        takes = is_action[Action.KIND] | is_action[Action.STATUS] | is_action[Action.STORE]
        return (takes & ~self.i.valid
                | is_action[Action.ARGUMENT] & more & ~self.i.valid
                | is_action[Action.DATA] & more
                | is_action[Action.REST] & works
                | is_action[Action.SETTLE] & ~settled & ~refused
                | is_action[Action.QUEUE] & self.waiting & ~refused
                | is_action[Action.FETCH] & carry & ~filled & ~refused)

    def _hand_on(self, m, is_action, more, refused):
        """Takes bytes; those of data go on. Whether one of the payload is taken, where that is what the step does."""
        hands = is_action[Action.DATA] & more
        weights, vector = Signal(reset_less=True), Signal(reset_less=True)  # nothing refuses in the step before DATA
        m.d.sync += [weights.eq(~refused & (self.kind == Kind.WEIGHTS)),
                     vector.eq(~refused & (self.kind == Kind.VECTOR))]
        accepts = (self.o_weights.ready | ~weights) & (self.o_vector.ready | ~vector)
        m.d.comb += [
            self.i.ready.eq(is_action[Action.KIND] | is_action[Action.STATUS] | is_action[Action.STORE]
                            | is_action[Action.ARGUMENT] & more | hands & accepts),
            self.o_weights.payload.eq(self.i.payload),
            self.o_weights.valid.eq(hands & self.i.valid & weights),
            self.o_vector.payload.eq(self.i.payload),
            self.o_vector.valid.eq(hands & self.i.valid & vector),
        ]
        return self.i.valid & more & (is_action[Action.ARGUMENT] | accepts)

    def _answer(self, m, is_action, paying, more, refused, error, total):
        """Offers header and payload of the answer, and an END. Whether a byte is taken, and whether the END is."""
        m.submodules.answer = answer = StreamBuffer(Framed)
        wiring.connect(m, answer.o, wiring.flipped(self.o_payload))
        header, payload, sequence = self.o_header.payload, answer.i, Signal(BYTE, reset_less=True)
        with m.If(is_action[Action.END]):
            m.d.sync += sequence.eq(self.word)
        filled = self.i_registers.valid | self.i_results.valid  # those that were started, and not both
        m.d.comb += [
            header.kind.eq(Mux(refused, Kind.ERROR, self.kind | REPLY)),
            header.sequence.eq(sequence),
            header.length.eq(Mux(refused, 1, total)),
            payload.valid.eq(paying & (refused | ~more | filled)),
            payload.payload.data.eq(Mux(refused, error, Mux(self.i_registers.valid, self.i_registers.payload,
                                                            self.i_results.payload))),
            payload.payload.end.eq(~refused & ~more),
            self.i_registers.ready.eq(paying & payload.ready),
            self.i_results.ready.eq(paying & payload.ready),
        ]
        offers = paying & payload.ready
        return offers & (refused | more & filled), offers & ~refused & ~more

    def _refuse(self, m, step, refuses, is_action):
        """Whether the frame that is executed is refused, and the first reason."""
        refused, error = Signal(), Signal(Error, reset_less=True)
        with m.If(refuses & ~refused):
            m.d.sync += [refused.eq(1), error.eq(step.error)]
        with m.If(is_action[Action.STATUS] & self.i.valid):
            m.d.sync += [refused.eq(self.i.payload[:len(error)].any()), error.eq(self.i.payload)]
        return refused, error

    def elaborate(self, platform):
        m = Module()
        # States, one-hot; ``begins`` while the first steps are fetched.
        begins, running, answering, paying = (Signal(FETCH_LATENCY, init=1), Signal(), Signal(), Signal())
        advance, stops, taken, paid, ended = Signal(), Signal(), Signal(), Signal(), Signal()
        more = Signal()  # bytes of the payload are left, or of the answer's
        step, is_action = self._fetch(m, advance, stops, more)
        goes = ~(is_action[Action.ARGUMENT] | is_action[Action.DATA]) | taken  # no other step that waits adds
        executes = (~step.multiply | self.factor[digits(self.config) - 1]) & ~(
            step.scale & (self.flags & Flags.INT8).any())
        counts = answering & self.o_header.ready | paid
        total, total_carry = self._calculate(m, step, step.accumulate & goes & executes | counts)
        carry, refuses = self._judge(m, step, is_action, total_carry, more, executes, advance)
        refused, error = self._refuse(m, step, refuses, is_action)
        m.d.comb += [
            stops.eq(running & self._waits(m, is_action, more, carry, refused)),
            advance.eq(begins[-1] | running & ~stops),
            taken.eq(self._hand_on(m, is_action, more, refused)),
            Cat(paid, ended).eq(Cat(self._answer(m, is_action, paying, more, refused, error, total))),
            self.o_header.valid.eq(answering),
        ]
        self._keep(m, is_action, step)
        self._start(m, is_action, total, carry, refused)

        with m.If(step.accumulate & (step.operand == Operand.ONES) & goes):
            m.d.sync += more.eq(total.any())  # as the carry tells, but sooner than by the way of a word
        with m.If(counts):
            m.d.sync += more.eq(total.any() & ~refused)
        m.d.sync += begins.eq(begins << 1)
        with m.If(is_action[Action.KIND] & self.i.valid):
            m.d.sync += self.busy.eq(1)
        with m.If(begins[-1]):
            m.d.sync += running.eq(1)
        with m.If(is_action[Action.END]):
            m.d.sync += [running.eq(0), answering.eq(1)]
        with m.If(answering & self.o_header.ready):
            m.d.sync += [answering.eq(0), paying.eq(1)]
        with m.If(paid):
            m.d.sync += refused.eq(0)
        with m.If(ended):
            m.d.sync += paying.eq(0)
        with m.If(self.o_payload.valid & self.o_payload.ready & self.o_payload.payload.end):
            m.d.sync += [begins.eq(1), self.busy.eq(0)]
        return m
