import numpy as np

from golden.feed_forward import squared_relu_gate


def test_squared_relu_gate():
    gate, up = np.array([-5, 0, 3, 2 ** 20, 2 ** 20, -2 ** 20]), np.array([7, 7, -7, 2 ** 20, -2 ** 20, 2 ** 20])
    assert squared_relu_gate(gate, up).tolist() == [0, 0, -63, 2 ** 60, -2 ** 60, 0]
