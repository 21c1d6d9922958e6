import math
import pathlib

import numpy as np
import pytest

from setun.formats.checkpoint import load
from setun.golden.feed_forward import sigmoid, silu_gate, squared_relu_gate
from setun.golden.fixed import fixed_scalar, to_fixed
from setun.golden.scalars import ONE, map_parts, to_float


EXP2 = to_fixed(load(pathlib.Path(__file__).parents[1] / "data" / "bitnet_tiny")).exp2


def test_squared_relu_gate():
    gate, up = np.array([-5, 0, 3, 2 ** 20, 2 ** 20, -2 ** 20]), np.array([7, 7, -7, 2 ** 20, -2 ** 20, 2 ** 20])
    assert squared_relu_gate(gate, up).tolist() == [0, 0, -63, 2 ** 60, -2 ** 60, 0]


def test_sigmoid():
    t = np.array([0, 1024, -1024, 2048, 2 ** 31 - 1, -2 ** 31, -15 * 1024, -16 * 1024, -17 * 1024])
    assert sigmoid(t, EXP2).tolist() == [16384, round(32768 * 2 / 3), round(32768 / 3), round(32768 * 4 / 5), 32768, 0,
                                         1, 1, 0]
    x = np.linspace(-20, 20, 10_001)
    found = sigmoid(np.rint(x * math.log2(math.e) * 1024).astype(np.int64), EXP2)
    assert np.abs(found / 2 ** 15 - 1 / (1 + np.exp(-x))).max() < 1.1e-4


@pytest.mark.parametrize("scale", [1e-5, 3e-3, 0.2])
def test_silu_gate(scale):
    gate = np.array([[-2 ** 20, -3000, -100, -1, 0, 1, 100, 3000, 2 ** 20]])
    up = np.array([[2 ** 20, 5, -70, 900, 3, -2 ** 20, 7, -9, -2 ** 20]])
    unit = map_parts(lambda part: part[None], fixed_scalar(scale))
    z = silu_gate(gate, up, unit, EXP2)
    exact = gate * up / (1 + np.exp(-np.maximum(gate * to_float(unit), -700)))
    assert z.dtype == np.int64 and np.abs(z).max() <= 2 ** 55
    assert (np.abs(z / 2 ** 15 - exact) <= 1.4e-4 * np.abs(gate * up)).all()


def test_silu_gate_saturates():
    """A scale beyond all reason leaves a step."""
    z = silu_gate(np.array([-2 ** 20, 2 ** 20]), np.array([3, 3]), ONE, EXP2)
    assert z.tolist() == [0, 3 * 2 ** 35]
