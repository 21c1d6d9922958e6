import numpy as np
import pytest

from setun.golden.codes import word_encode
from setun.golden.layout import activation_lists, tile_weights
from setun.golden.matvec import matvec
from setun.hdl.array.array import Array, flush_cycles
from setun.hdl.config import Config
from setun.hdl.technology.product import PORTABLE
from setun.sim.verify.streams import simulate


def config_of(banks, tiles):
    return Config(name="test", banks=banks, tiles=tiles, depth=512, columns=512, blocks=16)


def rtl_matvec(config, technology, w, x, *, skip=True, base=3, destination=1, pauses=()):
    """Results [M], the cycles of the first and the last, counted from the first token, and the number of tokens."""
    array = Array(config, technology)
    words = word_encode(tile_weights(w, config.banks, config.tiles))  # [blocks, words, banks, tiles]
    lists = activation_lists(x, config.banks, len(x), skip)
    beats = max(5, max(len(indices) for indices, _ in lists))
    results, cycles = {}, []

    async def drive(ctx):
        late = {"address": 0, "word": 0}
        for address, group in enumerate(words.reshape(-1, config.banks, config.tiles), base):
            for bank in range(config.banks):
                for tile in range(config.tiles):
                    ctx.set(array.i_weights, {"bank": 1 << bank, "tile": 1 << tile} | late)
                    late = {"address": address, "word": int(group[bank, tile])}
                    await ctx.tick()
        ctx.set(array.i_weights, {"bank": 0, "tile": 0} | late)
        await ctx.tick()
        for bank, (indices, values) in enumerate(lists):
            for address in range(beats):
                here = address < len(indices)
                ctx.set(array.i_list, {"select": 1 << bank, "slot": 1, "address": address,
                                       "index": int(indices[address]) if here else 0,
                                       "value": int(values[address]) if here else 0})
                await ctx.tick()
        ctx.set(array.i_list, {"select": 0, "slot": 0, "address": 0, "index": 0, "value": 0})
        await ctx.tick().repeat(config.banks + 1)
        for block in range(len(words)):
            for beat in range(beats):
                if (block, beat) in pauses:
                    ctx.set(array.i_token.valid, 0)
                    await ctx.tick().repeat(3)
                ctx.set(array.i_token, {"valid": 1, "first": beat == 0, "last": beat == beats - 1, "opens": block == 0,
                                        "slot": 1, "beat": beat, "base": base + block * words.shape[1],
                                        "destination": destination * 5})
                await ctx.tick()
        ctx.set(array.i_token.valid, 0)
        await ctx.tick().repeat(flush_cycles(config))

    async def watch(ctx):
        start, cycle = None, 0
        while len(results) < words.shape[0] * config.rows:
            token, *outputs = (await ctx.tick().sample(array.i_token.valid, *array.o_results))[2:]
            if token and start is None:
                start = cycle
            for tile, output in enumerate(outputs):
                if output.valid:
                    block, row = divmod(output.address - 5 * destination, 5)
                    results[block * config.rows + tile * 5 + row] = output.value
                    cycles.append(cycle - start)
            cycle += 1

    simulate(array, drive, watch)
    return np.array([results[row] for row in range(len(w))]), (min(cycles), max(cycles)), len(words) * beats


@pytest.mark.parametrize("banks, tiles", [(1, 1), (2, 1), (3, 2), (8, 2), (13, 1)])
@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (21, 67)])
@pytest.mark.parametrize("skip", [False, True])
def test_portable_equals_golden(banks, tiles, shape, skip):
    rng = np.random.default_rng([banks, tiles, *shape])
    w = rng.integers(-1, 2, shape, np.int8)
    x = rng.integers(-128, 128, shape[1]).astype(np.int8) * (rng.random(shape[1]) < 0.5)
    config = config_of(banks, tiles)
    results, (_, last), tokens = rtl_matvec(config, PORTABLE, w, x.astype(np.int8), skip=skip)
    assert (results == matvec(w, x.astype(np.int8))).all()
    assert last == tokens - 1 + flush_cycles(config)


@pytest.mark.parametrize("weight, value", [(1, 127), (-1, -127), (1, -128), (-1, -128)])
def test_extremes(weight, value):
    w, x = np.full((10, 300), weight, np.int8), np.full(300, value, np.int8)
    results, _, _ = rtl_matvec(config_of(5, 2), PORTABLE, w, x)
    assert (results == 300 * weight * value).all()


def test_tokens_may_pause():
    rng = np.random.default_rng(5)
    w, x = rng.integers(-1, 2, (10, 40), np.int8), rng.integers(-128, 128, 40).astype(np.int8)
    results, _, _ = rtl_matvec(config_of(4, 1), PORTABLE, w, x, pauses=[(0, 3), (1, 0), (1, 9)])
    assert (results == matvec(w, x)).all()
