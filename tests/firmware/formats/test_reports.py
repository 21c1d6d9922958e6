"""Public reports of people who run and convert BitNet checkpoints, by their names: each file opens, or is refused.

What other tests hold already is named there, and listed in ELSEWHERE. The files have the structure that was reported,
with random weights; where they open, values are those that were written, and where transformers reads such a file, its
logits are the same.
"""

import json

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BitNetConfig

from setun.analysis.inspection import inspect
from setun.analysis.measure import measure_logits
from setun.formats.checkpoint import CheckpointError, load, open_checkpoint
from setun.formats.convert import convert
from setun.formats.tokenizer import tokenizer_of
from setun.golden.model import Ternary
from setun.golden.rotary import Rope
from tests.firmware.analysis import test_models
from tests.firmware.cli.test_main import invoke
from tests.firmware.formats import (
    test_convert,
    test_evidence,
    test_gguf_file,
    test_safetensors_file,
    test_structures,
    test_tokenizer,
)
from tests.firmware.formats.test_gguf_file import KINDS, scaled, write_tq
from tests.firmware.formats.test_structures import tokenizer_json
from tests.firmware.formats.test_tokenizer import Found, sentence_piece
from tests.hdl.build import test_toolchain
from tests.support.checkpoints import InMemory, assert_same, load_in_transformers, random_checkpoint, random_model


ELSEWHERE = {
    "BitNet#102": test_gguf_file.test_rope_scaling,
    "llama.cpp#8151": test_gguf_file.test_rope_scaling,
    "BitNet#588": test_structures.test_activation_is_chosen,
    "BitNet#585": test_structures.test_packing_is_chosen,
    "BitNet#551": test_evidence.test_packing,
    "BitNet#621": test_safetensors_file.test_llama,
    "mlx-lm#268": test_safetensors_file.test_llama,
    "vllm#18213": test_safetensors_file.test_llama,
    "vllm#6758": test_structures.test_head_beside_a_tied_embedding,
    "mlx-lm#1298": test_structures.test_head_beside_a_tied_embedding,
    "vllm-fit#2": test_models.test_hugging_face,
    "llama.cpp#9673": test_structures.test_vocabulary_without_a_tokenizer,
    "llama.cpp#22256": test_structures.test_groups_are_named,
    "transformers#32266": test_structures.test_split,
    "OmniParser#34": test_structures.test_pointer_of_git_lfs,
    "llama.cpp#3966": test_tokenizer.test_what_is_around_a_text,
    "curl#6882": test_convert.test_convert_refuses,
    "cocotb#566": test_toolchain.test_stop,
}


@pytest.mark.parametrize("report", ELSEWHERE)
def test_named_elsewhere(report):
    assert report in ELSEWHERE[report].__doc__


