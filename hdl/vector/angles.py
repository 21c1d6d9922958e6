"""cos and sin of a phase, from a quarter of a wave."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.lanes import LANE_BITS
from ...golden.rotary import TURN_BITS, WAVE_BITS
from ..technology.memory import BLOCK_LATENCY


__all__ = ["ANGLE_LATENCY", "Angles"]


ANGLE_LATENCY = 3 + BLOCK_LATENCY  # cycles from ``frequency`` and ``position`` until ``o`` is right


class Angles(wiring.Component):
    """golden.rotary.waves of one pair: the phase is ``frequency`` times ``position``.

    The quarter of the wave lies in a memory elsewhere, whose word is there BLOCK_LATENCY cycles after its place.

    Members
    -------
    frequency : In(24)
    position : In(position_bits)
        Both hold.
    sine : In(1)
        Of ``o``, a cycle less later; else the cosine.
    place : Out(8)
        In golden.rotary.WAVE.
    magnitude : In(16)
        What lies there.
    o : Out(signed(18))
    """

    def __init__(self, *, position_bits):
        super().__init__({"frequency": In(TURN_BITS), "position": In(position_bits), "sine": In(1),
                          "place": Out(WAVE_BITS), "magnitude": In(16), "o": Out(signed(LANE_BITS))})

    def elaborate(self, platform):
        m = Module()
        phase, step = Signal(TURN_BITS, reset_less=True), Signal(WAVE_BITS + 2, reset_less=True)
        negative = Signal(BLOCK_LATENCY, reset_less=True)  # of the magnitudes that are on their way
        m.d.sync += [
            phase.eq(self.frequency * self.position),
            step.eq(phase[TURN_BITS - WAVE_BITS - 2:] + (~self.sine << WAVE_BITS)),
            negative.eq(Cat(step[-1], negative)),
            self.o.eq(Mux(negative[-1], -self.magnitude, self.magnitude)),
        ]
        m.d.comb += self.place.eq(step[:WAVE_BITS] ^ step[WAVE_BITS].replicate(WAVE_BITS))
        return m
