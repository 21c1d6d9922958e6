"""The attention half of a layer, with int8 queries, keys and values.

Each head's q, k and v pass the absmax quantiser once more and keep a scalar. Scores are in units of log2, so that the
softmax is a table of one octave and a shift; its sum divides once a head.
"""

from typing import NamedTuple

import numpy as np

from .bit_linear import bit_linear
from .fixed import EXP2_BITS, ROPE_BITS
from .matvec import integer_product
from .norm import rms_norm, sub_norm
from .quantiser import absmax_quantise, narrow
from .residual import RESIDUAL_UNIT, residual_add
from .rounding import half_up_shift, shift_saturate
from .scalars import MANTISSA_BITS, ONE, Scalar, divide, map_parts, multiply, normalise, scale_by_power


__all__ = ["KeyValues", "append", "attend", "attention", "empty", "mix_values", "negative_power", "quantise_heads",
           "rotate", "scores", "softmax_weights"]


SCORE_BITS = 32
OUTPUT_FRACTION = 16  # below an int8 value's unit; a head's output has 23 bits and a sign
OUTPUT_BITS = 32
EXPONENT_FLOOR = -1024  # where the running maximum of the exponents of v starts; all of them are above


class KeyValues(NamedTuple):
    """Keys and values of T positions, each head's quantised with a scale of its own."""
    k: np.ndarray  # int8 [..., kv_heads, T, head_dim]
    k_scale: Scalar  # [..., kv_heads, T]
    v: np.ndarray  # int8 [..., kv_heads, T, head_dim]
    v_scale: Scalar  # [..., kv_heads, T]


def rotate(x, cos, sin):  # int64 [..., D], int16 [D / 2], int16 [D / 2] -> int64 [..., D]
    """Rotary embedding of the pairs (j, j + D / 2), exact, in units of 2**-15 (arXiv 2104.09864, NeoX's order)."""
    low, high = np.split(x, 2, -1)
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], -1)


def quantise_heads(x, scale):  # int64 [..., heads, D], Scalar [...] -> int8 [..., heads, D], Scalar [..., heads]
    """absmax int8 of each head, and what it is to be multiplied by; 1 / 127 is in the matrix's scale."""
    y, shift = narrow(x)
    q, m = absmax_quantise(y)
    return q, multiply(map_parts(lambda part: part[..., None], scale), normalise(m, shift))


def empty(kv_heads, head_dim, batch):  # -> KeyValues of T = 0
    """The cache before the first token."""
    values = np.zeros((*batch, kv_heads, 0, head_dim), np.int8)
    scale = Scalar(np.zeros((*batch, kv_heads, 0), np.int64), np.zeros((*batch, kv_heads, 0), np.int64))
    return KeyValues(values, scale, values, scale)


def append(past, k, k_scale, v, v_scale):  # KeyValues of T, int8 [..., kv_heads, D], Scalar [..., kv_heads], twice
    """The cache of T + 1 tokens."""
    def join(old, new):
        return np.concatenate([old, new[..., None]], -1)

    return KeyValues(np.concatenate([past.k, k[..., None, :]], -2), map_parts(join, past.k_scale, k_scale),
                     np.concatenate([past.v, v[..., None, :]], -2), map_parts(join, past.v_scale, v_scale))


def scores(q, q_scale, k, k_scale):  # int8 [..., r, D], [..., T, D], Scalar [..., r], [..., T] -> int64 [..., r, T]
    """q . k / sqrt(D) in units of 2**-10 of log2, int32; log2(e) / sqrt(D) is in the scale of q."""
    factor = multiply(map_parts(lambda part: part[..., None], q_scale),
                      map_parts(lambda part: part[..., None, :], k_scale))
    dot = integer_product(q, np.swapaxes(k, -1, -2))
    return shift_saturate(dot * factor.mantissa, -factor.exponent - EXP2_BITS, SCORE_BITS)


