"""A model of which only the dimensions are known, for programs whose cycles are asked for and whose values are not."""

import numpy as np

from ..golden.model import Attention, Embedding, IntegerLayer, IntegerModel, Matrix, Norm
from ..golden.scalars import ONE, Scalar


__all__ = ["hollow_model"]


def hollow_model(dimensions, context):
    """IntegerModel of setun.analysis.models.Dimensions with that context: no weights, and scalars that are 1."""
    heads = Scalar(*(np.full(dimensions.kv_heads, part) for part in ONE))
    norm = Norm(None, 0, ONE, ONE)
    sub_norm = norm if dimensions.has_sub_norms else None
    layer = IntegerLayer(
        attention_norm=norm, qkv=Matrix(None, (ONE,) * 3), attention=Attention(heads, heads, heads, heads, ONE),
        attention_sub_norm=sub_norm, o=Matrix(None, (ONE,)), feed_forward_norm=norm,
        gate_up=Matrix(None, (ONE,) * 2), square_shift=0, up_bits=0,
        feed_forward_sub_norm=sub_norm, down=Matrix(None, (ONE,)))
    embedding = Embedding(None, None, 0)
    return IntegerModel(
        vocab=dimensions.vocab, context=context, hidden=dimensions.hidden, inner=dimensions.inner,
        heads=dimensions.heads, kv_heads=dimensions.kv_heads, head_dim=dimensions.queries // dimensions.heads,
        activation=dimensions.activation, fraction=0, embedding=embedding, layers=(layer,) * dimensions.layers,
        norm=norm, head=embedding if dimensions.tied else Embedding(None, None, 1), head_scale=ONE,
        frequencies=np.zeros(dimensions.queries // dimensions.heads // 2, np.int64))
