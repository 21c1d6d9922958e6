import dataclasses

import numpy as np
import pytest

from setun.compiler.packing import Chunk, Placed, pack, place
from setun.driver.device import Damage, Device, DeviceError, MismatchError, Product, _arguments
from setun.driver.frames import encode
from setun.driver.transport import LinkError
from setun.golden.codes import BYTE_INVALID, byte_decode, word_decode, word_encode
from setun.golden.matvec import matvec
from setun.golden.quantiser import absmax_quantise
from setun.hdl.array.tile import code_bits
from setun.hdl.config import PRESETS
from setun.hdl.protocol import Error, Kind, Register, RunLayout, SpanLayout
from setun.sim.model.cycles import list_size
from setun.sim.rtl.transport import SimulatedTransport


def ternary(rows, columns, seed=0):
    return np.random.default_rng(seed).integers(-1, 2, (rows, columns), np.int8)


def placed_on(device, *matrices):
    placed, resident = place([pack(w, device.config) for w in matrices], device.config)
    if resident:
        device.load(placed)
    return placed, resident


class Scripted:
    """A link whose other end says what the test makes it say."""

    def __init__(self, answer):
        self.answer = answer

    def exchange(self, request, replies, limit):
        return self.answer(request, replies)

    def close(self):
        pass


def test_identifies(device):
    device.identify()
    registers = device.registers()
    assert registers[Register.BANKS] == 4 and registers[Register.TILES] == 2 and registers[Register.PENDING] == 0


@pytest.mark.parametrize("field, value, name", [("banks", 8, "BANKS"), ("depth", 8192, "DEPTH"),
                                                ("columns", 512, "COLUMNS"), ("blocks", 64, "BLOCKS")])
def test_refuses_another_machine(device, field, value, name):
    expected = dataclasses.replace(device.config, name="other", **{field: value})
    with pytest.raises(MismatchError, match=f"{name} is .* and config other has {value:#x}"):
        Device(device.transport, expected)


def test_refuses_another_register_map(device, monkeypatch):
    monkeypatch.setattr("setun.driver.device.MAP_HASH", 1)
    with pytest.raises(MismatchError, match="MAP"):
        device.identify()


@pytest.mark.parametrize("answer, message", [
    (lambda request, replies: b"", "did not answer a command: is this its port"),
    (lambda request, replies: b"\xc0noise\xc0", "is not Setun's protocol"),
    (lambda request, replies: request, "did not answer a command"),
    (lambda request, replies: encode(Kind.ERROR, 1, bytes([Error.CRC])), "came damaged to the accelerator"),
    (lambda request, replies: request and encode(Kind.ERROR, request[2], bytes([99])), "did not answer a command"),
])
def test_refuses_nonsense(answer, message):
    with pytest.raises(LinkError, match=message):
        Device(Scripted(answer), PRESETS["1x5"])


def test_waits_are_bounded(device):
    assert device.transport.exchange(b"\xc0", 1, limit=1000) == b""


def test_closed_link():
    transport = SimulatedTransport(PRESETS["1x5"])
    transport.close()
    with pytest.raises(LinkError, match="closed"):
        transport.exchange(b"", 0, limit=1)


def test_refused_command(device):
    arguments = _arguments(RunLayout, slot=0, base=0, stride=1, blocks=device.config.blocks + 1, destination=0)
    with pytest.raises(DeviceError, match="refused RUN: RANGE") as refusal:
        device._transact([(Kind.RUN, arguments)])
    assert refusal.value.error == Error.RANGE and refusal.value.kind == Kind.RUN
    with pytest.raises(ValueError, match="first = 65536 is beyond the 16 bits"):
        _arguments(SpanLayout, first=65536, count=1)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("rows, columns", [(1, 1), (10, 4), (37, 101), (300, 1024), (1500, 7)])
def test_multiply(device, rows, columns, skip):
    rng = np.random.default_rng([rows, columns])
    w = ternary(rows, columns, rows)
    (placed,), resident = placed_on(device, w)
    assert resident
    x = rng.integers(-128, 128, columns).astype(np.int8) * (rng.random(columns) < .6)
    assert (device.multiply(placed, x, quantise=False, skip=skip).accumulators == matvec(w, x.astype(np.int8))).all()
    y = rng.integers(-2 ** 31, 2 ** 31, columns)
    product = device.multiply(placed, y, quantise=True, skip=skip)
    q, m = absmax_quantise(y)
    assert (product.accumulators == matvec(w, q)).all() and product.absmax == m


