"""A model in memory, with all that turns a text into tokens and back."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..golden.fixed import to_fixed
from ..golden.model import Checkpoint, IntegerModel
from .checkpoint import open_checkpoint
from .tokenizer import ByteTokenizer, JsonTokenizer, tokenizer_of


__all__ = ["Model", "load"]


@dataclass(frozen=True, eq=False)
class Model:
    """A BitNet b1.58, of whatever format its file was.

    Members
    -------
    name : str
        Of its file or folder.
    checkpoint : setun.golden.model.Checkpoint
        Ternary codes with their scales, norms, embedding and head, as the file has them.
    tokenizer : ByteTokenizer | JsonTokenizer
        ``encode(text) -> list of int`` and ``decode(ids) -> str``; bytes where the file has no tokenizer.
    ends : tuple of int
        Tokens behind which a text ends.
    """
    name: str
    checkpoint: Checkpoint
    tokenizer: ByteTokenizer | JsonTokenizer
    ends: tuple[int, ...] = ()

    @cached_property
    def integer(self) -> IntegerModel:
        """The model in the fixed point of setun.golden.decoder."""
        return to_fixed(self.checkpoint)


def load(source: str | Path) -> Model:
    """Read a model whole.

    Parameters
    ----------
    source : str | Path
        "demo", the model that ships; a folder of Hugging Face's; a GGUF (I2_S, TQ1_0, TQ2_0); or a container of
        ``setun convert``.

    Raises CheckpointError, in one line, for whatever is wrong with it: the file, the field, and what to do.
    """
    with open_checkpoint(source) as opened:
        return Model(opened.path.name, opened.checkpoint(), tokenizer_of(opened), opened.ends)
