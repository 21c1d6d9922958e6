from fractions import Fraction

import numpy as np
import pytest

from setun.golden.quantiser import reciprocal_quantise, step_quantise


def vectors(seed, shape, bits):
    rng = np.random.default_rng(seed)
    return rng.integers(-2 ** bits, 2 ** bits, shape) >> rng.integers(0, bits, (*shape[:-1], 1))


def absmax_quantise(row):
    """As the paper has it, of exact fractions."""
    largest = max(map(abs, row))
    return [round(Fraction(127 * value, largest)) if largest else 0 for value in row]


@pytest.mark.parametrize("bits", [1, 5, 11, 17])
def test_reciprocal_quantise(bits):
    """Within what a reciprocal of 16 bits is off from the exact quotient, and the largest element is always 127."""
    y = np.clip(vectors(3, (400, 17), bits), 1 - 2 ** 17, 2 ** 17 - 1)
    q, m = reciprocal_quantise(y)
    assert q.dtype == np.int8 and m.tolist() == np.abs(y).max(-1).tolist()
    exact = 127 * y / np.maximum(m, 1)[:, None]
    assert np.abs(q - exact).max() <= 0.5 + 127 * 2 ** -15
    assert (np.abs(q.astype(int)).max(-1) == np.where(m, 127, 0)).all()
    assert np.abs(q - np.array([absmax_quantise(row) for row in y.tolist()])).max() <= 1


def test_reciprocal_quantise_extremes():
    top = 2 ** 17 - 1
    q, m = reciprocal_quantise(np.array([[top, -top, 0], [0, 0, 0], [1, -1, 0], [-2 ** 17, 2 ** 16, 1]]))
    assert q.tolist() == [[127, -127, 0], [0, 0, 0], [127, -127, 0], [-127, 64, 0]]
    assert m.tolist() == [top, 0, 1, 2 ** 17]


def test_step_quantise():
    y = np.array([[-1000, -3, -1, 0, 1, 3, 1000]])
    assert step_quantise(y, np.array([1]), np.array([1]), 121).tolist() == [[-121, -1, 0, 0, 1, 2, 121]]
    assert step_quantise(y, np.array([0x8000]), np.array([15]), 121).tolist() == [[-121, -3, -1, 0, 1, 3, 121]]
    assert not step_quantise(y, np.array([0xffff]), np.array([60]), 121).any()  # a step beyond any value
