"""cos and sin of a phase, from a quarter of a wave."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...golden.lanes import LANE_BITS
from ...golden.rotary import TURN_BITS, WAVE, WAVE_BITS


__all__ = ["ANGLE_LATENCY", "Angles"]


ANGLE_LATENCY = 4  # cycles from ``start`` until both are right


class Angles(wiring.Component):
    """golden.rotary.waves of one pair: the phase is ``frequency`` times ``position``.

    ``cos`` is there ANGLE_LATENCY cycles after ``frequency`` and ``position``, ``sin`` too, as long as both hold.

    Members
    -------
    frequency : In(24)
    position : In(position_bits)
    cos, sin : Out(signed(18))
    """

    def __init__(self, *, position_bits):
        super().__init__({"frequency": In(TURN_BITS), "position": In(position_bits),
                          "cos": Out(signed(LANE_BITS)), "sin": Out(signed(LANE_BITS))})

    def elaborate(self, platform):
        m = Module()
        phase = Signal(TURN_BITS, reset_less=True)
        m.d.sync += phase.eq(self.frequency * self.position)
        m.submodules.wave = wave = Memory(shape=len(bin(int(WAVE.max()))) - 2, depth=len(WAVE), init=WAVE.tolist())
        for name, o, ahead in (("cos", self.cos, 1), ("sin", self.sin, 0)):
            port = wave.read_port(domain="sync")
            step = Signal(WAVE_BITS + 2, name=f"{name}_step", reset_less=True)
            negative = Signal(name=f"{name}_negative", reset_less=True)
            m.d.sync += [step.eq(phase[TURN_BITS - WAVE_BITS - 2:] + (ahead << WAVE_BITS)), negative.eq(step[-1])]
            backwards = step[WAVE_BITS].replicate(WAVE_BITS)
            m.d.comb += port.addr.eq(step[:WAVE_BITS] ^ backwards)
            m.d.sync += o.eq(Mux(negative, -port.data, port.data))
        return m
