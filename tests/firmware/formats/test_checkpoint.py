import json
import pathlib
import shutil
import struct

import numpy as np
import pytest
import safetensors

from setun.formats.checkpoint import CheckpointError, load
from setun.golden.rotary import Rope


TINY = pathlib.Path(__file__).parents[2] / "data" / "bitnet_tiny"
Q = "model.layers.1.self_attn.q_proj.weight"
NORM = "model.layers.0.mlp.ffn_sub_norm.weight"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(TINY, tmp_path / "model")


def raw_tensors(folder):
    tensors = dict(safetensors.deserialize((folder / "model.safetensors").read_bytes()))
    return {name: (tensor["dtype"], list(tensor["shape"]), bytes(tensor["data"])) for name, tensor in tensors.items()}


def write_tensors(folder, tensors):
    header, offset = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(
        struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def edit_tensor(folder, name, kind=None, shape=None, data=None):
    tensors = raw_tensors(folder)
    old = tensors[name]
    tensors[name] = (kind or old[0], old[1] if shape is None else shape, old[2] if data is None else data)
    write_tensors(folder, tensors)


def edit_config(folder, changes):
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        if value is KeyError:
            del config[key]
        else:
            config[key] = value
    (folder / "config.json").write_text(json.dumps(config))


def refused(folder):
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message and "; " in message
    return message


def test_load():
    checkpoint = load(TINY)
    assert (checkpoint.vocab, checkpoint.context, checkpoint.hidden, checkpoint.inner) == (64, 32, 32, 48)
    assert (checkpoint.heads, checkpoint.kv_heads, checkpoint.head_dim, len(checkpoint.layers)) == (4, 2, 8, 2)
    assert (checkpoint.rope, checkpoint.eps, checkpoint.head) == (Rope(1e4), 1e-5, None)
    assert checkpoint.embedding.shape == (64, 32) and checkpoint.embedding.dtype == np.float32
    layer = checkpoint.layers[1]
    assert layer.k.codes.shape == (16, 32) and layer.down.codes.shape == (32, 48)
    assert layer.feed_forward_sub_norm.shape == (48,) and layer.attention_sub_norm.shape == (32,)


def test_rows_of_a_byte():
    """Row r + R j of a matrix is in bits 2 j + 1 to 2 j of row r of the bytes."""
    _, (quarter, columns), data = raw_tensors(TINY)[Q]
    codes = load(TINY).layers[1].q.codes
    for row in range(4 * quarter):
        for column in range(columns):
            field = data[row % quarter * columns + column] >> 2 * (row // quarter) & 3
            assert codes[row, column] == field - 1


def test_bfloat16():
    _, _, data = raw_tensors(TINY)["model.norm.weight"]
    expected = [struct.unpack("<f", b"\0\0" + data[index:index + 2])[0] for index in range(0, len(data), 2)]
    assert load(TINY).norm.tolist() == expected


@pytest.mark.parametrize("kind, dtype", [("F32", np.float32), ("F16", np.float16)])
def test_other_floats(folder, kind, dtype):
    values = np.linspace(0.5, 1.5, 32).astype(dtype)
    edit_tensor(folder, "model.norm.weight", kind, None, values.tobytes())
    assert load(folder).norm.tolist() == values.astype(np.float32).tolist()


def test_untied_head(folder):
    tensors = raw_tensors(folder)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    write_tensors(folder, tensors)
    edit_config(folder, {"tie_word_embeddings": False})
    checkpoint = load(folder)
    assert (checkpoint.head == checkpoint.embedding).all()


def test_rope_parameters(folder):
    """transformers 5 writes theta into an object."""
    edit_config(folder, {"rope_theta": KeyError, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}})
    assert load(folder).rope == Rope(5e5)


@pytest.mark.parametrize("changes, words", [
    ({"model_type": "qwen3"}, ["model_type", "'qwen3'", "scales of groups of weights", "norms of queries and keys"]),
    ({"hidden_act": "gelu"}, ["hidden_act", "'gelu'", "squared ReLU"]),
    ({"attention_bias": True}, ["attention_bias", "biases"]),
    ({"hidden_size": KeyError}, ["hidden_size", "missing", "add hidden_size"]),
    ({"vocab_size": "64"}, ["vocab_size", "'64'", "no positive integer"]),
    ({"num_hidden_layers": 0}, ["num_hidden_layers", "no positive integer"]),
    ({"rms_norm_eps": float("nan")}, ["rms_norm_eps", "no positive number"]),
    ({"rope_theta": KeyError}, ["rope_theta", "missing"]),
    ({"rope_parameters": {"rope_theta": 1e4, "rope_type": "yarn", "factor": 4}},
     ["rope_parameters.rope_type", "'yarn' with factor 4", "rotary"]),
    ({"rope_parameters": "plain"}, ["rope_parameters", "not an object"]),
    ({"rope_theta": 10 ** 400}, ["rope_theta", "no positive number below 2**31"]),
    ({"tie_word_embeddings": "yes"}, ["tie_word_embeddings", "neither true nor false"]),
    ({"rope_scaling": {"type": "linear"}}, ["rope_scaling.factor", "no positive number"]),
    ({"num_attention_heads": 5, "num_key_value_heads": 5}, ["num_attention_heads", "does not divide hidden_size 32"]),
    ({"num_key_value_heads": 3}, ["num_key_value_heads", "does not divide num_attention_heads 4"]),
    ({"head_dim": 16}, ["q_proj.weight", "shape [8, 32] instead of [16, 32]"]),
    ({"quantization_config": KeyError}, ["quantization_config", "plain float model, not BitNet"]),
    ({"quantization_config": {"quant_method": "bitnet", "linear_class": "linear"}},
     ["quantization_config.linear_class", "'linear'", "autobitlinear"]),
    ({"quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "no"}},
     ["quantization_config.quantization_mode", "'no'", "packed"]),
    ({"quantization_config": {"quant_method": "gptq"}}, ["quantization_config.quant_method", "'gptq'"]),
    ({"quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                              "quantization_mode": "online"}}, ["U8 instead of BF16 or F16 or F32", "float weights"]),
    ({"tie_word_embeddings": False}, ["lm_head.weight", "missing"]),
    ({"num_hidden_layers": 1}, ["model.layers.1.", "not part of this model"]),
    ({"num_hidden_layers": 3}, ["model.layers.2.", "missing"]),
    ({"hidden_size": 64}, ["model.embed_tokens.weight", "shape [64, 32] instead of [64, 64]"]),
])
def test_config_defects(folder, changes, words):
    edit_config(folder, changes)
    message = refused(folder)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("name, change, words", [
    (Q, {"shape": [16, 16]}, ["shape [16, 16] instead of [8, 32]"]),
    (Q, {"kind": "I8"}, ["type I8 instead of U8", "packed weights"]),
    (Q, {"data": b"\xff" + bytes(255)}, ["code 3"]),
    (Q + "_scale", {"data": bytes(2)}, ["0.0 is not positive"]),
    (Q + "_scale", {"data": b"\x80\xbf"}, ["-1.0 is not positive"]),
    (Q + "_scale", {"data": b"\xc0\x7f"}, ["NaN"]),
    (Q + "_scale", {"data": b"\x80\x7f"}, ["infinity"]),
    (NORM, {"data": b"\xc0\x7f" + bytes(94)}, ["NaN"]),
    (NORM, {"kind": "U16"}, ["type U16", "BF16 or F16 or F32"]),
    (NORM, {"shape": [24], "data": bytes(48)}, ["shape [24] instead of [48]"]),
    ("model.embed_tokens.weight", {"data": b"\x80\xff" + bytes(4094)}, ["infinity"]),
])
def test_tensor_defects(folder, name, change, words):
    edit_tensor(folder, name, **change)
    message = refused(folder)
    assert "model.safetensors" in message and name in message
    assert all(word in message for word in words), message


def test_missing_tensor(folder):
    tensors = raw_tensors(folder)
    del tensors[NORM]
    write_tensors(folder, tensors)
    assert f"{NORM}: missing" in refused(folder)


def test_plain_float_weights(folder):
    """Float masters under an offline quantisation are not taken for codes."""
    edit_tensor(folder, Q, "F32", [32, 32], np.ones((32, 32), np.float32).tobytes())
    assert "type F32 instead of U8" in refused(folder)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_missing_file(folder, file):
    (folder / file).unlink()
    message = refused(folder)
    assert file in message and "no such file" in message


@pytest.mark.parametrize("size", [0, 4, 100, 9000, -1])
def test_truncated_tensors(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    assert "model.safetensors: safetensors: " in refused(folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_bad_json(folder, text):
    (folder / "config.json").write_bytes(text)
    assert "config.json: JSON: " in refused(folder)


def test_folder_that_is_not_there(tmp_path):
    assert "nowhere" in refused(tmp_path / "nowhere")
