import numpy as np
import pytest

from setun.golden.rotary import Rope, fixed_frequencies, frequencies, waves


ROPES = [Rope(1e4), Rope(5e5, 3.0), Rope(1e4, 8.0, (1.0, 4.0, 256))]


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("position", [0, 1, 255, 4095, 131071])
def test_waves(rope, position):
    """Within half a step of 1024 a turn, and what 24 bits of a frequency lose up to that position."""
    cos, sin = waves(fixed_frequencies(rope, 32), position)
    angle = frequencies(rope, 32) * position
    off = np.pi / 1024 * 1.01 + 2 * np.pi * position * 2.0 ** -25 + 2 ** -15
    assert np.abs(cos / 2 ** 15 - np.cos(angle)).max() < off and np.abs(sin / 2 ** 15 - np.sin(angle)).max() < off


def test_waves_of_all_steps():
    """Each of the 1024 phases, on the circle, one step after the other."""
    cos, sin = waves(np.arange(1024) << 14, 1)
    assert np.abs(np.hypot(cos, sin) - 2 ** 15).max() < 1.5
    turns = np.unwrap(np.arctan2(sin, cos)) / (2 * np.pi) * 1024
    assert np.abs(turns - np.arange(1024) - 0.5).max() < 0.01
    assert np.abs(cos).max() == np.abs(sin).max() == 2 ** 15 - 1


def test_whole_turns():
    """A frequency of a whole turn, and phases beyond one, are taken modulo it."""
    frequencies = np.array([0, 1 << 24, (1 << 24) - 1, 3 << 23])
    for wave in waves(frequencies, 2):
        assert wave[0] == wave[1] == wave[3]
    assert (waves(frequencies, 5)[1] == waves(frequencies & (1 << 24) - 1, 5)[1]).all()
