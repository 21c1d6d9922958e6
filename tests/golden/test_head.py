import numpy as np
import pytest

from setun.golden.fixed import fixed_embedding, fixed_norm
from setun.golden.head import logits
from setun.golden.reference import float_norm
from setun.golden.scalars import to_float


def test_logits():
    """Exact products of the rows, and near the float head."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 64)).astype(np.float32)
    gamma = rng.normal(1, 0.3, 64).astype(np.float32)
    head, x = fixed_embedding(rows), rng.integers(-2 ** 16, 2 ** 16, (7, 64))
    result, scale = logits(head, fixed_norm(gamma, 1e-5), x)
    assert result.dtype == np.int64 and result.shape == (7, 50) and scale.mantissa.shape == (7,)
    back = head.codes * head.scales[:, None] * 2.0 ** head.exponent
    expected = float_norm(x / 4096, gamma, 1e-5) @ back.T
    assert result * to_float(scale)[:, None] == pytest.approx(expected, abs=3e-3)
    assert np.abs(result).max() < 2 ** 51
