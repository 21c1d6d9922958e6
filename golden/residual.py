"""The residual stream: 18 bits, saturating, in a format of the model."""

import numpy as np

from .lanes import MAX_SHIFT, lane, scaled
from .scalars import ONE, scale_by_power


__all__ = ["embed", "residual_add", "residual_unit"]


def residual_unit(fraction):  # int -> Scalar
    """The value of an integer 1 in the residual stream."""
    return scale_by_power(ONE, np.int64(-fraction))


def embed(embedding, token, fraction):  # Embedding [V, d], integers [...], int -> int64 [..., d]
    """Rows of the embedding in the residual's format."""
    shift = min(-embedding.exponent - fraction, MAX_SHIFT)  # above 0, since the format holds the largest row
    return lane(embedding.codes[token].astype(np.int64), embedding.scales[token].astype(np.int64)[..., None], shift)


def residual_add(x, accumulators, scale, fraction):  # int64 [..., d] twice, Scalar [...], int -> int64 [..., d]
    """x + accumulators * scale."""
    return scaled(accumulators, scale_by_power(scale, fraction), x)
