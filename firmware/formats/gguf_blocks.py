"""Types of tensors in GGUF, and the ternary codes of those of matrices.

The layout of I2_S is told in firmware/formats/export.py. Blocks of TQ2_0 and TQ1_0 are 256 consecutive weights of a
row and a scale, float16, that is equal in all blocks of a tensor, or 0 where all weights of a block are:

    TQ2_0   64 bytes: of half h, weight 128 h + 32 n + m is in bits 2 n + 1 to 2 n of byte 32 h + m, plus 1
    TQ1_0   48 bytes of five trits and four bytes of four, the first trit most significant, v of 243 as
            ceil(256 v / 243): trit n of byte m < 32 is weight 32 n + m, that of byte 32 + m weight 160 + 16 n + m, that
            of the four bytes weight 240 + 4 n + m, plus 1
"""

import struct

import numpy as np

from ..golden.codes import plain_decode
from .floats import FLOATS


__all__ = ["BLOCKS", "FLOATS_BY_NUMBER", "FLOAT_TYPES", "FORMATS", "I2_S", "I2_S_BLOCK", "I2_S_PACKINGS",
           "MATRIX_TYPES", "TABLE_TYPES", "X86", "decoded"]


FLOAT_TYPES = {"F32": 0, "F16": 1, "BF16": 30}
I2_S, TQ1_0, TQ2_0 = 36, 34, 35
I2_S_BLOCK, TQ_BLOCK = 128, 256  # weights
X86 = "x86"
I2_S_PACKINGS = {X86: 128, "arm": 64}  # weights in a block, by the machine that packed them
FLOATS_BY_NUMBER = {number: kind for kind, number in FLOAT_TYPES.items()}
MATRIX_TYPES = {I2_S: "I2_S", TQ1_0: "TQ1_0", TQ2_0: "TQ2_0"} | FLOATS_BY_NUMBER
FORMATS = {I2_S: "gguf-i2s", TQ1_0: "gguf-tq1", TQ2_0: "gguf-tq2"} | dict.fromkeys(FLOATS_BY_NUMBER, "gguf-float")
BLOCKS = {  # by the number of a type: its name, weights in a block and bytes of one
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), I2_S: ("I2_S", 128, 32), TQ1_0: ("TQ1_0", TQ_BLOCK, 54), TQ2_0: ("TQ2_0", TQ_BLOCK, 66),
    **{number: (kind, 1, FLOATS[kind].itemsize) for kind, number in FLOAT_TYPES.items()},
}
TABLE_TYPES = {number: name for number, (name, *_) in BLOCKS.items() if number not in (I2_S, TQ1_0, TQ2_0)}


def decoded(kind, data, packing=X86):
    """Codes, int8 of any shape, and scale of a matrix of a type of MATRIX_TYPES.

    ``data`` are its values, float32, where the type is a float's, and else its bytes. ``packing`` is that of I2_S, of
    I2_S_PACKINGS. Raises ValueError for what is not ternary with one scale.
    """
    if kind in FLOATS_BY_NUMBER:
        return _of_floats(data)
    return _i2_s(data, packing) if kind == I2_S else {TQ1_0: _tq1_0, TQ2_0: _tq2_0}[kind](data)


def _of_floats(values):  # float32 [M, n] -> int8 [M, n], float
    """Codes and scale of a matrix that is -s, 0 and s throughout."""
    scale = np.abs(values).max(initial=0)
    if not np.isin(np.abs(values), (0, scale)).all():
        raise ValueError("floats that are not ternary times one scale: not BitNet")
    return np.sign(values).astype(np.int8), float(scale)


def _i2_s(data, packing):  # uint8 [n / 4 + 32] -> int8 [n], float
    codes = plain_decode(data[:-32].reshape(-1, I2_S_PACKINGS[packing] // 4))[::-1].swapaxes(0, 1)
    return np.ascontiguousarray(codes).reshape(-1), struct.unpack("<f", data[-32:-28].tobytes())[0]


def _common_scale(codes, scales):  # int8 [blocks, 256], float16 [blocks] -> float
    """The scale of all blocks."""
    found = np.unique(scales[scales != 0])
    if not len(found) and not codes.any():
        return 0.0
    if len(found) != 1:  # NaN is unequal to itself, and is one too
        raise ValueError(f"{len(found)} different scales of blocks instead of one: not BitNet")
    if codes[scales == 0].any():
        raise ValueError("a block has the scale 0 and weights that are not")
    return float(found[0])


def _tq2_0(data):
    blocks = data.reshape(-1, 66)
    codes = np.moveaxis(plain_decode(blocks[:, :64].reshape(-1, 2, 32)), 0, 2).reshape(-1, TQ_BLOCK)
    return codes, _common_scale(codes, np.ascontiguousarray(blocks[:, 64:]).view("<f2")[:, 0])


_VALUES = np.arange(256) * 243 // 256  # of five trits
_TRITS = (_VALUES[:, None] // 3 ** np.arange(4, -1, -1) % 3 - 1).astype(np.int8)  # [256, 5]
_CANONICAL = -(-_VALUES * 256 // 243) == np.arange(256)


def _tq1_0(data):
    blocks = data.reshape(-1, 54)
    if not _CANONICAL[blocks[:, :52]].all() or _TRITS[blocks[:, 48:52], 4].max(initial=-1) > -1:
        raise ValueError("a byte stands for no trits")
    long, short, last = (_TRITS[part].swapaxes(1, 2).reshape(len(blocks), -1)
                         for part in (blocks[:, :32], blocks[:, 32:48], blocks[:, 48:52]))
    codes = np.concatenate([long, short, last[:, :16]], axis=1)
    return codes, _common_scale(codes, np.ascontiguousarray(blocks[:, 52:]).view("<f2")[:, 0])
