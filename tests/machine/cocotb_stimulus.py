"""Random stimulus for the whole machine, until the functional model of it is closed."""

import itertools
import json
import struct
import zlib
from pathlib import Path

import cocotb
import numpy as np

from setun.driver.frames import escape
from setun.golden.codes import BYTE_INVALID, byte_encode
from setun.golden.layout import activation_lists
from setun.hdl.array.drain import Result
from setun.hdl.config import TRITS
from setun.hdl.control.counters import Cause
from setun.hdl.control.sequencer import QUEUE_DEPTH
from setun.hdl.protocol import (
    END,
    ESCAPE,
    ESCAPED_END,
    ESCAPED_ESCAPE,
    REPLY,
    WINDOW_BYTES,
    Error,
    Flags,
    Kind,
    Register,
)
from setun.sim.model.cycles import flush_cycles
from setun.sim.verify.cocotb_runner import parameters
from setun.sim.verify.coverage import Model, Point
from tests.machine.cocotb_top import (
    CONFIG,
    MOST_RESULTS,
    WORD_BYTES,
    Bench,
    command,
    fields,
    is_reset,
    multiply,
    span,
    ternary,
)


REGISTERS = len(Register)
ESCAPED = {END: ESCAPED_END, ESCAPE: ESCAPED_ESCAPE}
VECTOR_BYTES = 8  # of arguments
LONG = 100  # cycles of a stall
COMMANDS = [kind for kind in Kind if kind != Kind.ERROR]
OTHER = "none"  # a kind that is no command
MOST = 128 * CONFIG.columns  # of an accumulator
EXTREMES = {-MOST: "least", 0: "zero", MOST: "most"}
RESET_CYCLES = 4  # from the last beat that RESET lets pass to its answer
FAULTS = {"CRC": Error.CRC, "LENGTH of the frame": Error.LENGTH, "KIND": Error.KIND, "CODE": Error.CODE,
          "RANGE": Error.RANGE, "LENGTH of the data": Error.LENGTH, "ORDER": Error.ORDER, "LIST": Error.LIST}
FRAME_FAULTS = ("CRC", "LENGTH of the frame", "KIND")
FAULTY = {  # commands that can have a fault; every frame can have one of CRC, and of its length
    "CODE": [Kind.WEIGHTS], "RANGE": [Kind.READ, Kind.WEIGHTS, Kind.VECTOR, Kind.RUN, Kind.RESULTS],
    "LENGTH of the data": [Kind.WEIGHTS, Kind.VECTOR], "ORDER": [Kind.VECTOR], "LIST": [Kind.RUN]}


def possible(fault, kind):
    """Whether a command, or a frame that is none, can have the fault."""
    if kind == OTHER:
        return fault in (*FRAME_FAULTS, "CODE")
    return fault in FRAME_FAULTS[:2] or kind in FAULTY.get(fault, [])


def precedence():
    """Two faults in one frame, of which the first is told."""
    names, bins, holes = list(FAULTS), [], {}
    for place, first in enumerate(names):
        for second in names[place + 1:]:
            kinds = [kind for kind in (*COMMANDS, OTHER) if possible(first, kind) and possible(second, kind)]
            if FAULTS[first] == FAULTS[second]:
                holes[first, second] = "both are told as LENGTH"
            elif not kinds:
                holes[first, second] = "no command has both"
            else:
                bins.append((first, second))
    return Point(bins, holes)


def told(kind, error):
    return any(possible(fault, kind) for fault in FAULTS if FAULTS[fault] == error) and not (
        kind == OTHER and error == Error.CODE)


