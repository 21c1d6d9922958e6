"""The link's commands on the machine's RTL, frame by frame beside the reference machine, and over links that fail."""

import contextlib
import random

import numpy as np
import pytest

from setun.compiler.schedule import compile_model
from setun.driver.frames import Decoder, encode
from setun.driver.machine import Machine
from setun.driver.session import Order, RefusedError
from setun.driver.transport import LinkError
from setun.golden.codes import byte_encode
from setun.golden.fixed import to_fixed
from setun.hdl.config import Config
from setun.hdl.instructions import End
from setun.hdl.protocol import (
    MAX_READ,
    REFUSED,
    REPLY,
    Command,
    Refusal,
    Register,
    Space,
    space_sizes,
    word_bytes,
)
from setun.sim.model.device import ReferenceTransport
from setun.sim.rtl.transport import SimulatedTransport
from tests.support.checkpoints import random_checkpoint
from tests.support.links import Lazy, Noisy, Replaying


CONFIG = Config(banks=4, tiles=2, depth=1024, results=256, elements=256, scalars=256, instructions=256, silu=True,
                    vocabulary=41, context=19)
LIMIT = 200_000  # cycles of an exchange
MOST_CYCLES = 100_000


@pytest.fixture(scope="module")
def rtl():
    with contextlib.closing(SimulatedTransport(CONFIG)) as transport:
        yield transport


@pytest.fixture(scope="module")
def image():
    model = random_checkpoint(vocab=41, context=19, heads=2, kv_heads=1, head_dim=8, hidden=12, inner=20)
    return compile_model(to_fixed(model), CONFIG)


def answers(transport, frames):
    """What comes back, frame by frame: (kind, sequence, payload) each."""
    decoder = Decoder()
    return [answer for frame in frames for answer in decoder.feed(transport.exchange(frame, 1, LIMIT))]


class Frames:
    """Numbered frames of a session."""

    def __init__(self, session):
        self.session, self.number = session, 0

    def __call__(self, order, *, number=None, session=None):
        chosen = self.number if number is None else number
        self.number += number is None
        return encode(order.command, chosen & 255, order.payload(self.session if session is None else session, chosen))


def refusal(answer):
    kind, _, payload = answer
    return Refusal(payload[-1]) if kind == REFUSED else Refusal.NONE


def read(space, address, count):
    size = count * word_bytes(space, CONFIG) * {Space.WEIGHTS: 8, Space.RESULTS: 2, Space.ELEMENTS: 2}.get(space, 1)
    return Order(Command.READ, space, address, count, size)


def write(space, address, data, count=1):
    return Order(Command.WRITE, space, address, count, len(data), data)


def test_refusals(rtl):
    """Each for its own reason, on both machines; a command that was refused can be sent right under its number."""
    for transport in (rtl, ReferenceTransport(CONFIG)):
        frame = Frames(0x1234)
        registers = read(Space.REGISTERS, 0, 2)
        sizes = space_sizes(CONFIG)
        expected = (
            (frame(registers, number=1, session=0x9999), Refusal.SESSION),
            (frame(Order(Command.OPEN), number=1), Refusal.ORDER),
            (frame(Order(Command.OPEN)), Refusal.NONE),
            (frame(registers, number=2), Refusal.ORDER),
            (frame(registers, number=1, session=0x1235), Refusal.SESSION),
            (encode(0x55, 1, registers.payload(0x1234, 1)), Refusal.KIND),
            (encode(Command.READ, 1, registers.payload(0x1234, 1)[:-1]), Refusal.LENGTH),
            (encode(Command.READ, 1, registers.payload(0x1234, 1) + b"\0"), Refusal.LENGTH),
            (frame(read(Space.REGISTERS, len(Register), 1), number=1), Refusal.RANGE),
            (frame(Order(Command.READ, 7, 0, 1, 1), number=1), Refusal.RANGE),
            (frame(Order(Command.READ, Space.REGISTERS, 0, 1, MAX_READ + 1), number=1), Refusal.LENGTH),
            *((frame(read(space, size - 1, 2), number=1), Refusal.RANGE) for space, size in sizes.items()),
            *((frame(read(space, size - 1, 1), number=1), Refusal.NONE) for space, size in sizes.items()),
            (frame(write(Space.TOKENS, 0, b"\1\0"), number=3), Refusal.ORDER),
            (frame(Order(Command.GO, 0, 1, 1), number=1), Refusal.NONE),  # done before, and so not executed
            (frame(Order(Command.GO, 0, 1, 1), number=2), Refusal.RANGE),  # position 0 comes next
        )
        told = answers(transport, [sent for sent, _ in expected])
        assert list(map(refusal, told)) == [reason for _, reason in expected]


def test_words_that_do_not_fill_their_bytes(rtl):
    for transport in (rtl, ReferenceTransport(CONFIG)):
        frame = Frames(7)
        told = answers(transport, [
            frame(Order(Command.OPEN)),
            frame(write(Space.TOKENS, 0, b"\1\0\2"), number=1),
            frame(write(Space.TOKENS, 0, b"\1\0\2\0"), number=1),
            frame(write(Space.TOKENS, 0, b"\1\0", 2), number=1),
            frame(write(Space.WEIGHTS, 0, b"\x92" * 8), number=1),
            frame(Order(Command.GO, 0, 0, 20), number=1),
            frame(Order(Command.GO, 0, 1, 1), number=1),
        ])
        assert list(map(refusal, told)) == [Refusal.NONE, Refusal.LENGTH, Refusal.LENGTH, Refusal.LENGTH, Refusal.CODE,
                                            Refusal.RANGE, Refusal.RANGE]


def item_bytes(space):
    return word_bytes(space, CONFIG) * {Space.WEIGHTS: 8, Space.RESULTS: 2, Space.ELEMENTS: 2}.get(space, 1)


