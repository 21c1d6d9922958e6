import numpy as np
import pytest

from setun.golden.fixed import fixed_norm, fixed_scalar
from setun.golden.norm import inverse_rms, rms_norm
from setun.golden.reference import float_norm
from setun.golden.scalars import to_float


EPS = 1e-5


@pytest.mark.parametrize("unit", [2.0 ** -12, 3e-4, 1e-15])
@pytest.mark.parametrize("bits", [8, 31, 61])
def test_rms_norm(bits, unit):
    """Against the norm in floats, from vectors that eps drowns to vectors that drown eps."""
    rng = np.random.default_rng(bits)
    gamma = rng.normal(1, 0.3, 40).astype(np.float32)
    x = rng.integers(-2 ** bits, 2 ** bits, (30, 40))
    y, scale = rms_norm(x, fixed_scalar(unit), fixed_norm(gamma, EPS))
    assert np.abs(y).max() < 2 ** 30
    expected = float_norm(x * unit, gamma, EPS)
    assert y * to_float(scale)[:, None] == pytest.approx(expected, rel=3e-4, abs=1e-4 * np.abs(expected).max())


def test_inverse_rms_of_zeros():
    """Only eps is left."""
    norm = fixed_norm(np.ones(16, np.float32), EPS)
    assert to_float(inverse_rms(np.zeros(16, np.int64), fixed_scalar(0.25), norm)) == pytest.approx(
        0.25 * EPS ** -0.5, rel=1e-4)
    y, scale = rms_norm(np.zeros(16, np.int64), fixed_scalar(0.25), norm)
    assert not y.any() and scale.mantissa


def test_longest_vector():
    """16384 of the largest elements do not overflow."""
    norm = fixed_norm(np.ones(16384, np.float32), EPS)
    x = np.full(16384, -2 ** 62)
    assert to_float(inverse_rms(x, fixed_scalar(1.0), norm)) == pytest.approx(2.0 ** -62, rel=1e-4)
