"""Sampling of a token: the largest of logits to which Gumbel noise was added (arXiv 1611.01144).

Where noise g = -ln(-ln(u)) of a uniform u is added to logits, the largest sum is token i with the probability that the
softmax gives it. Noise is in units of ln(2) / 64: an octave of u is 64. Its uniform numbers are those of a xorshift
generator of 32 bits (Marsaglia 2003), whose period is 2**32 - 1; each position of a text begins with a state of its
own, so that a text that is taken up again in its middle goes on as before.
"""

import functools

import numpy as np

from .lanes import scaled
from .scalars import Scalar, divide, normalise


__all__ = ["MIXING", "NOISE", "OCTAVE", "SHIFTS", "STATE_BITS", "TAIL", "TAIL_BITS", "UNIFORM_BITS", "first_state",
           "following", "noise", "noise_of", "sample", "temperature_scalar"]


STATE_BITS = 32
SHIFTS = 13, -17, 5  # to the left, and to the right
MIXING = 16  # states that are passed over at the beginning of a position
UNIFORM_BITS = 9  # of a state, its highest: the part of the distribution that the number is from
TAIL_BITS = 16  # of a state, its lowest: where in the last part
MANTISSA = 4  # bits of the tail's number behind its first one
OCTAVE = 64
_CENTRES = (np.arange((1 << UNIFORM_BITS) - 1) + .5) / (1 << UNIFORM_BITS)
NOISE = np.round(-OCTAVE * np.log2(-np.log(_CENTRES))).astype(np.int64)  # of all parts but the last
# The last part, above 1 - 2**-9: u is so near to 1 that -ln(u) is 1 - u. Its octaves, and parts of one:
TAIL = np.round(OCTAVE * (1 - np.log2(1 + (np.arange(1 << MANTISSA) + .5) / (1 << MANTISSA)))).astype(np.int64)
SEED_SPREAD = (1 << TAIL_BITS) + 1


def following(state):  # int -> int
    """The next state of the generator."""
    for shift in SHIFTS:
        state ^= (state << shift if shift > 0 else state >> -shift) & (1 << STATE_BITS) - 1
    return state


def first_state(seed, position):  # int of 32 bits, int of 16 bits -> int
    """The state before a position's first number: never 0, from which a xorshift does not get away."""
    state = seed ^ position * SEED_SPREAD
    state = state if state else 1
    for _ in range(MIXING):
        state = following(state)
    return state


def noise_of(state):  # int -> int
    """The number that a state stands for, of 12 bits and sign."""
    part = state >> STATE_BITS - UNIFORM_BITS
    if part < len(NOISE):
        return int(NOISE[part])
    rest = state & (1 << TAIL_BITS) - 1
    length = rest.bit_length()
    mantissa = (rest << TAIL_BITS - length >> TAIL_BITS - 1 - MANTISSA & (1 << MANTISSA) - 1) if rest else 0
    return OCTAVE * (UNIFORM_BITS + TAIL_BITS - length) + int(TAIL[mantissa])


@functools.lru_cache(64)
def noise(seed, position, count):  # int of 32 bits, int, int -> int64 [count]
    """The noise of a position's tokens, in their order."""
    state, numbers = first_state(seed, position), []
    for _ in range(count):
        state = following(state)
        numbers.append(noise_of(state))
    return np.array(numbers)


def temperature_scalar(temperature):  # float >= 0 -> Scalar
    """The temperature times the unit of noise, truncated to a scalar; 0 of 0, which takes the most likely token."""
    mantissa, exponent = np.frexp(temperature * np.log(2) / OCTAVE)
    return normalise(int(mantissa * (1 << 32)), int(exponent) - 32)


def sample(logits, scale, temperature, seed, position):  # int64 [V] of 18 bits, Scalar, Scalar -> int
    """The token of the largest of the logits and their noise, the first of several.

    ``temperature`` is as of temperature_scalar. The largest noise is some 18 times it, and saturates at the largest
    logit's 18 bits.
    """
    factor = divide(Scalar(*map(np.asarray, temperature)), scale)
    numbers = noise(seed, position, len(logits))
    return int(scaled(numbers, factor, logits).argmax())
