import numpy as np
import pytest

from setun.golden.attention import append, attend, empty, mix_values, quantise_heads, rotate, scores, softmax_weights
from setun.golden.fixed import fixed_rope, fixed_scalar
from setun.golden.reference import float_attention, float_rotate
from setun.golden.rotary import Rope
from setun.golden.scalars import Scalar, map_parts, multiply, to_float


EXP2 = np.rint(2.0 ** (15 - np.arange(1024) / 1024)).astype(np.uint16)


def scalars(values):
    return Scalar(*map(np.array, zip(*map(fixed_scalar, values))))


def test_rotate():
    x = np.random.default_rng(0).integers(-2 ** 23, 2 ** 23, (1, 20, 3, 8))
    cos, sin = (table[:, None].astype(np.int64) for table in fixed_rope(20, 8, Rope(50.0)))
    assert rotate(x, cos, sin) / 2 ** 15 == pytest.approx(float_rotate(x.astype(np.float32), Rope(50.0)), abs=2 ** 10)


def test_quantise_heads():
    x = np.random.default_rng(1).integers(-2 ** 40, 2 ** 40, (5, 3, 8))
    q, scale = quantise_heads(x, scalars([1e-3, 1e-2, 0.1, 1.0, 10.0]))
    assert q.shape == (5, 3, 8) and (np.abs(q.astype(int)).max(-1) == 127).all()
    value = x * np.array([1e-3, 1e-2, 0.1, 1.0, 10.0])[:, None, None]
    assert np.abs(q * to_float(scale)[..., None] / 127 - value).max() <= np.abs(value).max() * 0.51 / 127
    q, scale = quantise_heads(np.zeros((2, 4), np.int64), fixed_scalar(1.0))
    assert not q.any() and not scale.mantissa.any()


def test_scores():
    rng = np.random.default_rng(2)
    q, k = rng.integers(-127, 128, (3, 16), np.int8), rng.integers(-127, 128, (9, 16), np.int8)
    q_scale, k_scale = rng.uniform(0.001, 0.1, 3), rng.uniform(0.001, 0.1, 9)
    result = scores(q, scalars(q_scale), k, scalars(k_scale))
    expected = q.astype(int) @ k.T.astype(int) * np.outer(q_scale, k_scale) * 1024
    assert np.abs(result - expected).max() <= 0.5 + np.abs(expected).max() * 2 ** -14


def test_scores_saturate():
    vector = np.full((1, 16), 127, np.int8)
    assert scores(vector, scalars([1e6]), vector, scalars([1e6])).tolist() == [[2 ** 31 - 1]]


def test_softmax_weights():
    s = np.array([5000, 5000 - 1024, 5000 - 512, 5000 - 15 * 1024, 5000 - 17 * 1024, -2 ** 31])
    assert softmax_weights(s, EXP2).tolist() == [32768, 16384, round(32768 / 2 ** 0.5), 1, 0, 0]
    assert softmax_weights(np.array([-2 ** 31, 2 ** 31 - 1]), EXP2).tolist() == [0, 32768]


def test_mix_values():
    rng = np.random.default_rng(3)
    p, v, scale = rng.integers(0, 32769, (2, 30)), rng.integers(-127, 128, (30, 8), np.int8), rng.uniform(0.1, 8, 30)
    mixed, exponent = mix_values(p, v, scalars(scale))
    expected = p @ (v * scale[:, None]) / p.sum(-1, keepdims=True)
    assert mixed * 2.0 ** (exponent - 16) == pytest.approx(expected, abs=127 * 8 * 1e-4)


def test_mix_values_of_zeros():
    """A token whose values are zero leaves the common exponent to the others; zeros alone have the lowest."""
    zero, one = Scalar(np.int64(0), np.int64(0)), fixed_scalar(2.0 ** -30)
    both = map_parts(lambda *parts: np.array(parts), zero, one)
    v = np.array([[0, 0], [127, -64]], np.int8)
    mixed, exponent = mix_values(np.array([[32768, 32768]]), v, both)
    assert (mixed * 2.0 ** (exponent - 16.0)).tolist() == [[63.5 * 2.0 ** -30, -32 * 2.0 ** -30]]
    mixed, exponent = mix_values(np.array([[32768]]), v[:1], map_parts(lambda part: part[:1], both))
    assert mixed.tolist() == [[0, 0]] and exponent == 16 - 1024


def test_attend():
    """Two kv heads of two heads each, over a cache of eleven, against softmax in floats."""
    rng = np.random.default_rng(4)
    cache = empty(2, 8, (3,))
    keys, values = rng.normal(size=(2, 3, 11, 2, 8))
    queries = rng.normal(size=(3, 4, 8))
    unit = fixed_scalar(2.0 ** -24)
    integers = [np.rint(np.ldexp(x, 24)).astype(np.int64) for x in (queries, keys, values)]
    whole = map_parts(lambda part: np.full(3, part), unit)
    for token in range(11):
        k, v = (quantise_heads(x[:, token], whole) for x in integers[1:])
        cache = append(cache, *k, *v)
    assert cache.k.shape == (3, 2, 11, 8) and cache.v_scale.mantissa.shape == (3, 2, 11)
    q, q_scale = quantise_heads(integers[0], whole)
    o, unit = attend(q, multiply(q_scale, fixed_scalar(np.log2(np.e) / 8 ** 0.5 / 127 ** 2)), cache, EXP2)
    expected = float_attention(np.repeat(queries[:, None], 11, 1), keys, values)[:, -1]
    assert np.abs(o * to_float(unit)[:, None] / 127 - expected).max() < 0.01
