"""What a model consists of: as a checkpoint holds it, and in the fixed point of the integer decoder.

A checkpoint's matrices are ternary codes and a float scale to multiply by. In the integer model matrices with a common
input are one: ``qkv`` has the rows of q, k and v, ``gate_up`` those of gate and up, and a scalar for each part.
"""

from typing import NamedTuple

import numpy as np

from .formats import Formats
from .rotary import Rope
from .scalars import Scalar


__all__ = ["KINDS", "LEVELS", "Attention", "Checkpoint", "CheckpointLayer", "Embedding", "IntegerLayer", "IntegerModel",
           "Matrix", "Norm", "Ternary"]


KINDS = ("qkv", "o", "gate_up", "down")  # matrices of an IntegerLayer
LEVELS = 121  # of what lies in the weights' memories as five trits: keys, values and the embedding


class Ternary(NamedTuple):
    """A matrix of a checkpoint: its weights are codes * scale, and the scale is positive, of no codes but 0 too."""
    codes: np.ndarray  # int8 [M, n] in {-1, 0, 1}
    scale: float


class CheckpointLayer(NamedTuple):
    """Weights of a layer of a checkpoint; models with Llama's structure have no sub-norms."""
    q: Ternary  # [heads * head_dim, hidden]
    k: Ternary  # [kv_heads * head_dim, hidden]
    v: Ternary
    o: Ternary  # [hidden, heads * head_dim]
    gate: Ternary  # [inner, hidden]
    up: Ternary
    down: Ternary  # [hidden, inner]
    attention_norm: np.ndarray  # float32 [hidden], before q, k, v
    attention_sub_norm: np.ndarray | None  # float32 [heads * head_dim], before o
    feed_forward_norm: np.ndarray  # float32 [hidden], before gate and up
    feed_forward_sub_norm: np.ndarray | None  # float32 [inner], before down


class Checkpoint(NamedTuple):
    """A BitNet b1.58 as it is stored: dimensions, and weights in float32 and ternary."""
    vocab: int
    context: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    rope: Rope
    eps: float
    activation: str  # "relu2" or "silu"
    embedding: np.ndarray  # float32 [vocab, hidden]
    layers: tuple  # of CheckpointLayer
    norm: np.ndarray  # float32 [hidden]
    head: np.ndarray | None  # float32 [vocab, hidden]; None: the embedding
    formats: Formats | None = None  # of the integer model, where the file tells them


class Matrix(NamedTuple):
    """Ternary matrices one below the other, that multiply the same vector; each part has a scale."""
    codes: np.ndarray  # int8 [M, n] in {-1, 0, 1}
    scales: tuple  # a Scalar for each part


class Norm(NamedTuple):
    """Constants of an RMS norm over n elements."""
    gamma: np.ndarray  # int16 [n]
    exponent: int  # gamma's weight is gamma * 2**exponent
    eps: Scalar  # n eps
    root: Scalar  # sqrt(n)


class Embedding(NamedTuple):
    """Rows of the vocabulary in int8, each with a scale."""
    codes: np.ndarray  # int8 [vocab, hidden], of magnitudes up to 121
    scales: np.ndarray  # uint16 [vocab]
    exponent: int  # row v is codes[v] * scales[v] * 2**exponent


class Attention(NamedTuple):
    """Constants between q, k, v and the heads' outputs, for each kv head."""
    key: Scalar  # [kv_heads], 1 / the step of a key
    value: Scalar  # [kv_heads], 1 / the step of a value
    score: Scalar  # [kv_heads], the step of a key by log2(e) / sqrt(head_dim) / 127
    mix: Scalar  # [kv_heads], the step of a value by the largest head's
    unit: Scalar  # the largest head's step of a value


class IntegerLayer(NamedTuple):
    """A layer in integers."""
    attention_norm: Norm
    qkv: Matrix  # parts q, k, v
    attention: Attention
    attention_sub_norm: Norm | None
    o: Matrix
    feed_forward_norm: Norm
    gate_up: Matrix  # parts gate, up
    square_shift: int  # of the gate's square
    up_bits: int  # that hold the accumulators of up
    feed_forward_sub_norm: Norm | None
    down: Matrix


class IntegerModel(NamedTuple):
    """A model in integers, as golden.decoder.step takes it."""
    vocab: int
    context: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    activation: str  # "relu2" or "silu"
    fraction: int  # bits behind the point of the residual stream
    embedding: Embedding
    layers: tuple  # of IntegerLayer
    norm: Norm
    head: Embedding  # the embedding itself when tied
    head_scale: Scalar  # 2**exponent of the head, 2**16 for the shift of its scales, by 127
    frequencies: np.ndarray  # int64 [head_dim / 2], of the rotary embedding, in 2**-24 turns a position
