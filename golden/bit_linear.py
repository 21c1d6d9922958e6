"""BitLinear: absmax int8 quantiser, ternary matrix, and one scalar for each part of the rows."""

import numpy as np

from .matvec import matvec
from .quantiser import absmax_quantise
from .scalars import multiply, normalise


__all__ = ["bit_linear", "quantised_matvec"]


def quantised_matvec(layer, kind, codes, y):  # int8 [M, n], int32 range [..., n] -> int32 [..., M], int64 [...]
    """W absmax_quantise(y), and m = max |y|: the part of a BitLinear that hardware takes over, alike in all layers."""
    q, m = absmax_quantise(y)
    return matvec(codes, q), m


def bit_linear(linear, kind, matrix, y, scale):  # int32 range [..., n], Scalar [...] -> int64 [..., M], [Scalar [...]]
    """BitLinear of y * scale (arXiv 2402.17764) as accumulators and, for each part of the rows, their scale."""
    accumulators, m = linear(kind, matrix.codes, y)
    scale = multiply(scale, normalise(m, 0))
    return np.asarray(accumulators, np.int64), [multiply(scale, part) for part in matrix.scales]
