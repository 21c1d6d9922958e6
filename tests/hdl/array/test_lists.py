import numpy as np
import pytest

from setun.golden.layout import activation_lists
from setun.hdl.array.lists import ListBuilder
from setun.hdl.config import TRITS, Config
from setun.sim.model.cycles import ListSize, clear_cycles, list_size, padded_lists
from setun.sim.verify.streams import put, simulate


COLUMNS, SLOT, UNWRITTEN = 40, 1, 99


def sparse(rng, n, zeros):
    """int8 vector with about so many zeros."""
    return (rng.integers(-128, 128, n) * (rng.random(n) >= zeros)).astype(np.int8)


def elements(x):
    """A vector as the builder takes it."""
    return [{"value": int(value), "last": int(index == len(x) - 1)} for index, value in enumerate(x)]


def rtl_activation_lists(vectors, banks, *, stall=0.0):
    """Lists of (x, live, skip) in turn, each in the slot and over what the last has left there.

    Returns for each what the array reads, the ListSize, and the cycles from start to done.
    """
    config = Config(name="test", banks=banks, tiles=1, depth=64, columns=COLUMNS, blocks=1)
    builder = ListBuilder(config)
    memory = np.full((config.slots, banks, config.list_depth, 2), UNWRITTEN)
    results = []

    async def bench(ctx):
        for x, live, skip in vectors:
            command = {"start": 1, "slot": SLOT, "skip": skip, "live": live}
            for port, value in command.items():
                ctx.set(getattr(builder, port), value)
            await ctx.tick()
            for port in command:
                ctx.set(getattr(builder, port), 0)
            assert ctx.get(builder.busy)
            taken = await put(ctx, builder.i, elements(x), stall=stall)
            await ctx.tick().repeat(2)
            assert ctx.get(builder.done) and not ctx.get(builder.busy)
            await ctx.tick()
            assert not ctx.get(builder.done)
            sizes = ListSize(*(ctx.get(builder.built[name]) for name in ListSize._fields))
            results.append((memory[SLOT, :, :sizes[0]].tolist(), sizes, taken[-1] + 4))

    async def banks_bench(ctx):
        while len(results) < len(vectors):
            _, _, write = await ctx.tick().sample(builder.o_write)
            chosen = [bank for bank in range(banks) if write.select >> bank & 1]
            memory[write.slot, chosen, write.address] = write.index, write.value
    simulate(builder, banks_bench, bench)
    assert (memory[0] == UNWRITTEN).all()
    return results


def assert_equal(vectors, banks, results):
    for (x, live, skip), (read, sizes, _) in zip(vectors, results, strict=True):
        size = list_size(x, banks, live, skip)
        assert sizes == size
        assert read == padded_lists(x, banks, live, skip).tolist()
        lengths = [len(values) for _, values in activation_lists(x, banks, live, skip)]
        assert sizes.entries == sum(lengths) and sizes.beats == max(TRITS, *lengths)


@pytest.mark.parametrize("banks", [1, 2, 3, 4, 16, 64])
def test_random(banks):
    rng = np.random.default_rng(banks)
    vectors = [(sparse(rng, n, zeros), live, skip)
               for n, zeros in ((COLUMNS, 0.0), (COLUMNS, 0.5), (COLUMNS - 3, 0.9), (17, 0.7), (1, 0.0))
               for live in {n, int(rng.integers(n + 1))} for skip in (0, 1)]
    assert_equal(vectors, banks, rtl_activation_lists(vectors, banks))


@pytest.mark.parametrize("banks", [1, 2, 3, 4, 16])
def test_extremes(banks):
    full = np.full(COLUMNS, -128, np.int8)
    one_bank = np.where(np.arange(COLUMNS) % banks == banks - 1, 1, 0).astype(np.int8)
    vectors = [(x, live, skip) for live in (COLUMNS, 0) for skip in (0, 1)
               for x in (full, np.zeros_like(full), one_bank, full)]
    vectors += [(x[:n], n, skip) for n in (1, 2, 5, banks, banks + 1) for skip in (0, 1) for x in (full, full * 0)]
    assert_equal(vectors, banks, rtl_activation_lists(vectors, banks))


@pytest.mark.parametrize("stall", [0.5, 0.9])
@pytest.mark.parametrize("banks", [1, 4])
def test_stalls(banks, stall):
    rng = np.random.default_rng(7)
    vectors = [(sparse(rng, n, 0.4), n, 1) for n in (COLUMNS, 3)]
    assert_equal(vectors, banks, rtl_activation_lists(vectors, banks, stall=stall))


@pytest.mark.parametrize("banks", [1, 3, 16])
def test_cycles(banks):
    rng = np.random.default_rng(8)
    vectors = [(sparse(rng, n, 0.5), live, skip) for n in (1, 7, COLUMNS) for live in (0, n // 2, n) for skip in (0, 1)]
    for (x, live, _), (_, _, cycles) in zip(vectors, rtl_activation_lists(vectors, banks), strict=True):
        assert cycles == clear_cycles(live, banks) + len(x) + 3


@pytest.mark.parametrize("taken", [0, 1, 20])
def test_start_abandons(taken):
    """A list that is started over another shows nothing of it."""
    config = Config(name="test", banks=4, tiles=1, depth=64, columns=COLUMNS, blocks=1)
    builder = ListBuilder(config)

    async def start(ctx, length):
        ctx.set(builder.start, 1)
        ctx.set(builder.live, length)
        await ctx.tick()
        ctx.set(builder.start, 0)

    async def bench(ctx):
        await start(ctx, COLUMNS)
        await put(ctx, builder.i, elements(np.ones(COLUMNS, np.int8))[:taken])
        await start(ctx, 9)
        cycles = await put(ctx, builder.i, elements(np.ones(9, np.int8)))
        await ctx.tick().repeat(2)
        assert cycles[0] == clear_cycles(9, 4) and ctx.get(builder.done)
        assert ctx.get(builder.built.entries) == 9 and ctx.get(builder.built.beats) == TRITS
    simulate(builder, bench)
