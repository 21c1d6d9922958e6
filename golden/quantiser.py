"""The absmax int8 quantiser of activations, on integers and exactly rational."""

import numpy as np

from .rounding import bit_length, round_half_even, truncate_shift


__all__ = ["NARROW_BITS", "absmax_quantise", "narrow"]


NARROW_BITS = 30


def narrow(y, bits=NARROW_BITS):  # int64 [..., n], |y| <= 2**62 -> int64 [..., n], |.| < 2**bits; int64 [...]
    """Shift a vector right until its largest magnitude fits so many bits, truncating magnitudes; also the shift."""
    shift = np.maximum(bit_length(np.abs(y).max(-1)) - bits, 0)
    return truncate_shift(y, shift[..., None]), shift


def absmax_quantise(y):  # int32 range [..., n] -> int8 [..., n], int64 [...]
    """q = sign(y) round_half_even(127 |y| / m), m = max |y|, of BitNet b1.58 (arXiv 2402.17764); m = 0 gives q = 0."""
    magnitude = np.abs(np.asarray(y, np.int64))
    m = magnitude.max(-1)
    q = round_half_even(127 * magnitude, np.maximum(m, 1)[..., None])
    return (np.sign(y) * q).astype(np.int8), m
