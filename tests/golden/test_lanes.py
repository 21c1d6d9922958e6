import math
from fractions import Fraction

import numpy as np
import pytest

from setun.golden.fixed import fixed_scalar
from setun.golden.lanes import lane, magnitude_bits, narrow_shift, narrow_sums, operand, scaled
from setun.golden.scalars import Scalar


TOP = 2 ** 17 - 1


def saturated(value):
    return min(max(value, -TOP - 1), TOP)


@pytest.mark.parametrize("shift", [0, 1, 15, 31])
def test_lane(shift):
    """Against exact fractions, over products of all sizes."""
    rng = np.random.default_rng(shift)
    a, b, c = (rng.integers(-2 ** 17, 2 ** 17, 2000) >> rng.integers(0, 17, 2000) for _ in range(3))
    a[:4], b[:4], c[:4] = [-TOP - 1, -TOP - 1, TOP, 0], [-TOP - 1, TOP, TOP, 5], [TOP, -TOP - 1, TOP, TOP]
    for *operands, result in zip(a.tolist(), b.tolist(), c.tolist(), lane(a, b, shift, c).tolist()):
        product = math.floor(Fraction(operands[0] * operands[1], 2 ** shift) + Fraction(1, 2))
        assert result == saturated(product + operands[2])


@pytest.mark.parametrize("value", [1.0, 0.3, 127.0, 65535.0, 131071.0, 3e5, 1e30, 2.0 ** -16, 3e-9, 1e-12, 1e-30])
def test_operand(value):
    factor, shift = operand(fixed_scalar(value))
    assert 0 <= factor <= TOP and 0 <= shift <= 31
    expected = min(value, TOP)
    assert abs(int(factor) * 2.0 ** -int(shift) - expected) <= max(expected * 2 ** -15, 2.0 ** -31)


def test_operand_of_zero():
    assert operand(Scalar(np.int64(0), np.int64(0)))[0] == 0


def test_scaled():
    """One scalar a vector."""
    scalar = Scalar(*(np.array(part) for part in zip(fixed_scalar(0.5), fixed_scalar(3.0))))
    assert scaled(np.array([[3, -3], [70000, -2]]), scalar, 1).tolist() == [[3, 0], [TOP, -5]]


def test_magnitude_bits():
    assert magnitude_bits(np.array([[0, 0], [1, -1], [-4, 3], [-2 ** 17, 0]])).tolist() == [0, 1, 3, 18]


@pytest.mark.parametrize("columns, shift", [(1, 0), (1032, 0), (1033, 1), (2064, 1), (2065, 2), (131072, 7)])
def test_narrow_sums(columns, shift):
    """The longest sum of int8 and trits fits, and would not with one place less."""
    assert narrow_shift(127 * columns) == shift
    sums = np.array([127 * columns, -127 * columns, 1 << shift, 0])
    narrowed = narrow_sums(sums, shift)
    assert narrowed.tolist() == [saturated((value + (1 << shift >> 1)) >> shift) for value in sums.tolist()]
    assert narrowed[2] == 1 and abs(narrowed[0] - 127 * columns / 2 ** shift) <= 1
