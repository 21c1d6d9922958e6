import random
import struct

import pytest

from setun.hdl.config import TRITS, Config
from setun.hdl.control.executor import Executor
from setun.hdl.control.program import digits
from setun.hdl.protocol import ACCUMULATOR_BYTES, MAX_PAYLOAD, REPLY, Error, Flags, Kind, Register
from setun.sim.verify.streams import simulate


CONFIG = Config(name="test", banks=2, tiles=2, depth=40, columns=30, blocks=50, slots=3)
WORD = CONFIG.banks * CONFIG.tiles  # bytes
LATENCY = 44  # cycles from the first byte of a RUN to its being queued, and two for each digit of the factor
BLOCK = CONFIG.rows * ACCUMULATOR_BYTES
STALLS = [(0, 0), (0.6, 0), (0, 0.6), (0.5, 0.5)]
PULSES = ("clear", "registers_start", "load_start", "vector_start", "results_start")
STREAMS = ("o_header", "o_payload", "o_weights", "o_vector", "i", "i_registers", "i_results")
WRITES = {"base": ("base",), "stride": ("stride",), "blocks": ("blocks",),
          "rest": ("slot", "beats", "active", "destination")}  # fields of a run by what keeps them
FORMATS = {  # of the arguments, as registers has them in its table
    Kind.READ: {"first": "H", "count": "H"},
    Kind.WEIGHTS: {"address": "H", "count": "H"},
    Kind.VECTOR: {"slot": "B", "flags": "B", "length": "H", "live": "H", "offset": "H"},
    Kind.RUN: {"slot": "B", "zero": "B", "base": "H", "stride": "H", "blocks": "H", "destination": "H"},
    Kind.WAIT: {},
    Kind.RESULTS: {"first": "H", "count": "H"},
    Kind.RESET: {},
}
WITH_DATA = (Kind.WEIGHTS, Kind.VECTOR)
OPENED = ("slot", "flags", "length", "live")


def argument_bytes(kind):
    return struct.calcsize("<" + "".join(FORMATS[kind].values()))


def frame_of(kind, payload=b"", *, sequence=0, error=Error.NONE, decodable=1):
    """As it comes from the FrameReceiver."""
    return struct.pack("<BBHB", kind, sequence, len(payload), error | (not decodable) << 7) + payload


def item_of(kind, data=b"", *, sequence=0, error=Error.NONE, decodable=1, ready=-1, words=1, beats=TRITS, active=1,
            **arguments):
    """A frame with its arguments and data, and the list that is found in its slot."""
    fields = FORMATS.get(kind, {})
    payload = struct.pack("<" + "".join(fields.values()), *(arguments.get(name, 0) for name in fields)) + data
    frame = frame_of(kind, b"" if error else payload, sequence=sequence, error=error, decodable=decodable)
    return frame, arguments, ready % (1 << CONFIG.slots), {"words": words, "beats": beats, "active": active}


def bytes_of(kind, payload, **options):
    """An item with any payload, which is refused for what it is."""
    return frame_of(kind, payload, **options), {}, 0, {"words": 1, "beats": TRITS, "active": 1}


def read(first, count, **options):
    return item_of(Kind.READ, first=first, count=count, **options)


def weights(address, count, size=None, **options):
    return item_of(Kind.WEIGHTS, random.Random(address).randbytes(count * WORD if size is None else size),
                   address=address, count=count, **options)


def vector(size, *, slot=0, flags=0, length=12, live=12, offset=0, **options):
    return item_of(Kind.VECTOR, random.Random(offset).randbytes(size), slot=slot, flags=flags, length=length, live=live,
                   offset=offset, **options)


def run(*, slot=0, base=0, stride=2, blocks=1, destination=0, **options):
    return item_of(Kind.RUN, slot=slot, base=base, stride=stride, blocks=blocks, destination=destination, **options)


def results(first, count, **options):
    return item_of(Kind.RESULTS, first=first, count=count, **options)


