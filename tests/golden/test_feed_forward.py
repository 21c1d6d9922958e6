import math

import numpy as np
import pytest

from setun.golden.feed_forward import gated, sigmoid, silu, squared_relu
from setun.golden.fixed import fixed_scalar
from setun.golden.rounding import count_saturations


TOP = 2 ** 17 - 1


def test_squared_relu():
    gate = np.array([-5, 0, 3, 1000, 8191, TOP])
    assert squared_relu(gate, 0).tolist() == [0, 0, 9, TOP, TOP, TOP]
    assert squared_relu(gate, 10).tolist() == [0, 0, 0, 977, round(8191 ** 2 / 1024), TOP]
    assert squared_relu(gate, 17).tolist()[-1] == TOP - 1


def test_sigmoid():
    t = np.array([0, 64, -64, 128, TOP, -TOP - 1, 16 * 64, -16 * 64])
    expected = [2 ** 15, 2 ** 16 * 2 / 3, 2 ** 16 / 3, 2 ** 16 * 4 / 5, 65535, 1, 65535, 1]
    assert np.abs(sigmoid(t) - expected).max() <= 1.5
    x = np.linspace(-20, 20, 10_001)
    found = sigmoid(np.rint(x * math.log2(math.e) * 64).astype(np.int64))
    assert np.abs(found / 2 ** 16 - 1 / (1 + np.exp(-x))).max() < 4.5e-3  # half a step of the table


@pytest.mark.parametrize("scale", [1e-5, 3e-3, 0.2])
def test_silu(scale):
    gate = np.array([[-TOP - 1, -3000, -100, -1, 0, 1, 100, 3000, TOP]])
    found = silu(gate, fixed_scalar(scale))
    exact = gate / (1 + np.exp(-np.maximum(gate * scale, -700)))
    assert np.abs(found - exact).max() <= 0.51 + np.abs(gate).max() * 4.5e-3
    assert np.abs(found - exact)[np.abs(gate) * scale > 12].max(initial=0) <= 4


def test_gated():
    """The largest product within the format of up fills the lane, and nothing within it saturates."""
    activated, up = np.array([[TOP, 3, 0], [40, 3, 0], [0, 0, 0]]), np.array([[4095, -4095, 9]] * 3)
    with count_saturations() as counts:
        z, shift = gated(activated, up, 12)
    assert shift.tolist() == [12, 1, 0] and sum(counts) == 0
    assert z.tolist() == [[round(TOP * 4095 / 4096), -3, 0], [81900, -6142, 0], [0, 0, 0]]
    with count_saturations() as counts:
        z, _ = gated(activated, 2 * up, 12)
    assert z[0, 0] == TOP and sum(counts) == 2
