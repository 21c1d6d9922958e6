"""Writes models in the formats of others: Hugging Face's packed folders and bitnet.cpp's GGUF.

``transformers`` loads the folders: BitNetForCausalLM with an offline "autobitlinear" quantisation, four weights to a
byte, scales to multiply by. Its files hold each float tensor in the narrowest type that is exact.

GGUF holds weights as I2_S, type 36, which is bitnet.cpp's own: of 128 consecutive weights of a matrix in C order,
weight 32 g + p is in bits 7 - 2 g to 6 - 2 g of byte p, as 0, 1, 2 for -1, 0, +1. Behind the weights are the scale,
float32, and 28 zeros.
"""

import json
import math
import struct

import numpy as np

from ..golden.codes import plain_encode
from .floats import FLOATS, narrow, narrowest
from .gguf_file import ALIGNMENT, ENDS, FLOAT_TYPES, I2_S, I2_S_BLOCK, gguf_name
from .model_file import MATRICES, refuse
from .safetensors_file import hf_name
from .tokenizer import gguf_vocabulary


__all__ = ["hf_config", "write_gguf", "write_safetensors"]


TYPES = FLOAT_TYPES | {"I2_S": I2_S}
I2_S_FILE = 40  # what bitnet.cpp calls a file of mostly I2_S


def hf_config(model, kinds):
    """Content of config.json; of ``kinds``, which write_safetensors returns, transformers takes one that holds all."""
    architecture = model.architecture
    return {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "vocab_size": architecture.vocab,
        "hidden_size": architecture.hidden,
        "intermediate_size": architecture.inner,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.kv_heads,
        "max_position_embeddings": architecture.context,
        "hidden_act": architecture.activation,
        "rms_norm_eps": architecture.eps,
        "rope_theta": architecture.rope_theta,
        "tie_word_embeddings": architecture.tied,
        "attention_bias": False,
        "bos_token_id": None,
        "eos_token_id": {0: None, 1: next(iter(model.ends), None)}.get(len(model.ends), list(model.ends)),
        "pad_token_id": None,
        "torch_dtype": "bfloat16" if kinds == {"BF16"} else "float32",
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                                "quantization_mode": "offline"},
    }


