import numpy as np
import pytest

from setun.golden.fixed import fixed_embedding, fixed_scalar
from setun.golden.residual import embed, residual_add, residual_unit
from setun.golden.scalars import to_float


@pytest.mark.parametrize("fraction", [-3, 0, 12])
def test_unit(fraction):
    assert to_float(residual_unit(fraction)) == 2.0 ** -fraction


def test_embed():
    rows = np.random.default_rng(0).normal(size=(12, 32)).astype(np.float32)
    tokens = np.array([[3, 11], [0, 3]])
    x = embed(fixed_embedding(rows), tokens, 12)
    assert x.shape == (2, 2, 32)
    assert np.abs(x / 4096 - rows[tokens]).max() < 0.51 * np.abs(rows).max() / 121 + 2 ** -12


def test_embed_of_a_format_for_much_more():
    """Layers whose output is 2**20 times the embedding leave nothing of it."""
    assert not embed(fixed_embedding(np.eye(4, dtype=np.float32)), np.array([2]), -20).any()


def test_residual_add():
    scale = fixed_scalar(0.0002)
    accumulators = np.array([1 - 2 ** 17, -1000, 0, 1, 1000, 2 ** 17 - 1])
    result = residual_add(np.full(6, 10), accumulators, scale, 12)
    assert result.tolist() == [10 + int(np.floor(a * to_float(scale) * 4096 + 0.5)) for a in accumulators]


def test_residual_add_saturates():
    for scale in (1.0, 2.0 ** 40):
        result = residual_add(np.array([2 ** 17 - 5, 5 - 2 ** 17, 7]), np.array([9, -9, 0]), fixed_scalar(scale), 12)
        assert result.tolist() == [2 ** 17 - 1, -2 ** 17, 7]
