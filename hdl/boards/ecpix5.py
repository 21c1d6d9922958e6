"""LambdaConcept ECPIX-5 with an LFE5UM5G-85F: 100 MHz oscillator, FT2232H (docs.lambdaconcept.com/ecpix-5)."""

from amaranth_boards.ecpix5 import ECPIX585Platform

from ..config import PRESETS
from ..technology.ecp5 import FAMILY
from .board import Board


__all__ = ["BOARDS"]


BOARDS = (
    Board(name="ecpix5", config=PRESETS["16x20"], clock=175_000_000, family=FAMILY, platform=ECPIX585Platform,
          baud=3_000_000, loader="ecpix5"),
)
