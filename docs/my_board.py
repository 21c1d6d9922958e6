"""An ULX3S with a smaller accelerator than the one it gets as ``ulx3s``."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from setun.hdl.boards.board import Board
from setun.hdl.config import Config
from setun.hdl.technology.ecp5 import FAMILY


CONFIG = Config(name="mine", banks=12, tiles=3, depth=2048)
BOARDS = (
    Board(name="mine", config=CONFIG, clock=50_000_000, family=FAMILY, platform=ULX3S_85F_Platform,
          baud=3_000_000, loader="ulx3s"),
)
