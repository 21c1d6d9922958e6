"""The lanes and their memories, step by step, against golden and the reference machine's arithmetic."""

import numpy as np
import pytest
from amaranth import *

from setun.golden.attention import MOST_WEIGHT, rotate, softmax_weights
from setun.golden.feed_forward import sigmoid
from setun.golden.lanes import lane
from setun.golden.rotary import WAVE, waves
from setun.hdl.config import Config
from setun.hdl.vector.angles import ANGLE_LATENCY, Angles
from setun.hdl.vector.lanes import First, Lanes, Second
from setun.hdl.vector.scalars import ScalarUnit
from setun.sim.verify.streams import simulate


TOP = 2 ** 17 - 1
GEOMETRIES = [Config(banks=4, tiles=lanes, depth=16, results=64, elements=64) for lanes in (1, 2, 4)]
GEOMETRIES.append(Config(banks=3, tiles=3, depth=16, results=64, elements=64))


class Bench:
    """Lanes whose memories were written, and what steps make of them."""

    def __init__(self, ctx, lanes):
        self.ctx, self.lanes = ctx, lanes

    async def write(self, name, address, values):
        """values [words, N] into ``results`` or ``elements``."""
        port = getattr(self.lanes, f"write_{name}")
        for word, row in enumerate(values.tolist(), address):
            for number, value in enumerate(row):
                self.ctx.set(port[number], {"enable": 1, "address": word, "data": value})
            await self.ctx.tick()
        for number in range(len(port)):
            self.ctx.set(port[number].enable, 0)

    async def step(self, **fields):
        """The words of results, [words, N], which of them take part, and the cycles of the step."""
        ctx, lanes = self.ctx, self.lanes
        names = ("rotate", "add", "exp2", "limited", "brief", "slow", "shift", "scalar", "results", "elements",
                 "destination")
        for name, value in (dict.fromkeys(names, 0) | {"write": 1} | fields).items():
            ctx.set(lanes.i_step[name], value)
        ctx.set(lanes.start, 1)
        await ctx.tick()
        ctx.set(lanes.start, 0)
        words, takes, cycles = [], [], 1
        while not ctx.get(lanes.done):
            if ctx.get(lanes.o_valid):
                words.append([ctx.get(o) for o in lanes.o])
                takes.append([ctx.get(lanes.o_takes) >> number & 1 for number in range(len(lanes.o))])
            await ctx.tick()
            cycles += 1
            assert cycles < 1000
        return np.array(words), np.array(takes), cycles

    async def read(self, name, address, words):
        """[words, N] of a memory."""
        found, ctx = [], self.ctx
        for word in range(words):
            ctx.set(self.lanes.i_step[name], address + word)
            await ctx.tick().repeat(3)
            found.append([ctx.get(o) for o in getattr(self.lanes, f"o_read_{name}")])
        return np.array(found)

    def remembered(self):
        """Largest magnitude, largest, number of the first largest, and sum."""
        get, lanes = self.ctx.get, self.lanes
        return (get(lanes.maximum), get(lanes.largest),
                get(lanes.best_word) * len(lanes.o) + get(lanes.best_lane), get(lanes.sum))


def bench(config, drive):
    lanes = Lanes(config)

    async def driver(ctx):
        await drive(Bench(ctx, lanes))

    simulate(lanes, driver)


def random_words(rng, words, lanes):
    values = rng.integers(-2 ** 17, 2 ** 17, (words, lanes)) >> rng.integers(0, 17, (words, 1))
    values[0, 0], values[-1, -1] = TOP, -TOP - 1
    return values


@pytest.mark.parametrize("config", GEOMETRIES, ids=str)
@pytest.mark.parametrize("shift", [0, 1, 9, 17, 31])
def test_products(config, shift):
    """All sources of factors, with and without an addend; results lie in memory, and what is remembered is theirs."""
    rng, words = np.random.default_rng(shift), 9
    results, elements = (random_words(rng, words, config.tiles) for _ in range(2))
    elements[3] = results[3]  # several are the largest
    positive = np.maximum(results, 0)

    async def drive(lanes):
        await lanes.write("results", 5, results)
        await lanes.write("elements", 20, elements)
        firsts = {First.RESULT: results, First.POSITIVE: positive, First.ELEMENT: elements}
        for first, a in firsts.items():
            for second in (Second.SCALAR, Second.RESULT, Second.ELEMENT):
                b = {Second.SCALAR: 54321, Second.RESULT: positive if first is First.POSITIVE else results,
                     Second.ELEMENT: elements}[second]
                expected = lane(a, b, shift)
                found, takes, cycles = await lanes.step(words=words, results=5, elements=20, destination=40,
                                                        first=first, second=second, scalar=54321, shift=shift)
                assert (found == expected).all() and takes.all()
                assert (await lanes.read("elements", 40, words) == expected).all()
                assert lanes.remembered() == (np.abs(expected).max(), expected.max(), expected.argmax(),
                                              np.square(a).sum())
        found, _, _ = await lanes.step(words=words, results=5, elements=20, destination=20, first=First.RESULT,
                                       second=Second.SCALAR, scalar=777, shift=shift, add=1)
        assert (found == lane(results, 777, shift, elements)).all()
        assert (await lanes.read("elements", 20, words) == found).all()

    bench(config, drive)


