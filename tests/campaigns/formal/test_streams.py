"""Every stream keeps its rules: what is offered stays until it is taken, and no valid waits for a ready."""

from functools import reduce
from itertools import pairwise
from operator import add, or_

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hdl.array.lists import ListBuilder
from setun.hdl.array.loader import Loader
from setun.hdl.array.results import Results
from setun.hdl.config import PRESETS
from setun.hdl.control.counters import Counters
from setun.hdl.control.executor import Executor
from setun.hdl.control.program import Program
from setun.hdl.control.steps import Action, StepLayout
from setun.hdl.link.frame import FrameReceiver, FrameTransmitter, Ring
from setun.hdl.link.serial import SerialTop
from setun.hdl.link.slip import SlipDecoder, SlipEncoder
from setun.hdl.link.stream_buffer import StreamBuffer
from setun.hdl.link.uart import Uart, UartReceiver, UartTransmitter
from setun.hdl.protocol import Kind
from setun.hdl.top import Top
from setun.hdl.vector.elements import Elements, SerialElements
from setun.hdl.vector.quantiser import Quantiser
from setun.hdl.vector.vector import VectorUnit
from setun.sim.verify.formal import Disproved, Opened, StreamRules, assert_no_valid_on_ready, prove, streams_of


CONFIG = PRESETS["1x5"]
CLOCK, BAUD = 12_000_000, 1_500_000


class Fickle(wiring.Component):
    """Breaks both rules."""
    i: In(stream.Signature(4))
    o: Out(stream.Signature(4))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid & self.o.ready),
                     self.i.ready.eq(1)]
        return m


def test_refutes_fickle():
    with pytest.raises(Disproved, match="valid or payload of o depends on its ready"):
        assert_no_valid_on_ready(Fickle(), "fickle")


class Forgetful(wiring.Component):
    """Offers what comes in, however long that stays."""
    i: In(8)
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.payload.eq(self.i), self.o.valid.eq(1)]
        return m


def test_refutes_forgetful():
    with pytest.raises(Disproved, match=r"forgetful: .*formal.py:\d+.* fails in 4 cycles: .*forgetful.vcd"):
        prove(StreamRules(Forgetful()), "forgetful", depth=4)


def no_start_while_busy(m, opened):
    m.d.comb += Assume(~(opened.component.busy & opened.component.start))


def no_pulse_while_frozen(m, opened):
    counters, inside = opened.component, opened.inside()
    m.d.comb += [
        Assume(~(inside.frozen & (counters.start | counters.clear))),
        Assert(inside.frozen | ~(inside.draining | inside.drained | inside.reading)),
        Assert(~inside.reading | ~(inside.draining | inside.drained) & ((inside.time == 0) | (inside.age == 0))),
        Assert(~inside.summed | inside.drained & ~inside.reading),
    ]


