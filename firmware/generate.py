"""Text from a model whose every BitLinear goes through an accelerator, compared with the golden model as it goes."""

from dataclasses import dataclass

import numpy as np

from .compiler.packing import pack, place
from .golden.bit_linear import quantised_matvec
from .golden.decoder import empty_cache, step
from .golden.scalars import to_float
from .sim.model.cycles import multiply_cycles


__all__ = ["KINDS", "Accelerated", "Tally", "generate", "greedy", "place_model", "sampler"]


KINDS = ("qkv", "o", "gate_up", "down")


@dataclass
class Tally:
    """What was counted over some matrix-vector products."""
    calls: int = 0
    repeated: int = 0  # calls with frames that were sent again: only their values count below, not their cycles
    values: int = 0  # accumulators compared
    mismatches: int = 0
    cycles: int = 0  # of the vector unit and the array
    predicted: int = 0
    cycle_errors: int = 0  # calls whose cycles were not those predicted
    dense: int = 0  # products of all weights
    listed: int = 0  # products of listed activations and live rows
    slots: int = 0  # products that the array could have done in its own cycles

    def __add__(self, other):
        return Tally(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    @property
    def utilisation(self):
        """Share of the array's products, fill and drain included, that were of a listed activation and a live row."""
        return self.listed / self.slots if self.slots else 0.0

    @property
    def skipped(self):
        """Share of the dense products that were not made."""
        return 1 - self.listed / self.dense if self.dense else 0.0


def place_model(model, config):  # -> {(layer, kind): Placed}, resident
    """Pack all matrices of a model and lay them out. Raises CapacityError where one cannot go through."""
    keys = [(index, kind) for index in range(len(model.layers)) for kind in KINDS]
    placed, resident = place([pack(getattr(model.layers[index], kind).codes, config) for index, kind in keys], config)
    return dict(zip(keys, placed)), resident


class Accelerated:
    """The ``linear`` of golden.decoder.step on a device.

    Parameters
    ----------
    device : Device
    placed : dict
        Of place_model. What is to be resident must be loaded.
    """

    def __init__(self, device, placed):
        self.device, self.placed = device, placed
        self.tallies = {kind: Tally() for kind in KINDS}

    def __call__(self, layer, kind, codes, y):
        """Accumulators of the device; what the golden model says of them is only counted."""
        placed = self.placed[layer, kind]
        product = self.device.multiply(placed, y, quantise=True)
        accumulators, absmax = quantised_matvec(layer, kind, codes, y)
        self.tallies[kind] += Tally(
            calls=1,
            repeated=int(product.repeated),
            values=accumulators.size + 1,
            mismatches=int((product.accumulators != accumulators).sum() + (product.absmax != absmax)),
        )
        if not product.repeated:
            self.tallies[kind] += self._cycles(product, placed, codes, y)
        return product.accumulators, np.int64(product.absmax)

    def _cycles(self, product, placed, codes, y):
        array = product.counters["CYCLES_ISSUE"] + product.counters["CYCLES_FLUSH"]
        cycles, predicted = array + product.counters["CYCLES_VECTOR"], multiply_cycles(self.device.config, placed, y)
        return Tally(
            cycles=cycles,
            predicted=predicted,
            cycle_errors=int(cycles != predicted),
            dense=codes.size,
            listed=product.counters["ENTRIES"] * len(placed.packed.rows),
            slots=array * self.device.config.products,
        )

    @property
    def total(self):
        """Tally of all kinds."""
        return sum(self.tallies.values(), Tally())


def greedy(logits, scale):
    """The most likely token; of several the first."""
    return int(np.argmax(logits))


def sampler(temperature, seed):
    """A choice like ``greedy`` that samples the softmax of the logits over ``temperature``, on the host."""
    rng = np.random.default_rng(seed)

    def choose(logits, scale):
        weights = np.exp((logits - logits.max()) * to_float(scale) / temperature)
        return int(rng.choice(len(weights), p=weights / weights.sum()))

    return choose


def generate(model, accelerated, prompt, count, choose=greedy, ends=()):
    """Yield (token, cycles, predicted cycles) ``count`` times, or until a token of ``ends``, of the step that gave it.

    The steps of the prompt before its last token are in ``accelerated.total`` and belong to no token.
    """
    cache = empty_cache(model)
    token = None
    for position in range(len(prompt) + count - 1):
        before = accelerated.total
        given = prompt[position] if position < len(prompt) else token
        logits, scale, cache = step(model, given, position, cache, linear=accelerated)
        if position >= len(prompt) - 1:
            token = choose(logits, scale)
            after = accelerated.total
            yield token, after.cycles - before.cycles, after.predicted - before.predicted
            if token in ends:
                return