def answer_bytes(number, count):
    return random.Random(number).randbytes(count)


class Machine:
    """What registers.py says of a command: ``execute`` in the order of the link."""

    def __init__(self):
        self.opened, self.expected, self.number = None, 0, -1

    def unsound(self, frame):
        """Why the frame as such is refused, in the order of precedence."""
        kind, _, length, status = struct.unpack_from("<BBHB", frame)
        if status & 7:
            return Error(status & 7)
        if kind not in FORMATS:
            return Error.KIND
        excess = length - argument_bytes(kind)
        if excess < 0 or excess and kind not in WITH_DATA:
            return Error.LENGTH
        return Error.CODE if kind == Kind.WEIGHTS and status >> 7 else Error.NONE

    def refusals(self, item):
        """Reasons why a command is refused, in the order of precedence."""
        (frame, arguments, ready, list_state), config = item, CONFIG
        if error := self.unsound(frame):
            return [error]
        kind, data = frame[0], frame[5 + argument_bytes(frame[0]):]
        reasons = set()

        def refuse(condition, error):
            if condition:
                reasons.add(error)
        match kind:
            case Kind.READ:
                refuse(arguments["first"] + arguments["count"] > len(Register), Error.RANGE)
            case Kind.WEIGHTS:
                refuse(len(data) != arguments["count"] * WORD, Error.LENGTH)
                refuse(arguments["address"] + arguments["count"] > config.depth, Error.RANGE)
            case Kind.VECTOR:
                size = 1 if arguments["flags"] & Flags.INT8 else 4
                refuse(len(data) == 0 or len(data) % size, Error.LENGTH)
                refuse(arguments["slot"] >= config.slots or arguments["length"] > config.columns
                       or arguments["live"] > arguments["length"] or arguments["flags"] > Flags.INT8 + Flags.SKIP
                       or size * arguments["offset"] + len(data) > size * arguments["length"], Error.RANGE)
                same = self.opened == tuple(arguments[name] for name in OPENED)
                refuse(arguments["offset"] and not (same and arguments["offset"] == self.expected), Error.ORDER)
            case Kind.RUN:
                refuse(arguments["slot"] >= config.slots or arguments.get("zero") or arguments["blocks"] == 0
                       or arguments["base"] + arguments["blocks"] * arguments["stride"] > config.depth
                       or arguments["destination"] + arguments["blocks"] > config.blocks, Error.RANGE)
                refuse(not ready >> arguments["slot"] & 1 or list_state["words"] > arguments["stride"], Error.LIST)
            case Kind.RESULTS:
                refuse(arguments["count"] == 0 or arguments["first"] + arguments["count"] > config.blocks
                       or arguments["count"] * BLOCK > MAX_PAYLOAD, Error.RANGE)
        return [error for error in (Error.RANGE, Error.LENGTH, Error.ORDER, Error.LIST) if error in reasons]

    def execute(self, item):
        """(what is done, bytes of weights and vector, kind and payload of the reply) of a command not refused."""
        frame, arguments, _, list_state = item
        kind, payload, done, sent = frame[0], b"", [], {"weights": b"", "vector": b""}
        data = frame[5 + argument_bytes(kind):]
        match kind:
            case Kind.READ:
                done = [("registers_start", arguments["first"], arguments["count"])] if arguments["count"] else []
                payload = answer_bytes(self.number, 4 * arguments["count"])
            case Kind.WEIGHTS:
                done, sent["weights"] = [("load_start", arguments["address"])], data
            case Kind.VECTOR:
                count = len(data) // (1 if arguments["flags"] & Flags.INT8 else 4)
                done, sent["vector"] = [("vector_start", not arguments["offset"],
                                         *(arguments[name] for name in OPENED))], data
                self.opened = tuple(arguments[name] for name in OPENED)
                self.expected = (arguments["offset"] + count) % arguments["length"]
            case Kind.RUN:
                done = [("run", {"slot": arguments["slot"], "beats": list_state["beats"],
                                 "active": list_state["active"], "base": arguments["base"],
                                 "stride": arguments["stride"], "blocks": arguments["blocks"],
                                 "destination": TRITS * arguments["destination"]})]
            case Kind.RESULTS:
                done = [("results_start", TRITS * arguments["first"], arguments["count"])]
                payload = answer_bytes(self.number, arguments["count"] * BLOCK)
            case Kind.RESET:
                done, self.expected = [("clear",)], 0
        return done, sent, (kind | REPLY, payload)

    def __call__(self, item):
        """(reasons to refuse, what else happens) of the next command."""
        self.number += 1
        reasons = self.refusals(item)
        return reasons, None if reasons else self.execute(item)


