import numpy as np
import pytest

from hdl.config import TRITS, Config
from hdl.drain import Drain
from hdl.product import PORTABLE
from sim.streams import simulate


BLOCKS = 13
FIRST_RESULT = 3  # cycles after the last sums


def rtl_drain(banks, cycles):
    """Results [(cycle, address, value)] and what goes to the tile below in each cycle, for (sums [5], settle)s."""
    config = Config(name="test", banks=banks, tiles=1, depth=16, columns=16 * banks, blocks=BLOCKS)
    drain = Drain(config, PORTABLE)
    results, below = [], []

    async def bench(ctx):
        for cycle in range(len(cycles) + FIRST_RESULT + TRITS):
            sums, settle = cycles[cycle] if cycle < len(cycles) else ([0] * TRITS, idle())
            for row in range(TRITS):
                ctx.set(drain.i_sums[row], int(sums[row]))
            ctx.set(drain.i_settle, settle)
            _, _, result, passed = await ctx.tick().sample(drain.o_result, drain.o_settle)
            below.append({name: passed[name] for name in settle})
            if result.valid:
                results.append((cycle, result.address, result.value))

    simulate(drain, bench)
    return results, below[1:len(cycles) + 1]


def idle(first=0, last=0, destination=0):
    return {"valid": 0, "first": first, "last": last, "destination": destination}


def cycles_of(rng, blocks, pauses=0.0):
    """(sums, settle) for each cycle of blocks (sums [beats, 5], destination); between them, noise that is not valid."""
    cycles = []
    for sums, destination in blocks:
        for beat, row_sums in enumerate(sums):
            while rng.random() < pauses:
                cycles.append((rng.integers(-9, 9, TRITS), idle(*map(int, rng.integers(0, [2, 2, 5 * BLOCKS])))))
            cycles.append((row_sums, {"valid": 1, "first": int(beat == 0), "last": int(beat == len(sums) - 1),
                                      "destination": destination}))
    return cycles


def reference(cycles):
    """Totals of the rows, in the cycles after each block's last that the docstring states."""
    results, total = [], None
    for cycle, (sums, settle) in enumerate(cycles):
        if settle["valid"]:
            total = np.array(sums, np.int64) + (0 if settle["first"] else total)
            if settle["last"]:
                results += [(cycle + 3 + row, settle["destination"] + row, int(total[row])) for row in range(TRITS)]
    return results


def assert_equal(banks, cycles):
    results, below = rtl_drain(banks, cycles)
    assert results == reference(cycles)
    assert below == [settle for _, settle in cycles]


@pytest.mark.parametrize("banks", [1, 3, 16])
@pytest.mark.parametrize("pauses", [0.0, 0.5])
def test_random(banks, pauses):
    rng = np.random.default_rng(banks)
    blocks = [(rng.integers(-128 * banks, 128 * banks + 1, (beats, TRITS)), TRITS * int(rng.integers(BLOCKS)))
              for beats in (5, 5, 9, 6, 5, 30, 7, 5)]
    assert_equal(banks, cycles_of(rng, blocks, pauses))


def test_back_to_back():
    """Blocks of five beats: a result every cycle from the seventh on, over all addresses."""
    rng = np.random.default_rng(1)
    blocks = [(rng.integers(-512, 513, (TRITS, TRITS)), TRITS * block) for block in range(BLOCKS)]
    cycles = cycles_of(rng, blocks)
    assert_equal(4, cycles)
    results, _ = rtl_drain(4, cycles)
    assert [(cycle, address) for cycle, address, _ in results] == [
        (TRITS - 1 + FIRST_RESULT + index, index) for index in range(TRITS * BLOCKS)]


@pytest.mark.parametrize("banks", [1, 16])
@pytest.mark.parametrize("sign", [1, -1])
def test_extremes(banks, sign):
    """A block of the widest sums after one of the opposite ones."""
    widest = np.full((100, TRITS), 128 * banks * sign)
    assert_equal(banks, cycles_of(np.random.default_rng(2), [(widest, 0), (-widest, 5 * (BLOCKS - 1)), (widest, 5)]))


def test_rows_are_apart():
    rng = np.random.default_rng(3)
    blocks = [(np.eye(TRITS, dtype=int)[[row] * TRITS] * 7, 0) for row in range(TRITS)]
    assert_equal(2, cycles_of(rng, blocks))
