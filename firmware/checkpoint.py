"""Checkpoints of BitNet b1.58 in Hugging Face's folders, with weights packed four to a byte.

Accepted is what ``microsoft/bitnet-b1.58-2B-4T`` ships: ``config.json`` with ``model_type`` "bitnet" and an offline
"autobitlinear" quantisation, and ``model.safetensors`` with packed codes and a scale to multiply by. Byte (r, c) of a
matrix of 4 R rows holds rows r, r + R, r + 2 R and r + 3 R, low bits first.
"""

import json
import pathlib

import numpy as np
import safetensors

from golden.codes import plain_decode
from golden.fixed import MAX_HIDDEN
from golden.model import Checkpoint, CheckpointLayer, Ternary


__all__ = ["CheckpointError", "load"]


class CheckpointError(ValueError):
    """A defect of a checkpoint, in one line: the file, the field, and what to do about it."""


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
    ("hidden_act", "relu2", None, "only squared ReLU, as in BitNet b1.58 2B4T, is supported"),
    ("attention_bias", False, False, "biases are not supported"),
    ("rope_scaling", None, None, "only plain rotary embeddings are supported"),
]

QUANTIZATION = [
    ("quant_method", "bitnet", None, "use a BitNet b1.58 checkpoint"),
    ("linear_class", "autobitlinear", None, "export it again with linear_class autobitlinear"),
    ("quantization_mode", "offline", None, "export it again with packed weights, quantization_mode offline"),
    ("use_rms_norm", False, False, "norms inside of linear layers are not supported"),
]

MATRICES = {  # of CheckpointLayer: name, rows, columns
    "q": ("self_attn.q_proj", "hidden", "hidden"),
    "k": ("self_attn.k_proj", "kv", "hidden"),
    "v": ("self_attn.v_proj", "kv", "hidden"),
    "o": ("self_attn.o_proj", "hidden", "hidden"),
    "gate": ("mlp.gate_proj", "inner", "hidden"),
    "up": ("mlp.up_proj", "inner", "hidden"),
    "down": ("mlp.down_proj", "hidden", "inner"),
}

NORMS = {  # of CheckpointLayer: name, size
    "attention_norm": ("input_layernorm", "hidden"),
    "attention_sub_norm": ("self_attn.attn_sub_norm", "hidden"),
    "feed_forward_norm": ("post_attention_layernorm", "hidden"),
    "feed_forward_sub_norm": ("mlp.ffn_sub_norm", "inner"),
}

FLOATS = {  # safetensors' names of what widens to float32
    "BF16": lambda data: (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32),
    "F16": lambda data: np.frombuffer(data, "<f2").astype(np.float32),
    "F32": lambda data: np.frombuffer(data, "<f4").astype(np.float32),
}


def _refuse(file, field, defect, remedy):
    raise CheckpointError(f"{file}: {field}: {defect}; {remedy}")


def _read(path):
    try:
        return path.read_bytes()
    except OSError as error:
        _refuse(path, "file", (error.strerror or str(error)).lower(),
                f"a checkpoint is a folder with {CONFIG} and {WEIGHTS}, not split into shards")


def _read_config(path):
    try:
        config = json.loads(_read(path))
    except ValueError as error:
        _refuse(path, "JSON", str(error), "download the file again")
    if not isinstance(config, dict):
        _refuse(path, "JSON", "not an object", "download the file again")
    return config


def _require(path, config, table, prefix=""):
    for key, wanted, default, remedy in table:
        value = config.get(key, default)
        if value != wanted:
            _refuse(path, prefix + key, f"{value!r} instead of {wanted!r}", remedy)


def _number(path, config, key, kind):
    value = config.get(key)
    if key not in config:
        _refuse(path, key, "missing", f"add {key} as it was in training")
    if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < LIMIT:
        _refuse(path, key, f"{value!r} is no positive {'integer' if kind is int else 'number'} below 2**31",
                f"correct {key} as it was in training")
    return value


