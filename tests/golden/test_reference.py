import pathlib

import numpy as np
import pytest

from setun.formats.checkpoint import load
from setun.golden.closeness import closeness
from setun.golden.reference import forward
from setun.golden.rotary import Rope


DATA = pathlib.Path(__file__).parents[1] / "data"
FROZEN = np.load(DATA / "transformers_bitnet.npz")
TOKENS = FROZEN["tokens"].astype(np.int64)


def test_forward_is_that_of_transformers():
    """Roundings that differ may flip an int8 code, and what follows it in that sequence; elsewhere they are equal."""
    logits = forward(load(DATA / "bitnet_tiny"), TOKENS)
    assert logits.dtype == np.float32
    difference = np.abs(logits - FROZEN["logits"])
    assert np.median(difference) < 1e-5 and np.mean(difference < 1e-4) > 0.75
    result = closeness(logits, FROZEN["logits"], np.roll(TOKENS, -1, 1))
    assert result.divergence < 1e-4 and result.agreement > 0.98


@pytest.mark.parametrize("change", [
    {"rope": Rope(500.0)}, {"eps": 0.1}, {"norm": np.ones(32, np.float32)},
    {"head": np.eye(64, 32, dtype=np.float32)}])
def test_forward_depends_on(change):
    checkpoint = load(DATA / "bitnet_tiny")
    logits = forward(checkpoint._replace(**change), TOKENS)
    assert closeness(logits, FROZEN["logits"], TOKENS).divergence > 1e-3


def test_forward_is_causal():
    checkpoint = load(DATA / "bitnet_tiny")
    changed = TOKENS.copy()
    changed[:, 20] ^= 1
    before, after = forward(checkpoint, TOKENS), forward(checkpoint, changed)
    assert np.abs(before - after)[:, :20].max() < 1e-5 and np.abs(before - after)[:, 20].max() > 0.1
