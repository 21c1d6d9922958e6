"""Random checkpoints, one in memory as if it were a file, and what transformers makes of one."""

import numpy as np
import torch
import torch._dynamo
from transformers import AutoModelForCausalLM

from firmware.model_file import Architecture, ModelFile
from golden.model import Checkpoint, CheckpointLayer, Ternary


def float_values(rng, kind, *shape, mean=0.0):
    """Random float32 that the type holds exactly."""
    values = rng.normal(mean, 0.3, shape).astype(np.float32)
    if kind == "BF16":
        return (values.view(np.uint32) & 0xffff0000).view(np.float32)
    return values.astype(np.float16).astype(np.float32) if kind == "F16" else values


def random_checkpoint(seed=0, *, vocab=300, context=32, hidden=64, inner=96, heads=4, kv_heads=2, layers=2,
                      activation="relu2", tied=True, kind="BF16"):
    """A checkpoint whose embedding is of a float type; scales are float32, norms bfloat16."""
    rng = np.random.default_rng(seed)
    kv = hidden // heads * kv_heads

    def ternary(rows, columns):
        return Ternary(rng.integers(-1, 2, (rows, columns), np.int8), float(np.float32(rng.uniform(0.8, 1.2) / 8)))

    def norm(size):
        return float_values(rng, "BF16", size, mean=1.0)

    return Checkpoint(
        vocab=vocab, context=context, hidden=hidden, inner=inner, heads=heads, kv_heads=kv_heads, rope_theta=1e4,
        eps=1e-5, activation=activation, embedding=float_values(rng, kind, vocab, hidden),
        layers=tuple(CheckpointLayer(
            q=ternary(hidden, hidden), k=ternary(kv, hidden), v=ternary(kv, hidden), o=ternary(hidden, hidden),
            gate=ternary(inner, hidden), up=ternary(inner, hidden), down=ternary(hidden, inner),
            attention_norm=norm(hidden), attention_sub_norm=norm(hidden), feed_forward_norm=norm(hidden),
            feed_forward_sub_norm=norm(inner)) for _ in range(layers)),
        norm=norm(hidden), head=None if tied else float_values(rng, kind, vocab, hidden))


class InMemory(ModelFile):
    """A checkpoint as an open file."""

    def __init__(self, checkpoint, tokenizer=None):
        super().__init__(__file__)
        self._checkpoint, self.tokenizer = checkpoint, tokenizer
        same = set(checkpoint._fields) & set(Architecture.__struct_fields__) - {"layers"}
        self.architecture = Architecture(layers=len(checkpoint.layers), tied=checkpoint.head is None,
                                         **{name: getattr(checkpoint, name) for name in same})

    def ternary(self, layer, name):
        return getattr(self._checkpoint.layers[layer], name)

    def norm(self, layer, name):
        return self._checkpoint.norm if layer is None else getattr(self._checkpoint.layers[layer], name)

    def rows(self, name, start, stop):
        return getattr(self._checkpoint, name)[start:stop]


def assert_same(a, b):
    """Two checkpoints are equal in every bit."""
    assert [a._replace(embedding=0, head=0, norm=0, layers=0)] == [b._replace(embedding=0, head=0, norm=0, layers=0)]
    assert (a.head is None) == (b.head is None) and len(a.layers) == len(b.layers)
    for x, y in [(a.embedding, b.embedding), (a.norm, b.norm), *([] if a.head is None else [(a.head, b.head)])]:
        assert x.dtype == y.dtype == np.float32 and x.tobytes() == y.tobytes()
    for x, y in zip(a.layers, b.layers):
        for name, first, second in zip(x._fields, x, y):
            if isinstance(first, Ternary):
                assert first.scale == second.scale, name
                first, second = first.codes, second.codes
            assert first.dtype == second.dtype and first.shape == second.shape and (first == second).all(), name


def transformers_logits(folder, tokens):
    """float32 [B, T, V] of transformers, and its model."""
    torch._dynamo.config.disable = True
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.nn.Module.float(model)  # transformers leaves what is bfloat16 in the file as it is
    with torch.no_grad():
        return model(torch.tensor(tokens)).logits.numpy(), model
