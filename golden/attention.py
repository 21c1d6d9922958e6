"""The attention half of a layer, with int8 queries, keys and values.

All heads' queries have one absmax, and pass the quantiser once more. Keys and values are int8 of fixed steps, so that a
score is a product of integers by one scalar, and no position has a scale of its own. Scores are in units of log2, so
that the softmax is a table of one octave and a shift; its sum divides once a head.
"""

from typing import NamedTuple

import numpy as np

from .bit_linear import bit_linear
from .lanes import MAX_SHIFT, lane, narrow_shift, narrow_sums, operand, scaled
from .matvec import integer_product
from .model import LEVELS
from .norm import rms_norm, sub_norm
from .quantiser import ABSMAX, reciprocal_quantise, step_quantise
from .residual import residual_add, residual_unit
from .rotary import ROPE_BITS, waves
from .rounding import bit_length, half_up_shift
from .scalars import divide, map_parts, multiply, normalise, scale_by_power


__all__ = ["EXP2", "EXP2_BITS", "KeyValues", "append", "attend", "attention", "empty", "mix_values",
           "quantise_steps", "rotate", "scores", "softmax_weights"]


EXP2_BITS = 6  # fraction bits of scores, and address of the table
WEIGHT_BITS = 10  # of the softmax's weights, which pass the array as two digits of int8
MOST_WEIGHT = (1 << WEIGHT_BITS) - 1
LOW_BITS = 3  # of the lower digit; the upper one has 7, as an int8 that is not negative
EXP2 = np.rint(2 * MOST_WEIGHT * np.exp2(-np.arange(1 << EXP2_BITS) / (1 << EXP2_BITS))).astype(np.int64)
MOST_OCTAVES = 40  # shift behind the table, beyond which nothing is left
OUTPUT_FRACTION = 10  # below an int8 value's unit; a head's output is at most 121 * 2**10


class KeyValues(NamedTuple):
    """Keys and values of T positions, of magnitudes up to 121."""
    k: np.ndarray  # int8 [..., kv_heads, T, head_dim]
    v: np.ndarray  # int8 [..., kv_heads, T, head_dim]


def rotate(x, cos, sin):  # int64 [..., D] of 18 bits, int64 [D / 2], int64 [D / 2] -> int64 [..., D] of 18 bits
    """Rotary embedding of the pairs (j, j + D / 2) (arXiv 2104.09864, NeoX's order), each product rounded."""
    low, high = np.split(x, 2, -1)
    return np.concatenate([lane(high, -sin, ROPE_BITS, lane(low, cos, ROPE_BITS)),
                           lane(low, sin, ROPE_BITS, lane(high, cos, ROPE_BITS))], -1)


def quantise_steps(x, scale, steps):  # int64 [..., kv_heads, D], Scalar [...], Scalar [kv_heads] -> int8 the same
    """int8 of x * scale by each head's step, whose reciprocal is given."""
    factor, shift = operand(multiply(map_parts(lambda part: np.asarray(part)[..., None], scale), steps))
    return step_quantise(x, factor, shift, LEVELS)


def empty(kv_heads, head_dim, batch):  # -> KeyValues of T = 0
    """The cache before the first token."""
    values = np.zeros((*batch, kv_heads, 0, head_dim), np.int8)
    return KeyValues(values, values)


def append(past, k, v):  # KeyValues of T, int8 [..., kv_heads, D] twice -> KeyValues of T + 1
    """The cache of one more token."""
    return KeyValues(*(np.concatenate([old, new[..., None, :]], -2) for old, new in zip(past, (k, v), strict=True)))


def scores(q, k, scale):  # int8 [..., kv_heads, r, D], int8 [..., kv_heads, T, D], Scalar [..., kv_heads] -> int64
    """q . k scale in units of 2**-6 of log2, 18 bits, [..., kv_heads, r, T]."""
    shift = narrow_shift(ABSMAX * LEVELS * q.shape[-1])
    dots = narrow_sums(integer_product(q, np.swapaxes(k, -1, -2)), shift)
    return scaled(dots, map_parts(lambda part: part[..., None], scale_by_power(scale, shift + EXP2_BITS)))


