import math
from fractions import Fraction

import numpy as np
import pytest

from setun.golden.scalars import ONE, Scalar, add, divide, multiply, normalise, scale_by_power, square_root, to_float


def random_scalars(seed, count=2000, spread=40):
    rng = np.random.default_rng(seed)
    mantissa = np.concatenate([[0x8000, 0xffff, 0x8000, 0xffff, 0xb504, 0xb505], rng.integers(0x8000, 0x10000, count)])
    exponent = np.concatenate([[0, 0, 1, 1, -15, -15], rng.integers(-spread, spread, count)])
    return Scalar(rng.permutation(mantissa), exponent)


def exact(scalar):
    return [Fraction(mantissa) * Fraction(2) ** exponent
            for mantissa, exponent in zip(scalar.mantissa.tolist(), scalar.exponent.tolist())]


def truncated(value):
    """The largest scalar not above a fraction, as (mantissa, exponent)."""
    if not value:
        return 0, 0
    exponent = math.floor(math.log2(value)) - 15  # off by one at most
    exponent += (value >= Fraction(2) ** (exponent + 16)) - (value < Fraction(2) ** (exponent + 15))
    return math.floor(value / Fraction(2) ** exponent), exponent


def agree(result, values):
    assert list(zip(result.mantissa.tolist(), result.exponent.tolist())) == [truncated(value) for value in values]


def test_normalise():
    values = [0, 1, 2, 3, 0x7fff, 0x8000, 0xffff, 0x10000, 0x1ffff, 2 ** 62, 2 ** 63 - 1]
    agree(normalise(np.array(values), -7), [Fraction(value, 128) for value in values])


@pytest.mark.parametrize("operation, plain", [(multiply, lambda a, b: a * b), (divide, lambda a, b: a / b)])
def test_products_and_quotients(operation, plain):
    a, b = random_scalars(1), random_scalars(2)
    agree(operation(a, b), list(map(plain, exact(a), exact(b))))


def test_add():
    """Truncated once the smaller has lost what is 16 bits below the last bit of the larger."""
    a, b = random_scalars(3, spread=12), random_scalars(4, spread=12)
    values = []
    for first, second in zip(exact(a), exact(b)):
        larger = max(first, second, key=lambda value: truncated(value)[1])
        unit = Fraction(2) ** (truncated(larger)[1] - 16)
        values.append(sum(math.floor(value / unit) for value in (first, second)) * unit)
    agree(add(a, b), values)


def test_zero():
    a = random_scalars(5)
    zero = normalise(np.zeros_like(a.mantissa), 99)
    assert not zero.exponent.any()
    for result in (add(a, zero), add(zero, a)):
        agree(result, exact(a))
    for result in (multiply(a, zero), divide(zero, a), square_root(zero), scale_by_power(zero, 5), add(zero, zero)):
        assert not result.mantissa.any() and not result.exponent.any()


def test_square_root():
    a = random_scalars(6)
    result = square_root(a)
    for mantissa, exponent, value in zip(result.mantissa.tolist(), result.exponent.tolist(), exact(a)):
        unit = Fraction(2) ** exponent
        assert 0x8000 <= mantissa < 0x10000
        assert (mantissa * unit) ** 2 <= value < ((mantissa + 1) * unit) ** 2


def test_one_and_powers():
    a = random_scalars(7)
    agree(multiply(a, ONE), exact(a))
    agree(divide(a, ONE), exact(a))
    agree(scale_by_power(a, -3), [value / 8 for value in exact(a)])
    assert to_float(a).tolist() == [float(value) for value in exact(a)]