def _check_config(path, config):
    """Sizes by the names of Checkpoint, theta and eps."""
    _require(path, config, REQUIRED)
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        _refuse(path, "quantization_config", "absent: a plain float model, not BitNet",
                "use a checkpoint with packed ternary weights")
    _require(path, quantization, QUANTIZATION, "quantization_config.")
    sizes = {name: _number(path, config, key, int) for name, key in SIZES.items()}
    for name, limit in LIMITS.items():
        if sizes[name] > limit:
            _refuse(path, SIZES[name], f"{sizes[name]} is more than the {limit} supported", "use a smaller model")
    for whole, part, name, times in (("hidden", "heads", "num_attention_heads", 2),
                                     ("heads", "kv_heads", "num_key_value_heads", 1)):
        if sizes[whole] % (times * sizes[part]):
            _refuse(path, name, f"{times} * {sizes[part]} does not divide {SIZES[whole]} {sizes[whole]}",
                    f"correct {name} as it was in training")
    sizes["kv"] = sizes["hidden"] // sizes["heads"] * sizes["kv_heads"]
    _require(path, config, [("head_dim", sizes["hidden"] // sizes["heads"], sizes["hidden"] // sizes["heads"],
                             "heads must fill the hidden size")])
    if not isinstance(config.get("tie_word_embeddings", False), bool):
        _refuse(path, "tie_word_embeddings", "neither true nor false", "correct it as it was in training")
    rope = config.get("rope_parameters") or config
    if not isinstance(rope, dict):
        _refuse(path, "rope_parameters", "not an object", "correct it as it was in training")
    _require(path, rope, [("rope_type", "default", "default", "only plain rotary embeddings are supported")],
             "rope_parameters.")
    return sizes, _number(path, rope, "rope_theta", (int, float)), _number(path, config, "rms_norm_eps", (int, float))


def _read_tensors(path):
    try:
        return dict(safetensors.deserialize(_read(path)))
    except safetensors.SafetensorError as error:
        _refuse(path, "safetensors", " ".join(str(error).split()), "the file is damaged: download it again")


def _take(path, tensors, name, shape, kinds):
    """Remove a tensor and return its type and bytes."""
    if name not in tensors:
        _refuse(path, name, "missing", f"the checkpoint is incomplete for its {CONFIG}: download it again")
    tensor = tensors.pop(name)
    if tensor["dtype"] not in kinds:
        _refuse(path, name, f"type {tensor['dtype']} instead of {' or '.join(kinds)}",
                "export it again with packed weights (U8) and norms, scales and embedding as floats")
    if tuple(tensor["shape"]) != shape:
        _refuse(path, name, f"shape {list(tensor['shape'])} instead of {list(shape)}",
                f"use the {CONFIG} that belongs to these weights")
    return tensor["dtype"], tensor["data"]


def _floats(path, tensors, name, *shape):
    kind, data = _take(path, tensors, name, shape, FLOATS)
    values = FLOATS[kind](data).reshape(shape)
    if not np.isfinite(values).all():
        _refuse(path, name, "holds NaN or infinity", "the export is damaged: export or download it again")
    return values


def _ternary(path, tensors, name, rows, columns):
    if rows % 4:
        _refuse(path, name, f"{rows} rows are no multiple of 4", "packed weights need a multiple of 4")
    _, data = _take(path, tensors, name, (rows // 4, columns), ["U8"])
    try:
        trits = plain_decode(np.frombuffer(data, np.uint8)[:, None])  # [rows / 4 * columns, 4]
    except ValueError as error:
        _refuse(path, name, str(error), "the export is damaged: export or download it again")
    scale = float(_floats(path, tensors, name + "_scale", 1)[0])
    if scale <= 0:
        _refuse(path, name + "_scale", f"{scale} is not positive", "export the checkpoint again")
    return Ternary(trits.reshape(rows // 4, columns, 4).transpose(2, 0, 1).reshape(rows, columns), scale)


def _layer(path, tensors, sizes, index):
    prefix = f"model.layers.{index}"
    matrices = {field: _ternary(path, tensors, f"{prefix}.{name}.weight", sizes[rows], sizes[columns])
                for field, (name, rows, columns) in MATRICES.items()}
    norms = {field: _floats(path, tensors, f"{prefix}.{name}.weight", sizes[size])
             for field, (name, size) in NORMS.items()}
    return CheckpointLayer(**matrices, **norms)


def load(folder):
    """Checkpoint of a folder. Raises CheckpointError, in one line, for whatever is wrong with it."""
    folder = pathlib.Path(folder)
    config = _read_config(folder / CONFIG)
    sizes, theta, eps = _check_config(folder / CONFIG, config)
    path = folder / WEIGHTS
    tensors = _read_tensors(path)
    vocab, hidden = sizes["vocab"], sizes["hidden"]
    tied = config.get("tie_word_embeddings", False)
    checkpoint = Checkpoint(
        vocab=vocab, context=sizes["context"], hidden=hidden, inner=sizes["inner"], heads=sizes["heads"],
        kv_heads=sizes["kv_heads"], rope_theta=float(theta), eps=float(eps), activation="relu2",
        embedding=_floats(path, tensors, "model.embed_tokens.weight", vocab, hidden),
        layers=tuple(_layer(path, tensors, sizes, index) for index in range(sizes["layers"])),
        norm=_floats(path, tensors, "model.norm.weight", hidden),
        head=None if tied else _floats(path, tensors, "lm_head.weight", vocab, hidden))
    if tensors:
        _refuse(path, min(tensors), "not part of this model", f"use the {CONFIG} that belongs to these weights")
    return checkpoint
