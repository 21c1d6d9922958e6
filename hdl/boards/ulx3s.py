"""Radiona ULX3S with an LFE5U-85F: 25 MHz oscillator, FT231X (github.com/emard/ulx3s)."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from ..config import PRESETS
from ..technology.ecp5 import FAMILY, FULL
from .board import Board


__all__ = ["BOARDS"]


COMMON = {"family": FAMILY, "platform": ULX3S_85F_Platform, "baud": 3_000_000, "loader": "ulx3s"}

BOARDS = (
    Board(name="ulx3s", config=PRESETS["16x20"], clock=125_000_000, **COMMON),
    Board(name="ulx3s-800", config=PRESETS["16x50"], clock=115_000_000, **COMMON),
    Board(name="ulx3s-2400", config=PRESETS["24x100"], clock=100_000_000, **COMMON | {"family": FULL}),
)
