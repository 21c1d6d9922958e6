import numpy as np
import pytest

from setun.golden.quantiser import absmax_quantise
from setun.hdl.config import Config
from setun.hdl.vector.elements import ELEMENT_LATENCY, SERIAL_CYCLES, Elements, SerialElements
from setun.sim.verify.streams import simulate


COLUMNS = 520
LARGEST = 2 ** 31
KINDS = [Elements, SerialElements]


def rtl_absmax_quantise(kind, vectors):
    """Of each vector, its quantised elements, its absmax, and the cycles in which results come, from ``read`` on."""
    elements = kind(Config(name="test", banks=4, tiles=1, depth=64, columns=COLUMNS, blocks=1))
    results = []

    async def bench(ctx):
        for vector in vectors:
            await pulse(ctx, vector)
            absmax = ctx.get(elements.absmax)
            values, cycles = await read(ctx, len(vector))
            results.append((values, absmax, cycles))
            assert ctx.get(elements.absmax) == absmax

    async def pulse(ctx, vector):
        for port in (elements.start, elements.opens):
            ctx.set(port, 1)
        await ctx.tick()
        for port in (elements.start, elements.opens):
            ctx.set(port, 0)
        ctx.set(elements.i.valid, 1)
        for place, byte in enumerate(vector.astype("<i4").tobytes()):
            ctx.set(elements.position, place // 4)
            ctx.set(elements.i.payload, byte)
            assert ctx.get(elements.element) == (place % 4 == 3)
            await ctx.tick()
        ctx.set(elements.i.valid, 0)
        await ctx.tick().repeat(6)

    async def read(ctx, count):
        values, cycles, cycle, place = [], [], 0, 0
        ctx.set(elements.read, 1)
        while len(values) < count:
            ctx.set(elements.position, place % count)
            ctx.set(elements.last, place % count == count - 1)
            taken = ctx.get(elements.taken)
            if ctx.get(elements.o.valid):
                values.append(ctx.get(elements.o.payload.value))
                assert ctx.get(elements.o.payload.last) == (len(values) == count)
                cycles.append(cycle)
            await ctx.tick()
            cycle, place = cycle + 1, place + taken
            ctx.set(elements.read, place < count)
        await ctx.tick().repeat(3)
        return values, cycles
    simulate(elements, bench, cycles=200_000)
    return results


def assert_equal(kind, vectors):
    for vector, (values, absmax, _) in zip(vectors, rtl_absmax_quantise(kind, vectors), strict=True):
        golden, m = absmax_quantise(vector)
        assert values == golden.tolist() and absmax == m


@pytest.mark.parametrize("kind", KINDS)
def test_random(kind):
    rng = np.random.default_rng(1)
    vectors = [rng.integers(-2 ** bits, 2 ** bits, size, endpoint=True).clip(-LARGEST, LARGEST - 1)
               for bits, size in ((1, 5), (5, 30), (7, 200), (12, 1), (12, 300), (20, 300), (31, 300))]
    assert_equal(kind, vectors)


@pytest.mark.parametrize("kind", KINDS)
def test_all_quotients_of_small_vectors(kind):
    """Either sign of the largest, and all ties."""
    vectors = [np.arange(-absmax, absmax + 1) for absmax in (0, 1, 2, 3, 5, 63, 126, 127, 128, 254)]
    assert_equal(kind, vectors + [vector[::-1] for vector in vectors])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("absmax", [LARGEST - 2, LARGEST - 1, LARGEST, 127 * 2 ** 24])
def test_straddles(kind, absmax):
    """Either side of each half, where m leaves no slack in the remainder."""
    halves = np.array([(2 * quotient + 1) * absmax // 254 for quotient in range(0, 127, 3)])
    vector = np.concatenate([halves - 1, halves, halves + 1, [absmax - 1]])
    vector = np.concatenate([vector, -vector])
    assert_equal(kind, [np.append(vector, largest) for largest in {-absmax, min(absmax, LARGEST - 1)}])


@pytest.mark.parametrize("kind", KINDS)
def test_absmax(kind):
    assert_equal(kind, [np.array(pair) for pair in (
        [-5, 4], [5, -5], [-5, 6], [6, -5], [LARGEST - 1, -LARGEST], [-LARGEST, LARGEST - 1], [0, -1], [0, 0])])


@pytest.mark.parametrize("kind, first, each", [(Elements, 14, 1), (SerialElements, 49, SERIAL_CYCLES)])
def test_latency(kind, first, each):
    assert (ELEMENT_LATENCY, SERIAL_CYCLES) == (14, 44)
    (_, _, cycles), = rtl_absmax_quantise(kind, [np.arange(-20, 20)])
    assert cycles == [first + each * place for place in range(40)]
