"""Ternary models in GGUF: bitnet.cpp's I2_S, and llama.cpp's TQ2_0 and TQ1_0.

Matrices may be floats, too, if they are -s, 0 and s throughout; embedding and head may be of llama.cpp's types with
blocks, which the library ``gguf`` reads. A file of architecture "llama" turns the neighbours 2 j and 2 j + 1 of a head,
and so its rows of q and k have another order than Hugging Face's.
"""

import copy
import math
import re

import msgspec
import numpy as np

from .floats import FLOATS, widen
from .gguf_blocks import (
    BLOCKS,
    FLOAT_TYPES,
    FLOATS_BY_NUMBER,
    FORMATS,
    I2_S,
    MATRIX_TYPES,
    TABLE_TYPES,
    X86,
    decoded,
)
from .gguf_layout import DAMAGED, read_part
from .gguf_rope import FREQUENCIES, read_gguf_rope
from .model_file import MATRICES, MAX_HIDDEN, Architecture, ModelFile, mapped, refuse, scaled, within


__all__ = ["CHAT_TEMPLATE", "ENDS", "LLAMA", "Gguf", "gguf_name", "neighbours"]


LLAMA = "llama"  # the architecture without sub-norms
ACTIVATIONS = {"bitnet-b1.58": "relu2", "bitnet-25": "relu2", "bitnet": "silu", LLAMA: "silu"}  # by architecture
SPLIT_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
AGAIN = "convert the original checkpoint again, to I2_S, TQ1_0 or TQ2_0"

GGUF_NAMES = {
    "embedding": "token_embd",
    "norm": "output_norm",
    "head": "output",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
    "attention_norm": "attn_norm",
    "attention_sub_norm": "attn_sub_norm",
    "feed_forward_norm": "ffn_norm",
    "feed_forward_sub_norm": "ffn_sub_norm",
}
ENDS = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
# Where no field says what ends a turn, these do, by their names, as in llama.cpp.
TURN_ENDS = ("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>")
CHAT_TEMPLATE = "tokenizer.chat_template"
KEYS = {
    "context": "context_length",
    "hidden": "embedding_length",
    "inner": "feed_forward_length",
    "layers": "block_count",
    "heads": "attention.head_count",
    "eps": "attention.layer_norm_rms_epsilon",
}


def gguf_name(layer, name):
    """Name of a tensor in GGUF."""
    return ("" if layer is None else f"blk.{layer}.") + GGUF_NAMES[name] + ".weight"


def neighbours(rows, heads):  # [heads * D, ...] -> [heads * D, ...]
    """Rows in the order of architecture "llama": of each head 0, D / 2, 1, D / 2 + 1 and so on."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def halves(rows, heads):  # [heads * D, ...] -> [heads * D, ...]
    """Rows of architecture "llama" in Hugging Face's order, in which pair j of a head is j and j + D / 2."""
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


