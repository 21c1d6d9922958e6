"""RMSNorm on integers: the vector keeps its direction only, and the rest is one scalar."""

import numpy as np

from .quantiser import narrow
from .scalars import add, divide, multiply, normalise, scale_by_power, square_root


__all__ = ["SQUARE_BITS", "inverse_rms", "rms_norm", "sub_norm"]


SQUARE_BITS = 24  # 16384 squares of so many bits sum below 2**62


def inverse_rms(x, unit, norm):  # int64 [..., n], |x| <= 2**62, Scalar [...], Norm [n] -> Scalar [...]
    """1 / sqrt(mean(x**2) + eps / unit**2), the factor of RMSNorm (arXiv 1910.07467) for x in that unit."""
    narrowed, shift = narrow(x, SQUARE_BITS)
    squares = normalise(np.square(narrowed).sum(-1), 2 * shift)
    return divide(norm.root, square_root(add(squares, divide(norm.eps, multiply(unit, unit)))))


def rms_norm(x, unit, norm):  # int64 [..., n], |x| <= 2**62, Scalar [...], Norm [n] -> int64 [..., n], Scalar [...]
    """RMSNorm of x * unit as (y, scale), its value y * scale with |y| < 2**30: y = x gamma, the scale all the rest."""
    narrowed, first = narrow(x)
    y, second = narrow(narrowed * norm.gamma)
    return y, scale_by_power(inverse_rms(x, unit, norm), first + second + norm.exponent)


def sub_norm(x, unit, norm):  # int64 [..., n], |x| <= 2**62, Scalar [...], Norm [n] or None -> the same as rms_norm
    """The norm between a layer's function and its last matrix, or, in a model that has none, x * unit as it is."""
    if norm is not None:
        return rms_norm(x, unit, norm)
    y, shift = narrow(x)
    return y, scale_by_power(unit, shift)
