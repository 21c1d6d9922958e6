"""GGUF as the package ``gguf`` writes it, and damaged."""

import struct

import gguf
import numpy as np
import pytest

from setun.formats.checkpoint import CheckpointError, load, open_checkpoint
from setun.formats.convert import convert
from setun.formats.gguf_file import gguf_name
from tests.support.checkpoints import InMemory, assert_same, float_values, random_checkpoint


def scaled(checkpoint):
    """The checkpoint with scales that float16 holds."""
    return checkpoint._replace(layers=tuple(
        layer._replace(**{name: value._replace(scale=float(np.float16(value.scale)))
                          for name, value in layer._asdict().items() if isinstance(value, tuple)})
        for layer in checkpoint.layers))


def write_tq(path, checkpoint, kind, spoil=lambda name, data: data, fields={}):
    """A file of the package's writer and quantisers; ``fields`` are more of its metadata."""
    writer = gguf.GGUFWriter(path, "bitnet")
    writer.add_context_length(checkpoint.context)
    writer.add_embedding_length(checkpoint.hidden)
    writer.add_feed_forward_length(checkpoint.inner)
    writer.add_block_count(len(checkpoint.layers))
    writer.add_head_count(checkpoint.heads)
    writer.add_head_count_kv(checkpoint.kv_heads)
    writer.add_layer_norm_rms_eps(checkpoint.eps)
    writer.add_rope_freq_base(checkpoint.rope_theta)
    for key, value in fields.items():
        {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, list: writer.add_array}[type(value)](
            key, value)
    for layer, name, _ in InMemory(checkpoint).architecture.parts():
        full = gguf_name(layer, name)
        value = getattr(checkpoint if layer is None else checkpoint.layers[layer], name)
        if isinstance(value, tuple):
            data = gguf.quants.quantize(value.codes.astype(np.float32) * np.float32(value.scale), kind)
            writer.add_tensor(full, spoil(name, data), raw_dtype=kind)
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
    (lambda data: (after(data, "bitnet-b1.58.embedding_length") + 4, b"\x40"), ["dimension_count: 8 instead of 16"]),
    (lambda data: (after(data, "bitnet-b1.58.attention.head_count") + 4, b"\0"), ["heads"]),
    (lambda data: (after(data, "bitnet-b1.58.rope.dimension_count") + 4, b"\4"), ["dimension_count: 4 instead of 8"]),
    (lambda data: (after(data, "bitnet-b1.58.rope.freq_base") + 4, b"\0\0\xc0\x7f"), ["rope_theta"]),
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
