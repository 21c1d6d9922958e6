from types import SimpleNamespace

import numpy as np

from setun.golden.fixed import fixed_embedding, fixed_norm, fixed_scalar
from setun.golden.head import logits
from setun.golden.reference import float_norm
from setun.golden.scalars import to_float


def test_logits():
    """Near the float head, by what the int8 of the normed vector costs."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 64)).astype(np.float32)
    gamma = rng.normal(1, 0.3, 64).astype(np.float32)
    head, x = fixed_embedding(rows), rng.integers(-2 ** 16, 2 ** 16, (7, 64))
    model = SimpleNamespace(head=head, norm=fixed_norm(gamma, 1e-5), hidden=64, fraction=12,
                            head_scale=fixed_scalar(2.0 ** (head.exponent + 16) / 127))
    result, scale = logits(model, x)
    assert result.dtype == np.int64 and result.shape == (7, 50) and scale.mantissa.shape == (7,)
    assert np.abs(result).max() < 2 ** 17
    back = head.codes * head.scales[:, None] * 2.0 ** head.exponent
    expected = float_norm(x / 4096, gamma, 1e-5) @ back.T
    error = result * to_float(scale)[:, None] - expected
    assert np.abs(error).max() < 0.15 and error.std() < 0.05 and np.abs(expected).max() > 15
