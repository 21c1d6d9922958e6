import numpy as np
import pytest

from setun.golden.bit_linear import bit_linear, quantised_matvec
from setun.golden.fixed import fixed_matrix, fixed_scalar
from setun.golden.model import Ternary
from setun.golden.reference import float_linear
from setun.golden.scalars import to_float


@pytest.mark.parametrize("columns", [24, 2400])
def test_bit_linear(columns):
    """Against the float32 BitLinear, part by part; the sums of the longer rows are narrowed by two places, and a code
    next to a tie may be another than that of the exact quotient."""
    rng = np.random.default_rng(0)
    parts = [Ternary(rng.integers(-1, 2, (rows, columns), np.int8), scale) for rows, scale in ((5, 0.2), (7, 0.07))]
    y, unit = rng.integers(-2 ** 17, 2 ** 17, (6, columns)), fixed_scalar(3e-5)
    seen = []

    def linear(kind, codes, y):
        seen.append(kind)
        return quantised_matvec(0, kind, codes, y)

    accumulators, scales = bit_linear(linear, "gate_up", fixed_matrix(*parts), y, unit)
    assert seen == ["gate_up"] and accumulators.dtype == np.int64
    for part, rows, scale in zip(parts, np.split(accumulators, [5], -1), scales, strict=True):
        expected = float_linear((y * to_float(unit)).astype(np.float32), part)
        step = 1.55 * to_float(scale).max() if columns > 1032 else 1e-6
        assert rows * to_float(scale)[:, None] == pytest.approx(expected, rel=1e-4, abs=step)


def test_longest_sums():
    """Rows of ones and the largest codes."""
    matrix = fixed_matrix(Ternary(np.ones((1, 4128), np.int8), 1.0))
    accumulators, (scale,) = bit_linear(lambda *given: quantised_matvec(0, *given), "o", matrix,
                                        np.full((1, 4128), 1000), fixed_scalar(1.0))
    assert accumulators.tolist() == [[127 * 1032]]
    assert accumulators[0, 0] * to_float(scale)[0] == pytest.approx(1000 * 4128, rel=1e-4)


def test_zero_vector():
    codes = np.ones((3, 4), np.int8)
    accumulators, m = quantised_matvec(0, "o", codes, np.zeros((2, 4), np.int64))
    assert accumulators.dtype == np.int32 and not accumulators.any() and not m.any()