def hf(path, *, sizes={}, config={}, without=(), names=lambda name: name, tensors=lambda found: {}, files={}):
    """Write a packed folder, changed; its checkpoint.

    ``config`` are other values of config.json, and ``without`` are keys that it lacks; ``names`` gives tensors other
    names, ``tensors`` others in their places; ``files`` are more files.
    """
    checkpoint = random_checkpoint(kind="F32", **sizes)
    convert(InMemory(checkpoint), path, "hf")
    found = json.loads((path / "config.json").read_text()) | config
    (path / "config.json").write_text(json.dumps({key: found[key] for key in found if key not in without}))
    found = load_file(path / "model.safetensors")
    save_file({names(name): value for name, value in (found | tensors(found)).items()}, path / "model.safetensors",
              {"format": "pt"})
    for name, content in files.items():
        (path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return checkpoint


TOKENIZER = tokenizer_json()
SFT = {"tokenizer.json": TOKENIZER, "training_args.bin": "PK", "optimizer.pt": "PK", "rng_state.pth": "PK",
       "scheduler.pt": "PK", "trainer_state.json": {}, "special_tokens_map.json": {"bos_token": "<|start|>"},
       "generation_config.json": {"bos_token_id": 256, "eos_token_id": [257, 999999], "do_sample": True}}


FOLDERS = {  # what was reported: how the folder differs from a plain one
    "h_head100: heads of 100": {"sizes": {"hidden": 400, "inner": 320, "kv_heads": 2}},
    "h_mqa5: five heads, one kv head": {"sizes": {"hidden": 320, "inner": 340, "heads": 5, "kv_heads": 1}},
    "h_quant_resaved": {"config": {"quantization_config": {
        "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline",
        "modules_to_not_convert": None, "use_rms_norm": False, "rms_norm_eps": 1e-6}}},
    "h_partial_rope": {"config": {"partial_rotary_factor": 0.5}},
    "h_rope_params_scaled": {"config": {"rope_parameters": {
        "rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": 0.5}}, "without": ["rope_theta"]},
    "h_sliding": {"config": {"sliding_window": 16, "use_sliding_window": True}},
    "h_softcap": {"config": {"final_logit_softcapping": 30.0}},
    "h_scale_emb": {"config": {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 256}},
    "BitNet#236, vllm#51665: h_sft, what trainers leave beside the weights": {"files": SFT},
    "h_no_kv_key: 5 as of BitNetConfig": {"sizes": {"hidden": 160, "heads": 20, "kv_heads": 5},
                                          "without": ["num_key_value_heads"]},
    "h_no_kv_key: null is as many as heads": {"sizes": {"kv_heads": 4}, "config": {"num_key_value_heads": None}},
    "a base model's names": {"names": lambda name: name.removeprefix("model.")},
    "h_extra_buffers": {"tensors": lambda found: {"model.rotary_emb.inv_freq": torch.ones(8)}},
}


def assert_transformers_agrees(folder):
    """Float logits of 32 tokens are those of transformers; both take every key of config.json for the same."""
    tokens = np.random.default_rng(0).integers(0, 256, (1, 32))
    with torch.no_grad():
        theirs = load_in_transformers(folder)(torch.tensor(tokens)).logits.numpy()
    ours = measure_logits(load(folder), tokens, "float")
    assert np.median(np.abs(ours - theirs) / np.abs(theirs)) < 1e-5


@pytest.mark.parametrize("report", FOLDERS)
def test_folder(tmp_path, report):
    """Worked, or works now, as in transformers."""
    checkpoint = hf(tmp_path / "model", **FOLDERS[report])
    assert_same(load(tmp_path / "model"), checkpoint)
    with open_checkpoint(tmp_path / "model") as model:
        assert inspect(model)["architecture"]["kv_heads"] == checkpoint.kv_heads
    assert_transformers_agrees(tmp_path / "model")


def only_shard(path):
    (path / "model.safetensors").rename(path / "model-00001-of-00001.safetensors")


def byte_order_mark(path):
    (path / "config.json").write_bytes(b"\xef\xbb\xbf" + (path / "config.json").read_bytes())


def hub(path):
    """Files as the hub's cache keeps them: symbolic links to blobs."""
    blobs = path.with_name("blobs")
    path.rename(blobs)
    path.mkdir()
    for file in blobs.iterdir():
        (path / file.name).symlink_to(f"../blobs/{file.name}")


@pytest.mark.parametrize("report, change, options", [
    ("h_scalar_scale", None, {"tensors": lambda found: {
        name: value.reshape(()) for name, value in found.items() if name.endswith("_scale")}}),
    ("h_one_shard", only_shard, {}),
    ("h_torch_prefix", None, {"names": lambda name: "_orig_mod." + name}),
    ("h_torch_prefix: of data parallel training", None, {"names": lambda name: "module." + name}),
    ("h_null_bias", None, {"config": {"attention_bias": None}}),
    ("h_head_dim_null", None, {"config": {"head_dim": None}}),
    ("h_bom", byte_order_mark, {}),
    ("hub/", hub, {}),
], ids=lambda value: value if isinstance(value, str) else "")
def test_folder_that_transformers_does_not_read(tmp_path, report, change, options):
    checkpoint = hf(tmp_path / "model", **options)
    if change:
        change(tmp_path / "model")
    assert_same(load(tmp_path / "model"), checkpoint)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_mixed_floats(tmp_path, kind):
    """h_mixed_floats: norms and scales of another type than the embedding."""
    checkpoint = hf(tmp_path / "model", tensors=lambda found: {
        name: value.to(kind) for name, value in found.items() if "norm" in name or name.endswith("_scale")})
    found = load(tmp_path / "model")
    assert (found.embedding == checkpoint.embedding).all()
    for layer, expected in zip(found.layers, checkpoint.layers):
        assert layer.q.scale == torch.tensor(expected.q.scale).to(kind).item()
        assert (layer.feed_forward_sub_norm == torch.tensor(expected.feed_forward_sub_norm).to(kind).float().numpy()
                ).all()


def test_online_with_odd_sizes(tmp_path):
    """h_inner54, h_zero_float: masters whose rows are no multiple of 4, and matrices of zeros."""
    model = random_model(BitNetConfig, intermediate_size=54)
    model.config.quantization_config = test_safetensors_file.ONLINE
    model.model.layers[0].mlp.up_proj.weight.data.zero_()
    model.save_pretrained(tmp_path / "model")
    found = load(tmp_path / "model")
    assert found.inner == 54 and not found.layers[0].up.codes.any() and found.layers[0].up.scale > 0
    assert_transformers_agrees(tmp_path / "model")


REFUSED = {  # what was reported: the message, how the folder differs, which of its files are not there
    "h_no_kv_key": (
        "num_key_value_heads: missing, and transformers' default 5 does not divide num_attention_heads 4; add",
        {"without": ["num_key_value_heads"]}, ()),
    "h_no_kv_key: which the weights belie": (
        "k_proj.weight: shape [20, 320] instead of [10, 320]; use the config.json that belongs to these weights",
        {"sizes": {"hidden": 320, "heads": 40, "kv_heads": 10}, "without": ["num_key_value_heads"]}, ()),
    "h_untied_no_head": ("lm_head.weight: missing; the checkpoint is incomplete for its config.json: set "
                         "tie_word_embeddings in config.json to true if the embedding is the head, or download it",
                         {"config": {"tie_word_embeddings": False}}, ()),
    "h_no_tie_key": ("lm_head.weight: missing", {"without": ["tie_word_embeddings"]}, ()),
    "h_lora": ("adapter_config.json: file: an adapter (LoRA), and not a model; merge it into the model that it was "
               "trained on", {"files": {"adapter_config.json": {}}}, ("config.json", "model.safetensors")),
    "h_lora: beside the model's config": ("adapter_config.json: file: an adapter (LoRA)",
                                          {"files": {"adapter_config.json": {}}}, ("model.safetensors",)),
    "h_bin_only": ("pytorch_model.bin: file: pickles of torch, which are not read; load it in transformers, whose "
                   "save_pretrained writes model.safetensors", {"files": {"pytorch_model.bin": "PK"}},
                   ("model.safetensors",)),
    "h_one_shard: one of two": (
        "model.safetensors.index.json: file: no such file beside model-00001-of-00002.safetensors; download it too",
        {"files": {"model-00001-of-00002.safetensors": ""}}, ("model.safetensors",)),
    "h_sft_noquant": ("quantization_config: absent: a plain float model, not BitNet",
                      {"without": ["quantization_config"]}, ()),
    "h_autobit_online_norms": ("quantization_config.use_rms_norm: True instead of False", {
        "config": {"quantization_config": test_safetensors_file.ONLINE | {"use_rms_norm": True}}}, ()),
    "h_1bit_bare_config": ("rope_theta: missing; add rope_theta as it was in training", {"without": ["rope_theta"]},
                           ()),
}


@pytest.mark.parametrize("report", REFUSED)
def test_refused(tmp_path, report):
    words, options, gone = REFUSED[report]
    hf(tmp_path / "model", **options)
    for name in gone:
        (tmp_path / "model" / name).unlink()
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "model")
    assert words in str(caught.value) and str(tmp_path / "model") in str(caught.value)


