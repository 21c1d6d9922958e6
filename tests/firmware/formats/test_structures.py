"""Both structures of models, and what of public files is not quite as its format says: it opens, or is refused."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from setun.formats.checkpoint import CheckpointError, load, open_checkpoint
from setun.formats.convert import convert
from setun.formats.gguf_layout import read_part  # split() cuts a file where its tensors begin
from setun.formats.tokenizer import tokenizer_of
from setun.golden.calibration import calibrate
from setun.golden.rotary import Rope
from tests.firmware.cli.test_main import invoke
from tests.firmware.formats.test_gguf_file import KINDS, LLAMA, refused, scaled, write_tq
from tests.support.checkpoints import InMemory, assert_same, random_checkpoint


FILE = "model.safetensors"


@pytest.fixture
def folder(tmp_path):
    """A packed folder of random_checkpoint(kind="F32")."""
    convert(InMemory(random_checkpoint(kind="F32")), tmp_path / "model", "hf")
    return tmp_path / "model"


def edit(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def put(folder, tensors):
    save_file(load_file(folder / FILE) | {name: torch.from_numpy(np.asarray(value)) for name, value in tensors.items()},
              folder / FILE)


@pytest.mark.parametrize("fields, rope", [
    ({"rope_scaling": {"type": "linear", "factor": 1.0}}, Rope(1e4)),
    ({"rope_scaling": {"rope_type": "yarn", "factor": 1}}, Rope(1e4)),
    ({"rope_scaling": {"type": "linear", "factor": 4}}, Rope(1e4, 4.0)),
    ({"rope_scaling": {"rope_type": "linear", "factor": 4}}, Rope(1e4, 4.0)),
    ({"rope_parameters": {"rope_type": "linear", "factor": 4, "rope_theta": 5e5}}, Rope(5e5, 4.0)),
    ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_theta": None}, Rope(5e5)),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                       "original_max_position_embeddings": 8192}}, Rope(1e4, 8.0, (1.0, 4.0, 8192))),
])
def test_rope_scaling(folder, fields, rope):
    edit(folder, **fields)
    assert load(folder).rope == rope


@pytest.mark.parametrize("fields, words", [
    ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling.rope_type: 'dynamic' with factor 2.0"),
    ({"rope_scaling": {"type": "longrope", "factor": 1.0}}, "rope_scaling.rope_type: 'longrope' with factor 1.0"),
    ({"rope_scaling": {"factor": 2.0}}, "rope_scaling.rope_type: 'default' with factor 2.0"),
    ({"rope_scaling": {"type": "linear"}}, "rope_scaling.factor: 'None' is no positive number"),
    ({"rope_scaling": {"type": "linear", "factor": -1}}, "rope_scaling.factor: '-1' is no positive number"),
    ({"rope_scaling": {"type": "linear", "factor": 2, "partial_rotary_factor": .5}}, "partial_rotary_factor: 0.5"),
    ({"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"rope_theta": 1e4}}, "differs from"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor: 'None' is no positive number"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4, "high_freq_factor": 4,
                       "original_max_position_embeddings": 8192}}, "do not go together"),
    ({"rope_scaling": [1]}, "rope_scaling: not an object"),
    ({"head_dim": 15}, "head_dim: 15 is odd"),
    ({"num_attention_heads": 7, "num_key_value_heads": 7, "head_dim": None}, "7 does not divide hidden_size 64"),
])
def test_refused(folder, fields, words):
    edit(folder, **fields)
    with pytest.raises(CheckpointError) as error:
        load(folder)
    assert words in str(error.value) and str(error.value).count("; ") >= 1


def test_buffers(folder):
    """Positions and masks that trainers save are no weights."""
    put(folder, {"model.embed_positions": np.arange(8), "model.mask": np.zeros(4, bool),
                 "model.rotary_emb.inv_freq": np.ones(8, np.float32)})
    assert_same(load(folder), random_checkpoint(kind="F32"))


def test_head_beside_a_tied_embedding(folder):
    """vllm#6758, mlx-lm#1298: a head equal to the tied embedding loads; one that differs is refused by its name."""
    embedding = random_checkpoint(kind="F32").embedding
    put(folder, {"lm_head.weight": embedding})
    assert_same(load(folder), random_checkpoint(kind="F32"))
    embedding[7, 3] += 1
    put(folder, {"lm_head.weight": embedding})
    with pytest.raises(CheckpointError, match="lm_head.weight: differs from the embedding"):
        open_checkpoint(folder)


