"""The whole machine without any RTL: frames in, frames out, as hdl.protocol defines them."""

from typing import NamedTuple

import numpy as np

from ...driver.frames import Decoder, FrameError, encode
from ...driver.transport import LinkError
from ...golden.codes import BYTE_INVALID, byte_decode
from ...hdl.config import TRITS
from ...hdl.instructions import SCALAR_BITS, decode, word_bits
from ...hdl.protocol import (
    ANSWER_BYTES,
    MAGIC,
    MAP_HASH,
    MAX_READ,
    NO_TOKEN,
    REFUSED,
    REPLY,
    SETTINGS,
    SIZES,
    VERSION,
    ArgumentsLayout,
    Command,
    Refusal,
    Register,
    Space,
    State,
    space_sizes,
    word_bytes,
)
from .processor import Processor, ProgramError
from .processor_cycles import turn_cycles


__all__ = ["ReferenceTransport"]


ARGUMENT_BYTES = ArgumentsLayout.size // 8
PLACES = 3 ** np.arange(TRITS)


class _Loaded(NamedTuple):
    """What a Processor needs of an image."""
    config: object
    vocabulary: int
    context: int
    program: tuple
    stages: tuple
    weights: np.ndarray
    results: np.ndarray
    elements: np.ndarray
    scalars: list