def test_kv_heads_of_transformers():
    """h_no_kv_key: what BitNetConfig takes where the key lacks, and where it is null."""
    assert BitNetConfig(num_attention_heads=20).num_key_value_heads == 5
    assert BitNetConfig(num_attention_heads=4, num_key_value_heads=None).num_key_value_heads == 4


@pytest.mark.parametrize("form", ["hf", "gguf-i2s", "setun"])
def test_all_zero_matrices(tmp_path, form):
    """BitNet#608: gate, up and down of a layer of the official model are zeros, with the scale 0."""
    checkpoint = random_checkpoint(kind="F32")
    zeros = {name: Ternary(np.zeros_like(getattr(checkpoint.layers[0], name).codes), 0.0)
             for name in ("gate", "up", "down")}
    zero = checkpoint._replace(layers=(checkpoint.layers[0]._replace(**zeros), checkpoint.layers[1]))
    convert(InMemory(zero if form != "setun" else zero._replace(layers=tuple(
        layer._replace(**{name: getattr(layer, name)._replace(scale=getattr(layer, name).scale or 1.0)
                          for name in zeros}) for layer in zero.layers))), tmp_path / "model", form)
    with open_checkpoint(tmp_path / "model") as model:
        tensors = [entry for entry in inspect(model)["tensors"].values() if entry["layer"] == 0 and "shares" in entry]
        assert [entry["shares"] == [0, 1, 0] for entry in tensors] == [entry["name"] in zeros for entry in tensors]
        found = model.checkpoint()
    assert found.layers[0].gate.scale == 1
    tokens = np.arange(8)[None]
    assert (measure_logits(found, tokens, "float") == measure_logits(zero._replace(layers=(
        zero.layers[0]._replace(**{name: value._replace(scale=1.0) for name, value in zeros.items()}),
        zero.layers[1])), tokens, "float")).all()
    measure_logits(found, tokens, "integer")


