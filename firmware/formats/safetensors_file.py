"""Ternary models in Hugging Face's folders: ``config.json``, and weights in one safetensors file or in shards.

What the matrices are is told by ``quantization_config``:

==============================================  ================================================================
autobitlinear, quantization_mode "offline"      packed codes, and a scale to multiply by (bitnet-b1.58-2B-4T)
autobitlinear, quantization_mode "online"       float masters: codes and scale are absmean's
"bitlinear", or no linear_class                 packed codes, and a scale to divide by
absent, architectures ["BitnetForCausalLM"]     float masters (1bitLLM's bitnet_b1_58), with other names of sub-norms
==============================================  ================================================================

Byte (r, c) of a packed matrix of 4 R rows holds rows r, r + R, r + 2 R and r + 3 R, low bits first.

A model of model_type "llama" has Llama's structure, without sub-norms, and BitLinear for all matrices but the head.
"""

import json
import math
import os
import pathlib

import msgspec
import numpy as np

from ..golden.codes import plain_decode
from ..golden.matvec import absmean_ternary
from ..golden.model import Ternary
from .floats import FLOATS, widen
from .model_file import (
    LIMIT,
    MATRICES,
    MAX_HIDDEN,
    MOST_INPUTS,
    Architecture,
    CheckpointError,
    ModelFile,
    check_pointer,
    mapped,
    refuse,
    scaled,
    within,
)
from .rope_scaling import read_rope


__all__ = ["CONFIG", "TEMPLATE", "WEIGHTS", "Folder", "hf_name"]


CONFIG, WEIGHTS, SHARDS = "config.json", "model.safetensors", "model.safetensors.index.json"
ONLY_SHARD, ANY_SHARD = "model-00001-of-00001.safetensors", "model-*-of-*.safetensors"
GENERATION = "generation_config.json"
TEMPLATE, TOKENIZER_CONFIG = "chat_template.jinja", "tokenizer_config.json"
NO_FILE = f"a checkpoint is a folder with {CONFIG} and {WEIGHTS} or its shards, a GGUF or a container"
DAMAGED = "the file is damaged: download it again"
INSTEAD = {  # of config.json or of the weights: what stands there, and the remedy
    "adapter_config.json": ("an adapter (LoRA), and not a model", "merge it into the model that it was trained on"),
    **dict.fromkeys(("pytorch_model.bin", "pytorch_model.bin.index.json"), (
        "pickles of torch, which are not read", f"load it in transformers, whose save_pretrained writes {WEIGHTS}")),
}
WRAPPERS = ("_orig_mod.", "module.")  # what torch.compile and data parallel training put before every name
BASE, HEAD = "model.", "lm_head."  # a base model that was saved without its head lacks the first
BUFFER = "rotary_emb.inv_freq"  # in files of before 2024, and what rope_theta says
COUNTERS = ("I64", "I32", "BOOL")  # positions, masks and steps that trainers save: no weights
KV_HEADS = 5  # of transformers' BitNetConfig where the key is absent; null, and absent in Llama's, is as many as heads
MODEL_TYPES = {"bitnet": True, "llama": False}  # whether it has sub-norms
MOST_JSON, MOST_HEADER, MOST_TOKENIZER = 1 << 22, 1 << 24, 1 << 25  # bytes
# Sums of squares, sums of products and tables stay exact and within memory up to these.
LIMITS = {"hidden": MAX_HIDDEN, "inner": MOST_INPUTS, "context": 2 ** 20}

SIZES = {  # of Architecture: key of config.json
    "vocab": "vocab_size",
    "context": "max_position_embeddings",
    "hidden": "hidden_size",
    "inner": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
}

REQUIRED = [  # key, the only value, its default where the key may be absent, remedy
    ("attention_bias", False, False, "biases are not supported"),
    ("mlp_bias", False, False, "biases are not supported"),
]

QUANTIZATION = [
    ("quant_method", "bitnet", None, "use a BitNet b1.58 checkpoint"),
    ("use_rms_norm", False, False, "norms inside of linear layers are not supported"),
]

