"""The whole machine against its specification, hdl.protocol, golden and sim.model.cycles: seen from its ports only."""

import itertools
import random
import struct
import zlib
from collections import Counter, deque
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.triggers import Timer

from setun.driver.frames import Decoder, encode, escape
from setun.golden.codes import BYTE_INVALID, byte_encode
from setun.golden.layout import tile_weights
from setun.golden.matvec import matvec
from setun.golden.quantiser import absmax_quantise
from setun.hdl.array.bank import Beat
from setun.hdl.array.drain import Result
from setun.hdl.config import TRITS, Config
from setun.hdl.control.counters import Cause
from setun.hdl.control.sequencer import QUEUE_DEPTH
from setun.hdl.protocol import (
    END,
    ESCAPE,
    ESCAPED_END,
    MAGIC,
    MAP_HASH,
    MAX_PAYLOAD,
    REPLY,
    VERSION,
    WINDOW_BYTES,
    WINDOW_FRAMES,
    Error,
    Flags,
    Kind,
    Register,
)
from setun.sim.model.cycles import flush_cycles, issue_latency, list_size, listing_cycles, result_cycles
from setun.sim.model.machine import Machine
from setun.sim.verify.cocotb_runner import parameters
from setun.sim.verify.mutation import MUTANT


CONFIG = Config(**parameters()["config"])
WORD_BYTES = CONFIG.banks * CONFIG.tiles
RESULT_BYTES = 3 * CONFIG.rows
MOST_WORDS = (MAX_PAYLOAD - 4) // WORD_BYTES
MOST_RESULTS = MAX_PAYLOAD // RESULT_BYTES
HALF = Timer(1, "ns")
PATIENCE = 20_000  # cycles until an answer is given up
TIME_LIMIT = dict(timeout_time=2, timeout_unit="ms")  # a million cycles a test
LENGTHS = MAX_PAYLOAD, MAX_PAYLOAD - 1, MAX_PAYLOAD & ~0xff, (MAX_PAYLOAD & ~0xff) - 1  # of payloads
POLYNOMIAL = 0xedb88320  # of zlib.crc32
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


