"""What a board is, and what is on it: the accelerator behind a serial line, with the clock it runs on."""

from dataclasses import dataclass

from amaranth import *
from amaranth.build import ResourceError
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from ...errors import ArgumentError
from ..config import Config
from ..link.serial import SerialTop
from ..link.uart import OVERSAMPLING
from ..technology.family import Family


__all__ = ["Board", "BoardTop", "Chip", "sdram"]


IN_ORDER = .985  # share of an SDRAM's words that arrive when they are read in order: the rest is refresh


@dataclass(frozen=True)
class Chip:
    """A memory chip on a board. No bitstream has a controller for it: profiles that use it are hypothetical.

    Parameters
    ----------
    kind : str
        "sdram" or "ddr3".
    size : int
        Bytes.
    bandwidth : float
        Bytes a second that arrive when it is read in order, not those of the data sheet.
    """

    kind: str
    size: int
    bandwidth: float


def sdram(*, megabytes, width, clock):
    """Chip of a single data rate SDRAM of ``width`` bits on the accelerator's own ``clock``, in Hz."""
    return Chip("sdram", megabytes << 20, IN_ORDER * width / 8 * clock)


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board, and the accelerator that it gets.

    Parameters
    ----------
    name : str
    config : Config
    family : Family
    platform : type
        Amaranth platform, with a default clock and a resource "uart" that has rx and tx. Raises ArgumentError
        where it has none.
    clock : int
        Of the accelerator, Hz.
    baud : int
        Of the serial line, at most an eighth of ``clock``.
    loader : str
        Name of the board for openFPGALoader.
    chip : Chip | None
        The memory beside the FPGA, if any.
    """

    name: str
    config: Config
    family: Family
    platform: type
    clock: int
    baud: int
    loader: str
    chip: Chip | None = None

    def __post_init__(self):
        platform = self.platform()
        for resource, remedy in (("uart", 'UARTResource(0, rx="...", tx="...")'), (platform.default_clk, "its clock")):
            try:
                platform.lookup(resource, 0)
            except ResourceError:
                raise ArgumentError(f"board {self.name!r}: {self.platform.__name__} has no resource \"{resource}\": "
                                    f"add {remedy} to the resources of a class derived from it, with the pins of the "
                                    "line, and name that as platform") from None
        if not 0 < self.baud * OVERSAMPLING <= self.clock:
            raise ArgumentError(f"board {self.name!r}: baud must be at most {self.clock // OVERSAMPLING}, an eighth "
                                f"of the clock, not {self.baud}")
        if self.family.pll is None and self.clock != self.oscillator:
            raise ArgumentError(f"board {self.name!r}: clock must be the oscillator's {self.oscillator} Hz, not "
                                f"{self.clock}: {self.family.name} has no PLL here")

    @property
    def device(self):
        """The FPGA, as its vendor calls it."""
        return getattr(self.platform, "part", None) or self.platform.device

    @property
    def oscillator(self):
        """Frequency of the platform's default clock, Hz."""
        return int(self.platform().default_clk_frequency)


class BoardTop(Elaboratable):
    """The top of a bitstream.

    Parameters
    ----------
    board : Board
    """

    def __init__(self, board):
        self.board = board

    def elaborate(self, platform):
        m = Module()
        board = self.board
        pin = platform.request(platform.default_clk, dir="-")
        if board.family.pll is None:
            m.domains.sync = ClockDomain(reset_less=True)
            m.submodules.clock = buffer = io.Buffer("i", pin)
            m.d.comb += ClockSignal().eq(buffer.i)
        else:
            m.submodules.clock = pll = board.family.pll(pin, i_frequency=board.oscillator, o_frequency=board.clock)
            m.domains.sync = ClockDomain(reset_less="locked" not in pll.signature.members)
            m.d.comb += ClockSignal().eq(pll.o)
            if "locked" in pll.signature.members:
                m.submodules.reset = ResetSynchronizer(~pll.locked)

        line = platform.request("uart", 0)
        m.submodules.machine = machine = SerialTop(
            board.config, clock=board.clock, baud=board.baud, technology=board.family.technology)
        m.d.comb += [machine.rx.eq(line.rx.i), line.tx.o.eq(machine.tx)]
        return m
