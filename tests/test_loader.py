import numpy as np
import pytest

from golden.codes import byte_encode, word_encode
from hdl.config import TRITS, Config
from hdl.loader import Loader
from sim.streams import put, simulate


LATENCY = 3
SHAPES = [(1, 1), (1, 3), (4, 1), (3, 2)]  # banks, tiles
DEPTH = 50


def rtl_load(banks, tiles, loads, *, stall=0.0):
    """What leaves in each cycle, as of ``reference``, and the cycles in which bytes are taken, for each load."""
    config = Config(name="test", banks=banks, tiles=tiles, depth=DEPTH, columns=8, blocks=1)
    loader, seen, taken = Loader(config), [], []

    async def link(ctx):
        cycle = 0
        for number, (address, trits) in enumerate(loads):
            ctx.set(loader.start, 1)
            ctx.set(loader.address, address)
            await ctx.tick()
            ctx.set(loader.start, 0)
            ctx.set(loader.address, DEPTH - 1 - address)
            sent = await put(ctx, loader.i, byte_encode(trits).tolist(), stall=stall, seed=number)
            taken.append([cycle + 1 + after for after in sent])
            cycle += 1 + (sent[-1] + 1 if sent else 0)
        await ctx.tick().repeat(LATENCY + 3)
        taken.append([])

    async def watch(ctx):
        while len(taken) <= len(loads):
            _, _, write, zeros, ready = await ctx.tick().sample(loader.o_weights, loader.zeros, loader.i.ready)
            assert ready
            place = (write.bank, write.tile, write.address, write.word) if write.bank else None
            seen.append((place, zeros))

    simulate(loader, link, watch, cycles=10_000)
    return seen, taken[:-1]


def reference(banks, tiles, loads, taken, cycles):
    """(one-hot bank, one-hot tile, address, word) or None, and the zeros, in each of so many cycles."""
    seen = [(None, 0)] * cycles
    for (address, trits), bytes_taken in zip(loads, taken, strict=True):
        zeros = (trits == 0).sum(axis=-1)
        for index, cycle in enumerate(bytes_taken):
            word, bank, tile = np.unravel_index(index, (DEPTH, banks, tiles))
            place = 1 << int(bank), 1 << int(tile), address + int(word), int(word_encode(trits[index]))
            seen[cycle + LATENCY] = place, int(zeros[index])
    return seen


def assert_equal(banks, tiles, loads, *, stall=0.0):
    seen, taken = rtl_load(banks, tiles, loads, stall=stall)
    assert seen == reference(banks, tiles, loads, taken, len(seen))
    return taken


def random_trits(rng, count):
    return rng.integers(-1, 2, (count, TRITS), np.int8)


@pytest.mark.parametrize("banks, tiles", SHAPES)
@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_random(banks, tiles, stall):
    """Whole words at addresses up to the last."""
    rng = np.random.default_rng(banks)
    loads = [(address, random_trits(rng, words * banks * tiles))
             for address, words in ((0, 1), (7, 9), (DEPTH - 1, 1), (DEPTH - 5, 5), (0, 20))]
    assert_equal(banks, tiles, loads, stall=stall)


@pytest.mark.parametrize("banks, tiles", SHAPES)
def test_starts_again(banks, tiles):
    """In the middle of a word, wherever; the bytes before the start go where they belonged."""
    rng = np.random.default_rng(1)
    counts = [*range(2 * banks * tiles + 2), 0, 1]
    loads = [(int(rng.integers(DEPTH - 3)), random_trits(rng, count)) for count in counts]
    assert_equal(banks, tiles, loads)


def test_all_codes():
    codes = np.stack(np.meshgrid(*[np.arange(-1, 2, dtype=np.int8)] * TRITS), axis=-1).reshape(-1, TRITS)
    assert len(set(map(tuple, codes.tolist()))) == 3 ** TRITS
    assert_equal(3, 3, [(4, codes)])


def test_throughput():
    """A byte a cycle, in the order of the link: tiles, then banks, then words."""
    loads = [(2, random_trits(np.random.default_rng(2), 24))]
    (taken,) = assert_equal(2, 3, loads)
    assert taken == list(range(1, 25))
    seen, _ = rtl_load(2, 3, loads)
    assert [place[:3] for place, _ in seen if place] == [
        (1 << bank, 1 << tile, address) for address in range(2, 6) for bank in (0, 1) for tile in range(3)]
