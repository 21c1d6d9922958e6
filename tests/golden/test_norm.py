import numpy as np
import pytest

from setun.golden.fixed import fixed_norm, fixed_scalar
from setun.golden.norm import inverse_rms, rms_norm, sub_norm
from setun.golden.reference import float_norm
from setun.golden.rounding import count_saturations
from setun.golden.scalars import to_float


EPS = 1e-5


@pytest.mark.parametrize("unit", [2.0 ** -12, 3e-4, 1e-15])
@pytest.mark.parametrize("bits", [8, 13, 17])
def test_rms_norm(bits, unit):
    """Against the norm in floats, from vectors that eps drowns to vectors that drown eps."""
    rng = np.random.default_rng(bits)
    gamma = rng.normal(1, 0.3, 40).astype(np.float32)
    x = rng.integers(-2 ** bits, 2 ** bits, (30, 40))
    y, scale = rms_norm(x, fixed_scalar(unit), fixed_norm(gamma, EPS))
    expected = float_norm(x * unit, gamma, EPS)
    found, largest = y * to_float(scale)[:, None], np.abs(expected).max()
    assert found == pytest.approx(expected, rel=3e-4, abs=largest * 2.0 ** -min(bits, 14))


def test_weights_that_fill_their_format():
    """The product fits without a saturation, whatever element is largest."""
    norm = fixed_norm(np.array([1.0, -1.0, 1e-3, 0.0], np.float32), EPS)
    with count_saturations() as counts:
        for x in ([-2 ** 17, -2 ** 17, 5, 5], [2 ** 17 - 1] * 4, [0, 0, 1, 0], [1, 0, 0, 0]):
            y, _ = rms_norm(np.array(x), fixed_scalar(0.25), norm)
            assert np.abs(y).max() < 2 ** 17
    assert sum(counts) == 0


def test_inverse_rms_of_zeros():
    """Only eps is left."""
    norm = fixed_norm(np.ones(16, np.float32), EPS)
    assert to_float(inverse_rms(np.zeros(16, np.int64), fixed_scalar(0.25), norm)) == pytest.approx(
        0.25 * EPS ** -0.5, rel=1e-4)
    y, scale = rms_norm(np.zeros(16, np.int64), fixed_scalar(0.25), norm)
    assert not y.any() and scale.mantissa


def test_longest_vector():
    """131072 of the largest elements do not overflow."""
    norm = fixed_norm(np.ones(131072, np.float32), EPS)
    x = np.full(131072, -2 ** 17)
    assert to_float(inverse_rms(x, fixed_scalar(1.0), norm)) == pytest.approx(2.0 ** -17, rel=1e-4)


def test_no_sub_norm():
    x, unit = np.array([3, -2 ** 17]), fixed_scalar(0.3)
    y, scale = sub_norm(x, unit, None)
    assert y is x and scale is unit
