"""The processor's array with its lists: products of ternary and of int8 weights, rows that are fetched, and stores."""

import numpy as np
import pytest
from amaranth import *

from setun.compiler.arrange import int8_words, matrix_words, ternary_words
from setun.golden.codes import word_encode
from setun.golden.lanes import narrow_sums
from setun.hdl.array.combiner import COMBINER_LATENCY, NARROW_LATENCY, Combiner, Narrow
from setun.hdl.array.engine import SLOTS, Engine, engine_latency
from setun.hdl.array.list_writer import ListWriter
from setun.hdl.array.store_writer import StoreWriter
from setun.hdl.config import Config
from setun.sim.verify.streams import simulate


class Bench(Elaboratable):
    """An array whose lists are written from words of lanes."""

    def __init__(self, config):
        self.engine, self.lists, self.stores = Engine(config), ListWriter(config), StoreWriter(config)

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine, m.submodules.lists, m.submodules.stores = self.engine, self.lists, self.stores
        m.d.comb += [self.engine.write.eq(self.lists.write), self.lists.query.eq(self.engine.i_beat.slot)]
        m.d.comb += [i.eq(o) for i, o in zip(self.engine.i_entries, self.lists.o_entries)]
        m.d.comb += [i.eq(o) for i, o in zip(self.engine.i_lengths, self.lists.o_lengths)]
        return m


async def write_weights(ctx, engine, words, base):
    """int8 [words, K, N, 5] into the memories."""
    codes, late = word_encode(words), (0, 0)
    for address, bank, tile in np.ndindex(codes.shape):
        ctx.set(engine.i_weights, {"bank": 1 << bank, "tile": 1 << tile, "address": late[0], "word": late[1]})
        late = base + address, int(codes[address, bank, tile])
        await ctx.tick()
    ctx.set(engine.i_weights, {"bank": 0, "tile": 0, "address": late[0], "word": late[1]})
    await ctx.tick().repeat(engine.config.groups + 3)


async def write_list(ctx, lists, slot, values, takes=None, digits=False):
    """Values of a vector, N a cycle; its beats."""
    lanes = lists.config.tiles
    ctx.set(lists.slot, slot)
    ctx.set(lists.digits, digits)
    ctx.set(lists.start, 1)
    await ctx.tick()
    ctx.set(lists.start, 0)
    await ctx.tick()
    for first in range(0, len(values), lanes):
        for lane in range(lanes):
            ctx.set(lists.i[lane], int(values[first + lane]))
        taken = [takes is None or bool(takes[first + lane]) for lane in range(lanes)]
        ctx.set(lists.i_takes, sum(bit << lane for lane, bit in enumerate(taken)))
        ctx.set(lists.i_valid, 1)
        await ctx.tick()
    ctx.set(lists.i_valid, 0)
    await ctx.tick().repeat(2)


async def run(ctx, bench, slot, base, stride, blocks, *, int8, narrow=0, low=0):
    """Results of every tile, [words, N], and the cycles from the last beat to the last result."""
    engine, found = bench.engine, [[] for _ in range(bench.engine.config.tiles)]
    ctx.set(engine.int8, int8)
    ctx.set(engine.narrow, narrow)
    ctx.set(engine.i_beat.slot, slot)
    beats = max(ctx.get(bench.lists.o_beats), 1 if int8 else 5)
    last = 0

    async def cycle(number):
        nonlocal last
        *_, valid = await ctx.tick().sample(engine.o_valid)
        for tile, results in enumerate(found):
            if valid >> tile & 1:
                results.append(taken[tile])
                last = number
        taken[:] = [ctx.get(o) for o in engine.o_results]

    taken = [ctx.get(o) for o in engine.o_results]
    number = 0
    for block in range(blocks):
        for beat in range(beats):
            ctx.set(engine.i_beat, {"valid": 1, "first": beat == 0, "last": beat == beats - 1, "low": low, "probe": 0,
                                    "bank": 0, "slot": slot, "beat": beat, "base": base + block * stride})
            await cycle(number)
            number += 1
    ctx.set(engine.i_beat.valid, 0)
    start = number - 1
    for _ in range(engine_latency(engine.config, int8) + 3):
        await cycle(number)
        number += 1
    return np.array(found).T, last - start


GEOMETRIES = [Config(banks=4, tiles=2, depth=128, results=64, elements=64),
              Config(banks=9, tiles=3, depth=64, results=64, elements=64),
              Config(banks=8, tiles=1, depth=64, results=64, elements=64)]


@pytest.mark.parametrize("config", GEOMETRIES, ids=str)
def test_products(config):
    """Matrices of trits and of int8, with lists that are full, sparse and empty; no result is late."""
    rng = np.random.default_rng(config.banks)
    banks, lanes = config.banks, config.tiles
    columns = banks * 5
    ternary = rng.integers(-1, 2, (5 * lanes * 2, columns))
    wide = rng.integers(-121, 122, (lanes * 4, columns))
    x = rng.integers(-127, 128, columns)
    sparse = np.where(rng.random(columns) < 0.8, 0, x)
    bench = Bench(config)

    async def drive(ctx):
        await write_weights(ctx, bench.engine, ternary_words(ternary, banks, lanes), 3)
        second = 3 + np.prod(matrix_words(*ternary.shape, banks, lanes, False))
        await write_weights(ctx, bench.engine, int8_words(wide, banks, lanes), int(second))
        for number, values in enumerate((x, sparse, 0 * x)):
            slot = number % SLOTS
            if number % SLOTS == 0:
                for later, other in enumerate((x, sparse, 0 * x)[number:number + SLOTS]):
                    await write_list(ctx, bench.lists, later, other)
            blocks, stride = matrix_words(*ternary.shape, banks, lanes, False)
            for narrow in (0, 3):
                found, latency = await run(ctx, bench, slot, 3, stride, blocks, int8=0, narrow=narrow)
                assert (found.reshape(-1) == narrow_sums(ternary @ values, narrow)).all()
                assert latency < engine_latency(config, 0)
            blocks, stride = matrix_words(*wide.shape, banks, lanes, True)
            found, latency = await run(ctx, bench, slot, int(second), stride, blocks, int8=1, narrow=5)
            assert (found.reshape(-1) == narrow_sums(wide @ values, 5)).all()
            assert latency == engine_latency(config, 1) - 1

    simulate(bench, drive)


