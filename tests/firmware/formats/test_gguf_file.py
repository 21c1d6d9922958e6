"""GGUF as the package ``gguf`` writes it, and damaged."""

import struct

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from setun.formats.checkpoint import CheckpointError, load, open_checkpoint
from setun.formats.convert import convert
from setun.formats.gguf_file import gguf_name
from setun.formats.model_file import MATRICES
from setun.formats.safetensors_file import hf_name
from setun.golden.rotary import Rope
from tests.support.checkpoints import InMemory, assert_same, float_values, random_checkpoint


def scaled(checkpoint):
    """The checkpoint with scales that float16 holds."""
    return checkpoint._replace(layers=tuple(
        layer._replace(**{name: value._replace(scale=float(np.float16(value.scale)))
                          for name, value in layer._asdict().items() if isinstance(value, tuple)})
        for layer in checkpoint.layers))


def write_tq(path, checkpoint, kind, spoil=lambda name, data: data, fields={}, family="bitnet", tables=None,
             kv_heads=None):
    """A file of the package's writer and quantisers; ``fields`` are more of its metadata, or other values of it.

    ``tables`` is the type of embedding and head where they are no float32, or a type and the bytes of its rows.
    """
    writer = gguf.GGUFWriter(path, family)
    writer.add_context_length(checkpoint.context)
    writer.add_embedding_length(checkpoint.hidden)
    writer.add_feed_forward_length(checkpoint.inner)
    writer.add_block_count(len(checkpoint.layers))
    writer.add_head_count(checkpoint.heads)
    writer.add_head_count_kv(kv_heads or checkpoint.kv_heads)
    writer.add_layer_norm_rms_eps(checkpoint.eps)
    writer.add_rope_freq_base(checkpoint.rope.theta)
    for key, value in fields.items():
        {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32,
         list: writer.add_array}[type(value)](key, value)
    for layer, name, _ in InMemory(checkpoint).architecture.parts():
        full = gguf_name(layer, name)
        value = getattr(checkpoint if layer is None else checkpoint.layers[layer], name)
        if isinstance(value, tuple):
            data = gguf.quants.quantize(value.codes.astype(np.float32) * np.float32(value.scale), kind)
            writer.add_tensor(full, spoil(name, data), raw_dtype=kind)
        elif name in ("embedding", "head") and tables is not None:
            table, data = tables if isinstance(tables, tuple) else (tables, gguf.quants.quantize(value, tables))
            writer.add_tensor(full, data, raw_dtype=table)
        else:
            writer.add_tensor(full, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


KINDS = {"gguf-tq1": gguf.GGMLQuantizationType.TQ1_0, "gguf-tq2": gguf.GGMLQuantizationType.TQ2_0}


@pytest.fixture(scope="module")
def checkpoint():
    found = scaled(random_checkpoint(3, hidden=256, inner=512, vocab=50, activation="silu"))
    found.layers[0].k.codes[:3] = 0  # blocks of zeros have the scale 0
    return found


@pytest.mark.parametrize("form", KINDS)
def test_tq(tmp_path, checkpoint, form):
    path = tmp_path / "model.gguf"
    write_tq(path, checkpoint, KINDS[form])
    assert_same(load(path), checkpoint)
    with open_checkpoint(path) as model:
        assert model.format == form and model.tokenizer is None
        assert len({name for name, _, _ in model.tensors()}) == 24


def test_head_and_ends(tmp_path, checkpoint):
    """A head of its own, and the tokens that end a text, as llama.cpp names them."""
    path, head = tmp_path / "model.gguf", float_values(np.random.default_rng(1), "F32", 50, 256)
    write_tq(path, checkpoint._replace(head=head), KINDS["gguf-tq2"], fields={
        gguf.Keys.Tokenizer.EOS_ID: 49, gguf.Keys.Tokenizer.EOT_ID: 4, gguf.Keys.Tokenizer.EOM_ID: 50})
    assert_same(load(path), checkpoint._replace(head=head))
    assert open_checkpoint(path).ends == (49, 4)
    write_tq(path, checkpoint, KINDS["gguf-tq2"], fields={gguf.Keys.Tokenizer.EOS_ID: "49"})
    assert "tokenizer.ggml.eos_token_id: '49' is no token" in refused(path)


def spoiling(wanted, change):
    def spoil(name, data):
        if name == wanted:
            data = data.copy()
            change(data)
        return data
    return spoil


def set_scale(value):
    def change(data):
        data[0, -2:] = np.frombuffer(np.float16(value).tobytes(), np.uint8)
    return change


def set_byte(index, value):
    def change(data):
        data[0, index] = value
    return change


@pytest.mark.parametrize("form, change, words", [
    ("gguf-tq2", set_scale(0.5), ["blk.0.ffn_up.weight", "2 different scales"]),
    ("gguf-tq2", set_scale(0), ["scale 0 and weights"]),
    ("gguf-tq1", set_scale(np.nan), ["different scales"]),
    ("gguf-tq1", set_scale(np.inf), ["different scales"]),
    ("gguf-tq2", set_byte(5, 0xff), ["code 3"]),
    ("gguf-tq1", set_byte(5, 0x01), ["no trits"]),
    ("gguf-tq1", set_byte(49, 0x02), ["no trits"]),
])
def test_tq_defects(tmp_path, checkpoint, form, change, words):
    path = tmp_path / "model.gguf"
    write_tq(path, checkpoint, KINDS[form], spoiling("up", change))
    message = refused(path)
    assert all(word in message for word in words), message


def test_q4_0(tmp_path, checkpoint):
    """What llama-quantize falls back to where a row is no multiple of 256."""
    path = tmp_path / "model.gguf"
    write_tq(path, checkpoint, gguf.GGMLQuantizationType.Q4_0)
    assert "type 2 instead of I2_S or TQ1_0 or TQ2_0" in refused(path)


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and "; " in message
    return message


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    convert(InMemory(random_checkpoint(4, hidden=32, inner=64, vocab=20, layers=1)), path, "gguf-i2s")
    return path.read_bytes()


def text(name):
    return struct.pack("<Q", len(name)) + name.encode()


def after(data, name):
    return data.index(text(name)) + 8 + len(name)


@pytest.mark.parametrize("edit, words", [
    (lambda data: (4, b"\2\0\0\0"), ["version: 2"]),
    (lambda data: (8, b"\xff" * 8), ["tensors"]),
    (lambda data: (16, b"\xff" * 8), ["fields"]),
    (lambda data: (16, b"\xff\0\0\0"), ["metadata"]),
    (lambda data: (after(data, "general.architecture") + 4, b"\xff" * 8), ["metadata", "beyond the end"]),
    (lambda data: (after(data, "general.architecture"), b"\x63\0\0\0"), ["metadata", "type 99"]),
    (lambda data: (after(data, "general.architecture") + 12, b"llama+b1.580"[:12]), ["general.architecture", "llama"]),
    (lambda data: (after(data, "general.architecture") + 12, b"\xff\xff"), ["metadata", "UTF-8"]),
    (lambda data: (after(data, "general.alignment") + 4, b"\3"), ["general.alignment", "power of two"]),
    (lambda data: (after(data, "bitnet-b1.58.block_count") + 4, b"\2"), ["blk.1.attn_q.weight: missing"]),
    (lambda data: (after(data, "bitnet-b1.58.block_count") + 4, b"\xff" * 4), ["layers"]),
    (lambda data: (after(data, "bitnet-b1.58.embedding_length") + 4, b"\x40"), ["instead of [20, 64]"]),
    (lambda data: (after(data, "bitnet-b1.58.attention.head_count") + 4, b"\0"), ["heads"]),
    (lambda data: (after(data, "bitnet-b1.58.rope.dimension_count") + 4, b"\4"), ["dimension_count: 4 instead of 8"]),
    (lambda data: (after(data, "bitnet-b1.58.rope.freq_base") + 4, b"\0\0\xc0\x7f"), ["rope.freq_base", "'nan'"]),
    (lambda data: (data.index(b"blk.0.attn_k.weight"), b"blk.0.attn_q"), ["blk.0.attn_q.weight", "twice"]),
    (lambda data: (data.index(b"blk.0.attn_k.weight"), b"blk.9"), ["blk.0.attn_k.weight: missing"]),
    (lambda data: (after(data, "blk.0.attn_k.weight"), b"\5"), ["blk.0.attn_k.weight", "5 dimensions"]),
    (lambda data: (after(data, "blk.0.attn_k.weight") + 4, b"\xff" * 8), ["blk.0.attn_k.weight", "shape"]),
    (lambda data: (after(data, "blk.0.attn_k.weight") + 20, b"\x27"), ["blk.0.attn_k.weight", "type 39"]),
    (lambda data: (after(data, "output_norm.weight") + 12, b"\x24"), ["output_norm.weight", "type 36"]),
    (lambda data: (after(data, "blk.0.attn_k.weight") + 24, b"\1"), ["blk.0.attn_k.weight", "offset"]),
    (lambda data: (after(data, "blk.0.attn_k.weight") + 24, bytes(8)), ["overlap"]),
    (lambda data: (after(data, "blk.0.attn_k.weight") + 24, b"\0" * 5 + b"\1"), ["attn_k.weight", "beyond the end"]),
    (lambda data: (len(data) - 4, b"\0\0\xc0\x7f"), ["holds NaN"]),
])
def test_defects(tmp_path, sound, edit, words):
    path, damaged = tmp_path / "model.gguf", bytearray(sound)
    at, value = edit(sound)
    damaged[at:at + len(value)] = value
    path.write_bytes(damaged)
    message = refused(path)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_i2_s_scale(tmp_path, sound, scale):
    path, damaged = tmp_path / "model.gguf", bytearray(sound)
    at = sound.index(bytes(28)[:28], len(sound) // 2) - 4  # padding behind the scale of some matrix
    damaged[at:at + 4] = struct.pack("<f", scale)
    path.write_bytes(damaged)
    assert "scale" in refused(path)


def test_truncated_and_flipped(tmp_path, sound):
    path, rng = tmp_path / "model.gguf", np.random.default_rng(0)
    for size in range(0, len(sound), 97):
        path.write_bytes(sound[:size])
        refused(path)
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[rng.integers(2000)] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            load(path)
        except CheckpointError:
            pass


@pytest.mark.parametrize("name, shown", [
    ("a\n\x1b[2J", "a\\n\\x1b[2J: 9 dimensions"), ("x" * 9_000, "x" * 300 + ": 9 dimensions")])
def test_names_of_any_kind(tmp_path, sound, name, shown):
    """What a file calls its tensors does not reach the terminal as it is."""
    path, at = tmp_path / "model.gguf", sound.index(text("token_embd.weight"))
    path.write_bytes(sound[:at] + text(name) + struct.pack("<I", 9) + sound[at:])
    assert f"{path}: {shown}" in refused(path)


def neighbours(name, rows):
    """Rows of q and k of 4 and 2 heads as llama.cpp's converter orders them: j and j + D / 2 side by side."""
    if name not in ("q", "k"):
        return rows
    heads = {"q": 4, "k": 2}[name]
    half = len(rows) // heads // 2
    return rows[[2 * half * head + half * side + pair
                 for head in range(heads) for pair in range(half) for side in (0, 1)]]


LLAMA = {"hidden": 256, "inner": 512, "vocab": 50, "activation": "silu", "sub_norms": False}


@pytest.mark.parametrize("kind, form", [("F32", "gguf-float"), ("TQ2_0", "gguf-tq2")])
@pytest.mark.parametrize("tied", [False, True])
def test_llama_of_transformers(tmp_path, kind, form, tied):
    """Weights of a file of architecture llama are those that transformers takes from it."""
    checkpoint = scaled(random_checkpoint(6, tied=tied, **LLAMA))
    write_tq(tmp_path / "model.gguf", checkpoint, gguf.GGMLQuantizationType[kind], neighbours, family="llama",
             fields={"llama.vocab_size": 50, "llama.rope.dimension_count": 64})
    with open_checkpoint(tmp_path / "model.gguf") as opened:
        assert opened.format == form
        found = opened.checkpoint()
    assert_same(found, checkpoint)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32)
    for index, layer in enumerate(found.layers):
        for name in MATRICES:
            weight = model.get_parameter(hf_name(index, name)).detach().numpy()
            assert (weight == layer._asdict()[name].codes * np.float32(layer._asdict()[name].scale)).all(), name
    assert (model.lm_head.weight.detach().numpy() == (found.embedding if tied else found.head)).all()


@pytest.mark.parametrize("rope", [Rope(1e4), Rope(5e5, 4.0), Rope(5e5, 8.0, (1.0, 4.0, 8192)),
                                  Rope(5e5, 32.0, (1.0, 4.0, 2048))])
@pytest.mark.parametrize("changes", [{}, {"head_dim": 96, "tied": False}])
def test_llama_is_written(tmp_path, rope, changes):
    checkpoint = random_checkpoint(7, rope=rope, **LLAMA, **changes)
    convert(InMemory(checkpoint), tmp_path / "model.gguf", "gguf-i2s")
    assert_same(load(tmp_path / "model.gguf"), checkpoint)


def test_rope_that_would_be_lost(tmp_path):
    checkpoint = random_checkpoint(7, rope=Rope(5e5, 8.0, (2.0, 4.0, 8192)), **LLAMA)
    with pytest.raises(CheckpointError, match=r"low and high of the rotary embedding, \(2.0, 4.0\), would be lost"):
        convert(InMemory(checkpoint), tmp_path / "model.gguf", "gguf-i2s")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fields, found", [
    ({"bitnet.rope.scaling.type": "linear", "bitnet.rope.scaling.factor": 1.0}, Rope(1e4)),
    ({"bitnet.rope.scaling.type": "yarn", "bitnet.rope.scaling.factor": 1.0}, Rope(1e4)),
    ({"bitnet.rope.scaling.type": "none", "bitnet.rope.scaling.factor": 8.0}, Rope(1e4)),
    ({"bitnet.rope.scaling.type": "linear", "bitnet.rope.scaling.factor": 2.0}, Rope(1e4, 2.0)),
    ({"bitnet.rope.scaling.factor": 2.0}, Rope(1e4, 2.0)),
    ({"bitnet.rope.scale_linear": 2.0}, Rope(1e4, 2.0)),
    ({"bitnet.rope.scaling.type": "yarn", "bitnet.rope.scaling.factor": 2.0}, "2.0 with scaling of type 'yarn'"),
    ({"bitnet.rope.scaling.type": "longrope"}, "'longrope'"),
])
def test_rope_scaling(tmp_path, checkpoint, fields, found):
    """Factor 1 of any type is plain (BitNet#102, llama.cpp#8151); linear is computed; all else is refused."""
    path = tmp_path / "model.gguf"
    write_tq(path, checkpoint, KINDS["gguf-tq2"], fields=fields)
    if isinstance(found, str):
        assert found in refused(path)
    else:
        assert load(path).rope == found


