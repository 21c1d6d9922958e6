"""1BitSquared iCEBreaker with an iCE40UP5K: 12 MHz oscillator, FT2232H (github.com/icebreaker-fpga/icebreaker)."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from ..config import PRESETS
from ..technology.ice40 import FAMILY
from .board import Board


__all__ = ["BOARDS"]


BOARDS = (
    Board(name="icebreaker", clock=40_500_000, family=FAMILY, platform=ICEBreakerPlatform, baud=3_000_000,
          loader="ice40_generic", config=PRESETS["4x10-spram"]),
)
