import numpy as np
import pytest

from setun.compiler.packing import Chunk, Placed, pack, place
from setun.driver.device import Device
from setun.driver.frames import Decoder, FrameError, encode
from setun.driver.link import ATTEMPTS, DeviceError, Link
from setun.driver.transport import LinkError, LinkTimeout
from setun.golden.matvec import matvec
from setun.golden.quantiser import absmax_quantise
from setun.hdl.config import PRESETS
from setun.hdl.protocol import CRC_BYTES, END, LONGEST, MAX_PAYLOAD, REPLY, WINDOW_BYTES, WINDOW_FRAMES, Error, Kind
from setun.sim.rtl.transport import SimulatedTransport
from tests.support.links import Lazy, Noisy


CONFIG = PRESETS["4x10"]
REFUSED = {error: bytes([error]) for error in Error}


class Peer:
    """The other end: ``answer`` makes bytes of the frames of an exchange, and they are kept in ``exchanges``."""

    def __init__(self, answer):
        self.answer, self.exchanges, self.limits = answer, [], []

    def exchange(self, request, replies, limit):
        self.exchanges.append(Decoder().feed(request))
        self.limits.append(limit)
        return b"".join(self.answer(frame) for frame in self.exchanges[-1])


def agree(frame):
    kind, sequence, payload = frame
    return encode(kind | REPLY, sequence, payload[:2])


def first_only(peer):
    """Answers each exchange's first frame only."""
    return lambda frame: agree(frame) if frame == peer().exchanges[-1][0] else b""


def commands(count, size=4):
    return [(Kind.RESULTS, bytes([index, 0]) + bytes(size - 2)) for index in range(count)]


def numbers(answers):
    return [answer[0] for answer in answers]


