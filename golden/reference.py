"""The model in float32, equal in structure to transformers' BitNetForCausalLM, or without sub-norms to its
LlamaForCausalLM with BitLinear: the measure of the integers."""

import numpy as np

from .rotary import frequencies


__all__ = ["accumulators", "forward"]


def float_quantise(x):  # float32 [..., n] -> float32 [..., n] of int8, float32 [..., 1]
    """int8 codes of absmax (arXiv 2402.17764), and the scale that x was multiplied by."""
    scale = 1 / np.maximum(np.abs(x).max(-1, keepdims=True), np.float32(1e-5)) * np.float32(127)  # torch's 127 / max
    return np.clip(np.rint(x * scale), -128, 127), scale


def float_linear(x, ternary):  # float32 [..., n] -> float32 [..., M]
    """BitLinear (arXiv 2402.17764) as transformers computes it: int8 codes, back to float, product, weight scale."""
    activations, scale = float_quantise(x)
    return activations @ ternary.codes.T.astype(np.float32) / scale * np.float32(ternary.scale)


def accumulators(y, x, ternary):  # float32 [..., M], float32 [..., n], Ternary -> float32 [..., M]
    """The sums of int8 codes that are behind y = float_linear(x, ternary)."""
    return y * float_quantise(x)[1] / np.float32(ternary.scale or 1)


def float_norm(x, gamma, eps):  # float32 [..., n], float32 [n] or None -> float32 [..., n]
    """RMSNorm (arXiv 1910.07467), or x where a model has no norm there."""
    return x if gamma is None else gamma * (x / np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(eps)))


def float_rotate(x, rope):  # float32 [B, T, heads, D], Rope -> float32 [B, T, heads, D]
    """Rotary embedding (arXiv 2104.09864) of the pairs (j, j + D / 2)."""
    length, _, head_dim = x.shape[-3:]
    angle = (np.arange(length, dtype=np.float32)[:, None] * frequencies(rope, head_dim, np.float32))[:, None]
    low, high = np.split(x, 2, -1)
    return np.concatenate([low * np.cos(angle) - high * np.sin(angle), high * np.cos(angle) + low * np.sin(angle)], -1)


def float_attention(q, k, v):  # float32 [B, T, heads, D], [B, T, kv_heads, D] twice -> float32 [B, T, heads * D]
    """Causal softmax attention (arXiv 1706.03762), kv heads shared by groups of heads."""
    k, v = (np.repeat(y, q.shape[2] // k.shape[2], axis=2).transpose(0, 2, 1, 3) for y in (k, v))
    scores = q.transpose(0, 2, 1, 3) @ np.swapaxes(k, -1, -2) / np.sqrt(np.float32(q.shape[-1]))
    scores = np.where(np.tri(q.shape[1], dtype=bool), scores, np.float32(-np.inf))
    p = np.exp(scores - scores.max(-1, keepdims=True))
    o = p / p.sum(-1, keepdims=True) @ v
    return o.transpose(0, 2, 1, 3).reshape(*q.shape[:2], -1)


def float_layer(checkpoint, layer, x, see=lambda *values: None):  # float32 [B, T, d] -> float32 [B, T, d]
    """One layer of BitNet b1.58 2B4T (arXiv 2504.12285)."""
    h = float_norm(x, layer.attention_norm, checkpoint.eps)
    q, k, v = (float_linear(h, part).reshape(*x.shape[:2], -1, checkpoint.head_dim)
               for part in (layer.q, layer.k, layer.v))
    q, k = float_rotate(q, checkpoint.rope), float_rotate(k, checkpoint.rope)
    o = float_attention(q, k, v)
    between = x + float_linear(float_norm(o, layer.attention_sub_norm, checkpoint.eps), layer.o)
    h = float_norm(between, layer.feed_forward_norm, checkpoint.eps)
    gate, up = float_linear(h, layer.gate), float_linear(h, layer.up)
    z = (gate / (1 + np.exp(-gate)) if checkpoint.activation == "silu" else np.square(np.maximum(gate, 0))) * up
    result = between + float_linear(float_norm(z, layer.feed_forward_sub_norm, checkpoint.eps), layer.down)
    see(layer, k, v, between, h, gate, up, result)
    return result


def forward(checkpoint, tokens, see=lambda *values: None):  # integers [B, T] -> float32 [B, T, V]
    """Logits of whole sequences.

    ``see(layer, k, v, between, h, gate, up, result)`` is called for each layer: k and v are float32
    [B, T, kv_heads, D], k behind the rotary embedding; between and result are the residual stream behind attention and
    behind the layer, h the input of gate and up.
    """
    x = checkpoint.embedding[tokens]
    for layer in checkpoint.layers:
        x = float_layer(checkpoint, layer, x, see)
    head = checkpoint.embedding if checkpoint.head is None else checkpoint.head
    return float_norm(x, checkpoint.norm, checkpoint.eps) @ head.T