HF_NAMES = {
    "embedding": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "attention_sub_norm": "self_attn.attn_sub_norm",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward_sub_norm": "mlp.ffn_sub_norm",
}
NAMES_1BITLLM = {"attention_sub_norm": "self_attn.inner_attn_ln", "feed_forward_sub_norm": "mlp.ffn_layernorm"}


def hf_name(layer, name, names=HF_NAMES):
    """Name of a tensor in safetensors files."""
    return ("" if layer is None else f"model.layers.{layer}.") + names[name] + ".weight"


def _read(path, most):
    """A file of a limited size."""
    try:
        if path.exists() and not path.is_file():
            refuse(path, "file", "is none", NO_FILE)
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        refuse(path, "file", (error.strerror or str(error)).lower(), NO_FILE)
    if len(data) > most:
        refuse(path, "file", f"longer than {most} bytes", DAMAGED)
    return data


def _check_there(path):
    """Refuse a file that is not there, by what stands in its place."""
    for name, (defect, remedy) in INSTEAD.items():
        if not os.path.exists(path) and os.path.exists(path.with_name(name)):
            refuse(path.with_name(name), "file", defect, remedy)


def _read_json(path):
    text = _read(path, MOST_JSON)
    check_pointer(path, text)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse(path, "JSON", " ".join(str(error).split()), "download the file again")
    if not isinstance(found, dict):
        refuse(path, "JSON", "not an object", "download the file again")
    return found


def _require(path, config, table, prefix=""):
    for key, wanted, default, remedy in table:
        value = default if config.get(key) is None else config[key]
        if value != wanted:
            refuse(path, prefix + key, f"{value!r} instead of {wanted!r}", remedy)


def _number(path, config, key, kind):
    value = config.get(key)
    if key not in config:
        refuse(path, key, "missing", f"add {key} as it was in training")
    if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < LIMIT:
        refuse(path, key, f"{str(value)[:40]!r} is no positive {'integer' if kind is int else 'number'} below 2**31",
               f"correct {key} as it was in training")
    return value


def _format(path, config):
    """One of hf-packed, hf-online, hf-inverse and hf-1bitllm."""
    quantization = config.get("quantization_config")
    if quantization is None and config.get("architectures") == ["BitnetForCausalLM"]:
        return "hf-1bitllm"
    if config.get("model_type") not in MODEL_TYPES:
        refuse(path, "model_type", f"{config.get('model_type')!r} is neither 'bitnet' nor 'llama'",
               "use a BitNet b1.58 checkpoint: scales of groups of weights, and norms of queries and keys, are not "
               "supported")
    if not isinstance(quantization, dict):
        refuse(path, "quantization_config", "absent: a plain float model, not BitNet",
               "use a checkpoint with ternary weights")
    _require(path, quantization, QUANTIZATION, "quantization_config.")
    match quantization.get("linear_class", "bitlinear"), quantization.get("quantization_mode", "offline"):
        case "bitlinear", "offline":
            return "hf-inverse"
        case "autobitlinear", "offline":
            return "hf-packed"
        case "autobitlinear", "online":
            return "hf-online"
        case "autobitlinear", mode:
            refuse(path, "quantization_config.quantization_mode", f"{mode!r} is neither 'offline' nor 'online'",
                   "export it again with packed weights, quantization_mode offline")
        case kind, _:
            refuse(path, "quantization_config.linear_class", f"{kind!r} is neither 'autobitlinear' nor 'bitlinear'",
                   "export it again with linear_class autobitlinear")


