import numpy as np
import pytest
from amaranth.sim import Simulator

from setun.golden.sampling import UNIFORM_BITS, noise, noise_of
from setun.hdl.vector.noise import Noise, first_pause, next_pause


def numbers(lanes, seed, position, words):
    """What comes, at the earliest times."""
    unit, found = Noise(lanes=lanes), []
    simulator = Simulator(unit)
    simulator.add_clock(1e-6)

    async def bench(ctx):
        ctx.set(unit.seed, seed)
        ctx.set(unit.position, position)
        ctx.set(unit.start, 1)
        await ctx.tick()
        ctx.set(unit.start, 0)
        for word in range(words):
            await ctx.tick().repeat(next_pause(lanes) if word else first_pause(lanes))
            ctx.set(unit.take, 1)
            await ctx.tick()
            ctx.set(unit.take, 0)
            found.extend(ctx.get(o) for o in unit.o)

    simulator.add_testbench(bench)
    simulator.run()
    return found


@pytest.mark.parametrize("lanes", [1, 3, 8])
@pytest.mark.parametrize("seed, position", [(0, 0), (5 * 65537, 5), (0xdeadbeef, 65535)])
def test_numbers(lanes, seed, position):
    """They are golden's, from states that would be 0 as well."""
    assert numbers(lanes, seed, position, 40) == noise(seed, position, 40 * lanes).tolist()


def test_the_last_part_is_met():
    """Among enough numbers there are some of the last part, whose octaves are counted."""
    expected = noise(3, 9, 4000)
    assert (expected > noise_of((1 << 32) - 1 - (1 << 32 - UNIFORM_BITS))).sum() > 3
    assert numbers(8, 3, 9, 500) == expected.tolist()


def test_starts_anew():
    assert (np.array(numbers(2, 1, 0, 5)) != np.array(numbers(2, 1, 1, 5))).any()
