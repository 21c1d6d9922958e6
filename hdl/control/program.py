"""What is checked and done of each command, as the program that the executor runs."""

from amaranth.lib import enum
from amaranth.utils import bits_for

from ..protocol import (
    ACCUMULATOR_BYTES,
    MAX_PAYLOAD,
    Error,
    Flags,
    Kind,
    Register,
    RunLayout,
    SpanLayout,
    VectorLayout,
    WeightsLayout,
)
from .steps import (
    Action,
    Condition,
    Step,
    above,
    act,
    add,
    assemble,
    below,
    count,
    double,
    refuse,
    subtract,
    take,
)


__all__ = ["CONSTANTS", "LAYOUTS", "OTHER", "Program", "Word", "digits", "factor_bits", "total_bits", "word_bits"]


CONSTANTS = 32  # from here on in the memory of words


class Word(enum.IntEnum):
    """Places in the memory of words. Those of VECTOR come twice: of this command, and of the one done last."""
    FIRST = ADDRESS = 0
    COUNT = 1
    RUN_SLOT = 2  # as all words that are a byte, in a place that never holds another high byte than 0
    ZERO = 3
    BASE = 4
    STRIDE = 5
    BLOCKS = 6
    DESTINATION = 7
    SLOT = 8
    FLAGS = 9
    LENGTH = 10
    LIVE = 11
    OFFSET = 12
    SEQUENCE = 24
    SIZE = 25  # of the payload


OTHER = 24  # of the words of VECTOR: the bits in which the two places of one differ
LAYOUTS = {
    Kind.READ: (SpanLayout, [Word.FIRST, Word.COUNT]),
    Kind.WEIGHTS: (WeightsLayout, [Word.ADDRESS, Word.COUNT]),
    Kind.VECTOR: (VectorLayout, [Word.SLOT, Word.FLAGS, Word.LENGTH, Word.LIVE, Word.OFFSET]),
    Kind.RUN: (RunLayout, [Word.RUN_SLOT, Word.ZERO, Word.BASE, Word.STRIDE, Word.BLOCKS, Word.DESTINATION]),
    Kind.WAIT: (None, []),
    Kind.RESULTS: (SpanLayout, [Word.FIRST, Word.COUNT]),
    Kind.RESET: (None, []),
}


