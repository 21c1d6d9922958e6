"""The whole machine against its specification, hdl.registers, golden and sim.cycles: seen from its ports only."""

import itertools
import random
import struct
import zlib
from collections import Counter, deque
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.triggers import Timer

from firmware.frames import Decoder, encode, escape
from golden.codes import BYTE_INVALID, byte_encode
from golden.layout import tile_weights
from golden.matvec import matvec
from golden.quantiser import absmax_quantise
from hdl.bank import Token
from hdl.config import TRITS, Config
from hdl.drain import Result
from hdl.registers import (END, ESCAPE, ESCAPED_END, MAGIC, MAP_HASH, MAX_PAYLOAD, REPLY, VERSION, Error, Flags, Kind,
                           Register)
from hdl.sequencer import QUEUE_DEPTH
from sim.cocotb_runner import parameters
from sim.cycles import flush_cycles, issue_latency, list_size, listing_cycles, result_cycles


CONFIG = Config(**parameters())
WORD_BYTES = CONFIG.banks * CONFIG.tiles
RESULT_BYTES = 3 * CONFIG.rows
MOST_WORDS = (MAX_PAYLOAD - 4) // WORD_BYTES
MOST_RESULTS = MAX_PAYLOAD // RESULT_BYTES
HALF = Timer(1, "ns")
PATIENCE = 20_000  # cycles until an answer is given up
TIME_LIMIT = dict(timeout_time=2, timeout_unit="ms")  # a million cycles a test
CAUSES = tuple(register for register in Register if register.name.startswith("CYCLES_"))
MOVING = {Register.CYCLES, Register.BYTES_IN, Register.BYTES_OUT, *CAUSES}  # while nothing but frames goes on


def fields(layout, raw):
    """Fields of a port by name; values are signed where the layout says so."""
    values = {}
    for name, field in layout:
        value = raw >> field.offset & (1 << field.width) - 1
        signed = getattr(field.shape, "signed", False)
        values[name] = value - (value >> field.width - 1 << field.width) if signed else value
    return values


@dataclass
class Product:
    """A run that was sent."""
    frame: int  # its number on the link
    slot: int
    base: int
    stride: int
    blocks: int
    destination: int
    beats: int
    values: np.ndarray  # int [blocks, tiles, 5]
    alone: bool  # sent to an idle machine


