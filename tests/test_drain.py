import numpy as np
import pytest

from hdl.boards.ice40 import ICE40
from hdl.config import TRITS, Config
from hdl.drain import Drain
from hdl.product import PORTABLE
from sim.streams import simulate


BLOCKS = 13
FIRST_RESULT = 2  # cycles after the last sums
LONGEST = 100  # beats


def rtl_drain(banks, cycles, technology=PORTABLE):
    """Results [(cycle, tile, address, value)] and what goes to the stack below in each cycle, for (sums, settle)s."""
    stack = len(cycles[0][0]) // TRITS
    config = Config(name="test", banks=banks, tiles=stack, stack=stack, depth=16, columns=LONGEST * banks,
                    blocks=BLOCKS)
    drain = Drain(config, technology)
    results, below = [], []

    async def bench(ctx):
        for cycle in range(len(cycles) + FIRST_RESULT + TRITS):
            sums, settle = cycles[cycle] if cycle < len(cycles) else ([0] * len(cycles[0][0]), idle())
            for port, value in zip(drain.i_sums, sums, strict=True):
                ctx.set(port, int(value))
            ctx.set(drain.i_settle, settle)
            _, _, passed, *found = await ctx.tick().sample(drain.o_settle, *drain.o_results)
            below.append(seen({name: passed[name] for name in settle}))
            results.extend((cycle, tile, result.address, result.value) for tile, result in enumerate(found)
                           if result.valid)

    simulate(drain, bench)
    return results, below[1:len(cycles) + 1]


def idle(destination=0):
    return {"valid": 0, "first": 0, "last": 0, "destination": destination}


def seen(settle):
    """What means something of it."""
    return settle if settle["valid"] else idle()


def cycles_of(rng, blocks, pauses=0.0):
    """(sums, settle) for each cycle of blocks (sums [beats, rows], destination); between them, noise that is not valid.
    """
    cycles = []
    for sums, destination in blocks:
        for beat, row_sums in enumerate(sums):
            while rng.random() < pauses:
                cycles.append((rng.integers(-9, 9, len(row_sums)), idle(int(rng.integers(0, 5 * BLOCKS)))))
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
                results += [(cycle + 2 + row, tile, settle["destination"] + row, int(total[tile * TRITS + row]))
                            for row in range(TRITS) for tile in range(len(total) // TRITS)]
    return results


def assert_equal(banks, cycles, technology=PORTABLE):
    results, below = rtl_drain(banks, cycles, technology)
    assert results == reference(cycles)
    assert below == [seen(settle) for _, settle in cycles]


@pytest.mark.parametrize("banks", [1, 3, 16])
@pytest.mark.parametrize("pauses", [0.0, 0.5])
@pytest.mark.parametrize("stack", [1, 2])
@pytest.mark.parametrize("technology", [PORTABLE, ICE40])
def test_random(banks, pauses, stack, technology):
    rng = np.random.default_rng(banks)
    blocks = [(rng.integers(-128 * banks, 128 * banks + 1, (beats, stack * TRITS)), TRITS * int(rng.integers(BLOCKS)))
              for beats in (5, 5, 9, 6, 5, 30, 7, 5)]
    assert_equal(banks, cycles_of(rng, blocks, pauses), technology)


def test_back_to_back():
    """Blocks of five beats: a result every cycle from the sixth on, over all addresses."""
    rng = np.random.default_rng(1)
    blocks = [(rng.integers(-512, 513, (TRITS, TRITS)), TRITS * block) for block in range(BLOCKS)]
    cycles = cycles_of(rng, blocks)
    assert_equal(4, cycles)
    results, _ = rtl_drain(4, cycles)
    assert [(cycle, address) for cycle, _, address, _ in results] == [
        (TRITS - 1 + FIRST_RESULT + index, index) for index in range(TRITS * BLOCKS)]


@pytest.mark.parametrize("banks", [1, 16])
@pytest.mark.parametrize("sign", [1, -1])
def test_extremes(banks, sign):
    """A block of the widest sums after one of the opposite ones."""
    widest = np.full((LONGEST, TRITS), 128 * banks * sign)
    assert_equal(banks, cycles_of(np.random.default_rng(2), [(widest, 0), (-widest, 5 * (BLOCKS - 1)), (widest, 5)]))


def test_rows_are_apart():
    rng = np.random.default_rng(3)
    blocks = [(np.eye(TRITS, dtype=int)[[row] * TRITS] * 7, 0) for row in range(TRITS)]
    assert_equal(2, cycles_of(rng, blocks))
