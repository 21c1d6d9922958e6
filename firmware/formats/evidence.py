"""Whether a model's weights speak against what was taken for granted of its file.

Two things a GGUF does not tell for sure. The first is how its I2_S was packed: of a trained model the share of weights
that are not 0 goes with the norm, column by column, and any other order of the weights breaks that. The second is the
activation of its feed-forward network: a trained model predicts text less well through another one.
"""

import pathlib

import numpy as np

from ..golden.reference import forward
from .gguf_blocks import I2_S_PACKINGS
from .gguf_file import Gguf
from .model_file import MATRICES, CheckpointError
from .tokenizer import tokenizer_of


__all__ = ["doubts"]


WITNESSES = {"v": "attention_norm", "o": "attention_sub_norm", "up": "feed_forward_norm",
             "down": "feed_forward_sub_norm"}  # matrices and the norms of their inputs
MOST_LAYERS, DOUBT = 4, 25  # that are looked at; sum of squared correlations, in units of those of chance, that counts
TEXT = pathlib.Path(__file__).parents[1] / "demo" / "held_out.txt"
WINDOW, LEAST, MOST = 65, 4, 16  # tokens of a window, and windows
PRODUCTS = 1 << 32  # multiplications through each activation, of a second or less
TRAINED = 0.8  # of the loss of a uniform guess: more than that has no model that knows English
DEVIATIONS = 4  # that make a mean difference of losses no chance


def doubts(model):
    """Lines on what the weights of an open model file speak against; for a model that is too large, one that says so.

    Reads a few matrices for the packing, and for the activation all of a model that is small. Raises CheckpointError.
    """
    if not isinstance(model, Gguf):
        return []
    return [*_packing(model), *_activation(model)]


def _packing(model):
    if model.packing is None:
        return
    own = _correlation(model)
    for name in I2_S_PACKINGS.keys() - {model.packing}:
        other = _correlation(model.packed_on(name))
        if other > DOUBT + 2 * own:
            yield (f"the weights speak for I2_S as packed on {name}: with their norms they correlate "
                   f"{other / max(own, 1):,.0f} times as much then; try --i2s-packing {name}")


def _correlation(model):
    """Sum of n r^2 over some matrices, r between a norm's n weights and the shares of weights that are not 0.

    By chance it is about the number of matrices.
    """
    total, layers = 0, model.architecture.layers
    for layer in range(0, layers, -(-layers // MOST_LAYERS)):
        for name, norm in WITNESSES.items():
            if norm not in model.architecture.norms:
                continue
            share = (model.ternary(layer, name).codes != 0).mean(0)
            weights = np.abs(model.norm(layer, norm).astype(np.float64))
            if share.std() and weights.std():
                total += len(share) * np.corrcoef(share, weights)[0, 1] ** 2
    return total


def _activation(model):
    shape = model.architecture
    size = sum(int(np.prod(size)) for _, name, size in shape.parts() if name in (*MATRICES, "embedding"))
    windows = min(MOST, PRODUCTS // (WINDOW * size))
    if windows < LEAST:
        yield f"no text was tried with another activation than {shape.activation}: the model is too large"
        return
    tokens = _text(model, windows)
    if tokens is None:
        return
    checkpoint = model.checkpoint()
    other = checkpoint._replace(activation={"relu2": "silu", "silu": "relu2"}[shape.activation])
    if _losses(other, tokens[:1]).mean() > TRAINED * np.log(shape.vocab):  # as of random weights, and soon known
        return
    others = _losses(other, tokens)
    gain = _losses(checkpoint, tokens) - others
    if gain.mean() > DEVIATIONS * gain.std() / np.sqrt(gain.size):
        yield (f"the weights speak for activation {other.activation}: it predicts English text by "
               f"{gain.mean():.3f} nats a token better; try --activation {other.activation}")


def _text(model, windows):  # -> integers [windows, T + 1], or None
    """English text in the model's own tokens; None where there is none."""
    try:
        tokens = tokenizer_of(model).encode(TEXT.read_text()[:8 * windows * WINDOW])
    except CheckpointError:
        return None
    length = min(WINDOW, model.architecture.context)
    windows = min(windows, len(tokens) // length)
    tokens = np.array(tokens[:windows * length]).reshape(windows, length)
    return tokens if tokens.size and length > 1 and tokens.max() < model.architecture.vocab else None


def _losses(checkpoint, tokens):  # integers [B, T + 1] -> float64 [B, T]
    """Nats of each token behind those before it."""
    with np.errstate(over="ignore", invalid="ignore"):
        logits = forward(checkpoint, tokens[:, :-1]).astype(np.float64)
        most = logits.max(-1, keepdims=True)
        found = (np.log(np.exp(logits - most).sum(-1, keepdims=True)) + most
                 - np.take_along_axis(logits, tokens[:, 1:, None], -1))
    return found[..., 0]
