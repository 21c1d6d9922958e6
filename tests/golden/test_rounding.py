import math
from fractions import Fraction

import numpy as np
import pytest

from setun.golden.rounding import (
    bit_length,
    count_saturations,
    floor_shift,
    half_up_shift,
    integer_sqrt,
    limit,
    saturate,
)


EDGES = sorted({sign * (2 ** power + offset) for power in range(62) for offset in (-1, 0, 1) for sign in (-1, 1)})
POSITIVE = [value for value in EDGES if value >= 0]


def test_bit_length():
    values = [*POSITIVE, 2 ** 62, 2 ** 63 - 1]
    assert bit_length(np.array(values)).tolist() == [value.bit_length() for value in values]


@pytest.mark.parametrize("shift", [0, 1, 2, 15, 31, 47, 62])
def test_shifts(shift):
    exact = [Fraction(value, 2 ** shift) for value in EDGES]
    values = np.array(EDGES)
    assert floor_shift(values, shift).tolist() == [math.floor(value) for value in exact]
    assert half_up_shift(values, shift).tolist() == [math.floor(value + Fraction(1, 2)) for value in exact]


def test_saturate():
    assert saturate(np.array([-129, -128, 0, 127, 128]), 8).tolist() == [-128, -128, 0, 127, 127]


def test_limit():
    assert limit(np.array([-122, -121, 0, 121, 122]), 121).tolist() == [-121, -121, 0, 121, 121]


def test_count_saturations():
    values = np.array([-129, -128, 0, 127, 128])
    with count_saturations() as outer:
        saturate(values, 8)
        with count_saturations() as inner:
            limit(values, 127)
        saturate(values, 16)
    saturate(values, 4)
    assert outer == [2, 0] and inner == [3]


def test_integer_sqrt():
    squares = [root * root for root in (1, 2, 3, 2 ** 15, 2 ** 16 - 1, 94906267, 2 ** 30 + 1, 2 ** 31 - 1)]
    values = [0, *POSITIVE, *squares, *(square - 1 for square in squares)]
    assert integer_sqrt(np.array(values)).tolist() == [math.isqrt(value) for value in values]