def any_order(rng):
    """A READ, WRITE, WAIT, or what is none of these; right or beyond its bounds. Whatever is written has its length."""
    command = rng.choice([Command.READ, Command.READ, Command.WRITE, Command.WRITE, Command.WAIT, Command.GO])
    if command == Command.WAIT:
        return Order(command, 0, rng.randrange(30), rng.randrange(3))
    if command == Command.GO:
        return Order(command, 0, rng.randrange(1, 40), rng.randrange(3))  # nothing was run, and so none may begin there
    space = rng.choice(list(Space))
    size, each = space_sizes(CONFIG)[space], item_bytes(space)
    address, count = rng.choice([0, size - 1, size, rng.randrange(size)]), rng.choice([0, 1, 2, rng.randrange(1, 30)])
    count = min(count, 900 // each)
    if command == Command.READ:
        return Order(command, rng.choice([space] * 9 + [7]), address, count,
                     max(count * each + rng.choice([0, 0, 1, -1]), 0))
    data = bytes(rng.randrange(256) for _ in range(count * each))
    if space == Space.WEIGHTS:
        data = byte_encode(np.array([rng.choice([-1, 0, 1]) for _ in range(5 * len(data))]).reshape(-1, 5)).tobytes()
    return Order(command, space, address, count, len(data) + rng.choice([0] * 9 + [1]), data)


@pytest.mark.parametrize("seed", range(3))
def test_any_commands(rtl, seed):
    """Commands of any kind, with numbers that come again or too early and some of another session: both machines answer
    alike, bit for bit."""
    rng, transports = random.Random(seed), (rtl, ReferenceTransport(CONFIG))
    frame, reasons, first = Frames(rng.randrange(1 << 16)), set(), Order(Command.OPEN)
    for transport in transports:
        Machine(transport).write(Space.WEIGHTS, 0, np.zeros((CONFIG.depth, 4, 2, 5), np.int8))
        for space in (Space.RESULTS, Space.ELEMENTS, Space.SCALARS):
            Machine(transport).write(space, 0, np.zeros((256, 2), np.int64))
        Machine(transport).write(Space.PROGRAM, 0, [End()] * 256)
        Machine(transport).write(Space.TOKENS, 0, [0] * 20)
        assert refusal(*answers(transport, [frame(first, number=0)])) == Refusal.NONE
    frame.number = 1
    for _ in range(400):
        order, number = any_order(rng), frame.number + rng.choice([0] * 12 + [1, -1, -2, 1000])
        sent = frame(order, number=max(number, 1), session=frame.session ^ (rng.random() < .02))
        (answer,), (expected,) = (answers(transport, [sent]) for transport in transports)
        assert answer == expected, (order, number, frame.number)
        reasons.add(refusal(answer))
        frame.number += answer[0] == order.command | REPLY and number == frame.number
    assert reasons == {Refusal.NONE, Refusal.RANGE, Refusal.LENGTH, Refusal.ORDER, Refusal.SESSION}


def test_busy(rtl, image):
    """While tokens are run, their buffer and the registers are there, and nothing else."""
    machine = Machine(rtl)
    machine.load(image)
    machine.give([1])
    machine.go(0, 19)
    for wrong in (lambda: machine.read(Space.ELEMENTS, 0, 1), lambda: machine.go(0, 1),
                  lambda: machine.write(Space.PROGRAM, 0, image.program[:1])):
        with pytest.raises(RefusedError, match="BUSY"):
            wrong()
        machine._session._number -= 1  # the refused command has not taken its number
    assert len(machine.tokens(0, 20)) == 20 and machine.registers()[Register.POSITION] < 19
    assert machine.wait(19, MOST_CYCLES)[Register.POSITION] == 19


def text(machine, image):
    machine.load(image)
    machine.give([1, 2, 3])
    machine.go(0, 12)
    machine.wait(12, MOST_CYCLES)
    return machine.tokens(0, 13), machine.read(Space.ELEMENTS, 0, image.used("elements")).tolist()


@pytest.mark.parametrize("bad", [
    lambda transport, seed: Noisy(transport, 1e-3, seed),
    lambda transport, seed: Lazy(transport, seed),
    lambda transport, seed: Replaying(transport, seed),
], ids=["noise", "delays", "replay"])
@pytest.mark.parametrize("seed", range(3))
def test_bad_links(rtl, image, bad, seed):
    """Loading, running and reading over a link that damages, delays, or delivers old frames again: every value is
    right, and frames had to be sent again or came twice."""
    expected = text(Machine(ReferenceTransport(CONFIG)), image)
    transport = bad(rtl, seed)
    machine = Machine(transport)
    assert text(machine, image) == expected
    assert machine.repeated or transport.replayed > 10


@pytest.mark.parametrize("seed", range(4))
def test_an_old_session_comes_again(rtl, image, seed):
    """Where the line delivers the opening of the session before again, the one that is open ends with an error; no
    value is wrong."""
    expected, transport, ended = text(Machine(ReferenceTransport(CONFIG)), image), Replaying(rtl, seed), 0
    for _ in range(4):
        with contextlib.suppress(LinkError):
            assert text(Machine(transport), image) == expected
            ended += 1
    assert transport.replayed > 10 and ended


def test_another_session_takes_over(rtl, image):
    first = Machine(rtl)
    second = Machine(rtl)
    with pytest.raises(LinkError, match="restarted, or another program has opened it"):
        first.registers()
    assert text(second, image) == text(Machine(ReferenceTransport(CONFIG)), image)


def test_restart_is_noticed(rtl):
    machine = Machine(rtl)
    rtl._simulator.reset()
    with pytest.raises(LinkError, match="restarted"):
        machine.registers()
