"""Folders of all kinds: masters, inverse scales, shards; against transformers, and hostile."""

import json
import shutil
import struct

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from checkpoints import InMemory, assert_same, float_values, random_checkpoint, transformers_logits
from firmware.checkpoint import CheckpointError, load, open_checkpoint
from firmware.convert import convert
from firmware.safetensors_file import NAMES_1BITLLM, hf_name
from golden.closeness import closeness
from golden.matvec import absmean_ternary
from golden.model import Ternary
from golden.reference import forward


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def packed(folder, checkpoint):
    convert(InMemory(checkpoint), folder, "hf")
    return folder


def masters(folder, seed, kind, names={}, **changes):
    """A folder of float masters, and the checkpoint that they stand for."""
    checkpoint, rng = random_checkpoint(seed, kind=kind, **changes), np.random.default_rng(seed)
    tensors, layers = widened(packed(folder, checkpoint)), []
    for index, layer in enumerate(checkpoint.layers):
        found = {}
        for name, value in layer._asdict().items():
            full = hf_name(index, name)
            if isinstance(value, tuple):
                weight = float_values(rng, kind, *value.codes.shape)
                tensors.pop(full + "_scale")
                tensors[full] = weight.astype(np.float16) if kind == "F16" else weight
                codes, scale = absmean_ternary(weight)
                found[name] = Ternary(codes, float(scale))
            elif name in names:
                tensors[full.replace(hf_name(0, name).split(".", 3)[3], names[name] + ".weight")] = tensors.pop(full)
        layers.append(layer._replace(**found))
    save_file(tensors, folder / "model.safetensors")
    return checkpoint._replace(layers=tuple(layers))


ONLINE = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}


@pytest.mark.parametrize("kind", ["F32", "F16"])
def test_online(tmp_path, kind):
    checkpoint = masters(tmp_path / "model", 1, kind, activation="silu")
    edit_config(tmp_path / "model", quantization_config=ONLINE)
    assert_same(load(tmp_path / "model"), checkpoint)
    with open_checkpoint(tmp_path / "model") as model:
        assert model.format == "hf-online"
    agrees(tmp_path / "model", checkpoint)
    weight = torch.tensor(widened(tmp_path / "model")[hf_name(1, "down")]).float()
    scale = weight.abs().mean().clamp(min=1e-5)  # torch adds up in another order: one unit in the last place
    assert checkpoint.layers[1].down.scale == pytest.approx(scale.item(), rel=2e-7)
    assert (checkpoint.layers[1].down.codes == (weight / scale).round().clamp(-1, 1).numpy()).all()


def agrees(folder, checkpoint):
    tokens = np.random.default_rng(9).integers(0, checkpoint.vocab, (4, 32))
    logits, _ = transformers_logits(folder, tokens)
    ours = forward(checkpoint, tokens)
    result = closeness(ours, logits, np.roll(tokens, -1, 1))
    assert np.median(np.abs(ours - logits) / np.abs(logits).max()) < 1e-5
    assert result.divergence < 1e-3 and result.agreement > 0.98


def test_1bitllm(tmp_path):
    checkpoint = masters(tmp_path / "model", 2, "F32", NAMES_1BITLLM, activation="silu", tied=False)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    del config["quantization_config"]
    config |= {"architectures": ["BitnetForCausalLM"], "model_type": "llama"}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    assert_same(load(tmp_path / "model"), checkpoint)
    with open_checkpoint(tmp_path / "model") as model:
        assert model.format == "hf-1bitllm"


def test_inverse(tmp_path):
    """Scales to divide by: powers of two, whose inverse is exact."""
    checkpoint = random_checkpoint(3, kind="F32")
    checkpoint = checkpoint._replace(layers=tuple(
        layer._replace(**{name: value._replace(scale=0.125) for name, value in layer._asdict().items()
                          if isinstance(value, tuple)}) for layer in checkpoint.layers))
    folder = packed(tmp_path / "model", checkpoint)
    tensors = {name: 1 / value if name.endswith("_scale") else value for name, value in widened(folder).items()}
    save_file(tensors, folder / "model.safetensors")
    edit_config(folder, quantization_config={"quant_method": "bitnet"})
    assert_same(load(folder), checkpoint)
    with open_checkpoint(folder) as model:
        assert model.format == "hf-inverse"
    agrees(folder, checkpoint)


