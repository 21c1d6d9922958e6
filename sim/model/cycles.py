"""How long the machine takes, in closed form and without simulating it."""

from math import ceil
from typing import NamedTuple

import numpy as np

from ...golden.layout import activation_lists
from ...golden.quantiser import absmax_quantise
from ...hdl.config import GROUP, TRITS
from ...hdl.control.program import digits


__all__ = ["ListSize", "array_cycles", "clear_cycles", "flush_cycles", "issue_latency", "list_size", "listing_cycles",
           "multiply_cycles", "padded_lists", "result_cycles", "vector_cycles"]


# The last byte is held for a cycle and its element stored in one, then the first element is read in three cycles and
# quantised in eleven: its multiple of 127, seven digits and one more, the rounding, the sign. Over one adder each takes
# 44, and 13 pass before the first.
HELD = 1  # a byte
QUANTISE = 1 + 1 + 3 + 11
SERIAL, SERIAL_QUANTISE = 44, 13  # of each element; and once
LISTING = 4  # an element is judged, counted, written and compared
OPENING = 1  # before lists are cleared


class ListSize(NamedTuple):
    """hdl.array.lists.ListState."""
    beats: int
    words: int
    entries: int
    active: int


def list_size(x, banks, live, skip):  # int8 [n] -> ListSize
    """Size of the lists that hdl.array.lists.ListBuilder makes of ``x``."""
    lists = activation_lists(x, banks, live, skip)
    lengths = [len(values) for _, values in lists]
    return ListSize(
        beats=max(*lengths, TRITS),
        words=max(int(indices[-1]) + 1 if len(indices) else 0 for indices, _ in lists),
        entries=sum(lengths),
        active=int(np.count_nonzero(x[:live])))


def padded_lists(x, banks, live, skip):  # int8 [n] -> int64 [banks, beats, 2]
    """(index, value) as the array reads them for all beats: past the end of a bank's list, zeros."""
    table = np.zeros((banks, list_size(x, banks, live, skip).beats, 2), np.int64)
    for row, (indices, values) in zip(table, activation_lists(x, banks, live, skip), strict=True):
        row[:len(values)] = np.stack([indices, values], axis=-1)
    return table


def clear_cycles(live, banks):
    """Cycles in which hdl.array.lists.ListBuilder clears the lists before it takes elements."""
    return max(ceil(live / banks), TRITS)


def quantise_cycles(config, length):
    """Cycles from the last byte of int32 elements to the last quantised element."""
    return SERIAL * length + SERIAL_QUANTISE if config.serial else length + QUANTISE


def vector_cycles(config, length, live, int8):
    """Cycles of hdl.vector.vector.VectorUnit from start to ready, for a vector of one piece.

    The bytes of the vector are always there.

    The lists are cleared while int32 elements are received, and these are then read back.
    """
    if int8:
        return OPENING + clear_cycles(live, config.banks) + length + HELD + LISTING
    return 4 * length + quantise_cycles(config, length) + LISTING


def listing_cycles(config, length, int8):
    """Cycles in which hdl.vector.vector.VectorUnit quantises and lists a vector that has arrived."""
    return (HELD if int8 else quantise_cycles(config, length)) + LISTING - 2


def flush_cycles(config):
    """Cycles from a row block's last beat to its last result: groups of banks, stacks of tiles, 13 registers and rows.

    Two to read the list, one to address the weights, three to read and decode them, one to mask the activation, two to
    add those of a group (one more in every group but the first), one for the accumulator, then five results a tile, the
    last of which is written as it leaves.
    """
    return ceil(config.banks / GROUP) + config.hops + 13


def result_cycles(config, blocks, beats):  # -> int64 [blocks, tiles, 5]
    """Cycle, counted from a product's first beat, in which each result is written.

    Stacks of tiles are skewed by a cycle, and a tile's five results follow each other.
    """
    last_beat = (1 + np.arange(blocks)) * beats - 1
    before_last = (config.hops - 1 - np.arange(config.tiles) // config.stack)[:, None] + TRITS - 1 - np.arange(TRITS)
    return last_beat[:, None, None] + flush_cycles(config) - before_last


def issue_latency(config):
    """Cycles from the END of a RUN, taken by an idle machine whose list is ready, to its first beat.

    Seven to the first byte of the frame (hdl.link.frame), 44 and two for each binary digit of a factor to check and
    queue the product (hdl.control.executor), two to the first token (hdl.control.sequencer).
    """
    return 7 + 44 + 2 * digits(config) + 2


def array_cycles(config, placed, x, skip=True):  # Placed, int8 [n] -> cycles
    """Cycles from the first issued beat of a matrix-vector product to its last result, summed over its chunks."""
    packed, chunks = placed
    beats = list_size(np.asarray(x)[packed.columns], config.banks, packed.live, skip).beats
    return sum(chunk.blocks * beats + flush_cycles(config) for chunk in chunks)


def multiply_cycles(config, placed, y, skip=True):  # Placed, int32 [n] -> cycles
    """Cycles of the vector unit and the array for a vector that is quantised on chip."""
    q, _ = absmax_quantise(y)
    return listing_cycles(config, len(y), int8=False) + array_cycles(config, placed, q, skip)
