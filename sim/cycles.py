"""How long the machine takes, in closed form and without simulating it."""

from math import ceil

import numpy as np

from golden.layout import activation_lists
from hdl.config import TRITS
from hdl.vector import ELEMENT_LATENCY


__all__ = ["clear_cycles", "list_beats", "padded_lists", "vector_cycles"]


def list_beats(x, banks, live, skip):  # int8 [n] -> beats, entries, skipped, lengths int64 [banks]
    """Size of the lists that hdl.lists.ListBuilder makes of ``x``."""
    lengths = np.array([len(values) for _, values in activation_lists(x, banks, live, skip)])
    entries = int(lengths.sum())
    return max(int(lengths.max()), TRITS), entries, min(live, len(x)) - entries, lengths


def padded_lists(x, banks, live, skip):  # int8 [n] -> int64 [banks, beats, 2]
    """(index, value) as the array reads them for all beats: past the end of a bank's list, zeros."""
    table = np.zeros((banks, list_beats(x, banks, live, skip)[0], 2), np.int64)
    for row, (indices, values) in zip(table, activation_lists(x, banks, live, skip), strict=True):
        row[:len(values)] = np.stack([indices, values], axis=-1)
    return table


def clear_cycles(live, banks):
    """Cycles in which hdl.lists.ListBuilder clears the lists before it takes elements."""
    return max(ceil(live / banks), TRITS)


def vector_cycles(length, live, banks, int8):
    """Cycles of hdl.vector.VectorUnit from start to ready, for a vector of one piece whose bytes are always there.

    The lists are cleared while int32 elements are received, and these are then read back.
    """
    listing = 2
    if int8:
        return clear_cycles(live, banks) + length + listing
    return 4 * length + length + ELEMENT_LATENCY + listing
