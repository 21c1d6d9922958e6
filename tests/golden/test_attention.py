import numpy as np
import pytest

from setun.golden.attention import (
    KeyValues,
    append,
    attend,
    empty,
    mix_values,
    quantise_steps,
    rotate,
    scores,
    softmax_weights,
)
from setun.golden.fixed import fixed_scalar, fixed_scalars
from setun.golden.reference import float_attention, float_rotate
from setun.golden.rotary import Rope, fixed_frequencies, waves
from setun.golden.rounding import count_saturations


TOP = 2 ** 17 - 1


def test_rotate():
    x = np.random.default_rng(0).integers(-2 ** 16, 2 ** 16, (1, 20, 3, 8))
    rope, step = Rope(50.0), np.pi / 1024
    frequencies = fixed_frequencies(rope, 8)
    found = np.stack([rotate(x[:, position], *waves(frequencies, position)) for position in range(20)], 1)
    assert np.abs(found - float_rotate(x.astype(np.float32), rope)).max() < 2 ** 16.5 * 1.1 * step


def test_rotate_saturates():
    """Two of the largest elements add up to more than a lane holds."""
    half = np.array([23170])  # sqrt(1/2)
    assert rotate(np.array([TOP, TOP]), half, half).tolist() == [0, TOP]


def test_quantise_steps():
    x = np.random.default_rng(1).integers(-2 ** 16, 2 ** 16, (5, 3, 8))
    scale, steps = fixed_scalars([1e-3, 1e-2, 0.1, 1.0, 10.0]), np.array([2.0, 100.0, 1e4])
    q = quantise_steps(x, scale, fixed_scalars(1 / steps))
    exact = x * np.array([1e-3, 1e-2, 0.1, 1.0, 10.0])[:, None, None] / steps[:, None]
    assert q.dtype == np.int8 and np.abs(q - np.clip(exact, -121, 121)).max() <= 0.51
    assert np.abs(q.astype(int)).max() == 121


def test_scores():
    rng = np.random.default_rng(2)
    q, k = rng.integers(-127, 128, (2, 3, 16), np.int8), rng.integers(-121, 122, (2, 9, 16), np.int8)
    scale = np.array([0.002, 0.01])
    result = scores(q, k, fixed_scalars(scale))
    expected = q.astype(int) @ k.swapaxes(-1, -2).astype(int) * scale[:, None, None] * 64
    assert result.shape == (2, 3, 9)
    assert np.abs(result - expected).max() <= 1.1 + np.abs(expected).max() * 2 ** -14


def test_scores_saturate():
    q, k = np.full((1, 1, 16), 127, np.int8), np.full((1, 2, 16), 121, np.int8)
    k[0, 1] = -121
    with count_saturations() as counts:
        assert scores(q, k, fixed_scalars([1e6])).tolist() == [[[TOP, -TOP - 1]]]
    assert sum(counts) == 2


def test_softmax_weights():
    s = np.array([500, 500 - 64, 500 - 32, 500 - 10 * 64, 500 - 11 * 64, -2 ** 17])
    assert softmax_weights(s).tolist() == [1023, 512, round(round(2046 / 2 ** 0.5) / 2 + .1), 1, 0, 0]
    assert softmax_weights(np.array([-2 ** 17, TOP])).tolist() == [0, 1023]


@pytest.mark.parametrize("positions", [1, 30, 3000])
def test_mix_values(positions):
    rng = np.random.default_rng(3)
    p, v = rng.integers(0, 1024, (2, positions)), rng.integers(-121, 122, (positions, 8), np.int8)
    p[:, 0] = 1023
    with count_saturations() as counts:
        mixed = mix_values(p, v, fixed_scalar(0.3))
    expected = 0.3 * p @ v / p.sum(-1, keepdims=True)
    assert sum(counts) == 0 and mixed * 2.0 ** -10 == pytest.approx(expected, abs=121 * 2 ** -9)


def test_mix_of_equal_values():
    """Values that are all the largest stay so, whatever the weights."""
    rng = np.random.default_rng(4)
    for positions in (1, 2, 100, 256):
        p = np.append(rng.integers(0, 1024, (4, positions - 1)), np.full((4, 1), 1023), -1)
        mixed = mix_values(p, np.full((positions, 2), 121, np.int8), fixed_scalar(1.0))
        assert np.abs(mixed - 121 * 1024).max() <= 121 * 1024 * 2 ** -9


def test_attend():
    """Two kv heads of two heads each, over a cache of eleven, against softmax in floats."""
    rng = np.random.default_rng(5)
    cache = empty(2, 8, (3,))
    keys, values = rng.normal(size=(2, 3, 11, 2, 8))
    queries = rng.normal(size=(3, 4, 8))
    steps = np.abs(keys).max(axis=(0, 1, 3)) / 121, np.abs(values).max(axis=(0, 1, 3)) / 121
    for token in range(11):
        cache = append(cache, *(np.rint(x[:, token] / step[:, None]).astype(np.int8)
                                for x, step in zip((keys, values), steps)))
    assert cache.k.shape == (3, 2, 11, 8) and isinstance(cache, KeyValues)
    largest = np.abs(queries).max()
    q = np.rint(queries * 127 / largest).astype(np.int8)
    score = fixed_scalars(steps[0] * largest / 127 * np.log2(np.e) / 8 ** 0.5)
    o = attend(q, score, cache, fixed_scalars(steps[1] / steps[1].max()))
    expected = float_attention(np.repeat(queries[:, None], 11, 1), keys, values)[:, -1]
    assert o.shape == (3, 32) and np.abs(o * steps[1].max() * 2.0 ** -10 - expected).max() < 0.02
