import numpy as np
import pytest

from setun.golden.quantiser import absmax_quantise
from setun.hdl.vector.quantiser import QUANTISER_LATENCY, Absmax, Quantiser
from setun.sim.verify.streams import get, put, simulate


LARGEST = 2 ** 31


def rtl_absmax_quantise(vectors, *, stalls=(0.0, 0.0)):
    """Quantised vectors; and the cycles from each element of the first to its result."""
    quantiser = Quantiser()
    results, cycles = [], []

    async def bench_in(ctx):
        for vector in vectors:
            ctx.set(quantiser.absmax, int(np.abs(vector).max()))
            cycles.append(await put(ctx, quantiser.i, vector.tolist(), stall=stalls[0]))
            while len(results) < len(cycles):
                await ctx.tick()

    async def bench_out(ctx):
        for vector in vectors:
            values, taken = await get(ctx, quantiser.o, len(vector), stall=stalls[1])
            cycles[-1] = np.subtract(taken, cycles[-1])
            results.append(values)
    simulate(quantiser, bench_in, bench_out)
    return results, cycles[0]


def assert_equal(vectors, results):
    for vector, result in zip(vectors, results, strict=True):
        assert result == absmax_quantise(vector)[0].tolist()


def test_random():
    rng = np.random.default_rng(1)
    vectors = [rng.integers(-2 ** bits, 2 ** bits, size, endpoint=True)
               for bits, size in ((1, 5), (5, 30), (7, 200), (12, 1), (12, 300), (20, 300), (31, 300))]
    vectors[-1] = vectors[-1].clip(-LARGEST, LARGEST - 1)
    results, _ = rtl_absmax_quantise(vectors)
    assert_equal(vectors, results)


def test_all_quotients_of_small_vectors():
    vectors = [np.arange(-absmax, absmax + 1) for absmax in (0, 1, 2, 3, 5, 63, 126, 127, 128, 254)]
    results, _ = rtl_absmax_quantise(vectors)
    assert_equal(vectors, results)
    assert results[-1][254::2] == list(range(128))
    assert results[-1][255::4] == list(range(0, 128, 2))  # ties, half to even


@pytest.mark.parametrize("absmax", [2 ** 31 - 2, 2 ** 31 - 1, 2 ** 31, 254 * 2 ** 23, 254 * 3, 254 * (2 ** 31 // 254)])
def test_straddles(absmax):
    """Each half, where it is an integer, and either side of it, where m leaves no slack in the remainder."""
    halves = np.array([(2 * quotient + 1) * absmax // 254 for quotient in range(127)])
    vector = np.concatenate([halves - 1, halves, halves + 1, [absmax - 1]])
    vector = np.concatenate([vector, -vector, [-absmax]])
    results, _ = rtl_absmax_quantise([vector])
    assert_equal([vector], results)
    assert min(results[0]) == -127 and max(results[0]) <= 127
    if absmax % 254 == 0:
        assert results[0][127:254] == [quotient + quotient % 2 for quotient in range(127)]  # half to even


@pytest.mark.parametrize("stalls", [(0.0, 0.5), (0.5, 0.0), (0.5, 0.5), (0.9, 0.1), (0.1, 0.9)])
def test_stalls(stalls):
    vector = np.random.default_rng(2).integers(-1000, 1000, 60)
    results, _ = rtl_absmax_quantise([vector, vector // 3], stalls=stalls)
    assert_equal([vector, vector // 3], results)


def test_latency():
    vector = np.arange(-20, 20)
    _, cycles = rtl_absmax_quantise([vector])
    assert QUANTISER_LATENCY == 11
    assert set(cycles.tolist()) == {QUANTISER_LATENCY}


def test_absmax():
    rng = np.random.default_rng(3)
    pairs = [[-5, 4], [5, -5], [-5, 6], [6, -5], [LARGEST - 1, -LARGEST], [-LARGEST, LARGEST - 1], [0, -1], [0, 0]]
    close = [[LARGEST - 1 - (1 << bit), LARGEST - 1] for bit in range(31)]
    vectors = pairs + close + [rng.integers(-2 ** bits, 2 ** bits, 20).tolist() for bits in (1, 3, 10, 31)]
    absmax = Absmax()

    async def bench(ctx):
        for vector in vectors:
            ctx.set(absmax.clear, 1)
            ctx.set(absmax.valid, 1)  # of a cleared cycle, thus not to be counted
            ctx.set(absmax.value, -LARGEST)
            await ctx.tick()
            ctx.set(absmax.clear, 0)
            for value in vector:
                ctx.set(absmax.value, value)
                ctx.set(absmax.valid, 1)
                await ctx.tick()
                ctx.set(absmax.valid, 0)
                ctx.set(absmax.value, -LARGEST)
                await ctx.tick()
                await ctx.tick()
            assert ctx.get(absmax.absmax) == max(map(abs, vector))
    simulate(absmax, bench)
