"""The steps that the executor's programs are made of."""

from collections import defaultdict
from typing import NamedTuple

from amaranth.lib import data, enum

from ..protocol import Error
from ..technology.memory import BLOCK_LATENCY


__all__ = ["Action", "Operand", "Step", "StepLayout", "Condition", "WORDS", "above", "act", "add", "assemble", "below",
           "count", "double", "refuse", "subtract", "take"]


WORDS = 64  # places in the memory of words
ADDRESSED = BLOCK_LATENCY  # cycles from the address of a word to the step that uses it
STORED = 2  # cycles from the step that stores a word until it may be addressed


class Operand(enum.Enum, shape=2):
    """What is added to the total."""
    ONES = 0  # -1: the carry tells that the total is not 0
    WORD = 1
    INVERSE = 2  # of the word: the carry tells that the total is above it, or with ``one`` not below it
    TOTAL = 3


class Condition(enum.Enum, shape=3):
    """What refuses the command, where it is true of the step, or untrue with ``unless``."""
    NEVER = 0
    CARRY = 1
    MORE = 2  # bytes of the payload were left
    RAGGED = 3  # the word is no multiple of an element's bytes
    UNEXPECTED = 4  # the word is not where the open vector continues
    UNDECODABLE = 5
    LISTED = 6  # the list is complete
    REACHES = 7  # the list has more words than the word says


class Action(enum.Enum, shape=5):
    """What else a step does, and what it waits for."""
    NONE = 0
    COMMAND = 1  # goes on with the program of the kind
    FACTOR = 2  # keeps the word
    SLOT = 3
    FLAGS = 4
    CONTINUES = 5  # the carry of the step before tells that a vector is continued
    REST = 6  # waits until the vector unit rests
    SETTLE = 7  # waits until no run is pending
    QUEUE = 8  # waits until there is room for a run
    BASE = 9
    STRIDE = 10
    BLOCKS = 11
    RUN = 12  # the word is the destination
    CLEAR = 13
    LOAD = 14
    VECTOR = 15
    READ = 16  # if the carry of the step before tells that there is something to be read
    FETCH = 17  # waits for the first register, likewise
    RESULTS = 18
    END = 19  # keeps the word for the answer
    KIND = 24  # takes a byte: the kind
    STATUS = 25  # takes a byte: the status, which may refuse the frame
    STORE = 26  # takes a byte of the header to the word's low or, with ``one``, high byte
    ARGUMENT = 27  # takes a byte of the payload, if there is one, likewise
    DATA = 28  # takes what is left of the payload, a byte a cycle, and hands it on


StepLayout = data.StructLayout({
    "word": range(WORDS), "operand": Operand, "one": 1, "accumulate": 1, "clear": 1, "multiply": 1, "scale": 1,
    "action": Action, "test": Condition, "unless": 1, "error": Error,
})


class Step(NamedTuple):
    """A step of a program; ``word`` is the place of a word."""
    word: int | None = None
    operand: Operand = Operand.ONES
    one: int = 0
    accumulate: int = 0
    clear: int = 0
    multiply: int = 0  # only where the next bit of the factor is set
    scale: int = 0  # only where elements are int32
    action: Action = Action.NONE
    test: Condition = Condition.NEVER
    unless: int = 0
    error: Error = Error.NONE

    @property
    def stores(self):
        """Whether the step writes a word."""
        return self.action in (Action.STORE, Action.ARGUMENT)


def refuse(error, test, *, unless=0, **options):
    """Refuse the command with ``error`` where the condition ``test`` is not ``unless``."""
    return Step(test=test, unless=unless, error=error, **options)


def act(action, word=None, **options):
    """Do ``action``."""
    return Step(word, action=action, **options)


def add(word, error=Error.NONE, *, operand=Operand.WORD, **options):
    """Add a word to the total; refuse with ``error``, if one is given, where that overflows."""
    return Step(word, operand, accumulate=1, error=error, test=Condition.CARRY if error else Condition.NEVER, **options)


def double(error=Error.NONE, **options):
    """Double the total; refuse with ``error``, if one is given, where that overflows."""
    return add(None, error, operand=Operand.TOTAL, **options)


def count(**options):
    """One less, and ``more`` is whether there was one."""
    return add(None, operand=Operand.ONES, **options)


def take(action, **options):
    """Bytes of the payload, of which the total is one less than there are."""
    return Step(accumulate=1, action=action, **options)


def above(word, error, **options):
    """Refuse with ``error`` where the total is above a word."""
    return refuse(error, Condition.CARRY, word=word, operand=Operand.INVERSE, **options)


def below(word, error, **options):
    """Refuse with ``error`` where the total is below a word."""
    return refuse(error, Condition.CARRY, word=word, operand=Operand.INVERSE, one=1, unless=1, **options)


def subtract(word, error=Error.NONE):
    """Subtract a word from the total; refuse with ``error``, if one is given, where that is negative."""
    test = Condition.CARRY if error else Condition.NEVER
    return Step(word, Operand.INVERSE, one=1, accumulate=1, test=test, unless=bool(error), error=error)


def assemble(steps):
    """Steps to code, a StepLayout for each cycle.

    A word is addressed two cycles before the rest of its step, or with it where it is stored, and the test comes a
    cycle later, as that is how long their ways are. A step waits while its address would be in the way of another's,
    or its word has not yet been stored.
    """
    place, readable, code = 0, 0, defaultdict(dict)
    for step in steps:
        reads = step.word is not None and not step.stores
        while reads and ("word" in code[place] or place < readable):
            place += 1
        readable = place + ADDRESSED + STORED if step.stores else readable
        delays = {"word": 0 if reads else ADDRESSED} | dict.fromkeys(("test", "unless", "error"), ADDRESSED + 1)
        for name, value in step._asdict().items():
            if value != Step._field_defaults[name]:
                code[place + delays.get(name, ADDRESSED)][name] = value
        place += 1
    return [code[index] for index in range(max(index for index, fields in code.items() if fields) + 1)]