class Bench:
    """Executor with all that is around it. ``stall_in`` and ``stall_out`` are of the streams into it and out of it."""

    def __init__(self, stall_in, stall_out):
        self.executor, self.rng = Executor(CONFIG), random.Random(0)
        self.stall_in, self.stall_out = stall_in, stall_out
        self.busy, self.pending, self.waiting, self.expected = 0, 0, 0, 0  # as VectorUnit and Sequencer show them
        self.left, self.registers, self.results, self.delay = 0, [], [], 0
        self.run = {}

    def drive(self, ctx, ready, list_state, link):
        """Inputs of a cycle: what the executor must not look at is noise."""
        executor, rng = self.executor, self.rng
        noise = {"words": rng.randrange(16), "beats": rng.randrange(16), "active": rng.randrange(31)}
        ctx.set(executor.vector_busy, self.busy > 0)
        ctx.set(executor.vector_expected, rng.randrange(31) if self.busy else self.expected)
        ctx.set(executor.ready, rng.randrange(8) if self.busy else ready)
        ctx.set(executor.list, noise if self.busy else list_state)
        ctx.set(executor.pending, self.pending)
        ctx.set(executor.waiting, self.waiting)
        for stream, queue in ((executor.i, link), (executor.i_registers, self.registers),
                              (executor.i_results, self.results)):
            if not queue or stream is executor.i_registers and self.delay:
                ctx.set(stream.valid, 0)
            elif not ctx.get(stream.valid) and rng.random() >= self.stall_in:
                ctx.set(stream.valid, 1)
            ctx.set(stream.payload, queue[0] if queue else rng.randrange(256))
        ctx.set(executor.o_vector.ready, self.left > 0 and rng.random() >= self.stall_out)
        for stream in (executor.o_weights, executor.o_header, executor.o_payload):
            ctx.set(stream.ready, rng.random() >= self.stall_out)

    def start(self, ctx, name, number, item):
        """What a pulse says, and what follows it."""
        executor, (frame, arguments, *_) = self.executor, item
        word, factor = ctx.get(executor.word), ctx.get(executor.factor)
        match name:
            case "registers_start":
                self.registers.extend(answer_bytes(number, 4 * arguments["count"]))
                self.delay = self.rng.randrange(1, 30)
                return name, word, factor
            case "load_start":
                return name, word
            case "vector_start":
                self.left, self.busy = len(frame) - 5 - argument_bytes(Kind.VECTOR), self.rng.randrange(1, 60)
                count = self.left // (1 if arguments["flags"] & Flags.INT8 else 4)
                self.expected = (arguments["offset"] + count) % arguments["length"]
                return (name, bool(ctx.get(executor.vector_opens)), ctx.get(executor.slot), ctx.get(executor.flags),
                        word, factor)
            case "results_start":
                assert self.pending == 0
                self.results.extend(answer_bytes(number, arguments["count"] * BLOCK))
                return name, ctx.get(executor.result), factor
            case "clear":
                self.pending = self.waiting = self.expected = 0
                return (name,)

    async def command(self, ctx, number, item, link):
        """As Machine.execute returns it, with the sequence of the reply, and how many bytes of ``link`` are taken."""
        frame, arguments, ready, list_state = item
        executor, rng, offered = self.executor, self.rng, len(link)
        done, sent = [], {"weights": b"", "vector": b""}
        header, ended, payload = None, False, b""
        while not ended:
            self.drive(ctx, ready, list_state, link)
            done += [self.start(ctx, name, number, item) for name in PULSES if ctx.get(getattr(executor, name))]
            for name, fields in WRITES.items():
                if ctx.get(executor.run_write[name]):
                    assert not self.waiting
                    self.run |= {field: ctx.get(executor.o_run[field]) for field in fields}
            queued = ctx.get(executor.run_write.rest)
            _, _, *samples = await ctx.tick().sample(
                *(getattr(getattr(executor, name), port) for name in STREAMS for port in ("valid", "ready", "payload")))
            valid = {name for name, bit in zip(STREAMS, samples[::3], strict=True) if bit}
            moved = {name: value for name, *bits, value in zip(STREAMS, *(samples[port::3] for port in range(3)),
                                                               strict=True) if all(bits)}
            if queued:
                done.append(("run", self.run))
                self.run, self.waiting = {}, 1
            finishing = self.pending > 0 and rng.random() < 0.02
            self.pending += queued - finishing
            self.waiting &= self.pending > 0 and rng.random() >= 0.02
            self.delay -= self.delay > 0
            if self.delay:
                assert ctx.get(executor.word) == arguments["first"]

            for name in sent:
                if f"o_{name}" in moved:
                    sent[name] += bytes([moved[f"o_{name}"]])
            for name, queue in (("i", link), ("i_registers", self.registers), ("i_results", self.results)):
                if name in moved:
                    queue.pop(0)
            self.left -= "o_vector" in moved
            self.busy -= self.busy > 0 and self.left == 0

            if "o_header" in valid:
                assert header is None and not self.left
                assert (frame[0] != Kind.WAIT or self.pending == 0
                        or ctx.get(executor.o_header.payload.kind) == Kind.ERROR)
            if "o_header" in moved:
                header = moved["o_header"]
            if "o_payload" in moved:
                assert header is not None
                ended = moved["o_payload"].end
                payload += bytes([moved["o_payload"].data] * (not ended))
        assert len(payload) == header.length
        assert not self.results and not self.registers and not self.run
        return done, sent, (header.kind, payload), header.sequence, offered - len(link)


