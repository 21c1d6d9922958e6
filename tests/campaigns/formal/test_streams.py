"""Every stream keeps its rules: what is offered stays until it is taken, and no valid waits for a ready."""

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hdl.control.commander import Commander
from setun.hdl.link.frame import FrameReceiver, FrameTransmitter, Ring
from setun.hdl.link.serial import SerialTop
from setun.hdl.link.slip import SlipDecoder, SlipEncoder
from setun.hdl.link.stream_buffer import StreamBuffer
from setun.hdl.link.uart import Uart, UartReceiver, UartTransmitter
from setun.hdl.machine import Machine
from setun.sim.verify.formal import Disproved, Opened, StreamRules, assert_no_valid_on_ready, prove, streams_of
from tests.support.boards import TINY


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


COMPONENTS = {
    StreamBuffer: lambda: StreamBuffer(8),
    SlipDecoder: SlipDecoder,
    SlipEncoder: SlipEncoder,
    FrameReceiver: FrameReceiver,
    FrameTransmitter: FrameTransmitter,
    Uart: lambda: Uart(clock=CLOCK, baud=BAUD),
}
ONLY_TAKE, ALWAYS_READY = "offers nothing", "what it offers is taken at once"
EXCLUDED = {
    Machine: "offers what its FrameTransmitter does",
    Commander: "tests/machine has its answers with stalls",
    Ring: "its FrameReceiver offers what it does",
    UartTransmitter: ONLY_TAKE,
    UartReceiver: ALWAYS_READY,
}


def test_every_stream():
    """Every component that has a stream is proved or excluded for a reason."""
    found = set()
    opened = Opened(SerialTop(TINY, clock=CLOCK, baud=BAUD))
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
    assert_no_valid_on_ready(COMPONENTS[kind](), kind.__name__)
    prove(StreamRules(COMPONENTS[kind]()), kind.__name__, depth=6)
