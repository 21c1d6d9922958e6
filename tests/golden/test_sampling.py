"""The noise is Gumbel's, the generator has its period's structure, and draws fit the softmax."""

import numpy as np
import pytest

from setun.golden.sampling import (
    NOISE,
    TAIL,
    first_state,
    following,
    noise,
    noise_of,
    sample,
    temperature_scalar,
)
from setun.golden.scalars import ONE, normalise, to_float


UNIT = np.log(2) / 64


def test_generator():
    """Marsaglia's of 32 bits: linear over its bits, and of full period since it has no shorter one."""
    assert following(1) == 270369 and following(following(1)) == 67634689  # published first numbers
    for a, b in ((1, 2), (0x12345678, 0xdeadbeef)):
        assert following(a ^ b) == following(a) ^ following(b)
    # The order of the linear map divides 2**32 - 1 and none of its parts.
    columns = [following(1 << bit) for bit in range(32)]

    def times(a, b):
        return [apply(a, column) for column in b]

    def apply(matrix, value):
        result = 0
        for bit in range(32):
            if value >> bit & 1:
                result ^= matrix[bit]
        return result

    def power(exponent):
        result, square = [1 << bit for bit in range(32)], columns
        while exponent:
            if exponent & 1:
                result = times(result, square)
            square, exponent = times(square, square), exponent >> 1
        return result

    one, period = [1 << bit for bit in range(32)], 2 ** 32 - 1
    assert power(period) == one
    assert all(power(period // prime) != one for prime in (3, 5, 17, 257, 65537))


def test_first_states():
    states = {first_state(seed, position) for seed in range(40) for position in range(40)}
    assert 0 not in states and len(states) > 1500
    assert first_state(5 * 65537, 5) == first_state(1, 0)  # 0 would stay 0


def test_distribution():
    """Quantiles of many numbers are Gumbel's, in the tail as well."""
    numbers = np.sort(np.concatenate([noise(7, position, 5000) for position in range(40)])) * UNIT
    for share in (.01, .1, .5, .9, .99, .999, .9999):
        expected = -np.log(-np.log(share))
        found = numbers[int(share * len(numbers))]
        spread = np.sqrt(share * (1 - share) / len(numbers)) / (share * -np.log(share))  # of a quantile
        assert abs(found - expected) < 4 * spread + UNIT, share


def test_tail():
    """Every octave of the last part, to its end."""
    last = 0xff800000
    assert noise_of(last | 0xffff) == 64 * 9 + TAIL[15] and noise_of(last | 1) == 64 * 24 + TAIL[0]
    assert noise_of(last) == 64 * 25 + TAIL[0] < 1 << 11
    assert noise_of(0) == NOISE[0]
    found = [noise_of(last | rest) for rest in range(1 << 16)]
    exact = -np.log2((np.arange(1 << 16) + .5) / 2 ** 25) * 64
    assert np.abs(np.array(found[16:]) - exact[16:]).max() < 4 and np.diff(found).max() <= 0


@pytest.mark.parametrize("temperature", [.5, 1, 2.5])
def test_draws_fit_the_softmax(temperature):
    """Chi-square of 4,000 draws of a fixed seed over ten tokens, 27.9 at a thousandth."""
    logits, scale = np.array([0, 300, -400, 500, 512, 100, -1200, 90, 250, 40]), normalise(1, -8)
    weights = np.exp(logits / 256 / temperature)
    expected = 4000 * weights / weights.sum()
    draws = np.bincount([sample(logits, scale, temperature_scalar(temperature), 11, position)
                         for position in range(4000)], minlength=10)
    assert ((draws - expected) ** 2 / expected).sum() < 27.9


def test_temperature():
    assert abs(to_float(temperature_scalar(.7)) - .7 * UNIT) < 1e-6 and temperature_scalar(0).mantissa == 0
    logits = np.array([5, 9, 9, 2])
    assert {sample(logits, ONE, temperature_scalar(0), seed, 3) for seed in range(50)} == {1}
    drawn = [sample(logits, ONE, temperature_scalar(3), 1, position) for position in range(30)]
    assert len(set(drawn)) > 1
    assert drawn == [sample(logits, ONE, temperature_scalar(3), 1, position) for position in range(30)]
