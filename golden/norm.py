"""RMSNorm on integers: the vector times its weight, and all the rest in one scalar."""

import numpy as np

from .lanes import LANE_BITS, lane, magnitude_bits
from .scalars import add, divide, multiply, normalise, scale_by_power, square_root


__all__ = ["GAMMA_BITS", "inverse_rms", "rms_norm", "sub_norm"]


GAMMA_BITS = 16  # of the weight, a two's complement number


def inverse_rms(x, unit, norm):  # int64 [..., n] of 18 bits, Scalar [...], Norm [n] -> Scalar [...]
    """1 / sqrt(mean(x**2) + eps / unit**2), the factor of RMSNorm (arXiv 1910.07467) for x in that unit."""
    squares = normalise(np.square(x).sum(-1), 0)
    return divide(norm.root, square_root(add(squares, divide(norm.eps, multiply(unit, unit)))))


def rms_norm(x, unit, norm):  # int64 [..., n] of 18 bits, Scalar [...], Norm [n] -> int64 [..., n] of 18 bits, Scalar
    """RMSNorm of x * unit as (y, scale), its value y * scale: y = x gamma, the scale all the rest.

    The product is shifted so far that it fits whatever the weights are: by what the largest |x| and a weight have more
    than 17 bits. Nothing saturates.
    """
    shift = np.maximum(magnitude_bits(x) + (GAMMA_BITS - 1) - (LANE_BITS - 1), 0)
    y = lane(x, norm.gamma.astype(np.int64), shift[..., None])
    return y, scale_by_power(inverse_rms(x, unit, norm), shift + norm.exponent)


def sub_norm(x, unit, norm):  # int64 [..., n] of 18 bits, Scalar [...], Norm [n] or None -> the same as rms_norm
    """The norm between a layer's function and its last matrix, or, in a model that has none, x * unit as it is."""
    return (x, unit) if norm is None else rms_norm(x, unit, norm)
