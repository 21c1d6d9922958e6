"""From any format that is read to one that is written."""

import contextlib
import functools
import json
import pathlib
import shutil

from .container import write_container
from .export import hf_config, write_gguf, write_safetensors
from .model_file import refuse
from .safetensors_file import CONFIG, TEMPLATE, WEIGHTS
from .tokenizer import tokenizer_of


__all__ = ["FORMATS", "convert"]


FILES = ("tokenizer.json", TEMPLATE)  # of a folder, where the model has them


@contextlib.contextmanager
def _replacing(path):
    """A binary file that takes its name when all of it is written, and else leaves nothing behind."""
    path = path.resolve()  # a symbolic link stays, and the file behind it is replaced
    partial = path.with_name(path.name + ".partial")
    for file in (path, partial):
        _check_regular(file)
    try:
        with open(partial, "wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk has no name
        raise
    finally:
        partial.unlink(missing_ok=True)


def _check_regular(path):
    if path.exists() and not path.is_file():
        refuse(path, "output", "is no regular file", "choose another name")


def _check_output(path, form, force):
    """Refuse before anything is written what must not be replaced, or not without ``force``."""
    if form == "hf":
        if path.exists() and not path.is_dir():
            refuse(path, "output", "is no folder", "choose another name")
        found = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
        if foreign := [name for name in found if name not in (CONFIG, WEIGHTS, *FILES)]:
            refuse(path, foreign[0], "the folder holds other files", "choose a new or empty one")
    else:
        _check_regular(path)
        found = path.exists()
    if found and not force:
        refuse(path, "output", "is there already", "choose another name, or overwrite it with --force")


def _to_hf(model, tokenizer, path, progress):
    made = not path.exists()
    path.mkdir(exist_ok=True)
    try:
        with _replacing(path / WEIGHTS) as file:
            kinds = write_safetensors(file, path / WEIGHTS, model, progress)
        with _replacing(path / CONFIG) as file:
            file.write(json.dumps(hf_config(model, kinds), indent=2).encode() + b"\n")
        template = model.chat_template
        for name, data in zip(FILES, (tokenizer.json, None if template is None else template.encode())):
            if data is None:
                (path / name).unlink(missing_ok=True)
            else:
                with _replacing(path / name) as file:
                    file.write(data)
    except BaseException:  # Ctrl-C too leaves no half of a folder
        if made:
            shutil.rmtree(path, ignore_errors=True)
        raise


def _to_gguf(model, tokenizer, path, progress):
    with _replacing(path) as file:
        write_gguf(file, path, model, tokenizer, progress)


def _to_container(model, tokenizer, path, progress):
    with _replacing(path) as file:
        write_container(file, model, tokenizer.json, progress)


FORMATS = {"hf": _to_hf, "gguf-i2s": _to_gguf, "setun": _to_container}


def convert(model, output, form, progress=lambda description, done, total: None, *, force=False):
    """Write an open model file in one of FORMATS: a folder for "hf", and one file else.

    A file appears when it is complete. One that is there is replaced with ``force`` only.

    Raises CheckpointError where the format cannot hold the model, or ``output`` is there, and OSError where nothing can
    be written.
    """
    output = pathlib.Path(output)
    if output.exists() and output.samefile(model.path):
        refuse(output, "output", "is the model itself", "choose another name")
    _check_output(output, form, force)
    FORMATS[form](model, tokenizer_of(model), output, functools.partial(progress, f"writing {form}"))