def widened(folder):
    """All tensors, norms and embedding in float32: safetensors.numpy reads no bfloat16."""
    data = (folder / "model.safetensors").read_bytes()
    size = struct.unpack_from("<Q", data)[0]
    header, found = json.loads(data[8:8 + size]), {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            stored = data[8 + size + first:8 + size + last]
            dtype = {"U8": np.uint8, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}[entry["dtype"]]
            values = np.frombuffer(stored, dtype).reshape(entry["shape"])
            found[name] = (values.astype(np.uint32) << 16).view(np.float32) if entry["dtype"] == "BF16" else values
    return found


@pytest.fixture
def sharded(tmp_path):
    checkpoint = random_checkpoint(4)
    folder = packed(tmp_path / "model", checkpoint)
    tensors = widened(folder)
    (folder / "model.safetensors").unlink()
    shards = {name: f"model-{index % 3 + 1:05}-of-00003.safetensors" for index, name in enumerate(sorted(tensors))}
    for shard in set(shards.values()):
        save_file({name: value for name, value in tensors.items() if shards[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    return folder, checkpoint, shards


def test_shards(sharded):
    folder, checkpoint, _ = sharded
    assert_same(load(folder), checkpoint)


def refused(folder):
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message and "; " in message and len(message) < 1000
    return message


@pytest.mark.parametrize("change, words", [
    ({"lm_head.weight": "model-00001-of-00003.safetensors"}, ["lm_head.weight: missing"]),
    ({"model.norm.weight": "../x.safetensors"}, ["weight_map", "'../x.safetensors'"]),
    ({"model.norm.weight": "/etc/passwd"}, ["weight_map", "'/etc/passwd'"]),
    ({"model.norm.weight": "a\0.safetensors"}, ["weight_map"]),
    ({"model.norm.weight": 3}, ["weight_map"]),
    ({"other": "none.safetensors"}, ["none.safetensors", "no such file"]),
    ({"model.norm.weight": "model-00001-of-00003.safetensors"}, ["model.norm.weight", "not here"]),
])
def test_shard_defects(sharded, change, words):
    folder, _, shards = sharded
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards | change}))
    message = refused(folder)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("header, words", [
    (b"[" * 100_000, ["safetensors"]), (b'{"a":' * 100_000, ["safetensors"]), (b"{}", ["safetensors", "bytes instead"]),
    (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 99999999999999999999]}}', ["safetensors"]),
    (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [-1, 4]}}', ["data_offsets"]),
    (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [4, 0]}}', ["data_offsets"]),
    (b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4], "x": 1}}', ["safetensors", "x"]),
    (b"\xff\xfe", ["safetensors"]),
])
def test_hostile_header(tmp_path, header, words):
    folder = packed(tmp_path / "model", random_checkpoint())
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    message = refused(folder)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("size", [2 ** 64 - 1, 2 ** 40, 2 ** 31, 5])
def test_header_length_that_lies(tmp_path, size):
    folder = packed(tmp_path / "model", random_checkpoint())
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", size) + path.read_bytes()[8:])
    assert "safetensors" in refused(folder)


def test_json_bomb(tmp_path):
    folder = packed(tmp_path / "model", random_checkpoint())
    for text in (b"[" * 1_000_000, b'{"a":' * 200_000):
        (folder / "config.json").write_bytes(text)
        assert "config.json: JSON" in refused(folder)


def test_not_files(tmp_path):
    folder = packed(tmp_path / "model", random_checkpoint())
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert "model.safetensors: file" in refused(folder)
    shutil.rmtree(folder)
    folder.write_bytes(b"")
    assert "magic" in refused(folder)
