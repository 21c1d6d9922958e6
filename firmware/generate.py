"""Text from a model that a machine runs."""

from collections import Counter
from typing import NamedTuple

from .errors import Error
from .hdl.protocol import NO_TOKEN, Register


__all__ = ["CHECKS", "CheckError", "Generation", "Token"]


CHECKS = ("values", "tokens", "none")
COUNTED = 1 << 32  # cycles, from which the register begins anew
MOST_CYCLES = 1 << 30  # of a position, before its machine is given up


class CheckError(Error):
    """What a machine computed, or the cycles that it took, differ from what golden and the cycle model say."""


class Token(NamedTuple):
    """One more token of a text.

    ``text`` is what it adds: nothing where a character is not complete. ``cycles`` are those of its position, as they
    were counted; None where the machine has run on meanwhile. ``predicted`` is what the cycle model says of them, None
    where nothing is checked.
    """
    id: int
    text: str
    cycles: int | None
    predicted: int | None


class Generation:
    """The tokens of a text, an iterator of Token.

    Parameters
    ----------
    model : setun.Model
    machine : setun.driver.machine.Machine
        That has loaded the model.
    prompt : list of int
    count : int
        Tokens at most; fewer where the model ends the text.
    checker : setun.check.Checker | None
        Compares what the machine computes with the models.
    values : bool
        Compare all memories behind each position, for which the machine stops there; else only tokens and the sum of
        the cycles, while it runs on.
    scrub : function
        Called behind each token where ``values`` are compared, else at the end; returns a list of
        setun.driver.machine.Damage.

    Members
    -------
    prompt, ids : list of int
        The tokens given, and those generated so far.
    text : str
        Of prompt and tokens.
    cycles : int
        Of all positions so far that have ended.
    prompt_cycles : list of int
        Of the prompt's positions before the last, where each was counted.
    causes : Counter
        Cycles by (instruction, cause), of the cycle model.
    values, mismatches, cycle_errors, saturations : int
        What was compared, and what differed: values and counts of cycles. Saturations are those that golden counts.
    damages : list of Damage
        That were found, and repaired.

    Raises CheckError behind the last token where something was checked and is not what the models say.
    """

    def __init__(self, model, machine, prompt, count, checker=None, values=False, scrub=list):
        self.prompt, self.ids, self.damages = prompt, [], []
        self.cycles = self.predicted = self.cycle_errors = self.saturations = 0
        self.prompt_cycles, self.causes, self.repeated = [], Counter(), 0
        self._model, self._machine, self._checker, self._scrub = model, machine, checker, scrub
        self._count, self._told = count, self.text
        self._tokens = self._step_by_step() if values else self._run_on()

    @property
    def text(self):
        """Text of prompt and tokens so far."""
        return self._model.tokenizer.decode(self.prompt + self.ids)

    @property
    def values(self):
        """Words and tokens that were compared."""
        return self._checker.values if self._checker else 0

    @property
    def mismatches(self):
        """Of them, those that differed."""
        return self._checker.mismatches if self._checker else 0

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._tokens)

    @property
    def _positions(self):
        return len(self.prompt) + self._count - 1

    def _expect(self, token, position):
        """What the models say of a position; None where nothing is checked."""
        if self._checker is None:
            return None
        expected = self._checker.expect(token, position)
        self.causes += expected.causes
        self.saturations += expected.saturations
        self.predicted += expected.cycles
        return expected

    def _compare_token(self, token, expected):
        if expected is not None:
            self._checker.values += 1
            self._checker.mismatches += token != expected.token

    def _token(self, token, cycles, expected):
        """The Token of an id that was generated."""
        self.ids.append(token)
        text, before = self.text, self._told
        if len(self.ids) == self._count or token in self._model.ends or not text.endswith("\ufffd"):
            self._told = text
        return Token(token, self._told[len(before):], cycles, expected.cycles if expected else None)

    def _step_by_step(self):
        """Each position by itself, with all that it has changed."""
        machine, tokens = self._machine, list(self.prompt)
        machine.give(self.prompt)
        for position in range(self._positions):
            expected = self._expect(tokens[position], position)
            machine.go(position, 1)
            cycles = machine.wait(position + 1, MOST_CYCLES)[Register.CYCLES]
            self.cycles += cycles
            self.cycle_errors += cycles != expected.cycles
            self._checker.compare(machine)
            if position < len(self.prompt) - 1:
                self.prompt_cycles.append(cycles)
                continue
            token, = machine.tokens(position + 1, 1)
            self._compare_token(token, expected)
            tokens.append(token)
            self.damages += self._scrub()
            yield self._token(token, cycles, expected)
            if token in self._model.ends:
                break
        self._checker.compare_cache(machine)
        self._judge()

    def _run_on(self):
        """All positions at once; tokens are fetched while the machine runs."""
        machine, ends, first = self._machine, tuple(self._model.ends), len(self.prompt) - 1
        machine.give(self.prompt, end=ends[0] if ends else NO_TOKEN)
        machine.go(0, self._positions)
        tokens, fetched, ended = list(self.prompt), first, False
        for position in range(first):
            self._expect(tokens[position], position)
        while fetched < self._positions and not ended:
            registers = machine.wait(fetched + 1, MOST_CYCLES)
            for token in machine.tokens(fetched + 1, registers[Register.POSITION] - fetched):
                expected = self._expect(tokens[fetched], fetched)
                self._compare_token(token, expected)
                tokens.append(token)
                fetched += 1
                yield self._token(token, None, expected)
                if token in ends:
                    ended = True
                    break
        machine.stop(MOST_CYCLES)  # behind a token that ends a text, and that the machine does not know as one
        registers = machine.wait(self._positions, MOST_CYCLES)
        self.cycles = registers[Register.CYCLES]
        if self._checker is not None and registers[Register.POSITION] == fetched:
            self.cycle_errors += self.cycles != self.predicted % COUNTED
        self.damages += self._scrub()
        self._judge()

    def _judge(self):
        if self.mismatches or self.cycle_errors:
            raise CheckError(f"{self.mismatches} of {self.values:,} values and {self.cycle_errors} counts of cycles "
                             "differ from the models: is the accelerator's memory sound?")