def negative_power(x, exp2):  # int64 [...] >= 0, uint16 [1024] -> int64 [...] in [0, 2**15]
    """2**-x of x in units of 2**-10, in Q.15: the fraction from the table, the integer part as a half-up shift."""
    return half_up_shift(exp2[x & (1 << EXP2_BITS) - 1], np.minimum(x >> EXP2_BITS, 62))


def softmax_weights(scores, exp2):  # int64 [..., T], uint16 [1024] -> int64 [..., T] in [0, 2**15]
    """2**(score - max) in Q.15."""
    return negative_power(scores.max(-1, keepdims=True) - scores, exp2)


def mix_values(p, v, v_scale):  # int64 [..., r, T], int8 [..., T, D], Scalar [..., T] -> int64 [..., r, D], int64 [...]
    """sum_t p_t v_t v_scale_t / sum_t p_t in units of 2**(exponent - 16), and the exponent."""
    exponent = np.where(v_scale.mantissa > 0, v_scale.exponent, EXPONENT_FLOOR).max(-1)
    down = np.minimum(MANTISSA_BITS + exponent[..., None] - v_scale.exponent, 62)
    weights = half_up_shift(p * v_scale.mantissa[..., None, :], np.maximum(down, 0)[..., None, :])
    reciprocal = divide(ONE, normalise(p.sum(-1), 0))
    total = integer_product(weights, v) * reciprocal.mantissa[..., None]
    return (shift_saturate(total, -reciprocal.exponent[..., None] - OUTPUT_FRACTION, OUTPUT_BITS),
            exponent + MANTISSA_BITS)


def attend(q, q_scale, cache, exp2):  # int8 [..., h, D], Scalar [..., h] -> int64 [..., h * D], Scalar [...]
    """softmax(q k^T) v of all heads and its unit; heads g r .. g r + r - 1 share kv head g (arXiv 2305.13245)."""
    batch, (heads, head_dim), kv_heads = q.shape[:-2], q.shape[-2:], cache.k.shape[-3]
    grouped = (*batch, kv_heads, heads // kv_heads)
    q, q_scale = q.reshape(*grouped, head_dim), map_parts(lambda part: part.reshape(grouped), q_scale)
    p = softmax_weights(scores(q, q_scale, cache.k, cache.k_scale), exp2)
    mixed, exponent = mix_values(p, cache.v, cache.v_scale)
    largest = exponent.max(-1)
    aligned = half_up_shift(mixed, np.minimum(largest[..., None] - exponent, 62)[..., None, None])
    return aligned.reshape(*batch, heads * head_dim), scale_by_power(ONE, largest - OUTPUT_FRACTION)


def attention(model, layer, x, position, past, linear):  # int64 [..., d], KeyValues of T -> the same, of T + 1
    """x + o(norm(softmax(q k^T / sqrt(D)) v)), q, k, v = qkv(norm(x)), of BitNet b1.58 2B4T (arXiv 2504.12285).

    Without the norm before o it is Llama's (arXiv 2302.13971).
    """
    y, scale = rms_norm(x, RESIDUAL_UNIT, layer.attention_norm)
    accumulators, scales = bit_linear(linear, "qkv", layer.qkv, y, scale)
    heads = accumulators.reshape(*x.shape[:-1], -1, model.head_dim)
    q, k, v = np.split(heads, [model.heads, model.heads + model.kv_heads], -2)
    turn = model.cos[position].astype(np.int64), model.sin[position].astype(np.int64)
    q, q_scale = quantise_heads(rotate(q, *turn), scale_by_power(scales[0], -ROPE_BITS))
    k, k_scale = quantise_heads(rotate(k, *turn), scale_by_power(scales[1], -ROPE_BITS))
    cache = append(past, k, k_scale, *quantise_heads(v, scales[2]))
    o, unit = attend(q, q_scale, cache, model.exp2)
    y, scale = sub_norm(o, unit, layer.attention_sub_norm)
    accumulators, (o_scale,) = bit_linear(linear, "o", layer.o, y, scale)
    return residual_add(x, accumulators, o_scale), cache
