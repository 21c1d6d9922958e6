"""Radiona ULX3S with an LFE5U-85F: 25 MHz oscillator, FT231X (github.com/emard/ulx3s)."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from ..config import PRESETS
from ..technology.ecp5 import FAMILY
from .board import Board, sdram


__all__ = ["BOARDS"]


CLOCK = 50_000_000
BOARDS = (
    Board(name="ulx3s", config=PRESETS["24x40"], clock=CLOCK, family=FAMILY, platform=ULX3S_85F_Platform,
          baud=3_000_000, loader="ulx3s",
          chip=sdram(megabytes=32, width=16, clock=CLOCK)),  # the IS42S16160G-7 of most: up to 143 MHz
)
