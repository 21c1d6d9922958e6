"""The driver: a user's verbs over any transport that carries the link's bytes."""

from typing import NamedTuple

import numpy as np

from .. import errors
from ..driver.transport import LinkError
from ..golden.codes import byte_decode
from ..hdl.config import PRESETS, TRITS, Config
from ..hdl.protocol import (
    ACCUMULATOR_BYTES,
    MAGIC,
    MAP_HASH,
    VERSION,
    WINDOW_FRAMES,
    Error,
    Flags,
    Kind,
    Register,
    RunLayout,
    SpanLayout,
    VectorLayout,
    WeightsLayout,
)
from .link import ATTEMPTS, DeviceError, Link
from .plan import result_pieces, vector_pieces, weight_pieces


__all__ = ["Damage", "Device", "DeviceError", "MismatchError", "Product", "Traffic"]


GEOMETRY = {"banks": Register.BANKS, "tiles": Register.TILES, "depth": Register.DEPTH, "columns": Register.COLUMNS,
            "blocks": Register.BLOCKS, "slots": Register.SLOTS, "stack": Register.STACK}
POWERS = 3 ** np.arange(TRITS)


class MismatchError(errors.Error):
    """What is on the link is no accelerator, or another than expected."""


class Product(NamedTuple):
    """A matrix-vector product from the device."""
    accumulators: np.ndarray  # int32 [M]
    absmax: int  # of the vector, where it was quantised
    counters: dict  # growth of each counter by Register name
    repeated: bool  # a frame was sent again, and what it does may be counted twice


class Traffic(NamedTuple):
    """What has crossed the link since the device was opened."""
    sent: int  # bytes to the device
    received: int  # bytes from it
    exchanges: int  # each waits for the link's latency once


class Damage(NamedTuple):
    """Where in the weight memories five trits were not what had been written."""
    bank: int
    tile: int
    address: int


