"""What an accelerator holds and counts, by hdl.protocol, golden and sim.model.cycles: the specification as a whole."""

from collections import Counter

import numpy as np

from ...golden.matvec import matvec
from ...hdl.config import TRITS
from ...hdl.protocol import Register
from .cycles import list_size


__all__ = ["Machine"]


class Machine:
    """Weights, lists, results and counters of an accelerator whose commands were executed one after the other.

    Parameters
    ----------
    config : Config

    Members
    -------
    weights : int8 [depth, banks, tiles, 5]
    results : int64 [blocks, rows]
    lists : dict
        {slot: (int8 [live], ListSize)} of complete lists.
    counted : Counter
        By Register: what the counters have grown by, those aside whose growth depends on when frames come.
    """

    def __init__(self, config):
        self.config = config
        self.weights = np.zeros((config.depth, config.banks, config.tiles, TRITS), np.int8)
        self.results = np.zeros((config.blocks, config.rows), np.int64)
        self.reset()

    def reset(self):
        """RESET, or the port rst."""
        self.lists, self.counted = {}, Counter()

    def load(self, address, trits):  # int8 [words, banks, tiles, 5]
        """WEIGHTS."""
        self.weights[address:address + len(trits)] = trits
        self.counted[Register.WEIGHTS_ZERO] += int((trits == 0).sum())
        self.counted[Register.BYTES_WEIGHTS] += trits.size // TRITS

    def list(self, slot, q, live, skip):  # int8 [n]
        """All pieces of a VECTOR, whose quantised elements are ``q``."""
        size = list_size(q, self.config.banks, live, skip)
        self.lists[slot] = q[:live], size
        self.counted[Register.ENTRIES] += size.entries

    def multiply(self, slot, base, stride, blocks, destination):  # -> beats, int64 [blocks, tiles, 5]
        """RUN."""
        x, size = self.lists[slot]
        values = np.zeros((blocks, self.config.rows), np.int64)
        for block in range(blocks):
            words = self.weights[base + block * stride:][:-(-len(x) // self.config.banks)]  # [words, banks, tiles, 5]
            w = words.reshape(-1, self.config.rows).T[:, :len(x)]  # a list with trailing zeros needs fewer words
            values[block] = matvec(w, x[:w.shape[1]])
        self.results[destination:destination + blocks] = values
        self.counted[Register.MACS] += blocks * size.active
        self.counted[Register.CYCLES_ISSUE] += blocks * size.beats
        return size.beats, values.reshape(blocks, self.config.tiles, TRITS)

    def fetch(self, first, count):  # -> bytes
        """The payload that answers RESULTS."""
        answer = b"".join((int(value) % (1 << 24)).to_bytes(3, "little")
                          for value in self.results[first:first + count].flat)
        self.counted[Register.BYTES_RESULTS] += len(answer)
        return answer