NAMES = [kind.name for kind in COMMANDS]
CAUSES = [cause.name for cause in Cause]
POINTS = {
    "columns modulo banks": Point(list(range(CONFIG.banks))),
    "rows modulo R": Point(list(range(CONFIG.rows))),
    "vector": Point.cross(["int8", "int32"], ["skip", "keep"], ["no zeros", "zeros", "only zeros"],
                          ["none lives", "some live", "all live"], ["one piece", "pieces"]),
    "length of a vector": Point(["one", "some", "most"]),
    "halves between two quotients": Point(["to the smaller", "to the larger"]),
    "zeros left out": Point.cross(range(CONFIG.slots), ["one", "some", "most"]),
    "list": Point.cross(range(CONFIG.slots), ["alike", "one is longer", "one is empty", "all are empty"],
                        ["padded", "long"], holes=[
                            (lambda slot, banks, size: banks == "all are empty" and size == "long",
                             "a list without entries is padded"),
                            (lambda slot, banks, size: banks in ("one is longer", "one is empty") and CONFIG.banks == 1,
                             "there is one bank")]),
    "weights": Point.cross(["one", "some", "most"], ["no zeros", "zeros", "only zeros"]),
    "codes": Point(list(range(256))),
    "blocks of a run": Point(["one", "two", "more", "most"]),
    "beats of a run": Point(list(range(TRITS, CONFIG.list_depth + 1))),
    "place of a run": Point.cross(["first", "later", "last"], ["tight", "gaps"], ["first", "later", "last"]),
    "runs that follow": Point.cross(["at once", "while the last is flushed", "later"], ["same list", "other list"]),
    "runs before": Point(list(range(QUEUE_DEPTH + 3))),
    "accumulators": Point.cross(range(CONFIG.tiles), range(TRITS), ["least", "negative", "zero", "positive", "most"]),
    "errors": Point.cross([*NAMES, OTHER],
                          [error.name for error in Error if error != Error.NONE], holes=[
        (lambda kind, error: not told(kind if kind == OTHER else Kind[kind], Error[error]),
         "the command cannot have it")]),
    "order of errors": precedence(),
    "causes": Point.cross(CAUSES, CAUSES, holes=[
        (lambda one, two: one == two, "nothing changes"),
        (lambda one, two: one == "ISSUE" and two not in ("FLUSH", "LINK"),
         "results are on their way after a beat, but for RESET, which is a command"),
        (lambda one, two: two == "FLUSH" and one != "ISSUE", "only beats have results"),
        (lambda one, two: two == "ISSUE" and one not in ("FLUSH", "LINK"),
         "RUN still executes when its first beat is issued"),
        (lambda one, two: two == "VECTOR" and one not in ("FLUSH", "LINK"),
         "VECTOR still executes when the list of it is begun"),
        (lambda one, two: {one, two} <= {"VECTOR", "LOAD"}, "WEIGHTS waits until no vector is listed"),
        (lambda one, two: {one, two} == {"IDLE", "LOAD"}, "WEIGHTS still executes when bytes of it are loaded"),
        ]),
    "cause by command": Point.cross(CAUSES, [*NAMES, OTHER], holes=[
        (lambda cause, kind: cause == Cause.LOAD.name and kind != Kind.WEIGHTS.name,
         "only WEIGHTS loads, and no command comes before its end"),
        ]),
    "RESET": Point.cross(["rests", "a run is flushed", "a run is issued", "two runs"], ["open vector", "none"]),
    "rst by cause": Point(CAUSES),
    "rst by frame": Point(["rests", "a frame comes", *itertools.product(["executes", "answers"],
                                                                        [*NAMES, Kind.ERROR.name])]),
    "answers that stall": Point([kind.name for kind in Kind]),
    "frames that stall": Point(["a cycle", "long"]),
    "escapes": Point.cross(["in", "out"], [END, ESCAPE]),
    "registers": Point.cross(["first", "last"], [register.name for register in Register]),
    "results": Point.cross(["one", "some", "most"], ["first", "later", "last"], holes=[
        (lambda count, first: count == "most" and first != "first" and CONFIG.blocks <= MOST_RESULTS,
         "all blocks are one answer")]),
}


def share(zeros, count):
    return "only zeros" if zeros == count else "zeros" if zeros else "no zeros"


def amount(number, most, least=1):
    return "most" if number == most else "one" if number == least else "some"


def place(first, most):
    return "first" if not first else "last" if first == most else "later"


