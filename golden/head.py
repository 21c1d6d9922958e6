"""From the residual to logits: exact integers under one scalar."""

from .matvec import integer_product
from .norm import rms_norm
from .quantiser import narrow
from .residual import RESIDUAL_UNIT
from .scalars import scale_by_power


__all__ = ["HEAD_BITS", "logits"]


HEAD_BITS = 15  # magnitude of the int16 vector that meets the rows


def logits(head, norm, x):  # Embedding [V, d], Norm [d], int64 [..., d] -> int64 [..., V], Scalar [...]
    """norm(x) E^T (arXiv 1608.05859) as integers to be multiplied by the scalar."""
    y, scale = rms_norm(x, RESIDUAL_UNIT, norm)
    y, shift = narrow(y, HEAD_BITS)
    return integer_product(y, head.codes.T) * head.scales, scale_by_power(scale, shift + head.exponent)
