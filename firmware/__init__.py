"""Setun: a BitNet b1.58 accelerator that can be simulated, checked, measured and put on an open FPGA.

Everything below is loaded when it is first used: a program that talks to a board loads no RTL and no simulator.
"""

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from .accelerator import Accelerator, MatVec, connect, reference, simulate
    from .analysis.profile import Profile, profile
    from .configuration import board_of, config_of
    from .errors import ArgumentError, Error
    from .formats.model import Model, load
    from .generate import CheckError, Generation, Token
    from .hardware import build, write_verilog
    from .hdl.boards import BOARDS
    from .hdl.boards.board import Board
    from .hdl.config import PRESETS, Config


_PLACES = {
    "accelerator": ("Accelerator", "MatVec", "connect", "reference", "simulate"),
    "analysis.profile": ("Profile", "profile"),
    "configuration": ("board_of", "config_of"),
    "errors": ("ArgumentError", "Error"),
    "hardware": ("build", "write_verilog"),
    "formats.model": ("Model", "load"),
    "generate": ("CheckError", "Generation", "Token"),
    "hdl.boards": ("BOARDS",),
    "hdl.boards.board": ("Board",),
    "hdl.config": ("PRESETS", "Config"),
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names}
__all__ = sorted(_PLACE)
__version__ = _version("setun")


def __getattr__(name):
    if name not in _PLACE:
        raise AttributeError(f"module 'setun' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_PLACE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *__all__])