class Bench:
    """Clock and link, and every port as it is at each rising edge."""

    def __init__(self, dut, seed, *, idle=0.0, stall=0.0):
        if MUTANT in parameters():
            dut.mutant.value = parameters()[MUTANT]
        self.rng, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.idle, self.stall = idle, stall
        self.reference = Machine(CONFIG)
        self.cycle = 0
        self.clk, self.rst, self.i_ready, self.o_valid = dut.clk, dut.rst, dut.i__ready, dut.o__valid
        self.i_valid, self.i_payload, self.o_ready, self.o_payload = (dut.i__valid, dut.i__payload, dut.o__ready,
                                                                      dut.o__payload)
        self.token, self.cause = dut.trace__token, dut.trace__cause
        self.ports = [getattr(dut, f"trace__results__{tile}") for tile in range(CONFIG.tiles)]
        self.tokens, self.results, self.products = [], [], []
        self.driven = {}
        self._disconnect()

    def _disconnect(self):
        self.link, self.sent, self.offered, self.held = bytearray(), 0, False, None
        self.ends, self.taken = deque(), []  # of frames: position of the last END, cycle in which that was taken
        self.expected, self.replies, self.begun = deque(), [], []
        self.decoder, self.received, self.reply_began, self.bytes_out = Decoder(), bytearray(), None, 0

    def _drive(self, port, value):
        if self.driven.get(port) != value:  # a write costs as much as a cycle
            port.value = self.driven[port] = value

    async def step(self):
        """A cycle: inputs move after its beginning, and everything is seen at its end."""
        if not self.offered and self.sent < len(self.link) and self.rng.random() >= self.idle:
            self.offered = True
            self.i_payload.value = self.link[self.sent]
        self._drive(self.i_valid, self.offered)
        ready = self.rng.random() >= self.stall
        self._drive(self.o_ready, ready)
        self.clk.value = 0
        await HALF
        on_the_way, moves = bool(self.expected), bool(self.o_valid.value) and ready
        if self.offered and self.i_ready.value:
            moves = True
            self.offered = False
            self.sent += 1
            if self.ends and self.sent == self.ends[0]:
                self.ends.popleft()
                self.taken.append(self.cycle)
        self._receive(int(self.o_payload.value) if self.o_valid.value else None, ready)
        if moves or not on_the_way:
            cause = self.cause.value.to_unsigned()
            assert not (moves and cause == Cause.IDLE.value), "a byte moves, and the cycle counts as IDLE"
            assert on_the_way or cause not in (Cause.LOAD.value, Cause.LINK.value), f"nothing moves, and {Cause(cause)}"
        if (token := self.token.value.to_unsigned()) & 1:
            self.tokens.append((self.cycle, token))
        for tile, port in enumerate(self.ports):
            if (result := port.value.to_unsigned()) & 1:
                self.results.append((self.cycle, tile, result))
        self.observe()
        self.clk.value = 1
        await HALF
        self.cycle += 1

    def observe(self):
        """At the end of every cycle, for benches that see more."""

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
            assert frame[0] == kind and payload in (None, frame[2]), f"{what}: reply {frame}, not {kind} {payload}"
            self.replies.append(frame[2])
            self.begun.append(self.reply_began)
            self.reply_began = None
        self.received.clear()

    async def steps(self, count):
        for _ in range(count):
            await self.step()

    async def restart(self, cycles=1):
        """The rst port. What was on the way on the link is lost."""
        self.rst.value = 1
        self._disconnect()
        for _ in range(cycles):
            self._drive(self.i_valid, False)
            self._drive(self.o_ready, False)
            self.clk.value = 0
            await HALF
            self.clk.value = 1
            await HALF
            self.cycle += 1
        self.rst.value = 0
        self.reference.reset()

    # Frames

    def next_sequence(self):
        self.sequence = self.rng.randrange(256)
        return self.sequence

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
        count = min(count, CONFIG.blocks - first)
        return self.send(Kind.RESULTS, struct.pack("<HH", first, count), self.reference.fetch(first, count))

    async def errs(self, what, body, error, *, sequence=None, raw=None):
        """Send a body with its CRC, or the bytes ``raw``, and have it refused."""
        frame = raw or escape(body + zlib.crc32(body).to_bytes(4, "little"))
        self.put(frame, what, Kind.ERROR, body[1] if sequence is None else sequence, bytes([error]))
        await self.done()

    # The array

    def check_trace(self, *, dropped=False):
        """Every token and every result since the last check, by its cycle. Returns the cycles of the first tokens.

        ``dropped``: they end early, and results of the last blocks may not have been written.
        """
        tokens, expected, starts = deque(self.tokens), [], []
        end = self.tokens[-1][0] if dropped and self.tokens else np.inf
        for product in self.products:
            count = product.blocks * product.beats
            assert dropped or len(tokens) >= count, f"{len(tokens)} of {count} tokens of {product}"
            if not tokens:
                break
            start, count = tokens[0][0], min(count, len(tokens))
            for index in range(count):
                cycle, raw = tokens.popleft()
                block, beat = divmod(index, product.beats)
                assert cycle == start + index, f"token {index} in cycle {cycle - start} of {product}"
                wanted = dict(valid=1, first=int(beat == 0), last=int(beat == product.beats - 1),
                              opens=int(block == 0), slot=product.slot, beat=beat,
                              base=product.base + block * product.stride, destination=TRITS * product.destination)
                assert fields(Beat(CONFIG), raw) == wanted, f"{fields(Beat(CONFIG), raw)}, not {wanted}"
            cycles = start + result_cycles(CONFIG, count // product.beats, product.beats)
            expected += [(int(cycles[index]), index[1], TRITS * (product.destination + index[0]) + index[2],
                          int(product.values[index])) for index in np.ndindex(cycles.shape)]
            if product.alone:
                latency = start - self.taken[product.frame]
                assert latency == issue_latency(CONFIG), f"the first beat came {latency} cycles after RUN"
            starts.append(start)
        assert not tokens, f"{len(tokens)} tokens too many"
        found = [(cycle, tile, *(fields(Result(CONFIG), raw)[name] for name in ("address", "value")))
                 for cycle, tile, raw in self.results]
        expected = [result for result in expected if result[0] <= end or result in found]
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
    await bench.steps(listing_cycles(CONFIG, len(y), False) + 40)  # quantised, and idle
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
              Register.BLOCKS: CONFIG.blocks, Register.SLOTS: CONFIG.slots,
              Register.STACK: CONFIG.stack}
    for register, value in wanted.items():
        assert found[register] == value, f"{register.name} is {found[register]:#x}, not {value:#x}"
    constant = struct.pack(f"<{len(wanted)}I", *wanted.values())
    for first in range(len(wanted)):
        for count in range(1, len(wanted) - first + 1):
            bench.send(Kind.READ, struct.pack("<HH", first, count), constant[4 * first:4 * (first + count)])
    for first in (0, len(Register)):
        bench.send(Kind.READ, span(first, 0))
    before = await bench.registers()
    await bench.steps(1000)
    after = await bench.registers()
    assert after[Register.CYCLES] - before[Register.CYCLES] >= 1000


