"""Models to profile: by name, from a file of dimensions, or a checkpoint."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from ..formats.checkpoint import CheckpointError
from ..small_file import read_small


__all__ = ["Dimensions", "dimensions_of", "load_dimensions", "named_models"]


MOST_BYTES = 4096  # of YAML; what is nested deeper than this would exhaust its parser's stack
MOST_JSON_BYTES = 1 << 20  # config.json of some models lists every layer
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]


class Dimensions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What decides the shapes of a model's matrices."""
    name: str
    hidden: Count
    inner: Count  # of the feed-forward network
    layers: Count
    heads: Count
    kv_heads: Count
    vocab: Count
    context: Count = 2048
    head_dim: Count | None = None  # hidden / heads unless given
    activation: Literal["relu2", "silu"] = "relu2"
    tied: bool = True  # head and embedding are one
    sub_norms: bool | None = None  # those with squared ReLU have them, unless given
    source: str = ""

    def __post_init__(self):
        if self.head_dim is None and self.hidden % self.heads:
            raise ValueError(f"hidden is {self.hidden} and no multiple of the {self.heads} heads: give head_dim")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads is {self.heads} and must be a multiple of kv_heads, which is {self.kv_heads}")

    @property
    def has_sub_norms(self):
        """Whether there are norms before o and down."""
        return self.activation == "relu2" if self.sub_norms is None else self.sub_norms

    @property
    def queries(self):
        """Elements of all heads."""
        return self.heads * (self.head_dim or self.hidden // self.heads)

    @property
    def keys(self):
        """Elements of all kv heads."""
        return self.kv_heads * self.queries // self.heads

    @property
    def matrices(self):
        """{kind: (rows, columns)} of a layer's ternary matrices, those with a common input in one."""
        return {"qkv": (self.queries + 2 * self.keys, self.hidden), "o": (self.hidden, self.queries),
                "gate_up": (2 * self.inner, self.hidden), "down": (self.hidden, self.inner)}

    @property
    def weights(self):
        """Ternary weights of all layers."""
        return self.layers * sum(rows * columns for rows, columns in self.matrices.values())


def named_models():
    """{name: Dimensions} of models.yaml."""
    text = Path(__file__).with_name("models.yaml").read_bytes()
    return {model.name: model for model in msgspec.yaml.decode(text, type=list[Dimensions])}


class HuggingFace(msgspec.Struct, frozen=True, kw_only=True):
    """What of a Hugging Face config.json decides the shapes of a model's matrices."""
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    vocab_size: Count
    num_key_value_heads: Count | None = None  # as many as heads unless given
    max_position_embeddings: Count = 2048
    head_dim: Count | None = None
    hidden_act: Literal["relu2", "silu"] = "silu"
    tie_word_embeddings: bool = True

    def dimensions(self, path):
        """Dimensions, which are called as the folder of the file."""
        return Dimensions(
            name=path.absolute().parent.name or path.stem, hidden=self.hidden_size, inner=self.intermediate_size,
            layers=self.num_hidden_layers, heads=self.num_attention_heads,
            kv_heads=self.num_key_value_heads or self.num_attention_heads, vocab=self.vocab_size,
            context=self.max_position_embeddings, head_dim=self.head_dim, activation=self.hidden_act,
            tied=self.tie_word_embeddings, source=str(path))


def load_dimensions(path):
    """Dimensions of a .json, .yaml or .yml file; of a Hugging Face config.json, too.

    Raises CheckpointError that names file and field.
    """
    decode, most = ((msgspec.json.decode, MOST_JSON_BYTES) if path.suffix == ".json" else
                    (msgspec.yaml.decode, MOST_BYTES))
    if path.exists() and not path.is_file():  # a FIFO may never end
        raise CheckpointError(f"{path}: is no regular file: give a .yaml or .json file")
    try:
        fields = decode(read_small(path, most))
        if isinstance(fields, dict) and "hidden_size" in fields:
            return msgspec.convert(fields, HuggingFace).dimensions(path)
        return msgspec.convert(fields, Dimensions)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())}: write name, hidden, inner, layers, heads, "
                              "kv_heads and vocab (see setun profile --help), or give a Hugging Face config.json"
                              ) from error


def dimensions_of(checkpoint, name):
    """Dimensions of golden.model.Checkpoint."""
    return Dimensions(name=name, hidden=checkpoint.hidden, inner=checkpoint.inner, layers=len(checkpoint.layers),
                      heads=checkpoint.heads, kv_heads=checkpoint.kv_heads, vocab=checkpoint.vocab,
                      context=checkpoint.context, head_dim=checkpoint.head_dim, activation=checkpoint.activation,
                      tied=checkpoint.head is None, sub_norms=checkpoint.layers[0].attention_sub_norm is not None)
