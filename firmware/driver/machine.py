"""The driver: a user's verbs over any transport that carries the link's bytes."""

import dataclasses
from typing import NamedTuple

import numpy as np

from .. import errors
from ..golden.codes import byte_encode
from ..hdl.config import PRESETS, TRITS, Config
from ..hdl.instructions import SCALAR_BITS, encode
from ..hdl.protocol import (
    MAGIC,
    MAP_HASH,
    MAX_READ,
    MAX_WRITE,
    NO_TOKEN,
    SIZES,
    VERSION,
    WAIT_UNIT,
    Command,
    Register,
    Space,
    State,
    word_bytes,
)
from .session import Order, Session
from .transport import LinkError


__all__ = ["Damage", "Machine", "MachineError", "MismatchError", "Traffic"]


LONGEST_WAIT = 1 << 20  # cycles that a WAIT asks for
READ_CYCLES = 128  # of a byte that is read, at most: a weight is a product
BATCH = 32  # frames between reports of progress
STOPPED = {State.ILLEGAL: "an instruction that is none", State.WATCHDOG: "a program that does not end"}


class MismatchError(errors.Error):
    """What is on the link is no accelerator, or another than expected."""


class MachineError(errors.Error):
    """The machine stopped at a program that makes no sense."""


class Traffic(NamedTuple):
    """What has crossed the link since the machine was opened."""
    sent: int  # bytes to the machine
    received: int  # bytes from it
    exchanges: int  # each waits for the link's latency once


class Damage(NamedTuple):
    """A word of a memory that was not what had been written. ``bank`` is 0 but in WEIGHTS, ``lane`` but in memories
    that lanes or tiles have."""
    space: str
    address: int
    bank: int
    lane: int


