"""Frames for the whole machine, one after the other, with what the reference machine answers; and what they reach."""

import random
import zlib
from typing import NamedTuple

import numpy as np

from setun.driver.frames import Decoder, encode, escape
from setun.driver.session import Order
from setun.golden.codes import BYTE_INVALID, byte_encode
from setun.hdl.instructions import OPCODES
from setun.hdl.instructions import encode as encode_instruction
from setun.hdl.protocol import (
    MAX_READ,
    MAX_WRITE,
    REFUSED,
    Command,
    Refusal,
    Register,
    Space,
    State,
    space_sizes,
    word_bytes,
)
from setun.sim.model.device import ReferenceTransport
from setun.sim.verify.coverage import Point
from tests.support.programs import CONFIG, random_image


__all__ = ["CONFIG", "POINTS", "Sent", "Stimulus"]


SESSION = 0x5E70
WAITS = 60  # of 1,024 cycles: longer than any text here takes
NEVER = {  # (command, refusal): why it does not come
    **{(command, refusal): "of what the frame is, whatever its command" for command in Command
       for refusal in (Refusal.CRC, Refusal.KIND)},
    (Command.OPEN, Refusal.RANGE): "it has no address", (Command.OPEN, Refusal.CODE): "it has no weights",
    (Command.OPEN, Refusal.SESSION): "it makes one", (Command.OPEN, Refusal.BUSY): "it ends what runs",
    (Command.WAIT, Refusal.RANGE): "any position may be waited for", (Command.WAIT, Refusal.CODE): "it has no weights",
    (Command.WAIT, Refusal.BUSY): "it is for that", (Command.GO, Refusal.CODE): "it has no weights",
    (Command.READ, Refusal.CODE): "what is read is sound",
    **{(command, Refusal.BUSY): "tests/machine/test_commands.py does it: here each command waits for what runs"
       for command in (Command.READ, Command.WRITE, Command.GO)}}


def _extremes(kind):
    """(instruction, field, "least" or "most") of what random programs can have."""
    fields = {"Scale": ("operation", "adjust"), "Pass": ("first", "second", "sink", "limit", "add", "shift_by_scalar",
                                                       "shift_by_maximum", "remember", "count"),
              "Run": ("slot", "softmax", "int8", "count"), "Store": ("kind",), "Angle": ("lane",)}
    return [(kind.__name__, field) for field in fields.get(kind.__name__, ())]


def _values(name, field):
    kind = next(each for each in OPCODES if each.__name__ == name)
    form = kind.__dataclass_fields__[field].type
    if form is bool:
        return [False, True]
    if form is int:
        return list(range(2 if field == "slot" else CONFIG.tiles))
    return list(form)


POINTS = {
    "command": Point.cross(list(Command), list(Refusal), holes=[
        (lambda command, refusal, pair=pair: (command, refusal) == pair, why) for pair, why in NEVER.items()]),
    "frame": Point([Refusal.CRC, Refusal.LENGTH, Refusal.KIND]),
    "space": Point.cross([Command.READ, Command.WRITE], list(Space)),
    "edge": Point.cross([Command.READ, Command.WRITE], list(Space), ["first", "last", "beyond"]),
    "register": Point(list(Register)),
    "state": Point([State.LIMIT, State.END_TOKEN, State.ILLEGAL]),
    "opcode": Point([kind.__name__ for kind in OPCODES]),
    "field": Point([f"{name}.{field} {value}" for kind in OPCODES for name, field in _extremes(kind)
                    for value in _values(name, field)], {}),
    "positions": Point(list(range(1, 6))),
}


class Sent(NamedTuple):
    """A frame, and the bytes that are to come back."""
    request: bytes
    answer: bytes


