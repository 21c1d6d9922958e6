"""What is written is what transformers loads, and what this reads again."""

import json
import pathlib
import struct

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from setun.cli.options import DEMO
from setun.formats.checkpoint import CheckpointError, load, open_checkpoint
from setun.formats.convert import FORMATS, convert
from setun.golden.closeness import closeness
from setun.golden.model import Ternary
from setun.golden.reference import forward
from setun.golden.rotary import Rope
from tests.support.checkpoints import (
    InMemory,
    assert_agrees,
    assert_same,
    load_in_transformers,
    logits_of,
    random_checkpoint,
)


CASES = {
    "relu2": {},
    "silu": {"activation": "silu", "seed": 5},
    "untied": {"tied": False, "seed": 6},
    "float16": {"kind": "F16", "seed": 7},
    "float32": {"kind": "F32", "hidden": 128, "inner": 320, "seed": 8},
    "llama": {"sub_norms": False, "activation": "silu", "tied": False, "seed": 9},
    "llama3": {"sub_norms": False, "activation": "silu", "head_dim": 24, "seed": 10,
               "rope": Rope(5e5, 8.0, (1.0, 4.0, 8192))},
    "linear": {"rope": Rope(1e4, 4.0), "seed": 11},
}


def converted(checkpoint, folder, form):
    path = folder / form.replace("gguf-i2s", "model.gguf")
    convert(InMemory(checkpoint), path, form)
    return path


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", FORMATS)
def test_round_trip(tmp_path, form, case):
    """Each format, and from it each other one, holds the same in every bit."""
    checkpoint = random_checkpoint(**CASES[case])
    path = converted(checkpoint, tmp_path, form)
    assert_same(load(path), checkpoint)
    for other in FORMATS:
        again = tmp_path / f"again-{other}{'.gguf' if other == 'gguf-i2s' else ''}"
        with open_checkpoint(path) as model:
            convert(model, again, other)
        assert_same(load(again), checkpoint)


@pytest.mark.parametrize("case", CASES)
def test_transformers_loads(tmp_path, case):
    checkpoint = random_checkpoint(**CASES[case])
    folder = converted(checkpoint, tmp_path, "hf")
    tokens = np.random.default_rng(9).integers(0, checkpoint.vocab, (4, 32))
    model = load_in_transformers(folder)
    with torch.no_grad():
        logits = logits_of(model, torch.tensor(tokens)).numpy()
    ours = forward(checkpoint, tokens)
    result = closeness(ours, logits, np.roll(tokens, -1, 1))
    assert np.median(np.abs(ours - logits) / np.abs(logits).max()) < 1e-5
    assert result.divergence < 1e-3 and result.agreement > 0.98
    for index, layer in enumerate(checkpoint.layers):
        block = model.model.layers[index]
        for name, module in (("q", block.self_attn.q_proj), ("o", block.self_attn.o_proj),
                             ("gate", block.mlp.gate_proj), ("down", block.mlp.down_proj)):
            ternary = getattr(layer, name)
            assert module.weight_scale.item() == ternary.scale
            assert (module.weight.detach().numpy() == ternary.codes).all()


def test_demo_agrees(tmp_path):
    """The trained demo, through the container."""
    with open_checkpoint(DEMO) as model:
        convert(model, tmp_path / "demo.setun", "setun")
    with open_checkpoint(tmp_path / "demo.setun") as model:
        convert(model, tmp_path / "hf", "hf")
    assert_agrees(load(tmp_path / "demo.setun"), load_in_transformers(tmp_path / "hf"),
                  lambda module: (module.weight.detach().numpy(), module.weight_scale.item()))