@pytest.mark.parametrize("scale", [0, 1e-5])
@pytest.mark.parametrize("inverse", [False, True])
def test_zeros(folder, scale, inverse):
    """A matrix of zeros may have the scale 0."""
    name = "model.layers.0.mlp.up_proj.weight"
    put(folder, {name: np.full(load_file(folder / FILE)[name].shape, 0b01010101, np.uint8),
                 name + "_scale": np.array([scale], np.float32)})
    if inverse:
        edit(folder, quantization_config={"quant_method": "bitnet"})
    up = load(folder).layers[0].up
    assert not up.codes.any() and up.scale > 0


@pytest.mark.parametrize("file", [FILE, "config.json"])
def test_pointer_of_git_lfs(folder, file):
    """OmniParser#34: what a clone without git-lfs leaves is named."""
    (folder / file).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1178623988\n")
    with pytest.raises(CheckpointError, match=f"{file}: file: a pointer of git-lfs, and not the file itself; fetch it"):
        open_checkpoint(folder)


def test_gguf_that_is_a_pointer(tmp_path):
    (tmp_path / "model.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "a pointer of git-lfs" in refused(tmp_path / "model.gguf")


@pytest.fixture(scope="module")
def whole():
    return scaled(random_checkpoint(3, hidden=256, inner=512, vocab=50, activation="silu"))


def parts(folder, checkpoint):
    """A GGUF in two parts, of which the second has the layers."""
    names = [f"model-0000{part}-of-00002.gguf" for part in (1, 2)]
    write_tq(folder / "whole.gguf", checkpoint, KINDS["gguf-tq2"])
    data = (folder / "whole.gguf").read_bytes()
    (folder / "whole.gguf").unlink()
    for index, name in enumerate(names):
        (folder / name).write_bytes(split(data, index))
    return [folder / name for name in names]


def split(data, index):
    """Part of a GGUF: its tensors with an even place, or those with an odd one."""
    fields, infos = read_part("whole", np.frombuffer(data, np.uint8))
    kept = {name: info for place, (name, info) in enumerate(infos.items()) if place % 2 == index}
    head = data[24:data.index(struct.pack("<Q", 17) + b"token_embd.weight")]
    count = struct.unpack_from("<Q", data, 16)[0]
    for key, value in (("split.no", index), ("split.count", 2)):
        head += struct.pack("<Q", len(key)) + key.encode() + struct.pack("<II", 4, value)
    infos, body = b"", b""
    for name, info in kept.items():
        infos += struct.pack("<Q", len(name)) + name.encode() + struct.pack(
            f"<I{len(info.shape)}QIQ", len(info.shape), *reversed(info.shape), info.kind, len(body))
        body += info.bytes.tobytes()
        body += bytes(-len(body) % 32)
    text = struct.pack("<4sIQQ", b"GGUF", 3, len(kept), count + 2) + head + infos
    return text + bytes(-len(text) % 32) + body


def test_split(tmp_path, whole):
    """transformers#32266: any part stands for all of them."""
    for path in parts(tmp_path, whole):
        assert_same(load(path), whole)


def test_split_defects(tmp_path, whole):
    first, second = parts(tmp_path, whole)
    sound = second.read_bytes()
    second.unlink()
    assert "2 parts, and model-00002-of-00002.gguf is missing" in refused(first)
    second.write_bytes(first.read_bytes())
    with pytest.raises(CheckpointError, match="00002-of-00002.gguf: split.no: 0 of 2 in part 2; download all parts"):
        open_checkpoint(first)
    for content, words in ((b"", "4 bytes at 0 are beyond the end"), (b"GGML" + sound[4:], "b'GGML' is not that of"),
                           (b"version https://git-lfs.github.com/spec/v1", "pointer of git-lfs")):
        second.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"00002-of-00002.gguf: .*{words}"):
            open_checkpoint(first)
    second.write_bytes(sound)
    renamed = first.rename(tmp_path / "model.gguf")
    assert "the name says nothing of parts" in refused(renamed)


