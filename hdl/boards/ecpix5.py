"""LambdaConcept ECPIX-5 with an LFE5UM5G-85F: 100 MHz oscillator, FT2232H (docs.lambdaconcept.com/ecpix-5)."""

from amaranth_boards.ecpix5 import ECPIX585Platform

from ..config import PRESETS
from ..technology.ecp5 import FAMILY
from .board import Board, Chip


__all__ = ["BOARDS"]


BOARDS = (
    Board(name="ecpix5", config=PRESETS["24x40"], clock=50_000_000, family=FAMILY, platform=ECPIX585Platform,
          baud=3_000_000, loader="ecpix5",
          # At 300 MT/s, which open controllers reach on the ECP5: 80 % of 16 bits.
          chip=Chip("ddr3", 512 << 20, 480e6)),
)
