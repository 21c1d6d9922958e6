"""How close logits are to those of a reference."""

from typing import NamedTuple

import numpy as np


__all__ = ["Closeness", "closeness"]


class Closeness(NamedTuple):
    """How close logits are to the reference's, means over the tokens of a text."""
    loss: float  # nats a token
    reference_loss: float
    divergence: float  # KL(reference || logits), nats a token
    agreement: float  # share of tokens with the same argmax


def log_softmax(logits):  # float [..., V] -> float64 [..., V]
    """Logarithms of the probabilities."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def closeness(logits, reference, targets):  # float [..., V], float [..., V], integers [...] -> Closeness
    """Means over all tokens."""
    ours, theirs = log_softmax(logits), log_softmax(reference)
    loss, reference_loss = (-np.take_along_axis(each, targets[..., None], -1).mean() for each in (ours, theirs))
    divergence = (np.exp(theirs) * (theirs - ours)).sum(-1).mean()
    return Closeness(float(loss), float(reference_loss), float(divergence),
                     float((ours.argmax(-1) == theirs.argmax(-1)).mean()))
