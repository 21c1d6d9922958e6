"""BitLinear: absmax int8 quantiser, ternary matrix, and one scalar for each part of the rows."""

import numpy as np

from .lanes import narrow_shift, narrow_sums
from .matvec import matvec
from .quantiser import ABSMAX, reciprocal_quantise
from .scalars import multiply, normalise, scale_by_power


__all__ = ["bit_linear", "quantised_matvec"]


def quantised_matvec(layer, kind, codes, y):  # int8 [M, n], int64 [..., n] of 18 bits -> int32 [..., M], int64 [...]
    """W reciprocal_quantise(y), and m = max |y|: the part of a BitLinear that is alike in all layers."""
    q, m = reciprocal_quantise(y)
    return matvec(codes, q), m


def bit_linear(linear, kind, matrix, y, scale):  # int64 [..., n] of 18 bits, Scalar [...] -> [..., M], [Scalar [...]]
    """BitLinear of y * scale (arXiv 2402.17764) as accumulators of 18 bits and, for each part of the rows, their scale.

    Sums of a row of more than 1,032 columns may have more bits, and are shifted by what the longest sum needs.
    """
    accumulators, m = linear(kind, matrix.codes, y)
    shift = narrow_shift(ABSMAX * matrix.codes.shape[1])
    scale = scale_by_power(multiply(scale, normalise(m, 0)), shift)
    return narrow_sums(np.asarray(accumulators, np.int64), shift), [multiply(scale, part) for part in matrix.scales]
