"""The import: the only place where floats become fixed point, once, in float64, half to even."""

import numpy as np

from .model import Embedding, IntegerLayer, IntegerModel, Matrix, Norm
from .rotary import frequencies
from .scalars import MANTISSA_BITS, Scalar


__all__ = ["EXP2_BITS", "MAX_HIDDEN", "ROPE_BITS", "to_fixed"]


MAX_HIDDEN = 8192  # relu(gate)^2 up is then below 2**60
ROPE_BITS = 15
EXP2_BITS = 10  # fraction bits of scores and of the sigmoid's input, and address of the exp2 table
LEVELS = 127  # of an int8 vector


def fixed_scalar(value):  # float > 0 -> Scalar
    """The nearest scalar."""
    fraction, exponent = np.frexp(np.float64(value))
    mantissa = int(np.rint(np.ldexp(fraction, MANTISSA_BITS)))
    carry = mantissa >> MANTISSA_BITS  # rounded up to a power of two
    return Scalar(np.int64(mantissa >> carry), np.int64(exponent - MANTISSA_BITS + carry))


def fixed_vector(values, limit):  # float [n] -> int64 [n], exponent
    """The nearest integers under one power of two, the smallest that keeps magnitudes within the limit."""
    values = np.asarray(values, np.float64)
    largest = np.abs(values).max()
    exponent = int(np.frexp(largest)[1]) - limit.bit_length() if largest else 0
    exponent += int(np.rint(np.ldexp(largest, -exponent)) > limit)
    return np.rint(np.ldexp(values, -exponent)).astype(np.int64), exponent


def fixed_norm(gamma, eps):  # float32 [n] or None, float -> Norm or None
    """The weight of an RMSNorm and the constants of its root; None of a norm that a model does not have."""
    if gamma is None:
        return None
    codes, exponent = fixed_vector(gamma, 32767)
    return Norm(codes.astype(np.int16), exponent, fixed_scalar(len(gamma) * eps), fixed_scalar(len(gamma) ** 0.5))


def fixed_embedding(rows):  # float32 [vocab, hidden] -> Embedding
    """int8 rows and a scale for each, its absmax / 127.

    On the demo model int16 rows would bring the divergence from 2.8e-4 to 2.2e-4 nats for twice the block RAM.
    """
    rows = rows.astype(np.float64)
    largest = np.abs(rows).max(-1)
    scales, exponent = fixed_vector(largest / LEVELS, 65535)
    codes = np.rint(rows * LEVELS / np.where(largest, largest, 1)[:, None])
    return Embedding(codes.astype(np.int8), scales.astype(np.uint16), exponent)


def fixed_matrix(parts, factors):  # Ternary for each part, float for each part -> Matrix
    """Parts with a common input below each other; a factor joins what else scales the accumulators of its part."""
    return Matrix(np.concatenate([part.codes for part in parts]),
                  tuple(fixed_scalar(part.scale * factor) for part, factor in zip(parts, factors, strict=True)))


def fixed_rope(context, head_dim, rope):  # int, int, Rope -> int16 [context, head_dim / 2] twice
    """cos and sin of the rotary embedding (arXiv 2104.09864) in Q1.15; 1 is 32767."""
    angle = np.arange(context)[:, None] * frequencies(rope, head_dim)
    return tuple(np.rint(np.minimum(np.ldexp(wave, ROPE_BITS), 32767)).astype(np.int16)
                 for wave in (np.cos(angle), np.sin(angle)))


def fixed_layer(layer, eps, head_dim):  # CheckpointLayer -> IntegerLayer
    """One layer. Each quantised vector brings 1 / 127; scores are in units of log2, divided by sqrt(head_dim)."""
    single, double = 1 / LEVELS, 1 / LEVELS ** 2  # q, k and v are quantised once more behind the matrix
    return IntegerLayer(
        attention_norm=fixed_norm(layer.attention_norm, eps),
        qkv=fixed_matrix((layer.q, layer.k, layer.v), (double * np.log2(np.e) / head_dim ** 0.5, double, double)),
        attention_sub_norm=fixed_norm(layer.attention_sub_norm, eps),
        o=fixed_matrix((layer.o,), (single,)),
        feed_forward_norm=fixed_norm(layer.feed_forward_norm, eps),
        gate_up=fixed_matrix((layer.gate, layer.up), (single, single)),
        feed_forward_sub_norm=fixed_norm(layer.feed_forward_sub_norm, eps),
        down=fixed_matrix((layer.down,), (single,)))


def to_fixed(checkpoint):  # Checkpoint -> IntegerModel
    """The integer model of a checkpoint. Raises ValueError where a product would leave 63 bits."""
    if checkpoint.hidden > MAX_HIDDEN:
        raise ValueError(f"hidden size {checkpoint.hidden} is above {MAX_HIDDEN}, where relu(gate)^2 up may overflow")
    cos, sin = fixed_rope(checkpoint.context, checkpoint.head_dim, checkpoint.rope)
    embedding = fixed_embedding(checkpoint.embedding)
    return IntegerModel(
        vocab=checkpoint.vocab, context=checkpoint.context, hidden=checkpoint.hidden, inner=checkpoint.inner,
        heads=checkpoint.heads, kv_heads=checkpoint.kv_heads, head_dim=checkpoint.head_dim,
        activation=checkpoint.activation, embedding=embedding,
        layers=tuple(fixed_layer(layer, checkpoint.eps, checkpoint.head_dim) for layer in checkpoint.layers),
        norm=fixed_norm(checkpoint.norm, checkpoint.eps),
        head=embedding if checkpoint.head is None else fixed_embedding(checkpoint.head),
        cos=cos, sin=sin,
        exp2=np.rint(np.ldexp(np.exp2(-np.arange(1 << EXP2_BITS) / (1 << EXP2_BITS)), 15)).astype(np.uint16))
