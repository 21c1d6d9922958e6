"""Formats of a model, from how large its vectors become in float32 on text that it wrote itself.

A vector's format is fixed where its maximum comes too late: keys and values before later ones are known, the residual
stream before all layers have added to it, and the feed-forward product while the array still sums it up. What goes
beyond a format saturates.
"""

import math

import numpy as np

from .formats import Formats, LayerFormats
from .lanes import LANE_BITS
from .model import LEVELS
from .reference import accumulators, forward


__all__ = ["calibrate", "largest", "own_text"]


HEADROOM = 2.0  # of what no later operation brings back: the residual stream, and the feed-forward product
LEVEL_HEADROOM = 1.125  # of keys and values, which lose a level for each 0.8 %
SEQUENCES, LENGTH, ROUNDS = 2, 128, 4
MOST_PRODUCTS = 1 << 37  # of a round, which bounds the tokens of a large model
MOST_LOGITS = 1 << 23
FEWEST = 8  # tokens


def own_text(checkpoint, seed=0):  # Checkpoint -> int64 [B, T]
    """Tokens that the model draws itself, at temperature 1.

    All positions are drawn at once, ROUNDS times over with the same Gumbel noise (arXiv 1611.01144), each from the
    tokens of the round before: Jacobi's iteration for sampling one after the other, whose first tokens are the same.
    """
    rng = np.random.default_rng(seed)
    weights = sum(part.codes.size for layer in checkpoint.layers for part in layer if hasattr(part, "codes"))
    most = min(MOST_PRODUCTS // max(weights + checkpoint.embedding.size, 1), MOST_LOGITS // checkpoint.vocab)
    length = min(LENGTH, checkpoint.context, max(most, FEWEST))
    sequences = max(min(SEQUENCES, most // length), 1)
    tokens = rng.integers(0, checkpoint.vocab, (sequences, length))
    noise = rng.gumbel(size=(sequences, length, checkpoint.vocab)).astype(np.float32)
    for _ in range(ROUNDS):
        tokens[:, 1:] = (forward(checkpoint, tokens) + noise).argmax(-1)[:, :-1]
    return tokens


def largest(checkpoint, tokens):  # Checkpoint, integers [B, T] -> float, list of (float [kv_heads] twice, float twice)
    """Largest magnitudes of the residual stream; and of each layer's keys and values by head, of the gate's positive
    accumulators, and of those of up."""
    residuals, layers = [np.abs(checkpoint.embedding).max()], []

    def see(layer, k, v, between, h, gate, up, result):
        residuals.extend(np.abs(x).max() for x in (between, result))
        layers.append((*(np.abs(y).max(axis=(0, 1, 3)) for y in (k, v)),
                       max(accumulators(gate, h, layer.gate).max(), 1.0),
                       max(np.abs(accumulators(up, h, layer.up)).max(), 1.0)))

    forward(checkpoint, tokens, see)
    return float(max(residuals)), layers


def steps(magnitudes):  # float [kv_heads] -> tuple of float > 0
    """Units of int8 vectors that reach so far."""
    smallest = float(np.finfo(np.float32).tiny)  # of a head of zeros
    return tuple(max(float(value) * LEVEL_HEADROOM / LEVELS, smallest) for value in magnitudes)


def calibrate(checkpoint):  # Checkpoint -> Formats
    """Formats that hold what the model's own text needs, with headroom."""
    residual, layers = largest(checkpoint, own_text(checkpoint))
    magnitude = LANE_BITS - 1

    def bits(value):
        return math.ceil(math.log2(value))

    fraction = magnitude - bits(max(residual, float(np.finfo(np.float32).tiny)) * HEADROOM)
    return Formats(fraction, tuple(LayerFormats(
        steps(k), steps(v),
        max(bits(float(gate) ** 2 * HEADROOM) - magnitude, 0) if checkpoint.activation == "relu2" else 0,
        bits(float(up) * HEADROOM)) for k, v, gate, up in layers))
