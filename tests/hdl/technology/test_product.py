import numpy as np
import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.hdl.config import ACCUMULATOR_BITS, GROUP, sum_width
from setun.hdl.technology.product import DOT_LATENCY, PORTABLE, DotSignature
from setun.sim.verify.streams import simulate


LONGEST = 18
EXTREMES = [(1, 127), (-1, 127), (1, -128), (-1, -128), (0, -128)]


class Chain(wiring.Component):
    """Dot products of a row, the accumulator at their end, and what the last of them says of its form."""

    def __init__(self, products, technology=PORTABLE):
        self.products, self.technology = products, technology
        super().__init__({
            "non_zero": In(products),
            "sign": In(products),
            "x": In(signed(8)).array(products),
            "enable": In(1),
            "first": In(1),
            "sum": Out(signed(sum_width(products))),
            "carry": Out(1),
            "o": Out(signed(ACCUMULATOR_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        total, carry = C(0, signed(1)), C(0, 1)
        for position in range(0, self.products, GROUP):
            these = range(position, min(position + GROUP, self.products))
            m.submodules[f"dot_{position}"] = dot = self.technology.dot(position=position, products=len(these))
            m.d.comb += [dot.i.eq(total), dot.i_carry.eq(carry), dot.non_zero.eq(self.non_zero[these.start:these.stop]),
                         dot.sign.eq(self.sign[these.start:these.stop])]
            m.d.comb += [x.eq(self.x[index]) for x, index in zip(dot.x, these, strict=True)]
            total, carry = dot.o, dot.o_carry
        m.submodules.accumulator = accumulator = self.technology.accumulator(products=self.products,
                                                                             width=ACCUMULATOR_BITS)
        m.d.comb += [accumulator.i.eq(total), accumulator.i_carry.eq(carry), accumulator.enable.eq(self.enable),
                     accumulator.first.eq(self.first), self.sum.eq(total), self.carry.eq(carry),
                     self.o.eq(accumulator.o)]
        return m


def rtl_accumulate(w, x, enable, first):  # int8 [beats, products] twice, bool [beats] twice -> int64 [beats] twice
    """The chain's sum, and the accumulator after it, for each beat.

    The second dot product takes a beat in the cycle of the first, each of the others a cycle after the one before.
    Nothing is asked of what stands on the ports outside of the beats, nor of the sign of a zero.
    """
    beats, products = w.shape
    chain, rng = Chain(products), np.random.default_rng(0)
    late = [max(position // GROUP - 1, 0) for position in range(products)]
    latency = DOT_LATENCY + (products - 1) // GROUP
    sums, totals = [], []

    def beat_of(values, beat, noise):
        return int(values[beat]) if 0 <= beat < beats else int(rng.integers(*noise))

    async def bench(ctx):
        for cycle in range(beats + latency + 1):
            weights = [beat_of(w[:, position], cycle - late[position], (-1, 2)) for position in range(products)]
            ctx.set(chain.non_zero, sum(bool(weight) << position for position, weight in enumerate(weights)))
            ctx.set(chain.sign, sum((weight < 0 if weight else int(rng.integers(2))) << position
                                    for position, weight in enumerate(weights)))
            for position in range(products):
                ctx.set(chain.x[position], beat_of(x[:, position], cycle - late[position], (-128, 128)))
            beat = cycle - latency  # whose sum is there
            ctx.set(chain.enable, 0 <= beat < beats and bool(enable[beat]))
            ctx.set(chain.first, beat_of(first, beat, (0, 2)))
            _, _, chain_sum, carry, total = await ctx.tick().sample(chain.sum, chain.carry, chain.o)
            assert not carry
            if beat >= 0:
                sums.append(chain_sum)
            if beat >= 1:
                totals.append(total)

    simulate(chain, bench)
    return sums[:beats], totals[:beats]


def reference(w, x, enable, first):
    """w . x for each beat, and what has accumulated."""
    sums = (w.astype(np.int64) * x.astype(np.int64)).sum(axis=1).tolist()
    totals, total = [], 0
    for value, enabled, begins in zip(sums, enable, first, strict=True):
        if enabled:
            total = value + (0 if begins else total)
        totals.append(total)
    return sums, totals


@pytest.mark.parametrize("products", range(1, LONGEST + 1))
def test_random(products):
    rng = np.random.default_rng(products)
    beats = 60
    w = rng.integers(-1, 2, (beats, products), np.int8)
    x = rng.integers(-128, 128, (beats, products)).astype(np.int8)
    enable, first = rng.random(beats) < 0.7, rng.random(beats) < 0.2
    enable[0] = first[0] = True
    assert rtl_accumulate(w, x, enable, first) == reference(w, x, enable, first)


@pytest.mark.parametrize("products", range(1, LONGEST + 1))
def test_extremes(products):
    """The widest sums that each length can reach, and what comes of them when one term changes."""
    rng = np.random.default_rng(products)
    beats = np.array([[pair] * products for pair in EXTREMES for _ in range(4)], np.int8)  # [beats, products, 2]
    for beat in beats[1::4]:
        beat[rng.integers(products)] = EXTREMES[rng.integers(len(EXTREMES))]
    w, x = beats[..., 0], beats[..., 1]
    enable, first = np.ones(len(w), bool), np.arange(len(w)) % 4 == 0
    sums, totals = rtl_accumulate(w, x, enable, first)
    assert (sums, totals) == reference(w, x, enable, first)
    assert max(sums) == 128 * products and min(sums) == -128 * products


@pytest.mark.parametrize("products", [1, 2, 3, GROUP, 2 * GROUP])
def test_all_products(products):
    """All weights with all activations in every place."""
    rng = np.random.default_rng(products)
    table = np.stack(np.meshgrid(np.arange(-1, 2), np.arange(-128, 128)), axis=-1).reshape(-1, 2).astype(np.int8)
    w, x = np.stack([rng.permutation(table) for _ in range(products)], axis=1).transpose(2, 0, 1)
    enable, first = np.ones(len(w), bool), np.ones(len(w), bool)
    assert rtl_accumulate(w, x, enable, first) == reference(w, x, enable, first)


def test_accumulator_enable_and_first():
    """``first`` without ``enable`` forgets nothing."""
    ones = np.ones((6, 1), np.int8)
    enable, first = np.array([1, 1, 0, 0, 1, 1], bool), np.array([1, 0, 0, 1, 0, 1], bool)
    assert rtl_accumulate(ones, 5 * ones, enable, first)[1] == [5, 10, 10, 10, 15, 5]


@pytest.mark.parametrize("value, count, total", [(-2048, 4096, -2 ** 23), (2048, 4095, 2 ** 23 - 2048)])
def test_accumulator_holds_24_bits(value, count, total):
    accumulator = PORTABLE.accumulator(products=LONGEST, width=ACCUMULATOR_BITS)

    async def bench(ctx):
        ctx.set(accumulator.i, value)
        ctx.set(accumulator.enable, 1)
        ctx.set(accumulator.first, 1)
        await ctx.tick()
        assert ctx.get(accumulator.o) == value
        ctx.set(accumulator.first, 0)
        await ctx.tick().repeat(count - 1)
        assert ctx.get(accumulator.o) == total

    simulate(accumulator, bench)


@pytest.mark.parametrize("products", range(65))
def test_sum_width(products):
    """No narrower than +-128 each, and no wider."""
    reach, width = 128 * products, sum_width(products)
    assert -(1 << width - 1) <= -reach and reach < 1 << width - 1
    assert not products or reach >= 1 << width - 2


@pytest.mark.parametrize("position", range(0, 64, GROUP))
@pytest.mark.parametrize("products", range(1, GROUP + 1))
def test_dot_signature(position, products):
    members = DotSignature(position, products).members
    assert members["i"].shape == signed(sum_width(position))
    assert members["o"].shape == signed(sum_width(position + products))
    assert members["non_zero"].shape == members["sign"].shape == products
    assert members["x"].shape == signed(8) and members["x"].dimensions == (products,)
    assert members["i_carry"].shape == members["o_carry"].shape == 1


@pytest.mark.parametrize("position", range(0, 64, GROUP))
@pytest.mark.parametrize("products", range(1, GROUP + 1))
def test_latency(position, products):
    """Of weights with their activations, and of the sum before: a cycle, and where there is none before, none."""
    dot = PORTABLE.dot(position=position, products=products)
    reach = 128 * position

    async def bench(ctx):
        async def sample(cycles):
            return [value for *_, value in [await ctx.tick().sample(dot.o) for _ in range(cycles)]]

        for port in dot.x:
            ctx.set(port, -128)
        ctx.set(dot.non_zero, (1 << products) - 1)
        ctx.set(dot.sign, (1 << products) - 1)
        await ctx.tick()
        ctx.set(dot.non_zero, 0)
        late = DOT_LATENCY + bool(position)
        assert await sample(late + 1) == [0] * (late - 1) + [128 * products, 0]
        ctx.set(dot.i, -reach)
        await ctx.tick()
        ctx.set(dot.i, 0)
        assert await sample(2) == [-reach, 0]

    simulate(dot, bench)
