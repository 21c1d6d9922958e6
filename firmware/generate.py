"""Text from a model whose every BitLinear goes through an accelerator."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .errors import Error
from .golden.decoder import empty_cache, step
from .golden.model import KINDS
from .golden.rounding import count_saturations
from .golden.scalars import to_float


__all__ = ["Accelerated", "CheckError", "Generation", "Tally", "Token", "generate", "greedy", "sampler"]


class CheckError(Error):
    """What an accelerator computed, or the cycles that it took, differ from what golden and the cycle model say."""


@dataclass
class Tally:
    """What was counted over some matrix-vector products."""
    calls: int = 0
    repeated: int = 0  # calls with frames that were sent again: only their values count below, not their cycles
    values: int = 0  # accumulators compared, none where nothing is checked
    mismatches: int = 0
    cycles: int = 0  # of the vector unit and the array
    predicted: int = 0  # of calls that were checked
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


class Accelerated:
    """The ``linear`` of golden.decoder.step on a device.

    Parameters
    ----------
    device : setun.driver.device.Device
    placed : dict
        {(layer, kind): Placed} of setun.compiler.packing.place_model. What is to be resident must be loaded.
    check : bool
        Whether each product is computed again in NumPy, and its cycles are predicted.

    Members
    -------
    tallies : dict
        {kind: Tally} of all products so far.
    total : Tally
        Their sum.
    saturations : int
        Values of the integer model that were beyond their format.
    """

    def __init__(self, device, placed, *, check=True):
        self.device, self.placed, self.check = device, placed, check
        self.tallies, self.saturations = {kind: Tally() for kind in KINDS}, 0

    def __call__(self, layer, kind, codes, y):
        """Return the accumulators and the absmax computed by the device. With ``check`` they are compared with the
        golden model; differences are counted in ``tallies`` and do not stop generation."""
        placed = self.placed[layer, kind]
        product = self.device.multiply(placed, y, quantise=True)
        array = product.counters["CYCLES_ISSUE"] + product.counters["CYCLES_FLUSH"]
        counted = Tally(
            cycles=array + product.counters["CYCLES_VECTOR"],
            dense=codes.size,
            listed=product.counters["ENTRIES"] * len(placed.packed.rows),
            slots=array * self.device.config.products)
        self.tallies[kind] += Tally(calls=1, repeated=1) if product.repeated else counted + Tally(calls=1)
        if self.check:
            from .check import compare  # with the cycle model it loads what a serial port has no use for

            self.tallies[kind] += compare(self.device.config, placed, product, counted.cycles, layer, kind, codes, y)
        return product.accumulators, np.int64(product.absmax)

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
        with count_saturations() as counts:
            logits, scale, cache = step(model, given, position, cache, linear=accelerated)
        accelerated.saturations += sum(counts)
        if position >= len(prompt) - 1:
            token = choose(logits, scale)
            after = accelerated.total
            yield token, after.cycles - before.cycles, after.predicted - before.predicted
            if token in ends:
                return


class Token(NamedTuple):
    """One more token of a text.

    ``text`` is what it adds: nothing where a character is not complete. ``cycles`` are those of the array and the
    vector unit; ``predicted`` is what the cycle model says of them, None where nothing is checked.
    """
    id: int
    text: str
    cycles: int
    predicted: int | None


class Generation:
    """The tokens of a text, an iterator of Token.

    Parameters
    ----------
    model : setun.Model
    accelerated : Accelerated
    prompt : list of int
    count : int
        Tokens at most; fewer where the model ends the text.
    choose : function
        (logits, scale) -> token, as ``greedy``.
    scrub : function
        Called behind each token, returns a list of setun.driver.device.Damage.
    resident : bool
        Whether the weights are in the accelerator's memories, or streamed for every token.

    Members
    -------
    prompt, ids : list of int
        The tokens given, and those generated so far.
    text : str
        Of prompt and tokens.
    tallies, total, saturations
        As of Accelerated.
    damages : list of Damage
        That were found, and repaired.
    resident : bool

    Raises CheckError behind the last token where something was checked and is not what the models say.
    """

    def __init__(self, model, accelerated, prompt, count, choose, scrub=list, resident=True):
        self.prompt, self.ids, self.damages, self.resident = prompt, [], [], resident
        self._model, self._accelerated = model, accelerated
        self._tokens = self._generate(count, choose, scrub)

    @property
    def text(self):
        """Text of prompt and tokens so far."""
        return self._model.tokenizer.decode(self.prompt + self.ids)

    @property
    def tallies(self):
        """As of Accelerated."""
        return self._accelerated.tallies

    @property
    def total(self):
        """As of Accelerated."""
        return self._accelerated.total

    @property
    def saturations(self):
        """As of Accelerated."""
        return self._accelerated.saturations

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._tokens)

    def _generate(self, count, choose, scrub):
        told = self.text
        steps = generate(self._model.integer, self._accelerated, self.prompt, count, choose, self._model.ends)
        for token, cycles, predicted in steps:
            self.ids.append(token)
            self.damages += scrub()
            text, before = self.text, told
            if len(self.ids) == count or token in self._model.ends or not text.endswith("\ufffd"):
                told = text
            yield Token(token, told[len(before):], cycles, predicted if self._accelerated.check else None)
        total = self.total
        if total.mismatches or total.cycle_errors:
            raise CheckError(f"{total.mismatches} of {total.values:,} values and {total.cycle_errors} of "
                             f"{total.calls:,} counts of cycles differ from the models: is the accelerator's "
                             "memory sound?")
