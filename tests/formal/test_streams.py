"""Every stream keeps its rules: what is offered stays until it is taken, and no valid waits for a ready."""

import pytest
from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import PRESETS
from hdl.executor import Executor
from hdl.frame import FrameReceiver, FrameTransmitter
from hdl.loader import Loader
from hdl.results import Results
from hdl.slip import SlipDecoder, SlipEncoder
from hdl.stage import Stage
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


def no_start_while_busy(m, results):
    m.d.comb += Assume(~(results.busy & results.start))


COMPONENTS = {  # with what is assumed of other ports
    "stage": (lambda: Stage(8), {}),
    "slip_decoder": (SlipDecoder, {}),
    "slip_encoder": (SlipEncoder, {}),
    "receiver": (FrameReceiver, {}),
    "transmitter": (FrameTransmitter, {}),
    "results": (lambda: Results(CONFIG), {"may_withdraw": "clear", "assume": no_start_while_busy}),
    "loader": (lambda: Loader(CONFIG), {}),
}


@pytest.mark.parametrize("name", COMPONENTS)
def test_streams(name):
    """For all inputs and without a bound in time."""
    component, assumed = COMPONENTS[name]
    assert_no_valid_on_ready(component(), name)
    prove(StreamRules(component(), **assumed), name, depth=6)


def test_executor():
    """From reset on, through the header of a frame and what answers it."""
    assert_no_valid_on_ready(Executor(CONFIG), "executor")
    prove(StreamRules(Executor(CONFIG)), "executor", depth=24, bounded=True)
