"""Lines where a model's weights speak against what was taken for granted of its file."""

import struct

import numpy as np
import pytest

from setun.formats import evidence, export
from setun.formats.checkpoint import load, open_checkpoint
from setun.formats.convert import convert
from setun.formats.evidence import doubts
from setun.formats.model import load as load_model
from tests.firmware.cli.test_main import invoke
from tests.support.checkpoints import InMemory, assert_same, random_checkpoint


def packed_on_arm(codes, scale):  # int8 [M, n] -> bytes
    """I2_S of 64 weights in 16 bytes."""
    fields = (codes.reshape(-1, 4, 16) + 1).astype(np.uint8)
    return (fields[:, 0] << 6 | fields[:, 1] << 4 | fields[:, 2] << 2 | fields[:, 3]).tobytes() + struct.pack(
        "<f28x", scale)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Path of the demo as a GGUF, by the machine that packed it."""
    folder, patch = tmp_path_factory.mktemp("demo"), pytest.MonkeyPatch()
    with open_checkpoint("demo") as model:
        convert(model, folder / "x86.gguf", "gguf-i2s")
        with patch.context():
            patch.setattr(export, "i2_s", packed_on_arm)
            convert(model, folder / "arm.gguf", "gguf-i2s")
        patch.undo()
    assert_same(load(folder / "arm.gguf", i2s_packing="arm"), load("demo"))
    return {name: folder / f"{name}.gguf" for name in ("x86", "arm")}


@pytest.mark.parametrize("made", ["x86", "arm"])
@pytest.mark.parametrize("taken", ["x86", "arm"])
def test_packing(demo, made, taken):
    """BitNet#551: a hint where the weights of a trained model speak against what was taken, and none where not."""
    with open_checkpoint(demo[made], i2s_packing=taken) as model:
        found = doubts(model)
    if made == taken:
        assert not found
    else:
        assert found[0].startswith(f"the weights speak for I2_S as packed on {made}: ") and (
            found[0].endswith(f"; try --i2s-packing {made}"))


@pytest.mark.parametrize("activation", [None, "relu2", "silu"])
def test_activation(demo, activation):
    """The demo was trained with squared ReLU."""
    found = doubts(open_checkpoint(demo["x86"], activation))
    if activation == "silu":
        assert len(found) == 1 and found[0].startswith("the weights speak for activation relu2: it predicts English")
        assert found[0].endswith("; try --activation relu2")
    else:
        assert not found


def test_chance_says_nothing(demo, monkeypatch):
    """A difference of losses counts from so many standard errors on."""
    monkeypatch.setattr(evidence, "DEVIATIONS", 100)
    assert not doubts(open_checkpoint(demo["x86"], "silu"))


def test_hints_are_shown(demo):
    """By inspect, and by run, before it starts."""
    for command, status in ((["inspect", demo["x86"]], 0), (["run", demo["x86"], "--prompt", ""], 2)):
        result = invoke(*command, "--activation", "silu")
        assert result.exit_code == status, result.output
        assert "the weights speak for activation relu2" in " ".join(result.output.split())


def test_weights_are_asked_when_somebody_reads(demo, monkeypatch):
    monkeypatch.setattr(evidence, "_losses", lambda checkpoint, tokens: 1 / 0)
    model = load_model(demo["x86"])
    with pytest.raises(ZeroDivisionError):
        model.taken


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("taken", ["x86", "arm"])
@pytest.mark.parametrize("activation", ["relu2", "silu"])
def test_random_weights_say_nothing(tmp_path, seed, taken, activation):
    convert(InMemory(random_checkpoint(seed, vocab=256, context=256)), tmp_path / "random.gguf", "gguf-i2s")
    assert not doubts(open_checkpoint(tmp_path / "random.gguf", activation, taken))


def test_large_models_are_not_tried(tmp_path):
    convert(InMemory(random_checkpoint(vocab=500, hidden=2048, inner=5504)), tmp_path / "large.gguf", "gguf-i2s")
    assert doubts(open_checkpoint(tmp_path / "large.gguf")) == [
        "no text was tried with another activation than relu2: the model is too large"]


def test_other_formats_tell():
    assert not doubts(open_checkpoint("demo"))