def test_dead_rows_and_columns(device):
    w = ternary(60, 200, 3)
    w[::3] = 0
    w[:, 50:150] = 0
    (placed,), _ = placed_on(device, w)
    y = np.zeros(200, np.int64)
    y[:10], y[77] = 100, 1000  # the largest is in a dead column
    product = device.multiply(placed, y, quantise=True)
    q, m = absmax_quantise(y)
    assert m == 1000 and (product.accumulators == matvec(w, q)).all() and product.absmax == m
    assert product.counters["CYCLES_ISSUE"] == placed.packed.blocks * list_size(
        q[placed.packed.columns], 4, placed.packed.live, True).beats


@pytest.mark.parametrize("w", [np.zeros((7, 9), np.int8), ternary(8, 9)], ids=["no weight", "no activation"])
def test_nothing_to_do(device, w):
    (placed,), _ = placed_on(device, w)
    product = device.multiply(placed, np.zeros(9, np.int8), quantise=True)
    assert not product.accumulators.any() and product.accumulators.shape == w.shape[:1]


def test_resident_weights_are_loaded_once(device):
    matrices = [ternary(30, 40, seed) for seed in range(3)]
    placed, _ = placed_on(device, *matrices)
    device.counters()
    for _ in range(2):
        for w, where in zip(matrices, placed):
            x = np.random.default_rng(9).integers(-128, 128, 40)
            product = device.multiply(where, x, quantise=False)
            assert (product.accumulators == matvec(w, x.astype(np.int8))).all()
            assert product.counters["BYTES_WEIGHTS"] == 0


def test_streams_what_does_not_fit(device):
    w = ternary(500, 1000, 4)
    packed = pack(w, device.config)
    chunks = [Chunk(index % 2 * 8192, first, min(20, packed.blocks - first), True)
              for index, first in enumerate(range(0, packed.blocks, 20))]
    x = np.random.default_rng(1).integers(-128, 128, 1000)
    product = device.multiply(Placed(packed, chunks), x, quantise=False)
    assert (product.accumulators == matvec(w, x.astype(np.int8))).all()
    assert product.counters["BYTES_WEIGHTS"] == packed.weights.size
    assert product.counters["WEIGHTS_ZERO"] == 5 * packed.weights.size - np.count_nonzero(w)


def test_streams_through_the_whole_memory(device):
    w = ternary(40, 100, 7)
    packed = pack(w, device.config)
    chunks = [Chunk(0, first, 1, True) for first in range(packed.blocks)]
    x = np.random.default_rng(1).integers(-128, 128, 100)
    product = device.multiply(Placed(packed, chunks), x, quantise=False)
    assert (product.accumulators == matvec(w, x.astype(np.int8))).all()


def test_counters(device):
    w = ternary(45, 300, 5)
    (placed,), _ = placed_on(device, w)
    x = np.random.default_rng(2).integers(-1, 2, 300)
    for skip in (False, True):
        product = device.multiply(placed, x, quantise=False, skip=skip)
        counters, size = product.counters, list_size(x.astype(np.int8), 4, 300, skip)
        assert counters["CYCLES"] == sum(value for name, value in counters.items() if name.startswith("CYCLES_"))
        assert counters["ENTRIES"] == size.entries
        assert counters["MACS"] == np.count_nonzero(x) * placed.packed.blocks
        assert counters["CYCLES_ISSUE"] == size.beats * placed.packed.blocks
        assert counters["BYTES_VECTOR"] == 300
        assert counters["BYTES_RESULTS"] == 3 * device.config.rows * placed.packed.blocks


@pytest.mark.parametrize("x, quantise, message", [
    (np.zeros(5, np.int8), False, "the vector has shape"),
    (np.full(6, 128), False, "from -128 to 127"),
    (np.full(6, 2 ** 31), True, "from -2147483648 to 2147483647"),
])
def test_bad_vectors(device, x, quantise, message):
    (placed,), _ = placed_on(device, ternary(4, 6))
    with pytest.raises(ValueError, match=message):
        device.multiply(placed, x, quantise=quantise)


def test_reset_keeps_weights(device):
    w = ternary(20, 30, 6)
    (placed,), _ = placed_on(device, w)
    device.reset()
    device.counters()
    x = np.arange(-15, 15)
    product = device.multiply(placed, x, quantise=False)
    assert isinstance(product, Product) and (product.accumulators == matvec(w, x.astype(np.int8))).all()


