"""Folders of all kinds, written by torch and transformers and compared with what these compute; and hostile ones."""

import copy
import json
import shutil
import struct

import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig
from transformers.integrations.bitnet import BitLinear, WeightQuant, unpack_weights

from setun.formats.checkpoint import CheckpointError, load, open_checkpoint
from setun.formats.convert import convert
from setun.formats.evidence import doubts
from tests.firmware.formats.test_gguf_file import write_tq
from tests.support import bitnet_1bitllm
from tests.support.checkpoints import (
    OFFLINE,
    InMemory,
    assert_agrees,
    assert_same,
    load_in_transformers,
    quantised,
    random_checkpoint,
    random_model,
    train,
)


ONLINE = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}
INVERSE = {"quant_method": "bitnet"}
KINDS = [torch.float32, torch.bfloat16, torch.float16]


def packed(folder, checkpoint):
    convert(InMemory(checkpoint), folder, "hf")
    return folder


def loaded(folder, form):
    with open_checkpoint(folder) as model:
        assert model.format == form
        return model.checkpoint()


def by_mean(module):
    """Codes and scale of a linear layer of float masters."""
    weight = WeightQuant.apply(module.weight.detach())
    return torch.sign(weight).numpy(), weight.max().item()


def by_scale(module):
    """Codes and scale of AutoBitLinear, which multiplies by it."""
    return module.weight.detach().numpy(), module.weight_scale.item()


def by_inverse(module):
    """Codes of BitLinear, and the inverse of its scale, which it divides by."""
    return unpack_weights(module.weight, torch.float32).numpy(), (1 / module.weight_scale).item()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Models of transformers', trained by torch through its quantisation of each step: tied or not, by activation."""
    found, folder = {}, tmp_path_factory.mktemp("trained") / "model"
    for activation, tied in (("relu2", True), ("silu", False)):
        model = random_model(hidden_act=activation, tie_word_embeddings=tied)
        model.config.quantization_config = ONLINE
        model.save_pretrained(folder)
        found[activation] = train(load_in_transformers(folder), 150)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("activation", ["relu2", "silu"])
def test_online(tmp_path, trained, kind, activation):
    """Masters, in the shards of save_pretrained."""
    copy.deepcopy(trained[activation]).to(kind).save_pretrained(tmp_path / "model", max_shard_size="80KB")
    assert (tmp_path / "model" / "model.safetensors.index.json").exists()
    assert open_checkpoint(tmp_path / "model").ends == (2, 3)
    assert_agrees(loaded(tmp_path / "model", "hf-online"), load_in_transformers(tmp_path / "model"), by_mean, rel=3e-7)


@pytest.mark.parametrize("activation", ["relu2", "silu"])
def test_offline(tmp_path, trained, activation):
    folder = quantised(tmp_path / "model", trained[activation], OFFLINE, lambda scale: scale)
    assert_agrees(loaded(folder, "hf-packed"), load_in_transformers(folder), by_scale)


@pytest.mark.parametrize("activation", ["relu2", "silu"])
def test_inverse(tmp_path, trained, activation):
    """Scales to divide by, whose inverse float32 only comes near to."""
    folder = quantised(tmp_path / "model", trained[activation], INVERSE, lambda scale: 1 / scale)
    model = load_in_transformers(folder)
    assert isinstance(model.model.layers[0].mlp.down_proj, BitLinear)
    assert_agrees(loaded(folder, "hf-inverse"), model, by_inverse)


@pytest.mark.parametrize("activation", ["relu2", "silu"])
@pytest.mark.parametrize("taken", ["relu2", "silu"])
def test_activation_is_told_by_weights(tmp_path, trained, activation, taken):
    """A GGUF of architecture bitnet may be of either: a hint where the weights speak against what was taken."""
    trained[activation].save_pretrained(tmp_path / "model")
    write_tq(tmp_path / "model.gguf", load(tmp_path / "model"), GGMLQuantizationType.F32)
    found = doubts(open_checkpoint(tmp_path / "model.gguf", taken))
    assert bool(found) == (activation != taken)
    assert not found or f"the weights speak for activation {activation}: " in found[0]


LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}


@pytest.mark.parametrize("quantization, form, changes", [
    (INVERSE, "hf-inverse", {"tie_word_embeddings": False, "rope_parameters": LLAMA3}),
    (INVERSE, "hf-inverse", {"tie_word_embeddings": True, "head_dim": 24, "rope_parameters": LINEAR}),
    (OFFLINE, "hf-packed", {"tie_word_embeddings": True, "hidden_act": "relu2", "head_dim": 8}),
    (ONLINE, "hf-online", {"tie_word_embeddings": False, "num_key_value_heads": 4}),
])
def test_llama(tmp_path, quantization, form, changes):
    """Llama's structure with BitLinear (BitNet#621, mlx-lm#268, vllm#18213): no sub-norms, heads of any size."""
    model = random_model(LlamaConfig, **changes)
    model.config.quantization_config = ONLINE
    model.save_pretrained(tmp_path / "random")
    trained = train(load_in_transformers(tmp_path / "random"), 200)
    folder = tmp_path / "model"
    if quantization is ONLINE:
        trained.save_pretrained(folder)
        ternary, rel = by_mean, 3e-7
    else:
        quantised(folder, trained, quantization, lambda scale: 1 / scale if quantization is INVERSE else scale)
        ternary, rel = (by_inverse, 0) if quantization is INVERSE else (by_scale, 0)
    checkpoint = loaded(folder, form)
    assert checkpoint.layers[0].attention_sub_norm is checkpoint.layers[0].feed_forward_sub_norm is None
    assert checkpoint.head_dim == changes.get("head_dim", 16)
    assert_agrees(checkpoint, load_in_transformers(folder), ternary, rel)


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False, "num_key_value_heads": 2}])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_1bitllm(tmp_path, kind, changes):
    torch.manual_seed(2)
    model = train(bitnet_1bitllm.BitnetForCausalLM(**changes), 150).to(kind)
    bitnet_1bitllm.save(model, tmp_path / "model")

    def ternary(module):
        weight = bitnet_1bitllm.weight_quant(module.weight.detach())
        return torch.sign(weight).numpy(), weight.max().item()

    assert_agrees(loaded(tmp_path / "model", "hf-1bitllm"), model.float(), ternary, rel=3e-7)


def test_old_buffers(tmp_path):
    """Frequencies that LLaMA's files once held are passed over, as transformers does."""
    folder = packed(tmp_path / "model", random_checkpoint())
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}, folder / "model.safetensors")
    assert_same(load(folder), random_checkpoint())


@pytest.mark.parametrize("config, generation, ends", [
    (None, None, ()), (5, None, (5,)), ([5, 6], None, (5, 6)), (5, {}, (5,)), (5, {"eos_token_id": None}, (5,)),
    (5, {"eos_token_id": 6}, (6,)), (5, {"eos_token_id": [7, 8]}, (7, 8)), ([128001, 5], None, (5,)),
])
def test_ends(tmp_path, config, generation, ends):
    """What generation_config.json says comes first; a token beyond the vocabulary never comes."""
    folder = packed(tmp_path / "model", random_checkpoint())
    edit_config(folder, eos_token_id=config)
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    assert open_checkpoint(folder).ends == ends


@pytest.mark.parametrize("text", [
    '{"eos_token_id": "2"}', '{"eos_token_id": [[2]]}', '{"eos_token_id": true}', "[", ""])
def test_ends_defects(tmp_path, text):
    folder = packed(tmp_path / "model", random_checkpoint())
    (folder / "generation_config.json").write_text(text)
    assert "generation_config.json: eos_token_id: neither" in refused(folder) or "config.json: JSON" in refused(folder)


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def sharded(tmp_path):
    checkpoint = random_checkpoint(4)
    folder = packed(tmp_path / "model", checkpoint)
    tensors = load_file(folder / "model.safetensors")
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
