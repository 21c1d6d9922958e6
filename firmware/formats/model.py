"""A model in memory, with all that turns a text into tokens and back."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..golden.fixed import to_fixed
from ..golden.model import Checkpoint, IntegerModel
from .checkpoint import open_checkpoint
from .evidence import doubts
from .model_file import ModelFile
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
    file : ModelFile or None
        The file that it was read from.
    """
    name: str
    checkpoint: Checkpoint
    tokenizer: ByteTokenizer | JsonTokenizer
    ends: tuple[int, ...] = ()
    file: ModelFile | None = None

    @cached_property
    def taken(self) -> tuple[str, ...]:
        """What the file does not tell, or not for sure, how it was taken, and what speaks against that.

        Of a GGUF it takes up to two seconds, in which weights are read again.
        """
        return () if self.file is None else (*self.file.taken, *doubts(self.file))

    @cached_property
    def integer(self) -> IntegerModel:
        """The model in the fixed point of setun.golden.decoder."""
        return to_fixed(self.checkpoint)


def load(source: str | Path, *, activation: str | None = None, i2s_packing: str | None = None) -> Model:
    """Read a model whole.

    Parameters
    ----------
    source : str | Path
        "demo", the model that ships; a folder of Hugging Face's; a GGUF (I2_S, TQ1_0, TQ2_0, or floats that are
        ternary); or a container of ``setun convert``.
    activation : str | None
        "relu2" or "silu", in place of what the architecture of a GGUF says.
    i2s_packing : str | None
        "x86", the default, or "arm": where the matrices of a GGUF were packed as I2_S.

    Raises CheckpointError, in one line, for whatever is wrong with it: the file, the field, and what to do.
    """
    with open_checkpoint(source, activation, i2s_packing) as opened:
        return Model(opened.path.name, opened.checkpoint(), tokenizer_of(opened), opened.ends, opened)