def resident(name):
    """A device, two matrices that fill most of its memory, and their places; they share no word."""
    config = PRESETS[name]
    device = Device(SimulatedTransport(config), config)
    columns = min(config.columns, config.depth // 4 * config.banks) - 3
    blocks = config.depth // -(-columns // config.banks)
    matrices = [ternary(config.rows * (blocks - 1) - 2, columns, 7), ternary(config.rows, columns // 2, 8)]
    placed, fits = placed_on(device, *matrices)
    assert fits
    return device, matrices, placed


def stored(placed):  # -> uint8 [words, banks, tiles]
    return np.concatenate([packed.weights.reshape(-1, *packed.weights.shape[2:]) for packed, _ in placed])


def check_products(device, matrices, placed):
    for w, where in zip(matrices, placed):
        x = np.random.default_rng(3).integers(-128, 128, w.shape[1]).astype(np.int8)
        assert (device.multiply(where, x, quantise=False).accumulators == matvec(w, x)).all()


@pytest.mark.parametrize("name", ["1x5", "4x10", "4x10-spram"])
def test_scrub_of_every_bit(name):
    """A flipped bit that changes a trit is found where it is, and written again; no other is."""
    device, matrices, placed = resident(name)
    config, words, rng = device.config, stored(placed), np.random.default_rng(5)
    assert device.scrub(placed) == []
    places = [(0, 0, 0), (config.banks - 1, config.tiles - 1, len(words) - 1),
              *(tuple(rng.integers(0, (config.banks, config.tiles, len(words))).tolist()) for _ in range(4))]
    seen = 0
    for damage in map(Damage._make, places):
        code = int(words[damage.address, damage.bank, damage.tile])
        trits = byte_decode(np.uint8(code))
        for bit in range(code_bits(config)):
            flipped = code ^ 1 << bit if config.single_port else int(word_encode(trits)) ^ 1 << bit
            device.transport.flip(*damage, bit)
            found = device.scrub(placed)
            if not config.single_port or flipped not in BYTE_INVALID:
                now = (byte_decode if config.single_port else word_decode)(np.uint16(flipped))
                assert (found == [damage]) == (now != trits).any()
            assert found in ([], [damage])
            if not found:
                device.transport.flip(*damage, bit)
            seen += bool(found)
        assert device.scrub(placed) == []
    assert seen > len(places) * 6
    check_products(device, matrices, placed)


def test_scrub_of_much_damage():
    device, matrices, placed = resident("4x10")
    words, rng = len(stored(placed)), np.random.default_rng(6)
    addresses = rng.choice(words, 30, replace=False).tolist()
    damages = [Damage(int(rng.integers(4)), int(rng.integers(2)), address) for address in sorted(addresses)]
    for damage in damages:
        device.transport.flip(*damage, 7)  # whether trit 3 is zero, or a sign
        device.transport.flip(*damage, 8)
    with pytest.raises(AssertionError):
        check_products(device, matrices, placed)
    found = [damage for _ in range(3) for damage in device.scrub(placed)]
    assert sorted(found, key=lambda damage: damage.address) == damages
    check_products(device, matrices, placed)


def test_scrub_is_quick():
    """Little more than a cycle a word, and the counters of the next product are its own."""
    device, matrices, placed = resident("4x10")
    check_products(device, matrices, placed)
    cycles = device.transport.cycles
    assert device.scrub(placed) == []
    assert device.transport.cycles - cycles < 1.4 * len(stored(placed))
    x = np.ones(matrices[1].shape[1], np.int8)
    assert device.multiply(placed[1], x, quantise=False).counters["BYTES_VECTOR"] == len(x)


def test_spare_bits():
    """Flips of single bits that a scrub does not see: 171 of 2,187, signs of zeros. They change no trit."""
    words = word_encode(byte_decode(np.setdiff1d(np.arange(256), BYTE_INVALID).astype(np.uint8)))
    spare = sum((word_decode(words) == word_decode(words ^ 1 << bit)).all(-1).sum() for bit in range(9))
    assert spare == 2 * 81 + 9  # of trit 3, of trit 4, and a bit where trits 0 to 2 are zeros


def test_no_such_bit():
    device, _, _ = resident("1x5")
    for bank, address, bit in ((1, 0, 0), (0, 256, 0), (0, 0, 9)):
        memory = f"top.array.group_0.bank_{bank}.tile_0.weights"
        with pytest.raises(ValueError, match=f"no bit {bit} of word {address} in a memory {memory}"):
            device.transport.flip(bank, 0, address, bit)
