import random

import pytest

from hdl.config import TRITS, Config
from hdl.executor import Executor
from hdl.registers import ACCUMULATOR_BYTES, MAX_PAYLOAD, REPLY, Error, Flags, Kind, Register
from sim.streams import simulate


CONFIG = Config(name="test", banks=2, tiles=2, depth=40, columns=30, blocks=50, slots=3)
WORD = CONFIG.banks * CONFIG.tiles  # bytes
BLOCK = CONFIG.rows * ACCUMULATOR_BYTES
STALLS = [(0, 0), (0.6, 0), (0, 0.6), (0.5, 0.5)]
PULSES = ("clear", "registers_start", "load_start", "vector_start", "results_start")
STREAMS = ("o_header", "o_payload", "o_weights", "o_vector", "o_run", "i_data", "i_registers", "i_results")
RUN_FIELDS = ("slot", "beats", "active", "base", "stride", "blocks", "destination")
LAYOUTS = {Kind.READ: "span", Kind.WEIGHTS: "weights", Kind.VECTOR: "vector", Kind.RUN: "run", Kind.RESULTS: "span"}
OPENED = ("slot", "flags", "length", "live")


def item_of(kind, data=b"", *, sequence=0, error=Error.NONE, product=None, ready=-1, words=1, beats=TRITS, active=1,
            **arguments):
    """A command with its data, and the list that is found in its slot. What means nothing is noise."""
    rng = random.Random(sequence)
    match kind:
        case Kind.WEIGHTS:
            right = arguments["count"] * WORD
        case Kind.RUN:
            right = arguments["blocks"] * arguments["stride"]
        case Kind.RESULTS:
            right = arguments["count"] * BLOCK
        case _:
            right = rng.getrandbits(32)
    noise = {name: rng.getrandbits(16) for name in ("base", "stride", "blocks", "destination")}
    command = {"kind": kind, "sequence": sequence, "error": error,
               "arguments": {LAYOUTS[kind]: arguments} if kind in LAYOUTS else {"run": noise},
               "data_bytes": len(data) if kind in (Kind.WEIGHTS, Kind.VECTOR) else rng.getrandbits(16),
               "product": right if product is None else product}
    return command, data, arguments, ready % (1 << CONFIG.slots), {"words": words, "beats": beats, "active": active}


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

    def refusals(self, item):
        """All reasons why a command may be refused."""
        (command, data, arguments, ready, list_state), config = item, CONFIG
        if command["error"]:
            return {command["error"]}
        reasons = set()

        def refuse(condition, error):
            if condition:
                reasons.add(error)
        match command["kind"]:
            case Kind.READ:
                refuse(arguments["first"] + arguments["count"] > len(Register), Error.RANGE)
            case Kind.WEIGHTS:
                refuse(len(data) != arguments["count"] * WORD, Error.LENGTH)
                refuse(arguments["address"] + arguments["count"] > config.depth, Error.RANGE)
            case Kind.VECTOR:
                size = 1 if arguments["flags"] & Flags.INT8 else 4
                refuse(len(data) == 0 or len(data) % size, Error.LENGTH)
                refuse(arguments["slot"] >= config.slots or not 0 < arguments["length"] <= config.columns
                       or arguments["live"] > arguments["length"] or arguments["flags"] > Flags.INT8 + Flags.SKIP
                       or arguments["offset"] + len(data) // size > arguments["length"], Error.RANGE)
                same = self.opened == tuple(arguments[name] for name in OPENED)
                refuse(arguments["offset"] and not (same and arguments["offset"] == self.expected), Error.ORDER)
            case Kind.RUN:
                refuse(arguments["slot"] >= config.slots or arguments.get("zero") or arguments["blocks"] == 0
                       or arguments["base"] + arguments["blocks"] * arguments["stride"] > config.depth
                       or arguments["destination"] + arguments["blocks"] > config.blocks, Error.RANGE)
                refuse(not ready >> arguments["slot"] & 1 or list_state["words"] > arguments["stride"], Error.LIST)
            case Kind.RESULTS:
                refuse(arguments["count"] == 0 or arguments["first"] + arguments["count"] > config.blocks
                       or command["product"] > MAX_PAYLOAD, Error.RANGE)
        return reasons

    def execute(self, item):
        """(what is done, bytes of weights and vector, kind and payload of the reply) of a command not refused."""
        command, data, arguments, _, list_state = item
        kind, payload, done, sent = command["kind"], b"", [], {"weights": b"", "vector": b""}
        match kind:
            case Kind.READ:
                done = ["registers_start"] if arguments["count"] else []
                payload = answer_bytes(self.number, 4 * arguments["count"])
            case Kind.WEIGHTS:
                done, sent["weights"] = ["load_start"], data
            case Kind.VECTOR:
                count = len(data) // (1 if arguments["flags"] & Flags.INT8 else 4)
                done, sent["vector"] = [("vector_start", count)], data
                self.opened = tuple(arguments[name] for name in OPENED)
                self.expected = (arguments["offset"] + count) % arguments["length"]
            case Kind.RUN:
                done = [("run", {"slot": arguments["slot"], "beats": list_state["beats"],
                                 "active": list_state["active"], "base": arguments["base"],
                                 "stride": arguments["stride"], "blocks": arguments["blocks"],
                                 "destination": TRITS * arguments["destination"]})]
            case Kind.RESULTS:
                done, payload = ["results_start"], answer_bytes(self.number, command["product"])
            case Kind.RESET:
                done, self.expected = ["clear"], 0
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
        self.busy, self.pending, self.expected = 0, 0, 0  # as VectorUnit and Sequencer show them
        self.left, self.registers, self.results = 0, [], []

    def drive(self, ctx, ready, list_state, data, length):
        """Inputs of a cycle: what the executor must not look at is noise."""
        executor, rng = self.executor, self.rng
        noise = {"words": rng.randrange(16), "beats": rng.randrange(16), "active": rng.randrange(31)}
        ctx.set(executor.vector_busy, self.busy > 0)
        ctx.set(executor.vector_expected, rng.randrange(31) if self.busy else self.expected)
        ctx.set(executor.ready, rng.randrange(8) if self.busy else ready)
        ctx.set(executor.list, noise if self.busy else list_state)
        ctx.set(executor.pending, self.pending)
        ctx.set(executor.i_more, bool(data))
        for stream, queue in ((executor.i_data, data), (executor.i_registers, self.registers),
                              (executor.i_results, self.results)):
            if not queue:
                ctx.set(stream.valid, 0)
            elif not ctx.get(stream.valid) and rng.random() >= self.stall_in:
                ctx.set(stream.valid, 1)
            ctx.set(stream.payload, queue[0] if queue else rng.randrange(256))
        ctx.set(executor.o_vector.ready, self.left > 0 and rng.random() >= self.stall_out)
        ctx.set(executor.o_payload.ready, bool(length) and rng.random() >= self.stall_out)
        for stream in (executor.o_weights, executor.o_run, executor.o_header):
            ctx.set(stream.ready, rng.random() >= self.stall_out)

    async def command(self, ctx, number, item):
        """As Machine.execute returns it, with the sequence of the reply, and the number of bytes of data left."""
        command, data, arguments, ready, list_state = item
        executor, rng = self.executor, self.rng
        data, done, sent = list(data), [], {"weights": b"", "vector": b""}
        header, length, payload = None, 0, b""
        ctx.set(executor.i.payload, command)
        ctx.set(executor.i.valid, 1)
        while True:
            self.drive(ctx, ready, list_state, data, length)
            _, _, count, taken, *samples = await ctx.tick().sample(
                executor.vector_count, executor.i.ready, *(getattr(executor, name) for name in PULSES),
                *(getattr(getattr(executor, name), port) for name in STREAMS for port in ("valid", "ready", "payload")))
            pulses = {name for name, pulse in zip(PULSES, samples, strict=False) if pulse}
            offered, ready_now, payloads = (samples[len(PULSES) + port::3] for port in range(3))
            valid = {name for name, bit in zip(STREAMS, offered, strict=True) if bit}
            moved = {name: value for name, *bits, value in zip(STREAMS, offered, ready_now, payloads, strict=True)
                     if all(bits)}

            finishing = self.pending > 0 and rng.random() < 0.02
            done += [(name, count) if name == "vector_start" else name for name in PULSES if name in pulses]
            if "registers_start" in pulses:
                self.registers.extend(answer_bytes(number, 4 * arguments["count"]))
            if "vector_start" in pulses:
                self.left, self.busy = len(data), rng.randrange(1, 60)
                self.expected = (arguments["offset"] + count) % arguments["length"]
            if "results_start" in pulses:
                assert self.pending == 0
                self.results.extend(answer_bytes(number, command["product"]))
            if "o_run" in moved:
                done.append(("run", {field: moved["o_run"][field] for field in RUN_FIELDS}))
            self.pending += ("o_run" in moved) - finishing
            if "clear" in pulses:
                self.pending = self.expected = 0

            for name in sent:
                if f"o_{name}" in moved:
                    sent[name] += bytes([moved[f"o_{name}"]])
            if "i_data" in moved:
                data.pop(0)
            if "i_registers" in moved:
                self.registers.pop(0)
            if "i_results" in moved:
                self.results.pop(0)
            self.left -= "o_vector" in moved
            self.busy -= self.busy > 0 and self.left == 0

            assert "o_payload" not in moved or header is not None and length
            if "o_header" in valid:
                assert header is None and not self.left
                assert command["kind"] != Kind.WAIT or command["error"] or self.pending == 0
            if "o_header" in moved:
                header, length = moved["o_header"], moved["o_header"].length
            if "o_payload" in moved:
                payload += bytes([moved["o_payload"]])
                length -= 1
            if taken:
                break
        ctx.set(executor.i.valid, 0)
        assert header is not None and not length and not self.results and not self.registers
        return done, sent, (header.kind, payload), header.sequence, len(data)


def rtl_execute(items, *, stall_in=0.0, stall_out=0.0, idle=0):
    """What Bench.command returns of each item."""
    bench, outcomes = Bench(stall_in, stall_out), []

    async def commands(ctx):
        for number, item in enumerate(items):
            for _ in range(idle):
                bench.drive(ctx, 0, {}, [], 0)
                await ctx.tick()
                assert not ctx.get(bench.executor.o_header.valid)
                bench.busy -= bench.busy > 0
            outcomes.append(await bench.command(ctx, number, item))

    simulate(bench.executor, commands, cycles=100_000)
    return outcomes


def assert_executed(items, **options):
    """Returns the errors."""
    machine, errors = Machine(), []
    for item, (*outcome, sequence, left) in zip(items, rtl_execute(items, **options), strict=True):
        command, data, *_ = item
        reasons, expected = machine(item)
        assert sequence == command["sequence"]
        if reasons:
            done, sent, (kind, payload) = outcome
            assert kind == Kind.ERROR and len(payload) == 1
            assert Error(payload[0]) in reasons
            assert not done and not any(sent.values()) and left == len(data)
            errors.append(Error(payload[0]))
        else:
            assert tuple(outcome) == expected
            assert left == 0
            errors.append(Error.NONE)
    return errors


def random_items(rng, count):
    """Mostly commands that are done."""
    machine, items = Machine(), []
    for sequence in range(count):
        options = {"sequence": sequence, "error": Error.CRC if rng.random() < 0.05 else Error.NONE}
        match rng.choice([*LAYOUTS, Kind.VECTOR, Kind.RUN, Kind.RUN, Kind.WAIT, Kind.RESET]):
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


@pytest.mark.parametrize("stall_in, stall_out, idle", [(*stalls, 0) for stalls in STALLS] + [(0.5, 0.5, 5)])
def test_random(stall_in, stall_out, idle):
    errors = assert_executed(random_items(random.Random(3), 70), stall_in=stall_in, stall_out=stall_out, idle=idle)
    assert set(errors) == {Error.NONE, Error.CRC, Error.LENGTH, Error.RANGE, Error.ORDER, Error.LIST}
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
        (results(0, MAX_PAYLOAD // BLOCK), Error.NONE), (results(0, MAX_PAYLOAD // BLOCK + 1), Error.RANGE),
        (results(0, 2, product=MAX_PAYLOAD), Error.NONE), (results(0, 2, product=MAX_PAYLOAD + 1), Error.RANGE)],
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    """At each limit, and one beyond."""
    items, errors = zip(*LIMITS[name])
    assert assert_executed(items) == list(errors)


@pytest.mark.parametrize("error", [Error.CRC, Error.LENGTH, Error.KIND, Error.CODE])
def test_errors_pass(error):
    """Those of the link and of CommandReader, whatever the arguments look like."""
    items = [item for group in LIMITS.values() for item, _ in group][::3]
    items += [item_of(Kind.RESET), item_of(Kind.WAIT), item_of(0x55)]
    refused = [({**command, "error": error}, *rest) for command, *rest in items]
    assert assert_executed(refused) == [error] * len(refused)


def test_waits_for_runs():
    """Of many, with results in between: Bench asserts that nothing is pending when they are read, or WAIT answered."""
    items = [run(), run(), item_of(Kind.WAIT), run(), run(), results(0, 2), run(), read(0, 1), item_of(Kind.RESET),
             item_of(Kind.WAIT), results(3, 1)]
    assert set(assert_executed(items * 4, stall_out=0.3)) == {Error.NONE}


def test_settled():
    """WAIT and RESULTS are held for as long as something is pending, and READ is not."""
    executor = Executor(CONFIG)

    async def bench(ctx):
        ctx.set(executor.o_header.ready, 1)
        ctx.set(executor.o_payload.ready, 1)
        for item, waits in ((item_of(Kind.WAIT), True), (results(0, 1), True), (read(0, 0), False)):
            ctx.set(executor.pending, 1)
            ctx.set(executor.i.payload, item[0])
            ctx.set(executor.i.valid, 1)
            answers = 0
            for _ in range(50):
                _, _, answer, started, taken = await ctx.tick().sample(
                    executor.o_header.valid, executor.results_start, executor.i.ready)
                answers += answer
                assert not started
                if taken:
                    break
            assert answers == (not waits)
            ctx.set(executor.pending, 0)
            ctx.set(executor.i_results.valid, 1)
            if waits:
                await ctx.tick().until(executor.i.ready)

    simulate(executor, bench)


def test_run_waits_for_the_queue():
    """Answered when it is queued."""
    executor = Executor(CONFIG)

    async def bench(ctx):
        command, *_, list_state = run()
        ctx.set(executor.ready, -1)
        ctx.set(executor.list, list_state)
        ctx.set(executor.i.payload, command)
        ctx.set(executor.i.valid, 1)
        await ctx.tick().until(executor.o_run.valid)
        for _ in range(30):
            assert ctx.get(executor.o_run.valid) and not ctx.get(executor.o_header.valid)
            await ctx.tick()
        ctx.set(executor.o_run.ready, 1)
        await ctx.tick()
        assert ctx.get(executor.o_header.valid) and not ctx.get(executor.o_run.valid)

    simulate(executor, bench)


@pytest.mark.parametrize("kind", [Kind.RUN, Kind.VECTOR, Kind.WAIT, Kind.READ, Kind.RESET])
def test_waits_for_the_vector_unit(kind):
    """Nothing is judged or done while that is busy."""
    executor = Executor(CONFIG)
    (command, *_, list_state) = {Kind.RUN: run(), Kind.VECTOR: vector(4, offset=2), Kind.READ: read(0, 1)}.get(
        kind) or item_of(kind)

    async def bench(ctx):
        ctx.set(executor.vector_busy, 1)
        ctx.set(executor.i.payload, command)
        ctx.set(executor.i.valid, 1)
        for _ in range(30):
            _, _, *active = await ctx.tick().sample(executor.o_header.valid, executor.o_run.valid,
                                                    *(getattr(executor, name) for name in PULSES))
            assert not any(active)
        ctx.set(executor.vector_busy, 0)
        ctx.set(executor.ready, -1)
        ctx.set(executor.list, list_state)
        ctx.set(executor.o_run.ready, 1)
        ctx.set(executor.i_registers.valid, 1)
        await ctx.tick().until(executor.o_header.valid)
        assert ctx.get(executor.o_header.payload.kind) == (Kind.ERROR if kind == Kind.VECTOR else kind | REPLY)

    simulate(executor, bench)


def test_reset_pulses_clear():
    """For one cycle each time."""
    outcomes = rtl_execute([item_of(Kind.RESET)] * 3, stall_out=0.8)
    assert [done for done, *_ in outcomes] == [["clear"]] * 3
