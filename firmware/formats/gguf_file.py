"""Ternary models in GGUF: bitnet.cpp's I2_S, and llama.cpp's TQ2_0 and TQ1_0.

The layout of I2_S is told in firmware/formats/export.py. Blocks of TQ2_0 and TQ1_0 are 256 consecutive weights of a
row and a scale, float16, that is equal in all blocks of a tensor, or 0 where all weights of a block are:

    TQ2_0   64 bytes: of half h, weight 128 h + 32 n + m is in bits 2 n + 1 to 2 n of byte 32 h + m, plus 1
    TQ1_0   48 bytes of five trits and four bytes of four, the first trit most significant, v of 243 as
            ceil(256 v / 243): trit n of byte m < 32 is weight 32 n + m, that of byte 32 + m weight 160 + 16 n + m, that
            of the four bytes weight 240 + 4 n + m, plus 1

Matrices may be floats, too, if they are -s, 0 and s throughout; embedding and head may be of llama.cpp's types with
blocks, which the library ``gguf`` reads. A file of architecture "llama" turns the neighbours 2 j and 2 j + 1 of a head,
and so its rows of q and k have another order than Hugging Face's.
"""

import math
import pathlib
import re
import struct
from typing import NamedTuple

import msgspec
import numpy as np

from ..golden.codes import plain_decode
from ..golden.fixed import MAX_HIDDEN
from ..golden.model import Ternary
from .floats import FLOATS, widen
from .gguf_rope import FREQUENCIES, read_gguf_rope
from .model_file import MATRICES, Architecture, CheckpointError, ModelFile, mapped, refuse, scaled


__all__ = ["ALIGNMENT", "CHAT_TEMPLATE", "ENDS", "FLOAT_TYPES", "GGUF_MAGIC", "I2_S", "I2_S_BLOCK", "I2_S_PACKINGS",
           "LLAMA", "Gguf", "gguf_name", "neighbours"]


GGUF_MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32
FLOAT_TYPES = {"F32": 0, "F16": 1, "BF16": 30}
I2_S, TQ1_0, TQ2_0 = 36, 34, 35
I2_S_BLOCK, TQ_BLOCK = 128, 256  # weights
X86 = "x86"
I2_S_PACKINGS = {X86: 128, "arm": 64}  # weights in a block, by the machine that packed them
# What of a trained model tells its packing: the share of weights that are not 0 goes with the norm, column by column.
WITNESSES = {"v": "attention_norm", "o": "attention_sub_norm", "up": "feed_forward_norm",
             "down": "feed_forward_sub_norm"}
MOST_LAYERS, DOUBT = 4, 25  # that are looked at; sum of squared correlations, in units of those of chance, that counts
LLAMA = "llama"  # the architecture without sub-norms
ACTIVATIONS = {"bitnet-b1.58": "relu2", "bitnet-25": "relu2", "bitnet": "silu", LLAMA: "silu"}  # by architecture
FLOATS_BY_NUMBER = {number: kind for kind, number in FLOAT_TYPES.items()}
MATRIX_TYPES = {I2_S: "I2_S", TQ1_0: "TQ1_0", TQ2_0: "TQ2_0"} | FLOATS_BY_NUMBER
FORMATS = {I2_S: "gguf-i2s", TQ1_0: "gguf-tq1", TQ2_0: "gguf-tq2"} | dict.fromkeys(FLOATS_BY_NUMBER, "gguf-float")
BLOCKS = {  # by the number of a type: its name, weights in a block and bytes of one
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), I2_S: ("I2_S", 128, 32), TQ1_0: ("TQ1_0", TQ_BLOCK, 54), TQ2_0: ("TQ2_0", TQ_BLOCK, 66),
    **{number: (kind, 1, FLOATS[kind].itemsize) for kind, number in FLOAT_TYPES.items()},
}
TABLE_TYPES = {number: name for number, (name, *_) in BLOCKS.items() if number not in (I2_S, TQ1_0, TQ2_0)}
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MOST_METADATA, MOST_ITEMS, MOST_TENSORS = 1 << 26, 1 << 22, 1 << 14
SPLIT_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
DAMAGED = "the file is damaged: download it again"
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