@pytest.mark.parametrize("size", [4, 500, 996, MAX_PAYLOAD])
def test_windows(size):
    peer = Peer(agree)
    assert numbers(Link(peer).transact(commands(11, size))) == list(range(11))
    assert sum(map(len, peer.exchanges)) == 11
    for frames in peer.exchanges:
        assert len(frames) <= WINDOW_FRAMES and sum(len(payload) + CRC_BYTES
                                                    for _, _, payload in frames) <= WINDOW_BYTES
    assert len(peer.exchanges) == -(-11 // min(WINDOW_FRAMES, WINDOW_BYTES // (size + CRC_BYTES)))


def test_sends_again_what_was_not_answered():
    peer = Peer(lambda frame: first_only(lambda: peer)(frame))
    link = Link(peer)
    assert numbers(link.transact(commands(6))) == list(range(6))
    sent = [(sequence, payload[0]) for frames in peer.exchanges for _, sequence, payload in frames]
    assert len({sequence for sequence, _ in sent}) == len(sent)  # each copy has its own
    assert link.repeated == len(sent) - 6 > 0


def test_old_answers_are_nothing():
    """An answer that comes after its command was sent again is not taken for that of the copy."""
    held = []

    def late(frame):
        held.append(agree(frame))
        return held[-2] if len(held) > 1 else b""

    link = Link(Peer(late))
    with pytest.raises(LinkTimeout):
        link.transact(commands(1))


def test_nothing_after_the_last_answer_is_waited_for():
    peer = Peer(lambda frame: b"" if frame[2][0] == 1 and len(peer.exchanges) == 1 else agree(frame))
    Link(peer).transact(commands(4))
    assert [len(frames) for frames in peer.exchanges] == [4, 1]


def test_many_old_answers():
    """They come one by one, and the commands get through when they have ended."""
    left = [600]

    class Old(Peer):
        def exchange(self, request, replies, limit):
            if left[0]:
                left[0] -= 1
                return encode(Kind.READ | REPLY, 7)
            return super().exchange(request, replies, limit)

    assert numbers(Link(Old(agree)).transact(commands(2))) == [0, 1] and not left[0]


def test_refusals():
    peer = Peer(lambda frame: encode(Kind.ERROR, frame[1], REFUSED[Error.RANGE]))
    with pytest.raises(DeviceError, match="refused RESULTS: RANGE"):
        Link(peer).transact(commands(1))
    assert len(peer.exchanges) == 1
    stale = Peer(lambda frame: encode(Kind.ERROR, frame[1] ^ 128, REFUSED[Error.RANGE]) + agree(frame))
    assert numbers(Link(stale).transact(commands(3))) == [0, 1, 2]


@pytest.mark.parametrize("answer, error, message, attempts", [
    (lambda frame: b"", LinkTimeout, "did not answer 3 commands: is this its port", 7),
    (lambda frame: b"\xc0garbage\xc0", LinkError, "not Setun's protocol", ATTEMPTS),
    (lambda frame: bytes(3000), LinkError, "not Setun's protocol", ATTEMPTS),
    (lambda frame: encode(Kind.ERROR, 0, REFUSED[Error.CRC]), LinkError, "3 commands came damaged", ATTEMPTS),
    (lambda frame: encode(Kind.ERROR, frame[1], REFUSED[Error.LENGTH]), LinkError, "3 commands came damaged",
     ATTEMPTS),
    (lambda frame: encode(frame[0], frame[1], frame[2]), LinkTimeout, "did not answer", 7),  # an echo
])
def test_gives_up(answer, error, message, attempts):
    peer = Peer(answer)
    with pytest.raises(error, match=message) as failure:
        Link(peer).transact(commands(3))
    assert "\n" not in str(failure.value) and isinstance(failure.value, LinkTimeout) == (error is LinkTimeout)
    assert sum(map(bool, peer.exchanges)) == attempts


def test_waits_grow():
    peer = Peer(lambda frame: b"")
    with pytest.raises(LinkTimeout):
        Link(peer).transact(commands(1))
    assert all(1.9 < after / before < 2.1 for before, after in zip(peer.limits, peer.limits[1:]))


def test_decoder_is_bounded():
    decoder = Decoder()
    damaged = [frame for _ in range(100) for frame in decoder.feed(bytes(1000))]
    assert all(isinstance(frame, FrameError) for frame in damaged) and 0 < len(damaged) <= 100_000 / LONGEST
    assert len(decoder._escaped) <= LONGEST
    longest = encode(Kind.WEIGHTS, 3, bytes([END] * MAX_PAYLOAD))
    *_, last = decoder.feed(longest)
    assert last == (Kind.WEIGHTS, 3, bytes([END] * MAX_PAYLOAD))


def check_product(device, rng, chunk_blocks):
    """One random product is right, of resident weights or in chunks; whether something was sent again."""
    w = rng.integers(-1, 2, rng.integers(1, (120, 900)), np.int8)
    packed = pack(w, device.config)
    chunks = [Chunk(index % 2 * 8192, first, min(chunk_blocks, packed.blocks - first), True)
              for index, first in enumerate(range(0, packed.blocks, chunk_blocks or 1))]
    placed = Placed(packed, chunks)
    if not chunk_blocks:
        (placed,), _ = place([packed], device.config)
        device.load([placed])
    y = rng.integers(-2 ** 31, 2 ** 31, w.shape[1])
    product = device.multiply(placed, y, quantise=True)
    q, m = absmax_quantise(y)
    assert (product.accumulators == matvec(w, q)).all() and product.absmax == m
    return product.repeated


@pytest.fixture
def seeded(monkeypatch):
    monkeypatch.setattr("random.randrange", lambda n: 0)


@pytest.mark.parametrize("seed", range(4))
def test_noise(seeded, seed):
    """One byte in a thousand is damaged, both ways: every value is right, and most products had frames sent again."""
    device, rng = Device(Noisy(SimulatedTransport(CONFIG), 1e-3, seed), CONFIG), np.random.default_rng(seed)
    assert sum(check_product(device, rng, chunk_blocks) for chunk_blocks in (0, 2, 3, 0, 1, 5)) >= 3


@pytest.mark.parametrize("rate", [3e-3, 1e-2, .1, .5])
def test_heavy_noise(seeded, rate):
    rng = np.random.default_rng(1)
    with pytest.raises(LinkError):
        device = Device(Noisy(SimulatedTransport(CONFIG), rate, 1), CONFIG)
        for _ in range(20):
            check_product(device, rng, 3)


@pytest.mark.parametrize("seed", range(4))
def test_delays(seeded, seed):
    """Any part of what is sent comes later, so that copies are executed late: every value is right."""
    device, rng = Device(Lazy(SimulatedTransport(CONFIG), seed), CONFIG), np.random.default_rng(seed)
    assert sum(check_product(device, rng, chunk_blocks) for chunk_blocks in (0, 2, 3, 1)) >= 2


class Losing:
    """A transport that loses the n-th frame that is sent, or that comes, n from ``lost``."""

    def __init__(self, transport, lost, *, sent):
        self.transport, self.lost, self.sent, self.count = transport, lost, sent, 0

    def keep(self, data):
        kept = b""
        for body in data.split(bytes([END])):
            if body:
                kept += b"" if self.count in self.lost else bytes([END]) + body + bytes([END])
                self.count += 1
        return kept

    def exchange(self, request, replies, limit):
        answer = self.transport.exchange(self.keep(request) if self.sent else request, replies, limit)
        return answer if self.sent else self.keep(answer)


@pytest.mark.parametrize("sent", [True, False], ids=["commands", "answers"])
@pytest.mark.parametrize("first", range(0, 45, 3))
@pytest.mark.parametrize("apart", [1, 2])
def test_every_loss(seeded, sent, first, apart):
    """Two lost frames, wherever they are: in opening, pieces of vectors, weights, runs, results, registers."""
    transport = Losing(SimulatedTransport(CONFIG), (first, first + apart), sent=sent)
    device, rng = Device(transport, CONFIG), np.random.default_rng(7)
    w = rng.integers(-1, 2, (70, 520), np.int8)
    packed = pack(w, CONFIG)
    chunks = [Chunk(index % 2 * 8192, first, 3, True) for index, first in enumerate((0, 3))] + [Chunk(0, 6, 1, True)]
    for scale in (1, 1000):
        y = rng.integers(-scale, scale, 520)
        product = device.multiply(Placed(packed, chunks), y, quantise=True)
        q, m = absmax_quantise(y)
        assert (product.accumulators == matvec(w, q)).all() and product.absmax == m
    assert device._link.repeated > 0


class Recording(SimulatedTransport):
    """Keeps the kinds of the frames of each exchange."""

    def exchange(self, request, replies, limit):
        self.kinds.append([kind for kind, _, _ in Decoder().feed(request)])
        return super().exchange(request, replies, limit)


def test_loads_while_it_runs():
    """The weights of the next chunk follow a run, and its results are asked for when they are there."""
    transport = Recording(CONFIG)
    transport.kinds = []
    device = Device(transport, CONFIG)
    packed = pack(np.ones((40, 100), np.int8), CONFIG)
    chunks = [Chunk(index % 2 * 8192, index, 1, True) for index in range(4)]
    transport.kinds.clear()
    device.multiply(Placed(packed, chunks), np.ones(100, int), quantise=True)
    run = [[Kind.RUN, Kind.WEIGHTS], [Kind.RESULTS]]
    assert transport.kinds == [[Kind.VECTOR], [Kind.WEIGHTS], *run, *run, *run, [Kind.RUN], [Kind.RESULTS], [Kind.READ]]


def test_restarted_device():
    """A device that was restarted has lost its weights, and is not trusted."""
    device = Device(SimulatedTransport(CONFIG), CONFIG)
    (placed,), _ = place([pack(np.ones((10, 10), np.int8), CONFIG)], CONFIG)
    device.load([placed])
    device.transport._simulator.reset()
    with pytest.raises(LinkError, match="restarted meanwhile and has lost its weights"):
        device.multiply(placed, np.ones(10, int), quantise=True)
