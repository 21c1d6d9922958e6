"""Sipeed Tang Nano 20K with a GW2AR-18: 27 MHz oscillator, BL616 (Sipeed's schematic, Tang_Nano_20K_3921).

nextpnr's timing of Gowin devices knows no delays of block RAM and routing: that the bitstream works at its clock is an
assumption, with a clock as low as the oscillator's to make it a safe one.
"""

from amaranth.build import *
from amaranth.vendor import GowinPlatform
from amaranth_boards.resources import LEDResources, UARTResource

from ..config import PRESETS
from ..technology.gowin import FAMILY
from .board import Board, sdram


__all__ = ["BOARDS", "TangNano20kPlatform"]


class TangNano20kPlatform(GowinPlatform):
    """The parts of the board that are used."""
    part = "GW2AR-LV18QN88C8/I7"
    family = "GW2AR-18C"
    default_clk = "clk27"
    resources = [
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), Attrs(IO_TYPE="LVCMOS33")),
        UARTResource(0, rx="70", tx="69", attrs=Attrs(PULL_MODE="UP", IO_TYPE="LVCMOS33")),
        *LEDResources(pins="15 16 17 18 19 20", invert=True, attrs=Attrs(IO_TYPE="LVCMOS33")),
    ]
    connectors = []
    _chipdb_device = "GW2A-18C"  # the tools' name of the die, which has the memory beside it in the package


BOARDS = (
    Board(name="tang-nano-20k", config=PRESETS["8x20"], clock=27_000_000, family=FAMILY,
          platform=TangNano20kPlatform, baud=1_000_000, loader="tangnano20k",
          chip=sdram(megabytes=8, width=32, clock=27_000_000)),  # in the package
)