def _read_architecture(path, config, sub_norms):
    _require(path, config, REQUIRED)
    if config.get("hidden_act") not in ("relu2", "silu"):
        refuse(path, "hidden_act", f"{config.get('hidden_act')!r}", "only squared ReLU (relu2) and silu are supported")
    told = "num_key_value_heads" in config
    if config.get("num_key_value_heads") is None:
        default = KV_HEADS if config.get("model_type") == "bitnet" and not told else config.get("num_attention_heads")
        config = config | {"num_key_value_heads": default}
    sizes = {name: _number(path, config, key, int) for name, key in SIZES.items()}
    for name, limit in LIMITS.items():
        if sizes[name] > limit:
            refuse(path, SIZES[name], f"{sizes[name]} is more than the {limit} supported", "use a smaller model")
    if sizes["heads"] % sizes["kv_heads"]:
        refuse(path, SIZES["kv_heads"], ("" if told else "missing, and transformers' default ")
               + f"{sizes['kv_heads']} does not divide {SIZES['heads']} {sizes['heads']}",
               f"{'correct' if told else 'add'} {SIZES['kv_heads']} as it was in training")
    if config.get("head_dim") is not None:
        sizes["head_dim"] = _number(path, config, "head_dim", int)
    elif sizes["hidden"] % sizes["heads"]:
        refuse(path, "num_attention_heads", f"{sizes['heads']} does not divide hidden_size {sizes['hidden']}",
               "correct it as it was in training, or add head_dim")
    else:
        sizes["head_dim"] = sizes["hidden"] // sizes["heads"]
    tied = config.get("tie_word_embeddings", False)
    if not isinstance(tied, bool):
        refuse(path, "tie_word_embeddings", "neither true nor false", "correct it as it was in training")
    eps = float(_number(path, config, "rms_norm_eps", (int, float)))
    try:
        return Architecture(tied=tied, eps=eps, activation=config["hidden_act"], sub_norms=sub_norms, **sizes,
                            **read_rope(path, config))
    except CheckpointError:
        raise
    except ValueError as error:
        refuse(path, CONFIG, str(error), "correct it as it was in training")


def _read_ends(path, config, vocab):
    """Tokens that generation_config.json names, or else config.json, and lines on those beyond the vocabulary."""
    generation = path.with_name(GENERATION)
    found = _read_json(generation).get("eos_token_id") if generation.exists() else None
    file, found = (path, config.get("eos_token_id")) if found is None else (generation, found)
    found = [] if found is None else found if isinstance(found, list) else [found]
    if not all(type(token) is int for token in found):
        refuse(file, "eos_token_id", "neither a token nor a list of tokens", "correct it as it was in training")
    return within([(f"{file.name}'s eos_token_id", token) for token in found], vocab)


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor in the header of a safetensors file."""
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def _read_entries(path):
    """{name: (path, Entry, uint8 [bytes])} of a safetensors file, memory-mapped."""
    data = mapped(path, NO_FILE)
    if not len(data):
        refuse(path, "safetensors", "is empty", DAMAGED)
    size = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or size > min(len(data) - 8, MOST_HEADER):
        refuse(path, "safetensors", f"a header of {size} bytes in a file of {len(data)}", DAMAGED)
    start, end, found = 8 + size, 0, {}
    try:
        raw = msgspec.json.decode(data[8:start].tobytes(), type=dict[str, msgspec.Raw])
        raw.pop("__metadata__", None)
        entries = {name: msgspec.json.decode(entry, type=Entry) for name, entry in raw.items()}
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        refuse(path, "safetensors", " ".join(str(error).split()), DAMAGED)
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        first, last = entry.data_offsets
        if first != end or not first <= last <= len(data) - start:
            refuse(path, "safetensors", f"data_offsets {first}, {last} of {name} overlap, leave a hole or are beyond "
                   "the end", DAMAGED)
        found[name], end = (path, entry, data[start + first:start + last]), last
    if start + end != len(data):
        refuse(path, "safetensors", f"{len(data)} bytes instead of {start + end}", DAMAGED)
    return found


def _read_folder(folder):
    """All entries of a folder, of one file or of its shards."""
    index, weights = folder / SHARDS, folder / WEIGHTS
    if not os.path.exists(weights) and not os.path.exists(index):
        shards = sorted(path.name for path in folder.glob(ANY_SHARD))
        if shards == [ONLY_SHARD]:
            weights = folder / ONLY_SHARD
        elif shards:
            refuse(index, "file", f"no such file beside {shards[0]}", "download it too")
        _check_there(weights)
        return _read_entries(weights)
    if os.path.exists(weights):
        return _read_entries(weights)
    shards = _read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(shard, str) for shard in shards.values()):
        refuse(index, "weight_map", "no object of names of files", "download the file again")
    found = {}
    for shard in sorted(set(shards.values())):
        if pathlib.PurePath(shard).name != shard or not shard.endswith(".safetensors") or "\0" in shard:
            refuse(index, "weight_map", f"{shard[:80]!r} is no file of this folder", "download the file again")
        entries = _read_entries(folder / shard)
        for name in entries:
            if shards.get(name) != shard:
                refuse(folder / shard, name, f"not here according to {SHARDS}", "download the checkpoint again")
        found |= entries
    for name in sorted(shards.keys() - found.keys()):
        refuse(folder / shards[name], name, "missing", "download the checkpoint again")
    return found


def _plain_names(entries):
    """The entries by the names that they have in transformers' model."""
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in entries):
            entries = {name.removeprefix(wrapper): entry for name, entry in entries.items()}
    if any(name.startswith(BASE) for name in entries):
        return entries
    return {name if name.startswith(HEAD) else BASE + name: entry for name, entry in entries.items()}


