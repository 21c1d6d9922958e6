import pathlib

import numpy as np
import pytest

from setun.formats.checkpoint import load
from setun.golden.bit_linear import quantised_matvec
from setun.golden.closeness import closeness
from setun.golden.decoder import empty_cache, step
from setun.golden.fixed import to_fixed
from setun.golden.reference import forward
from setun.golden.rotary import Rope
from setun.golden.scalars import to_float


DATA = pathlib.Path(__file__).parents[1] / "data"
FROZEN = np.load(DATA / "transformers_bitnet.npz")
TOKENS = FROZEN["tokens"].astype(np.int64)
CHECKPOINT = load(DATA / "bitnet_tiny")


def decode(model, tokens, linear=quantised_matvec):
    cache, integers, floats = empty_cache(model, len(tokens)), [], []
    for position, token in enumerate(tokens.T):
        logits, scale, cache = step(model, token, position, cache, linear)
        assert logits.dtype == np.int64
        integers.append(logits)
        floats.append(logits * to_float(scale)[:, None])
    return np.stack(integers, 1), np.stack(floats, 1)


def test_closeness_to_transformers():
    """A random model of 32 channels, whose logits spread as those of no trained model, is noisier than one."""
    _, logits = decode(to_fixed(CHECKPOINT), TOKENS)
    result = closeness(logits, FROZEN["logits"], np.roll(TOKENS, -1, 1))
    assert abs(result.loss - result.reference_loss) < 0.02
    assert result.divergence < 3e-3 and result.agreement >= 0.97


@pytest.mark.parametrize("change", [
    {"head": np.random.default_rng(0).normal(0, 0.5, (64, 32)).astype(np.float32)},
    {"eps": 0.3},  # so large that its unit matters in each norm
    {"rope": Rope(20.0)},
    {"activation": "silu"}])
def test_closeness_to_reference(change):
    checkpoint = CHECKPOINT._replace(**change)
    _, logits = decode(to_fixed(checkpoint), TOKENS)
    result = closeness(logits, forward(checkpoint, TOKENS), TOKENS)
    assert result.divergence < 3e-3 and result.agreement >= 0.95


def test_sequences_do_not_meet():
    """A batch gives the same integers as each sequence alone, without any batch axis."""
    model = to_fixed(CHECKPOINT)
    together, _ = decode(model, TOKENS[:, :8])
    for row, tokens in enumerate(TOKENS[:, :8]):
        cache = empty_cache(model)
        for position, token in enumerate(tokens):
            logits, scale, cache = step(model, token, position, cache)
            assert (logits == together[row, position]).all() and scale.mantissa.shape == ()


def test_callback():
    """Every BitLinear is asked for once a token, in order, with integers that hardware can take."""
    model, calls = to_fixed(CHECKPOINT), []

    def linear(layer, kind, codes, y):
        calls.append((layer, kind))
        assert codes is getattr(model.layers[layer], kind).codes and codes.dtype == np.int8
        assert y.dtype == np.int64 and y.shape == (2, codes.shape[1]) and np.abs(y).max() <= 2 ** 17
        return quantised_matvec(layer, kind, codes, y)

    logits, _, _ = step(model, TOKENS[:2, 0], 0, empty_cache(model, 2), linear)
    assert calls == [(layer, kind) for layer in range(2) for kind in ("qkv", "o", "gate_up", "down")]
    assert (logits == step(model, TOKENS[:2, 0], 0, empty_cache(model, 2))[0]).all()


@pytest.mark.parametrize("kind", ["qkv", "o", "gate_up", "down"])
def test_callback_is_used(kind):
    """A wrong accumulator is seen in the logits."""
    model = to_fixed(CHECKPOINT)

    def linear(layer, asked, codes, y):
        accumulators, m = quantised_matvec(layer, asked, codes, y)
        return accumulators + 50 * (asked == kind), m

    assert (decode(model, TOKENS[:1, :2], linear)[0] != decode(model, TOKENS[:1, :2])[0]).any()


def test_cache_is_not_written_to():
    model = to_fixed(CHECKPOINT)
    _, _, first = step(model, np.int64(1), 0, empty_cache(model))
    copies = [entry.k.copy() for entry in first]
    a, _, second = step(model, np.int64(2), 1, first)
    b, _, _ = step(model, np.int64(2), 1, first)
    assert (a == b).all() and second[0].k.shape[-2] == 2
    assert all((entry.k == copy).all() for entry, copy in zip(first, copies))