class Gguf(ModelFile):
    """A GGUF that is open, of one file or of several parts.

    Parameters
    ----------
    path : Path
        Of a file that is split, any part.
    data : uint8 [size]
        The file, memory-mapped.
    activation : str or None
        "relu2" or "silu" in place of what the architecture says.
    i2s_packing : str or None
        Of I2_S_PACKINGS: which machine packed matrices of type I2_S; X86 where it is None.

    Members
    -------
    packing : str or None
        Of I2_S_PACKINGS, how matrices of type I2_S are taken; None where they are of other types.
    """

    def __init__(self, path, data, activation=None, i2s_packing=None):
        super().__init__(path)
        self._fields, self._infos = read_part(path, data)
        self._read_other_parts()
        self._family = self._fields.get("general.architecture")
        self.architecture = self._read_architecture(activation)
        self._parts = {gguf_name(layer, name): (name, shape) for layer, name, shape in self.architecture.parts()}
        self._check_tensors()
        kind = self._infos[gguf_name(0, "q")].kind
        self.format, self.packing = FORMATS[kind], (i2s_packing or X86) if kind == I2_S else None
        self.ends, self._beyond = self._read_ends()
        self._asked = activation, i2s_packing

    def _read_other_parts(self):
        count = self._fields.get("split.count", 1)
        name = SPLIT_NAME.fullmatch(self.path.name)
        if count == 1 and not name:
            return
        if not name or count != int(name[3]):
            refuse(self.path, "split.count", f"{count}, and the name says "
                   + (f"{int(name[3])}" if name else "nothing of parts"), "give the parts the names that they had")
        paths = [self.path.with_name(f"{name[1]}-{part:05}-of-{name[3]}.gguf") for part in range(1, count + 1)]
        if missing := [path.name for path in paths if not path.is_file()]:
            refuse(self.path, "split.count", f"{count} parts, and {missing[0]} is missing", "download all parts")
        fields, infos = {}, {}
        for index, path in enumerate(paths):
            found, tensors = (self._fields, self._infos) if path == self.path else read_part(path, mapped(path))
            if found.get("split.no") != index or found.get("split.count") != count:
                refuse(path, "split.no", f"{found.get('split.no')} of {found.get('split.count')} in part {index + 1}",
                       "download all parts again")
            if twice := infos.keys() & tensors.keys():
                refuse(path, min(twice), "in another part too", DAMAGED)
            fields, infos = found | fields, infos | tensors
        self._fields, self._infos = fields, infos

    def _read_architecture(self, activation):
        family = self._family
        if not isinstance(family, str) or family not in ACTIVATIONS:
            refuse(self.path, "general.architecture", f"{family!r} is none of {', '.join(ACTIVATIONS)}",
                   "use a BitNet b1.58 model: scales of groups of weights, and norms of queries and keys, are not "
                   "supported")
        found = {"vocab": self._info(gguf_name(None, "embedding")).shape[0],
                 "tied": gguf_name(None, "head") not in self._infos,
                 "activation": activation or ACTIVATIONS[family], "sub_norms": family != LLAMA}
        for name, key in KEYS.items():
            if f"{family}.{key}" not in self._fields:
                refuse(self.path, f"{family}.{key}", "missing", AGAIN)
            value = self._fields[f"{family}.{key}"]
            found[name] = float(str(np.float32(value))) if type(value) is float else value
        found["kv_heads"] = self._kv_heads(found)
        found["head_dim"] = self._head_dim(found)
        found |= read_gguf_rope(self.path, family, self._fields, found["head_dim"], self._frequency_factors())
        try:
            architecture = msgspec.convert(found, Architecture)
        except msgspec.ValidationError as error:
            refuse(self.path, family, " ".join(str(error).split()), AGAIN)
        if architecture.count > 2 * len(self._infos):
            refuse(self.path, f"{family}.block_count", f"{architecture.layers} and {len(self._infos)} tensors", DAMAGED)
        for key, only in (("vocab_size", architecture.vocab), ("rope.dimension_count", architecture.head_dim),
                          ("attention.value_length", architecture.head_dim)):
            if self._fields.get(f"{family}.{key}", only) != only:
                refuse(self.path, f"{family}.{key}", f"{self._fields[f'{family}.{key}']!r} instead of {only!r}",
                       "use a model with rotary embeddings of whole heads")
        return architecture

    def _kv_heads(self, found):
        """Number of kv heads: that of the heads where the file has no field for it, which may list every layer."""
        key = f"{self._family}.attention.head_count_kv"
        told = self._fields.get(key, found["heads"])
        if isinstance(told, list):
            if len(set(told)) != 1:
                refuse(self.path, key, f"{str(told)[:80]}", "use a model whose layers have equally many")
            told = told[0]
        return told

    def _head_dim(self, found):
        key = f"{self._family}.attention.key_length"
        if key in self._fields:
            if type(self._fields[key]) is not int or not 0 < self._fields[key] <= MAX_HIDDEN:
                refuse(self.path, key, f"{self._fields[key]!r} is no size of a head", AGAIN)
            return self._fields[key]
        hidden, heads = found["hidden"], found["heads"]
        if type(hidden) is not int or type(heads) is not int or heads < 1 or hidden % heads:
            refuse(self.path, f"{self._family}.attention.head_count", f"{heads!r} does not divide {hidden!r}", AGAIN)
        return hidden // heads

    def _read_ends(self):
        found = {key: self._fields[key] for key in ENDS if key in self._fields}
        for key, token in found.items():
            if type(token) is not int:
                refuse(self.path, key, f"{token!r} is no token", AGAIN)
        tokens = self._fields.get("tokenizer.ggml.tokens")
        if ENDS[1] not in found and isinstance(tokens, list):
            found |= {name: tokens.index(name) for name in TURN_ENDS if name in tokens}
        return within(found.items(), self.architecture.vocab)

    def _info(self, name):
        if name not in self._infos:
            refuse(self.path, name, "missing", DAMAGED)
        return self._infos[name]

    def _check_tensors(self):
        for name in self._parts:
            self._info(name)
        for name, info in self._infos.items():
            if name not in self._parts and name != FREQUENCIES:
                refuse(info.path, name, "not part of this model", "use a BitNet b1.58 model without more tensors")
        kinds, ends = set(), {}
        for name, info in sorted(self._infos.items(), key=lambda item: item[1].offset):
            part, expected = self._parts.get(name, (name, info.shape))
            allowed = (MATRIX_TYPES if part in MATRICES else TABLE_TYPES if part in ("embedding", "head")
                       else FLOATS_BY_NUMBER)
            if info.kind not in allowed:
                refuse(info.path, name, f"type {info.kind} instead of {' or '.join(allowed.values())}", AGAIN)
            if info.shape != expected:
                refuse(info.path, name, f"shape {list(info.shape)} instead of {list(expected)}", DAMAGED)
            self._check_place(name, info, ends.get(info.path, 0))
            ends[info.path] = info.offset + info.size
            kinds |= {info.kind} if part in MATRICES else set()
        if len(kinds) > 1:
            refuse(self.path, "tensors", f"matrices of types {sorted(kinds)}", AGAIN)

    def _check_place(self, name, info, start=0):
        """A tensor's blocks are whole, and it lies behind ``start`` and before the end of its file."""
        kind, block, _ = BLOCKS[info.kind]
        if (math.prod(info.shape) if info.kind == I2_S else info.shape[-1]) % block:
            refuse(info.path, name, f"shape {list(info.shape)} does not fill blocks of {kind}", DAMAGED)
        if info.offset < start or info.offset + info.size > len(info.data):
            refuse(info.path, name, f"{info.size} bytes at {info.offset} overlap others or are beyond the end", DAMAGED)

    def _frequency_factors(self):
        """The tensor FREQUENCIES, float32; None where there is none."""
        if FREQUENCIES not in self._infos:
            return None
        info = self._infos[FREQUENCIES]
        if info.kind not in FLOATS_BY_NUMBER:
            refuse(info.path, FREQUENCIES, f"type {info.kind} instead of {' or '.join(FLOAT_TYPES)}", AGAIN)
        self._check_place(FREQUENCIES, info)
        return self._floats(FREQUENCIES)

    def ternary(self, layer, name):
        """Ternary matrix ``name`` of a layer; see ``ModelFile``. Raises CheckpointError."""
        full = gguf_name(layer, name)
        info = self._infos[full]
        data = self._floats(full) if info.kind in FLOATS_BY_NUMBER else info.bytes
        try:
            codes, scale = decoded(info.kind, data, self.packing)
        except ValueError as error:
            refuse(info.path, full, str(error), AGAIN)
        codes = codes.reshape(info.shape)
        if self._family == LLAMA and name in ("q", "k"):
            codes = halves(codes, self.architecture.heads if name == "q" else self.architecture.kv_heads)
        return scaled(info.path, full, codes, scale, AGAIN)

    def _floats(self, name, start=None, stop=None):
        kind, shape, path, _, _ = info = self._infos[name]
        rows = info.bytes.reshape(shape[0], -1)[start:stop]
        if kind in FLOATS_BY_NUMBER:
            kind = FLOATS_BY_NUMBER[kind]
            values = widen(rows.view(FLOATS[kind]).reshape(-1, *shape[1:]), kind)
        else:
            from gguf.quants import dequantize  # takes its time, and most files have none of these
            with np.errstate(over="ignore", invalid="ignore"):  # what is no number is refused below
                values = dequantize(np.ascontiguousarray(rows), kind)
        if not np.isfinite(values).all():
            refuse(path, name, "holds NaN or infinity", AGAIN)
        return values

    def norm(self, layer, name):
        """Norm ``name`` of a layer, or the last norm where ``layer`` is None, float32 [n]. Raises CheckpointError."""
        return self._floats(gguf_name(layer, "norm" if layer is None else name))

    def rows(self, name, start, stop):
        """Rows ``start`` to ``stop`` of the embedding or the head, float32. Raises CheckpointError."""
        return self._floats(gguf_name(None, name), start, stop)

    def tensors(self):
        """(name in the file, layer, name) of every tensor."""
        return ((gguf_name(layer, name), layer, name) for layer, name, _ in self.architecture.parts())

    @property
    def taken(self):
        """What the file does not tell, or not for sure, and how it was taken."""
        lines = [f"activation {self.architecture.activation}, "
                 + ("as asked" if self._asked[0] else f"as architecture {self._family!r} says")]
        if self.packing is not None:
            lines.append(f"I2_S as packed on {self.packing}, "
                         + ("as asked" if self._asked[1] else "for the file does not tell: --i2s-packing chooses"))
        return lines + self._beyond

    def packed_on(self, packing):
        """The same file, its matrices taken for packed on another machine."""
        other = copy.copy(self)
        other.packing = packing
        return other

    @property
    def chat_template(self):
        """Jinja's template of a conversation; None where there is none."""
        found = self._fields.get(CHAT_TEMPLATE)
        return found if isinstance(found, str) else None

    @property
    def tokenizer(self):
        """{key: value} of the fields that describe the tokenizer; None where there are none."""
        found = {key: value for key, value in self._fields.items() if key.startswith("tokenizer.ggml.")}
        return found if found.get("tokenizer.ggml.model", "no_vocab") not in ("no_vocab", "none") else None
