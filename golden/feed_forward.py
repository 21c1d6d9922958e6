"""The feed-forward half of a layer.

Both gates are integers under one scalar, the product of the scales of gate and up. Squared ReLU is exact. SiLU takes
a sigmoid from the softmax's table of 2**-f: the gate in units of log2, rounded to 2**-10, and one exactly rational
division; it is within 1.1e-4. More bits of it bring random models no nearer to float32.
"""

import numpy as np

from .attention import negative_power
from .bit_linear import bit_linear
from .fixed import EXP2_BITS
from .norm import rms_norm, sub_norm
from .residual import RESIDUAL_UNIT, residual_add
from .rounding import round_half_even, shift_saturate
from .scalars import Scalar, multiply, scale_by_power


__all__ = ["SIGMOID_BITS", "feed_forward", "sigmoid", "silu_gate", "squared_relu_gate"]


SIGMOID_BITS = 15
SIGMOID_INPUT_BITS = 32
LOG2_E = Scalar(np.int64(47274), np.int64(-15))  # log2(e)


def squared_relu_gate(gate, up):  # int64 [..., n], |.| <= 2**20, twice -> int64 [..., n], |.| <= 2**60
    """relu(gate)^2 up, exact (arXiv 2504.12285)."""
    return np.square(np.maximum(gate, 0)) * up


def sigmoid(t, exp2):  # int64 [..., n], |t| < 2**32, uint16 [1024] -> int64 [..., n] in [0, 2**15]
    """1 / (1 + 2**-t) of t in units of 2**-10, in Q.15: half even of the quotient of what the table says."""
    one, power = np.int64(1 << SIGMOID_BITS), negative_power(np.abs(t), exp2)
    return round_half_even(np.where(t < 0, power, one) << SIGMOID_BITS, one + power)


def silu_gate(gate, up, scale, exp2):  # int64 [..., n], |.| <= 2**20, twice, Scalar [...] -> int64 [..., n]
    """gate sigmoid(gate scale) up (arXiv 2002.05202) in units of 2**-15, |.| <= 2**55."""
    scale = multiply(scale, LOG2_E)
    t = shift_saturate(gate * scale.mantissa[..., None], -scale.exponent[..., None] - EXP2_BITS, SIGMOID_INPUT_BITS)
    return gate * sigmoid(t, exp2) * up


def feed_forward(model, layer, x, linear):  # int64 [..., d], linear(kind, codes, y) -> int64 [..., d]
    """x + down(norm(act(gate) up)), gate, up = gate_up(norm(x)), of BitNet b1.58 (arXiv 2402.17764, 2504.12285).

    Without the norm before down it is Llama's (arXiv 2302.13971).
    """
    y, scale = rms_norm(x, RESIDUAL_UNIT, layer.feed_forward_norm)
    accumulators, (gate, up) = bit_linear(linear, "gate_up", layer.gate_up, y, scale)
    halves = np.split(accumulators, 2, -1)
    if model.activation == "silu":
        z, unit = silu_gate(*halves, gate, model.exp2), scale_by_power(multiply(gate, up), -SIGMOID_BITS)
    else:
        z, unit = squared_relu_gate(*halves), multiply(multiply(gate, gate), up)
    y, scale = sub_norm(z, unit, layer.feed_forward_sub_norm)
    accumulators, (down,) = bit_linear(linear, "down", layer.down, y, scale)
    return residual_add(x, accumulators, down)
