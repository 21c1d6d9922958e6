"""What is written into a processor's memories before it runs: a model's program, weights and constants."""

from dataclasses import dataclass

import numpy as np

from ..hdl.config import Config


__all__ = ["Image", "Map"]


@dataclass(frozen=True, kw_only=True)
class Map:
    """Where things lie, and how many words of each memory they take.

    Members
    -------
    weights : dict
        {name: (address, words)}; names of a layer are those of the first, and ``layer_words`` further for each other.
    results, elements, scalars : dict
        The same for a lane's memories and for the scalar unit.
    layer_words : int
        Of the weights' memories.
    """
    weights: dict
    results: dict
    elements: dict
    scalars: dict
    layer_words: int


@dataclass(frozen=True, kw_only=True)
class Image:
    """A model compiled for a processor.

    Members
    -------
    config : Config
    vocabulary, context : int
    program : tuple of Instruction
    stages : tuple of str
        What of a token each of them is a part of.
    weights : int8 [depth, banks, tiles, 5]
    results, elements : int64 [words, tiles]
        Of the lanes' memories; what is not a constant is 0.
    scalars : list of (int, int)
        Mantissa and exponent of each register.
    map : Map
    constant : dict
        {space: bool [words]} for "weights", "results", "elements" and "scalars": words that no token changes.
    """
    config: Config
    vocabulary: int
    context: int
    program: tuple
    stages: tuple
    weights: np.ndarray
    results: np.ndarray
    elements: np.ndarray
    scalars: list
    map: Map
    constant: dict

    def used(self, space):
        """Words of a memory up to the last one that is used, by the name of the space."""
        places = getattr(self.map, space).values()
        return max((address + words for address, words in places), default=0)
