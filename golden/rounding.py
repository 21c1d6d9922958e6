"""Every rounding and saturation of the integer model, by name. All integers are int64 unless a range says less."""

import contextlib
import contextvars

import numpy as np


__all__ = ["bit_length", "count_saturations", "floor_shift", "half_up_shift", "integer_sqrt", "limit",
           "saturate"]


_counts = contextvars.ContextVar("counts", default=None)


@contextlib.contextmanager
def count_saturations():
    """The context's value is a list to which every saturation within it appends how many values were out of range."""
    counts = []
    token = _counts.set(counts)
    try:
        yield counts
    finally:
        _counts.reset(token)


def _clip(value, low, high):
    clipped = np.clip(value, low, high)
    if (counts := _counts.get()) is not None:
        counts.append(int((clipped != value).sum()))
    return clipped


def bit_length(value):  # int64 [...] in [0, 2**63) -> int64 [...] in [0, 63]
    """Bits of a non-negative integer, as int.bit_length; 0 has none."""
    high, low = np.asarray(value, np.int64) >> 32, np.asarray(value, np.int64) & 0xffffffff  # both exact in float64
    return np.where(high > 0, np.frexp(high.astype(np.float64))[1] + 32,
                    np.frexp(low.astype(np.float64))[1]).astype(np.int64)


def floor_shift(value, shift):  # int64 [...], shift in [0, 63] -> int64 [...]
    """floor(value / 2**shift)."""
    return np.asarray(value, np.int64) >> shift


def half_up_shift(value, shift):  # int64 [...], |value| < 2**62, shift in [0, 62] -> int64 [...]
    """floor(value / 2**shift + 1/2): ties go up, towards +infinity."""
    half = np.left_shift(np.int64(1), shift) >> 1
    return (np.asarray(value, np.int64) + half) >> shift


def saturate(value, bits):  # int64 [...], bits in [2, 63] -> int64 [...]
    """The nearest integer that is a two's complement number of so many bits."""
    return _clip(value, -(1 << bits - 1), (1 << bits - 1) - 1)


def limit(value, largest):  # int64 [...], int >= 0 -> int64 [...]
    """The nearest integer whose magnitude is at most ``largest``."""
    return _clip(value, -largest, largest)


def integer_sqrt(value):  # int64 [...] in [0, 2**62) -> int64 [...]
    """floor(sqrt(value)): the root in float64 is at most one off and is put right in integers."""
    value = np.asarray(value, np.int64)
    root = np.sqrt(value.astype(np.float64)).astype(np.int64)
    root = root - (root * root > value)
    return root + ((root + 1) * (root + 1) <= value)