def test_activation_is_chosen(tmp_path, whole):
    """BitNet#588: architecture bitnet may be of either activation."""
    path = tmp_path / "model.gguf"
    write_tq(path, whole, KINDS["gguf-tq2"])
    with open_checkpoint(path) as model:
        assert model.taken == ["activation silu, as architecture 'bitnet' says"]
    with open_checkpoint(path, "relu2") as model:
        assert model.architecture.activation == "relu2" and model.taken == ["activation relu2, as asked"]
    result = invoke("inspect", path, "--activation", "relu2")
    assert result.exit_code == 0 and "activation relu2, as asked" in result.output


def test_packing_is_chosen(tmp_path):
    """BitNet#585: on ARM a byte holds weights that are 16 apart, not 32."""
    checkpoint, path = random_checkpoint(), tmp_path / "model.gguf"
    convert(InMemory(checkpoint), path, "gguf-i2s")
    codes = checkpoint.layers[0].q.codes
    fields = (codes.reshape(-1, 4, 16) + 1).astype(np.uint8)
    packed = (fields[:, 0] << 6 | fields[:, 1] << 4 | fields[:, 2] << 2 | fields[:, 3]).tobytes()
    fields = (codes.reshape(-1, 4, 32) + 1).astype(np.uint8)
    data = path.read_bytes()
    at = data.index((fields[:, 0] << 6 | fields[:, 1] << 4 | fields[:, 2] << 2 | fields[:, 3]).tobytes())
    path.write_bytes(data[:at] + packed + data[at + len(packed):])
    assert (load(path, i2s_packing="arm").layers[0].q.codes == codes).all()
    assert (load(path).layers[0].q.codes != codes).any()
    result = invoke("inspect", path)
    assert "I2_S as packed on x86, for the file does not tell" in " ".join(result.output.split())


def test_what_is_told_is_not_asked(folder):
    for option, value in (("--activation", "relu2"), ("--i2s-packing", "arm")):
        result = invoke("inspect", folder, option, value)
        assert result.exit_code == 2 and f"only a GGUF leaves it open; leave out {option}" in result.output


def test_fields_that_may_lack(tmp_path, whole):
    """Base and kv heads have defaults, and kv heads may be told of each layer."""
    path = tmp_path / "model.gguf"
    write_tq(path, whole, KINDS["gguf-tq2"])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"rope.freq_base", b"rope.freq_bass"))
    assert load(path).rope == Rope(1e4)
    path.write_bytes(data.replace(b"head_count_kv", b"head_count_kw"))
    assert "attn_k.weight: shape [128, 256] instead of [256, 256]" in refused(path)  # as many as heads
    write_tq(path, whole, KINDS["gguf-tq2"], kv_heads=[2, 2])
    assert_same(load(path), whole)
    write_tq(path, whole, KINDS["gguf-tq2"], kv_heads=[2, 4])
    assert "head_count_kv: [2, 4]" in refused(path)


@pytest.mark.parametrize("size", [0, 1 << 20, "64"])
def test_size_of_a_head(tmp_path, whole, size):
    write_tq(tmp_path / "model.gguf", whole, KINDS["gguf-tq2"], fields={"bitnet.attention.key_length": size})
    assert f"key_length: {size!r} is no size of a head" in refused(tmp_path / "model.gguf")


def test_groups_are_named(tmp_path, folder):
    """llama.cpp#22256: what is not supported is said of scales of groups, and of norms of queries and keys."""
    write_tq(tmp_path / "model.gguf", scaled(random_checkpoint(6, **LLAMA)), KINDS["gguf-tq2"], family="qwen3")
    edit(folder, model_type="qwen3")
    for path in (tmp_path / "model.gguf", folder):
        with pytest.raises(CheckpointError, match="scales of groups of weights, and norms of queries and"):
            open_checkpoint(path)


