import numpy as np
import pytest

from setun.golden.closeness import closeness


def test_closeness():
    reference = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])) + [[3.0], [-2.0]]
    logits = np.log(np.array([[0.25, 0.5, 0.25], [0.1, 0.2, 0.7]]))
    result = closeness(logits, reference, np.array([0, 2]))
    assert result.loss == pytest.approx(-(np.log(0.25) + np.log(0.7)) / 2)
    assert result.reference_loss == pytest.approx(-(np.log(0.5) + np.log(0.7)) / 2)
    assert result.divergence == pytest.approx((0.5 * np.log(2) - 0.25 * np.log(2)) / 2)
    assert result.agreement == 0.5
