"""Configurations and boards by what a user calls them: a name, a file, a name with changes."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .errors import ArgumentError
from .hdl.config import PRESETS, Config
from .small_file import read_small


if TYPE_CHECKING:
    from .hdl.boards.board import Board


__all__ = ["board_of", "config_of"]


MOST_BYTES = 4096  # of a file of parameters


def config_of(what: "Config | str") -> Config:
    """A Config, or one by its text: a processor that ships ("24x40"), one with changes ("24x40,depth=4096"), or the
    path of a YAML file with the parameters of setun.Config (its name is the file's unless given).

    Raises ArgumentError that names the text, file or field, and the remedy.
    """
    return _one_of(what, Config, PRESETS)


def _fields(kind):
    return {field.name: field for field in dataclasses.fields(kind)}


def _needed(kind):
    """Names of the parameters that a file must have."""
    return [name for name, field in _fields(kind).items() if field.default is dataclasses.MISSING]


def _listed(names):
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _one_of(what, kind, presets):
    if isinstance(what, kind):
        return what
    name, *changes = str(what).split(",")
    if not changes and Path(name).suffix in (".yaml", ".yml"):
        return _from_file(Path(name), kind)
    if name not in presets:
        raise ArgumentError(f"config {name!r}: no preset and no .yaml file: give one of {', '.join(presets)}, or a "
                            f"file with {_listed(_needed(kind))}")
    fields, known = {}, _fields(kind)
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals or field not in known or field == "name":
            raise ArgumentError(f"config {what!r}: {change!r} changes no parameter: write "
                                f"{', '.join(f'{each}=...' for each in known if each != 'name')}")
        fields[field] = _value(what, known[field], value)
    return _make(what, dataclasses.replace, presets[name], name=str(what), **fields) if fields else presets[name]


def _value(what, field, text):
    if field.type in (bool, "bool"):
        values = {"true": True, "false": False}
        if text.lower() not in values:
            raise ArgumentError(f"config {what!r}: {field.name} must be true or false, not {text!r}")
        return values[text.lower()]
    try:
        return int(text)
    except ValueError:
        raise ArgumentError(f"config {what!r}: {field.name} must be an integer, not {text!r}") from None


def _make(what, function, *arguments, **fields):
    try:
        return function(*arguments, **fields)
    except (TypeError, ValueError) as error:
        reason = str(error)  # the class's own begins with its name
        raise ArgumentError(f"config {what!r}: {reason.partition(': ')[2] if ': ' in reason else reason}") from error


def _from_file(path, kind):
    needed = _listed(_needed(kind))
    if path.exists() and not path.is_file():
        raise ArgumentError(f"{path}: config is no regular file: give one with {needed}")
    known = _fields(kind)
    try:
        fields = msgspec.yaml.decode(read_small(path, MOST_BYTES), type=dict[str, str | int | bool])
        wrong = [field for field in fields if field not in known]
        lacks = [name for name in _needed(kind) if name not in fields]
        if wrong or lacks:
            raise msgspec.DecodeError(f"{wrong[0]!r} is no parameter" if wrong else f"lacks {lacks[0]!r}")
    except OSError as error:
        raise ArgumentError(f"{path}: config cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        usual = [name for name in known if name not in (*_needed(kind), "name")]
        raise ArgumentError(f"{path}: {' '.join(str(error).split())}: write {needed}, and if they are not as usual "
                            f"{_listed(usual)}") from error
    return _make(str(path), kind, **{"name": path.stem} | fields)


def board_of(what: "Board | str") -> "Board":
    """A Board, or one by its text: a name of ``setun boards``, or the path of a Python file that defines BOARDS, a
    sequence of Board, as the files of setun.hdl.boards do; NAME@FILE chooses one of several.

    Raises ArgumentError that names the file and what it lacks.
    """
    from .hdl.boards import BOARDS
    from .hdl.boards.board import Board

    if isinstance(what, Board):
        return what
    if what in BOARDS:
        return BOARDS[what]
    name, at, file = str(what).rpartition("@")
    path = Path(file)
    if path.suffix != ".py":
        raise ArgumentError(f"board {what!r}: there is no such board: give one of {', '.join(BOARDS)}, or a file "
                            "my_board.py that defines BOARDS")
    found = {board.name: board for board in _boards_of(path, Board)}
    if not at and len(found) > 1 or at and name not in found:
        raise ArgumentError(f"{path}: choose one of its boards: {', '.join(f'{board}@{path}' for board in found)}")
    return found[name] if at else next(iter(found.values()))


def _boards_of(path, kind):
    """Boards that a file defines; what goes wrong in it is the file's, told in one line."""
    if not path.is_file():
        raise ArgumentError(f"{path}: board cannot be read: " + ("it is no regular file" if path.exists() else
                                                                "there is no such file"))
    spec = importlib.util.spec_from_file_location(f"setun_board_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        boards = list(module.BOARDS)
    except AttributeError as error:
        if "BOARDS" not in str(error):
            raise ArgumentError(f"{path}: {error}") from error
        raise ArgumentError(f"{path}: defines no BOARDS: end it with BOARDS = (Board(name=..., config=..., family=..., "
                            "platform=..., clock=..., baud=..., loader=...),)") from error
    except ArgumentError as error:
        raise ArgumentError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:  # a user's program may raise anything
        raise ArgumentError(f"{path}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    if not boards or not all(isinstance(board, kind) for board in boards):
        raise ArgumentError(f"{path}: BOARDS must be a sequence of setun.Board, with one at least")
    return boards
