"""What is written is what transformers loads, and what this reads again."""

import json
import struct

import numpy as np
import pytest
import torch

from checkpoints import InMemory, assert_same, random_checkpoint, transformers_logits
from firmware.checkpoint import CheckpointError, load, open_checkpoint
from firmware.cli import DEMO
from firmware.convert import FORMATS, convert
from firmware.measure import measure_logits
from golden.closeness import closeness
from golden.matvec import matvec
from golden.reference import float_linear, forward


CASES = {
    "relu2": {},
    "silu": {"activation": "silu", "seed": 5},
    "untied": {"tied": False, "seed": 6},
    "float16": {"kind": "F16", "seed": 7},
    "float32": {"kind": "F32", "hidden": 128, "inner": 320, "seed": 8},
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
    if form == "gguf-i2s" and checkpoint.head is not None:
        pytest.skip("GGUF has no head of its own")
    path = converted(checkpoint, tmp_path, form)
    assert_same(load(path), checkpoint)
    for other in FORMATS if checkpoint.head is None else ("hf", "setun"):
        again = tmp_path / f"again-{other}{'.gguf' if other == 'gguf-i2s' else ''}"
        with open_checkpoint(path) as model:
            convert(model, again, other)
        assert_same(load(again), checkpoint)


@pytest.mark.parametrize("case", CASES)
def test_transformers_loads(tmp_path, case):
    checkpoint = random_checkpoint(**CASES[case])
    folder = converted(checkpoint, tmp_path, "hf")
    tokens = np.random.default_rng(9).integers(0, checkpoint.vocab, (4, 32))
    logits, model = transformers_logits(folder, tokens)
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


def test_teacher_forced(tmp_path):
    """For the inputs of transformers' own matrices, int8 activations and int32 accumulators are equal."""
    checkpoint, seen = random_checkpoint(kind="F32", hidden=128, inner=320, seed=8), []
    folder = converted(checkpoint, tmp_path, "hf")
    tokens = np.random.default_rng(9).integers(0, checkpoint.vocab, (2, 32))
    _, model = transformers_logits(folder, tokens)
    names = {module: (index, name) for index, block in enumerate(model.model.layers) for name, module in {
        "q": block.self_attn.q_proj, "k": block.self_attn.k_proj, "v": block.self_attn.v_proj,
        "o": block.self_attn.o_proj, "gate": block.mlp.gate_proj, "up": block.mlp.up_proj,
        "down": block.mlp.down_proj}.items()}
    for module in names:
        module.register_forward_hook(lambda module, given, result: seen.append(
            (names[module], given[0].numpy(), result.numpy())))
    with torch.no_grad():
        model(torch.tensor(tokens))
    assert len(seen) == 14
    for (index, name), x, y in seen:
        ternary = getattr(checkpoint.layers[index], name)
        scale = np.float32(127) / np.maximum(np.abs(x).max(-1, keepdims=True), np.float32(1e-5))
        accumulators = matvec(ternary.codes, np.clip(np.rint(x * scale), -128, 127).astype(np.int8))
        exact = y.astype(np.float64) * scale / ternary.scale
        assert np.abs(exact - accumulators).max() < 0.01
        assert np.abs(float_linear(x, ternary) - y).max() <= 1e-6 * np.abs(y).max()


def test_demo_agrees(tmp_path):
    """The trained demo: float32 within 1e-5 of transformers in the median, integers within 5e-4 nats."""
    with open_checkpoint(DEMO) as model:
        convert(model, tmp_path / "demo.setun", "setun")
    with open_checkpoint(tmp_path / "demo.setun") as model:
        convert(model, tmp_path / "hf", "hf")
    text = np.frombuffer((DEMO / "held_out.txt").read_bytes(), np.uint8).astype(np.int64)
    tokens, targets = text[:384].reshape(8, 48), text[1:385].reshape(8, 48)
    logits, _ = transformers_logits(tmp_path / "hf", tokens)
    checkpoint = load(tmp_path / "demo.setun")
    ours = {numerics: measure_logits(checkpoint, tokens, numerics) for numerics in ("float", "integer")}
    assert np.median(np.abs(ours["float"] - logits) / np.abs(logits)) < 1e-5
    result = closeness(ours["integer"], logits, targets)
    assert result.divergence < 5e-4 and result.agreement > 0.98 and abs(result.loss - result.reference_loss) < 0.005


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
    config = json.loads((converted(rounded, tmp_path, "hf") / "config.json").read_text())
    assert config["torch_dtype"] == "bfloat16"


def test_refuses(tmp_path):
    with pytest.raises(CheckpointError, match="output.weight: .* --format hf or setun"):
        converted(random_checkpoint(tied=False), tmp_path, "gguf-i2s")
    with pytest.raises(CheckpointError, match="feed_forward|ffn|mlp.*98 rows are no multiple of 4"):
        converted(random_checkpoint(inner=98), tmp_path, "hf")
    with pytest.raises(CheckpointError, match="weights are no multiple of 128"):
        converted(random_checkpoint(hidden=36, inner=20, heads=6, kv_heads=3), tmp_path, "gguf-i2s")
    assert not list(tmp_path.glob("*.gguf*")) and not list(tmp_path.glob("hf/*"))
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
        convert(InMemory(random_checkpoint(1)), path, "setun", interrupt)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == [path.name]
