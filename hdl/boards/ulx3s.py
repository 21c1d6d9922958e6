"""Radiona ULX3S with an LFE5U-85F: 25 MHz oscillator, FT231X (github.com/emard/ulx3s)."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from ..config import PRESETS
from ..technology.ecp5 import FAMILY, FULL
from .board import Board, sdram


__all__ = ["BOARDS"]


COMMON = {"family": FAMILY, "platform": ULX3S_85F_Platform, "baud": 3_000_000, "loader": "ulx3s"}


def _ulx3s(name, preset, clock, **more):
    """A Board with the IS42S16160G-7 of most ULX3S: 32 MB, up to 143 MHz."""
    return Board(name=name, config=PRESETS[preset], clock=clock, chip=sdram(megabytes=32, width=16, clock=clock),
                 **COMMON | more)


BOARDS = (
    _ulx3s("ulx3s", "16x20", 125_000_000),
    _ulx3s("ulx3s-800", "16x50", 115_000_000),
    _ulx3s("ulx3s-2400", "24x100", 100_000_000, family=FULL),
)
