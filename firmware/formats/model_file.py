"""A model in a file, of whatever format: its architecture at once, its tensors when they are asked for."""

import pathlib
from typing import Annotated, Literal

import msgspec

from ..errors import Error
from ..golden.fixed import MAX_HIDDEN
from ..golden.model import Checkpoint, CheckpointLayer


__all__ = ["MATRICES", "NORMS", "Architecture", "CheckpointError", "ModelFile", "refuse"]


class CheckpointError(Error, ValueError):
    """A defect of a checkpoint, in one line: the file, the field, and what to do about it."""


PIECE = 1 << 22  # elements that are read at once of an embedding
MATRICES = {  # of a layer: rows, columns
    "q": ("hidden", "hidden"),
    "k": ("kv", "hidden"),
    "v": ("kv", "hidden"),
    "o": ("hidden", "hidden"),
    "gate": ("inner", "hidden"),
    "up": ("inner", "hidden"),
    "down": ("hidden", "inner"),
}
NORMS = {  # of a layer: size
    "attention_norm": "hidden",
    "attention_sub_norm": "hidden",
    "feed_forward_norm": "hidden",
    "feed_forward_sub_norm": "inner",
}
LIMIT = 1 << 31  # of any number
MOST_SAID = 300  # characters


def refuse(file, field, defect, remedy):
    """Raise CheckpointError; names and values that a file holds are cut, and what is unprintable in them escaped."""
    text = f"{file}: {str(field)[:MOST_SAID]}: {str(defect)[:MOST_SAID]}; {remedy}"
    raise CheckpointError("".join(char if char.isprintable() else ascii(char)[1:-1] for char in text))


def _count(limit):
    return Annotated[int, msgspec.Meta(ge=1, le=limit)]


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides the shapes of a model's tensors, and what is computed with them.

    Sums of squares, sums of products and tables stay exact and within memory up to the limits.
    """
    vocab: _count(LIMIT - 1)
    context: _count(1 << 20)
    hidden: _count(MAX_HIDDEN)
    inner: _count(1 << 17)
    layers: _count(LIMIT - 1)
    heads: _count(MAX_HIDDEN)
    kv_heads: _count(MAX_HIDDEN)
    rope_theta: Annotated[float, msgspec.Meta(gt=0, lt=LIMIT)]
    eps: Annotated[float, msgspec.Meta(gt=0, lt=LIMIT)]
    tied: bool  # the head is the embedding
    activation: Literal["relu2", "silu"]

    def __post_init__(self):
        if self.hidden % (2 * self.heads):
            raise ValueError(f"heads: 2 * {self.heads} does not divide hidden {self.hidden}")
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads: {self.kv_heads} does not divide heads {self.heads}")

    @property
    def count(self):
        """Number of tensors; what a file tells is to be compared with what it holds before ``parts`` is asked for."""
        return self.layers * (len(MATRICES) + len(NORMS)) + (2 if self.tied else 3)

    def parts(self):
        """Yield (layer, name, shape) of all tensors; layer is None for embedding, norm and head."""
        sizes = {"hidden": self.hidden, "inner": self.inner, "kv": self.hidden // self.heads * self.kv_heads}
        yield None, "embedding", (self.vocab, self.hidden)
        for layer in range(self.layers):
            for name, (rows, columns) in MATRICES.items():
                yield layer, name, (sizes[rows], sizes[columns])
            for name, size in NORMS.items():
                yield layer, name, (sizes[size],)
        yield None, "norm", (self.hidden,)
        if not self.tied:
            yield None, "head", (self.vocab, self.hidden)


class ModelFile:
    """A model file that is open, or a folder; a context manager. Whatever reads raises CheckpointError for a defect.

    Members
    -------
    path : Path
    format : str
        What ``setun inspect`` calls it.
    architecture : Architecture
    tokenizer : bytes, dict or None
        The content of a tokenizer.json, the fields ``tokenizer.ggml...`` of a GGUF, or None: tokens are bytes.
    ends : tuple of int
        Tokens behind which a text ends.
    """

    tokenizer, ends = None, ()

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def ternary(self, layer, name):  # -> Ternary
        """A matrix of a layer, by its name in MATRICES."""
        raise NotImplementedError

    def norm(self, layer, name):  # -> float32 [n]
        """A norm of a layer, by its name in NORMS; the final one where layer is None."""
        raise NotImplementedError

    def rows(self, name, start, stop):  # -> float32 [stop - start, hidden]
        """Rows of the "embedding" or of the "head", which only a model has that is not tied."""
        raise NotImplementedError

    def tensors(self):
        """Yield (name in the file, layer, name here) of all tensors of the architecture."""
        raise NotImplementedError

    def pieces(self, layer, name):
        """Yield the values of a norm, the embedding or the head, float32, some rows at a time."""
        if name not in ("embedding", "head"):
            yield self.norm(layer, name)
            return
        rows = max(1, PIECE // self.architecture.hidden)
        for start in range(0, self.architecture.vocab, rows):
            yield self.rows(name, start, min(start + rows, self.architecture.vocab))

    def checkpoint(self):
        """All of it, as golden.model.Checkpoint."""
        shape = self.architecture
        return Checkpoint(
            vocab=shape.vocab, context=shape.context, hidden=shape.hidden, inner=shape.inner, heads=shape.heads,
            kv_heads=shape.kv_heads, rope_theta=shape.rope_theta, eps=shape.eps, activation=shape.activation,
            embedding=self.rows("embedding", 0, shape.vocab),
            layers=tuple(CheckpointLayer(**{name: self.ternary(layer, name) for name in MATRICES},
                                         **{name: self.norm(layer, name) for name in NORMS})
                         for layer in range(shape.layers)),
            norm=self.norm(None, "norm"), head=None if shape.tied else self.rows("head", 0, shape.vocab))
