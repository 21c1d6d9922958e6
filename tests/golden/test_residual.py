import numpy as np

from setun.golden.fixed import fixed_embedding, fixed_scalar
from setun.golden.residual import RESIDUAL_UNIT, embed, residual_add
from setun.golden.scalars import to_float


def test_unit():
    assert to_float(RESIDUAL_UNIT) == 2 ** -12


def test_embed():
    rows = np.random.default_rng(0).normal(size=(12, 32)).astype(np.float32)
    tokens = np.array([[3, 11], [0, 3]])
    x = embed(fixed_embedding(rows), tokens)
    assert x.shape == (2, 2, 32)
    assert np.abs(x / 4096 - rows[tokens]).max() < 0.51 * np.abs(rows).max() / 127 + 2 ** -12


def test_residual_add():
    scale = fixed_scalar(0.001)
    accumulators = np.array([-2 ** 24 + 1, -1000, 0, 1, 1000, 2 ** 24 - 1])
    result = residual_add(np.full(6, 10), accumulators, scale)
    assert result.tolist() == [10 + int(np.floor(a * to_float(scale) * 4096 + 0.5)) for a in accumulators]


def test_residual_add_saturates():
    for scale in (1.0, 2.0 ** 40):
        result = residual_add(np.array([2 ** 31 - 5, 5 - 2 ** 31, 7]), np.array([9, -9, 0]), fixed_scalar(scale))
        assert result.tolist() == [2 ** 31 - 1, -2 ** 31, 7]
