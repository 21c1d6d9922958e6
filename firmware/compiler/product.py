"""One matrix-vector product as a program: a list, a run, and its results as they are."""

from typing import NamedTuple

import numpy as np

from ..golden.quantiser import ABSMAX
from ..golden.scalars import ONE
from ..hdl.config import TRITS
from ..hdl.instructions import Address, End, Operand, Pass, Run, Sink, Source
from .arrange import in_order, matrix_words, plain_order, ternary_words
from .image import Image, Map


__all__ = ["Piece", "pieces", "product_image"]


LONGEST = (1 << 17) // (ABSMAX + 1) - 1  # columns whose sum of int8 fits the lanes' 18 bits


class Piece(NamedTuple):
    """Rows and columns of a matrix that a processor holds at once."""
    rows: slice
    columns: slice


def pieces(shape, config):
    """The Pieces of a matrix, rows after columns; sums of a row's pieces are its product.

    A piece has as many columns as fit the elements, a list, and 18 bits of a sum, and as many rows as fit the results
    and the weights' memories.
    """
    rows, columns = shape
    width = min(columns, LONGEST, config.columns, config.elements * config.tiles)
    blocks = min(config.results // TRITS, config.depth // matrix_words(1, width, config.banks, config.tiles,
                                                                          False)[1])
    height = blocks * TRITS * config.tiles
    return [Piece(slice(row, min(row + height, rows)), slice(column, min(column + width, columns)))
            for row in range(0, rows, height) for column in range(0, columns, width)]


def product_image(w, x, config):
    """The Image of a program that leaves W x in the results, a word of ``tiles`` rows after the other.

    ``w`` is int8 [M, n] of -1, 0, +1 and ``x`` int8 [n], of one Piece.
    """
    lanes = config.tiles
    order = plain_order(len(x), lanes)
    blocks, stride = matrix_words(*w.shape, config.banks, lanes, False)
    weights = np.zeros((config.depth, config.banks, lanes, TRITS), np.int8)
    weights[:blocks * stride] = ternary_words(in_order(w, order, 1), config.banks, lanes)
    elements = np.zeros((config.elements, lanes), np.int64)
    elements[:len(order) // lanes] = in_order(x.astype(np.int64), order, 0).reshape(-1, lanes)
    scalars = [(0, 0)] * config.scalars
    scalars[0] = int(ONE.mantissa), int(ONE.exponent)
    program = (Pass(words=len(order) // lanes, first=Source.ELEMENT, second=Operand.SCALAR, shift_by_scalar=True,
                    sink=Sink.LIST, destination=0, remember=False),
               Run(slot=0, int8=False, weights=Address(0), stride=stride, blocks=blocks, results=0), End())
    places = {"weights": {"matrix": (0, blocks * stride)}, "results": {"products": (0, blocks * TRITS)},
              "elements": {"activations": (0, len(order) // lanes)}, "scalars": {"1": (0, 1)}}
    return Image(
        config=config, vocabulary=1, context=config.context, program=program, stages=("product",) * len(program),
        weights=weights,
        results=np.zeros((config.results, lanes), np.int64), elements=elements, scalars=scalars,
        map=Map(**places, layer_words=0),
        constant={name: np.ones(len(memory), bool) for name, memory in (
            ("weights", weights), ("elements", elements), ("scalars", scalars))}
        | {"results": np.zeros(config.results, bool)})
