from fractions import Fraction

import numpy as np
import pytest

from setun.golden.quantiser import absmax_quantise, narrow


def vectors(seed, shape, bits):
    rng = np.random.default_rng(seed)
    return rng.integers(-2 ** bits, 2 ** bits, shape) >> rng.integers(0, bits, (*shape[:-1], 1))


@pytest.mark.parametrize("bits", [3, 8, 31])
def test_absmax_quantise(bits):
    """Against round() of exact fractions."""
    y = vectors(1, (300, 17), bits)
    q, m = absmax_quantise(y)
    assert q.dtype == np.int8 and m.tolist() == np.abs(y).max(-1).tolist()
    for row, codes, largest in zip(y.tolist(), q.tolist(), m.tolist()):
        assert codes == [round(Fraction(127 * value, largest)) if largest else 0 for value in row]


def test_absmax_quantise_extremes():
    q, m = absmax_quantise(np.array([[-2 ** 31, 2 ** 31 - 1, 0], [0, 0, 0], [-1, 1, 0], [254, 1, 3], [-254, -1, -3]]))
    assert q.tolist() == [[-127, 127, 0], [0, 0, 0], [-127, 127, 0], [127, 0, 2], [-127, 0, -2]]
    assert m.tolist() == [2 ** 31, 0, 1, 254, 254]


def test_absmax_quantise_is_free_of_scale():
    y = vectors(2, (50, 9), 20)
    assert (absmax_quantise(y)[0] == absmax_quantise(1000 * y)[0]).all()
    assert (absmax_quantise(-y)[0] == -absmax_quantise(y)[0]).all()


@pytest.mark.parametrize("bits", [15, 30])
def test_narrow(bits):
    y = np.concatenate([vectors(3, (400, 5), 62), [[2 ** 62, -2 ** 62, 1, -1, 0], [2 ** bits - 1, -1, 1, 3, -3],
                                                  [2 ** bits, -1, 1, 3, -3], [0] * 5]])
    narrowed, shift = narrow(y, bits)
    for row, result, places in zip(y.tolist(), narrowed.tolist(), shift.tolist()):
        assert places == max(max(map(abs, row)).bit_length() - bits, 0)
        assert result == [(value > 0) * (value >> places) - (value < 0) * (-value >> places) for value in row]
    assert np.abs(narrowed).max() < 2 ** bits
    again, shift = narrow(narrowed, bits)
    assert (again == narrowed).all() and not shift.any()
    assert (narrow(-y, bits)[0] == -narrowed).all()


def test_narrow_in_two_steps_is_narrow():
    y = vectors(4, (200, 6), 61)
    first, shift = narrow(y)
    second, more = narrow(first, 24)
    direct, total = narrow(y, 24)
    assert (second == direct).all() and (shift + more == total).all()


def test_narrow_keeps_codes():
    """30 bits are enough that int8 codes move by one at most, and rarely."""
    y = vectors(5, (500, 64), 60)
    codes = absmax_quantise(narrow(y)[0])[0].astype(int)
    exact = [[round(Fraction(127 * value, max(map(abs, row)) or 1)) for value in row] for row in y.tolist()]
    moved = np.abs(codes - exact)
    assert moved.max() <= 1 and moved.mean() < 1e-4
