"""Rotary embedding: how far each pair of a head turns for a position."""

from typing import NamedTuple

import numpy as np


__all__ = ["Rope", "frequencies"]


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
