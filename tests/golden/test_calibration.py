import dataclasses
import pathlib

import numpy as np
import pytest

from setun.analysis.measure import measure_logits
from setun.formats.checkpoint import load
from setun.golden.calibration import calibrate, largest, own_text
from setun.golden.decoder import empty_cache, step
from setun.golden.fixed import to_fixed
from setun.golden.reference import forward
from setun.golden.rounding import count_saturations
from tests.support.checkpoints import random_checkpoint


TINY = load(pathlib.Path(__file__).parents[1] / "data" / "bitnet_tiny")


def test_own_text():
    """The first token that is drawn, and ROUNDS of them, are those of sampling one after the other."""
    tokens = own_text(TINY)
    assert tokens.shape == (2, min(128, TINY.context)) and 0 <= tokens.min() and tokens.max() < TINY.vocab
    rng = np.random.default_rng(0)
    rng.integers(0, TINY.vocab, tokens.shape)
    noise = rng.gumbel(size=(*tokens.shape, TINY.vocab)).astype(np.float32)
    for position in range(4):
        drawn = (forward(TINY, tokens[:, :position + 1])[:, -1] + noise[:, position]).argmax(-1)
        assert (drawn == tokens[:, position + 1]).all()
    assert (own_text(TINY) == tokens).all() and (own_text(TINY, seed=1) != tokens).any()


@pytest.mark.parametrize("changes, shape", [
    ({"context": 16}, (2, 16)), ({"vocab": 1 << 18, "hidden": 8, "inner": 8, "heads": 1, "kv_heads": 1}, (1, 32))])
def test_size_of_own_text(changes, shape):
    """No longer than the context, and less where a round would take much memory."""
    assert own_text(random_checkpoint(**changes)).shape == shape


@pytest.mark.parametrize("activation", ["relu2", "silu"])
@pytest.mark.parametrize("sub_norms", [True, False])
def test_largest(activation, sub_norms):
    """What golden's own integers come to is within what was measured in floats, up to int8 codes that differ."""
    checkpoint = random_checkpoint(activation=activation, sub_norms=sub_norms)
    tokens = np.random.default_rng(0).integers(0, checkpoint.vocab, (2, 20))
    residual, layers = largest(checkpoint, tokens)
    seen = []
    forward(checkpoint, tokens, lambda layer, k, v, *rest: seen.append((k, v)))
    for (k, v), found in zip(seen, layers, strict=True):
        assert (found[0] == np.abs(k).max(axis=(0, 1, 3))).all() and (found[1] == np.abs(v).max(axis=(0, 1, 3))).all()
        assert 1 < found[2] <= 127 * checkpoint.hidden and found[2] == pytest.approx(round(found[2]), abs=0.02)
        assert 1 < found[3] <= 127 * checkpoint.hidden and found[3] == pytest.approx(round(found[3]), abs=0.02)
    assert residual >= np.abs(checkpoint.embedding).max()


def test_headroom():
    """On other text than it was calibrated with, next to nothing saturates; formats too small by 8 saturate a lot."""
    formats = calibrate(TINY)
    tokens = np.random.default_rng(7).integers(0, TINY.vocab, 30)
    counts = {}
    for less in (0, 3):
        model = to_fixed(TINY._replace(formats=dataclasses.replace(formats, fraction=formats.fraction + less)))
        cache = empty_cache(model)
        with count_saturations() as saturations:
            for position, token in enumerate(tokens):
                _, _, cache = step(model, token, position, cache)
        counts[less] = sum(saturations)
    assert counts[0] <= 8 and counts[3] > 40


def test_zeros():
    """A model whose matrices are all zero has formats, and logits."""
    checkpoint = random_checkpoint(layers=1)
    zeros = checkpoint.layers[0]._replace(**{
        name: part._replace(codes=np.zeros_like(part.codes), scale=0.0)
        for name, part in checkpoint.layers[0]._asdict().items() if hasattr(part, "codes")})
    checkpoint = checkpoint._replace(layers=(zeros,))
    logits = measure_logits(checkpoint, np.array([[1, 2, 3]]), "integer")
    assert np.abs(logits - measure_logits(checkpoint, np.array([[1, 2, 3]]), "float")).max() < 0.3
