"""The feed-forward half of a layer.

Both gates are integers of 18 bits. What the activation leaves is multiplied by up and shifted by what the largest of it
and the format of up need, so that the product keeps its precision from token to token.
"""

import numpy as np

from .attention import EXP2_BITS
from .bit_linear import bit_linear
from .lanes import LANE_BITS, lane, magnitude_bits, scaled
from .norm import rms_norm, sub_norm
from .residual import residual_add, residual_unit
from .scalars import Scalar, multiply, scale_by_power


__all__ = ["SIGMOID", "SIGMOID_BITS", "feed_forward", "gated", "sigmoid", "silu", "squared_relu"]


SIGMOID_BITS = 16
SIGMOID_STEP_BITS = EXP2_BITS - 1  # fraction bits of the table's address
SIGMOID = np.rint((1 << SIGMOID_BITS) / (1 + np.exp2(-np.arange(512) / (1 << SIGMOID_STEP_BITS)))).astype(np.int64)
LOG2_E = Scalar(np.int64(47274), np.int64(-15))  # log2(e)


def squared_relu(gate, shift):  # int64 [..., n] of 18 bits, int in [0, 31] -> int64 [..., n] of 18 bits
    """relu(gate)^2 / 2**shift (arXiv 2504.12285)."""
    positive = np.maximum(gate, 0)
    return lane(positive, positive, shift)


def sigmoid(t):  # int64 [..., n] of 18 bits -> int64 [..., n] in [0, 2**16)
    """1 / (1 + 2**-t) of t in units of 2**-6, in Q.16, from a table of steps of 2**-5 that ends at 16; below 0 one
    minus it."""
    half = SIGMOID[np.minimum(np.abs(t) + 1 >> 1, len(SIGMOID) - 1)]
    return np.where(t < 0, (1 << SIGMOID_BITS) - half, half)


def silu(gate, scale):  # int64 [..., n] of 18 bits, Scalar [...] -> int64 [..., n] of 18 bits
    """gate sigmoid(gate scale) (arXiv 1606.08415)."""
    t = scaled(gate, scale_by_power(multiply(scale, LOG2_E), EXP2_BITS))
    return lane(gate, sigmoid(t), SIGMOID_BITS)


def gated(activated, up, up_bits):  # int64 [..., n] of 18 bits twice, int -> int64 [..., n] of 18 bits, int64 [...]
    """activated up / 2**shift, and the shift: by what ``up_bits`` and the largest of ``activated`` have above 17."""
    shift = np.maximum(magnitude_bits(activated) + up_bits - (LANE_BITS - 1), 0)
    return lane(activated, up, shift[..., None]), shift


def feed_forward(model, layer, x, linear):  # int64 [..., d], linear(kind, codes, y) -> int64 [..., d]
    """x + down(norm(act(gate) up)), gate, up = gate_up(norm(x)), of BitNet b1.58 (arXiv 2402.17764, 2504.12285).

    Without the norm before down it is Llama's (arXiv 2302.13971).
    """
    y, scale = rms_norm(x, residual_unit(model.fraction), layer.feed_forward_norm)
    accumulators, (gate_scale, up_scale) = bit_linear(linear, "gate_up", layer.gate_up, y, scale)
    gate, up = np.split(accumulators, 2, -1)
    if model.activation == "silu":
        activated, unit = silu(gate, gate_scale), gate_scale
    else:
        activated = squared_relu(gate, layer.square_shift)
        unit = scale_by_power(multiply(gate_scale, gate_scale), layer.square_shift)
    z, shift = gated(activated, up, layer.up_bits)
    y, scale = sub_norm(z, scale_by_power(multiply(unit, up_scale), shift), layer.feed_forward_sub_norm)
    accumulators, (down,) = bit_linear(linear, "down", layer.down, y, scale)
    return residual_add(x, accumulators, down, model.fraction)