def test_digits():
    """A list of two digits: the upper and the lower one are multiplied one after the other."""
    config, rng = GEOMETRIES[0], np.random.default_rng(1)
    wide, weights = rng.integers(-121, 122, (4, 24)), rng.integers(0, 1024, 24)
    weights[:6] = [0, 1, 7, 8, 1023, 512]
    takes = np.arange(24) < 21
    bench = Bench(config)

    async def drive(ctx):
        await write_weights(ctx, bench.engine, int8_words(wide, 4, 2), 0)
        await write_list(ctx, bench.lists, 1, weights, takes, digits=True)
        for low, digit in enumerate((weights >> 3, weights & 7)):
            found, _ = await run(ctx, bench, 1, 0, 6, 2, int8=1, low=low)
            assert (found.reshape(-1) == wide @ np.where(takes, digit, 0)).all()

    simulate(bench, drive)


@pytest.mark.parametrize("value", [False, True])
def test_stores(value):
    """Keys fill the banks of a tile, values the tiles of a bank; what is beyond 121 becomes 121."""
    config, rng = GEOMETRIES[0], np.random.default_rng(2)
    banks, lanes = config.banks, config.tiles
    elements = rng.integers(-200, 200, 12)
    elements[:4] = [121, -121, 131071, -131072]
    limited, bench = np.clip(elements, -121, 121), Bench(config)

    async def drive(ctx):
        stores = bench.stores
        for name, setting in (("value", value), ("fixed", 1), ("address", 7), ("stride", 5)):
            ctx.set(getattr(stores, name), setting)
        ctx.set(stores.start, 1)
        await ctx.tick()
        ctx.set(stores.start, 0)
        await ctx.tick()
        for first in range(0, len(elements), lanes):
            for lane in range(lanes):
                ctx.set(stores.i[lane], int(elements[first + lane]))
            ctx.set(stores.i_valid, 1)
            await ctx.tick()
            ctx.set(stores.i_valid, 0)
            for _ in range(lanes):
                ctx.set(bench.engine.i_weights, ctx.get(stores.o_weights))
                await ctx.tick()

    written, ahead = {}, None

    async def watch(ctx):
        nonlocal ahead
        async for *_, write in ctx.tick().sample(bench.stores.o_weights):
            if ahead is not None:
                written[int(write.address), *ahead] = int(write.word)
            bank, tile = int(write.bank), int(write.tile)
            ahead = (bank.bit_length() - 1, tile.bit_length() - 1) if bank and tile else None
            if len(written) == len(elements):
                return

    simulate(bench, drive, watch)
    place = (lambda i: (7 + i // lanes * 5, 1, i % lanes)) if value else (lambda i: (7 + i // banks, i % banks, 1))
    digits = (limited[:, None] + 121) // 3 ** np.arange(5) % 3 - 1
    assert written == {place(i): int(word_encode(digits[i].astype(np.int8))) for i in range(len(elements))}


def test_combiner():
    component, rng = Combiner(width=20, to=28), np.random.default_rng(3)
    rows = rng.integers(-2 ** 19, 2 ** 19, (200, 5))
    rows[:2] = [[-2 ** 19] * 5, [2 ** 19 - 1] * 5]
    found = []

    async def drive(ctx):
        ctx.set(component.show, 1)
        for number in range(len(rows) + COMBINER_LATENCY):
            for port, value in zip(component.i, rows[min(number, len(rows) - 1)].tolist()):
                ctx.set(port, value)
            await ctx.tick()
            found.append(ctx.get(component.o))
        ctx.set(component.show, 0)
        await ctx.tick()
        assert ctx.get(component.o) == 0

    simulate(component, drive)
    assert found[COMBINER_LATENCY - 1:][:len(rows)] == (rows @ 3 ** np.arange(5)).tolist()


@pytest.mark.parametrize("shift", [0, 1, 7, 10])
def test_narrow(shift):
    """Sums with half of the last place that stays."""
    component, rng = Narrow(width=28, to=18), np.random.default_rng(shift)
    sums = rng.integers(-2 ** 27, 2 ** 27, 300) >> rng.integers(0, 27, 300)
    sums[:4] = [-2 ** 27, 2 ** 27 - 1 , (2 ** 17 << shift) - 1, 1 << shift >> 1]
    half, found = 1 << shift >> 1, []
    sums = np.minimum(sums, 2 ** 27 - 1 - half)

    async def drive(ctx):
        ctx.set(component.shift, shift)
        for number in range(len(sums) + NARROW_LATENCY):
            ctx.set(component.i, int(sums[min(number, len(sums) - 1)]) + half)
            await ctx.tick()
            found.append(ctx.get(component.o))

    simulate(component, drive)
    assert found[NARROW_LATENCY - 1:][:len(sums)] == narrow_sums(sums, shift).tolist()