@pytest.mark.parametrize("tables", ["Q8_0", "Q5_0", "Q4_0"])
def test_quantised_tables(tmp_path, checkpoint, tables):
    """What llama-quantize makes of the embedding: its blocks as the package reads them."""
    path, kind = tmp_path / "model.gguf", gguf.GGMLQuantizationType[tables]
    write_tq(path, checkpoint, KINDS["gguf-tq2"], tables=kind)
    values = gguf.quants.dequantize(gguf.quants.quantize(checkpoint.embedding, kind), kind)
    assert_same(load(path), checkpoint._replace(embedding=values))
    with open_checkpoint(path) as model:
        assert (model.rows("embedding", 3, 9) == values[3:9]).all()


def test_floats_that_are_not_ternary(tmp_path, checkpoint):
    def spoil(name, data):
        if name == "up":
            data[3, 5] *= 1.5
        return data

    write_tq(tmp_path / "model.gguf", checkpoint, gguf.GGMLQuantizationType.F32, spoil)
    assert "ffn_up.weight: floats that are not ternary times one scale" in refused(tmp_path / "model.gguf")


@pytest.mark.parametrize("form", KINDS)
def test_all_zero(tmp_path, form):
    """A matrix of zeros has blocks of the scale 0."""
    checkpoint = scaled(random_checkpoint(8, hidden=256, inner=512, vocab=50, activation="silu"))
    checkpoint.layers[0].gate.codes[:] = 0
    path = tmp_path / "model.gguf"
    write_tq(path, checkpoint, KINDS[form])
    gate = load(path).layers[0].gate
    assert not gate.codes.any() and gate.scale == 1
