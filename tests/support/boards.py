"""Boards that only tests build for."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from setun.hdl.boards.board import Board
from setun.hdl.config import Config
from setun.hdl.technology.ice40 import FAMILY


__all__ = ["ICEBREAKER", "TINY"]


TINY = Config(name="1x5-tiny", banks=1, tiles=1, depth=64, columns=32, results=64, elements=64, scalars=64,
                instructions=64, vocabulary=64, context=32)
# The whole machine takes more than its iCE40UP5K has; its clock, its pins and its tools are as of any board.
ICEBREAKER = Board(name="icebreaker", config=TINY, clock=40_500_000, family=FAMILY, platform=ICEBreakerPlatform,
                   baud=3_000_000, loader="ice40_generic")
