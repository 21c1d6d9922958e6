"""The driver: a user's verbs over any transport that carries the link's bytes."""

from typing import NamedTuple

import numpy as np

from hdl.config import TRITS
from hdl.registers import (ACCUMULATOR_BYTES, MAGIC, MAP_HASH, MAX_PAYLOAD, REPLY, VERSION, Error, Flags, Kind,
                           Register, RunLayout, SpanLayout, VectorLayout, WeightsLayout)
from sim.transport import LinkError

from .frames import Decoder, FrameError, encode


__all__ = ["Device", "DeviceError", "MismatchError", "Product"]


CYCLE_MARGIN = 10_000  # cycles that an answer may take beyond what its command does


class DeviceError(Exception):
    """The device refused a command: ``error`` says why."""

    def __init__(self, kind, error):
        super().__init__(f"the accelerator refused {kind.name}: {error.name}")
        self.kind, self.error = kind, error


class MismatchError(Exception):
    """What is on the link is no accelerator, or another than expected."""


class Product(NamedTuple):
    """A matrix-vector product from the device."""
    accumulators: np.ndarray  # int32 [M]
    absmax: int  # of the vector, where it was quantised
    counters: dict  # growth of each counter by Register name


class Device:
    """An accelerator on a transport.

    Parameters
    ----------
    transport : sim.transport.Transport
    config : hdl.config.Config
        What the accelerator must be.

    Raises MismatchError where it is not.
    """

    def __init__(self, transport, config):
        self.transport, self.config = transport, config
        self._sequence, self._decoder, self._counters = 0, Decoder(), None
        self.reset()
        self.identify()

    def _transact(self, commands, cycles=0):
        """Send commands, (kind, payload) each, in one go; the payloads of their answers.

        ``cycles`` is what the device may need beyond a cycle or two for every byte.
        """
        frames, expected = [], []
        for kind, payload in commands:
            self._sequence = (self._sequence + 1) % 256
            frames.append(encode(kind, self._sequence, payload))
            expected.append((kind, self._sequence))
        request = b"".join(frames)
        limit = cycles + CYCLE_MARGIN * (1 + len(frames)) + 4 * len(request)
        received = self._decoder.feed(self.transport.exchange(request, len(frames), limit))
        if len(received) != len(expected):
            raise LinkError(f"{len(expected)} commands had {len(received)} answers")
        answers = []
        for (kind, sequence), answer in zip(expected, received):
            if isinstance(answer, FrameError):
                raise LinkError(str(answer))
            reply, echoed, payload = answer
            if echoed != sequence:
                raise LinkError(f"command {sequence} was answered as {echoed}")
            if reply == Kind.ERROR:
                raise DeviceError(kind, Error(payload[0]))
            if reply != kind | REPLY:
                raise LinkError(f"{kind.name} was answered by a frame of kind {reply:#04x}")
            answers.append(payload)
        return answers

    def reset(self):
        """Drop what is running, forget lists, clear counters; weights stay."""
        self._transact([(Kind.RESET, b"")])

    def registers(self, count=len(Register)):
        """The first ``count`` registers: {Register: int}."""
        payload, = self._transact([(Kind.READ, _arguments(SpanLayout, first=0, count=count))])
        return dict(zip(Register, np.frombuffer(payload, "<u4").tolist()))

    def identify(self):
        """Compare the identification registers with the configuration.

        Raises MismatchError that names the first register that differs.
        """
        config = self.config
        # Another register map may be shorter.
        self._match(self.registers(3), {Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH})
        self._counters = self.registers()
        self._match(self._counters, {
            Register.BANKS: config.banks, Register.TILES: config.tiles, Register.DEPTH: config.depth,
            Register.COLUMNS: config.columns, Register.BLOCKS: config.blocks, Register.SLOTS: config.slots})

    def _match(self, found, wanted):
        for register, value in wanted.items():
            if found[register] != value:
                raise MismatchError(f"the accelerator's {register.name} is {found[register]:#x} and config "
                                    f"{self.config.name} has {value:#x}: give the config it was built with")

    def counters(self):
        """Growth of each counter since the last call: {name: int}."""
        before, self._counters = self._counters, self.registers()
        return {register.name: (self._counters[register] - before[register]) % 2 ** 32 for register in Register
                if register >= Register.CYCLES}

    def load(self, placed, progress=lambda written, total: None):
        """Write the weights of resident matrices, once. ``progress`` is told the words that are written, and all."""
        placed, written = list(placed), 0
        total = sum(packed.blocks * packed.words for packed, _ in placed)
        for packed, chunks in placed:
            for chunk in chunks:
                for command, words in self._weights(packed, chunk):
                    self._transact([command])
                    written += words
                    progress(written, total)

    def _weights(self, packed, chunk):
        words = packed.weights[chunk.first:chunk.first + chunk.blocks].reshape(-1, self.config.banks
                                                                               * self.config.tiles)
        most = (MAX_PAYLOAD - WeightsLayout.size // 8) // words.shape[1]
        for start in range(0, len(words), most):
            piece = words[start:start + most]
            arguments = _arguments(WeightsLayout, address=chunk.base + start, count=len(piece))
            yield (Kind.WEIGHTS, arguments + piece.tobytes()), len(piece)

    def _vector(self, values, live, flags):
        size = 1 if flags & Flags.INT8 else 4
        most = (MAX_PAYLOAD - VectorLayout.size // 8) // size
        for offset in range(0, len(values), most):
            arguments = _arguments(VectorLayout, slot=0, flags=int(flags), length=len(values), live=live,
                                   offset=offset)
            yield Kind.VECTOR, arguments + values[offset:offset + most].astype(f"<i{size}").tobytes()

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
        commands = list(self._vector(x[packed.columns], packed.live, flags))
        spans = []
        for index, chunk in enumerate(chunks):
            following = chunks[index + 1] if index + 1 < len(chunks) else None
            if chunk.load and (index == 0 or chunks[index - 1].base == chunk.base):
                commands += [command for command, _ in self._weights(packed, chunk)]
            commands.append((Kind.RUN, _arguments(RunLayout, slot=0, base=chunk.base, stride=packed.words,
                                                  blocks=chunk.blocks, destination=0)))
            if following and following.load and following.base != chunk.base:
                commands += [command for command, _ in self._weights(packed, following)]
            most = MAX_PAYLOAD // (self.config.rows * ACCUMULATOR_BYTES)
            for first in range(0, chunk.blocks, most):
                spans.append(len(commands))
                commands.append((Kind.RESULTS, _arguments(SpanLayout, first=first,
                                                          count=min(most, chunk.blocks - first))))
        beats = max(-(-len(x) // self.config.banks), TRITS)
        answers = self._transact(commands, cycles=(packed.blocks + 1) * beats + 6 * len(x))
        values = np.frombuffer(b"".join(answers[span] for span in spans), np.uint8).reshape(-1, ACCUMULATOR_BYTES)
        accumulators = np.zeros(packed.shape[0], np.int32)
        accumulators[packed.rows] = _signed24(values)[:len(packed.rows)]
        counters = self.counters()
        return Product(accumulators, self._counters[Register.ABSMAX], counters)


def _arguments(layout, **fields):
    """Bytes of a command's arguments. Raises ValueError for a value that its field cannot hold."""
    for name, value in fields.items():
        if not 0 <= value < 1 << layout[name].width:
            raise ValueError(f"{name} = {value} is beyond the {layout[name].width} bits of its field")
    return layout.const({name: int(value) for name, value in fields.items()}).as_value().value.to_bytes(
        layout.size // 8, "little")


def _signed24(values):  # uint8 [n, 3] -> int32 [n]
    low, middle, high = values.astype(np.int32).T
    return low | middle << 8 | high.astype(np.int8).astype(np.int32) << 16