class Device:
    """An accelerator on a transport, whatever an earlier session has left there.

    Every method may raise DeviceError or LinkError; a new Device is then in order. On the links that ``Link`` covers a
    fault makes no value wrong but is an error at worst, to the strength of CRC-32; on a link that delivers whole frames
    again later, values may be wrong without an error.

    Commands that go together in a ``transact`` of ``Link`` write different places, and read none that another of them
    writes, so that it does not matter how often and in which order they are executed; and all of them are over when the
    next ``transact`` begins. A list is complete before it is run, weights are there before they are run and not
    overwritten before the results are read, and results are read before the next run.

    Parameters
    ----------
    transport : setun.driver.transport.Transport
    config : hdl.config.Config | None
        What the accelerator must be; None takes it as it is, and ``config`` is then its preset, or named "unnamed".

    Raises MismatchError where it is none, or another.
    """

    def __init__(self, transport, config=None):
        self.transport, self.config = transport, config
        self._link, self._counters, self._rng = Link(transport), None, np.random.default_rng(0)
        self.reset()
        self.identify()

    @property
    def traffic(self):
        """Traffic so far."""
        return Traffic(self._link.sent, self._link.received, self._link.exchanges)

    def _transact(self, commands, cycles=0):
        answers = self._link.transact(commands, cycles)
        self._written += sum(len(payload) - WeightsLayout.size // 8 for kind, payload in commands
                             if kind == Kind.WEIGHTS)
        return answers

    def reset(self):
        """Drop what is running, forget lists, clear counters; weights stay."""
        self._written = 0  # bytes of weights, since then
        self._transact([(Kind.RESET, b"")])

    def registers(self, count=len(Register), first=0):
        """``count`` registers from ``first`` on: {Register: int}."""
        payload, = self._transact([(Kind.READ, _arguments(SpanLayout, first=first, count=count))])
        return dict(zip(list(Register)[first:], np.frombuffer(payload, "<u4").tolist()))

    def identify(self):
        """Compare the identification registers with the configuration, or take it from them.

        Raises MismatchError that names the first register that differs.
        """
        # Another register map may be shorter.
        self._match(self.registers(3), {Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH},
                    "this driver", "update the older of them")
        self._counters = self.registers()
        if self.config is None:
            geometry = {name: self._counters[register] for name, register in GEOMETRY.items()}
            presets = (config for config in PRESETS.values() if geometry.items() <= vars(config).items())
            self.config = next(presets, None) or Config(name="unnamed", **geometry)
        self._match(self._counters, {register: getattr(self.config, name) for name, register in GEOMETRY.items()},
                    f"config {self.config.name}", "give the config it was built with")

    def _match(self, found, wanted, whose, remedy):
        for register, value in wanted.items():
            if found[register] != value:
                raise MismatchError(f"the accelerator's {register.name} is {found[register]:#x} and {whose} has "
                                    f"{value:#x}: {remedy}")

    def counters(self):
        """Growth of each counter since the last call: {name: int}.

        Raises LinkError where the accelerator was restarted and has lost its weights.
        """
        before, self._counters = self._counters, self.registers()
        if (self._counters[Register.BYTES_WEIGHTS] - self._written) % 2 ** 32 >= 2 ** 31:
            raise LinkError("the accelerator was restarted meanwhile and has lost its weights: start again")
        return {register.name: (self._counters[register] - before[register]) % 2 ** 32 for register in Register
                if register >= Register.CYCLES}

    def load(self, placed, progress=lambda written, total: None):
        """Write the weights of resident matrices, once. ``progress`` is told the words that are written, and all."""
        placed, written = list(placed), 0
        total = sum(packed.blocks * packed.words for packed, _ in placed)
        for packed, chunks in placed:
            for chunk in chunks:
                commands = self._weights(packed, chunk)
                for first in range(0, len(commands), WINDOW_FRAMES):
                    self._transact(commands[first:first + WINDOW_FRAMES])
                    progress(written + min(first + WINDOW_FRAMES, len(commands)) * chunk.blocks * packed.words
                             // len(commands), total)
                written += chunk.blocks * packed.words

    def scrub(self, placed):
        """Compare the weights of resident matrices in the memories with those that were loaded, and write damaged words
        again: a list of Damage.

        Any damage to one word is noticed that changes one of its trits; of several in one row of the array within
        a span of words, a pass in some hundred misses some, and the next one is another. Where all is sound it takes a
        cycle for each address, and one for each byte of the vectors and results, which are fewer the longer the memory.
        Spare bits, which decode to no other trit, are not looked at.
        """
        damages = []
        for packed, chunks in placed:
            for chunk in chunks:
                words = packed.weights[chunk.first:chunk.first + chunk.blocks].reshape(-1, *packed.weights.shape[2:])
                for start, length, blocks in self._spans(len(words)):
                    span = words[start:start + length * blocks].reshape(blocks, length, *words.shape[1:])
                    for block in np.flatnonzero(self._differs(chunk.base + start, span)):
                        damages += self._repair(chunk.base + start + block * length, span[block])
        self.counters()
        return damages

    def _spans(self, count):
        """First word, words a block, and blocks, of runs that read ``count`` words once: as few bytes of vectors and
        results as there can be."""
        longest = max(min(self.config.columns // self.config.banks, round(
            (count * self.config.rows * ACCUMULATOR_BYTES / self.config.banks) ** .5)), 1)
        start = 0
        while start < count:
            length = min(longest, count - start)
            blocks = min((count - start) // length, self.config.blocks)
            yield start, length, blocks
            start += length * blocks

    def _differs(self, base, words):  # uint8 [blocks, words, banks, tiles] -> bool [blocks]
        """Blocks whose product with a vector without zeros is not what their words say."""
        length = min(words.shape[1] * self.config.banks, self.config.columns)
        x = self._rng.integers(1, 128, length).astype(np.int8) * self._rng.choice(np.array([-1, 1], np.int8), length)
        return (self._read(base, words.shape[1], len(words), x) != _products(words, x)).any(1)

    def _repair(self, base, words):  # uint8 [words, banks, tiles]
        """Read words of a memory one by one, write the damaged ones again, and return their Damage.

        Five banks of a word are read at once: with 1, 3, 9, 27, 81 as activations their trits are the digits of each
        row's accumulator.
        """
        width = min(self.config.banks, self.config.columns)
        found = np.zeros((len(words), self.config.rows, width), np.int8)
        for bank in range(0, width, TRITS):
            x = np.zeros(width, np.int8)
            x[bank:bank + TRITS] = POWERS[:width - bank]
            for start in range(0, len(words), self.config.blocks):
                blocks = min(self.config.blocks, len(words) - start)
                values = self._read(base + start, 1, blocks, x)[..., None] + POWERS.sum()
                found[start:start + blocks, :, bank:bank + TRITS] = (values // POWERS % 3 - 1)[..., :width - bank]
        trits = byte_decode(words[:, :width])  # [words, banks, tiles, 5]
        differs = (found.transpose(0, 2, 1).reshape(trits.shape) != trits).any(3)
        for word in np.flatnonzero(differs.any((1, 2))):
            self._transact([(Kind.WEIGHTS, _arguments(WeightsLayout, address=base + word, count=1)
                             + words[word].tobytes())])
        return [Damage(bank, tile, int(base) + word) for word, bank, tile in np.argwhere(differs).tolist()]

    def _read(self, base, length, blocks, x):  # int8 [n] -> int32 [blocks, rows]
        """Products of row blocks of ``length`` words with ``x``."""
        self._send_vector(x, len(x), Flags.INT8)
        run = _arguments(RunLayout, slot=0, base=base, stride=length, blocks=blocks, destination=0)
        cycles = (blocks + 1) * max(length, TRITS)
        self._transact([(Kind.RUN, run)], cycles)
        answers = self._transact(self._results(blocks), cycles)
        return _signed24(np.frombuffer(b"".join(answers), np.uint8).reshape(-1, ACCUMULATOR_BYTES)).reshape(blocks, -1)

    def _weights(self, packed, chunk):
        words = packed.weights[chunk.first:chunk.first + chunk.blocks].reshape(-1, self.config.banks
                                                                               * self.config.tiles)
        return [(Kind.WEIGHTS, _arguments(WeightsLayout, address=chunk.base + first, count=count)
                 + words[first:first + count].tobytes()) for first, count in weight_pieces(self.config, len(words))]

    def _send_vector(self, values, live, flags):
        """A vector into slot 0.

        Its first piece opens it and can be repeated. The others have an order: where one is lost, and one behind it
        refused, or one refused that was there, the device tells where it continues. That is asked when the first piece
        was answered only, and so the answer is about this vector.
        """
        size = 1 if flags & Flags.INT8 else 4
        places = list(vector_pieces(len(values), size))
        pieces = [(Kind.VECTOR, _arguments(VectorLayout, slot=0, flags=int(flags), length=len(values), live=live,
                                           offset=offset) + values[offset:offset + count].astype(f"<i{size}").tobytes())
                  for offset, count in places]
        cycles = 6 * len(values)
        self._transact(pieces[:1], cycles)
        position = 1
        for _ in range(ATTEMPTS * len(pieces)):
            try:
                self._transact(pieces[position:], cycles)
                return
            except DeviceError as refusal:
                if refusal.error != Error.ORDER:
                    raise
            self._link.repeated += 1
            offset = self.registers(1, Register.OFFSET)[Register.OFFSET]
            position = offset // places[0][1] if offset else len(pieces)
        raise LinkError("the accelerator refuses the pieces of a vector again and again: is the cable sound?")

    def multiply(self, placed, x, *, quantise, skip=True):  # int [n] -> Product
        """W x. ``x`` is an int32 vector that the device quantises, or int8 as it is.

        Raises ValueError where ``x`` does not have the matrix's length or the range of its type.
        """
        packed, chunks = placed
        x = np.asarray(x)
        limits = np.iinfo(np.int32 if quantise else np.int8)
        if x.shape != packed.shape[1:]:
            raise ValueError(f"the vector has shape {x.shape}, and the matrix {packed.shape}")
        if x.min() < limits.min or x.max() > limits.max:
            raise ValueError(f"activations must be from {limits.min} to {limits.max}")
        flags = (Flags.SKIP if skip else Flags(0)) | (Flags(0) if quantise else Flags.INT8)
        repeated = self._link.repeated
        self._send_vector(x[packed.columns], packed.live, flags)
        answers, beats = [], max(-(-len(x) // self.config.banks), TRITS)
        for index, chunk in enumerate(chunks):
            if chunk.load and (index == 0 or chunks[index - 1].base == chunk.base):
                self._transact(self._weights(packed, chunk))
            run = Kind.RUN, _arguments(RunLayout, slot=0, base=chunk.base, stride=packed.words, blocks=chunk.blocks,
                                       destination=0)
            ahead = [self._weights(packed, following) for following in chunks[index + 1:index + 2]
                     if following.load and following.base != chunk.base]
            cycles = (chunk.blocks + 1) * beats + len(x)  # which may still be quantised
            self._transact([run, *sum(ahead, [])], cycles)
            answers += self._transact(self._results(chunk.blocks), cycles)
        values = np.frombuffer(b"".join(answers), np.uint8).reshape(-1, ACCUMULATOR_BYTES)
        accumulators = np.zeros(packed.shape[0], np.int32)
        accumulators[packed.rows] = _signed24(values)[:len(packed.rows)]
        counters = self.counters()
        return Product(accumulators, self._counters[Register.ABSMAX], counters, self._link.repeated > repeated)

    def _results(self, blocks):
        return [(Kind.RESULTS, _arguments(SpanLayout, first=first, count=count))
                for first, count in result_pieces(self.config, blocks)]


def _arguments(layout, **fields):
    """Bytes of a command's arguments. Raises ValueError for a value that its field cannot hold."""
    for name, value in fields.items():
        if not 0 <= value < 1 << layout[name].width:
            raise ValueError(f"{name} = {value} is beyond the {layout[name].width} bits of its field")
    return layout.const({name: int(value) for name, value in fields.items()}).as_value().value.to_bytes(
        layout.size // 8, "little")


def _products(words, x):  # uint8 [blocks, words, banks, tiles], int8 [n] -> int32 [blocks, rows]
    trits = byte_decode(words).reshape(len(words), -1, words.shape[3] * TRITS)  # [blocks, columns, rows]
    return (trits[:, :len(x)] * x.astype(np.int32)[:, None]).sum(1, dtype=np.int32)


def _signed24(values):  # uint8 [n, 3] -> int32 [n]
    low, middle, high = values.astype(np.int32).T
    return low | middle << 8 | high.astype(np.int8).astype(np.int32) << 16