def gguf_tensors(data):
    """Fields and (type, dimensions, offset from the start) of the tensors of a GGUF, by its specification."""
    position = 0

    def take(code):
        nonlocal position
        values = struct.unpack_from("<" + code, data, position)
        position += struct.calcsize("<" + code)
        return values[0]

    def string():
        return text(take("Q"))

    def text(size):
        nonlocal position
        position += size
        return data[position - size:position].decode()

    def value(kind):
        if kind == 8:
            return string()
        if kind == 9:
            inner, count = take("I"), take("Q")
            return [value(inner) for _ in range(count)]
        return take({4: "I", 5: "i", 6: "f", 7: "?"}[kind])

    assert data[:4] == b"GGUF"
    position = 4
    assert take("I") == 3
    tensors, fields = take("Q"), take("Q")
    found = {string(): value(take("I")) for _ in range(fields)}
    infos = {}
    for _ in range(tensors):
        name = string()
        dimensions = [take("Q") for _ in range(take("I"))]
        infos[name] = take("I"), dimensions, take("Q")
    start = -(-position // 32) * 32
    return found, {name: (kind, dimensions, start + offset) for name, (kind, dimensions, offset) in infos.items()}


FROZEN = np.load(pathlib.Path(__file__).parents[2] / "data" / "bitnet_cpp_i2_s.npz")


def test_i2_s_of_bitnet_cpp(tmp_path):
    """A matrix is stored as bitnet.cpp's own quantiser stores it."""
    checkpoint = random_checkpoint(hidden=320, inner=48, layers=1)
    up = Ternary(FROZEN["codes"], FROZEN["scale"].item())
    checkpoint = checkpoint._replace(layers=(checkpoint.layers[0]._replace(up=up),))
    path = converted(checkpoint, tmp_path, "gguf-i2s")
    _, _, offset = gguf_tensors(path.read_bytes())[1]["blk.0.ffn_up.weight"]
    assert path.read_bytes()[offset:][:len(FROZEN["stored"])] == FROZEN["stored"].tobytes()
    assert_same(load(path), checkpoint)


def test_i2_s(tmp_path):
    """The file of bitnet.cpp, read by its description."""
    checkpoint = random_checkpoint(vocab=40)
    data = converted(checkpoint, tmp_path, "gguf-i2s").read_bytes()
    fields, tensors = gguf_tensors(data)
    assert fields["general.architecture"] == "bitnet-b1.58" and fields["tokenizer.ggml.model"] == "no_vocab"
    assert fields["bitnet-b1.58.rope.freq_base"] == 1e4 and fields["bitnet-b1.58.attention.head_count_kv"] == 2
    for name, ternary in (("attn_k", checkpoint.layers[1].k), ("ffn_down", checkpoint.layers[1].down)):
        kind, dimensions, offset = tensors[f"blk.1.{name}.weight"]
        assert kind == 36 and dimensions == list(ternary.codes.shape[::-1]) and offset % 32 == 0
        for index, code in enumerate(ternary.codes.flat):
            block, group, byte = index // 128, index % 128 // 32, index % 32
            assert (data[offset + 32 * block + byte] >> 6 - 2 * group & 3) - 1 == code
        assert struct.unpack_from("<f28s", data, offset + ternary.codes.size // 4) == (ternary.scale, bytes(28))
    kind, _, offset = tensors["output_norm.weight"]
    assert kind == 0 and data[offset:offset + 256] == checkpoint.norm.tobytes()


def test_config_of_folder(tmp_path):
    """What else than weights transformers goes by."""
    folder = converted(random_checkpoint(activation="silu", tied=False), tmp_path, "hf")
    config = json.loads((folder / "config.json").read_text())
    assert config["hidden_act"] == "silu" and config["tie_word_embeddings"] is False
    assert config["quantization_config"]["quantization_mode"] == "offline" and config["torch_dtype"] == "float32"
    checkpoint = random_checkpoint()
    rounded = checkpoint._replace(layers=tuple(layer._replace(**{
        name: value._replace(scale=0.125) for name, value in layer._asdict().items() if isinstance(value, tuple)})
        for layer in checkpoint.layers))
    convert(InMemory(rounded), folder, "hf", force=True)
    assert json.loads((folder / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_refuses(tmp_path):
    with pytest.raises(CheckpointError, match="output.weight: .* --format hf or setun"):
        converted(random_checkpoint(tied=False, activation="silu"), tmp_path, "gguf-i2s")
    with pytest.raises(CheckpointError, match="feed_forward|ffn|mlp.*98 rows are no multiple of 4"):
        converted(random_checkpoint(inner=98), tmp_path, "hf")
    with pytest.raises(CheckpointError, match="weights are no multiple of 128"):
        converted(random_checkpoint(hidden=36, inner=20, heads=6, kv_heads=3), tmp_path, "gguf-i2s")
    assert not list(tmp_path.iterdir())
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "other.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="other.txt: the folder holds other files"):
        converted(random_checkpoint(), tmp_path, "hf")


def test_refuses_itself(tmp_path):
    path = converted(random_checkpoint(), tmp_path, "setun")
    with open_checkpoint(path) as model, pytest.raises(CheckpointError, match="is the model itself"):
        convert(model, path, "setun")


def test_interrupted(tmp_path):
    """What fails half-way leaves the file as it was."""
    path = converted(random_checkpoint(), tmp_path, "setun")
    before = path.read_bytes()

    def interrupt(description, done, total):
        if done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(InMemory(random_checkpoint(1)), path, "setun", interrupt, force=True)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ends", [(), (7,), (7, 299), (7, 299, 0)])
def test_ends(tmp_path, ends):
    """The tokens that end a text go from format to format."""
    model = InMemory(random_checkpoint(), ends=ends)
    for form in (*FORMATS, "hf"):
        convert(model, tmp_path / f"as-{form}", form, force=True)
        model = open_checkpoint(tmp_path / f"as-{form}")
        assert model.ends == ends
    assert AutoConfig.from_pretrained(tmp_path / "as-hf").eos_token_id == {0: None, 1: 7}.get(len(ends), list(ends))


def test_too_many_ends(tmp_path):
    with pytest.raises(CheckpointError, match="eos_token_id: 4 tokens end a text, and there is a place for 3"):
        convert(InMemory(random_checkpoint(), ends=(1, 2, 3, 4)), tmp_path / "model.gguf", "gguf-i2s")
