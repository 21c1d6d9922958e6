import numpy as np
import pytest

from setun.golden.bit_linear import bit_linear, quantised_matvec
from setun.golden.fixed import fixed_matrix, fixed_scalar
from setun.golden.model import Ternary
from setun.golden.reference import float_linear
from setun.golden.scalars import to_float


def test_bit_linear():
    """Against the float32 BitLinear, part by part."""
    rng = np.random.default_rng(0)
    parts = [Ternary(rng.integers(-1, 2, (rows, 24), np.int8), scale) for rows, scale in ((5, 0.2), (7, 0.07))]
    y, unit = rng.integers(-2 ** 29, 2 ** 29, (6, 24)), fixed_scalar(3e-9)
    seen = []

    def linear(kind, codes, y):
        seen.append(kind)
        return quantised_matvec(0, kind, codes, y)

    accumulators, scales = bit_linear(linear, "gate_up", fixed_matrix(parts, (1 / 127, 1 / 127)), y, unit)
    assert seen == ["gate_up"] and accumulators.dtype == np.int64
    for part, rows, scale in zip(parts, np.split(accumulators, [5], -1), scales, strict=True):
        expected = float_linear((y * to_float(unit)).astype(np.float32), part)
        assert rows * to_float(scale)[:, None] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_zero_vector():
    codes = np.ones((3, 4), np.int8)
    accumulators, m = quantised_matvec(0, "o", codes, np.zeros((2, 4), np.int64))
    assert accumulators.dtype == np.int32 and not accumulators.any() and not m.any()