class Machine:
    """A machine on a transport, whatever an earlier session has left there.

    Every method may raise RefusedError or LinkError; a new Machine is then in order.

    Parameters
    ----------
    transport : setun.driver.transport.Transport
    config : Config | None
        What the machine must be; None takes it as it is, and ``config`` is then its preset's, or has no name.

    Raises MismatchError where it is none, or another.
    """

    def __init__(self, transport, config=None):
        self.transport, self._session = transport, Session(transport)
        self.config = self._identify(config)

    @property
    def traffic(self):
        """Traffic so far."""
        return Traffic(self._session.sent, self._session.received, self._session.exchanges)

    @property
    def repeated(self):
        """Frames that were sent again."""
        return self._session.repeated

    def registers(self, first=Register.MAGIC, count=len(Register)):
        """{Register: int} of ``count`` registers from ``first`` on."""
        order = Order(Command.READ, Space.REGISTERS, first, count, 4 * count)
        payload, = self._session.transact([order])
        return dict(zip(list(Register)[first:], np.frombuffer(payload, "<u4").tolist()))

    def _identify(self, config):
        wanted = {Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH}
        self._match(self.registers(count=len(wanted)), wanted, "this driver", "update the older of them")
        found = self.registers()
        kinds = {field.name: field.type for field in dataclasses.fields(Config)}
        fields = {name: kinds[name](found[register]) for name, register in SIZES.items()}
        if config is None:
            known = next((each for each in PRESETS.values() if fields.items() <= vars(each).items()), None)
            return known or Config(**fields)
        self._match(found, {register: int(getattr(config, name)) for name, register in SIZES.items()},
                    f"config {config.name}", "give the config it was built with")
        return config

    def _match(self, found, wanted, whose, remedy):
        for register, value in wanted.items():
            if found[register] != value:
                raise MismatchError(f"the accelerator's {register.name} is {found[register]:#x} and {whose} has "
                                    f"{value:#x}: {remedy}")

    # Memories

    def _items(self, space):
        """Shape of a word of a space: how many items it has in banks and lanes."""
        config = self.config
        return {Space.WEIGHTS: (config.banks, config.tiles), Space.RESULTS: (config.tiles,),
                Space.ELEMENTS: (config.tiles,)}.get(space, ())

    def _bytes(self, space):
        """Of a word."""
        return word_bytes(space, self.config) * int(np.prod(self._items(space)))

    def write(self, space, address, values, progress=lambda written, total: None):
        """Write words of a memory from an address on.

        ``values`` are int [words, ...], of the shape that ``read`` returns; of WEIGHTS int8 [words, banks, tiles, 5],
        of SCALARS [words, 2], and of PROGRAM a sequence of instructions. ``progress`` is told the words that are
        written, and all.
        """
        size, data = self._bytes(space), self._encode(space, values)
        each, orders, total = MAX_WRITE // size, [], len(data) // size
        for first in range(0, total, each):
            piece = data[first * size:(first + each) * size]
            orders.append(Order(Command.WRITE, space, address + first, len(piece) // size, len(piece), piece))
        for first in range(0, len(orders), BATCH):
            self._session.transact(orders[first:first + BATCH])
            progress(min((first + BATCH) * each, total), total)

    def _encode(self, space, values):
        if space == Space.WEIGHTS:
            return byte_encode(values).tobytes()
        if space == Space.PROGRAM:
            size = word_bytes(space, self.config)
            return b"".join(encode(instruction, self.config).to_bytes(size, "little") for instruction in values)
        values = np.asarray(values, np.int64)
        if space == Space.SCALARS:
            values = values.reshape(-1, 2)
            values = values[:, 0] | (values[:, 1] & (1 << SCALAR_BITS[1]) - 1) << SCALAR_BITS[0]
        size = word_bytes(space, self.config)
        return values.reshape(-1, 1).astype("<i8").view(np.uint8)[:, :size].tobytes()

    def read(self, space, address, words):
        """int64 of ``words`` words of a memory: [words, tiles] of RESULTS and ELEMENTS, [words, banks, tiles] of
        WEIGHTS, which are the int8 that their trits stand for, [words, 2] of SCALARS, [words] of TOKENS and REGISTERS,
        and of PROGRAM the instructions as they are encoded."""
        size = self._bytes(space)
        orders = []
        for first in range(0, words, MAX_READ // size):
            count = min(MAX_READ // size, words - first)
            orders.append(Order(Command.READ, space, address + first, count, count * size))
        data = b"".join(self._session.transact(orders, READ_CYCLES * MAX_READ))
        return self._decode(space, data, words)

    def _decode(self, space, data, words):
        size = word_bytes(space, self.config)
        if space == Space.PROGRAM:
            return np.array([int.from_bytes(data[start:start + size], "little")
                             for start in range(0, len(data), size)], object)
        wide = np.zeros((len(data) // size, 8), np.uint8)
        wide[:, :size] = np.frombuffer(data, np.uint8).reshape(-1, size)
        values = wide.view("<i8")[:, 0]
        if space == Space.SCALARS:
            exponent = values >> SCALAR_BITS[0]
            return np.stack([values & (1 << SCALAR_BITS[0]) - 1, _signed(exponent, SCALAR_BITS[1])], 1)
        if space in (Space.WEIGHTS, Space.RESULTS, Space.ELEMENTS):
            values = _signed(values, 8 * size)
        return values.reshape(words, *self._items(space))

    def load(self, image, progress=lambda written, total: None):
        """Write all of a compiled model, once; ``progress`` is told the words that are written, and all."""
        parts = list(_parts(image))
        total, before = sum(len(values) for _, values, _ in parts), 0
        for space, values, _ in parts:
            self.write(space, 0, values, lambda written, _, before=before: progress(before + written, total))
            before += len(values)
        self.set(Register.LAST_TOKEN, image.vocabulary - 1)

    def clear(self, image):
        """Write all that tokens change in a loaded model once more, as if none had been run."""
        for space, values, constant in _parts(image):
            changes = np.flatnonzero(~constant)
            for words in np.split(changes, np.flatnonzero(np.diff(changes) > 1) + 1) if len(changes) else ():
                self.write(space, int(words[0]), values[words[0]:words[-1] + 1])

    def scrub(self, image, progress=lambda compared, total: None):
        """Compare the memories with what was loaded, and write damaged words again: a list of Damage.

        What is compared is all of a model that no token changes: weights, embedding, program, constants. Spare bits of
        a weight's code are not looked at. ``progress`` is told the memories that were compared, and all.
        """
        damages, parts = [], list(_parts(image))
        for number, (space, values, constant) in enumerate(parts):
            found, wanted = self.read(space, 0, len(values)), self._wanted(space, values)
            differs = (found != wanted) & constant.reshape(-1, *[1] * (wanted.ndim - 1))
            if space == Space.SCALARS:
                differs = differs.any(1)
            for word, *items in np.argwhere(differs).tolist():
                bank, lane = ([0, 0] + items)[-2:]
                damages.append(Damage(space.name.lower(), word, bank, lane))
            for word in sorted({place[0] for place in np.argwhere(differs).tolist()}):
                self.write(space, word, values[word:word + 1])
            progress(number + 1, len(parts))
        return damages

    def _wanted(self, space, values):
        """What ``read`` must return of values that were written."""
        if space == Space.WEIGHTS:
            return values.astype(np.int64) @ 3 ** np.arange(TRITS)
        if space == Space.PROGRAM:
            return np.array([encode(instruction, self.config) for instruction in values], object)
        return np.asarray(values, np.int64)

    # Texts

    def set(self, register, value):
        """Write one of hdl.protocol.SETTINGS."""
        data = int(value).to_bytes(4, "little")
        self._session.transact([Order(Command.WRITE, Space.REGISTERS, register, 1, len(data), data)])

    def give(self, tokens, first=0, end=NO_TOKEN):
        """Write tokens of a text from a position on; what comes behind them is generated, until the token ``end``."""
        self.write(Space.TOKENS, first, tokens)
        self.set(Register.GIVEN, first + len(tokens))
        self.set(Register.END_TOKEN, end)

    def sample(self, image, temperature, seed):
        """Add noise of a seed to the logits of a loaded model; 0 of ``temperature``, as of
        golden.sampling.temperature_scalar, adds none."""
        self.write(Space.SCALARS, image.map.scalars["temperature"][0], [tuple(map(int, temperature))])
        self.set(Register.SEED, seed)

    def go(self, first, count):
        """Run the tokens of ``count`` positions from ``first`` on, which were all run before, or come next."""
        self._session.transact([Order(Command.GO, 0, first, count)])

    def wait(self, position, most):
        """Wait until a position comes next, or nothing runs; the registers from STATE on.

        ``most`` bounds the cycles that pass without a position. Raises LinkError where they are over, and MachineError
        where the program makes no sense.
        """
        waited, before = 0, None
        while True:
            units = -(-min(most, LONGEST_WAIT) // WAIT_UNIT)
            first = Register.STATE
            _, payload = self._session.transact(
                [Order(Command.WAIT, 0, position, units),
                 Order(Command.READ, Space.REGISTERS, first, 3, 4 * 3)], units * WAIT_UNIT)
            found = dict(zip(list(Register)[first:], np.frombuffer(payload, "<u4").tolist()))
            state = found[Register.STATE]
            if state not in list(State):
                raise MachineError(f"the accelerator's state is {state}, which is none: is something else at the port?")
            if state in STOPPED:
                raise MachineError(f"the accelerator came to {STOPPED[state]} at position {found[Register.POSITION]}: "
                                   "load the model again")
            if state != State.RUNNING or found[Register.POSITION] >= position:
                return found
            waited = waited + units * WAIT_UNIT if found[Register.POSITION] == before else 0
            before = found[Register.POSITION]
            if waited >= most:
                raise LinkError(f"the accelerator has not ended position {before} within {most:,} cycles: "
                                "start again")

    def stop(self, most):
        """Let a machine that runs end its token, in ``most`` cycles at most, and stop; nothing where none runs."""
        if self.registers(Register.STATE, 1)[Register.STATE] == State.RUNNING:
            self.set(Register.LIMIT, 0)
            self.wait(self.config.context + 1, most)

    def tokens(self, first, count):
        """list of int: what is in the buffer from a position on."""
        return self.read(Space.TOKENS, first, count).tolist()


def _parts(image):
    """(space, values, bool [words] of what no token changes) of all that an image writes, from address 0 on."""
    memories = {"weights": image.weights, "results": image.results, "elements": image.elements,
                "scalars": np.array(image.scalars)}
    for name, values in memories.items():
        words = image.used(name)
        yield Space[name.upper()], values[:words], image.constant[name][:words]
    yield Space.PROGRAM, image.program, np.ones(len(image.program), bool)


def _signed(values, bits):
    return (values & (1 << bits) - 1 ^ 1 << bits - 1) - (1 << bits - 1)
