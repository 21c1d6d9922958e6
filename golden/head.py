"""From the residual to logits: integers of 18 bits under one scalar."""

from .lanes import lane, narrow_shift, narrow_sums
from .matvec import integer_product
from .model import LEVELS
from .norm import rms_norm
from .quantiser import ABSMAX, reciprocal_quantise
from .residual import residual_unit
from .scalars import multiply, normalise, scale_by_power


__all__ = ["ROW_BITS", "logits"]


ROW_BITS = 16  # of the scale of an embedding's row


def logits(model, x):  # IntegerModel, int64 [..., d] -> int64 [..., V] of 18 bits, Scalar [...]
    """norm(x) E^T (arXiv 1608.05859) as integers to be multiplied by the scalar."""
    y, scale = rms_norm(x, residual_unit(model.fraction), model.norm)
    q, m = reciprocal_quantise(y)
    shift = narrow_shift(ABSMAX * LEVELS * model.hidden)
    dots = narrow_sums(integer_product(q, model.head.codes.T), shift)
    scale = multiply(multiply(scale, normalise(m, 0)), model.head_scale)
    return lane(dots, model.head.scales, ROW_BITS), scale_by_power(scale, shift)
