"""Checkpoints of BitNet b1.58: those in Hugging Face's folders, with weights packed four to a byte, and containers.

Accepted of folders is what ``microsoft/bitnet-b1.58-2B-4T`` ships: ``config.json`` with ``model_type`` "bitnet" and an
offline "autobitlinear" quantisation, and ``model.safetensors`` with packed codes and a scale to multiply by. Byte
(r, c) of a matrix of 4 R rows holds rows r, r + R, r + 2 R and r + 3 R, low bits first.
"""

import json
import pathlib

import numpy as np
import safetensors

from golden.codes import plain_decode
from golden.fixed import MAX_HIDDEN
from golden.model import Ternary

from .container import MAGIC, Container
from .floats import FLOATS, widen
from .gguf_file import GGUF_MAGIC, Gguf
from .model_file import MATRICES, Architecture, CheckpointError, ModelFile, refuse


__all__ = ["CONFIG", "HF_NAMES", "WEIGHTS", "CheckpointError", "load", "open_checkpoint"]


CONFIG, WEIGHTS = "config.json", "model.safetensors"
LIMIT = 2 ** 31  # of any number in config.json
# Sums of squares, sums of products and tables stay exact and within memory up to these.
LIMITS = {"hidden": MAX_HIDDEN, "inner": 2 ** 17, "context": 2 ** 20}

SIZES = {  # of Checkpoint: key of config.json
    "vocab": "vocab_size",
    "context": "max_position_embeddings",
    "hidden": "hidden_size",
    "inner": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
}

REQUIRED = [  # key, the only value, its default where the key may be absent, remedy
    ("model_type", "bitnet", None, "use a BitNet b1.58 checkpoint"),
    ("attention_bias", False, False, "biases are not supported"),
    ("rope_scaling", None, None, "only plain rotary embeddings are supported"),
]

