"""Where a model's weights come from that are not in a processor's memories: what is supposed."""

from dataclasses import dataclass

from ..driver.frames import encode
from ..errors import ArgumentError
from ..hdl.protocol import ARGUMENT_BYTES, MAX_WRITE, Command


__all__ = ["BANDWIDTHS", "KINDS", "LINE_BITS", "Memory", "memory_of"]


# Bytes a second that arrive: of 16 bits of SDRAM at 125 MHz, of DDR3 at the 300 MT/s of open controllers on the ECP5,
# and of 16 bits of LPDDR4 at 3,200 MT/s by its data sheet, 70 %. A board's own chip has a figure of its own.
BANDWIDTHS = {"sdram": 246e6, "ddr3": 480e6, "lpddr4": 4480e6}
KINDS = ("resident", "link", *BANDWIDTHS)
LINE_BITS = 10  # of a byte on a serial line
# Bytes on the line for one of weights.
FRAMED = len(encode(Command.WRITE, 0, bytes(ARGUMENT_BYTES + MAX_WRITE))) / MAX_WRITE


@dataclass(frozen=True)
class Memory:
    """Where weights come from for every token.

    Parameters
    ----------
    kind : str
        "resident" (all are in the processor's memories), "link", or a memory of BANDWIDTHS beside the FPGA.
    bandwidth : float
        Bytes of weights a second that arrive.
    """
    kind: str = "resident"
    bandwidth: float = 0.0


def memory_of(kind, board=None, bandwidth=None):
    """Memory of a kind: the board's link or chip, or one with the bandwidth of BANDWIDTHS.

    ``bandwidth`` replaces that of a memory. Raises ArgumentError for a bandwidth of what has none to choose, and for a
    link without a board.
    """
    if kind not in KINDS:
        raise ArgumentError(f"memory is {kind!r} and must be one of {', '.join(KINDS)}")
    if kind not in BANDWIDTHS:
        if bandwidth:
            raise ArgumentError(f"a bandwidth is of a memory, and {kind} is none: give --memory "
                                f"{', '.join(BANDWIDTHS)}")
        if kind == "link":
            if board is None:
                raise ArgumentError("--memory link is a board's: give --board, or leave it out")
            return Memory(kind, board.baud / LINE_BITS / FRAMED)
        return Memory(kind)
    chip = board.chip if board and board.chip and board.chip.kind == kind else None
    return Memory(kind, bandwidth or (chip.bandwidth if chip else BANDWIDTHS[kind]))
