"""Rotary embedding: how far each pair of a head turns for a position."""

from typing import NamedTuple

import numpy as np


__all__ = ["ROPE_BITS", "TURN_BITS", "WAVE", "Rope", "fixed_frequencies", "frequencies", "waves"]


TURN_BITS = 24  # of a phase, in which a whole turn is 2**24
WAVE_BITS = 8  # address of a quarter of a wave
ROPE_BITS = 15
WAVE = np.minimum(np.rint(np.ldexp(np.sin((np.arange(1 << WAVE_BITS) + 0.5) * np.pi / (2 << WAVE_BITS)), ROPE_BITS)),
                  (1 << ROPE_BITS) - 1).astype(np.int64)


class Rope(NamedTuple):
    """What decides the angles of a rotary embedding (arXiv 2104.09864).

    Members
    -------
    theta : float
        Its base: pair j of D / 2 turns by theta**(-2 j / D) radians a position, or by less where ``factor`` is not 1.
    factor : float
        Linear scaling (arXiv 2306.15595): angles are divided by it.
    bands : (float, float, int) or None
        Llama 3's scaling (arXiv 2407.21783): low, high, and the context of the training before. Pairs that turn less
        than ``low`` times within that context are divided by ``factor``, those that turn more than ``high`` times are
        not, and in between both are blended. None: all are divided.
    """
    theta: float
    factor: float = 1.0
    bands: tuple | None = None


def frequencies(rope, head_dim, kind=np.float64):  # -> kind [head_dim / 2]
    """Radians a position of each pair of a head, computed in float64, or in float32 as transformers does."""
    plain = 1 / kind(rope.theta) ** (np.arange(0, head_dim, 2, dtype=kind) / kind(head_dim))
    divided = plain / kind(rope.factor)
    if rope.bands is None:
        return divided
    low, high, context = rope.bands
    turns = context / (2 * np.pi / plain)
    kept = np.clip((turns - kind(low)) / (kind(high) - kind(low)), 0, 1)
    return ((1 - kept) * divided + kept * plain).astype(kind)


def fixed_frequencies(rope, head_dim):  # -> int64 [head_dim / 2]
    """The part of a turn by which each pair turns for a position, in units of 2**-24, half to even."""
    return np.rint(np.ldexp(frequencies(rope, head_dim) / (2 * np.pi), TURN_BITS)).astype(np.int64)


def waves(frequencies, position):  # int64 [n], int -> int64 [n] twice, of 16 bits
    """cos and sin of each pair's phase in Q1.15, from a table of 1024 steps a turn of which a quarter is stored.

    A phase stands for the middle of its step.
    """
    steps = (frequencies * position & (1 << TURN_BITS) - 1) >> TURN_BITS - WAVE_BITS - 2

    def sine(steps):
        index, quarter = steps & (1 << WAVE_BITS) - 1, steps >> WAVE_BITS & 3
        magnitude = WAVE[np.where(quarter & 1, (1 << WAVE_BITS) - 1 - index, index)]
        return np.where(quarter & 2, -magnitude, magnitude)

    return sine(steps + (1 << WAVE_BITS)), sine(steps)
