"""Packs ternary matrices for an accelerator: what is dead is left out, the rest is in the order of its memories."""

from typing import NamedTuple

import numpy as np

from ..errors import Error
from ..golden.codes import byte_encode
from ..golden.layout import live_first, tile_weights
from ..golden.model import KINDS


__all__ = ["CapacityError", "Chunk", "Extent", "Packed", "Placed", "extent", "pack", "place", "place_model"]


class CapacityError(Error, ValueError):
    """A matrix or vector does not fit a configuration."""


class Packed(NamedTuple):
    """A matrix in the byte code, for one configuration."""
    shape: tuple  # (M, n) of the whole matrix
    rows: np.ndarray  # int [M'], the rows that are not all zero
    columns: np.ndarray  # int [n], order of the columns, the live ones first
    live: int  # columns that are not all zero
    weights: np.ndarray  # uint8 [blocks, words, banks, tiles]

    @property
    def blocks(self):
        """Row blocks."""
        return self.weights.shape[0]

    @property
    def words(self):
        """Words of a row block."""
        return self.weights.shape[1]


class Extent(NamedTuple):
    """What of a Packed decides its cycles and bytes, where the weights are not at hand; nothing in it is dead."""
    shape: tuple
    rows: np.ndarray
    columns: np.ndarray
    live: int
    blocks: int
    words: int


class Chunk(NamedTuple):
    """Row blocks that are run at once."""
    base: int  # word of the first
    first: int  # row block
    blocks: int
    load: bool  # its weights are written each time, before it is run


class Placed(NamedTuple):
    """A matrix and where it lies."""
    packed: Packed
    chunks: list


def pack(codes, config):  # int8 [M, n] -> Packed
    """Drop dead rows and columns, and encode.

    Raises ValueError for codes other than -1, 0, +1, and CapacityError where a vector of n elements or a row block does
    not fit ``config``.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or not codes.size:
        raise ValueError(f"weights must be a matrix with at least one row and column, not of shape {codes.shape}")
    if not np.isin(codes, (-1, 0, 1)).all():
        raise ValueError(f"weights must be -1, 0 or +1, not {codes[~np.isin(codes, (-1, 0, 1))].flat[0]}")
    _check_vector(codes.shape, config)
    rows, columns, live = live_first(codes)
    kept = codes[np.ix_(rows, columns[:live])].astype(np.int8)
    trits = tile_weights(kept, config.banks, config.tiles)  # [blocks, words, banks, tiles, 5]
    _check_words(codes.shape, trits.shape[1], config)
    return Packed(codes.shape, rows, columns, live, byte_encode(trits))


def extent(shape, config):  # (M, n) -> Extent
    """What ``pack`` makes of a matrix with no dead rows and columns. Raises CapacityError as it does."""
    rows, columns = shape
    words = -(-columns // config.banks)
    _check_vector(shape, config)
    _check_words(shape, words, config)
    return Extent(shape, np.arange(rows), np.arange(columns), columns, -(-rows // config.rows), words)


def _check_vector(shape, config):
    if shape[1] > config.columns:
        raise CapacityError(f"a vector of {shape[1]} elements does not fit config {config.name}, "
                            f"which takes {config.columns}: choose a larger one (setun configs)")


def _check_words(shape, words, config):
    if words > config.depth:
        raise CapacityError(f"a row block of {shape[1]} columns does not fit config {config.name}: it needs "
                            f"{words} words of the {config.depth}: choose a larger one (setun configs)")


def place(matrices, config, resident=None):  # list of Packed or Extent -> list of Placed, resident
    """Lay matrices out in the weight memory: all of them, once, where they fit, or as ``resident`` says.

    Else each goes through in chunks, by halves of the memory, so that one is loaded while the other is multiplied; a
    matrix whose row blocks do not fit a half goes through the whole.
    """
    if resident is None:
        resident = sum(packed.blocks * packed.words for packed in matrices) <= config.depth
    placed, base = [], 0
    for packed in matrices:
        half = config.depth // 2 if packed.words <= config.depth // 2 else 0
        most = config.blocks if resident else min(config.blocks, (half or config.depth) // max(packed.words, 1))
        chunks = []
        for index, first in enumerate(range(0, packed.blocks, most)):
            blocks = min(most, packed.blocks - first)
            start = base + first * packed.words if resident else index % 2 * half
            chunks.append(Chunk(start, first, blocks, not resident))
        placed.append(Placed(packed, chunks))
        base += packed.blocks * packed.words
    return placed, resident


def place_model(model, config):  # golden.model.IntegerModel -> {(layer, kind): Placed}, resident
    """Pack all matrices of a model and lay them out. Raises CapacityError where one cannot go through."""
    keys = [(index, kind) for index in range(len(model.layers)) for kind in KINDS]
    placed, resident = place([pack(getattr(model.layers[index], kind).codes, config) for index, kind in keys], config)
    return dict(zip(keys, placed)), resident