def rtl_execute(items, *, stall_in=0.0, stall_out=0.0):
    """What Bench.command returns of each item. All frames are there from the beginning."""
    bench, outcomes, link = Bench(stall_in, stall_out), [], list(b"".join(frame for frame, *_ in items))

    async def commands(ctx):
        for number, item in enumerate(items):
            outcomes.append(await bench.command(ctx, number, item, link))

    simulate(bench.executor, commands, cycles=200_000)
    return outcomes


def assert_executed(items, **options):
    """Returns the errors."""
    machine, errors = Machine(), []
    for item, (*outcome, sequence, taken) in zip(items, rtl_execute(items, **options), strict=True):
        frame = item[0]
        reasons, expected = machine(item)
        assert sequence == frame[1] and taken == len(frame)
        if reasons:
            assert outcome == [[], {"weights": b"", "vector": b""}, (Kind.ERROR, bytes([reasons[0]]))]
            errors.append(Error(reasons[0]))
        else:
            assert tuple(outcome) == expected
            errors.append(Error.NONE)
    return errors


def random_items(rng, count):
    """Mostly commands that are done."""
    machine, items = Machine(), []
    for sequence in range(count):
        options = {"sequence": sequence, "error": Error.CRC if rng.random() < 0.05 else Error.NONE,
                   "decodable": rng.random() >= 0.1}
        match rng.choice([*FORMATS, Kind.VECTOR, Kind.RUN, Kind.RUN, None]):
            case None:
                item = bytes_of(rng.choice([0, *FORMATS, 8, 0x81, 0xff]), rng.randbytes(rng.randrange(14)),
                                sequence=sequence)
                item = item if machine.unsound(item[0]) else read(0, 1, **options)
            case Kind.READ:
                item = read(first := rng.randrange(len(Register)), rng.randint(0, len(Register) - first), **options)
            case Kind.WEIGHTS:
                item = weights(rng.randrange(36), rng.randrange(6), **options)
            case Kind.VECTOR:
                if machine.expected and rng.random() < 0.8:
                    fields, offset = dict(zip(OPENED, machine.opened, strict=True)), machine.expected
                else:
                    length = rng.randint(1, CONFIG.columns)
                    fields, offset = {"slot": rng.randrange(CONFIG.slots), "flags": rng.randrange(4), "length": length,
                                      "live": rng.randint(0, length)}, rng.choice([0, 0, 0, 1])
                elements = rng.randint(0, fields["length"] - offset)
                item = vector(elements * (1 if fields["flags"] & Flags.INT8 else 4), offset=offset, **fields, **options)
            case Kind.RUN:
                item = run(slot=rng.randrange(CONFIG.slots), base=rng.randrange(30), stride=rng.randrange(10),
                           blocks=rng.randint(1, 4), destination=rng.randrange(48), ready=rng.choice([-1, -1, 5]),
                           words=rng.randrange(5), beats=rng.randint(TRITS, CONFIG.list_depth),
                           active=rng.randint(0, CONFIG.columns), **options)
            case Kind.RESULTS:
                item = results(rng.randrange(CONFIG.blocks), rng.randint(1, 4), **options)
            case kind:
                item = item_of(kind, **options)
        machine(item)
        items.append(item)
    return items


