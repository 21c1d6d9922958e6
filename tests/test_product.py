import numpy as np
import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.config import ACCUMULATOR_BITS
from hdl.product import PORTABLE, ProductSignature, sum_width
from sim.streams import simulate


LONGEST = 16
EXTREMES = [(1, 127), (-1, 127), (1, -128), (-1, -128), (0, -128)]


class Chain(wiring.Component):
    """Products and the accumulator at their end."""

    def __init__(self, products, technology=PORTABLE):
        self.products, self.technology = products, technology
        super().__init__({
            "non_zero": In(products),
            "sign": In(products),
            "x": In(signed(8)).array(products),
            "enable": In(1),
            "first": In(1),
            "sum": Out(signed(sum_width(products))),
            "o": Out(signed(ACCUMULATOR_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        total, sign = C(0, signed(1)), C(0, 1)
        for position in range(self.products):
            m.submodules[f"product_{position}"] = product = self.technology.product(position=position)
            m.d.comb += [product.i.eq(total), product.i_sign.eq(sign), product.x.eq(self.x[position]),
                         product.non_zero.eq(self.non_zero[position]), product.sign.eq(self.sign[position])]
            total, sign = product.o, product.o_sign
        m.submodules.accumulator = accumulator = self.technology.accumulator(products=self.products,
                                                                             width=ACCUMULATOR_BITS)
        m.d.comb += [accumulator.i.eq(total), accumulator.i_sign.eq(sign), accumulator.enable.eq(self.enable),
                     accumulator.first.eq(self.first), self.sum.eq(total), self.o.eq(accumulator.o)]
        return m


def rtl_accumulate(w, x, enable, first):  # int8 [beats, products] twice, bool [beats] twice -> int64 [beats] twice
    """The chain's sum, and the accumulator after it, for each beat; a product a cycle after the one before.

    Nothing is asked of what stands on the ports outside of the beats, nor of the sign of a zero.
    """
    beats, products = w.shape
    chain, rng = Chain(products), np.random.default_rng(0)
    sums, totals = [], []

    def beat_of(values, beat, noise):
        return int(values[beat]) if 0 <= beat < beats else int(rng.integers(*noise))

    async def bench(ctx):
        for cycle in range(beats + products + 2):
            weights = [beat_of(w[:, position], cycle - position, (-1, 2)) for position in range(products)]
            ctx.set(chain.non_zero, sum(bool(weight) << position for position, weight in enumerate(weights)))
            ctx.set(chain.sign, sum((weight < 0 if weight else int(rng.integers(2))) << position
                                    for position, weight in enumerate(weights)))
            for position in range(products):
                ctx.set(chain.x[position], beat_of(x[:, position], cycle - position - 1, (-128, 128)))
            beat = cycle - products - 1  # whose sum is there: two cycles after the last product's weight
            ctx.set(chain.enable, 0 <= beat < beats and bool(enable[beat]))
            ctx.set(chain.first, beat_of(first, beat, (0, 2)))
            _, _, chain_sum, total = await ctx.tick().sample(chain.sum, chain.o)
            if beat >= 0:
                sums.append(chain_sum)
            if beat >= 1:
                totals.append(total)
        totals.append(ctx.get(chain.o))

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


def test_all_products():
    w, x = (table.reshape(-1, 1).astype(np.int8) for table in np.meshgrid(np.arange(-1, 2), np.arange(-128, 128)))
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
    signature = ProductSignature(products)
    assert signature.members["i"].shape == signed(width)
    assert signature.members["o"].shape == signed(sum_width(products + 1))
