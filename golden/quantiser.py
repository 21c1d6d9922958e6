"""Quantisers of activations to int8: by a reciprocal of the maximum, and to fixed steps."""

import numpy as np

from .lanes import MAX_SHIFT
from .rounding import half_up_shift, limit
from .scalars import divide, normalise


__all__ = ["reciprocal_quantise", "step_quantise"]


ABSMAX = 127


def reciprocal_quantise(y):  # int64 [..., n] of 18 bits -> int8 [..., n], int64 [...]
    """q = round_half_up(y r), r the largest scalar that is not above 127 / m, m = max |y|; m = 0 gives q = 0.

    |y| r is at most 127, so that nothing saturates; q differs by at most one from the absmax quantiser of BitNet b1.58
    (arXiv 2402.17764), sign(y) round_half_even(127 |y| / m).
    """
    m = np.abs(y).max(-1)
    r = divide(normalise(ABSMAX, 0), normalise(np.maximum(m, 1), 0))
    return half_up_shift(y * r.mantissa[..., None], -r.exponent[..., None]).astype(np.int8), m


def step_quantise(y, factor, shift, levels):  # int64 [..., n], int64 [...], int64 [...] -> int8 [..., n]
    """round_half_up(y factor / 2**shift), limited to magnitudes of ``levels``."""
    return limit(half_up_shift(y * factor[..., None], np.minimum(shift, MAX_SHIFT)[..., None]), levels).astype(np.int8)