@pytest.mark.parametrize("stall_in, stall_out", STALLS)
def test_random(stall_in, stall_out):
    errors = assert_executed(random_items(random.Random(3), 90), stall_in=stall_in, stall_out=stall_out)
    assert set(errors) == set(Error)
    assert errors.count(Error.NONE) > 40


LIMITS = {  # each command, and its answer
    "read": [
        (read(0, len(Register)), Error.NONE), (read(len(Register) - 1, 1), Error.NONE), (read(3, 0), Error.NONE),
        (read(len(Register), 0), Error.NONE), (read(0, len(Register) + 1), Error.RANGE),
        (read(len(Register) - 1, 2), Error.RANGE), (read(len(Register), 1), Error.RANGE),
        (read(0xffff, 1), Error.RANGE), (read(1, 0xffff), Error.RANGE), (read(0xffff, 0xffff), Error.RANGE)],
    "weights": [
        (weights(0, CONFIG.depth), Error.NONE), (weights(CONFIG.depth - 1, 1), Error.NONE),
        (weights(CONFIG.depth, 0), Error.NONE), (weights(0, CONFIG.depth + 1), Error.RANGE),
        (weights(CONFIG.depth - 1, 2), Error.RANGE), (weights(CONFIG.depth, 1), Error.RANGE),
        (weights(CONFIG.depth + 1, 0), Error.RANGE), (weights(0xffff, 1), Error.RANGE),
        (weights(3, 2, 2 * WORD - 1), Error.LENGTH), (weights(3, 2, 2 * WORD + 1), Error.LENGTH),
        (weights(3, 0, 1), Error.LENGTH), (weights(3, 1, 0), Error.LENGTH), (weights(3, 0x4000, 0), Error.RANGE)],
    "vector": [
        (vector(48), Error.NONE), (vector(52), Error.RANGE), (vector(12, flags=Flags.INT8), Error.NONE),
        (vector(13, flags=Flags.INT8), Error.RANGE), (vector(1, flags=Flags.INT8), Error.NONE),
        (vector(4), Error.NONE), (vector(0), Error.LENGTH), (vector(0, flags=Flags.INT8), Error.LENGTH),
        *[(vector(size), Error.LENGTH) for size in (1, 2, 3, 5, 47)],
        (vector(4, slot=CONFIG.slots - 1), Error.NONE), (vector(4, slot=CONFIG.slots), Error.RANGE),
        (vector(4, slot=255), Error.RANGE), (vector(4, length=1, live=1), Error.NONE),
        (vector(4, length=0, live=0), Error.RANGE), (vector(4, length=CONFIG.columns), Error.NONE),
        (vector(4, length=CONFIG.columns + 1), Error.RANGE), (vector(4, length=0xffff), Error.RANGE),
        (vector(4, live=0), Error.NONE), (vector(4, live=13), Error.RANGE), (vector(4, live=0xffff), Error.RANGE),
        *[(vector(4, flags=flags), Error.RANGE) for flags in (4, 0x80, 0xff)], (vector(4, offset=0xffff), Error.RANGE)],
    "order": [
        (vector(8, offset=0), Error.NONE), (vector(4, offset=1), Error.ORDER), (vector(4, offset=3), Error.ORDER),
        (vector(4, offset=2, slot=1), Error.ORDER), (vector(4, offset=2, flags=Flags.SKIP), Error.ORDER),
        (vector(4, offset=2, length=13), Error.ORDER), (vector(4, offset=2, live=11), Error.ORDER),
        (weights(0, 1), Error.NONE), (vector(40, offset=2), Error.NONE),  # nothing of this has closed the vector
        (vector(4, offset=2), Error.ORDER), (vector(4, offset=11), Error.ORDER), (vector(8), Error.NONE),
        (vector(8), Error.NONE), (vector(36, offset=2), Error.NONE), (vector(4, offset=11), Error.NONE),
        (vector(8), Error.NONE), (item_of(Kind.RESET), Error.NONE), (vector(4, offset=2), Error.ORDER)],
    "run": [
        (run(slot=CONFIG.slots - 1), Error.NONE), (run(slot=CONFIG.slots), Error.RANGE), (run(slot=255), Error.RANGE),
        *[(run(zero=zero), Error.RANGE) for zero in (1, 0x80)], (run(blocks=0), Error.RANGE),
        (run(blocks=0, stride=0, words=0), Error.RANGE),
        (run(stride=CONFIG.depth), Error.NONE), (run(stride=CONFIG.depth + 1), Error.RANGE),
        (run(base=1, stride=CONFIG.depth), Error.RANGE), (run(base=CONFIG.depth - 6, blocks=3), Error.NONE),
        (run(base=CONFIG.depth - 5, blocks=3), Error.RANGE), (run(base=0xffff, stride=1), Error.RANGE),
        (run(stride=0xffff, blocks=0xffff), Error.RANGE), (run(stride=0x8000, blocks=0x8000), Error.RANGE),
        (run(stride=1, words=0, blocks=CONFIG.depth), Error.NONE),
        (run(stride=0, words=0, blocks=CONFIG.blocks), Error.NONE),
        (run(stride=0, words=0, blocks=CONFIG.blocks + 1), Error.RANGE),
        (run(destination=CONFIG.blocks - 1), Error.NONE), (run(destination=CONFIG.blocks), Error.RANGE),
        (run(destination=CONFIG.blocks - 2, blocks=3), Error.RANGE), (run(destination=0xffff), Error.RANGE)],
    "list": [
        (run(stride=2, words=2), Error.NONE), (run(stride=2, words=3), Error.LIST),
        (run(stride=0, words=1), Error.LIST),
        *[(run(slot=slot, ready=1 << other), Error.NONE if slot == other else Error.LIST)
          for slot in range(CONFIG.slots) for other in range(CONFIG.slots)],
        (run(ready=0), Error.LIST), (run(beats=CONFIG.list_depth, active=CONFIG.columns), Error.NONE)],
    "results": [
        (results(0, 1), Error.NONE), (results(CONFIG.blocks - 1, 1), Error.NONE), (results(0, 0), Error.RANGE),
        (results(CONFIG.blocks - 1, 2), Error.RANGE), (results(CONFIG.blocks, 1), Error.RANGE),
        (results(CONFIG.blocks, 0), Error.RANGE), (results(0xffff, 1), Error.RANGE), (results(1, 0xffff), Error.RANGE),
        (results(0, MAX_PAYLOAD // BLOCK), Error.NONE), (results(0, MAX_PAYLOAD // BLOCK + 1), Error.RANGE)],
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    """At each limit, and one beyond."""
    items, errors = zip(*LIMITS[name])
    assert assert_executed(items) == list(errors)


@pytest.mark.parametrize("error", [Error.CRC, Error.LENGTH])
def test_errors_pass(error):
    """Those of the link, whatever the kind."""
    items = [bytes_of(kind, b"", error=error, sequence=kind) for kind in (*FORMATS, 0, 8, 0xff)]
    assert assert_executed(items) == [error] * len(items)


@pytest.mark.parametrize("kind", FORMATS)
def test_length(kind):
    """Fewer bytes and more than the arguments; what is too much reaches no other frame."""
    size = argument_bytes(kind)
    sizes = [*range(size), *range(size + 1, size + 5), MAX_PAYLOAD]
    if kind in WITH_DATA:
        sizes = range(size)
    items = [bytes_of(kind, bytes(length)) for length in sizes]
    assert assert_executed(items + [read(0, 0)]) == [Error.LENGTH] * len(items) + [Error.NONE]


def test_kind():
    """All bytes that are no commands are refused, whatever their payload."""
    items = [bytes_of(kind, bytes(kind % 11)) for kind in range(256) if kind not in FORMATS]
    assert assert_executed(items) == [Error.KIND] * len(items)


def test_precedence():
    """The link's errors come first, and a length is looked at before what is there, and before the memories."""
    items = [bytes_of(Kind.WEIGHTS, b"", error=Error.CRC, decodable=0), bytes_of(0, b"", error=Error.LENGTH),
             bytes_of(Kind.WEIGHTS, bytes(3), decodable=0), weights(CONFIG.depth + 1, 1, 3, decodable=0),
             weights(CONFIG.depth + 1, 1, 3), weights(0, 1, 3), vector(4, decodable=0)]
    assert assert_executed(items) == [Error.CRC, Error.LENGTH, Error.LENGTH, Error.CODE, Error.RANGE, Error.LENGTH,
                                      Error.NONE]


def test_waits_for_runs():
    """Of many, with results in between: Bench asserts that nothing is pending when they are read, or WAIT answered."""
    items = [run(), run(), item_of(Kind.WAIT), run(), run(), results(0, 2), run(), read(0, 1), item_of(Kind.RESET),
             item_of(Kind.WAIT), results(3, 1)]
    assert set(assert_executed(items * 4, stall_out=0.3)) == {Error.NONE}


async def offer(ctx, executor, frame):
    for byte in frame:
        ctx.set(executor.i.payload, byte)
        ctx.set(executor.i.valid, 1)
        await ctx.tick().until(executor.i.ready)
    ctx.set(executor.i.valid, 0)


@pytest.mark.parametrize("item, waits", [(item_of(Kind.WAIT), True), (results(0, 1), True), (read(0, 0), False),
                                         (results(0, 0), False)])
def test_settled(item, waits):
    """WAIT and RESULTS are held for as long as something is pending, READ and what is refused are not."""
    executor = Executor(CONFIG)

    async def bench(ctx):
        ctx.set(executor.pending, 1)
        await offer(ctx, executor, item[0])
        answered = False
        for _ in range(100):
            _, _, answer, started = await ctx.tick().sample(executor.o_header.valid, executor.results_start)
            answered |= answer
            assert not started
        assert answered == (not waits)
        ctx.set(executor.pending, 0)
        await ctx.tick().until(executor.o_header.valid)

    simulate(executor, bench)


def test_run_waits_for_the_queue():
    """Nothing of it is written, and it is not answered, until there is room."""
    executor = Executor(CONFIG)

    async def bench(ctx):
        frame, _, _, list_state = run()
        ctx.set(executor.ready, -1)
        ctx.set(executor.list, list_state)
        ctx.set(executor.waiting, 1)
        await offer(ctx, executor, frame)
        for _ in range(100):
            assert not ctx.get(executor.run_write.as_value()) and not ctx.get(executor.o_header.valid)
            await ctx.tick()
        ctx.set(executor.waiting, 0)
        await ctx.tick().until(executor.run_write.rest)
        await ctx.tick().until(executor.o_header.valid)

    simulate(executor, bench)


@pytest.mark.parametrize("kind", [Kind.RUN, Kind.VECTOR, Kind.WAIT, Kind.READ, Kind.RESET])
def test_waits_for_the_vector_unit(kind):
    """Nothing is judged or done while that is busy."""
    executor = Executor(CONFIG)
    frame, *_, list_state = {Kind.RUN: run(), Kind.VECTOR: vector(4, offset=2), Kind.READ: read(0, 1)}.get(
        kind) or item_of(kind)

    async def bench(ctx):
        ctx.set(executor.vector_busy, 1)
        await offer(ctx, executor, frame[:-4] if kind == Kind.VECTOR else frame)
        for _ in range(100):
            _, _, *active = await ctx.tick().sample(executor.o_header.valid, executor.run_write.as_value(),
                                                    *(getattr(executor, name) for name in PULSES))
            assert not any(active)
        ctx.set(executor.vector_busy, 0)
        ctx.set(executor.ready, -1)
        ctx.set(executor.list, list_state)
        ctx.set(executor.i_registers.valid, 1)
        await offer(ctx, executor, frame[-4:] if kind == Kind.VECTOR else b"")
        await ctx.tick().until(executor.o_header.valid)
        assert ctx.get(executor.o_header.payload.kind) == (Kind.ERROR if kind == Kind.VECTOR else kind | REPLY)

    simulate(executor, bench)


def test_reset_pulses_clear():
    """For one cycle each time."""
    outcomes = rtl_execute([item_of(Kind.RESET)] * 3, stall_out=0.8)
    assert [done for done, *_ in outcomes] == [[("clear",)]] * 3


@pytest.mark.parametrize("stride, base, error", [
    (32768, 0, Error.NONE), (32768, 1, Error.RANGE), (32769, 0, Error.RANGE), (0, 65535, Error.NONE)])
def test_largest_memory(stride, base, error):
    """One word more than an argument can name."""
    executor = Executor(Config(name="test", banks=1, tiles=1, depth=65536, columns=32768, blocks=50))

    async def bench(ctx):
        ctx.set(executor.ready, -1)
        await offer(ctx, executor, run(base=base, stride=stride, blocks=2)[0])
        await ctx.tick().until(executor.o_header.valid)
        assert (ctx.get(executor.o_header.payload.kind) == Kind.ERROR) == (error != Error.NONE)
        assert ctx.get(executor.o_payload.payload.data) == error or not error

    simulate(executor, bench)


@pytest.mark.parametrize("blocks", [1, 50, 1000])
def test_latency(blocks):
    """From the first byte of a RUN to the sequencer."""
    config = Config(name="test", banks=64, tiles=15, depth=64, columns=64, blocks=blocks)
    executor, taken, queued = Executor(config), [], []

    async def link(ctx):
        await offer(ctx, executor, run()[0])

    async def watch(ctx):
        ctx.set(executor.ready, -1)
        cycle = 0
        while not queued:
            _, _, valid, ready, rest = await ctx.tick().sample(executor.i.valid, executor.i.ready,
                                                               executor.run_write.rest)
            taken.extend([cycle] * (valid & ready))
            queued.extend([cycle] * rest)
            cycle += 1

    simulate(executor, watch, link)
    assert queued[0] - taken[0] == LATENCY + 2 * digits(config)
