"""1BitSquared iCEBreaker with an iCE40UP5K: 12 MHz oscillator, FT2232H (github.com/icebreaker-fpga/icebreaker)."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from ..config import Config
from .board import Board
from .ice40 import FAMILY


__all__ = ["BOARDS"]


BOARDS = (
    Board(name="icebreaker", clock=40_500_000, family=FAMILY, platform=ICEBreakerPlatform, baud=3_000_000,
          loader="ice40_generic",
          config=Config(name="4x10-spram", banks=4, tiles=2, depth=16384, columns=512, blocks=102, stack=2,
                        single_port=True)),
)
