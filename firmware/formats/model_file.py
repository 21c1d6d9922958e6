"""A model in a file, of whatever format: its architecture at once, its tensors when they are asked for."""

import pathlib
from typing import Annotated, Literal

import msgspec
import numpy as np

from ..errors import Error
from ..golden.model import Checkpoint, CheckpointLayer, Ternary
from ..golden.rotary import Rope


__all__ = ["LIMIT", "MATRICES", "MAX_HIDDEN", "MOST_INPUTS", "NORMS", "NO_TOKEN", "Architecture", "CheckpointError",
           "ModelFile", "check_pointer", "mapped", "refuse", "scaled", "within"]


class CheckpointError(Error, ValueError):
    """A defect of a checkpoint, in one line: the file, the field, and what to do about it."""


POINTER = b"version https://git-lfs"
PIECE = 1 << 22  # elements that are read at once of an embedding
MATRICES = {  # of a layer: rows, columns
    "q": ("queries", "hidden"),
    "k": ("kv", "hidden"),
    "v": ("kv", "hidden"),
    "o": ("hidden", "queries"),
    "gate": ("inner", "hidden"),
    "up": ("inner", "hidden"),
    "down": ("hidden", "inner"),
}
NORMS = {  # of a layer: size
    "attention_norm": "hidden",
    "attention_sub_norm": "queries",
    "feed_forward_norm": "hidden",
    "feed_forward_sub_norm": "inner",
}
SUB_NORMS = ("attention_sub_norm", "feed_forward_sub_norm")  # that Llama's structure lacks
LIMIT = 1 << 31  # of any number
NO_TOKEN = (1 << 32) - 1  # -1 as GGUF writes it
MAX_HIDDEN = 8192
MOST_INPUTS = 1 << 17  # of a matrix
MOST_SAID = 300  # characters


def refuse(file, field, defect, remedy):
    """Raise CheckpointError; names and values that a file holds are cut, and what is unprintable in them escaped."""
    text = f"{file}: {str(field)[:MOST_SAID]}: {str(defect)[:MOST_SAID]}; {remedy}"
    raise CheckpointError("".join(char if char.isprintable() else ascii(char)[1:-1] for char in text))


def mapped(path, remedy="check its permissions"):
    """The bytes of a file, memory-mapped, uint8 [size]. Refuses what cannot be read, and pointers of git-lfs."""
    try:
        if path.exists() and not path.is_file():
            refuse(path, "file", "is none", remedy)
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        refuse(path, "file", (error.strerror or str(error)).lower(), remedy)
    check_pointer(path, data[:len(POINTER)].tobytes())
    return data


def check_pointer(file, start):
    """Refuse what git-lfs leaves in the place of a file, by the first bytes."""
    if start.startswith(POINTER):
        refuse(file, "file", "a pointer of git-lfs, and not the file itself",
               "fetch it with git lfs pull, or download the file itself")


def within(told, vocab):
    """Of pairs (field, token) the tokens of a vocabulary, each once, and lines on those beyond; -1 stands for none."""
    return (tuple(dict.fromkeys(token for _, token in told if 0 <= token < vocab)),
            [f"{field} {token} is beyond the vocabulary of {vocab}, and never comes"
             for field, token in told if token >= vocab and token != NO_TOKEN])


def _count(limit):
    return Annotated[int, msgspec.Meta(ge=1, le=limit)]


def scaled(file, field, codes, scale, remedy):
    """Ternary of codes and their scale; where all codes are 0 the scale may be 0 too, and is taken for 1."""
    if not scale and not codes.any():
        scale = 1.0
    if not 0 < scale < float("inf"):
        refuse(file, field, f"scale {scale} is not positive and finite", remedy)
    return Ternary(codes, float(scale))


Positive = Annotated[float, msgspec.Meta(gt=0, lt=LIMIT)]


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides the shapes of a model's tensors, and what is computed with them.

    Sums of squares, sums of products and tables stay exact and within memory up to the limits. ``rope_factor`` and
    ``rope_bands`` are those of golden.rotary.Rope.
    """
    vocab: _count(LIMIT - 1)
    context: _count(1 << 20)
    hidden: _count(MAX_HIDDEN)
    inner: _count(MOST_INPUTS)
    layers: _count(LIMIT - 1)
    heads: _count(MAX_HIDDEN)
    kv_heads: _count(MAX_HIDDEN)
    head_dim: _count(MAX_HIDDEN)
    rope_theta: Positive
    rope_factor: Positive
    rope_bands: tuple[Positive, Positive, _count(LIMIT - 1)] | None
    eps: Positive
    tied: bool  # the head is the embedding
    activation: Literal["relu2", "silu"]
    sub_norms: bool  # there are norms before o and before down

    def __post_init__(self):
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads: {self.kv_heads} does not divide heads {self.heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim: {self.head_dim} is odd, and a rotary embedding turns pairs")
        if self.heads * self.head_dim > MOST_INPUTS:
            raise ValueError(f"heads: {self.heads} of {self.head_dim} are more than {MOST_INPUTS} elements")
        if self.rope_bands and not self.rope_bands[0] < self.rope_bands[1]:
            raise ValueError(f"rope_bands: low {self.rope_bands[0]} is not below high {self.rope_bands[1]}")

    @property
    def norms(self):
        """Names of a layer's norms."""
        return [name for name in NORMS if self.sub_norms or name not in SUB_NORMS]

    @property
    def count(self):
        """Number of tensors; what a file tells is to be compared with what it holds before ``parts`` is asked for."""
        return self.layers * (len(MATRICES) + len(self.norms)) + (2 if self.tied else 3)

    def parts(self):
        """Yield (layer, name, shape) of all tensors; layer is None for embedding, norm and head."""
        sizes = {"hidden": self.hidden, "inner": self.inner, "queries": self.head_dim * self.heads,
                 "kv": self.head_dim * self.kv_heads}
        yield None, "embedding", (self.vocab, self.hidden)
        for layer in range(self.layers):
            for name, (rows, columns) in MATRICES.items():
                yield layer, name, (sizes[rows], sizes[columns])
            for name in self.norms:
                yield layer, name, (sizes[NORMS[name]],)
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
    chat_template : str or None
        Jinja's template of a conversation.
    ends : tuple of int
        Tokens behind which a text ends.
    formats : golden.formats.Formats or None
        Of the integer model; None where the file does not tell them.
    taken : list of str
        What the file does not tell, or not for sure, and how it was taken.
    """

    tokenizer, chat_template, ends, taken, formats = None, None, (), (), None

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
        """A norm of a layer, by its name in ``architecture.norms``; the final one where layer is None."""
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
            kv_heads=shape.kv_heads, head_dim=shape.head_dim,
            rope=Rope(shape.rope_theta, shape.rope_factor, shape.rope_bands), eps=shape.eps,
            activation=shape.activation,
            embedding=self.rows("embedding", 0, shape.vocab),
            layers=tuple(CheckpointLayer(**{name: self.ternary(layer, name) for name in MATRICES},
                                         **dict.fromkeys(SUB_NORMS) | {
                                             name: self.norm(layer, name) for name in shape.norms})
                         for layer in range(shape.layers)),
            norm=self.norm(None, "norm"), head=None if shape.tied else self.rows("head", 0, shape.vocab),
            formats=self.formats)
