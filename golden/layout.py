"""Where a matrix lies in the memories of the array, and a vector in its lists."""

import numpy as np


__all__ = ["activation_lists", "live_first", "tile_weights"]


def tile_weights(w, banks, tiles):  # int8 [M, n] -> int8 [blocks, words, banks, tiles, 5]
    """Weights in the order of the link: of each row block of R = 5 tiles rows, of each group of ``banks`` columns.

    Row ``m`` is row ``m % 5`` of tile ``m % R // 5`` in block ``m // R``; column ``c`` is in bank ``c % banks`` at word
    ``c // banks`` of the block. What is beyond the matrix is zero.
    """
    rows, columns = w.shape
    blocks, words = -(-rows // (5 * tiles)), -(-columns // banks)
    padded = np.zeros((blocks * 5 * tiles, words * banks), np.int8)
    padded[:rows, :columns] = w
    return padded.reshape(blocks, tiles, 5, words, banks).transpose(0, 3, 4, 1, 2)


def live_first(w):  # int8 [M, n] -> rows int [M'], columns int [n], live
    """Rows that are not all zero, and all columns in order with the ``live`` that are not all zero first.

    What is dead costs no word and no beat; dead columns stay in the vector, since they take part in its absmax.
    """
    dead = ~w.any(axis=0)
    return np.flatnonzero(w.any(axis=1)), np.argsort(dead, kind="stable"), int((~dead).sum())


def activation_lists(x, banks, live, skip):  # int8 [n] -> list of (indices int [L_k], values int8 [L_k]), one a bank
    """Word index and value of each bank's columns below ``live``, in order, without the zeros if ``skip``."""
    lists = []
    for bank in range(banks):
        values = x[:live][bank::banks]
        indices = np.flatnonzero(values) if skip else np.arange(len(values))
        lists.append((indices, values[indices]))
    return lists