class ReferenceTransport:
    """A machine in NumPy, as a setun.driver.transport.Transport: each command is executed in full when it comes, a GO
    with all its tokens.

    Parameters
    ----------
    config : Config

    Members
    -------
    cycles : int
        That the RTL would have taken for all tokens so far.
    """

    def __init__(self, config):
        self.config = config
        self.cycles, self._closed, self._decoder = 0, False, Decoder()
        self._arrays = {
            Space.WEIGHTS: np.zeros((config.depth, config.banks, config.tiles, TRITS), np.int8),
            Space.RESULTS: np.zeros((config.results, config.tiles), np.int64),
            Space.ELEMENTS: np.zeros((config.elements, config.tiles), np.int64),
            Space.SCALARS: np.zeros(config.scalars, np.int64),
            Space.PROGRAM: np.zeros(config.instructions, object),
            Space.TOKENS: np.zeros(config.context + 1, np.int64),
        }
        position = (1 << config.context.bit_length()) - 1
        token = (1 << max((config.vocabulary - 1).bit_length(), 1)) - 1
        self._masks = {  # bits that are kept
            Register.GIVEN: position, Register.LIMIT: position,
            Register.LAST_TOKEN: token, Space.TOKENS: token,
            Space.SCALARS: (1 << sum(SCALAR_BITS)) - 1, Space.PROGRAM: (1 << word_bits(config)) - 1}
        self._session, self._expected = None, 0
        self._clear()

    def _clear(self):
        values = {Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH,
                  **{register: int(getattr(self.config, name)) for name, register in SIZES.items()}}
        self.registers = {register: values.get(register, 0) for register in Register}
        self.registers[Register.END_TOKEN] = NO_TOKEN

    def exchange(self, request, replies, limit):
        """Answer all commands of ``request``. Raises LinkError once it is closed."""
        if self._closed:
            raise LinkError("the reference machine is closed")
        return b"".join(map(self._answer, self._decoder.feed(request)))

    def close(self):
        """Nothing is answered any more; also twice."""
        self._closed = True

    def _answer(self, frame):
        if isinstance(frame, FrameError):
            return encode(REFUSED, frame.sequence, bytes(ANSWER_BYTES) + bytes([frame.error]))
        kind, sequence, payload = frame
        if len(payload) < ARGUMENT_BYTES:
            return encode(REFUSED, sequence, bytes(ANSWER_BYTES) + bytes([Refusal.LENGTH]))
        fields = ArgumentsLayout.from_bits(int.from_bytes(payload[:ARGUMENT_BYTES], "little"))
        head = payload[:ANSWER_BYTES]
        reason, found = self._judge(kind, fields.turn << 8 | sequence, fields, payload[ARGUMENT_BYTES:])
        if reason:
            return encode(REFUSED, sequence, head + bytes([reason]))
        return encode(kind | REPLY, sequence, head + found)

    def _judge(self, kind, number, fields, data):
        """Why the command is refused, Refusal.NONE if not, and what it reads."""
        if kind not in list(Command):
            return Refusal.KIND, b""
        same = self._session == fields.session
        if kind == Command.OPEN:
            if number:
                return Refusal.ORDER, b""
            if not same:
                self._session, self._expected = fields.session, 1
                self._clear()
            return Refusal.NONE, b""
        if not same:
            return Refusal.SESSION, b""
        if number > self._expected:
            return Refusal.ORDER, b""
        if number < self._expected and kind in (Command.WRITE, Command.GO):
            return Refusal.NONE, b""
        reason = self._refusal(kind, fields, data)
        found = b""
        if not reason:
            reason, found = {Command.READ: self._read, Command.WRITE: self._write, Command.GO: self._go,
                             Command.WAIT: lambda fields, data: (Refusal.NONE, b"")}[kind](fields, data)
        self._expected += not reason and number == self._expected
        return reason, found

    def _refusal(self, kind, fields, data):
        end = fields.address + fields.count
        if kind == Command.GO:
            beyond = end > self.config.context or fields.address > self.registers[Register.POSITION]
        else:
            beyond = kind != Command.WAIT and end > space_sizes(self.config).get(fields.space, -1)
        if beyond:
            return Refusal.RANGE
        if len(data) != (fields.bytes if kind == Command.WRITE else 0) or kind == Command.READ and (
                fields.bytes > MAX_READ):
            return Refusal.LENGTH
        return Refusal.NONE

    def _words(self, fields):
        return slice(fields.address, fields.address + fields.count)

    def _read(self, fields, data):
        space, words = Space(fields.space), self._words(fields)
        size = word_bytes(space, self.config)
        if space == Space.REGISTERS:
            values = [self.registers[register] for register in list(Register)[words]]
        elif space == Space.WEIGHTS:
            values = (self._arrays[space][words] @ PLACES).reshape(-1)
        else:
            values = self._arrays[space][words].reshape(-1)
        found = b"".join((int(value) & (1 << 8 * size) - 1).to_bytes(size, "little") for value in values)
        return Refusal.NONE, found[:fields.bytes].ljust(fields.bytes, b"\0")

    def _write(self, fields, data):
        space, words = Space(fields.space), self._words(fields)
        size = word_bytes(space, self.config)
        items = 1 if space == Space.REGISTERS else int(np.prod(self._arrays[space].shape[1:(
            3 if space == Space.WEIGHTS else None)]))
        if len(data) != fields.count * items * size:
            return Refusal.LENGTH, b""
        values = [int.from_bytes(data[start:start + size], "little") for start in range(0, len(data), size)]
        if space == Space.WEIGHTS:
            if set(values) & set(BYTE_INVALID):
                return Refusal.CODE, b""
            values = byte_decode(np.array(values, np.uint8))
        elif space in (Space.RESULTS, Space.ELEMENTS):
            values = (np.array(values, np.int64) & 0x3ffff ^ 0x20000) - 0x20000
        if space == Space.REGISTERS:
            for register, value in zip(list(Register)[words], values):
                if register in SETTINGS:
                    self.registers[register] = value & self._masks.get(register, NO_TOKEN)
        else:
            target = self._arrays[space][words]
            if space in self._masks:
                values = [value & self._masks[space] for value in values]
            target[...] = np.array(values, target.dtype).reshape(target.shape)
        return Refusal.NONE, b""

    def _go(self, fields, data):
        """Run the positions, as long as nothing ends them."""
        registers, tokens = self.registers, self._arrays[Space.TOKENS]
        position, limit, cycles = fields.address, fields.address + fields.count, 0
        processor, state = self._processor(), State.RUNNING
        processor.seed = registers[Register.SEED]
        while state == State.RUNNING:
            try:
                token, meter = turn_cycles(processor, int(tokens[position]), position)
            except ProgramError as error:
                state = State.ILLEGAL if error.illegal else State.WATCHDOG
                break
            cycles, position = cycles + meter.cycles.total(), position + 1
            if position >= registers[Register.GIVEN]:
                tokens[position] = token
                if token == registers[Register.END_TOKEN]:
                    state = State.END_TOKEN
            if state == State.RUNNING and position >= limit:
                state = State.LIMIT
        self._keep(processor)
        self.cycles += cycles
        registers |= {Register.STATE: state, Register.POSITION: position, Register.CYCLES: cycles & NO_TOKEN,
                      Register.LIMIT: limit}
        return Refusal.NONE, b""

    def _processor(self):
        """That holds what was written; what is no instruction ends the program there."""
        memories, mantissa, exponent = self._arrays, *SCALAR_BITS
        scalars = [(value & (1 << mantissa) - 1, (value >> mantissa ^ 1 << exponent - 1) - (1 << exponent - 1))
                   for value in memories[Space.SCALARS].tolist()]
        program = []
        for word in memories[Space.PROGRAM]:
            try:
                program.append(decode(word, self.config))
            except ValueError:
                program.append(None)
        return Processor(_Loaded(
            config=self.config, vocabulary=self.registers[Register.LAST_TOKEN] + 1, context=self.config.context,
            program=tuple(program), stages=("",) * len(program), weights=memories[Space.WEIGHTS],
            results=memories[Space.RESULTS],
            elements=memories[Space.ELEMENTS], scalars=scalars))

    def _keep(self, processor):
        """Take over what a program has changed."""
        mantissa, exponent = SCALAR_BITS
        self._arrays |= {Space.WEIGHTS: processor.weights, Space.RESULTS: processor.results,
                         Space.ELEMENTS: processor.elements}
        self._arrays[Space.SCALARS] = np.array([
            int(value.mantissa) | (int(value.exponent) & (1 << exponent) - 1) << mantissa
            for value in processor.scalars])
