"""Checkpoints of BitNet b1.58, of whatever format: folders of Hugging Face's, GGUF, containers."""

import pathlib

import numpy as np

from .container import MAGIC, Container
from .gguf_file import GGUF_MAGIC, Gguf
from .model_file import CheckpointError, refuse
from .safetensors_file import Folder


__all__ = ["CheckpointError", "DEMO", "load", "open_checkpoint"]


DEMO = pathlib.Path(__file__).parents[1] / "demo"


def open_checkpoint(path):
    """ModelFile of "demo", a folder, a GGUF or a container.

    Raises CheckpointError, in one line, for whatever is wrong with it.
    """
    path = DEMO if str(path) == "demo" else pathlib.Path(path)
    if path.is_dir() or not path.exists():
        return Folder(path)
    if not path.is_file():
        refuse(path, "file", "is a device, a FIFO or a socket", "give a folder, a GGUF or a container of setun convert")
    try:
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        refuse(path, "file", (error.strerror or str(error)).lower(), "check its permissions")
    for magic, kind in ((MAGIC, Container), (GGUF_MAGIC, Gguf)):
        if data[:len(magic)].tobytes() == magic:
            return kind(path, data)
    refuse(path, "magic", f"{data[:8].tobytes()!r} is of no format that is read",
           "give a folder with config.json, a GGUF or a container of setun convert")


def load(path):
    """All of a model file, as golden.model.Checkpoint. Raises CheckpointError, in one line."""
    with open_checkpoint(path) as model:
        return model.checkpoint()