QUANTIZATION = [
    ("quant_method", "bitnet", None, "use a BitNet b1.58 checkpoint"),
    ("linear_class", "autobitlinear", None, "export it again with linear_class autobitlinear"),
    ("quantization_mode", "offline", None, "export it again with packed weights, quantization_mode offline"),
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


def _read(path):
    try:
        return path.read_bytes()
    except OSError as error:
        refuse(path, "file", (error.strerror or str(error)).lower(),
                f"a checkpoint is a folder with {CONFIG} and {WEIGHTS}, not split into shards")


def _read_config(path):
    try:
        config = json.loads(_read(path))
    except ValueError as error:
        refuse(path, "JSON", str(error), "download the file again")
    if not isinstance(config, dict):
        refuse(path, "JSON", "not an object", "download the file again")
    return config


def _require(path, config, table, prefix=""):
    for key, wanted, default, remedy in table:
        value = config.get(key, default)
        if value != wanted:
            refuse(path, prefix + key, f"{value!r} instead of {wanted!r}", remedy)


def _number(path, config, key, kind):
    value = config.get(key)
    if key not in config:
        refuse(path, key, "missing", f"add {key} as it was in training")
    if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < LIMIT:
        refuse(path, key, f"{value!r} is no positive {'integer' if kind is int else 'number'} below 2**31",
                f"correct {key} as it was in training")
    return value


def _check_config(path, config):
    """Sizes by the names of Checkpoint, theta and eps."""
    _require(path, config, REQUIRED)
    if config.get("hidden_act") not in ("relu2", "silu"):
        refuse(path, "hidden_act", f"{config.get('hidden_act')!r}", "only squared ReLU (relu2) and silu are supported")
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        refuse(path, "quantization_config", "absent: a plain float model, not BitNet",
                "use a checkpoint with packed ternary weights")
    _require(path, quantization, QUANTIZATION, "quantization_config.")
    sizes = {name: _number(path, config, key, int) for name, key in SIZES.items()}
    for name, limit in LIMITS.items():
        if sizes[name] > limit:
            refuse(path, SIZES[name], f"{sizes[name]} is more than the {limit} supported", "use a smaller model")
    for whole, part, name, times in (("hidden", "heads", "num_attention_heads", 2),
                                     ("heads", "kv_heads", "num_key_value_heads", 1)):
        if sizes[whole] % (times * sizes[part]):
            refuse(path, name, f"{times} * {sizes[part]} does not divide {SIZES[whole]} {sizes[whole]}",
                    f"correct {name} as it was in training")
    sizes["kv"] = sizes["hidden"] // sizes["heads"] * sizes["kv_heads"]
    _require(path, config, [("head_dim", sizes["hidden"] // sizes["heads"], sizes["hidden"] // sizes["heads"],
                             "heads must fill the hidden size")])
    if not isinstance(config.get("tie_word_embeddings", False), bool):
        refuse(path, "tie_word_embeddings", "neither true nor false", "correct it as it was in training")
    rope = config.get("rope_parameters") or config
    if not isinstance(rope, dict):
        refuse(path, "rope_parameters", "not an object", "correct it as it was in training")
    _require(path, rope, [("rope_type", "default", "default", "only plain rotary embeddings are supported")],
             "rope_parameters.")
    return sizes, _number(path, rope, "rope_theta", (int, float)), _number(path, config, "rms_norm_eps", (int, float))


def _read_tensors(path):
    try:
        return dict(safetensors.deserialize(_read(path)))
    except safetensors.SafetensorError as error:
        refuse(path, "safetensors", " ".join(str(error).split()), "the file is damaged: download it again")


def _take(path, tensors, name, shape, kinds):
    """Type and bytes of a tensor."""
    tensor = tensors[name]
    if tensor["dtype"] not in kinds:
        refuse(path, name, f"type {tensor['dtype']} instead of {' or '.join(kinds)}",
                "export it again with packed weights (U8) and norms, scales and embedding as floats")
    if tuple(tensor["shape"]) != shape:
        refuse(path, name, f"shape {list(tensor['shape'])} instead of {list(shape)}",
                f"use the {CONFIG} that belongs to these weights")
    return tensor["dtype"], tensor["data"]


def _floats(path, tensors, name, *shape):
    kind, data = _take(path, tensors, name, shape, FLOATS)
    values = widen(np.frombuffer(data, FLOATS[kind]), kind).reshape(shape)
    if not np.isfinite(values).all():
        refuse(path, name, "holds NaN or infinity", "the export is damaged: export or download it again")
    return values


def _ternary(path, tensors, name, rows, columns):
    if rows % 4:
        refuse(path, name, f"{rows} rows are no multiple of 4", "packed weights need a multiple of 4")
    _, data = _take(path, tensors, name, (rows // 4, columns), ["U8"])
    try:
        trits = plain_decode(np.frombuffer(data, np.uint8)[:, None])  # [rows / 4 * columns, 4]
    except ValueError as error:
        refuse(path, name, str(error), "the export is damaged: export or download it again")
    scale = float(_floats(path, tensors, name + "_scale", 1)[0])
    if scale <= 0:
        refuse(path, name + "_scale", f"{scale} is not positive", "export the checkpoint again")
    return Ternary(trits.reshape(rows // 4, columns, 4).transpose(2, 0, 1).reshape(rows, columns), scale)


def hf_name(layer, name):
    """Name of a tensor in safetensors files."""
    return ("" if layer is None else f"model.layers.{layer}.") + HF_NAMES[name] + ".weight"


class Folder(ModelFile):
    """A folder of Hugging Face's."""

    format = "hf-packed"

    def __init__(self, path):
        super().__init__(path)
        config = _read_config(self.path / CONFIG)
        sizes, theta, eps = _check_config(self.path / CONFIG, config)
        del sizes["kv"]
        self.architecture = Architecture(rope_theta=float(theta), eps=float(eps),
                                         tied=config.get("tie_word_embeddings", False),
                                         activation=config["hidden_act"], **sizes)
        self._weights = self.path / WEIGHTS
        self._tensors = _read_tensors(self._weights)
        if sizes["layers"] > len(self._tensors):
            refuse(self.path / CONFIG, SIZES["layers"], f"{sizes['layers']} layers and {len(self._tensors)} tensors",
                   f"use the {CONFIG} that belongs to these weights")
        self._parts = {hf_name(layer, name): (name, shape) for layer, name, shape in self.architecture.parts()}
        known = self._parts.keys() | {name + "_scale" for name, (part, _) in self._parts.items() if part in MATRICES}
        for name in sorted(known - self._tensors.keys()):
            refuse(self._weights, name, "missing", f"the checkpoint is incomplete for its {CONFIG}: download it again")
        for name in sorted(self._tensors.keys() - known):
            refuse(self._weights, name, "not part of this model", f"use the {CONFIG} that belongs to these weights")

    def ternary(self, layer, name):
        full = hf_name(layer, name)
        return _ternary(self._weights, self._tensors, full, *self._parts[full][1])

    def norm(self, layer, name):
        full = hf_name(layer, name)
        return _floats(self._weights, self._tensors, full, *self._parts[full][1])

    def rows(self, name, start, stop):
        full = hf_name(None, name)
        return _floats(self._weights, self._tensors, full, *self._parts[full][1])[start:stop]

    def tensors(self):
        return ((full, name) for full, (name, _) in self._parts.items())

    @property
    def tokenizer(self):
        for name in ("tokenizer.json", "tokenizer.model"):
            if (self.path / name).exists():
                if name == "tokenizer.model":
                    refuse(self.path / name, "tokenizer", "SentencePiece's own format is not read",
                           "make a tokenizer.json with transformers' save_pretrained")
                return _read(self.path / name)
        return None


def open_checkpoint(path):
    """ModelFile of a folder, GGUF or container. Raises CheckpointError, in one line, for whatever is wrong with it."""
    path = pathlib.Path(path)
    if path.is_dir() or not path.exists():
        return Folder(path)
    try:
        data = np.memmap(path, np.uint8, "r") if path.is_file() and path.stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        refuse(path, "file", (error.strerror or str(error)).lower(), "check its permissions")
    for magic, kind in ((MAGIC, Container), (GGUF_MAGIC, Gguf)):
        if data[:len(magic)].tobytes() == magic:
            return kind(path, data)
    refuse(path, "magic", f"{data[:8].tobytes()!r} is of no format that is read",
           "give a folder with config.json, a GGUF or a container of setun convert")


def load(path):
    """All of a model file, as golden.model.Checkpoint. Raises CheckpointError, in one line."""
    with open_checkpoint(path) as model:
        return model.checkpoint()
