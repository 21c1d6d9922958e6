import random

import pytest

from setun.hdl.array.array import flush_cycles
from setun.hdl.config import TRITS, Config
from setun.hdl.control.sequencer import QUEUE_DEPTH, Sequencer
from setun.sim.verify.streams import simulate


LATENCY = 2  # cycles from the one in which a product is queued in an idle sequencer to its first token
EARLY = ("base", "stride", "blocks")
FIELDS = ("first", "last", "opens", "slot", "beat", "base", "destination")


def config_of(banks=4, depth=60, columns=48, blocks=9):
    return Config(name="test", banks=banks, tiles=2, depth=depth, columns=columns, blocks=blocks)


def run_of(config, slot=0, beats=TRITS, active=0, base=0, stride=1, blocks=1, destination=0):
    return {"slot": slot, "beats": beats, "active": active, "base": base, "stride": stride, "blocks": blocks,
            "destination": TRITS * destination}


def random_runs(rng, config, count):
    """Products that fit the memories, short ones mostly."""
    runs = []
    for _ in range(count):
        blocks = rng.choice([1, 1, 2, rng.randint(1, config.blocks)])
        stride = rng.randint(0, config.depth // blocks)
        runs.append(run_of(
            config, slot=rng.randrange(config.slots), beats=rng.choice([TRITS, rng.randint(TRITS, config.list_depth)]),
            active=rng.randint(0, config.columns), blocks=blocks, stride=stride,
            base=rng.randint(0, min(config.depth - blocks * stride, config.depth - 1)),
            destination=rng.randint(0, config.blocks - blocks)))
    return runs


async def put(ctx, sequencer, runs, *, stall=0.0):
    """Queue products; before each, idle with probability ``stall`` a cycle. Returns the cycles in which they are."""
    rng, cycle, taken = random.Random(0), 0, []

    async def tick():
        nonlocal cycle
        await ctx.tick()
        cycle += 1

    for run in runs:
        while rng.random() < stall or ctx.get(sequencer.waiting):
            await tick()
        early = rng.sample(EARLY, rng.randint(0, len(EARLY)) if stall else 0)  # the others come with the rest
        for name in early:
            ctx.set(sequencer.i, {name: run[name]})
            ctx.set(sequencer.write, {name: 1})
            await tick()
        taken.append(cycle)
        ctx.set(sequencer.i, {name: value for name, value in run.items() if name not in early})
        ctx.set(sequencer.write, {name: name not in early for name in (*EARLY, "rest")})
        await tick()
        ctx.set(sequencer.write, {})
    return taken


class Recorder:
    """Sequencer and, for each cycle, (token, flushing, pending, block_done, active), None where nothing is said."""

    def __init__(self, config):
        self.config, self.sequencer, self.seen, self.ended = config, Sequencer(config), [], False

    async def watch(self, ctx):
        sequencer = self.sequencer
        while not self.ended:
            _, _, token, flushing, pending, block_done, active = await ctx.tick().sample(
                sequencer.o_token, sequencer.flushing, sequencer.pending, sequencer.block_done, sequencer.active)
            self.seen.append((tuple(token[field] for field in FIELDS) if token.valid else None, flushing, pending,
                              block_done, active if block_done else None))

    async def rest(self, ctx):
        """Until nothing is pending, and some cycles more."""
        while ctx.get(self.sequencer.pending) or ctx.get(self.sequencer.o_token.valid):
            await ctx.tick()
        await ctx.tick().repeat(5)
        self.ended = True

    def simulate(self, bench):
        simulate(self.sequencer, self.watch, bench, cycles=20_000)
        return self.seen


def rtl_sequence(config, runs, *, stall=0.0):
    """What a Recorder sees while ``runs`` are offered, and the cycles in which they are taken."""
    recorder, taken = Recorder(config), []

    async def bench(ctx):
        taken.extend(await put(ctx, recorder.sequencer, runs, stall=stall))
        await recorder.rest(ctx)

    return recorder.simulate(bench), taken


def tokens(run):
    """Fields of the tokens of a product, one by one."""
    for block in range(run["blocks"]):
        for beat in range(run["beats"]):
            yield (beat == 0, beat == run["beats"] - 1, block == 0, run["slot"], beat,
                   run["base"] + block * run["stride"], run["destination"])


def reference(config, runs, taken, cycles):
    """What a Recorder sees in so many cycles when the runs are taken in these."""
    issued, waits, free = {}, [], 0
    for run, cycle in zip(runs, taken, strict=True):
        start = max(cycle + LATENCY, free)
        waits.append((cycle, start))
        for free, token in enumerate(tokens(run), start):
            issued[free] = token, run["active"]
        free += 1
    seen = []
    for cycle in range(cycles):
        token, active = issued.get(cycle, (None, None))
        flushing = token is None and any(before in issued for before in range(cycle - flush_cycles(config), cycle))
        done = token is not None and token[1]
        waiting = sum(since < cycle < start for since, start in waits)
        seen.append((token, flushing, waiting + (token is not None or flushing), done, active if done else None))
    return seen


def assert_equal(config, runs, seen, taken):
    assert seen == reference(config, runs, taken, len(seen))
    assert seen[-1] == (None, 0, 0, 0, None)


@pytest.mark.parametrize("stall", [0.0, 0.9, 0.98])
@pytest.mark.parametrize("banks", [1, 4])
def test_random(banks, stall):
    """Every cycle of it: what is issued, and what is pending."""
    config = config_of(banks)
    runs = random_runs(random.Random(banks), config, 15)
    assert_equal(config, runs, *rtl_sequence(config, runs, stall=stall))


@pytest.mark.parametrize("config", [config_of(1, depth=1, columns=1, blocks=1), config_of(3, 65, 24, 6), config_of(64)])
def test_extremes(config):
    """Whole memories, lists of all lengths, and row blocks on one word."""
    longest = config.list_depth
    runs = [run_of(config, config.slots - 1, longest, config.columns, 0, config.depth, 1, config.blocks - 1),
            run_of(config, 0, TRITS, config.columns, config.depth - 1, 0, config.blocks, 0),
            run_of(config, 1, longest, 0, 0, config.depth // config.blocks, config.blocks, 0),
            *[run_of(config, beats=beats) for beats in range(TRITS, longest + 1)]]
    assert_equal(config, runs, *rtl_sequence(config, runs))


def test_first_token():
    """Of an idle sequencer, of one whose last results are on their way, and of one that falls idle."""
    config = config_of()
    recorder, taken, runs = Recorder(config), [], []

    async def bench(ctx):
        cycle = 0
        for idle in [1, *range(flush_cycles(config) + TRITS + LATENCY + 2)]:
            for _ in range(idle):
                await ctx.tick()
            runs.append(run_of(config, slot=idle % 2))
            (waited,) = await put(ctx, recorder.sequencer, runs[-1:])
            taken.append(cycle + idle + waited)
            cycle = taken[-1] + 1
        await recorder.rest(ctx)

    seen = recorder.simulate(bench)
    assert seen[taken[0] + LATENCY][0] is not None
    assert_equal(config, runs, seen, taken)


def test_no_gap():
    """Blocks x beats cycles a product, one product after the other, more of them than the queue holds."""
    config = config_of()
    runs = random_runs(random.Random(3), config, 12)
    seen, taken = rtl_sequence(config, runs)
    issued = [token for token, *_ in seen[taken[0] + LATENCY:]]
    expected = [token for run in runs for token in tokens(run)]
    assert issued[:len(expected)] == expected
    assert len(expected) == sum(run["blocks"] * run["beats"] for run in runs)
    assert max(pending for _, _, pending, *_ in seen) == QUEUE_DEPTH + 1


def test_queue_is_full():
    """One product runs, QUEUE_DEPTH wait; the next is taken when the first of them has begun."""
    config = config_of()
    runs = [run_of(config, beats=12, blocks=9)] + [run_of(config)] * (QUEUE_DEPTH + 1)
    seen, taken = rtl_sequence(config, runs)
    assert taken[QUEUE_DEPTH] < 12 * 9 < taken[-1]
    assert_equal(config, runs, seen, taken)


@pytest.mark.parametrize("cycle", [3, 4, 9, 20, 29, 30, 31, 50, 53, 54, 55, 65, 68, 70])
def test_clear(cycle):
    """In whatever state; afterwards it is as new."""
    config = config_of()
    before = [run_of(config, beats=7, blocks=4, stride=5, base=3), run_of(config, 1, 6, 9, blocks=4, stride=2)]
    after = random_runs(random.Random(4), config, 6)
    recorder, taken = Recorder(config), []

    async def bench(ctx):
        assert await put(ctx, recorder.sequencer, before) == [0, 2]
        for _ in range(3, cycle):
            await ctx.tick()
        ctx.set(recorder.sequencer.clear, 1)
        await ctx.tick()
        ctx.set(recorder.sequencer.clear, 0)
        await ctx.tick().repeat(4)
        taken.extend(4 + waited for waited in await put(ctx, recorder.sequencer, after))
        await recorder.rest(ctx)

    seen = recorder.simulate(bench)
    assert seen[:cycle + 1] == reference(config, before, [0, 2], cycle + 1)
    assert_equal(config, after, seen[cycle + 1:], taken)
