"""The feed-forward half of a layer."""

import numpy as np

from .bit_linear import bit_linear
from .norm import rms_norm
from .residual import RESIDUAL_UNIT, residual_add
from .scalars import multiply


__all__ = ["feed_forward", "squared_relu_gate"]


def squared_relu_gate(gate, up):  # int64 [..., n], |.| <= 2**20, twice -> int64 [..., n], |.| <= 2**60
    """relu(gate)^2 up, exact (arXiv 2504.12285)."""
    return np.square(np.maximum(gate, 0)) * up


def feed_forward(layer, x, linear):  # int64 [..., d], linear(kind, codes, y) -> int64 [..., d]
    """x + down(norm(relu(gate)^2 up)), gate, up = gate_up(norm(x)), of BitNet b1.58 2B4T (arXiv 2504.12285)."""
    y, scale = rms_norm(x, RESIDUAL_UNIT, layer.feed_forward_norm)
    accumulators, (gate, up) = bit_linear(linear, "gate_up", layer.gate_up, y, scale)
    z = squared_relu_gate(*np.split(accumulators, 2, -1))
    y, scale = rms_norm(z, multiply(multiply(gate, gate), up), layer.feed_forward_sub_norm)
    accumulators, (down,) = bit_linear(linear, "down", layer.down, y, scale)
    return residual_add(x, accumulators, down)
