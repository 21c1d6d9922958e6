"""The boards, by name."""

from . import ecpix5, icepi_zero, tang_nano_20k, ulx3s


__all__ = ["BOARDS"]


BOARDS = {board.name: board for module in (ulx3s, icepi_zero, ecpix5, tang_nano_20k)
          for board in module.BOARDS}
