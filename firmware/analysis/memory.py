"""Where a model's weights come from, and what of it is there: memories of boards, and what is supposed."""

import dataclasses
from dataclasses import dataclass

from ..compiler.packing import CapacityError
from ..errors import ArgumentError
from ..hdl.boards import BOARDS
from ..hdl.config import PRESETS


__all__ = ["BANDWIDTHS", "KINDS", "Memory", "memory_of", "suited"]


# Bytes a second that arrive: of 16 bits of SDRAM at 125 MHz, of DDR3 at the 300 MT/s of open controllers on the ECP5,
# and of 16 bits of LPDDR4 at 3,200 MT/s by its data sheet, 70 %. A board's own chip has a figure of its own.
BANDWIDTHS = {"sdram": 246e6, "ddr3": 480e6, "lpddr4": 4480e6}
KINDS = ("resident", "link", *BANDWIDTHS)


@dataclass(frozen=True)
class Memory:
    """Where weights come from that are not in the array's own memories.

    Parameters
    ----------
    kind : str
        "resident" (all are in the array's memories), "link", or a memory of BANDWIDTHS beside the FPGA, whose
        controller writes words as fast as they come.
    bandwidth : float
        Bytes a second that arrive.
    """
    kind: str = "resident"
    bandwidth: float = 0.0

    def bytes_a_cycle(self, clock):
        """Bytes of weights; from the link at most one, which is what the loader takes."""
        rate = self.bandwidth / clock
        return min(1.0, rate) if self.kind == "link" else rate

    @property
    def external(self):
        """It is a memory beside the FPGA."""
        return self.kind in BANDWIDTHS


def memory_of(kind, board=None, bandwidth=None):
    """Memory of a kind: the board's chip, if it is of that kind, or one with the bandwidth of BANDWIDTHS.

    ``bandwidth`` replaces either. Raises ArgumentError for a bandwidth of what has none to choose.
    """
    if kind not in KINDS:
        raise ArgumentError(f"memory is {kind!r} and must be one of {', '.join(KINDS)}")
    if kind not in BANDWIDTHS:
        if bandwidth:
            raise ArgumentError(f"a bandwidth is of a memory, and {kind} is none: give --memory "
                                f"{', '.join(BANDWIDTHS)}")
        return Memory(kind)
    chip = board.chip if board and board.chip and board.chip.kind == kind else None
    return Memory(kind, bandwidth or (chip.bandwidth if chip else BANDWIDTHS[kind]))


def _takes(dimensions, config):
    """The longest vector, and a row block of its columns, fit."""
    longest = max(columns for _, columns in dimensions.matrices.values())
    return longest <= config.columns and -(-longest // config.banks) <= config.depth


def _holds(dimensions, config):
    """So do all weights, in the array's memories."""
    words = sum(-(-rows // config.rows) * -(-columns // config.banks)
                for rows, columns in dimensions.matrices.values())
    return _takes(dimensions, config) and dimensions.layers * words <= config.depth


def _would_do(suits, dimensions, what):
    """Presets and boards of which ``suits(dimensions, config)`` is true, as the end of an error."""
    presets = [name for name, config in PRESETS.items() if suits(dimensions, config)]
    boards = [name for name, board in BOARDS.items() if suits(dimensions, board.config)]
    found = " and ".join(f"the {kind} {', '.join(names)}" for kind, names in (("presets", presets), ("boards", boards))
                         if names)
    return f"{found} {what}" if found else f"there is no preset or board to {what}"


def suited(dimensions, make, items, config, board, memory, hypothetical):
    """config, [Packed or Extent], whether they fit, and what of all that is supposed.

    ``make(item, config)`` is pack or extent. Raises CapacityError and ArgumentError, unless ``hypothetical``.
    """
    supposed = [] if board else ["no board, and so no link and no energy of one"]
    if board and config != board.config:
        supposed.append(f"config {config.name} on {board.name}, whose bitstream has {board.config.name}")
    where = f"config {config.name}" + (f" on {board.name}" if board else "")
    anyway = "or give --hypothetical"
    try:
        matrices = [make(item, config) for item in items]
    except CapacityError as error:
        if not hypothetical:
            reason = str(error).rpartition(": ")[0]
            raise CapacityError(f"{reason}: {_would_do(_takes, dimensions, 'take it')}, {anyway}") from error
        longest = max(columns for _, columns in dimensions.matrices.values())
        config = dataclasses.replace(config, columns=max(config.columns, longest),
                                     depth=max(config.depth, -(-longest // config.banks)))
        supposed.append(f"{where} takes vectors of {longest:,} elements")
        matrices = [make(item, config) for item in items]
    words = sum(packed.blocks * packed.words for packed in matrices)
    fits = words <= config.depth
    size = words * config.banks * config.tiles
    if memory.kind == "resident" and not fits:
        if not hypothetical:
            streams = ", or give --memory link, which sends them for every token" if board else ""
            raise CapacityError(f"the weights of {dimensions.name} take {words:,} words and {where} has "
                                f"{config.depth:,}: {_would_do(_holds, dimensions, 'hold them')}{streams}, {anyway}")
        supposed.append(f"{where} holds {words:,} words of weights, not {config.depth:,}")
    if memory.kind == "link" and not board:
        raise ArgumentError("--memory link is a board's: give --board, or leave it out")
    if memory.external and (board or not fits):
        supposed.append(_supposed_memory(dimensions, board, memory, size, hypothetical))
    return config, matrices, fits, supposed


def _supposed_memory(dimensions, board, memory, size, hypothetical):
    """What of a memory beside the FPGA is not there. Raises CapacityError and ArgumentError unless ``hypothetical``."""
    rate = f"{memory.kind} of {memory.bandwidth / 1e6:,.0f} MB/s"
    if not board:
        return rate
    chip = board.chip if board.chip and board.chip.kind == memory.kind else None
    if chip and size > chip.size:
        larger = [name for name, other in BOARDS.items()
                  if other.chip and other.chip.kind == memory.kind and other.chip.size >= size]
        missing = f"{size / 1e6:,.0f} MB of weights in the {chip.size / 1e6:,.0f} MB of {memory.kind} on {board.name}"
        if not hypothetical:
            raise CapacityError(f"{dimensions.name} needs {missing}: "
                                + (f"the chip of {', '.join(larger)} is large enough, " if larger else
                                   "no board's chip is large enough, ") + "or give --hypothetical")
        return f"{missing}, and a controller"
    missing = f"a controller for the {memory.kind}" if chip else f"{rate} and its controller"
    if not hypothetical:
        raise ArgumentError(f"the bitstream of {board.name} has no {missing.removeprefix('a ')}: give --memory link, "
                            "or --hypothetical to suppose it")
    return f"{missing} on {board.name}"
