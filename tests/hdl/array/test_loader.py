import numpy as np
import pytest

from setun.golden.codes import byte_encode, word_encode
from setun.hdl.array.loader import Loader
from setun.hdl.config import TRITS, Config
from setun.sim.verify.streams import put, simulate


LATENCY = {False: 3, True: 2}  # of a config that is not single_port, and one that is
SHAPES = [(1, 1), (1, 3), (4, 1), (3, 2)]  # banks, tiles
DEPTH = 50


def rtl_load(banks, tiles, loads, *, stall=0.0, single_port=False):
    """What leaves in each cycle, as of ``reference``, and the cycles in which bytes are taken, for each load."""
    config = Config(name="test", banks=banks, tiles=tiles, depth=DEPTH, columns=8, blocks=1, single_port=single_port)
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
            for _ in range(LATENCY[single_port] - 2):
                await ctx.tick()
            cycle += (sent[-1] + 1 if sent else 0) + LATENCY[single_port] - 1
        await ctx.tick().repeat(4)
        taken.append([])

    async def watch(ctx):
        bank, tile = 0, 0
        while len(taken) <= len(loads):
            _, _, write, zeros, ready = await ctx.tick().sample(loader.o_weights, loader.zeros, loader.i.ready)
            assert ready
            seen.append(((bank, tile, write.address, write.word) if tile else None, zeros))
            bank, tile = write.bank, write.tile

    simulate(loader, link, watch, cycles=10_000)
    return seen, taken[:-1]


def reference(banks, tiles, loads, taken, cycles, single_port):
    """(one-hot bank, one-hot tile, address, word) or None, and the zeros, in each of so many cycles."""
    seen = [(None, 0)] * cycles
    for (address, trits), bytes_taken in zip(loads, taken, strict=True):
        zeros = (trits == 0).sum(axis=-1)
        for index, cycle in enumerate(bytes_taken):
            word, bank, tile = np.unravel_index(index, (DEPTH, banks, tiles))
            code = int((byte_encode if single_port else word_encode)(trits[index]))
            place = 1 << int(bank), 1 << int(tile), address + int(word), code
            seen[cycle + LATENCY[single_port]] = place, int(zeros[index])
    return seen


def assert_equal(banks, tiles, loads, *, stall=0.0, single_port=False):
    seen, taken = rtl_load(banks, tiles, loads, stall=stall, single_port=single_port)
    assert seen == reference(banks, tiles, loads, taken, len(seen), single_port)
    return taken


def random_trits(rng, count):
    return rng.integers(-1, 2, (count, TRITS), np.int8)


@pytest.mark.parametrize("banks, tiles", SHAPES)
@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("single_port", LATENCY)
def test_random(banks, tiles, stall, single_port):
    """Whole words at addresses up to the last."""
    rng = np.random.default_rng(banks)
    loads = [(address, random_trits(rng, words * banks * tiles))
             for address, words in ((0, 1), (7, 9), (DEPTH - 1, 1), (DEPTH - 5, 5), (0, 20))]
    assert_equal(banks, tiles, loads, stall=stall, single_port=single_port)


@pytest.mark.parametrize("banks, tiles", SHAPES)
@pytest.mark.parametrize("single_port", LATENCY)
def test_starts_again(banks, tiles, single_port):
    """In the middle of a word, wherever, in the cycle before the one in which the last byte before leaves."""
    rng = np.random.default_rng(1)
    counts = [*range(2 * banks * tiles + 2), 0, 1]
    loads = [(int(rng.integers(DEPTH - 3)), random_trits(rng, count)) for count in counts]
    assert_equal(banks, tiles, loads, single_port=single_port)


@pytest.mark.parametrize("single_port", LATENCY)
def test_all_codes(single_port):
    codes = np.stack(np.meshgrid(*[np.arange(-1, 2, dtype=np.int8)] * TRITS), axis=-1).reshape(-1, TRITS)
    assert len(set(map(tuple, codes.tolist()))) == 3 ** TRITS
    assert_equal(3, 3, [(4, codes)], single_port=single_port)


def test_throughput():
    """A byte a cycle, in the order of the link: tiles, then banks, then words."""
    loads = [(2, random_trits(np.random.default_rng(2), 24))]
    (taken,) = assert_equal(2, 3, loads)
    assert taken == list(range(1, 25))
    seen, _ = rtl_load(2, 3, loads)
    assert [place[:3] for place, _ in seen if place] == [
        (1 << bank, 1 << tile, address) for address in range(2, 6) for bank in (0, 1) for tile in range(3)]
