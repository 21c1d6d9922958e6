"""From any format that is read to one that is written."""

import contextlib
import functools
import json
import pathlib

from .container import write_container
from .export import hf_config, write_gguf, write_safetensors
from .model_file import refuse
from .safetensors_file import CONFIG, WEIGHTS
from .tokenizer import tokenizer_of


__all__ = ["FORMATS", "convert"]


TOKENIZER = "tokenizer.json"


@contextlib.contextmanager
def _replacing(path):
    """A binary file that takes its name when all of it is written, and else leaves nothing behind."""
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _to_hf(model, tokenizer, path, progress):
    path.mkdir(exist_ok=True)
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in (CONFIG, WEIGHTS, TOKENIZER))
    if foreign:
        refuse(path, foreign[0], "the folder holds other files", "choose a new or empty one")
    with _replacing(path / WEIGHTS) as file:
        kinds = write_safetensors(file, path / WEIGHTS, model, progress)
    with _replacing(path / CONFIG) as file:
        file.write(json.dumps(hf_config(model, kinds), indent=2).encode() + b"\n")
    if tokenizer.json is None:
        (path / TOKENIZER).unlink(missing_ok=True)
    else:
        with _replacing(path / TOKENIZER) as file:
            file.write(tokenizer.json)


def _to_gguf(model, tokenizer, path, progress):
    with _replacing(path) as file:
        write_gguf(file, path, model, tokenizer, progress)


def _to_container(model, tokenizer, path, progress):
    with _replacing(path) as file:
        write_container(file, model, tokenizer.json, progress)


FORMATS = {"hf": _to_hf, "gguf-i2s": _to_gguf, "setun": _to_container}


def convert(model, output, form, progress=lambda description, done, total: None):
    """Write an open model file in one of FORMATS: a folder for "hf", and one file else, replaced when it is complete.

    Raises CheckpointError where the format cannot hold the model, and OSError where nothing can be written.
    """
    output = pathlib.Path(output)
    if output.exists() and output.samefile(model.path):
        refuse(output, "output", "is the model itself", "choose another name")
    FORMATS[form](model, tokenizer_of(model), output, functools.partial(progress, f"writing {form}"))
