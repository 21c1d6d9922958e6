import numpy as np
import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.hdl.array.drain import Drain, Leaving, Result, Settle
from setun.hdl.config import TRITS, Config
from setun.hdl.technology.ice40 import ICE40
from setun.hdl.technology.product import PORTABLE
from setun.sim.verify.streams import simulate


BLOCKS = 13
FIRST_RESULT = 2  # cycles after the last sums
LONGEST = 100  # beats


class FirstStack(wiring.Component):
    """A drain, and what lets its rows leave."""

    def __init__(self, config, technology):
        self.config, self.drain = config, Drain(config, technology)
        super().__init__({"i_settle": In(Settle(config)), "o_valid": Out(1), "o_first": Out(1),
                          "o_results": Out(Result(config)).array(config.stack)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.drain, m.submodules.leaving = drain, leaving = self.drain, Leaving(self.config)
        m.d.comb += [leaving.i_settle.eq(self.i_settle), drain.i_leave.eq(leaving.o_leave),
                     drain.i_valid.eq(self.i_settle.valid), drain.i_first.eq(self.i_settle.first),
                     self.o_valid.eq(drain.o_valid), self.o_first.eq(drain.o_first)]
        m.d.comb += [o.eq(result) for o, result in zip(self.o_results, drain.o_results)]
        return m


def rtl_drain(banks, cycles, technology=PORTABLE):
    """Results [(cycle, tile, address, value)], and (valid, first) for the stack below, by cycle, of (sums, settle)s."""
    stack = len(cycles[0][0]) // TRITS
    config = Config(name="test", banks=banks, tiles=stack, stack=stack, depth=16, columns=LONGEST * banks,
                    blocks=BLOCKS)
    machine = FirstStack(config, technology)
    drain = machine.drain
    results, below, left = [], [], []

    async def bench(ctx):
        for cycle in range(len(cycles) + FIRST_RESULT + TRITS):
            sums, settle = cycles[cycle] if cycle < len(cycles) else ([0] * len(cycles[0][0]), idle())
            for port, value in zip(drain.i_sums, sums, strict=True):
                ctx.set(port, int(value))
            ctx.set(machine.i_settle, settle)
            _, _, valid, first, leave, *found = await ctx.tick().sample(
                machine.o_valid, machine.o_first, drain.o_leave, *machine.o_results)
            below.append((valid, first))
            assert not left or (leave.valid, leave.address) == left[-1]  # the stack below, a cycle later
            left.append((int(any(result.valid for result in found)), found[0].address))
            results.extend((cycle, tile, result.address, result.value) for tile, result in enumerate(found)
                           if result.valid)

    simulate(machine, bench)
    return results, below[1:len(cycles) + 1]


def idle(destination=0):
    return {"valid": 0, "first": 0, "last": 0, "opens": destination % 2, "destination": destination}


def cycles_of(rng, blocks, pauses=0.0):
    """(sums, settle) for each cycle of blocks (sums [beats, rows], destination); between them, noise that is not valid.

    A block whose results follow those of the one before opens no product, and its destination is noise.
    """
    cycles, follows = [], None
    for sums, destination in blocks:
        opens = destination != follows
        follows = destination + TRITS
        for beat, row_sums in enumerate(sums):
            while rng.random() < pauses:
                cycles.append((rng.integers(-9, 9, len(row_sums)), idle(int(rng.integers(0, 5 * BLOCKS)))))
            cycles.append((row_sums, {"valid": 1, "first": int(beat == 0), "last": int(beat == len(sums) - 1),
                                      "opens": int(opens),
                                      "destination": destination if opens else int(rng.integers(0, 5 * BLOCKS))}))
    return cycles


def reference(cycles):
    """Totals of the rows, in the cycles after each block's last that the docstring states."""
    results, total, address = [], None, None
    for cycle, (sums, settle) in enumerate(cycles):
        if settle["valid"]:
            total = np.array(sums, np.int64) + (0 if settle["first"] else total)
            if settle["first"] and settle["opens"]:
                address = settle["destination"]
            if settle["last"]:
                results += [(cycle + 2 + row, tile, address + row, int(total[tile * TRITS + row]))
                            for row in range(TRITS) for tile in range(len(total) // TRITS)]
                address += TRITS
    return results


def assert_equal(banks, cycles, technology=PORTABLE):
    results, below = rtl_drain(banks, cycles, technology)
    assert results == reference(cycles)
    assert below == [(settle["valid"], settle["first"]) for _, settle in cycles]


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
