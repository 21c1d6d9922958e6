"""The operation of a lane of the vector unit, on elements of 18 bits, and what scalars and sums are as its operands."""

import numpy as np

from .rounding import bit_length, half_up_shift, saturate


__all__ = ["LANE_BITS", "MAX_SHIFT", "lane", "magnitude_bits", "narrow_shift", "narrow_sums", "operand", "scaled"]


LANE_BITS = 18
MAX_SHIFT = 31
LARGEST = (1 << LANE_BITS - 1) - 1


def lane(a, b, shift, c=0):  # int64 [...] of 18 bits three times, shift int64 [...] in [0, 31] -> int64 [...]
    """a b / 2**shift, rounded half up, plus c, saturated to 18 bits."""
    return saturate(half_up_shift(a * b, shift) + c, LANE_BITS)


def operand(scalar):  # Scalar [...] -> int64 [...] in [0, 2**17), int64 [...] in [0, 31]
    """Factor and shift of a lane that multiply by the scalar.

    A scalar below 2**-31 loses the low bits of its mantissa, and one of 2**17 or above becomes the largest factor.
    """
    left, right = np.clip(scalar.exponent, 0, LANE_BITS), np.clip(-scalar.exponent - MAX_SHIFT, 0, LANE_BITS)
    factor = np.minimum(scalar.mantissa << left >> right, LARGEST)
    return factor, np.clip(-scalar.exponent, 0, MAX_SHIFT)


def scaled(a, scalar, c=0):  # int64 [..., n] of 18 bits, Scalar [...], int64 [..., n] of 18 bits -> int64 [..., n]
    """a times one scalar a vector, rounded half up, plus c, saturated to 18 bits."""
    factor, shift = operand(scalar)
    return lane(a, factor[..., None], shift[..., None], c)


def magnitude_bits(x):  # int64 [..., n] -> int64 [...]
    """Bits of the largest magnitude of a vector."""
    return bit_length(np.abs(x).max(-1))


def narrow_shift(bound):  # int > 0 -> int
    """How far sums of at most that magnitude are shifted to fit a lane."""
    return max(int(bound).bit_length() - (LANE_BITS - 1), 0)


def narrow_sums(sums, shift):  # int64 [...], int64 [...] in [0, 31] -> int64 [...] of 18 bits
    """Sums of the array as the lanes take them: shifted right, rounded half up, and saturated."""
    return saturate(half_up_shift(sums, shift), LANE_BITS)
