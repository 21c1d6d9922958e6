"""Positive scalars of 16 bits: what is left of scales, norms and denominators when the int8 path has dropped them.

A scalar is mantissa * 2**exponent with a normalised mantissa in [2**15, 2**16); zero is mantissa 0 and exponent 0. The
exponent is an int16. All operations truncate: the result is the largest scalar that is not above the exact one.
"""

from typing import NamedTuple

import numpy as np

from .rounding import bit_length, floor_shift, integer_sqrt


__all__ = ["MANTISSA_BITS", "ONE", "Scalar", "add", "divide", "map_parts", "multiply", "normalise",
           "scale_by_power", "square_root", "to_float"]


MANTISSA_BITS = 16


class Scalar(NamedTuple):
    """Positive numbers, or zero: mantissa * 2**exponent."""
    mantissa: np.ndarray  # int64 [...], 0 or in [2**15, 2**16)
    exponent: np.ndarray  # int64 [...], in the range of int16


ONE = Scalar(np.int64(1 << MANTISSA_BITS - 1), np.int64(1 - MANTISSA_BITS))


def normalise(value, exponent):  # int64 [...] in [0, 2**63), int64 [...] -> Scalar [...]
    """value * 2**exponent, truncated to a scalar."""
    value = np.asarray(value, np.int64)
    shift = bit_length(value) - MANTISSA_BITS
    mantissa = floor_shift(value << np.maximum(-shift, 0), np.maximum(shift, 0))
    return Scalar(mantissa, np.where(value > 0, exponent + shift, 0))


def multiply(a, b):  # Scalar [...], Scalar [...] -> Scalar [...]
    """a b: a product of mantissas has 31 or 32 bits."""
    product = a.mantissa * b.mantissa
    shift = MANTISSA_BITS - 1 + (product >> 2 * MANTISSA_BITS - 1)
    return Scalar(floor_shift(product, shift), np.where(product > 0, a.exponent + b.exponent + shift, 0))


def divide(a, b):  # Scalar [...], Scalar [...] -> Scalar [...]
    """a / b: a quotient of mantissas, the first widened by 16 bits, has 16 or 17 bits. a / 0 is 0."""
    quotient = np.where(b.mantissa > 0, (a.mantissa << MANTISSA_BITS) // np.maximum(b.mantissa, 1), 0)
    shift = quotient >> MANTISSA_BITS
    return Scalar(floor_shift(quotient, shift),
                  np.where(quotient > 0, a.exponent - b.exponent - MANTISSA_BITS + shift, 0))


def add(a, b):  # Scalar [...], Scalar [...] -> Scalar [...]
    """a + b: the smaller one is aligned to 16 bits below the last of the larger one."""
    exponent = np.maximum(np.where(a.mantissa > 0, a.exponent, b.exponent),
                          np.where(b.mantissa > 0, b.exponent, a.exponent))
    aligned = [floor_shift(term.mantissa << MANTISSA_BITS, np.clip(exponent - term.exponent, 0, 63)) for term in (a, b)]
    return normalise(aligned[0] + aligned[1], exponent - MANTISSA_BITS)


def square_root(a):  # Scalar [...] -> Scalar [...]
    """sqrt(a): the floor of the root of a mantissa widened to 31 or 32 bits, by which the exponent becomes even."""
    widen = MANTISSA_BITS - a.exponent % 2
    return normalise(integer_sqrt(a.mantissa << widen), (a.exponent - widen) // 2)


def scale_by_power(a, exponent):  # Scalar [...], int64 [...] -> Scalar [...]
    """a 2**exponent."""
    return Scalar(a.mantissa, np.where(a.mantissa > 0, a.exponent + exponent, 0))


def map_parts(function, *scalars):  # Scalar [...] each -> Scalar [...]
    """Mantissas and exponents rearranged alike."""
    return Scalar(*map(function, *scalars))


def to_float(a):  # Scalar [...] -> float64 [...]
    """The value, exactly; for people and for sampling, never on the integer path."""
    return np.ldexp(a.mantissa.astype(np.float64), a.exponent.astype(np.int64))