def softmax_weights(scores):  # int64 [..., T] of 18 bits -> int64 [..., T] in [0, 1023]
    """1023 * 2**(score - max), rounded half up: the fraction from the table, the integer part as a shift."""
    below = scores.max(-1, keepdims=True) - scores
    return half_up_shift(EXP2[below & (1 << EXP2_BITS) - 1], np.minimum((below >> EXP2_BITS) + 1, MOST_OCTAVES))


def mix_values(p, v, mix):  # int64 [..., r, T], int8 [..., T, D], Scalar [...] -> int64 [..., r, D]
    """mix sum_t p_t v_t / sum_t p_t, mix <= 1, in units of 2**-10.

    Each digit of p has a sum of its own, which is narrowed by what the sum of p asks for: nothing saturates.
    """
    weight = p.sum(-1)
    shift = np.maximum(bit_length(weight) - WEIGHT_BITS - LOW_BITS, 0)
    high = narrow_sums(integer_product(p >> LOW_BITS, v), shift[..., None])
    low = narrow_sums(integer_product(p & (1 << LOW_BITS) - 1, v), shift[..., None])
    reciprocal = divide(map_parts(lambda part: np.asarray(part)[..., None], mix), normalise(weight, 0))
    factor, places = operand(scale_by_power(reciprocal, shift + LOW_BITS + OUTPUT_FRACTION))
    factor, places = factor[..., None], places[..., None]
    return lane(low, factor, np.minimum(places + LOW_BITS, MAX_SHIFT), lane(high, factor, places))


def attend(q, score, cache, mix):  # int8 [..., h, D], Scalar [..., kv_heads], Scalar [kv_heads] -> int64 [..., h * D]
    """softmax(q k^T) v of all heads; heads g r .. g r + r - 1 share kv head g (arXiv 2305.13245)."""
    batch, (heads, head_dim), kv_heads = q.shape[:-2], q.shape[-2:], cache.k.shape[-3]
    grouped = q.reshape(*batch, kv_heads, heads // kv_heads, head_dim)
    return mix_values(softmax_weights(scores(grouped, cache.k, score)), cache.v, mix).reshape(*batch, heads * head_dim)


def attention(model, layer, x, position, past, linear):  # int64 [..., d], KeyValues of T -> the same, of T + 1
    """x + o(norm(softmax(q k^T / sqrt(D)) v)), q, k, v = qkv(norm(x)), of BitNet b1.58 2B4T (arXiv 2504.12285).

    Without the norm before o it is Llama's (arXiv 2302.13971).
    """
    def each_head(scalar):
        return map_parts(lambda part: np.asarray(part)[..., None], scalar)

    constants, batch = layer.attention, x.shape[:-1]
    y, scale = rms_norm(x, residual_unit(model.fraction), layer.attention_norm)
    accumulators, (q_scale, k_scale, v_scale) = bit_linear(linear, "qkv", layer.qkv, y, scale)
    heads = accumulators.reshape(*batch, -1, model.head_dim)
    q, k, v = np.split(heads, [model.heads, model.heads + model.kv_heads], -2)
    turn = waves(model.frequencies, position)
    q, largest = reciprocal_quantise(rotate(q, *turn).reshape(*batch, -1))
    score = multiply(each_head(multiply(q_scale, normalise(largest, 0))), constants.score)
    cache = append(past, quantise_steps(rotate(k, *turn), k_scale, constants.key),
                   quantise_steps(v, v_scale, constants.value))
    o = attend(q.reshape(*batch, model.heads, model.head_dim), score, cache, constants.mix)
    y, scale = sub_norm(o, scale_by_power(constants.unit, -OUTPUT_FRACTION), layer.attention_sub_norm)
    accumulators, (o_scale,) = bit_linear(linear, "o", layer.o, y, scale)
    return residual_add(x, accumulators, o_scale, model.fraction), cache
