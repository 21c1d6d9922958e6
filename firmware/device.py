"""The driver: a user's verbs over any transport that carries the link's bytes."""

from typing import NamedTuple

import numpy as np

from hdl.config import PRESETS, TRITS, Config
from hdl.registers import (ACCUMULATOR_BYTES, MAGIC, MAP_HASH, MAX_PAYLOAD, VERSION, WINDOW_FRAMES, Error, Flags, Kind,
                           Register, RunLayout, SpanLayout, VectorLayout, WeightsLayout)
from sim.transport import LinkError

from .link import ATTEMPTS, DeviceError, Link


__all__ = ["Device", "DeviceError", "MismatchError", "Product"]


GEOMETRY = {"banks": Register.BANKS, "tiles": Register.TILES, "depth": Register.DEPTH, "columns": Register.COLUMNS,
            "blocks": Register.BLOCKS, "slots": Register.SLOTS, "stack": Register.STACK}


class MismatchError(Exception):
    """What is on the link is no accelerator, or another than expected."""


class Product(NamedTuple):
    """A matrix-vector product from the device."""
    accumulators: np.ndarray  # int32 [M]
    absmax: int  # of the vector, where it was quantised
    counters: dict  # growth of each counter by Register name
    repeated: bool  # a frame was sent again, and what it does may be counted twice


class Device:
    """An accelerator on a transport, whatever an earlier session has left there.

    Every method may raise DeviceError or LinkError; a new Device is then in order. Damage never makes a value wrong, it
    is an error at worst: commands that go together in a ``transact`` of ``Link`` write different places, and read none
    that another of them writes, so that it does not matter how often and in which order they are executed; and all of
    that is over when the next begins. A list is complete before it is run, weights are there before they are run and
    not overwritten before the results are read, and results are read before the next run.

    Parameters
    ----------
    transport : sim.transport.Transport
    config : hdl.config.Config | None
        What the accelerator must be; None takes it as it is, and ``config`` is then its preset, or named "unnamed".

    Raises MismatchError where it is none, or another.
    """

    def __init__(self, transport, config=None):
        self.transport, self.config = transport, config
        self._link, self._counters = Link(transport), None
        self.reset()
        self.identify()

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

    def _weights(self, packed, chunk):
        words = packed.weights[chunk.first:chunk.first + chunk.blocks].reshape(-1, self.config.banks
                                                                               * self.config.tiles)
        most = (MAX_PAYLOAD - WeightsLayout.size // 8) // words.shape[1]
        pieces = [(chunk.base + start, words[start:start + most]) for start in range(0, len(words), most)]
        return [(Kind.WEIGHTS, _arguments(WeightsLayout, address=address, count=len(piece)) + piece.tobytes())
                for address, piece in pieces]

    def _send_vector(self, values, live, flags):
        """A vector into slot 0.

        Its first piece opens it and can be repeated. The others have an order: where one is lost, and one behind it
        refused, or one refused that was there, the device tells where it continues. That is asked when the first piece
        was answered only, and so the answer is about this vector.
        """
        size = 1 if flags & Flags.INT8 else 4
        most = (MAX_PAYLOAD - VectorLayout.size // 8) // size
        pieces = [(Kind.VECTOR, _arguments(VectorLayout, slot=0, flags=int(flags), length=len(values), live=live,
                                           offset=offset) + values[offset:offset + most].astype(f"<i{size}").tobytes())
                  for offset in range(0, len(values), most)]
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
            position = offset // most if offset else len(pieces)
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
            answers += self._transact(self._results(chunk), cycles)
        values = np.frombuffer(b"".join(answers), np.uint8).reshape(-1, ACCUMULATOR_BYTES)
        accumulators = np.zeros(packed.shape[0], np.int32)
        accumulators[packed.rows] = _signed24(values)[:len(packed.rows)]
        counters = self.counters()
        return Product(accumulators, self._counters[Register.ABSMAX], counters, self._link.repeated > repeated)

    def _results(self, chunk):
        most = MAX_PAYLOAD // (self.config.rows * ACCUMULATOR_BYTES)
        spans = [(first, min(most, chunk.blocks - first)) for first in range(0, chunk.blocks, most)]
        return [(Kind.RESULTS, _arguments(SpanLayout, first=first, count=count)) for first, count in spans]


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
