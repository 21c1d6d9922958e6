"""The models beside a machine: each token computed again in NumPy, and its cycles predicted."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from .golden.decoder import empty_cache, step
from .golden.rounding import count_saturations
from .golden.sampling import sample, temperature_scalar
from .hdl.config import TRITS
from .hdl.instructions import Store, StoreKind
from .hdl.protocol import Space
from .sim.model.processor import Processor
from .sim.model.processor_cycles import turn_cycles


__all__ = ["Checker", "Expected"]


LANE_SPACES = (Space.RESULTS, Space.ELEMENTS, Space.SCALARS)


class Expected(NamedTuple):
    """What the models say of a position."""
    token: int
    cycles: int
    causes: Counter  # cycles by (instruction, cause)
    saturations: int
    wrong: int  # logits in which golden and the program differ


class Checker:
    """Golden and the program on the reference machine, position after position.

    Parameters
    ----------
    model : setun.golden.model.IntegerModel
    image : setun.compiler.image.Image
        Of the model.
    temperature : Scalar
        As of golden.sampling.temperature_scalar.
    seed : int
        Of the sampling.

    Members
    -------
    values, mismatches : int
        Words of a machine that were compared, and those that differed.
    """

    def __init__(self, model, image, temperature=temperature_scalar(0), seed=0):
        self.model, self.image, self.temperature, self.seed = model, image, temperature, seed
        self.processor, self._cache = Processor(image), empty_cache(model)
        self.processor.scalars[image.map.scalars["temperature"][0]] = temperature
        self.processor.seed = seed
        self.values = self.mismatches = 0

    def expect(self, token, position):
        """Run the position in both models. Returns Expected."""
        following, meter = turn_cycles(self.processor, token, position)
        with count_saturations() as counts:
            logits, scale, self._cache = step(self.model, token, position, self._cache)
        expected = sample(logits, scale, self.temperature, self.seed, position)
        wrong = int((logits != self.processor.logits).sum()) + int(following != expected)
        self.mismatches += wrong
        self.values += len(logits) + 1
        return Expected(following, meter.cycles.total(), meter.cycles, sum(counts), wrong)

    def compare(self, machine):
        """Compare the lanes' memories and the scalars of a machine with those of the position that was expected last;
        they hold its logits."""
        memories = {Space.RESULTS: self.processor.results, Space.ELEMENTS: self.processor.elements,
                    Space.SCALARS: np.array([[int(value.mantissa), int(value.exponent)]
                                             for value in self.processor.scalars])}
        for space, values in memories.items():
            self._compare(machine, space, 0, values[:self.image.used(space.name.lower())])

    def compare_cache(self, machine):
        """Compare the keys and values of all positions so far."""
        for start, words in self._cache_words():
            wanted = self.processor.weights[start:start + words].astype(np.int64) @ 3 ** np.arange(TRITS)
            self._compare(machine, Space.WEIGHTS, start, wanted)

    def _cache_words(self):
        """(address, words) of the weights' memories in which keys and values of the positions so far are."""
        config, position = self.image.config, self.processor.position
        for store in self.image.program:
            if not isinstance(store, Store):
                continue
            key = store.kind == StoreKind.KEY
            # Keys fill the tiles of a row block, values the banks of a word.
            words = (position // config.tiles + 1) * store.stride if key else position // config.banks + 1
            for layer in range(len(self.model.layers)):
                base = store.weights.value + layer * self.image.map.layer_words
                for block in range(1 if key else store.words):
                    yield base + block * store.stride, words

    def _compare(self, machine, space, address, wanted):
        found = machine.read(space, address, len(wanted))
        self.values += wanted.size
        self.mismatches += int((found != wanted).sum())