def test_everything_is_zero(tmp_path):
    """h_zero_all, h_zero_packed: all matrices are zeros, with the least scale that quantisers write."""
    checkpoint = random_checkpoint(kind="F32")
    zero = checkpoint._replace(layers=tuple(layer._replace(**{
        name: Ternary(np.zeros_like(value.codes), float(np.float32(1e-5)))
        for name, value in layer._asdict().items() if isinstance(value, Ternary)}) for layer in checkpoint.layers))
    for form in ("hf", "gguf-i2s"):
        convert(InMemory(zero), tmp_path / form, form)
        assert_same(load(tmp_path / form), zero)


@pytest.fixture(scope="module")
def whole():
    return scaled(random_checkpoint(3, hidden=256, inner=512, vocab=512, activation="silu"))


@pytest.mark.parametrize("table", ["Q6_K", "Q4_K", "Q5_K", "Q3_K", "Q2_K"])
def test_embedding_of_llama_quantize(tmp_path, whole, table):
    """ik_llama.cpp#338: an embedding of blocks is that which the package gguf reads."""
    kind = gguf.GGMLQuantizationType[table]
    data = np.random.default_rng(0).integers(0, 256, (512, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
    halves = {"Q6_K": (208,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q3_K": (108,), "Q2_K": (80, 82)}[table]
    for at in halves:  # scales of blocks, float16
        data[:, at:at + 2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    write_tq(tmp_path / "model.gguf", whole, KINDS["gguf-tq2"], tables=(kind, data))
    found = load(tmp_path / "model.gguf")
    assert_same(found, whole._replace(embedding=gguf.quants.dequantize(data, kind)))


@pytest.mark.parametrize("kind", ["F16", "BF16", "F32"])
@pytest.mark.parametrize("family", ["bitnet", "bitnet-b1.58", "bitnet-25"])
def test_matrices_of_floats(tmp_path, whole, kind, family):
    """BitNet#616, BitNet#621: ternary weights as floats."""
    expected = whole._replace(activation="silu" if family == "bitnet" else "relu2")
    if kind == "BF16":
        expected = expected._replace(layers=tuple(layer._replace(**{
            name: value._replace(scale=0.125) for name, value in layer._asdict().items() if isinstance(value, Ternary)})
            for layer in expected.layers))
    write_tq(tmp_path / "model.gguf", expected, gguf.GGMLQuantizationType[kind], family=family)
    with open_checkpoint(tmp_path / "model.gguf") as model:
        assert model.format == "gguf-float"
        assert_same(model.checkpoint(), expected)


@pytest.mark.parametrize("report, sizes", [
    ("g_head100.gguf", {"hidden": 400, "inner": 320}), ("g_inner54.gguf", {"inner": 54}),
    ("g_mqa5.gguf", {"hidden": 320, "inner": 340, "heads": 5, "kv_heads": 1})])
def test_gguf_of_odd_sizes(tmp_path, report, sizes):
    checkpoint = random_checkpoint(kind="F16", **sizes)
    convert(InMemory(checkpoint), tmp_path / report, "gguf-i2s")
    assert_same(load(tmp_path / report), checkpoint)


@pytest.mark.parametrize("family, activation", [("bitnet-25", "relu2"), ("bitnet", "silu")])
def test_head_in_the_file(tmp_path, whole, family, activation):
    """g_head_copy.gguf, g_head_copy_silu.gguf: a head that is equal to the embedding."""
    expected = whole._replace(activation=activation, head=whole.embedding)
    write_tq(tmp_path / "model.gguf", expected, KINDS["gguf-tq2"], family=family)
    assert_same(load(tmp_path / "model.gguf"), expected)


@pytest.mark.parametrize("report, fields, ends, template", [
    ("g_neg_ids.gguf", {"tokenizer.ggml.eos_token_id": (1 << 32) - 1, "tokenizer.ggml.padding_token_id": (1 << 32) - 1},
     (), None),
    ("g_template.gguf", {"tokenizer.chat_template": "{{ messages }}", "general.quantized_by": "x",
                         "general.tags": ["a", "b"], "quantize.imatrix.entries_count": 5}, (), "{{ messages }}"),
    ("g_rope_dim_absent.gguf", {}, (), None),
    ("g_nolinear.gguf", {"bitnet.rope.dimension_count": 64, "bitnet.vocab_size": 512}, (), None),
    ("g_linear1_tq2.gguf", {"bitnet.rope.scaling.type": "linear", "bitnet.rope.scaling.factor": 1.0}, (), None),
], ids=lambda value: value if str(value).startswith("g_") else "")
def test_fields_of_gguf(tmp_path, whole, report, fields, ends, template):
    write_tq(tmp_path / report, whole, KINDS["gguf-tq2"], fields=fields)
    with open_checkpoint(tmp_path / report) as model:
        assert (model.ends, model.chat_template, model.architecture.rope_factor) == (ends, template, 1)
        assert model.taken == ["activation silu, as architecture 'bitnet' says"]
        assert_same(model.checkpoint(), whole)


def test_frequencies_of_ones(tmp_path):
    """g_ropefreqs.gguf: a tensor of frequency factors, all 1, changes nothing."""
    plain = random_checkpoint(7, rope=Rope(1e4, 8.0, (1.0, 4.0, 8192)), hidden=256, inner=512, activation="silu",
                              sub_norms=False)
    path = tmp_path / "model.gguf"
    convert(InMemory(plain), path, "gguf-i2s")
    info = test_gguf_file.after(path.read_bytes(), "rope_freqs.weight")
    data = bytearray(path.read_bytes())
    factors = np.float32(1 / np.ones(32)).tobytes()
    where = open_checkpoint(path)._infos["rope_freqs.weight"].offset
    assert info < where
    data[where:where + len(factors)] = factors
    path.write_bytes(data)
    assert_same(load(path), plain._replace(rope=Rope(1e4)))


def test_equal_tokens(tmp_path, whole):
    """g_dup_tokens.gguf: the weights open; text does not, as in llama.cpp."""
    fields = sentence_piece(["hello world"]) | {"tokenizer.ggml.tokens": ["a", "b", "a"]}
    write_tq(tmp_path / "model.gguf", whole, KINDS["gguf-tq2"], fields=fields)
    with open_checkpoint(tmp_path / "model.gguf") as model, pytest.raises(
            CheckpointError, match="tokenizer.ggml.tokens: 'a' is there twice, which llama.cpp refuses too; convert"):
        tokenizer_of(model)
    assert_same(load(tmp_path / "model.gguf"), whole)


def test_sentence_piece_reaches_gguf(tmp_path):
    """transformers.js#838, BitNet#376: h_1bit_spm can be written to GGUF, g_spm.gguf, and be read again."""
    written = tokenizer_of(Found(sentence_piece(["In the beginning God created the heaven and the earth"] * 9)))
    hf(tmp_path / "model", sizes={"vocab": 512}, files={"tokenizer.json": written.json.decode()})
    with open_checkpoint(tmp_path / "model") as model:
        convert(model, tmp_path / "model.gguf", "gguf-i2s")
    with open_checkpoint(tmp_path / "model.gguf") as model:
        again = tokenizer_of(model)
    for text in ("In the beginning", "naïve 東京", "the  earth"):
        assert again.encode(text) == written.encode(text) and again.encode(text)[0] == 1
        assert again.decode(again.encode(text)) == text


def test_sentence_piece_alone(tmp_path):
    """h_1bit_model_only: a tokenizer.model says what to do, and all that needs no text goes on."""
    checkpoint = hf(tmp_path / "model", files={"tokenizer.model": "\n\x0e\n\x05<unk>"})
    with open_checkpoint(tmp_path / "model") as model:
        assert "SentencePiece's own format is not read; make a tokenizer.json" in inspect(model)["tokenizer"]
    assert_same(load(tmp_path / "model"), checkpoint)


@pytest.mark.parametrize("told", [{"add_bos_token": False}, {"add_eos_token": True, "eos_token": "<|end|>"}, {}])
def test_tokenizer_config(tmp_path, told):
    """h_added_file: beside a tokenizer.json transformers does not heed what tokenizer_config.json puts around text."""
    hf(tmp_path / "model", sizes={"vocab": 512}, files={
        "tokenizer.json": TOKENIZER, "added_tokens.json": {"<|user|>": 264},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|start|>"} | told})
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    with open_checkpoint(tmp_path / "model") as model:
        ours = tokenizer_of(model)
    for text in ("he", "<|end|>he", "naïve"):
        assert ours.encode(text) == theirs.encode(text)


def test_tokenizer_that_is_larger(tmp_path):
    """LlamaFactory#4195: h_tok_bigger, a tokenizer with more tokens than the embedding has rows."""
    hf(tmp_path / "model", sizes={"vocab": 257}, files={"tokenizer.json": TOKENIZER})
    result = invoke("run", tmp_path / "model", "--prompt", "a<|end|>", "--tokens", 1)
    assert result.exit_code == 2
    assert ("prompt has the token 257 and the model 257 tokens: leave out what becomes it, or give the model the "
            "tokenizer that was made for it") in " ".join(result.output.split())
    result = invoke("convert", tmp_path / "model", tmp_path / "model.gguf", "--format", "gguf-i2s")
    assert result.exit_code == 2 and "it has the token 258 and the model 257 tokens; take the tokenizer" in " ".join(
        result.output.split())


@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_ends_beyond_the_vocabulary(tmp_path, whole, form):
    """h_sft: tokens that end a text, and that the model does not have, are named."""
    if form == "hf":
        hf(tmp_path / "model", files={"generation_config.json": SFT["generation_config.json"]})
        expected = (257,), ["generation_config.json's eos_token_id 999999 is beyond the vocabulary of 300, and never "
                            "comes"]
    else:
        write_tq(tmp_path / "model", whole, KINDS["gguf-tq2"], fields={
            "tokenizer.ggml.eos_token_id": 257, "tokenizer.ggml.eot_token_id": 999999})
        expected = (257,), ["activation silu, as architecture 'bitnet' says",
                            "tokenizer.ggml.eot_token_id 999999 is beyond the vocabulary of 512, and never comes"]
    with open_checkpoint(tmp_path / "model") as model:
        assert (model.ends, list(model.taken)) == expected
    result = invoke("inspect", tmp_path / "model")
    assert "999999 is beyond the vocabulary" in " ".join(result.output.split())
