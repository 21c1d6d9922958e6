"""Every stream keeps its rules: what is offered stays until it is taken, and no valid waits for a ready."""

from functools import reduce
from operator import add, or_

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import PRESETS
from hdl.executor import Executor
from hdl.frame import FrameReceiver, FrameTransmitter
from hdl.registers import Kind
from hdl.results import Results
from hdl.slip import SlipDecoder, SlipEncoder
from hdl.stage import Stage
from hdl.steps import Action, Condition, StepLayout
from sim.formal import Disproved, StreamRules, assert_no_valid_on_ready, prove


CONFIG = PRESETS["1x5"]


class Fickle(wiring.Component):
    """Breaks both rules."""
    i: In(stream.Signature(4))
    o: Out(stream.Signature(4))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid & self.o.ready),
                     self.i.ready.eq(1)]
        return m


def test_fickle():
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


def test_forgetful():
    with pytest.raises(Disproved, match=r"forgetful: .*formal.py:\d+.* fails in 4 cycles: .*forgetful.vcd"):
        prove(StreamRules(Forgetful()), "forgetful", depth=4)


def no_start_while_busy(opened):
    return Assume(~(opened.component.busy & opened.component.start))


def executor_states(opened):
    """Of its states there is one; what is fetched is no step before one of data that has to do with refusing."""
    inside = opened.inside()
    answer, code, running, begins = (inside.m.submodules.answer, opened.inside(inside.m.submodules.code),
                                     inside.running, inside.begins)
    last, ends = opened.inside(answer), answer.o.valid & answer.o.payload.end
    states = (begins.any(), running, inside.answering, inside.paying, ends, last.full & last.spare.end)
    step, is_action = inside.step, inside.is_action
    fetched = [step, *map(StepLayout, (code.data, code.word, code.read.data))]

    def quiet(step):
        return ((step.test == Condition.NEVER) & ~step.unless & (step.action != Action.STATUS)
                & (step.action != Action.KIND))

    return [
        Assert(reduce(add, states) == 1),
        Assert(begins & (begins - 1) == 0),
        Assert(~last.full | answer.o.valid),
        Assert(running | (step.as_value() == 0) & (inside.place == 0) & ~reduce(or_, is_action.values())),
        *[Assert(~flag | (step.action == action)) for action, flag in is_action.items()],
        *[Assert((step.action != Action.DATA) | quiet(step)) for step in fetched],
        *[Assert((after.action != Action.DATA) | quiet(before)) for before, after in zip(fetched, fetched[1:])],
        Assert(~is_action[Action.DATA]
               | (inside.weights == (~inside.refused & (opened.component.kind == Kind.WEIGHTS)))),
        Assert(~is_action[Action.DATA]
               | (inside.vector == (~inside.refused & (opened.component.kind == Kind.VECTOR)))),
    ]


COMPONENTS = {  # with what is assumed of other ports
    "stage": (lambda: Stage(8), {}),
    "slip_decoder": (SlipDecoder, {}),
    "slip_encoder": (SlipEncoder, {}),
    "receiver": (FrameReceiver, {}),
    "transmitter": (FrameTransmitter, {}),
    "executor": (lambda: Executor(CONFIG), {"also": executor_states}),
    "results": (lambda: Results(CONFIG), {"may_withdraw": "clear", "also": no_start_while_busy}),
}


@pytest.mark.parametrize("name", COMPONENTS)
def test_streams(name):
    """For all inputs and without a bound in time."""
    component, options = COMPONENTS[name]
    assert_no_valid_on_ready(component(), name)
    prove(StreamRules(component(), **options), name, depth=2)
