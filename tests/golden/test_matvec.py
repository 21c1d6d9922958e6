import numpy as np
import pytest

from setun.golden.matvec import absmean_ternary, integer_product, matvec


@pytest.mark.parametrize("rows, columns, batch", [(1, 1, ()), (7, 5, (3,)), (160, 480, (2, 3)), (3, 16384, ())])
def test_matvec(rows, columns, batch):
    rng = np.random.default_rng(rows)
    w, q = rng.integers(-1, 2, (rows, columns), np.int8), rng.integers(-128, 128, (*batch, columns), np.int8)
    result = matvec(w, q)
    assert result.dtype == np.int32
    assert (result == np.einsum("mn,...n->...m", w.astype(np.int64), q.astype(np.int64))).all()


def test_matvec_longest():
    w, q = np.ones((1, 131072), np.int8), np.full(131072, -128, np.int8)
    assert matvec(w, q).tolist() == [-2 ** 24]
    q[-1] = -127
    assert matvec(w, q).tolist() == [-2 ** 24 + 1]


def test_integer_product():
    rng = np.random.default_rng(0)
    a, b = rng.integers(-2 ** 24, 2 ** 24, (2, 4, 9)), rng.integers(-2 ** 24, 2 ** 24, (2, 9, 3))
    assert (integer_product(a, b) == np.einsum("bij,bjk->bik", a, b)).all()


def test_absmean_ternary():
    codes, scale = absmean_ternary(np.array([[0.5, -1.0, 1.5], [0.1, -2.5, 0.4]], np.float32))
    assert scale == pytest.approx(1.0) and codes.tolist() == [[0, -1, 1], [0, -1, 0]]
    assert codes.dtype == np.int8


def test_absmean_ternary_tie_and_zeros():
    """|W| / scale = 1/2 is 0, half to even; a zero tensor has the smallest scale."""
    codes, scale = absmean_ternary(np.array([[1.0, 3.0, -1.0, -3.0]]))
    assert scale == 2 and codes.tolist() == [[0, 1, 0, -1]]
    codes, scale = absmean_ternary(np.zeros((2, 2), np.float32))
    assert scale == np.float32(1e-5) and not codes.any()


def test_absmean_ternary_recovers_codes():
    codes = np.random.default_rng(3).integers(-1, 2, (40, 30), np.int8)
    assert (absmean_ternary(codes * np.float32(0.037))[0] == codes).all()
