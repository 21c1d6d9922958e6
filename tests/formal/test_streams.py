"""Every stream keeps its rules: what is offered stays until it is taken, and no valid waits for a ready."""

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import PRESETS
from hdl.counters import Counters
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


COMPONENTS = {"stage": lambda: Stage(8), "slip_decoder": SlipDecoder, "slip_encoder": SlipEncoder,
              "receiver": FrameReceiver, "transmitter": FrameTransmitter, "results": lambda: Results(CONFIG),
              "counters": lambda: Counters(CONFIG), "loader": lambda: Loader(CONFIG),
              "executor": lambda: Executor(CONFIG)}


@pytest.mark.parametrize("name", COMPONENTS)
def test_streams(name):
    component = COMPONENTS[name]()
    assert_no_valid_on_ready(component, name)
    prove(StreamRules(component), name, depth=4)