@cocotb.test(**TIME_LIMIT)
async def multiplies(dut):
    bench = await start(dut, 1)
    bench.load_all()
    numbers, rng = bench.numbers, bench.rng
    for _ in range(24):
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
    longest = -(-lengths[0] // CONFIG.banks)
    most = CONFIG.depth // longest
    for slot, length in enumerate(lengths):
        bench.list(slot, activations(bench.numbers, length, int8=False, zeros=0.2), length, int8=False, skip=slot == 0)
    await bench.done()
    await bench.steps(300)

    def random_run(blocks=None, **options):
        slot = bench.rng.randrange(2)
        words = -(-lengths[slot] // CONFIG.banks)
        blocks = blocks or bench.rng.randint(1, min(CONFIG.depth // words, CONFIG.blocks))
        stride = bench.rng.randint(words, CONFIG.depth // blocks)
        bench.run(slot, bench.rng.randint(0, CONFIG.depth - blocks * stride), stride, blocks,
                  bench.rng.randint(0, CONFIG.blocks - blocks), **options)

    def fetch_all():
        for first in range(0, CONFIG.blocks, MOST_RESULTS):
            bench.fetch(first)

    for first in range(0, CONFIG.blocks, most):  # no result is unknown
        bench.run(0, 0, longest, min(most, CONFIG.blocks - first), first)
    fetch_all()
    await bench.done()
    bench.check_trace()

    for count in (2, QUEUE_DEPTH, QUEUE_DEPTH + 1, 3 * QUEUE_DEPTH):
        await bench.steps(50)
        for index in range(count):
            random_run(most, alone=index == 0)
        lasts = np.cumsum([product.blocks * product.beats for product in bench.products])
        frames = [product.frame for product in bench.products]
        fetch_all()
        await bench.done()
        starts = bench.check_trace()
        assert starts == [starts[0], *(starts[0] + lasts[:-1])], "a gap between runs"
        held = [1 + index - sum(starts[0] + lasts <= bench.begun[frame]) for index, frame in enumerate(frames)]
        assert max(held) <= QUEUE_DEPTH + 2 and (count < 3 * QUEUE_DEPTH or max(held) >= QUEUE_DEPTH), held
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
    """All registers of an idle machine; what of them is seen on the ports when they are read, and from when on they are
    counted again."""
    read = {Register.BYTES_OUT: bench.bytes_out}
    found = await bench.registers()
    assert found[Register.CYCLES] == sum(found[register] for register in CAUSES), "the causes do not sum to CYCLES"
    read |= {Register.CYCLES: bench.taken[-1], Register.BYTES_IN: bench.sent}
    payload = bench.replies[-1]
    body = struct.pack("<BBH", Kind.READ | REPLY, bench.sequence, len(payload)) + payload
    # The last byte has left the counters when the one before it has left the link.
    rest = escape(body[-1:] + zlib.crc32(body).to_bytes(4, "little"))[1:]
    again = {Register.BYTES_OUT: bench.bytes_out - len(rest), Register.CYCLES: bench.cycle,
             Register.BYTES_IN: bench.sent}
    return found, read, again


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
    bytes_out = bench.bytes_out
    await bench.ask(Kind.RESET)
    bytes_in, reset = bench.sent, bench.taken[-1]
    bench.reference.reset()
    bench.check_trace()
    before, seen, again = await snapshot(bench)
    assert before[Register.BYTES_IN] == bench.sent - bytes_in
    assert before[Register.BYTES_OUT] == seen[Register.BYTES_OUT] - bytes_out
    assert 0 < before[Register.CYCLES] - (seen[Register.CYCLES] - reset) < 40
    for register in Register:
        assert register in MOVING or Register.PENDING != register <= Register.CYCLES or not before[register], (
            f"{register.name} is {before[register]} after RESET")

    async def growth(**wanted):
        """Compare all counters' growth since the last call, with the machine idle now, with the reference."""
        nonlocal before, again
        await bench.ask(Kind.WAIT)
        await bench.steps(3 * n)
        last, begun = before, again
        before, seen, again = await snapshot(bench)
        cycles = [cycle for cycle, _ in bench.tokens] + [np.inf] * bool(bench.tokens)
        flush = sum(min(two - one - 1, flush_cycles(CONFIG)) for one, two in itertools.pairwise(cycles))
        expected = Counter({**bench.reference.counted, Register.CYCLES_FLUSH: flush,
                            **{register: seen[register] - begun[register] for register in seen},
                            **{Register[name]: value for name, value in wanted.items()}})
        grown = {register: (before[register] - last[register]) % 2 ** 32 for register in Register}
        shared = {Register.CYCLES_VECTOR, Register.CYCLES_LOAD, Register.CYCLES_LINK, Register.CYCLES_IDLE}
        for register in Register:
            if register == Register.CYCLES:  # a few between the counters and the ports
                assert 0 <= grown[register] - expected[register] < 60, (grown[register], expected[register])
            elif register > Register.CYCLES and register not in shared - expected.keys():
                assert grown[register] == expected[register], (
                    f"{register.name} grew by {grown[register]}, not {expected[register]}")
        bench.check_trace()
        bench.reference.counted.clear()
        return grown

    nothing = dict(CYCLES_ISSUE=0, CYCLES_FLUSH=0, CYCLES_VECTOR=0, CYCLES_LOAD=0)
    first = await growth(**nothing)
    await bench.steps(1000)
    second = await growth(**nothing)
    assert second[Register.CYCLES_IDLE] - first[Register.CYCLES_IDLE] >= 900
    assert abs(second[Register.CYCLES_LINK] - first[Register.CYCLES_LINK]) < 20  # sequences escaped, or not
    for zeros in (0.0, 0.4, 1.0):
        bench.load(3, ternary(numbers, (50, CONFIG.banks, CONFIG.tiles, TRITS), zeros))
        await growth(CYCLES_ISSUE=0, CYCLES_FLUSH=0, CYCLES_VECTOR=0, CYCLES_LOAD=50 * WORD_BYTES)
    for int8, skip, live, most in itertools.product((False, True), (False, True), (n, n // 2), (None, 1 + n // 3)):
        y = activations(numbers, n, int8=int8, zeros=0.5)
        q = bench.list(1, y, live, int8=int8, skip=skip, most=most)
        await growth(CYCLES_VECTOR=listing_cycles(CONFIG, n, int8), CYCLES_LOAD=0, CYCLES_ISSUE=0, CYCLES_FLUSH=0)
        assert int8 or before[Register.ABSMAX] == np.abs(y).max()
        assert before[Register.BEATS] == list_size(q, CONFIG.banks, live, skip).beats
        bench.run(1, 3, words, 3, 2)
        await growth(CYCLES_VECTOR=0, CYCLES_LOAD=0)
    close = np.array([2 ** 31 - 1 - 2 ** bit for bit in reversed(range(31))] + [2 ** 31 - 1])[-n:]
    bench.list(1, close, len(close), int8=False, skip=True)
    await growth(CYCLES_VECTOR=listing_cycles(CONFIG, len(close), False), CYCLES_LOAD=0)
    assert before[Register.ABSMAX] == close[-1]
    for _ in range(2 * QUEUE_DEPTH):
        bench.run(1, 0, words, 3, 0)
        bench.fetch(0, 3)
        bench.fetch(0, 1)
        for _ in range(bench.rng.randrange(3)):
            bench.run(1, 1, words, 2, 3)
    await growth(CYCLES_VECTOR=0, CYCLES_LOAD=0)
    for slot in (0, 1, 0):  # everything at once: the array hides the vectors and the weights, or a part of them
        for _ in range(2):
            bench.run(1 - slot, 0, words, 2, 0)
        bench.list(slot, activations(numbers, n, int8=False), n, int8=False, skip=True)
        bench.load(4 * words, ternary(numbers, (9, CONFIG.banks, CONFIG.tiles, TRITS), 0.3))
        bench.send(Kind.WAIT)
    last = await growth()
    assert last[Register.CYCLES_VECTOR] <= 3 * listing_cycles(CONFIG, n, False)
    assert last[Register.CYCLES_LOAD] <= 27 * WORD_BYTES


def command(kind, sequence, payload=b"", *, length=None):
    """A body without its CRC, of any payload and length."""
    return struct.pack("<BBH", kind, sequence, len(payload) if length is None else length) + payload


def span(first, count):
    return struct.pack("<HH", first, count)


def wrong_crc(body, place):
    """Four bytes that leave the register of the CRC as its own CRC does, but for one bit."""
    error = 1 << place
    for _ in range(32):  # a bit back
        error = (error ^ POLYNOMIAL if error >> 31 else error) << 1 & 0xffffffff | error >> 31
    return (zlib.crc32(body) ^ error).to_bytes(4, "little")


async def prepare(bench, lengths):
    """Weights everywhere, a list in slot 0, a vector of three pieces open in slot 1. Returns its other two pieces."""
    bench.load_all()
    n, m = lengths
    bench.list(0, activations(bench.numbers, n, int8=True), n, int8=True, skip=False)
    y = activations(bench.numbers, m, int8=False)
    first, *rest = bench.pieces(1, y, m - 3, int8=False, skip=True, most=-(-m // 3))
    bench.send(Kind.VECTOR, first)
    await bench.done()
    return y, rest


@cocotb.test(**TIME_LIMIT)
async def refuses(dut):
    """Every error by its code, and that nothing is changed by the frame."""
    bench = await start(dut, 6)
    numbers, banks, depth, columns = bench.numbers, CONFIG.banks, CONFIG.depth, CONFIG.columns
    n, m = columns - 1, columns - 4
    words, blocks = -(-n // banks), depth // -(-n // banks)
    y, rest = await prepare(bench, (n, m))
    for first in range(0, CONFIG.blocks, blocks):
        bench.run(0, 0, words, min(blocks, CONFIG.blocks - first), first)
    await bench.ask(Kind.WAIT)
    piece, flags = -(-m // 3), int(Flags.SKIP)
    new, longest = (numbers.choice(np.array(sorted(set(range(256)) - set(BYTE_INVALID)), np.uint8), size)
                    for size in ((depth + 9) * WORD_BYTES, MAX_PAYLOAD))

    def weights(address, count, size=None):
        size = count * WORD_BYTES if size is None else size
        return Kind.WEIGHTS, struct.pack("<HH", address, count) + new[:size].tobytes()

    def vector(size, slot=1, flags=flags, length=m, live=m - 3, offset=piece):
        return Kind.VECTOR, struct.pack("<BBHHH", slot, flags, length, live, offset) + new[:size].tobytes()

    def run(slot=0, base=0, stride=words, count=1, destination=0):
        return Kind.RUN, struct.pack("<BBHHHH", slot, 0, base, stride, count, destination)

    def code(byte, at):
        kind, payload = weights(0, 3)
        return kind, payload[:4 + at] + bytes([byte]) + payload[5 + at:]

    sound = [(Kind.READ, span(0, 3)), weights(0, 4), vector(4 * piece), run(), (Kind.WAIT, b""),
             (Kind.RESULTS, span(0, 2)), (Kind.RESET, b"")]
    commands = {
        Error.LENGTH: [
            (Kind.READ, b""), (Kind.READ, bytes(3)), (Kind.READ, bytes(5)), (Kind.RESULTS, bytes(3)),
            (Kind.RESULTS, span(0, 1) + bytes(1)), (Kind.WAIT, bytes(1)), (Kind.RESET, bytes(1)),
            (Kind.RESET, bytes(4)), (Kind.RUN, run()[1][:-1]), (Kind.RUN, run()[1] + bytes(1)), (Kind.RUN, b""),
            (Kind.WEIGHTS, b""), (Kind.WEIGHTS, bytes(3)), (Kind.VECTOR, b""), (Kind.VECTOR, bytes(7)),
            weights(0, 2, 2 * WORD_BYTES - 1), weights(0, 2, 2 * WORD_BYTES + 1), weights(0, 2, WORD_BYTES),
            weights(0, 1, 0), weights(0, 0, 1), vector(4 * piece - 1), vector(4 * piece + 2), vector(1), vector(0),
        ],
        Error.KIND: [(kind, bytes(size)) for kind in (0x00, 0x08, 0x7f, 0x81, 0x86, 0xff) for size in (0, 4, 10)],
        Error.RANGE: [
            (Kind.READ, span(len(Register), 1)), (Kind.READ, span(0, len(Register) + 1)),
            (Kind.READ, span(len(Register) - 1, 2)), (Kind.READ, span(0xffff, 1)), (Kind.READ, span(1, 0xffff)),
            (Kind.READ, span(0xffff, 2)),
            weights(depth, 1), weights(depth - 1, 2), weights(0xffff, 1), weights(0xffff, 2),
            *((Kind.WEIGHTS, (span(depth, 1) + longest.tobytes())[:size]) for size in LENGTHS),
            vector(4, slot=CONFIG.slots, offset=0), vector(4, slot=255, offset=0),
            vector(4, length=columns + 1, live=3, offset=0), vector(4, length=0xffff, live=3, offset=0),
            vector(4, length=0, live=0, offset=0), vector(4, live=m + 1, offset=0), vector(4, live=0xffff, offset=0),
            vector(8, length=1, live=1, offset=0), vector(4 * (m + 1), offset=0), vector(4 * (m - piece + 1)),
            vector(2, flags=flags | Flags.INT8, length=1, live=1, offset=0),
            run(slot=CONFIG.slots), run(slot=255), run(count=0), run(destination=CONFIG.blocks),
            run(destination=CONFIG.blocks - 1, count=2), run(destination=0xffff), run(destination=0xffff, count=2),
            run(count=CONFIG.blocks + 1), run(count=0xffff), run(base=depth), run(base=depth - words + 1),
            run(base=depth - 2 * words + 1, count=2), run(base=0xffff), run(base=0x10000 - words),
            run(stride=0xffff, count=2), run(stride=0x8000, count=3), run(stride=depth, count=2),
            run(count=blocks + 1), run(base=1, stride=0xffff, count=2),
            (Kind.RESULTS, span(CONFIG.blocks, 1)), (Kind.RESULTS, span(0, 0)), (Kind.RESULTS, span(0xffff, 1)),
            (Kind.RESULTS, span(CONFIG.blocks - 1, 2)), (Kind.RESULTS, span(0xffff, 2)),
            (Kind.RESULTS, span(0, MOST_RESULTS + 1)), (Kind.RESULTS, span(0, 0xffff)), (Kind.RESULTS, span(1, 0xffff)),
        ],
        Error.CODE: [code(byte, at) for byte, at in itertools.zip_longest(
            BYTE_INVALID, (0, 1, 3 * WORD_BYTES - 1), fillvalue=3 * WORD_BYTES - 1)],
        Error.ORDER: [
            vector(4, offset=piece + 1), vector(4, offset=piece - 1), vector(4, offset=1), vector(4, slot=0),
            vector(4, flags=0), vector(4, flags=flags | Flags.INT8), vector(4, length=m + 1), vector(4, length=m - 1),
            vector(4, live=m - 2), vector(4, live=m - 4), vector(4, offset=m - 1),
        ],
        Error.LIST: [run(slot=1), run(stride=words - 1), run(stride=0), run(stride=words - 1, count=2)],
    }
    refused = [(f"{error.name} {kind:#x} {payload[:12].hex()}", command(kind, bench.next_sequence(), payload), error,
                {}) for error, cases in commands.items() for kind, payload in cases]
    for kind, payload in sound:
        body = command(kind, bench.next_sequence(), payload)
        crc = zlib.crc32(body).to_bytes(4, "little")
        whole = body + crc
        for at in {0, 2, 3, len(body) // 2, len(body) - 1, *range(len(body), len(whole))}:
            damaged = whole[:at] + bytes([whole[at] ^ 1 << bench.rng.randrange(8)]) + whole[at + 1:]
            refused.append((f"bit {at} {kind.name}", body, Error.CRC, dict(raw=escape(damaged))))
        refused.append((f"cut {kind.name}", body, Error.CRC if len(body) > 4 else Error.LENGTH,
                        dict(raw=escape(whole[:-1]))))
        refused.append((f"end {kind.name}", body, Error.CRC, dict(raw=escape(whole + b"\0"))))
        refused.append((f"escape {kind.name}", body, Error.CRC,
                        dict(raw=escape(body)[:-1] + bytes([ESCAPE, ESCAPED_END + 9]) + escape(crc)[1:])))
        refused.append((f"cut escape {kind.name}", body, Error.CRC,
                        dict(raw=escape(whole)[:-1] + bytes([ESCAPE, END]))))
        for length in {max(len(payload) - 1, 0), len(payload) + 1, 0xffff} - {len(payload)}:
            refused.append((f"says {length} {kind.name}", command(kind, body[1], payload, length=length), Error.LENGTH,
                            {}))
    for place in range(32):
        body = command(Kind.WAIT, bench.next_sequence())
        refused.append((f"residue {place}", body, Error.CRC, dict(raw=escape(body + wrong_crc(body, place)))))
    for size in range(1, 8):
        raw = bytes(bench.rng.sample(range(1, 100), size))
        refused.append((f"{size} bytes", raw, Error.LENGTH, dict(raw=escape(raw), sequence=(raw + bytes(1))[1])))
    for size in (MAX_PAYLOAD + 1, MAX_PAYLOAD + 5, 5000):
        refused.append((f"payload of {size}", command(Kind.WEIGHTS, 3, bytes(size)), Error.LENGTH, {}))
    for length in (0, MAX_PAYLOAD):
        refused.append((f"no {length} bytes", command(Kind.WEIGHTS, 3, bytes(9000), length=length), Error.LENGTH, {}))
    refused.append(("noise", command(Kind.RESET, 3, bytes(3000)), Error.CRC,
                    dict(raw=escape(command(Kind.RESET, 3, bytes(3000))))))

    before = await bench.registers()
    for what, body, error, options in refused:
        bench.reference.counted.clear()
        await bench.errs(what, body, error, **options)
        bench.run(0, 0, words, 2, 1)
        bench.fetch(0, 4)
        await bench.done()
        after = await bench.registers()
        for register in Register:
            grown = bench.reference.counted[register]
            assert register in MOVING or after[register] == before[register] + grown, f"{what}: {register.name} changed"
        before = after
    await bench.done()
    for first in range(0, CONFIG.blocks, MOST_RESULTS):
        bench.fetch(first)
    for count in range(depth // words):
        bench.run(0, count * words, words, 1, count)
    for piece in rest:  # still open, and where it was
        bench.send(Kind.VECTOR, piece)
    bench.reference.list(1, absmax_quantise(y)[0], m - 3, True)
    bench.run(1, 0, words, blocks, 0)
    bench.fetch(0, blocks)
    await bench.done()
    bench.check_trace()
    await bench.errs("nothing open", command(*vector(4)[:1], 7, vector(4)[1]), Error.ORDER)
    await bench.errs("nothing open", command(*vector(4)[:1], 7, rest[-1]), Error.ORDER)


@cocotb.test(**TIME_LIMIT)
async def holds(dut):
    """While an answer cannot leave, the frames of a window are taken, and nothing is lost of those that are not."""
    bench = await start(dut, 9)
    n = CONFIG.columns
    words = -(-n // CONFIG.banks)
    bench.list(0, activations(bench.numbers, n, int8=True), n, int8=True, skip=True)
    for frames in (2, WINDOW_FRAMES):
        bench.load_all()
        await bench.done()
        bench.stall = 1.0
        bench.send(Kind.READ, span(0, len(Register)), None)
        await bench.steps(500)
        for _ in range(frames):
            trits = ternary(bench.numbers, (WINDOW_BYTES // frames - 8, TRITS), 0.3)
            body = command(Kind.WEIGHTS, bench.next_sequence(), span(CONFIG.depth, 1) + byte_encode(trits).tobytes())
            bench.put(escape(body + zlib.crc32(body).to_bytes(4, "little")), "the window", Kind.ERROR, body[1],
                      bytes([Error.RANGE]))
        await bench.steps(len(bench.link) - bench.sent + 20)
        assert bench.sent == len(bench.link), f"{len(bench.link) - bench.sent} bytes of a window were not taken"
        for _ in range(2):
            bench.load_all()
        await bench.steps(500)
        assert bench.sent < len(bench.link)
        bench.stall = 0.0
        bench.run(0, 0, words, CONFIG.depth // words, 0)
        bench.fetch(0, min(CONFIG.depth // words, MOST_RESULTS))
        await bench.done()
        bench.check_trace()


async def begins_anew(bench, *, weights=True):
    """A vector and a run on an idle machine without lists, on the weights that it has or on new ones."""
    n = CONFIG.columns - 7
    words = -(-n // CONFIG.banks)
    if not weights:
        bench.load_all()
    bench.list(1, activations(bench.numbers, n, int8=False), n, int8=False, skip=True)
    await bench.done()
    await bench.steps(listing_cycles(CONFIG, n, False) + 40)
    bench.run(1, 1, words, 2, 3, alone=True)
    bench.fetch(3, 2)
    await bench.done()
    bench.check_trace()


async def is_reset(bench, pieces):
    """RESET was answered: nothing runs, all counters are at 0, and no list and no open vector is left."""
    bench.reference.reset()
    tokens = len(bench.tokens)
    found = await bench.registers()
    assert found[Register.PENDING] == 0 and found[Register.CYCLES] < 250
    for register in Register:
        quiet = register in (Register.CYCLES_LINK, Register.CYCLES_IDLE, Register.BYTES_IN, Register.BYTES_OUT)
        assert register <= Register.CYCLES or quiet or not found[register], (
            f"{register.name} is {found[register]} after RESET")
    for slot in range(CONFIG.slots):
        payload = struct.pack("<BBHHHH", slot, 0, 0, CONFIG.columns, 1, 0)
        await bench.errs(f"run on slot {slot}", command(Kind.RUN, bench.next_sequence(), payload), Error.LIST)
    for piece in pieces:
        await bench.errs("continued", command(Kind.VECTOR, bench.next_sequence(), piece), Error.ORDER)
    assert len(bench.tokens) == tokens, "a run goes on after RESET"
    bench.check_trace(dropped=True)


@cocotb.test(**TIME_LIMIT)
async def resets(dut):
    """RESET in the middle of runs, of a vector, and while one is quantised."""
    bench = await start(dut, 7)
    n = CONFIG.columns
    words, many = -(-n // CONFIG.banks), CONFIG.depth // -(-n // CONFIG.banks)
    bench.load_all()
    for runs in (1, 2, QUEUE_DEPTH, QUEUE_DEPTH + 3):
        for gap in (0, 1, 5, 14, 100, *range(many * words - 8, many * words + 24, 3)) if runs == 1 else (0, 13, 333):
            y = activations(bench.numbers, n, int8=True, zeros=0.0)
            bench.list(0, y, n, int8=True, skip=True)
            pieces = bench.pieces(1, y, n, int8=False, skip=True, most=-(-n // 3))
            bench.send(Kind.VECTOR, pieces[0])
            await bench.done()
            for _ in range(runs):
                bench.run(0, 0, words, many, bench.rng.randint(0, CONFIG.blocks - many))
            while bench.sent < len(bench.link):
                await bench.step()
            await bench.steps(gap)
            await bench.ask(Kind.RESET)
            assert bench.tokens and len(bench.tokens) <= runs * many * words
            await is_reset(bench, pieces[1:])
            await begins_anew(bench)
    for int8 in (False, True):
        for gap in (0, 1, 2, 5, 10, 20, 40, 80, 130):
            bench.load(0, ternary(bench.numbers, (2, CONFIG.banks, CONFIG.tiles, TRITS), 0.3))
            bench.list(0, activations(bench.numbers, n, int8=int8), n, int8=int8, skip=True)
            while bench.sent < len(bench.link):
                await bench.step()
            await bench.steps(gap)
            await bench.ask(Kind.RESET)
            await is_reset(bench, [])
            await begins_anew(bench)


@cocotb.test(**TIME_LIMIT)
async def restarts(dut):
    """The rst port at any time: the machine is as it was at first, but for its memories."""
    bench = await start(dut, 8)
    n = CONFIG.columns
    words = -(-n // CONFIG.banks)
    for _ in range(24):
        bench.idle, bench.stall = bench.rng.choice([(0.0, 0.0), (0.0, 0.8), (0.3, 0.0), (0.3, 0.3)])
        for _ in range(2):
            bench.load(0, ternary(bench.numbers, (2 * words, CONFIG.banks, CONFIG.tiles, TRITS), 0.3))
            bench.list(1, activations(bench.numbers, n, int8=False), n, int8=False, skip=True, most=n // 2)
            for _ in range(3):
                bench.run(1, 0, words, 2, 0)
            bench.fetch(0, 2)
            bench.send(Kind.READ, span(0, len(Register)), None)
        await bench.steps(bench.rng.randrange(1, 3000))
        await bench.restart(bench.rng.choice([1, 1, 2, 5]))
        bench.forget_trace()
        bench.idle = bench.stall = 0.0
        assert not dut.o__valid.value, "a byte on o after rst"
        found = await bench.registers()
        for register in Register:
            assert Register.PENDING != register <= Register.CYCLES or register in MOVING or not found[register], (
                f"{register.name} is {found[register]} after rst")
        assert found[Register.CYCLES] < 100 and found[Register.BYTES_IN] == bench.sent
        bench.forget_trace()  # of what was on its way through the array
        for slot in range(CONFIG.slots):
            await bench.errs(f"run on slot {slot}", command(Kind.RUN, slot, struct.pack(
                "<BBHHHH", slot, 0, 0, CONFIG.columns, 1, 0)), Error.LIST)
        await begins_anew(bench, weights=False)