def test_sigmoid():
    """The second factor from the table, over its whole range and beyond."""
    config, rng = Config(banks=2, tiles=2, depth=16, results=64, elements=64, silu=True), np.random.default_rng(5)
    elements, results = random_words(rng, 60, 2), random_words(rng, 60, 2)
    elements[:30] = rng.integers(-1100, 1100, (30, 2))
    elements[1], elements[2] = [0, -1], [1023, -1024]

    async def drive(lanes):
        await lanes.write("elements", 0, elements)
        await lanes.write("results", 0, results)
        found, _, _ = await lanes.step(words=60, first=First.RESULT, second=Second.SIGMOID, shift=16)
        assert (found == lane(results, sigmoid(elements), 16)).all()

    bench(config, drive)


@pytest.mark.parametrize("config", GEOMETRIES, ids=str)
def test_limit(config):
    """Elements beyond the limit leave, and are not remembered."""
    words, lanes_of = 4, config.tiles
    elements = -random_words(np.random.default_rng(1), words, lanes_of)
    elements[elements > TOP] = TOP

    async def drive(lanes):
        await lanes.write("elements", 0, elements)
        for last in range(words * lanes_of):
            part = elements.reshape(-1)[:last + 1]
            _, takes, _ = await lanes.step(words=words, first=First.ELEMENT, second=Second.SCALAR, scalar=1, limited=1,
                                           limit_word=last // lanes_of, limit_lane=last % lanes_of, write=0)
            assert takes.reshape(-1).sum() == last + 1
            assert lanes.remembered()[:3] == (np.abs(part).max(), part.max(), part.argmax())

    bench(config, drive)


@pytest.mark.parametrize("config", GEOMETRIES, ids=str)
def test_softmax(config):
    """Weights of scores below the largest of the step before, and their sum, without those that take no part."""
    rng, words = np.random.default_rng(2), 6
    scores = rng.integers(-600, 600, (words, config.tiles))
    scores[0, 0], scores[1, 0] = -TOP - 1, 599
    count = words * config.tiles - 1

    async def drive(lanes):
        await lanes.write("elements", 0, scores)
        limits = {"limited": 1, "limit_word": (count - 1) // config.tiles, "limit_lane": (count - 1) % config.tiles}
        await lanes.step(words=words, first=First.ELEMENT, second=Second.SCALAR, scalar=1, **limits)
        found, takes, _ = await lanes.step(words=words, first=First.BELOW, second=Second.SCALAR, exp2=1, write=0,
                                           **limits)
        expected = softmax_weights(scores.reshape(-1)[:count])
        assert (found.reshape(-1)[:count] == expected).all() and takes.reshape(-1).tolist() == [1] * count + [0]
        assert lanes.remembered()[3] == expected.sum() and expected.max() == MOST_WEIGHT

    bench(config, drive)


@pytest.mark.parametrize("config", GEOMETRIES, ids=str)
@pytest.mark.parametrize("period, words", [(1, 3), (2, 4)])
def test_rotate(config, period, words):
    """Pairs of words of several heads by the angles of one."""
    rng, lanes_of = np.random.default_rng(3), config.tiles
    results = random_words(rng, 2 * words, lanes_of)
    cos, sin = (wave.reshape(period, lanes_of) for wave in waves(rng.integers(0, 1 << 24, period * lanes_of), 3))
    angles = np.stack([cos, -sin, sin], 1).reshape(3 * period, lanes_of)

    async def drive(lanes):
        await lanes.write("results", 2, results)
        await lanes.write("elements", 7, angles)
        found, _, _ = await lanes.step(words=words, results=2, elements=7, destination=30, rotate=1, period=period,
                                       first=First.RESULT, second=Second.ELEMENT, shift=15)
        pairs = results.reshape(words, 2, lanes_of)
        turn = np.arange(words) % period
        for word in range(words):
            for number in range(lanes_of):
                assert (found[2 * word:2 * word + 2, number] == rotate(
                    pairs[word, :, number], cos[turn[word], number, None], sin[turn[word], number, None])).all()
        assert (await lanes.read("elements", 30, 2 * words) == found).all()
        assert lanes.remembered()[0] == np.abs(found).max()

    bench(config, drive)


class AnglesAndTable(Elaboratable):
    """Angles, and the memory that their wave lies in, behind the scalars."""

    def __init__(self):
        self.angles, self.scalars = Angles(position_bits=12), ScalarUnit(registers=20, table=WAVE.tolist())

    def elaborate(self, platform):
        m = Module()
        m.submodules += [self.angles, self.scalars]
        m.d.comb += [self.scalars.read_address.eq(self.angles.place), self.scalars.read_table.eq(1),
                     self.angles.magnitude.eq(self.scalars.read_mantissa)]
        return m


def test_angles():
    component, rng = AnglesAndTable(), np.random.default_rng(4)
    cases = [(0, 0), (1 << 23, 1), ((1 << 24) - 1, 4095), *rng.integers(0, (1 << 24, 4096), (300, 2)).tolist()]

    async def drive(ctx):
        for frequency, position in cases:
            ctx.set(component.angles.frequency, frequency)
            ctx.set(component.angles.position, position)
            for sine, wave in enumerate(waves(np.array([frequency]), position)):
                ctx.set(component.angles.sine, sine)
                await ctx.tick().repeat(ANGLE_LATENCY - sine)
                assert ctx.get(component.angles.o) == wave[0]

    simulate(component, drive)
