"""The integer decoder: one token in, its logits out."""

import functools

from .attention import attention, empty
from .bit_linear import quantised_matvec
from .feed_forward import feed_forward
from .head import logits
from .residual import embed


__all__ = ["empty_cache", "step"]


def empty_cache(model, *batch):  # -> KeyValues of no tokens for each layer, batch axes first
    """The cache before the first token; it is never written to: each step returns a new one."""
    return (empty(model.kv_heads, model.head_dim, batch),) * len(model.layers)


def step(model, token, position, cache, linear=quantised_matvec):  # int [...] -> int64 [..., V], Scalar [...], cache
    """Logits, the scale that they are to be multiplied by, and the new cache (arXiv 2504.12285).

    ``linear(layer, kind, codes, y)`` returns the int32 accumulators of ``codes`` times the absmax int8 of ``y``, and
    max abs(y); kind is "qkv", "o", "gate_up" or "down", and y is int64 [..., n] of 18 bits.
    """
    x = embed(model.embedding, token, model.fraction)
    entries = []
    for index, (layer, past) in enumerate(zip(model.layers, cache, strict=True)):
        bound = functools.partial(linear, index)
        x, entry = attention(model, layer, x, position, past, bound)
        x = feed_forward(model, layer, x, bound)
        entries.append(entry)
    return *logits(model, x), tuple(entries)