@pytest.mark.parametrize("form", ["hf", "setun"])
def test_inspect_refuses_what_is_no_number(tmp_path, form):
    checkpoint = random_checkpoint()
    checkpoint = checkpoint._replace(formats=calibrate(checkpoint))
    checkpoint.layers[1].attention_norm[3] = np.nan
    convert(InMemory(checkpoint), tmp_path / "model", form)
    result = invoke("inspect", tmp_path / "model")
    assert result.exit_code == 2 and "holds NaN or infinity" in result.output


@pytest.mark.parametrize("forms", [("hf", "gguf-i2s", "setun"), ("gguf-i2s", "setun", "hf"),
                                   ("setun", "hf", "gguf-i2s")])
def test_conversions_keep_what_belongs_to_a_text(tmp_path, forms):
    """Tokens that end it, the template of a conversation, the tokenizer: from one format to the next and the next."""
    template = "{% for message in messages %}{{ message.content }}é{% endfor %}"
    model = InMemory(random_checkpoint(vocab=512), json.dumps(tokenizer_json()).encode(), (258, 257))
    model.chat_template = template
    for index, form in enumerate(forms):
        path = tmp_path / f"{index}{'.gguf' if form == 'gguf-i2s' else ''}"
        convert(model, path, form)
        model = open_checkpoint(path)
        assert (model.ends, model.chat_template) == ((258, 257), template)
        assert tokenizer_of(model).encode("he<|end|>") == [256, *b"he", 257]


def tokenizer_json():
    """Byte-level BPE without merges: 256 is put before each text, 257 and 258 end one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = gguf_names()
    tokenizer.model = models.BPE({name: index for index, name in enumerate(alphabet)}, [])
    tokenizer.add_special_tokens(["<|start|>", "<|end|>", "<|eot_id|>"])
    tokenizer.post_processor = processors.TemplateProcessing("<|start|> $A", special_tokens=[("<|start|>", 256)])
    return json.loads(tokenizer.to_str())


def gguf_names():
    """GPT-2's characters for the 256 bytes, in the order of the bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte if byte in shown else 256 + hidden.index(byte)) for byte in range(256)]


def test_turns_end_by_name(tmp_path):
    """As chats use them: where no field says what ends a turn, a token's name does."""
    path = tmp_path / "model.gguf"
    model = InMemory(random_checkpoint(vocab=512), json.dumps(tokenizer_json()).encode(), (257,))
    convert(model, path, "gguf-i2s")
    assert open_checkpoint(path).ends == (257,)  # both fields are there
    path.write_bytes(path.read_bytes().replace(b"ggml.eot_token_id", b"ggml.eox_token_id"))
    assert open_checkpoint(path).ends == (257, 258)


def test_more_ends_than_gguf_has_places_for(tmp_path):
    model = InMemory(random_checkpoint(vocab=512), None, (1, 2, 3, 4))
    with pytest.raises(CheckpointError, match="4 tokens end a text, and there is a place for 3"):
        convert(model, tmp_path / "model.gguf", "gguf-i2s")


def test_vocabulary_without_a_tokenizer(tmp_path):
    """llama.cpp#9673: no bytes are invented for it; all that needs no text goes on."""
    convert(InMemory(random_checkpoint(vocab=32000)), tmp_path / "model", "hf")
    result = invoke("run", tmp_path / "model")
    assert result.exit_code == 2
    assert "tokenizer: none for a vocabulary of 32000; put the tokenizer.json" in result.output
    assert invoke("inspect", tmp_path / "model").exit_code == 0
    assert_same(load(tmp_path / "model"), random_checkpoint(vocab=32000))


def test_large_vocabulary(tmp_path):
    """Of 262,144 tokens with their scores, types and merges, in a GGUF."""
    checkpoint = scaled(random_checkpoint(hidden=256, inner=256, vocab=1 << 18, layers=1, activation="silu"))
    tokens = [f"t{index}" for index in range(checkpoint.vocab)]
    write_tq(tmp_path / "model.gguf", checkpoint, KINDS["gguf-tq2"], fields={
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.scores": [0.0] * len(tokens),
        "tokenizer.ggml.token_type": [1] * len(tokens), "tokenizer.ggml.merges": tokens + tokens})
    with open_checkpoint(tmp_path / "model.gguf") as model:
        assert model.architecture.vocab == 1 << 18 and len(model.tokenizer["tokenizer.ggml.merges"]) == 1 << 19