def write_safetensors(file, path, model, progress):
    """Write model.safetensors to a file that is open for writing and can seek, and is to be called ``path``.

    Scales come first, then other floats, and the packed weights last, so that everything is aligned. Returns the set of
    the narrowest float types, by their names in safetensors.
    """
    parts = list(model.architecture.parts())
    matrices = [part for part in parts if part[1] in MATRICES]
    floats = sorted(((narrowest(model.pieces(layer, name)), layer, name, shape)
                     for layer, name, shape in parts if name not in MATRICES), key=lambda entry: entry[0] != "F32")
    header, offset = {"__metadata__": {"format": "pt"}}, 0

    def reserve(name, kind, shape):
        nonlocal offset
        size = math.prod(shape) * (FLOATS[kind].itemsize if kind in FLOATS else 1)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size

    for layer, name, _ in matrices:
        reserve(hf_name(layer, name) + "_scale", "F32", (1,))
    for kind, layer, name, shape in floats:
        reserve(hf_name(layer, name), kind, shape)
    for layer, name, (rows, columns) in matrices:
        if rows % 4:
            refuse(path, hf_name(layer, name), f"{rows} rows are no multiple of 4", "choose --format setun")
        reserve(hf_name(layer, name), "U8", (rows // 4, columns))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)

    start, scales, done = file.tell(), [], 0
    file.write(bytes(4 * len(matrices)))
    for kind, layer, name, _ in floats:
        for values in model.pieces(layer, name):
            file.write(narrow(values, kind))
        done += 1
        progress(done, len(parts))
    for layer, name, (rows, columns) in matrices:
        codes, scale = model.ternary(layer, name)
        scales.append(scale)
        file.write(plain_encode(codes.reshape(4, rows // 4, columns)))
        done += 1
        progress(done, len(parts))
    file.seek(start)
    file.write(np.array(scales, "<f4"))
    return {kind for kind, *_ in floats} | {narrowest([np.array(scales, np.float32)])}


def _gguf_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _gguf_value(value):
    """A value behind its type."""
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + _gguf_string(value)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_gguf_string, value))
        case _:
            return struct.pack("<IIQ", 9, 5, len(value)) + np.array(value, "<i4").tobytes()


def i2_s(codes, scale):  # int8 [M, n], M n a multiple of 128 -> bytes
    """A matrix as I2_S."""
    fields = codes.reshape(-1, 4, 32)[:, ::-1].swapaxes(0, 1)  # plain_encode takes the low bits first
    return plain_encode(fields).tobytes() + struct.pack("<f28x", scale)


def write_gguf(file, path, model, tokenizer, progress):
    """Write a GGUF to a file that is open for writing and is to be called ``path``."""
    architecture = model.architecture
    if not architecture.tied and architecture.activation == "silu":
        refuse(path, "output.weight", "behind silu bitnet.cpp takes the embedding for the head",
               "choose --format hf or setun")
    if len(model.ends) > len(ENDS):
        refuse(path, ENDS[0], f"{len(model.ends)} tokens end a text, and there is a place for {len(ENDS)}",
               "choose --format hf or setun")
    family = {"relu2": "bitnet-b1.58", "silu": "bitnet"}[architecture.activation]
    head_dim = architecture.hidden // architecture.heads
    fields = {
        "general.architecture": family,
        "general.file_type": I2_S_FILE,
        "general.alignment": ALIGNMENT,
        f"{family}.vocab_size": architecture.vocab,
        f"{family}.context_length": architecture.context,
        f"{family}.embedding_length": architecture.hidden,
        f"{family}.block_count": architecture.layers,
        f"{family}.feed_forward_length": architecture.inner,
        f"{family}.rope.dimension_count": head_dim,
        f"{family}.rope.freq_base": float(architecture.rope_theta),
        f"{family}.attention.head_count": architecture.heads,
        f"{family}.attention.head_count_kv": architecture.kv_heads,
        f"{family}.attention.layer_norm_rms_epsilon": float(architecture.eps),
        **gguf_vocabulary(tokenizer, architecture.vocab, path),
        **dict(zip(ENDS, model.ends)),
    }
    parts = [(layer, name, shape, _gguf_kind(model, layer, name)) for layer, name, shape in architecture.parts()]
    infos, offset = [], 0
    for layer, name, shape, kind in parts:
        if kind == "I2_S" and math.prod(shape) % I2_S_BLOCK:
            refuse(path, gguf_name(layer, name), f"{math.prod(shape)} weights are no multiple of {I2_S_BLOCK}",
                   "choose --format hf or setun")
        infos.append(_gguf_string(gguf_name(layer, name)) + struct.pack(
            f"<I{len(shape)}QIQ", len(shape), *reversed(shape), TYPES[kind], offset))
        size = math.prod(shape) // 4 + 32 if kind == "I2_S" else math.prod(shape) * FLOATS[kind].itemsize
        offset += size + -size % ALIGNMENT
    file.write(struct.pack("<4sIQQ", b"GGUF", 3, len(parts), len(fields)))
    for name, value in fields.items():
        file.write(_gguf_string(name) + _gguf_value(value))
    file.write(b"".join(infos))
    for done, (layer, name, _, kind) in enumerate(parts):
        file.write(bytes(-file.tell() % ALIGNMENT))
        pieces = ([i2_s(*model.ternary(layer, name))] if kind == "I2_S"
                  else (narrow(values, kind) for values in model.pieces(layer, name)))
        for piece in pieces:
            file.write(piece)
        progress(done + 1, len(parts))
    file.write(bytes(-file.tell() % ALIGNMENT))


def _gguf_kind(model, layer, name):
    """Matrices are I2_S and norms float32, which bitnet.cpp wants; embedding and head are as narrow as is exact."""
    if name in MATRICES:
        return "I2_S"
    return "F32" if name not in ("embedding", "head") else narrowest(model.pieces(layer, name), ("F16", "BF16", "F32"))