class _Cursor:
    """Reads what stands one behind the other, and refuses to leave the file."""

    def __init__(self, path, data):
        self.path, self.data, self.position, self.items = path, data[:MOST_METADATA].tobytes(), 0, 0

    def bytes(self, size):
        if size > len(self.data) - self.position:
            refuse(self.path, "metadata", f"{size} bytes at {self.position} are beyond the end", DAMAGED)
        self.position += size
        return self.data[self.position - size:self.position]

    def number(self, code):
        return struct.unpack("<" + code, self.bytes(struct.calcsize("<" + code)))[0]

    def string(self):
        try:
            return self.bytes(self.number("Q")).decode()
        except UnicodeDecodeError:
            refuse(self.path, "metadata", f"no UTF-8 before {self.position}", DAMAGED)

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            kind, count = self.number("I"), self.number("Q")
            self.items += count
            if self.items > MOST_ITEMS:
                refuse(self.path, "metadata", f"arrays of {self.items} items", DAMAGED)
            if kind in SCALARS:
                code = "<" + SCALARS[kind]
                return [value for value, in struct.iter_unpack(code, self.bytes(count * struct.calcsize(code)))]
            if kind == STRING:
                return [self.string() for _ in range(count)]
        elif kind in SCALARS:
            return self.number(SCALARS[kind])
        refuse(self.path, "metadata", f"type {kind} of a value before {self.position}", DAMAGED)


def neighbours(rows, heads):  # [heads * D, ...] -> [heads * D, ...]
    """Rows in the order of architecture "llama": of each head 0, D / 2, 1, D / 2 + 1 and so on."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def halves(rows, heads):  # [heads * D, ...] -> [heads * D, ...]
    """Rows of architecture "llama" in Hugging Face's order, in which pair j of a head is j and j + D / 2."""
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