class Stimulus:
    """Any number of Sent, as they come: sessions of commands right and wrong, and programs of random instructions.

    Parameters
    ----------
    seed : int
    meet : function
        Is told a point of POINTS and a value.
    """

    def __init__(self, seed, meet=lambda point, value: None):
        self.rng, self.random, self.meet = random.Random(seed), np.random.default_rng(seed), meet
        self.device, self.number, self.session = ReferenceTransport(CONFIG), 0, SESSION + seed & 0xffff
        self.sizes = space_sizes(CONFIG)

    def _sent(self, request):
        return Sent(request, self.device.exchange(request, 1, 0))

    def _frame(self, order, number=None, session=None):
        """Sends an order; counts it where it is executed."""
        chosen = self.number if number is None else number
        payload = order.payload(self.session if session is None else session, chosen)
        sent = self._sent(encode(order.command, chosen & 255, payload))
        refusal = self._refusal(sent)
        self.meet("command", (order.command, refusal))
        if number is None and refusal == Refusal.NONE:
            self.number += 1
        if order.command in (Command.READ, Command.WRITE) and refusal == Refusal.NONE and order.space < len(Space):
            space = Space(order.space)
            self.meet("space", (order.command, space))
        return sent

    @staticmethod
    def _refusal(sent):
        (kind, _, payload), = Decoder().feed(sent.answer)
        return Refusal(payload[-1]) if kind == REFUSED else Refusal.NONE

    def _item_bytes(self, space):
        items = {Space.WEIGHTS: CONFIG.banks * CONFIG.tiles, Space.RESULTS: CONFIG.tiles, Space.ELEMENTS: CONFIG.tiles}
        return word_bytes(space, CONFIG) * items.get(space, 1)

    def _bytes(self, space, words):
        """Of words of a space; weights are sound."""
        size = words * self._item_bytes(space)
        if space == Space.WEIGHTS:
            return byte_encode(self.random.integers(-1, 2, (size, 5))).tobytes()
        return self.rng.randbytes(size)

    def open(self):
        self.number, self.session = 0, self.rng.randrange(1 << 16)
        self.meet("command", (Command.OPEN, Refusal.NONE))
        yield self._frame(Order(Command.OPEN))

    def _write(self, space, address, data, words):
        most = max(MAX_WRITE // self._item_bytes(space), 1)
        for start in range(0, words, most):
            count = min(most, words - start)
            each = self._item_bytes(space)
            yield self._frame(Order(Command.WRITE, space, address + start, count, count * each,
                                    data[start * each:(start + count) * each]))

    def _read(self, space, address, words):
        most = max(MAX_READ // self._item_bytes(space), 1)
        for start in range(0, words, most):
            count = min(most, words - start)
            yield self._frame(Order(Command.READ, space, address + start, count, count * self._item_bytes(space)))

    def setting(self, register, value):
        yield from self._write(Space.REGISTERS, register, int(value).to_bytes(4, "little"), 1)

    def wrong(self):
        """A command that is refused, each kind with any fault, and frames that are none."""
        rng, space = self.rng, self.rng.choice(list(Space))
        size, each = self.sizes[space], self._item_bytes(space)
        command = rng.choice([Command.READ, Command.WRITE])
        data = self._bytes(space, 1) if command == Command.WRITE else b""
        right = Order(command, space, 0, 1, each, data)
        faults = [
            lambda: self._frame(Order(command, space, size, 1, each, data)),
            lambda: self._frame(Order(Command.READ, space, 0, 1, MAX_READ + 1)),
            lambda: self._frame(Order(Command.WRITE, space, 0, 1, each + 1, self._bytes(space, 1))),
            lambda: self._frame(Order(Command.WRITE, Space.WEIGHTS, 0, 1, 8, bytes(BYTE_INVALID[:1] * 8))),
            lambda: self._frame(Order(Command.GO, 0, self.sizes[Space.TOKENS], 1)),
            lambda: self._frame(Order(Command.GO, 0, 0, 1, 1, b"x")),
            lambda: self._frame(Order(Command.WAIT, 0, 0, 1, 1, b"x")),
            *[lambda command=command: self._frame(Order(command, 0, 0, 0), session=self.session ^ 1)
              for command in (Command.READ, Command.WRITE, Command.GO, Command.WAIT)],
            *[lambda command=command: self._frame(Order(command, 0, 0, 0), number=self.number + 1 + rng.randrange(300))
              for command in (Command.READ, Command.WRITE, Command.GO, Command.WAIT)],
            lambda: self._frame(Order(Command.OPEN), number=1 + rng.randrange(99)),
            lambda: self._frame(right, number=rng.randrange(max(self.number, 1)) if self.number > 1 else 1),
            lambda: self._broken(right), lambda: self._kind(), lambda: self._short(),
        ]
        yield rng.choice(faults)()

    def _broken(self, order):
        frame = encode(order.command, self.number & 255, order.payload(self.session, self.number))
        bit = self.rng.randrange(8, 8 * (len(frame) - 1))
        self.meet("frame", Refusal.CRC)
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        return self._sent(bytes(damaged))

    def _kind(self):
        self.meet("frame", Refusal.KIND)
        return self._sent(encode(self.rng.randrange(0x20, 0x80), self.number & 255,
                                 Order(Command.READ).payload(self.session, self.number)))

    def _short(self):
        """A frame without all of its arguments, and one whose length is another."""
        self.meet("frame", Refusal.LENGTH)
        self.meet("command", (command := self.rng.choice(list(Command)), Refusal.LENGTH))
        if self.rng.randrange(2):
            return self._sent(encode(command, self.number & 255, self.rng.randbytes(self.rng.randrange(15))))
        covered = bytes([command, 1]) + (5).to_bytes(2, "little") + bytes(4)
        return self._sent(escape(covered + zlib.crc32(covered).to_bytes(4, "little")))

    def edges(self):
        """The first and the last word of a space, and beyond."""
        space = self.rng.choice(list(Space))
        size, each = self.sizes[space], self._item_bytes(space)
        for edge, address in (("first", 0), ("last", size - 1), ("beyond", size)):
            for command in (Command.READ, Command.WRITE):
                if space == Space.PROGRAM and command == Command.WRITE:
                    data = bytes(each)  # an instruction that ends
                else:
                    data = self._bytes(space, 1) if command == Command.WRITE else b""
                if space == Space.REGISTERS and command == Command.WRITE and edge == "last":
                    data = bytes(4)
                self.meet("edge", (command, space, edge))
                yield self._frame(Order(command, space, address, 1, each, data))

    def registers(self):
        for register in Register:
            if register != Register.CYCLES:  # between GO and an answer it depends on the line
                self.meet("register", register)
        yield from self._read(Space.REGISTERS, 0, Register.CYCLES)
        self.meet("register", Register.CYCLES)
        yield from self._read(Space.REGISTERS, Register.CYCLES, len(Register) - Register.CYCLES)

    def program(self):
        """A program of random instructions for some positions, and all memories behind it."""
        image = random_image(self.random, CONFIG, self.rng.choice([8, 20, 40]))
        for instruction in image.program:
            self._meet_instruction(instruction)
        memories = {Space.RESULTS: image.results, Space.ELEMENTS: image.elements}
        yield from self._write(Space.WEIGHTS, 0, byte_encode(image.weights).tobytes(), CONFIG.depth)
        for space, values in memories.items():
            raw = b"".join(int(value & 0xffffff).to_bytes(3, "little") for value in values.reshape(-1))
            yield from self._write(space, 0, raw, len(values))
        scalars = b"".join((mantissa | (exponent & 0xfff) << 16).to_bytes(4, "little")
                           for mantissa, exponent in image.scalars)
        yield from self._write(Space.SCALARS, 0, scalars, len(image.scalars))
        words = [encode_instruction(each, CONFIG) for each in image.program]
        illegal = self.rng.random() < .1
        if illegal:
            words[self.rng.randrange(len(words))] = 15  # no opcode
        each = self._item_bytes(Space.PROGRAM)
        yield from self._write(Space.PROGRAM, 0, b"".join(word.to_bytes(each, "little") for word in words), len(words))
        yield from self.setting(Register.LAST_TOKEN, CONFIG.vocabulary - 1)
        yield from self.setting(Register.SEED, self.rng.getrandbits(32))
        count = self.rng.randrange(1, 6)
        yield from self._write(Space.TOKENS, 0, b"".join(
            self.rng.randrange(CONFIG.vocabulary).to_bytes(2, "little") for _ in range(count)), count)
        yield from self.setting(Register.GIVEN, self.rng.randrange(1, count + 1))
        ends = self.rng.random() < .5
        yield from self.setting(Register.END_TOKEN, self.rng.randrange(4) if ends else 0xffffffff)
        yield from self._run(count)
        if illegal:  # what was on its way is not known
            yield from self.open()
            return
        for space in (Space.WEIGHTS, Space.RESULTS, Space.ELEMENTS, Space.SCALARS, Space.TOKENS):
            yield from self._read(space, 0, self.sizes[space])

    def _run(self, count):
        yield self._frame(Order(Command.GO, 0, 0, count))
        yield self._frame(Order(Command.WAIT, 0, count, WAITS))
        state = self.device.registers[Register.STATE]
        self.meet("state", State(state))
        if state == State.LIMIT:
            self.meet("positions", count)
        # The cycles of a token that did not end are not known.
        yield from self._read(Space.REGISTERS, Register.STATE, 2 if state == State.ILLEGAL else 3)

    def _meet_instruction(self, instruction):
        kind = type(instruction)
        self.meet("opcode", kind.__name__)
        for name, field in _extremes(kind):
            value = getattr(instruction, field)
            self.meet("field", f"{name}.{field} {value}")

    def session_of(self):
        """One session: a program, and commands of all kinds around it."""
        yield from self.open()
        for step in self.rng.choices([self.wrong, self.edges, self.registers], k=12):
            yield from step()
        yield from self.program()
        for step in self.rng.choices([self.wrong, self.registers], k=6):
            yield from step()

    def __iter__(self):
        yield from self.open()
        yield from self.program()  # it writes all memories: what they hold before is not known
        while True:
            yield from self.session_of()