class Observer(Bench):
    """A bench that meets the bins of the model."""

    def __init__(self, dut, model, seed):
        self.model, self.seen, self.stalled, self.marks = model, None, 0, []
        super().__init__(dut, seed)
        self.command = dut.trace__command

    def _disconnect(self):
        super()._disconnect()
        self.seen, self.stalled, self.marks = None, 0, []

    def observe(self):
        kind = int(self.command.value)
        seen = Cause(int(self.cause.value)).name, Kind(kind).name if kind else OTHER
        if seen != self.seen:
            self.model.meet("cause by command", seen)
            if self.seen and seen[0] != self.seen[0]:
                self.model.meet("causes", (self.seen[0], seen[0]))
            self.seen = seen
        self.stalled = self.stalled + 1 if self.offered else 0
        if self.stalled in (1, LONG):
            self.model.meet("frames that stall", "a cycle" if self.stalled == 1 else "long")
        if self.held is not None:
            self.model.meet("answers that stall", self._awaited())

    def _awaited(self):
        """Kind of the oldest frame that is not answered, ERROR where it is refused."""
        kind = self.expected[0][1]
        return Kind(kind if kind == Kind.ERROR else kind & ~REPLY).name

    @property
    def phase(self):
        """Bin of "rst by frame" if that came now."""
        if len(self.replies) < len(self.taken):
            return "executes" if self.reply_began is None else "answers", self._awaited()
        return "a frame comes" if self.sent > (self.marks[len(self.taken) - 1] if self.taken else 0) else "rests"

    async def restart(self, cycles=1):
        if self.seen:
            self.model.meet("rst by cause", self.seen[0])
            self.model.meet("rst by frame", self.phase)
        await super().restart(cycles)

    # Link

    def put(self, frame, *expected):
        for byte, second in ESCAPED.items():
            if bytes([ESCAPE, second]) in frame:
                self.model.meet("escapes", ("in", byte))
        number = super().put(frame, *expected)
        self.marks.append(len(self.link))
        return number

    def _receive(self, byte, ready):
        if ready and byte is not None and self.received[-1:] == bytes([ESCAPE]):
            self.model.meet("escapes", ("out", next(plain for plain in ESCAPED if ESCAPED[plain] == byte)))
        super()._receive(byte, ready)

    # Commands

    def load(self, address, trits):
        self.model.meet("weights", (amount(len(trits), CONFIG.depth), share(int((trits == 0).sum()), trits.size)))
        for byte in np.unique(byte_encode(trits)).tolist():
            self.model.meet("codes", byte)
        super().load(address, trits)

    def list(self, slot, y, live, *, int8, skip, most=None):
        pieces = len(self.pieces(slot, y, live, int8=int8, skip=skip, most=most))
        q = super().list(slot, y, live, int8=int8, skip=skip, most=most)
        if not int8 and (absmax := np.abs(y.astype(np.int64)).max()):
            twice, rest = np.divmod(254 * np.abs(y.astype(np.int64)), absmax)  # quotients
            for larger in set(twice[(rest == 0) & (twice % 2 == 1)] // 2 % 2):
                self.model.meet("halves between two quotients", "to the larger" if larger else "to the smaller")
        self.model.meet("columns modulo banks", live % CONFIG.banks)
        self.model.meet("length of a vector", amount(len(y), CONFIG.columns))
        self.model.meet("vector", (
            "int8" if int8 else "int32", "skip" if skip else "keep", share(int((q == 0).sum()), len(q)),
            "all live" if live == len(y) else "some live" if live else "none lives",
            "one piece" if pieces == 1 else "pieces"))
        if skip and (zeros := int((q[:live] == 0).sum())):
            self.model.meet("zeros left out", (slot, amount(zeros, CONFIG.columns)))
        lengths = {len(values) for _, values in activation_lists(q, CONFIG.banks, live, skip)}
        self.model.meet("list", (slot, "all are empty" if lengths == {0} else "alike" if len(lengths) == 1 else
                                 "one is empty" if 0 in lengths else "one is longer",
                                 "long" if max(lengths) > TRITS else "padded"))
        return q

    def open(self, slot, y, int8, skip):
        """The first of two pieces of a vector. Returns the second."""
        self.reference.lists.pop(slot, None)
        first, second = self.pieces(slot, y, len(y), int8=int8, skip=skip, most=-(-len(y) // 2))
        self.send(Kind.VECTOR, first)
        self.reference.counted[Register.BYTES_VECTOR] += len(first) - VECTOR_BYTES
        return second

    def run(self, slot, base, stride, blocks, destination, *, alone=False):
        words = max(self.reference.lists[slot][1].words, 1)
        most = min(CONFIG.depth // words, CONFIG.blocks)
        self.model.meet("blocks of a run", "most" if blocks == most else {1: "one", 2: "two"}.get(blocks, "more"))
        self.model.meet("place of a run", (place(base, CONFIG.depth - blocks * stride),
                                           "tight" if stride <= words else "gaps",
                                           place(destination, CONFIG.blocks - blocks)))
        super().run(slot, base, stride, blocks, destination, alone=alone)

    def fetch(self, first=0, count=MOST_RESULTS):
        count = min(count, MOST_RESULTS, CONFIG.blocks - first)
        self.model.meet("results", (amount(count, min(MOST_RESULTS, CONFIG.blocks)),
                                    place(first, CONFIG.blocks - count)))
        return super().fetch(first, count)

    def read(self, first, count):
        self.model.meet("registers", ("first", Register(first).name))
        self.model.meet("registers", ("last", Register(first + count - 1).name))
        return self.send(Kind.READ, span(first, count), None)

    def check_trace(self, *, dropped=False):
        products = self.products
        for _, tile, raw in self.results:
            result = fields(Result(CONFIG), raw)
            value = result["value"]
            self.model.meet("accumulators", (tile, result["address"] % TRITS, EXTREMES.get(
                value, "negative" if value < 0 else "positive")))
        starts = super().check_trace(dropped=dropped)
        if dropped:
            return starts
        lasts = [start + product.blocks * product.beats - 1 for start, product in zip(starts, products, strict=True)]
        for index, product in enumerate(products):
            self.model.meet("beats of a run", product.beats)
            taken = self.taken[product.frame]
            before = sum(last + flush_cycles(CONFIG) >= taken for last in lasts[:index])
            self.model.meet("runs before", min(before, QUEUE_DEPTH + 2))
            if index:
                gap, slot = starts[index] - lasts[index - 1] - 1, products[index - 1].slot
                self.model.meet("runs that follow", (
                    "later" if gap > flush_cycles(CONFIG) else "while the last is flushed" if gap else "at once",
                    "same list" if slot == product.slot else "other list"))
        return starts

    # Random

    def vector(self, n, int8, zeros="no zeros"):
        """One of ``n`` elements."""
        q = self.numbers.integers(1, 128, n) * self.numbers.choice([-1, 1], n)
        if zeros == "zeros":
            q[self.rng.choice([np.arange(n) % CONFIG.banks == 0, self.numbers.random(n) < .3])] = 0
        elif zeros == "only zeros":
            q[:] = 0
        if int8:
            return q
        y = q << self.rng.randrange(25)
        if self.rng.random() < .5:  # either side of each half between two quotients
            absmax = int(2 ** self.rng.uniform(8, 31))
            absmax -= self.rng.choice([0, absmax % 254])  # of a multiple of 254 they are integers
            halves = (2 * np.minimum(abs(q), 126) + 1) * absmax // 254 + self.numbers.integers(-1, 2, n)
            halves[self.rng.randrange(n)] = absmax
            y = np.sign(q) * halves
        if zeros != "only zeros" and self.rng.random() < .1:
            y[self.rng.randrange(n)] = np.iinfo(np.int32).min
        return y

    def trits(self, words):
        return ternary(self.numbers, (words, CONFIG.banks, CONFIG.tiles, TRITS), self.rng.choice([0, .3, 1]))

    def size(self, most, least=1):
        """A number whose extremes are likely."""
        return self.rng.choice([least, most, self.rng.randint(least, most)])

    async def fill(self):
        """Weights and results that are known, and a list in each slot."""
        self.idle = self.stall = 0.0
        self.load_all()
        for slot in range(CONFIG.slots):
            self.list(slot, self.vector(CONFIG.columns, True), CONFIG.columns, int8=True, skip=False)
        words = -(-CONFIG.columns // CONFIG.banks)
        blocks = min(CONFIG.depth // words, CONFIG.blocks)
        for first in range(0, CONFIG.blocks, blocks):
            self.run(0, 0, words, min(blocks, CONFIG.blocks - first), first)
        await self.settle()

    def likely(self, point):
        """A bin of a point, likely one that was not met."""
        missing = self.model.missing(point)
        return self.rng.choice(missing if missing and self.rng.random() < .8 else self.model.points[point].bins)

    async def issues(self, left):
        """Until of the beats of all runs at most so many are left."""
        beats = sum(product.blocks * product.beats for product in self.products) - left
        while len(self.tokens) < beats:
            await self.step()

    async def settle(self):
        """Until nothing runs, all that ran was right, and the counters say so."""
        await self.ask(Kind.WAIT)
        found = await self.registers()
        for register, value in self.reference.counted.items():
            assert found[register] == value % 2 ** 32, f"{register.name} is {found[register]}, not {value}"
        self.check_trace()


# Actions: what each does is random, and so is their order.

async def shapes(bench):
    """A product on an idle machine, by golden.matvec."""
    rng = bench.rng
    words, int8 = bench.likely("beats of a run"), rng.random() < .5
    live = rng.choice([0, rng.randint(0, CONFIG.banks * TRITS), CONFIG.banks * words - rng.randrange(CONFIG.banks)])
    n = rng.choice([max(live, 1), CONFIG.columns, rng.randint(max(live, 1), CONFIG.columns)])
    stride = -(-live // CONFIG.banks) + rng.choice([0, 0, 1, 3])
    blocks = bench.size(min(CONFIG.depth // max(stride, 1), CONFIG.blocks, MOST_RESULTS))
    w = ternary(bench.numbers, (blocks * CONFIG.rows - rng.randrange(CONFIG.rows), n), rng.choice([0, .3, 1]))
    bench.model.meet("rows modulo R", len(w) % CONFIG.rows)
    await multiply(bench, w, bench.vector(n, int8, "zeros"), int8=int8, skip=rng.random() < .5, live=live,
                   slot=rng.randrange(CONFIG.slots), gap=stride - -(-live // CONFIG.banks),
                   base=bench.size(CONFIG.depth - blocks * stride, 0),
                   destination=bench.size(CONFIG.blocks - blocks, 0),
                   most=rng.choice([None, 1 + n // 3]), wait=rng.random() < .5)


async def extremes(bench):
    n = CONFIG.columns
    for weight in (1, -1):
        await multiply(bench, np.full((CONFIG.rows, n), weight, np.int8), np.full(n, -128), int8=True,
                       skip=bench.rng.random() < .5)


def lists(bench, slot):
    """A vector of any length, form and content."""
    rng, n = bench.rng, bench.size(CONFIG.columns)
    form, skip, zeros, lives, pieces = bench.likely("vector")
    live = {"none lives": 0, "all live": n}.get(lives, rng.randint(0, n))
    bench.list(slot, bench.vector(n, form == "int8", zeros), live, int8=form == "int8", skip=skip == "skip",
               most=None if pieces == "one piece" else 1 + n // 3)


async def vectors(bench):
    for _ in range(20):
        lists(bench, bench.rng.randrange(CONFIG.slots))
    await bench.settle()


async def overlaps(bench):
    """A short vector, a run, or weights, while the last run ends."""
    bench.idle = bench.stall = 0.0
    words = -(-CONFIG.columns // CONFIG.banks)
    bench.list(0, bench.vector(CONFIG.columns, True), CONFIG.columns, int8=True, skip=False)
    for _ in range(8):
        n = bench.rng.randint(1, 8)
        bench.run(0, 0, words, CONFIG.depth // words, 0)
        await bench.done()
        await bench.issues(bench.rng.randint(0, CONFIG.depth))
        bench.list(1, bench.vector(n, False), n, int8=False, skip=True)
        await bench.ask(Kind.WAIT)
        bench.run(0, 0, words, CONFIG.depth // words, 0)
        await bench.done()
        await bench.issues(bench.rng.randint(60, 95))
        bench.run(bench.rng.randrange(2), 0, words, 1, 0)
        await bench.ask(Kind.WAIT)
        bench.run(0, 0, words, CONFIG.depth // 2 // words, 0)
        await bench.done()
        await bench.issues(bench.rng.randint(0, CONFIG.depth // 2))
        sends(bench, Kind.WEIGHTS.name)
        await bench.ask(Kind.WAIT)
    await bench.settle()


async def pairs(bench):
    """A command right after a vector or a run."""
    bench.idle = bench.stall = 0.0
    for _ in range(8):
        await bench.ask(Kind.WAIT)
        cause, name = bench.likely("cause by command")
        bench.list(1, bench.vector(CONFIG.columns, False), CONFIG.columns, int8=False, skip=True)
        if cause in ("ISSUE", "FLUSH"):
            await bench.done()
            words = -(-CONFIG.columns // CONFIG.banks)
            bench.run(0, 0, words, bench.rng.randint(1, CONFIG.depth // 2 // words), 0)
            await bench.done()
            await bench.issues(bench.rng.randrange(80))
        sends(bench, name)
        await bench.done()
        if name == Kind.READ.name:  # nothing was counted meanwhile
            await bench.ask(Kind.WAIT)
            bench.check_trace()
            await bench.ask(Kind.RESET)
        if name in (Kind.READ.name, Kind.RESET.name):
            await bench.steps(flush_cycles(CONFIG))  # what was on its way through the array
            bench.forget_trace()
            bench.reference.reset()
            await bench.fill()
    await bench.settle()


async def bursts(bench):
    """Runs, and lists and weights that they do not use, without waiting; and reading in between."""
    rng, limit = bench.rng, bench.rng.choice([CONFIG.depth, CONFIG.depth // 2])
    for slot in range(CONFIG.slots):
        lists(bench, slot)
    used = rng.choice([[slot] for slot in range(CONFIG.slots)] + [list(range(CONFIG.slots))])
    for _ in range(rng.randint(2, 12)):
        slot = rng.choice(used)
        words = max(bench.reference.lists[slot][1].words, 1)
        stride = rng.choice([words, words, rng.randint(words, limit)])
        blocks = bench.size(min(limit // stride, CONFIG.blocks))
        bench.run(slot, bench.size(limit - blocks * stride, 0), stride, blocks, bench.size(CONFIG.blocks - blocks, 0))
        match rng.randrange(12):
            case 0:
                bench.send(Kind.WAIT)
            case 1:
                bench.fetch(bench.size(CONFIG.blocks - 1, 0), bench.size(CONFIG.blocks))
            case 2 if limit < CONFIG.depth:
                words = rng.randint(1, CONFIG.depth - limit)
                bench.load(CONFIG.depth - words, bench.trits(words))
            case 3 | 4:
                for slot in set(range(CONFIG.slots)) - set(used):
                    bench.list(slot, bench.vector(CONFIG.columns, False), CONFIG.columns, int8=False, skip=True)
            case 5:
                await bench.done()
                await bench.issues(rng.choice([rng.randrange(40), rng.randint(65, 90)]))
            case 6:
                bench.send(Kind.WAIT)  # nothing is counted while registers are read
                bench.read(0, REGISTERS)
            case 7:
                sends(bench, "ERROR")
    await bench.settle()


async def loads(bench):
    for _ in range(4):
        words = bench.size(CONFIG.depth)
        bench.load(bench.size(CONFIG.depth - words, 0), bench.trits(words))
    await bench.settle()


async def reads(bench):
    for _ in range(8):
        which, name = bench.likely("registers")
        first = last = Register[name]
        if which == "first":
            last = first + bench.size(REGISTERS - first) - 1
        else:
            first = bench.size(last, 0)
        bench.read(first, last - first + 1)
        count = bench.size(min(MOST_RESULTS, CONFIG.blocks))
        bench.fetch(bench.size(CONFIG.blocks - count, 0), count)
    await bench.settle()


async def floods(bench):
    """More frames than the machine has room for, while no answer can leave."""
    bench.idle, bench.stall = 0.0, 1.0
    for _ in range(2 * (WINDOW_BYTES // (CONFIG.depth * WORD_BYTES) + 1)):
        bench.load(0, bench.trits(CONFIG.depth))
    while bench.stalled < LONG:
        await bench.step()
    bench.stall = 0.0
    await bench.settle()


async def refuses(bench):
    """Frames with one or two faults; what follows shows that they changed nothing."""
    whole, last = np.full(CONFIG.columns, 1), CONFIG.slots - 1
    bench.list(0, whole, CONFIG.columns, int8=True, skip=True)
    if bench.rng.random() < .5:
        bench.open(last, bench.vector(CONFIG.columns, False), False, True)
    await bench.done()
    for _ in range(8):
        await refused(bench)
    bench.list(last, whole, CONFIG.columns, int8=True, skip=True)
    await bench.settle()


async def refused(bench):
    rng = bench.rng
    match rng.randrange(3):
        case 0:
            faults, kinds = {"CODE"}, COMMANDS
        case 1:
            name, error = bench.likely("errors")
            kinds = [OTHER if name == OTHER else Kind[name]]
            faults = {rng.choice([fault for fault in FAULTS
                                  if FAULTS[fault].name == error and possible(fault, kinds[0])])}
        case 2:
            faults, kinds = set(bench.likely("order of errors")), [*COMMANDS, OTHER]
    kind = rng.choice([kind for kind in kinds if all(possible(fault, kind) for fault in faults)])
    if kind == OTHER:
        faults.add("KIND")
    frame, sequence = faulty(bench, kind, faults)
    first, *rest = [fault for fault in FAULTS if fault in faults]
    await bench.errs(f"{kind} {faults}", command(0, sequence), FAULTS[first], raw=frame)
    bench.model.meet("errors", (OTHER if kind == OTHER else kind.name, FAULTS[first].name))
    for second in rest:
        if (first, second) not in bench.model.points["order of errors"].holes:
            bench.model.meet("order of errors", (first, second))


def faulty(bench, kind, faults):
    """A frame with these faults and no others, and its sequence."""
    rng, sequence = bench.rng, bench.next_sequence()
    payload = ARGUMENTS.get(kind, lambda bench, faults: b"")(bench, faults)
    length = len(payload)
    if "LENGTH of the frame" in faults:
        if rng.random() < .5 and kind not in (OTHER, Kind.WEIGHTS, Kind.VECTOR):  # of which the kind knows the length
            payload = payload[:-1] if payload and rng.random() < .5 else payload + bytes(rng.randint(1, 3))
            length = len(payload)
        else:
            length = rng.choice([length + 1, length + 256, 0xffff, *([length - 1] if length else [])])
    number = rng.choice([0, 8, 0x55, 0x81, 0xff]) if kind == OTHER else kind
    body = command(number, sequence, payload, length=length)
    crc = zlib.crc32(body).to_bytes(4, "little")
    if "CRC" in faults and rng.random() < .5:
        return escape(body)[:-1] + bytes([ESCAPE, ESCAPED_END + 9]) + escape(crc)[1:], sequence
    if "CRC" in faults:
        crc = bytes([crc[0] ^ 1 << rng.randrange(8)]) + crc[1:]
    return escape(body + crc), sequence


def weights_arguments(bench, faults):
    rng = bench.rng
    count = rng.randint(1, min(CONFIG.depth, 20))
    last = CONFIG.depth - count
    address = rng.choice([last + 1, 0xffff]) if "RANGE" in faults else rng.randint(0, last)
    codes = bytearray(byte_encode(bench.trits(count)).tobytes())
    if "CODE" in faults:
        byte = rng.choice([code for code in bench.model.missing("codes") if code in BYTE_INVALID] or BYTE_INVALID)
        codes[rng.randrange(len(codes))] = byte
        if faults == {"CODE"}:
            bench.model.meet("codes", byte)
    if "LENGTH of the data" in faults:
        codes += bytes([codes[-1]])
    return struct.pack("<HH", address, count) + codes


def vector_arguments(bench, faults):
    rng = bench.rng
    values = dict(slot=rng.randrange(CONFIG.slots), flags=int(Flags.SKIP), length=CONFIG.columns, live=CONFIG.columns,
                  offset=0)
    if "ORDER" in faults:  # neither the whole vector nor half of it continues here
        values["offset"] = CONFIG.columns // 2 - 1
    if "RANGE" in faults:
        name = rng.choice(["slot", "flags", "live"])
        values[name] = rng.choice([{"slot": CONFIG.slots, "flags": 4, "live": CONFIG.columns + 1}[name], 255])
    elements = rng.randint(1, 3)
    size = 4 * elements + (rng.randint(1, 3) if "LENGTH of the data" in faults else 0)
    return struct.pack("<BBHHH", *values.values()) + bytes(size)


def run_arguments(bench, faults):
    rng = bench.rng
    listed = [slot for slot in bench.reference.lists if bench.reference.lists[slot][1].words]
    missing = [slot for slot in range(CONFIG.slots) if slot not in bench.reference.lists]
    slot, zero, base, blocks, destination = rng.choice(listed), 0, 0, 1, 0
    stride = max(bench.reference.lists[slot][1].words, 1)
    if "LIST" in faults:
        if missing:
            slot = missing[0]
        else:
            stride = bench.reference.lists[slot][1].words - 1
    if "RANGE" in faults:
        match rng.randrange(5):
            case 0:
                zero = rng.randint(1, 255)
            case 1:
                base = rng.choice([CONFIG.depth - stride + 1, 0xffff])
            case 2:
                blocks = 0
            case 3:
                destination = rng.choice([CONFIG.blocks, 0xffff])
            case 4:
                blocks = CONFIG.blocks + 1
    return struct.pack("<BBHHHH", slot, zero, base, stride, blocks, destination)


def span_arguments(limit, most):
    def arguments(bench, faults):
        first = bench.rng.randrange(limit)
        count = bench.rng.randint(1, min(limit - first, most))
        return span(bench.rng.choice([limit, limit - count + 1, 0xffff]) if "RANGE" in faults else first, count)
    return arguments


def other_arguments(bench, faults):
    return bytes(4) + bytes([bench.rng.choice(BYTE_INVALID) if "CODE" in faults else 0]) * bench.rng.randint(1, 5)


ARGUMENTS = {Kind.READ: span_arguments(REGISTERS, REGISTERS), Kind.WEIGHTS: weights_arguments,
             Kind.VECTOR: vector_arguments, Kind.RUN: run_arguments,
             Kind.RESULTS: span_arguments(CONFIG.blocks, MOST_RESULTS), OTHER: other_arguments}


async def resets(bench):
    """RESET, whatever runs."""
    rng = bench.rng
    bench.idle = 0.0
    words = -(-CONFIG.columns // CONFIG.banks)
    state, vector = bench.likely("RESET")
    bench.stall = .5 if state == "rests" else 0.0
    pieces, runs = [], {"rests": 0, "two runs": 2}.get(state, 1)
    bench.list(0, bench.vector(CONFIG.columns, True), CONFIG.columns, int8=True, skip=False)
    if vector == "open vector":
        pieces = [bench.open(1, bench.vector(CONFIG.columns, False), False, True)]
    await bench.done()
    blocks = CONFIG.depth // words
    for _ in range(runs):
        bench.run(0, 0, words, blocks, 0)
    beats = runs * blocks * words
    await bench.issues({"two runs": beats, "a run is flushed": rng.randrange(15, 40)}.get(state, rng.randint(0, beats)))
    number = bench.send(Kind.RESET)
    await bench.done()
    last = bench.tokens[-1][0] if bench.tokens else -np.inf
    begun = sum(len(bench.tokens) > index * blocks * words for index in range(runs))
    late = bench.begun[number] - last
    if len(bench.tokens) < runs * blocks * words:
        assert late == RESET_CYCLES, f"the answer to RESET came {late} cycles after the last beat"
        state = "two runs" if begun < runs else "a run is issued"
    else:
        state = "a run is flushed" if late - RESET_CYCLES <= flush_cycles(CONFIG) else "rests"
    bench.model.meet("RESET", (state, "open vector" if pieces else "none"))
    await is_reset(bench, pieces)
    await bench.fill()


async def restarts(bench):
    """The port rst, in a cycle of a kind that is not met yet, or any."""
    rng, model = bench.rng, bench.model
    by_frame, by_cause = model.missing("rst by frame"), model.missing("rst by cause")
    target, cause = rng.choice(by_frame) if by_frame else "rests", rng.choice(by_cause) if by_cause else None
    bench.stall = .5
    if cause:
        for _ in range(2):
            bench.load(0, bench.trits(CONFIG.depth))
            bench.list(1, bench.vector(CONFIG.columns, False), CONFIG.columns, int8=False, skip=True)
            bench.run(1, 0, -(-CONFIG.columns // CONFIG.banks), 2, 0)
            bench.send(Kind.WAIT)
        await until(bench, lambda: bench.seen and bench.seen[0] == cause)
    else:
        name = rng.choice(NAMES) if isinstance(target, str) else target[1]
        sends(bench, name)
        await until(bench, lambda: bench.phase == target)
        await bench.steps(rng.choice([0, 0, rng.randrange(10)]))
    await bench.restart(rng.choice([1, 1, 2, 5]))
    bench.forget_trace()
    await bench.steps(flush_cycles(CONFIG))  # what was on its way through the array
    bench.forget_trace()
    await bench.fill()


async def until(bench, condition):
    for _ in range(5000):
        await bench.step()
        if condition():
            return


def sends(bench, name):
    """A command by name, or a frame that is refused. It writes neither list 0 nor the lower half of the weights."""
    match name:
        case "READ":
            bench.read(0, REGISTERS)
        case "WEIGHTS":
            bench.load(CONFIG.depth // 2, bench.trits(CONFIG.depth // 2))
        case "VECTOR":
            lists(bench, 1)
        case "RUN":
            bench.run(0, 0, -(-CONFIG.columns // CONFIG.banks), 1, 0)
        case "RESULTS":
            bench.fetch(0, 4)
        case "ERROR" | "none":
            frame, sequence = faulty(bench, OTHER, {"KIND"})
            bench.put(frame, "refused", Kind.ERROR, sequence, bytes([Error.KIND]))
        case _:
            bench.send(Kind[name])


ACTIONS = {
    shapes: ["rows modulo R", "beats of a run"],
    vectors: ["columns modulo banks", "vector", "length of a vector", "halves between two quotients", "list"],
    overlaps: ["causes", "runs that follow"],
    pairs: ["cause by command"],
    extremes: ["accumulators"],
    bursts: ["runs that follow", "runs before", "blocks of a run", "place of a run"],
    loads: ["weights", "codes"],
    reads: ["registers", "results", "escapes"],
    floods: ["frames that stall"],
    refuses: ["errors", "order of errors", "codes", "answers that stall"],
    resets: ["RESET", "answers that stall"],
    restarts: ["rst by cause", "rst by frame"],
}


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def is_right(dut):
    model = Model("top", POINTS)
    bench = Observer(dut, model, parameters()["seed"])
    await bench.restart()
    await bench.fill()
    report = Path(parameters()["report"])
    written = report.with_suffix(".part")
    while not model.closed and bench.cycle < parameters()["cycles"]:
        missing = [sum(len(model.missing(point)) for point in points) for points in ACTIONS.values()]
        action, = bench.rng.choices(list(ACTIONS), [.2 + min(count, 20) for count in missing])
        bench.idle, bench.stall = bench.rng.choice([(0.0, 0.0), (0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.3, 0.3)])
        await action(bench)
        written.write_text(json.dumps(dict(cycles=bench.cycle, seed=parameters()["seed"], points=model.report())))
        written.replace(report)  # it is read meanwhile
