"""The import: the only place where floats become fixed point, once, in float64, half to even."""

import numpy as np

from .calibration import calibrate
from .head import ROW_BITS
from .model import LEVELS, Attention, Embedding, IntegerLayer, IntegerModel, Matrix, Norm
from .quantiser import ABSMAX
from .rotary import fixed_frequencies
from .scalars import MANTISSA_BITS, Scalar


__all__ = ["to_fixed"]


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
    """int8 rows and a scale for each, its absmax / 121."""
    rows = rows.astype(np.float64)
    largest = np.abs(rows).max(-1)
    scales, exponent = fixed_vector(largest / LEVELS, 65535)
    codes = np.rint(rows * LEVELS / np.where(largest, largest, 1)[:, None])
    return Embedding(codes.astype(np.int8), scales.astype(np.uint16), exponent)


def fixed_matrix(*parts):  # Ternary for each part -> Matrix
    """Parts with a common input below each other; 1 / 127 of the quantised input joins the scales."""
    return Matrix(np.concatenate([part.codes for part in parts]),
                  tuple(fixed_scalar(part.scale / ABSMAX) for part in parts))


def fixed_scalars(values):  # float [n] -> Scalar [n]
    """The nearest scalars."""
    return Scalar(*(np.array(parts) for parts in zip(*map(fixed_scalar, values), strict=True)))


def fixed_attention(formats, head_dim):  # LayerFormats, int -> Attention
    """Constants that follow from the steps of keys and values; scores are in units of log2, by sqrt(head_dim)."""
    keys, values = np.array(formats.key_steps), np.array(formats.value_steps)
    return Attention(key=fixed_scalars(1 / keys), value=fixed_scalars(1 / values),
                     score=fixed_scalars(keys * np.log2(np.e) / head_dim ** 0.5 / ABSMAX),
                     mix=fixed_scalars(values / values.max()), unit=fixed_scalar(values.max()))


def fixed_layer(layer, formats, eps, head_dim):  # CheckpointLayer, LayerFormats, float, int -> IntegerLayer
    """One layer."""
    return IntegerLayer(
        attention_norm=fixed_norm(layer.attention_norm, eps),
        qkv=fixed_matrix(layer.q, layer.k, layer.v),
        attention=fixed_attention(formats, head_dim),
        attention_sub_norm=fixed_norm(layer.attention_sub_norm, eps),
        o=fixed_matrix(layer.o),
        feed_forward_norm=fixed_norm(layer.feed_forward_norm, eps),
        gate_up=fixed_matrix(layer.gate, layer.up),
        square_shift=formats.square_shift,
        up_bits=formats.up_bits,
        feed_forward_sub_norm=fixed_norm(layer.feed_forward_sub_norm, eps),
        down=fixed_matrix(layer.down))


def to_fixed(checkpoint):  # Checkpoint -> IntegerModel
    """The integer model of a checkpoint; formats that it does not have are calibrated."""
    formats = checkpoint.formats or calibrate(checkpoint)
    embedding = fixed_embedding(checkpoint.embedding)
    head = embedding if checkpoint.head is None else fixed_embedding(checkpoint.head)
    return IntegerModel(
        vocab=checkpoint.vocab, context=checkpoint.context, hidden=checkpoint.hidden, inner=checkpoint.inner,
        heads=checkpoint.heads, kv_heads=checkpoint.kv_heads, head_dim=checkpoint.head_dim,
        activation=checkpoint.activation, fraction=formats.fraction, embedding=embedding,
        layers=tuple(fixed_layer(layer, each, checkpoint.eps, checkpoint.head_dim)
                     for layer, each in zip(checkpoint.layers, formats.layers, strict=True)),
        norm=fixed_norm(checkpoint.norm, checkpoint.eps), head=head,
        head_scale=fixed_scalar(2.0 ** (head.exponent + ROW_BITS) / ABSMAX),
        frequencies=fixed_frequencies(checkpoint.rope, checkpoint.head_dim))