class Folder(ModelFile):
    """A folder of Hugging Face's that is open."""

    def __init__(self, path):
        super().__init__(path)
        file = self.path / CONFIG
        _check_there(file)
        config = _read_json(file)
        self.format = _format(file, config)
        self.architecture = _read_architecture(file, config, self.format == "hf-1bitllm"
                                               or MODEL_TYPES[config["model_type"]])
        self.ends, self.taken = _read_ends(file, config, self.architecture.vocab)
        self._names = HF_NAMES | (NAMES_1BITLLM if self.format == "hf-1bitllm" else {})
        self._packed = self.format in ("hf-packed", "hf-inverse")
        self._entries = _plain_names(_read_folder(self.path))
        if self.architecture.count > 2 * len(self._entries) + 100:  # a few that are missing can be named
            refuse(file, SIZES["layers"], f"{self.architecture.layers} layers and {len(self._entries)} tensors",
                   f"use the {CONFIG} that belongs to these weights")
        self._check_names()

    def _check_names(self):
        self._parts = {hf_name(layer, name, self._names): (name, shape)
                       for layer, name, shape in self.architecture.parts()}
        scales = [full + "_scale" for full, (name, _) in self._parts.items() if name in MATRICES and self._packed]
        for name in [*self._parts, *scales]:
            if name not in self._entries:
                refuse(self.path / WEIGHTS, name, "missing",
                       f"the checkpoint is incomplete for its {CONFIG}: "
                       + (f"set tie_word_embeddings in {CONFIG} to true if the embedding is the head, or "
                          if name == hf_name(None, "head") else "") + "download it again")
            part, shape = self._parts.get(name, (None, (1,)))
            if part is None and self._entries[name][1].shape == ():
                shape = ()
            if part in MATRICES and self._packed:
                if shape[0] % 4:
                    refuse(self._entries[name][0], name, f"{shape[0]} rows are no multiple of 4",
                           "packed weights need a multiple of 4")
                self._check(name, (shape[0] // 4, shape[1]), {"U8": 1})
            else:
                self._check(name, shape, {kind: dtype.itemsize for kind, dtype in FLOATS.items()})
        for name in sorted(self._entries.keys() - {*self._parts, *scales}):
            path, entry, _ = self._entries[name]
            if name.endswith(BUFFER) or entry.dtype in COUNTERS:
                continue
            if self.architecture.tied and name == hf_name(None, "head"):
                self._check_copy(name)
                continue
            refuse(path, name, "not part of this model", f"use the {CONFIG} that belongs to these weights")

    def _check_copy(self, name):
        """Of a head that stands beside the embedding that it is said to be."""
        self._check(name, (self.architecture.vocab, self.architecture.hidden),
                    {kind: dtype.itemsize for kind, dtype in FLOATS.items()})
        pieces = zip(self.pieces(None, "embedding"), self.pieces(None, "head"))
        if not all(np.array_equal(*pair) for pair in pieces):
            refuse(self._entries[name][0], name, "differs from the embedding, which is the head as tie_word_embeddings "
                   "says", f"correct tie_word_embeddings in {CONFIG} as it was in training")

    def _check(self, name, shape, kinds):
        path, entry, data = self._entries[name]
        if entry.dtype not in kinds:
            weights = "packed weights (U8)" if self._packed else "float weights"
            refuse(path, name, f"type {entry.dtype} instead of {' or '.join(kinds)}",
                   f"export it again with {weights}, as its {CONFIG} tells, and all else as floats")
        if entry.shape != shape:
            refuse(path, name, f"shape {list(entry.shape)} instead of {list(shape)}",
                   f"use the {CONFIG} that belongs to these weights")
        if len(data) != math.prod(shape) * kinds[entry.dtype]:
            refuse(path, name, f"{len(data)} bytes of {entry.dtype} {list(shape)}", DAMAGED)

    def _floats(self, name, start=None, stop=None):
        path, entry, data = self._entries[name]
        rows = data.view(FLOATS[entry.dtype]) if data.ctypes.data % 4 == 0 else np.frombuffer(
            data.tobytes(), FLOATS[entry.dtype])
        values = widen(rows.reshape(entry.shape or 1)[start:stop], entry.dtype)
        if not np.isfinite(values).all():
            refuse(path, name, "holds NaN or infinity", "the export is damaged: export or download it again")
        return values

    def ternary(self, layer, name):
        """Ternary matrix ``name`` of a layer; see ``ModelFile``. Raises CheckpointError."""
        full = hf_name(layer, name, self._names)
        path, entry, data = self._entries[full]
        if not self._packed:
            codes, scale = absmean_ternary(self._floats(full))
            return Ternary(codes, float(scale))
        _, columns = entry.shape
        try:
            codes = plain_decode(data)  # [4, rows / 4 * columns]
        except ValueError as error:
            refuse(path, full, str(error), "the export is damaged: export or download it again")
        scale = self._floats(full + "_scale")[0]
        if self.format == "hf-inverse" and scale:
            with np.errstate(over="ignore"):
                scale = np.float32(1) / scale
        return scaled(path, full + "_scale", codes.reshape(-1, columns), scale, "export the checkpoint again")

    def norm(self, layer, name):
        """Norm ``name`` of a layer, or the last norm where ``layer`` is None, float32 [n]. Raises CheckpointError."""
        return self._floats(hf_name(layer, "norm" if layer is None else name, self._names))

    def rows(self, name, start, stop):
        """Rows ``start`` to ``stop`` of the embedding or the head, float32. Raises CheckpointError."""
        return self._floats(hf_name(None, name), start, stop)

    def tensors(self):
        """(name in the file, layer, name) of every tensor."""
        return ((hf_name(layer, name, self._names), layer, name) for layer, name, _ in self.architecture.parts())

    @property
    def chat_template(self):
        """Jinja's template of a conversation, from chat_template.jinja or tokenizer_config.json; or None."""
        if (self.path / TEMPLATE).exists():
            try:
                return _read(self.path / TEMPLATE, MOST_JSON).decode()
            except UnicodeDecodeError:
                refuse(self.path / TEMPLATE, "chat_template", "is no UTF-8", DAMAGED)
        path = self.path / TOKENIZER_CONFIG
        found = _read_json(path).get("chat_template") if path.exists() else None
        if isinstance(found, list):  # several, each with a name
            found = next((entry.get("template") for entry in found
                          if isinstance(entry, dict) and entry.get("name") == "default"), None)
        return found if isinstance(found, str) else None

    @property
    def tokenizer(self):
        """Bytes of the folder's tokenizer.json; None where there is no tokenizer. Raises CheckpointError."""
        if (self.path / "tokenizer.json").exists():
            return _read(self.path / "tokenizer.json", MOST_TOKENIZER)
        if (self.path / "tokenizer.model").exists():
            refuse(self.path / "tokenizer.model", "tokenizer", "SentencePiece's own format is not read",
                   "make a tokenizer.json with transformers' save_pretrained")
        return None