def follows_its_program(m, opened):
    """The Executor is in one state, and what it has fetched is of the program of its kind: so it writes no run while
    one waits, where none waits that it has not written."""
    executor, inside, program = opened.component, opened.inside(), Program(opened.component.config)
    answer, code = inside.m.submodules.answer, opened.inside(inside.m.submodules.code)
    running, begins, place, is_action, kind = (inside.running, inside.begins, inside.place, inside.is_action,
                                               Value.cast(executor.kind))
    last = opened.inside(answer)
    states = (begins.any(), running, inside.answering, inside.paying, answer.o.valid & answer.o.payload.end,
              last.full & last.spare.end)
    m.d.comb += [
        Assert(reduce(add, states) == 1),
        Assert(begins & (begins - 1) == 0),
        Assert(~last.full | answer.o.valid),
        Assert(running | (inside.step.as_value() == 0) & (place == 0) & ~reduce(or_, is_action.values())),
        *[Assert(flag == running & (inside.step.action == action)) for action, flag in is_action.items()],
    ]

    def refusing(step):
        """What a step does and what it refuses."""
        return Cat(step.action, step.test, step.unless)

    # Places of the step and of those that are fetched behind it: each follows the one before or, three behind COMMAND,
    # is where a program begins. They tell the kind, up to its END; what is behind that is never a step.
    step, kept, data, word = (Signal.like(place, name=name, reset_less=True) for name in (
        "step", "kept", "data", "word"))
    flows = inside.lag.flows
    following = Mux(flows, data, kept), Mux(flows, word, data), Mux(flows, place, word)
    m.d.sync += kept.eq(following[0])
    with m.If(inside.advance):
        m.d.sync += step.eq(following[0])
    with m.If(flows):
        m.d.sync += [data.eq(word), word.eq(place)]
    m.d.comb += Assert(flows | running & (word == place) & ~is_action[Action.COMMAND] & ~is_action[Action.END])
    actions = [fields.get("action", Action.NONE) for fields in program.code]
    entries, ends = list(program.entries.values()), [at for at, action in enumerate(actions) if action == Action.END]
    idle = actions.index(Action.COMMAND) + 3
    rom = Array(refusing(StepLayout.const(fields)) for fields in program.code)
    lag = opened.inside(inside.lag)
    for where, held, fetched in ((step, running, inside.step), (kept, ~flows, StepLayout(lag.kept)),
                                 (data, C(1), StepLayout(code.data)), (word, C(1), StepLayout(code.word))):
        m.d.comb += Assert(~held | (where >= len(rom)) | (refusing(fetched) == rom[where]))
    m.d.comb += [Assert(~begins[1] | (word == 0)), Assert(~begins[2] | (word == 0) & (data == 0)),
                 Assert(kind < len(entries))]
    with m.If(running):
        ended = 0
        for before, after in pairwise((step, *following)):
            ended |= before.matches(*ends)
            m.d.comb += Assert((after == (before + 1)[:len(place)]) | (before == 0) & (after == 0)
                               | (before == idle) & (after == Array(entries)[kind]))
            m.d.comb += Assert(ended | (after <= idle) | (after >= Array(entries)[kind]) & (after <= Array(ends)[kind]))
        m.d.comb += Assert((step <= idle) | (step >= Array(entries)[kind]) & (step <= Array(ends)[kind]))
    with m.If(is_action[Action.DATA]):
        goes = [~inside.refused & (executor.kind == kind) for kind in (Kind.WEIGHTS, Kind.VECTOR)]
        m.d.comb += [Assert(inside.weights == goes[0]), Assert(inside.vector == goes[1])]

    # From QUEUE to RUN.
    free, queue, run = Signal(init=1), actions.index(Action.QUEUE), actions.index(Action.RUN)
    m.d.sync += free.eq(~executor.waiting & ~executor.run_write.rest)
    m.d.comb += [Assume(~free | ~executor.waiting),
                 Assert(~(executor.waiting & executor.run_write.as_value().any()))]
    with m.If(running & (step > queue) & (step <= run)):
        m.d.comb += Assert(inside.refused | ~executor.waiting)


COMPONENTS = {  # with what is assumed of other ports
    StreamBuffer: (lambda: StreamBuffer(8), {}),
    SlipDecoder: (SlipDecoder, {}),
    SlipEncoder: (SlipEncoder, {}),
    FrameReceiver: (FrameReceiver, {}),
    FrameTransmitter: (FrameTransmitter, {}),
    Executor: (lambda: Executor(CONFIG), {"also": follows_its_program}),
    Results: (lambda: Results(CONFIG), {"may_withdraw": "clear", "also": no_start_while_busy}),
    Counters: (lambda: Counters(CONFIG), {"also": no_pulse_while_frozen}),
    Quantiser: (Quantiser, {}),
    Uart: (lambda: Uart(clock=CLOCK, baud=BAUD), {}),
}
ONLY_TAKE, ALWAYS_READY = "offers nothing", "what it offers is taken at once"
EXCLUDED = {
    Top: "offers what its FrameTransmitter does",
    Ring: "its FrameReceiver offers what it does",
    Loader: ONLY_TAKE,
    VectorUnit: ONLY_TAKE,
    ListBuilder: ONLY_TAKE,
    UartTransmitter: ONLY_TAKE,
    UartReceiver: ALWAYS_READY,
    Elements: ALWAYS_READY,
    SerialElements: ALWAYS_READY,
}


def test_every_stream():
    """Every component that has a stream, of machines with all kinds of parts, is proved or excluded for a reason."""
    found = set()
    for name in "1x5", "4x10-spram":
        opened = Opened(SerialTop(PRESETS[name], clock=CLOCK, baud=BAUD))
        for component in opened.components:
            if not isinstance(component, wiring.Component):
                continue
            offered = streams_of(component, Out)
            found |= {type(component)} if offered or streams_of(component, In) else set()
            reason = EXCLUDED.get(type(component))
            assert reason != ONLY_TAKE or not offered
            assert reason != ALWAYS_READY or all(port.signature.always_ready for port in offered.values())
    assert found == COMPONENTS.keys() | EXCLUDED.keys() and not COMPONENTS.keys() & EXCLUDED.keys()


@pytest.mark.parametrize("kind", COMPONENTS, ids=lambda kind: kind.__name__)
def test_streams(kind):
    """For all inputs and without a bound in time."""
    component, options = COMPONENTS[kind]
    assert_no_valid_on_ready(component(), kind.__name__)
    prove(StreamRules(component(), **options), kind.__name__, depth=1 if kind == Executor else 6)
