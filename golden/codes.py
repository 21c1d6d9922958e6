"""Codes of ternary weights: the spelling of {-1, 0, +1} in files, on links and in memories.

A trit is int8 in {-1, 0, +1}. Everything is vectorised: over leading axes, the plain code over the others.

======  ==================  ==========  ================================================================
code    bits                bits/trit   used for
======  ==================  ==========  ================================================================
plain   2 a trit            2.0         Hugging Face's packed BitNet: 0, 1, 2 are -1, 0, +1; 3 is invalid
byte    8 for five trits    1.6         files and links
word    9 for five trits    1.8         block RAM: a 9-bit word costs nothing more, and decodes in 3 LUT4
======  ==================  ==========  ================================================================

Byte code. Two pairs of trits take three bits each, and the last trit two: its spare value says that a pair is zero::

    bits 7:6    0, 1, 3: the last trit is 0, +1, -1, and both pairs are non-zero; 2: see below
    bits 5:3    second pair; bits 2:0 first pair. A pair is (c, b, a), a the low bit:
                a = 1: both trits non-zero, b and c set where the first and the second are negative
                a = 0: only trit b is non-zero, c set where it is negative
    escape      bits 4:3 = 0, 1, 3: the last trit; pair number (bit 5) is zero, bits 2:0 the other pair
                bits 4:3 = 2: both pairs are zero, bits 1:0 = 0, 1, 3 the last trit, bits 5 and 2 zero

Word code. Bits 4:0 are the signs of the trits, where they are not zero: no logic stands before the adders' polarity.
Bits 7 and 8 say whether trits 3 and 4 are zero: that resets a register. Bits 6:5 tell the zeros among trits 0 to 2,
with the help of the sign bits that zeros leave free; i, j, k stand for three consecutive trits, cyclically::

    3               none is zero
    i, sign i = 0   only i is zero
    i, sign i = 1   i and j are zero, and k as well if sign j = 1
"""

import functools
import itertools

import numpy as np


__all__ = ["BYTE_INVALID", "byte_decode", "byte_encode", "level_trits", "plain_decode", "plain_encode", "word_decode",
           "word_encode"]


def plain_encode(trits):  # int8 [4, ...] -> uint8 [...], first trit in the low bits
    """Two bits a trit, 0, 1, 2 for -1, 0, +1, as in transformers' packed BitNet checkpoints."""
    fields = (np.asarray(trits, np.int8) + 1).view(np.uint8)
    return fields[0] | fields[1] << 2 | fields[2] << 4 | fields[3] << 6


def plain_decode(codes):  # uint8 [...] -> int8 [4, ...]
    """Inverse of plain_encode. Raises ValueError for the invalid field 3."""
    codes = np.asarray(codes, np.uint8)
    if (codes & codes >> 1 & 0b01_01_01_01).any():
        raise ValueError("2-bit weight code 3 stands for no trit")
    trits = np.stack([codes >> 2 * field & 3 for field in range(4)]).view(np.int8)
    trits -= 1
    return trits


def _byte_of(trits):
    last = trits[4] & 3  # 0, 1, 3 for 0, +1, -1
    pairs, zero = [], []
    for first, second in (trits[0:2], trits[2:4]):
        zero.append(not (first or second))
        if first and second:
            pairs.append(1 | (first < 0) << 1 | (second < 0) << 2)
        else:
            pairs.append((not first) << 1 | (first + second < 0) << 2)
    match zero:
        case [False, False]:
            return last << 6 | pairs[1] << 3 | pairs[0]
        case [True, True]:
            return 2 << 6 | 2 << 3 | last
        case [first_is_zero, _]:
            return 2 << 6 | (not first_is_zero) << 5 | last << 3 | pairs[first_is_zero]


def _word_of(trits):
    signs = [int(trit < 0) for trit in trits]
    zeros = [index for index in range(3) if not trits[index]]
    match zeros:
        case []:
            field = 3
        case [field]:
            signs[field] = 0
        case [_, _]:
            field = next(index for index in zeros if (index + 1) % 3 in zeros)
            signs[field], signs[(field + 1) % 3] = 1, 0
        case _:
            field, signs[0:3] = 0, [1, 1, 0]
    return sum(sign << index for index, sign in enumerate(signs)) | field << 5 | (not trits[3]) << 7 | (
        not trits[4]) << 8


_TRITS = np.array(list(itertools.product((-1, 0, 1), repeat=5)), np.int8)  # [243, 5]
_BYTES = np.array([_byte_of([int(trit) for trit in trits]) for trits in _TRITS], np.uint8)
_WORDS = np.array([_word_of([int(trit) for trit in trits]) for trits in _TRITS], np.uint16)
BYTE_INVALID = sorted(set(range(256)) - set(_BYTES.tolist()))  # the 13 bytes that stand for no trits
_BYTE_RANKS = np.full(256, 255, np.uint8)  # 255: of no trits
_BYTE_RANKS[_BYTES] = np.arange(243)


def _rank(trits):  # int8 [..., 5] -> uint8 [...] in [0, 243)
    digits = np.moveaxis((np.asarray(trits, np.int8) + 1).view(np.uint8), -1, 0)
    return functools.reduce(lambda rank, digit: 3 * rank + digit, digits)


def level_trits(levels):  # integers [...] of magnitudes up to 121 -> int8 [..., 5]
    """Balanced ternary digits of integers, the lowest first: an int8 weight as the five rows of a tile."""
    places = 3 ** np.arange(5)
    return ((np.asarray(levels, np.int64)[..., None] + 121) // places % 3 - 1).astype(np.int8)


def byte_encode(trits):  # int8 [..., 5] -> uint8 [...]
    """Five trits in a byte."""
    return _BYTES[_rank(trits)]


def byte_decode(codes):  # uint8 [...] -> int8 [..., 5]
    """Inverse of byte_encode. Raises ValueError for a byte of BYTE_INVALID."""
    rank = _BYTE_RANKS.take(codes)  # several times faster than an index
    if (rank == 255).any():
        raise ValueError("a byte of the weights stands for no trits")
    return _TRITS.take(rank, axis=0)


def word_encode(trits):  # int8 [..., 5] -> uint16 [...], 9 bits
    """Five trits in a 9-bit block RAM word."""
    return _WORDS[_rank(trits)]


def word_decode(words):  # uint16 [...] -> int8 [..., 5]
    """Inverse of word_encode, from the definition and for all 512 words."""
    words = np.asarray(words, np.int64)[..., None]
    sign, field = words >> np.arange(5) & 1, words >> 5 & 3  # [..., 5], [..., 1]
    index = np.arange(3)
    before, last = (index - 1) % 3, (index - 2) % 3  # i is the trit itself, the one before it, the one before that
    zero = (field == index) | (field == before) & (sign[..., before] == 1) | (
        (field == last) & (sign[..., last] == 1) & (sign[..., before] == 1))
    non_zero = np.concatenate([~zero, words >> 7 & 1 ^ 1, words >> 8 & 1 ^ 1], -1).astype(np.int64)
    return (non_zero * (1 - 2 * sign)).astype(np.int8)