class Info(NamedTuple):
    """Where a tensor lies: type, shape, the file, and its place in the file's bytes."""
    kind: int
    shape: tuple
    path: pathlib.Path
    data: np.ndarray
    offset: int

    @property
    def size(self):
        """Bytes, of whole blocks."""
        _, block, stored = BLOCKS[self.kind]
        return math.prod(self.shape) // block * stored + (32 if self.kind == I2_S else 0)

    @property
    def bytes(self):
        """uint8 [size]."""
        return self.data[self.offset:self.offset + self.size]


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
    """

    def __init__(self, path, data, activation=None, i2s_packing=None):
        super().__init__(path)
        self._fields, self._infos = _read_part(path, data)
        self._read_other_parts()
        self._family = self._fields.get("general.architecture")
        self._block = I2_S_PACKINGS[i2s_packing or X86]
        self.architecture = self._read_architecture(activation)
        self._parts = {gguf_name(layer, name): (name, shape) for layer, name, shape in self.architecture.parts()}
        self._check_tensors()
        self.format = FORMATS[self._infos[gguf_name(0, "q")].kind]
        self.ends = self._read_ends()
        self._told = activation, i2s_packing

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
            found, tensors = (self._fields, self._infos) if path == self.path else _read_part(path, mapped(path))
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
        return tuple(token for token in dict.fromkeys(found.values()) if 0 <= token < self.architecture.vocab)

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
        try:
            if info.kind == I2_S:
                codes, scale = _i2_s(info.bytes, self._block)
            elif info.kind in FLOATS_BY_NUMBER:
                codes, scale = _of_floats(self._floats(full))
            else:
                codes, scale = {TQ1_0: _tq1_0, TQ2_0: _tq2_0}[info.kind](info.bytes)
        except CheckpointError:
            raise
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
        """What the file does not tell, or not for sure, how it was taken, and what speaks against that."""
        activation, packing = self._told
        lines = [f"activation {self.architecture.activation}, "
                 + ("as asked" if activation else f"as architecture {self._family!r} says")]
        if self.format == "gguf-i2s":
            lines.append(f"I2_S as packed on {packing or X86}, "
                         + ("as asked" if packing else "for the file does not tell: --i2s-packing chooses"))
            own, other = (self._correlation(block)
                          for block in sorted(I2_S_PACKINGS.values(), key=lambda block: block != self._block))
            if other > DOUBT + 2 * own:
                name = next(name for name, block in I2_S_PACKINGS.items() if block != self._block)
                lines.append(f"the weights speak for I2_S as packed on {name}: with their norms they correlate "
                             f"{other / max(own, 1):,.0f} times as much then; try --i2s-packing {name}")
        return lines

    def _correlation(self, block):
        """Sum of n r^2 over some matrices, r between a norm's n weights and the shares of weights that are not 0.

        By chance it is about the number of matrices.
        """
        total, layers = 0, self.architecture.layers
        for layer in range(0, layers, -(-layers // MOST_LAYERS)):
            for name, norm in WITNESSES.items():
                if norm not in self.architecture.norms:
                    continue
                info = self._infos[gguf_name(layer, name)]
                codes, _ = _i2_s(info.bytes, block)
                share, weights = (codes.reshape(info.shape) != 0).mean(0), np.abs(self.norm(layer, norm))
                if share.std() and weights.std():
                    total += len(share) * np.corrcoef(share, weights)[0, 1] ** 2
        return total

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


def _read_part(path, data):
    """{key: value} and {name: Info} of one file."""
    cursor = _Cursor(path, data)
    if (magic := cursor.bytes(len(GGUF_MAGIC))) != GGUF_MAGIC:
        refuse(path, "magic", f"{magic!r} is not that of a GGUF", DAMAGED)
    version = cursor.number("I")
    if version != VERSION:
        refuse(path, "version", f"{version} instead of {VERSION}", "convert the original checkpoint again")
    tensors, count = cursor.number("Q"), cursor.number("Q")
    if tensors > MOST_TENSORS or count > MOST_TENSORS:
        refuse(path, "header", f"{tensors} tensors and {count} fields", DAMAGED)
    fields = {}
    for _ in range(count):
        key = cursor.string()
        fields[key] = cursor.value(cursor.number("I"))
    infos = {}
    for _ in range(tensors):
        name, dimensions = cursor.string(), cursor.number("I")
        if not 1 <= dimensions <= 4 or name in infos:
            refuse(path, name, "twice in the file" if name in infos else f"{dimensions} dimensions", DAMAGED)
        shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
        infos[name] = Info(cursor.number("I"), shape, path, data, cursor.number("Q"))
    alignment = fields.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or not 8 <= alignment <= 1 << 20 or alignment & alignment - 1:
        refuse(path, "general.alignment", f"{alignment!r} is no power of two from 8 to 2**20", DAMAGED)
    start = cursor.position + -cursor.position % alignment
    for name, info in infos.items():
        if info.offset % alignment:
            refuse(path, name, f"offset {info.offset} is no multiple of {alignment}", DAMAGED)
    return fields, {name: info._replace(offset=start + info.offset) for name, info in infos.items()}


def _of_floats(values):  # float32 [M, n] -> int8 [M, n], float
    """Codes and scale of a matrix that is -s, 0 and s throughout."""
    scale = np.abs(values).max(initial=0)
    if not np.isin(np.abs(values), (0, scale)).all():
        raise ValueError("floats that are not ternary times one scale: not BitNet")
    return np.sign(values).astype(np.int8), float(scale)


def _i2_s(data, block):  # uint8 [n / 4 + 32] -> int8 [n], float
    codes = plain_decode(data[:-32].reshape(-1, block // 4))[::-1].swapaxes(0, 1)
    return np.ascontiguousarray(codes).reshape(-1), struct.unpack("<f", data[-32:-28].tobytes())[0]


def _common_scale(codes, scales):  # int8 [blocks, 256], float16 [blocks] -> float
    """The scale of all blocks."""
    found = np.unique(scales[scales != 0])
    if not len(found) and not codes.any():
        return 0.0
    if len(found) != 1:  # NaN is unequal to itself, and is one too
        raise ValueError(f"{len(found)} different scales of blocks instead of one: not BitNet")
    if codes[scales == 0].any():
        raise ValueError("a block has the scale 0 and weights that are not")
    return float(found[0])


def _tq2_0(data):
    blocks = data.reshape(-1, 66)
    codes = np.moveaxis(plain_decode(blocks[:, :64].reshape(-1, 2, 32)), 0, 2).reshape(-1, TQ_BLOCK)
    return codes, _common_scale(codes, np.ascontiguousarray(blocks[:, 64:]).view("<f2")[:, 0])


_VALUES = np.arange(256) * 243 // 256  # of five trits
_TRITS = (_VALUES[:, None] // 3 ** np.arange(4, -1, -1) % 3 - 1).astype(np.int8)  # [256, 5]
_CANONICAL = -(-_VALUES * 256 // 243) == np.arange(256)


def _tq1_0(data):
    blocks = data.reshape(-1, 54)
    if not _CANONICAL[blocks[:, :52]].all() or _TRITS[blocks[:, 48:52], 4].max(initial=-1) > -1:
        raise ValueError("a byte stands for no trits")
    long, short, last = (_TRITS[part].swapaxes(1, 2).reshape(len(blocks), -1)
                         for part in (blocks[:, :32], blocks[:, 32:48], blocks[:, 48:52]))
    codes = np.concatenate([long, short, last[:, :16]], axis=1)
    return codes, _common_scale(codes, np.ascontiguousarray(blocks[:, 52:]).view("<f2")[:, 0])
