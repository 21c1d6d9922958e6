"""The residual stream: int32 in Q.12, saturating."""

import numpy as np

from .rounding import saturate, shift_saturate
from .scalars import ONE, scale_by_power


__all__ = ["RESIDUAL_BITS", "RESIDUAL_FRACTION", "RESIDUAL_UNIT", "embed", "residual_add"]


RESIDUAL_BITS = 32
RESIDUAL_FRACTION = 12
RESIDUAL_UNIT = scale_by_power(ONE, -RESIDUAL_FRACTION)


def embed(embedding, token):  # Embedding [V, d], integers [...] -> int64 [..., d]
    """Rows of the embedding in the residual's format."""
    rows = embedding.codes[token] * embedding.scales[token].astype(np.int64)[..., None]
    return shift_saturate(rows, -embedding.exponent - RESIDUAL_FRACTION, RESIDUAL_BITS)


def residual_add(x, accumulators, scale):  # int64 [..., d], int64 [..., d], |.| < 2**24, Scalar [...] -> int64 [..., d]
    """x + accumulators * scale."""
    branch = shift_saturate(accumulators * scale.mantissa[..., None],
                            -scale.exponent[..., None] - RESIDUAL_FRACTION, RESIDUAL_BITS)
    return saturate(x + branch, RESIDUAL_BITS)
