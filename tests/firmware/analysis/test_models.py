import json

import msgspec
import pytest

from setun.analysis.models import dimensions_of, load_dimensions, named_models
from setun.cli.options import DEMO
from setun.formats import checkpoint
from setun.formats.checkpoint import CheckpointError


SMALL = {"name": "small", "hidden": 64, "inner": 96, "layers": 2, "heads": 4, "kv_heads": 2, "vocab": 256}


def test_named():
    """Ternary weights of the models whose names say how many they have."""
    models = named_models()
    assert set(models) == {"bitnet-700m", "bitnet-1.3b", "bitnet-3b", "bitnet-3.9b", "bitnet-7b", "bitnet-13b",
                           "bitnet-70b", "2b4t", "llama3-8b-158"}
    assert all(model.source for model in models.values())
    for name, billions in (("1.3b", 1.3), ("3b", 3.4), ("3.9b", 4.1), ("7b", 6.7), ("13b", 13), ("70b", 69)):
        model = models[f"bitnet-{name}"]
        assert (model.weights + 2 * model.vocab * model.hidden) / 1e9 == pytest.approx(billions, rel=.03)
    llama = models["llama3-8b-158"]
    assert (llama.weights + 2 * llama.vocab * llama.hidden) / 1e9 == pytest.approx(8.03, rel=.01)


def test_demo():
    """The dimensions are those of the checkpoint's matrices."""
    loaded = checkpoint.load(DEMO)
    found = dimensions_of(loaded, "demo")
    layer = loaded.layers[0]
    assert found.matrices == {
        "qkv": (sum(len(part.codes) for part in (layer.q, layer.k, layer.v)), loaded.hidden), "o": layer.o.codes.shape,
        "gate_up": (2 * loaded.inner, loaded.hidden), "down": layer.down.codes.shape}
    assert found.weights == sum(part.codes.size for layer in loaded.layers for part in layer[:7])


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_files(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_text(json.dumps(SMALL))  # which is YAML too
    assert load_dimensions(path).matrices["qkv"] == (64 + 2 * 32, 64)
    path.write_text(json.dumps(SMALL | {"head_dim": 32}))
    assert load_dimensions(path).matrices["qkv"] == (128 + 2 * 64, 64)


BITNET = {  # config.json of microsoft/bitnet-b1.58-2B-4T, what decides shapes and some of the rest
    "architectures": ["BitNetForCausalLM"], "bos_token_id": 128000, "hidden_act": "relu2", "hidden_size": 2560,
    "intermediate_size": 6912, "max_position_embeddings": 4096, "num_attention_heads": 20, "num_hidden_layers": 30,
    "num_key_value_heads": 5, "rope_theta": 500000.0, "vocab_size": 128256,
    "quantization_config": {"quant_method": "bitnet"}}


def test_hugging_face(tmp_path):
    """vllm-fit#2: a config.json alone is the model; fields that say nothing of shapes are not looked at."""
    path = tmp_path / "bitnet" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(BITNET))
    found, named = load_dimensions(path), named_models()["2b4t"]
    assert found == msgspec.structs.replace(named, name="bitnet", source=str(path))
    fewer = {name: value for name, value in BITNET.items()
             if name not in ("num_key_value_heads", "max_position_embeddings")}
    path.write_text(json.dumps(fewer | {"head_dim": 64, "hidden_act": "silu"}))
    found = load_dimensions(path)
    assert (found.kv_heads, found.queries, found.activation, found.context) == (20, 20 * 64, "silu", 2048)


def test_demo_s_config():
    """The shipped checkpoint's config.json has the dimensions of its matrices."""
    assert load_dimensions(DEMO / "config.json").matrices == dimensions_of(checkpoint.load(DEMO), "demo").matrices


@pytest.mark.parametrize("text, words", [
    (json.dumps({"hidden_size": 64}), "missing required field `intermediate_size`"),
    (json.dumps(BITNET | {"vocab_size": 0}), "`$.vocab_size`"),
    (json.dumps(BITNET | {"hidden_act": "gelu"}), "`$.hidden_act`"),
    (json.dumps(BITNET | {"num_attention_heads": 7}), "no multiple of the 7 heads"),
    (json.dumps(SMALL | {"hidden": 0}), "`$.hidden`"),
    (json.dumps(SMALL | {"hidden": "64"}), "`$.hidden`"),
    (json.dumps(SMALL | {"hidden": 1 << 60}), "`$.hidden`"),
    (json.dumps(SMALL | {"colour": 1}), "unknown field `colour`"),
    (json.dumps({"name": "x"}), "missing required field `hidden`"),
    (json.dumps(SMALL | {"heads": 3}), "hidden is 64 and no multiple of the 3 heads"),
    (json.dumps(SMALL | {"kv_heads": 3}), "must be a multiple of kv_heads, which is 3"),
    (json.dumps(SMALL | {"activation": "gelu"}), "`$.activation`"),
    ("[" * ((1 << 20) + 1), "is longer than"),
    ("[" * 4096, "write name, hidden"),
    ("", "write name, hidden"),
    ("null", "write name, hidden"),
])
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_refuses(tmp_path, text, words, suffix):
    path = tmp_path / f"bad{suffix}"
    path.write_text(text)
    with pytest.raises(CheckpointError) as caught:
        load_dimensions(path)
    assert str(caught.value).startswith(f"{path}: ") and words in str(caught.value) and "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_dimensions(tmp_path / "none.json")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="write name, hidden"):
        load_dimensions(tmp_path / "bytes.yaml")
