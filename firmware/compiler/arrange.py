"""The order of a model's vectors in lanes and banks, and of its matrices in the weights' memories.

Word w of a vector holds elements w N to w N + N - 1 in the N lanes. Vectors are padded with zeros to whole words. A
head's pairs of the rotary embedding lie in one lane: word 2 w holds the first elements of pairs w N to w N + N - 1,
word 2 w + 1 the second.
"""

import numpy as np

from ..golden.codes import level_trits
from ..hdl.config import TRITS


__all__ = ["ABSENT", "head_order", "heads_order", "in_order", "int8_words", "matrix_words", "plain_order",
           "ternary_words"]


ABSENT = -1  # an element that is padding


def plain_order(size, lanes):
    """int [words * lanes]: element at each place of a vector whose elements are in order, or ABSENT."""
    return np.append(np.arange(size), np.full(-size % lanes, ABSENT))


def head_order(head_dim, lanes):
    """int [words * lanes]: element of a head at each place, pairs in a lane."""
    half = plain_order(head_dim // 2, lanes).reshape(-1, lanes)
    return np.stack([half, np.where(half == ABSENT, ABSENT, half + head_dim // 2)], 1).reshape(-1)


def heads_order(heads, head_dim, lanes):
    """int: element at each place of the vector of all heads, one after the other."""
    order = head_order(head_dim, lanes)
    return np.concatenate([np.where(order == ABSENT, ABSENT, order + head * head_dim) for head in range(heads)])


def in_order(array, order, axis):
    """The array's elements in that order along an axis, zeros where an element is padding."""
    taken = np.take(array, np.maximum(order, 0), axis)
    shape = [1] * taken.ndim
    shape[axis] = len(order)
    return np.where((order == ABSENT).reshape(shape), 0, taken)


def matrix_words(rows, columns, banks, lanes, int8):
    """Row blocks of a matrix, and words of a block."""
    height = lanes if int8 else TRITS * lanes
    return -(-rows // height), -(-columns // banks)


def ternary_words(w, banks, lanes):
    """int8 [M, n] of a matrix in the order of its vectors -> int8 [blocks * words, banks, lanes, 5].

    Row N (5 b + r) + j is row r of tile j in block b, so that results come in the order of a vector's words.
    """
    blocks, words = matrix_words(*w.shape, banks, lanes, False)
    padded = np.zeros((blocks * TRITS * lanes, words * banks), np.int8)
    padded[:w.shape[0], :w.shape[1]] = w
    return padded.reshape(blocks, TRITS, lanes, words, banks).transpose(0, 3, 4, 2, 1).reshape(-1, banks, lanes, TRITS)


def int8_words(w, banks, lanes):
    """int [M, n] of magnitudes up to 121 -> int8 [blocks * words, banks, lanes, 5]; row v is in tile v % N."""
    blocks, words = matrix_words(*w.shape, banks, lanes, True)
    padded = np.zeros((blocks * lanes, words * banks), np.int64)
    padded[:w.shape[0], :w.shape[1]] = w
    words_first = padded.reshape(blocks, lanes, words, banks).transpose(0, 2, 3, 1)
    return level_trits(words_first).reshape(-1, banks, lanes, TRITS)
