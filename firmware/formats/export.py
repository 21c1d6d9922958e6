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
from ..golden.rotary import Rope
from .floats import FLOATS, narrow, narrowest
from .gguf_blocks import FLOAT_TYPES, I2_S, I2_S_BLOCK
from .gguf_file import CHAT_TEMPLATE, ENDS, LLAMA, gguf_name, neighbours
from .gguf_layout import ALIGNMENT
from .gguf_rope import BANDS, FREQUENCIES, frequency_factors
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
        "architectures": ["BitNetForCausalLM" if architecture.sub_norms else "LlamaForCausalLM"],
        "model_type": "bitnet" if architecture.sub_norms else "llama",
        "vocab_size": architecture.vocab,
        "hidden_size": architecture.hidden,
        "intermediate_size": architecture.inner,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.kv_heads,
        "head_dim": architecture.head_dim,
        "max_position_embeddings": architecture.context,
        "hidden_act": architecture.activation,
        "rms_norm_eps": architecture.eps,
        "rope_theta": architecture.rope_theta,
        "rope_scaling": hf_rope_scaling(architecture),
        "tie_word_embeddings": architecture.tied,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": None,
        "eos_token_id": {0: None, 1: next(iter(model.ends), None)}.get(len(model.ends), list(model.ends)),
        "pad_token_id": None,
        "torch_dtype": "bfloat16" if kinds == {"BF16"} else "float32",
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                                "quantization_mode": "offline", "modules_to_not_convert": ["lm_head"]},
    }


def hf_rope_scaling(architecture):
    """What config.json calls the scaling of rotary embeddings; None where there is none."""
    if architecture.rope_factor == 1:
        return None
    if architecture.rope_bands is None:
        return {"rope_type": "linear", "factor": architecture.rope_factor}
    low, high, context = architecture.rope_bands
    return {"rope_type": "llama3", "factor": architecture.rope_factor, "low_freq_factor": low,
            "high_freq_factor": high, "original_max_position_embeddings": context}


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
    family = {(True, "relu2"): "bitnet-b1.58", (True, "silu"): "bitnet", (False, "silu"): LLAMA}.get(
        (architecture.sub_norms, architecture.activation))
    if family is None:
        refuse(path, "general.architecture", "none has squared ReLU and no sub-norms", "choose --format hf or setun")
    if not architecture.tied and family == "bitnet":
        refuse(path, "output.weight", "behind silu bitnet.cpp takes the embedding for the head",
               "choose --format hf or setun")
    rope = Rope(architecture.rope_theta, architecture.rope_factor, architecture.rope_bands)
    if rope.bands is not None and rope.bands[:2] != BANDS:
        refuse(path, FREQUENCIES, f"low and high of the rotary embedding, {rope.bands[:2]}, would be lost",
               "choose --format hf or setun")
    if len(model.ends) > len(ENDS):
        refuse(path, ENDS[0], f"{len(model.ends)} tokens end a text, and there is a place for {len(ENDS)}",
               "choose --format hf or setun")
    vocabulary = gguf_vocabulary(tokenizer, architecture.vocab, path)
    ends = gguf_ends(path, model, vocabulary.get(ENDS[0]))
    head_dim = architecture.head_dim
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
        **gguf_rope_scaling(family, rope),
        f"{family}.attention.key_length": head_dim,
        f"{family}.attention.value_length": head_dim,
        f"{family}.attention.head_count": architecture.heads,
        f"{family}.attention.head_count_kv": architecture.kv_heads,
        f"{family}.attention.layer_norm_rms_epsilon": float(architecture.eps),
        **vocabulary,
        **ends,
        **({CHAT_TEMPLATE: model.chat_template} if model.chat_template is not None else {}),
    }
    parts = [(gguf_name(layer, name), shape, _gguf_kind(model, layer, name), (layer, name))
             for layer, name, shape in architecture.parts()]
    if rope.bands is not None:
        parts.append((FREQUENCIES, (head_dim // 2,), "F32", None))
    infos, offset = [], 0
    for full, shape, kind, _ in parts:
        if kind == "I2_S" and math.prod(shape) % I2_S_BLOCK:
            refuse(path, full, f"{math.prod(shape)} weights are no multiple of {I2_S_BLOCK}",
                   "choose --format hf or setun")
        infos.append(_gguf_string(full) + struct.pack(
            f"<I{len(shape)}QIQ", len(shape), *reversed(shape), TYPES[kind], offset))
        size = math.prod(shape) // 4 + 32 if kind == "I2_S" else math.prod(shape) * FLOATS[kind].itemsize
        offset += size + -size % ALIGNMENT
    file.write(struct.pack("<4sIQQ", b"GGUF", 3, len(parts), len(fields)))
    for name, value in fields.items():
        file.write(_gguf_string(name) + _gguf_value(value))
    file.write(b"".join(infos))
    for done, (_, _, kind, part) in enumerate(parts):
        file.write(bytes(-file.tell() % ALIGNMENT))
        if part is None:
            pieces = [narrow(frequency_factors(rope, head_dim), kind)]
        elif kind == "I2_S":
            pieces = [_gguf_matrix(model, family, *part)]
        else:
            pieces = (narrow(values, kind) for values in model.pieces(*part))
        for piece in pieces:
            file.write(piece)
        progress(done + 1, len(parts))
    file.write(bytes(-file.tell() % ALIGNMENT))


def _gguf_matrix(model, family, layer, name):
    codes, scale = model.ternary(layer, name)
    if family == LLAMA and name in ("q", "k"):
        codes = neighbours(codes, model.architecture.heads if name == "q" else model.architecture.kv_heads)
    return i2_s(codes, scale)


def gguf_ends(path, model, behind):
    """Fields of the tokens that end a text; ``behind`` is the one that the tokenizer puts behind each, or None."""
    if behind is not None and behind not in model.ends:
        refuse(path, ENDS[0], f"the tokenizer puts {behind} behind a text, which does not end one",
               "choose --format hf or setun")
    ends = sorted(model.ends, key=lambda token: token != behind)
    return dict(zip(ENDS, [*ends, *ends[-1:] * len(ENDS)]))  # fields that lacked would be filled by names


def gguf_rope_scaling(family, rope):
    """Fields of a GGUF that tell of Rope's scaling; what it divides the frequencies by is a tensor."""
    if rope.bands is not None:
        return {f"{family}.rope.scaling.original_context_length": rope.bands[2]}
    if rope.factor == 1:
        return {}
    return {f"{family}.rope.scaling.type": "linear", f"{family}.rope.scaling.factor": float(rope.factor)}


def _gguf_kind(model, layer, name):
    """Matrices are I2_S and norms float32, which bitnet.cpp wants; embedding and head are as narrow as is exact."""
    if name in MATRICES:
        return "I2_S"
    return "F32" if name not in ("embedding", "head") else narrowest(model.pieces(layer, name), ("F16", "BF16", "F32"))
