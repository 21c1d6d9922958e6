"""Gumbel noise for the lanes: golden.sampling, a number a cycle."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.sampling import MIXING, NOISE, OCTAVE, SHIFTS, STATE_BITS, TAIL, TAIL_BITS, UNIFORM_BITS
from ..technology.table import Table


__all__ = ["NOISE_BITS", "Noise", "first_pause", "next_pause"]


NOISE_BITS = 12
PIPELINE = 2  # cycles from a state to the number among the lanes'


def first_pause(lanes):
    """Cycles between ``start`` and the first ``take``."""
    return MIXING + lanes + PIPELINE


def next_pause(lanes):
    """Cycles between one ``take`` and the next."""
    return lanes + PIPELINE


class Noise(wiring.Component):
    """Numbers of a position's tokens, as many as there are lanes at a time.

    A drawing of the cycles; each name is a register::

        state -> part, rest -> waiting ... -> o

    Parameters
    ----------
    lanes : int

    Members
    -------
    start : In(1)
        Begin with the first token of ``position``.
    seed : In(32)
    position : In(16)
    take : In(1)
        ``o`` are the next numbers from the next cycle on; first_pause and next_pause say when there are some.
    o : Out(signed(12)), one for each lane
    """

    def __init__(self, *, lanes):
        self.lanes = lanes
        super().__init__({"start": In(1), "seed": In(STATE_BITS), "position": In(TAIL_BITS), "take": In(1),
                          "o": Out(signed(NOISE_BITS)).array(lanes)})

    def elaborate(self, platform):
        m = Module()
        state, left = Signal(STATE_BITS), Signal(range(MIXING + self.lanes + 1))
        first = self.seed ^ Cat(self.position, self.position)
        following = state
        for shift in SHIFTS:
            following = following ^ (following << shift if shift > 0 else following >> -shift)[:STATE_BITS]
        drawn = Signal()  # ``state`` is that of a number
        with m.If(self.start):
            m.d.sync += [state.eq(Mux(first == 0, 1, first)), left.eq(MIXING + self.lanes), drawn.eq(0)]
        with m.Elif(self.take):
            m.d.sync += [left.eq(self.lanes), drawn.eq(0)]
        with m.Else():
            m.d.sync += drawn.eq((left != 0) & (left <= self.lanes))
            with m.If(left != 0):
                m.d.sync += [state.eq(following), left.eq(left - 1)]

        # The table has no negative numbers: its contents are above the smallest.
        lowest = int(NOISE.min())
        m.submodules.parts = parts = Table([*(NOISE - lowest).tolist(), 0])
        m.submodules.tails = tails = Table(TAIL.tolist())
        part, last, ready = (Signal(signed(NOISE_BITS), reset_less=True), Signal(reset_less=True), Signal())
        octaves, mantissa = Signal(range(TAIL_BITS + 1), reset_less=True), Signal.like(tails.i, reset_less=True)
        m.d.comb += [parts.i.eq(state[-UNIFORM_BITS:]), tails.i.eq(mantissa)]
        m.d.sync += [ready.eq(drawn), part.eq(parts.o + lowest), last.eq(state[-UNIFORM_BITS:].all()),
                     octaves.eq(TAIL_BITS), mantissa.eq(0)]
        for place in range(TAIL_BITS):  # the highest one of the rest, and the bits behind it
            behind = Cat(C(0, max(len(mantissa) - place, 0)), state[max(place - len(mantissa), 0):place])
            with m.If(state[place]):
                m.d.sync += [octaves.eq(TAIL_BITS - 1 - place), mantissa.eq(behind)]

        number = Signal(signed(NOISE_BITS))
        m.d.comb += number.eq(Mux(last, ((octaves + UNIFORM_BITS) * OCTAVE + tails.o).as_signed()[:NOISE_BITS], part))
        waiting = Signal(NOISE_BITS * self.lanes, reset_less=True)
        with m.If(ready):
            m.d.sync += waiting.eq(Cat(waiting[NOISE_BITS:], number))
        with m.If(self.take):
            m.d.sync += [o.eq(waiting.word_select(lane, NOISE_BITS)) for lane, o in enumerate(self.o)]
        return m
