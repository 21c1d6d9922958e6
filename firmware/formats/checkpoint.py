"""Checkpoints of BitNet b1.58, of whatever format: folders of Hugging Face's, GGUF, containers."""

import pathlib

from .container import MAGIC, Container
from .gguf_file import Gguf
from .gguf_layout import GGUF_MAGIC
from .model_file import CheckpointError, mapped, refuse
from .safetensors_file import Folder


__all__ = ["CheckpointError", "DEMO", "load", "open_checkpoint"]


DEMO = pathlib.Path(__file__).parents[1] / "demo"


def open_checkpoint(path, activation=None, i2s_packing=None):
    """ModelFile of "demo", a folder, a GGUF or a container.

    Parameters
    ----------
    path : str | Path
    activation : str | None
        "relu2" or "silu", in place of what the architecture of a GGUF says: converters have called models with squared
        ReLU "bitnet", which means silu.
    i2s_packing : str | None
        "x86", the default, or "arm": where the matrices of a GGUF were packed as I2_S, which it does not tell.

    Raises CheckpointError, in one line, for whatever is wrong with it.
    """
    path = DEMO if str(path) == "demo" else pathlib.Path(path)
    if path.is_dir() or not path.exists():
        _check_told(path, activation, i2s_packing)
        return Folder(path)
    if not path.is_file():
        refuse(path, "file", "is a device, a FIFO or a socket", "give a folder, a GGUF or a container of setun convert")
    data = mapped(path)
    if data[:len(GGUF_MAGIC)].tobytes() == GGUF_MAGIC:
        return Gguf(path, data, activation, i2s_packing)
    if data[:len(MAGIC)].tobytes() == MAGIC:
        _check_told(path, activation, i2s_packing)
        return Container(path, data)
    refuse(path, "magic", f"{data[:8].tobytes()!r} is of no format that is read",
           "give a folder with config.json, a GGUF or a container of setun convert")


def _check_told(path, activation, i2s_packing):
    for field, value in (("activation", activation), ("i2s-packing", i2s_packing)):
        if value is not None:
            refuse(path, field, f"{value!r} asked for, and only a GGUF leaves it open", f"leave out --{field}")


def load(path, activation=None, i2s_packing=None):
    """All of a model file, as golden.model.Checkpoint. Raises CheckpointError, in one line."""
    with open_checkpoint(path, activation, i2s_packing) as model:
        return model.checkpoint()
