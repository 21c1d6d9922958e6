"""Icepi Zero with an LFE5U-25F: 50 MHz oscillator, FT231X (github.com/cheyao/icepi-zero)."""

from amaranth_boards.icepi_zero import IcepiZero1_3Platform

from ..config import PRESETS
from ..technology.ecp5 import FAMILY
from .board import Board, sdram


__all__ = ["BOARDS"]


BOARDS = (
    Board(name="icepi-zero", config=PRESETS["8x20"], clock=75_000_000, family=FAMILY, platform=IcepiZero1_3Platform,
          baud=3_000_000, loader="icepi-zero",
          chip=sdram(megabytes=32, width=16, clock=75_000_000)),  # a W9825G6KH-6
)