def digits(config):
    """Bits of the factor in a multiplication."""
    return bits_for(max(config.blocks, (MAX_PAYLOAD - WeightsLayout.size // 8) // (config.banks * config.tiles)))


def factor_bits(config):
    """Of the factor, which also holds the second argument of what is started."""
    return max(digits(config), bits_for(config.columns), bits_for(len(Register)))


def word_bits(config):
    """Of a word: an argument, or a limit that may be one more than the largest."""
    return max(16, bits_for(config.depth))


def total_bits(config):
    """Of the total, which counts bytes of vectors too."""
    return max(word_bits(config), bits_for(4 * config.columns + VectorLayout.size // 8))


class Program:
    """The steps of all kinds of commands.

    A refused command goes through all its steps, which then only drop its data; the first error counts. At the end the
    total is the number of bytes of the answer, if it was not refused.

    Members
    -------
    constants : list of int
        What stands in the memory of words from CONSTANTS on.
    code : list of dict
        Of hdl.control.steps.assemble. The first steps take the header of a frame.
    entries : dict
        Kind to the place in the code where its own steps begin; 0 stands for what is no kind.
    """

    def __init__(self, config):
        self.config, self.constants, self.entries = config, [], {}
        # Three steps behind COMMAND are fetched before the next is chosen: an idle one, and two that address a word.
        self.code = [*assemble([
            act(Action.KIND, clear=1), act(Action.STORE, Word.SEQUENCE), act(Action.STORE, Word.SIZE),
            act(Action.STORE, Word.SIZE, one=1), act(Action.STATUS), act(Action.COMMAND)]), {}]
        bodies = {Kind.READ: self._read, Kind.WEIGHTS: self._weights, Kind.VECTOR: self._vector, Kind.RUN: self._run,
                  Kind.WAIT: self._wait, Kind.RESULTS: self._results, Kind.RESET: self._reset}
        steps = {0: [add(Word.SIZE), count(), refuse(Error.KIND, Condition.NEVER, unless=1), take(Action.DATA)]}
        for kind, body in bodies.items():
            steps[kind] = [*self._arguments(kind), act(Action.REST, clear=1), *body()]
        for kind, sequence in steps.items():
            self.entries[kind] = len(self.code)
            self.code += assemble([*sequence, act(Action.END, Word.SEQUENCE)])

    def _constant(self, value):
        if value not in self.constants:
            self.constants.append(value)
        return CONSTANTS + self.constants.index(value)

    def _arguments(self, kind):
        layout, words = LAYOUTS[kind]
        steps = [add(Word.SIZE), count()]
        for (_, field), word in zip(layout or [], words, strict=True):
            steps += [take(Action.ARGUMENT, word=word, one=high, test=Condition.MORE, unless=1, error=Error.LENGTH)
                      for high in range(field.width // 8)]
        match kind:
            case Kind.WEIGHTS:
                steps.append(refuse(Error.CODE, Condition.UNDECODABLE))
            case Kind.VECTOR:
                pass
            case _:
                steps += [refuse(Error.LENGTH, Condition.MORE), take(Action.DATA)]
        return steps

    def _beyond(self, first, number, limit):
        """RANGE, where ``number`` from ``first`` on go beyond the limit."""
        return [add(first), add(number, Error.RANGE), above(self._constant(limit), Error.RANGE, clear=1)]

    def _product(self, factor, word, error=Error.NONE):
        steps = [act(Action.FACTOR, factor)]
        for _ in range(digits(self.config)):
            steps += [double(error), add(word, error, multiply=1)]
        return steps

    def _data(self, layout):
        """The total becomes the number of bytes behind the arguments."""
        return [Step(clear=1), add(Word.SIZE), subtract(self._constant(layout.size // 8))]

    def _read(self):
        return [*self._beyond(Word.FIRST, Word.COUNT, len(Register)), act(Action.FACTOR, Word.COUNT), add(Word.COUNT),
                double(), double(), Step(), act(Action.READ, Word.FIRST),
                act(Action.FETCH, Word.FIRST)]

    def _weights(self):
        config = self.config
        word, before = config.banks * config.tiles, WeightsLayout.size // 8
        return [*self._beyond(Word.ADDRESS, Word.COUNT, config.depth),
                add(Word.COUNT), above(self._constant((MAX_PAYLOAD - before) // word), Error.LENGTH, clear=1),
                *self._product(Word.COUNT, self._constant(word)), add(self._constant(before)),
                above(Word.SIZE, Error.LENGTH), below(Word.SIZE, Error.LENGTH),
                *self._data(WeightsLayout), subtract(self._constant(1)),
                *[act(Action.SETTLE)] * config.single_port, act(Action.LOAD, Word.ADDRESS), take(Action.DATA),
                Step(clear=1)]

    def _vector(self):
        config = self.config
        return [add(Word.SLOT), above(self._constant(config.slots - 1), Error.RANGE, clear=1),
                add(Word.FLAGS), above(self._constant(int(Flags.INT8 | Flags.SKIP)), Error.RANGE, clear=1),
                add(Word.LIVE), above(Word.LENGTH, Error.RANGE, clear=1), act(Action.SLOT, Word.SLOT),
                act(Action.FLAGS, Word.FLAGS), add(Word.LENGTH), above(self._constant(config.columns), Error.RANGE),
                subtract(Word.OFFSET, Error.RANGE), double(scale=1), double(scale=1),
                add(self._constant(VectorLayout.size // 8)), below(Word.SIZE, Error.RANGE, clear=1),
                refuse(Error.LENGTH, Condition.MORE, unless=1), refuse(Error.LENGTH, Condition.RAGGED, word=Word.SIZE),
                add(Word.OFFSET), Step(), act(Action.CONTINUES, clear=1),
                refuse(Error.ORDER, Condition.UNEXPECTED, word=Word.OFFSET),
                *[step for word in (Word.SLOT, Word.FLAGS, Word.LENGTH, Word.LIVE) for step in (
                    add(word), above(word ^ OTHER, Error.ORDER), below(word ^ OTHER, Error.ORDER, clear=1))],
                act(Action.FACTOR, Word.LIVE), *self._data(VectorLayout), act(Action.VECTOR, Word.LENGTH),
                subtract(self._constant(1)), take(Action.DATA), Step(clear=1)]

    def _run(self):
        config = self.config
        return [add(Word.RUN_SLOT), above(self._constant(config.slots - 1), Error.RANGE, clear=1),
                add(Word.ZERO), above(self._constant(0), Error.RANGE, clear=1), act(Action.SLOT, Word.RUN_SLOT),
                add(Word.BLOCKS), below(self._constant(1), Error.RANGE), add(Word.DESTINATION, Error.RANGE),
                above(self._constant(config.blocks), Error.RANGE, clear=1),
                *self._product(Word.BLOCKS, Word.STRIDE, Error.RANGE), add(Word.BASE, Error.RANGE),
                above(self._constant(config.depth), Error.RANGE, clear=1),
                refuse(Error.LIST, Condition.LISTED, unless=1), refuse(Error.LIST, Condition.REACHES, word=Word.STRIDE),
                act(Action.QUEUE), act(Action.BASE, Word.BASE), act(Action.STRIDE, Word.STRIDE),
                act(Action.BLOCKS, Word.BLOCKS), act(Action.RUN, Word.DESTINATION)]

    def _wait(self):
        return [act(Action.SETTLE)]

    def _results(self):
        config = self.config
        block = config.rows * ACCUMULATOR_BYTES
        return [add(Word.COUNT), below(self._constant(1), Error.RANGE),
                above(self._constant(MAX_PAYLOAD // block), Error.RANGE), add(Word.FIRST, Error.RANGE),
                above(self._constant(config.blocks), Error.RANGE, clear=1),
                *self._product(Word.COUNT, self._constant(block)), act(Action.FACTOR, Word.COUNT), act(Action.SETTLE),
                act(Action.RESULTS, Word.FIRST)]

    def _reset(self):
        return [act(Action.CLEAR)]