class Reference:
    """What the machine holds and counts, by hdl.registers."""

    def __init__(self):
        self.weights = np.zeros((CONFIG.depth, CONFIG.banks, CONFIG.tiles, TRITS), np.int8)
        self.results = np.zeros((CONFIG.blocks, CONFIG.rows), np.int64)
        self.reset()

    def reset(self):
        self.lists, self.counted = {}, Counter()

    def load(self, address, trits):
        self.weights[address:address + len(trits)] = trits
        self.counted[Register.WEIGHTS_ZERO] += int((trits == 0).sum())
        self.counted[Register.BYTES_WEIGHTS] += len(trits) * WORD_BYTES

    def list(self, slot, q, live, skip):
        size = list_size(q, CONFIG.banks, live, skip)
        self.lists[slot] = q[:live], size
        self.counted[Register.ENTRIES] += size.entries
        self.counted[Register.SKIPPED] += size.skipped

    def multiply(self, slot, base, stride, blocks, destination):
        """Beats, and the results as [blocks, tiles, 5]."""
        x, size = self.lists[slot]
        values = np.zeros((blocks, CONFIG.rows), np.int64)
        for block in range(blocks):
            words = self.weights[base + block * stride:][:-(-len(x) // CONFIG.banks)]  # [words, banks, tiles, 5]
            w = words.reshape(-1, CONFIG.rows).T[:, :len(x)]  # a list with trailing zeros needs fewer words than this
            values[block] = matvec(w, x[:w.shape[1]])
        self.results[destination:destination + blocks] = values
        self.counted[Register.MACS] += blocks * size.active
        self.counted[Register.CYCLES_ISSUE] += blocks * size.beats
        return size.beats, values.reshape(blocks, CONFIG.tiles, TRITS)


class Bench:
    """Clock and link, and every port as it is at each rising edge."""

    def __init__(self, dut, seed, *, idle=0.0, stall=0.0):
        self.dut, self.rng, self.numbers = dut, random.Random(seed), np.random.default_rng(seed)
        self.idle, self.stall = idle, stall
        self.reference = Reference()
        self.cycle = 0
        self.ports = [getattr(dut, f"trace__results__{tile}") for tile in range(CONFIG.tiles)]
        self.tokens, self.results, self.products = [], [], []
        dut.i__valid.value, dut.o__ready.value = 0, 0
        self._disconnect()

    def _disconnect(self):
        self.link, self.sent, self.offered, self.held = bytearray(), 0, False, None
        self.ends, self.taken = deque(), []  # of frames: position of the last END, cycle in which that was taken
        self.expected, self.replies, self.begun, self.answered = deque(), [], [], []
        self.decoder, self.received, self.reply_began, self.bytes_out = Decoder(), bytearray(), None, 0

    async def step(self):
        """A cycle: inputs move after its beginning, and everything is seen at its end."""
        dut = self.dut
        if not self.offered:
            self.offered = self.sent < len(self.link) and self.rng.random() >= self.idle
            dut.i__valid.value = self.offered
            if self.offered:
                dut.i__payload.value = self.link[self.sent]
        ready = self.rng.random() >= self.stall
        dut.o__ready.value = ready
        dut.clk.value = 0
        await HALF
        if self.offered and dut.i__ready.value:
            self.offered = False
            self.sent += 1
            if self.ends and self.sent == self.ends[0]:
                self.ends.popleft()
                self.taken.append(self.cycle)
        self._receive(int(dut.o__payload.value) if dut.o__valid.value else None, ready)
        if (token := dut.trace__token.value.to_unsigned()) & 1:
            self.tokens.append((self.cycle, token))
        for tile, port in enumerate(self.ports):
            if (result := port.value.to_unsigned()) & 1:
                self.results.append((self.cycle, tile, result))
        dut.clk.value = 1
        await HALF
        self.cycle += 1

    def _receive(self, byte, ready):
        assert self.held in (None, byte), f"the byte on o, {self.held}, was not taken and changed to {byte}"
        self.held = None if ready else byte
        if byte is None:
            return
        if self.reply_began is None:
            self.reply_began = self.cycle
        if not ready:
            return
        self.bytes_out += 1
        self.received.append(byte)
        if byte != END:
            return
        for frame in self.decoder.feed(bytes(self.received)):
            assert not isinstance(frame, Exception), f"a damaged reply: {frame}"
            assert self.expected, f"a reply that nobody asked for: {frame}"
            what, kind, sequence, payload = self.expected.popleft()
            assert frame[1] == sequence, f"{what}: reply {frame} to command {sequence}"
            if kind == Kind.ERROR:
                assert frame[0] == kind and len(frame[2]) == 1 and frame[2][0] in payload, (
                    f"{what}: reply {frame} and not one of the errors {payload}")
            else:
                assert frame[0] == kind and payload in (None, frame[2]), f"{what}: reply {frame}, not {kind} {payload}"
            self.replies.append(frame[2])
            self.begun.append(self.reply_began)
            self.answered.append(self.cycle)
            self.reply_began = None
        self.received.clear()

    async def steps(self, count):
        for _ in range(count):
            await self.step()

    async def restart(self, cycles=1):
        """The rst port. What was on the way on the link is lost."""
        self.dut.rst.value = 1
        self._disconnect()
        for _ in range(cycles):
            self.dut.i__valid.value = self.dut.o__ready.value = self.dut.clk.value = 0
            await HALF
            self.dut.clk.value = 1
            await HALF
            self.cycle += 1
        self.dut.rst.value = 0
        self.reference.reset()

    # Frames

    def next_sequence(self):
        return self.rng.randrange(256)

    def put(self, frame, *expected):
        """Send the bytes of a frame; ``expected`` is a name, and kind, sequence and payload (errors) of the reply."""
        self.link += frame
        self.ends.append(len(self.link))
        self.expected.append(expected)
        return len(self.taken) + len(self.ends) - 1

    def send(self, kind, payload=b"", answer=b""):
        """Send a command. Returns the number of its frame."""
        sequence = self.next_sequence()
        return self.put(encode(kind, sequence, payload), kind.name, kind | REPLY, sequence, answer)

    async def done(self):
        """Until all is answered."""
        last, progress = self.cycle, (0, 0)
        while self.sent < len(self.link) or self.expected:
            await self.step()
            if progress != (progress := (self.sent, self.bytes_out)):
                last = self.cycle
            assert self.cycle - last < PATIENCE, f"no answer to {self.expected and self.expected[0]}"

    async def ask(self, kind, payload=b"", answer=b""):
        frame = self.send(kind, payload, answer)
        await self.done()
        return self.replies[frame]

    async def registers(self):
        payload = await self.ask(Kind.READ, struct.pack("<HH", 0, len(Register)), None)
        return dict(zip(Register, struct.unpack(f"<{len(Register)}I", payload), strict=True))

    # Commands

    def load(self, address, trits):  # int8 [words, banks, tiles, 5]
        """WEIGHTS, as many as it takes."""
        for start in range(0, len(trits), MOST_WORDS):
            piece = trits[start:start + MOST_WORDS]
            self.send(Kind.WEIGHTS, struct.pack("<HH", address + start, len(piece)) + byte_encode(piece).tobytes())
        self.reference.load(address, trits)

    def load_all(self, zeros=0.3):
        self.load(0, ternary(self.numbers, (CONFIG.depth, CONFIG.banks, CONFIG.tiles, TRITS), zeros))

    def pieces(self, slot, y, live, *, int8, skip, most=None):
        """Payloads of the VECTOR commands for ``y``."""
        size = 1 if int8 else 4
        most = most or (MAX_PAYLOAD - 8) // size
        flags = Flags.INT8 * int8 | Flags.SKIP * skip
        return [struct.pack("<BBHHH", slot, flags, len(y), live, start)
                + y[start:start + most].astype(f"<i{size}").tobytes() for start in range(0, len(y), most)]

    def list(self, slot, y, live, *, int8, skip, most=None):
        """VECTOR, as many as it takes. Returns the quantised vector."""
        for piece in self.pieces(slot, y, live, int8=int8, skip=skip, most=most):
            self.send(Kind.VECTOR, piece)
        self.reference.counted[Register.BYTES_VECTOR] += len(y) * (1 if int8 else 4)
        q = y.astype(np.int8) if int8 else absmax_quantise(y)[0]
        self.reference.list(slot, q, live, skip)
        return q

    def run(self, slot, base, stride, blocks, destination, *, alone=False):
        """RUN."""
        frame = self.send(Kind.RUN, struct.pack("<BBHHHH", slot, 0, base, stride, blocks, destination))
        beats, values = self.reference.multiply(slot, base, stride, blocks, destination)
        self.products.append(Product(frame, slot, base, stride, blocks, destination, beats, values, alone))

    def fetch(self, first=0, count=MOST_RESULTS):
        """RESULTS, against the reference."""
        blocks = self.reference.results[first:first + count]
        answer = b"".join((int(value) % (1 << 24)).to_bytes(3, "little") for value in blocks.flat)
        self.reference.counted[Register.BYTES_RESULTS] += len(answer)
        return self.send(Kind.RESULTS, struct.pack("<HH", first, len(blocks)), answer)

    async def errs(self, what, body, errors, *, sequence=None, raw=None):
        """Send a body with its CRC, or the bytes ``raw``, and have it refused."""
        frame = raw or escape(body + zlib.crc32(body).to_bytes(4, "little"))
        self.put(frame, what, Kind.ERROR, body[1] if sequence is None else sequence, tuple(map(int, errors)))
        await self.done()

    # The array

    def check_trace(self):
        """Every token and every result since the last check, by its cycle. Returns the cycles of the first tokens."""
        tokens, expected, starts = deque(self.tokens), [], []
        for product in self.products:
            count = product.blocks * product.beats
            assert len(tokens) >= count, f"{len(tokens)} of {count} tokens of {product}"
            start = tokens[0][0]
            for index in range(count):
                cycle, raw = tokens.popleft()
                block, beat = divmod(index, product.beats)
                assert cycle == start + index, f"token {index} in cycle {cycle - start} of {product}"
                wanted = dict(valid=1, first=int(beat == 0), last=int(beat == product.beats - 1), slot=product.slot,
                              beat=beat, base=product.base + block * product.stride,
                              destination=TRITS * (product.destination + block))
                assert fields(Token(CONFIG), raw) == wanted, f"{fields(Token(CONFIG), raw)}, not {wanted}"
            cycles = start + result_cycles(CONFIG, product.blocks, product.beats)
            expected += [(int(cycles[index]), index[1], TRITS * (product.destination + index[0]) + index[2],
                          int(product.values[index])) for index in np.ndindex(cycles.shape)]
            if product.alone:
                latency = start - self.taken[product.frame]
                assert latency == issue_latency(), f"the first beat came {latency} cycles after RUN"
            starts.append(start)
        assert not tokens, f"{len(tokens)} tokens too many"
        found = [(cycle, tile, *(fields(Result(CONFIG), raw)[name] for name in ("address", "value")))
                 for cycle, tile, raw in self.results]
        for one, other in itertools.zip_longest(sorted(found), sorted(expected)):
            assert one == other, f"result (cycle, tile, address, value) is {one}, not {other}"
        self.forget_trace()
        return starts

    def forget_trace(self):
        self.tokens, self.results, self.products = [], [], []


def ternary(numbers, shape, zeros):
    """Random weights with a share of zeros."""
    return numbers.choice(np.array([-1, 0, 1], np.int8), shape, p=[(1 - zeros) / 2, zeros, (1 - zeros) / 2])


def activations(numbers, n, *, int8, zeros=0.3):
    """A random vector; int32 ones of any size."""
    limit = 128 if int8 else 1 << int(numbers.integers(1, 32))
    return np.where(numbers.random(n) < zeros, 0, numbers.integers(-limit, limit, n))


async def start(dut, seed, **stalls):
    bench = Bench(dut, seed, **stalls)
    await bench.restart()
    return bench


async def multiply(bench, w, y, *, int8, skip=True, live=None, slot=0, base=0, gap=0, destination=0, most=None,
                   wait=False):
    """Load a matrix, send a vector, and have the product right at the right time, by golden.matvec itself."""
    live = len(y) if live is None else live
    blocks, stride = -(-len(w) // CONFIG.rows), -(-live // CONFIG.banks) + gap
    for block, words in enumerate(tile_weights(w[:, :live], CONFIG.banks, CONFIG.tiles)):
        bench.load(base + block * stride, words)
    q = bench.list(slot, y, live, int8=int8, skip=skip, most=most)
    await bench.done()
    await bench.steps(len(y) + 40)  # quantised, and idle
    bench.run(slot, base, stride, blocks, destination, alone=True)
    if wait:
        await bench.ask(Kind.WAIT)
        assert bench.begun[-1] > bench.results[-1][0], "WAIT was answered before the last result"
    frame = bench.fetch(destination, blocks)
    await bench.done()
    found = np.frombuffer(bench.replies[frame], np.uint8).reshape(-1, 3).astype(np.int64) @ [1, 256, 65536]
    found = (found + 2 ** 23) % 2 ** 24 - 2 ** 23
    np.testing.assert_array_equal(found[:len(w)], matvec(w[:, :live], q[:live]))
    return bench.check_trace()


@cocotb.test(**TIME_LIMIT)
async def identifies(dut):
    bench = await start(dut, 0)
    found = await bench.registers()
    wanted = {Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH, Register.BANKS: CONFIG.banks,
              Register.TILES: CONFIG.tiles, Register.DEPTH: CONFIG.depth, Register.COLUMNS: CONFIG.columns,
              Register.BLOCKS: CONFIG.blocks, Register.SLOTS: CONFIG.slots}
    for register, value in wanted.items():
        assert found[register] == value, f"{register.name} is {found[register]:#x}, not {value:#x}"
    constant = struct.pack(f"<{len(wanted)}I", *wanted.values())
    for first in range(len(wanted)):
        for count in range(1, len(wanted) - first + 1):
            bench.send(Kind.READ, struct.pack("<HH", first, count), constant[4 * first:4 * (first + count)])
    await bench.done()


@cocotb.test(**TIME_LIMIT)
async def multiplies(dut):
    bench = await start(dut, 1)
    bench.load_all()
    numbers, rng = bench.numbers, bench.rng
    for case in range(24):
        n = rng.randint(1, CONFIG.columns)
        live = rng.choice([n, n, rng.randint(0, n)])
        gap = rng.choice([0, 0, 1, 3])
        stride = max(-(-live // CONFIG.banks) + gap, 1)
        blocks = rng.randint(1, min(CONFIG.depth // stride, 12, MOST_RESULTS))
        int8 = rng.random() < 0.5
        w = ternary(numbers, (blocks * CONFIG.rows - rng.randrange(CONFIG.rows), n), rng.choice([0.0, 0.3, 0.6, 1.0]))
        await multiply(bench, w, activations(numbers, n, int8=int8, zeros=rng.choice([0.0, 0.3, 0.9])), int8=int8,
                       skip=rng.random() < 0.7, live=live, slot=rng.randrange(CONFIG.slots), gap=gap,
                       base=rng.randint(0, CONFIG.depth - blocks * stride), wait=rng.random() < 0.5,
                       destination=rng.randint(0, CONFIG.blocks - blocks), most=rng.choice([None, None, 1 + n // 3]))


@cocotb.test(**TIME_LIMIT)
async def multiplies_extremes(dut):
    bench = await start(dut, 2)
    n, rows = CONFIG.columns, CONFIG.rows + 1
    for weight, x in ((1, 127), (-1, -127), (1, -128), (-1, -128), (-1, 127), (1, 0)):
        await multiply(bench, np.full((rows, n), weight, np.int8), np.full(n, x), int8=True, skip=False)
    least, most = -1 << 31, (1 << 31) - 1
    w = ternary(bench.numbers, (rows, n), 0.3)
    for y in (np.full(n, least), np.full(n, most), np.resize([least, most, 0, 1, -1, most // 254], n), np.zeros(n),
              np.resize([1, 2, -3], n)):
        await multiply(bench, w, y.astype(np.int64), int8=False)
    await multiply(bench, w[:, :1], np.array([-128]), int8=True)
    await multiply(bench, w[:1, :1], np.array([5]), int8=False)
    await multiply(bench, w, np.arange(n) % 100, int8=True, live=0)
    words = -(-n // CONFIG.banks)  # the whole weight memory, up to the last word and the last block of results
    blocks = CONFIG.depth // words
    await multiply(bench, ternary(bench.numbers, (blocks * CONFIG.rows, n), 0.3), np.arange(n) - 50, int8=True,
                   base=CONFIG.depth - blocks * words, destination=CONFIG.blocks - blocks)


@cocotb.test(**TIME_LIMIT)
async def queues(dut):
    """Runs that are sent without waiting follow each other without a gap or overlap, more than the queue holds too."""
    bench = await start(dut, 3)
    bench.load_all()
    lengths = [CONFIG.columns, CONFIG.columns // 2 + 1]
    for slot, length in enumerate(lengths):
        bench.list(slot, activations(bench.numbers, length, int8=False, zeros=0.2), length, int8=False, skip=slot == 0)
    await bench.done()
    await bench.steps(300)

    def random_run(blocks=None, **options):
        slot = bench.rng.randrange(2)
        words = -(-lengths[slot] // CONFIG.banks)
        blocks = blocks or bench.rng.randint(1, CONFIG.depth // words)
        stride = bench.rng.randint(words, CONFIG.depth // blocks)
        bench.run(slot, bench.rng.randint(0, CONFIG.depth - blocks * stride), stride, blocks,
                  bench.rng.randint(0, CONFIG.blocks - blocks), **options)

    def fetch_all():
        for first in range(0, CONFIG.blocks, MOST_RESULTS):
            bench.fetch(first)

    for first in range(0, CONFIG.blocks, CONFIG.depth // -(-lengths[0] // CONFIG.banks)):  # no result is unknown
        blocks = min(CONFIG.depth // -(-lengths[0] // CONFIG.banks), CONFIG.blocks - first)
        bench.run(0, 0, -(-lengths[0] // CONFIG.banks), blocks, first)
    fetch_all()
    await bench.done()
    bench.check_trace()

    for count in (2, QUEUE_DEPTH, QUEUE_DEPTH + 1, 3 * QUEUE_DEPTH):
        await bench.steps(50)
        for index in range(count):
            random_run(CONFIG.depth // -(-lengths[0] // CONFIG.banks), alone=index == 0)
        ends = [product.blocks * product.beats for product in bench.products]
        fetch_all()
        await bench.done()
        answered = bench.answered[-count - -(-CONFIG.blocks // MOST_RESULTS):][:count]
        starts = bench.check_trace()
        assert starts == [starts[0] + sum(ends[:index]) for index in range(count)], "a gap between runs"
        early = sum(cycle < starts[0] + ends[0] for cycle in answered)
        assert min(count, QUEUE_DEPTH) <= early <= QUEUE_DEPTH + 2, f"{early} runs were taken while the first ran"
    for _ in range(40):
        random_run(bench.rng.choice([None, 1, 1, 2]))
        if bench.rng.random() < 0.2:
            bench.send(Kind.WAIT)
        if bench.rng.random() < 0.2:
            bench.fetch(bench.rng.randrange(CONFIG.blocks), bench.rng.randint(1, 5))
    fetch_all()
    await bench.done()
    bench.check_trace()


@cocotb.test(**TIME_LIMIT)
async def stalls(dut):
    """Whatever the link does, the replies are the same, and the array does not notice."""
    n, seen = CONFIG.columns - 1, []
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5), (0.9, 0.9)):
        bench = await start(dut, 4, idle=idle, stall=stall)
        numbers = bench.numbers
        for int8 in (False, True):
            await multiply(bench, ternary(numbers, (2 * CONFIG.rows, n), 0.3), activations(numbers, n, int8=int8),
                           int8=int8, most=40, destination=2 * int8)
        words = -(-n // CONFIG.banks)
        for slot in range(2):  # all at once
            bench.load(0, ternary(numbers, (3 * words, CONFIG.banks, CONFIG.tiles, TRITS), 0.3))
            bench.list(slot, activations(numbers, n, int8=False), n, int8=False, skip=True, most=50)
            for index in range(3):
                bench.run(slot, 0, words, 3, 3 * index)
            for index in range(4):
                bench.fetch(2 * index, 3)
            bench.send(Kind.READ, struct.pack("<HH", 0, 9), None)
            bench.send(Kind.WAIT)
        await bench.done()
        bench.check_trace()
        seen.append(bench.replies)
    assert all(replies == seen[0] for replies in seen[1:])


async def snapshot(bench):
    """All registers, and what of them is seen on the ports; of an idle machine."""
    bytes_out = bench.bytes_out
    found = await bench.registers()
    return found, {Register.CYCLES: bench.taken[-1], Register.BYTES_IN: bench.sent, Register.BYTES_OUT: bytes_out}


@cocotb.test(**TIME_LIMIT)
async def counts(dut):
    bench = await start(dut, 5)
    n, numbers = CONFIG.columns - 2, bench.numbers
    words = -(-n // CONFIG.banks)
    bench.load_all()
    bench.list(0, activations(numbers, n, int8=True), n, int8=True, skip=True)
    bench.run(0, 0, words, 2, 0)
    bench.fetch(0, 2)
    await bench.done()
    sent, bytes_out = bench.sent, bench.bytes_out
    await bench.ask(Kind.RESET)
    reset = bench.taken[-1]
    found, seen = await snapshot(bench)
    for register in (Register.PENDING, *(each for each in Register if each > Register.CYCLES)):
        assert register in MOVING or found[register] == 0, f"{register.name} is {found[register]} after RESET"
    assert found[Register.BYTES_IN] == seen[Register.BYTES_IN] - (bench.taken and sent + 10)
