"""Ternary models in GGUF: bitnet.cpp's I2_S, and llama.cpp's TQ2_0 and TQ1_0.

The layout of I2_S is told in firmware/formats/export.py. Blocks of TQ2_0 and TQ1_0 are 256 consecutive weights of a
row and a scale, float16, that is equal in all blocks of a tensor, or 0 where all weights of a block are:

    TQ2_0   64 bytes: of half h, weight 128 h + 32 n + m is in bits 2 n + 1 to 2 n of byte 32 h + m, plus 1
    TQ1_0   48 bytes of five trits and four bytes of four, the first trit most significant, v of 243 as
            ceil(256 v / 243): trit n of byte m < 32 is weight 32 n + m, that of byte 32 + m weight 160 + 16 n + m, that
            of the four bytes weight 240 + 4 n + m, plus 1
"""

import math
import struct

import msgspec
import numpy as np

from ..golden.codes import plain_decode
from ..golden.model import Ternary
from .floats import FLOATS, widen
from .model_file import MATRICES, Architecture, ModelFile, refuse


__all__ = ["ACTIVATIONS", "ALIGNMENT", "ENDS", "FLOAT_TYPES", "GGUF_MAGIC", "I2_S", "I2_S_BLOCK", "Gguf", "gguf_name"]


GGUF_MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32
FLOAT_TYPES = {"F32": 0, "F16": 1, "BF16": 30}
I2_S, TQ1_0, TQ2_0 = 36, 34, 35
I2_S_BLOCK, TQ_BLOCK = 128, 256  # weights
ACTIVATIONS = {"bitnet-b1.58": "relu2", "bitnet-25": "relu2", "bitnet": "silu"}  # by general.architecture
MATRIX_TYPES = {I2_S: "I2_S", TQ1_0: "TQ1_0", TQ2_0: "TQ2_0"}
FORMATS = {I2_S: "gguf-i2s", TQ1_0: "gguf-tq1", TQ2_0: "gguf-tq2"}
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MOST_METADATA, MOST_ITEMS, MOST_TENSORS = 1 << 26, 1 << 20, 1 << 14
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
KEYS = {
    "context": "context_length",
    "hidden": "embedding_length",
    "inner": "feed_forward_length",
    "layers": "block_count",
    "heads": "attention.head_count",
    "kv_heads": "attention.head_count_kv",
    "rope_theta": "rope.freq_base",
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


class Gguf(ModelFile):
    """A GGUF that is open.

    Parameters
    ----------
    path : Path
    data : uint8 [size]
        The file, memory-mapped.
    """

    def __init__(self, path, data):
        super().__init__(path)
        self._data = data
        cursor = _Cursor(path, data)
        cursor.bytes(len(GGUF_MAGIC))
        version = cursor.number("I")
        if version != VERSION:
            refuse(path, "version", f"{version} instead of {VERSION}", "convert the original checkpoint again")
        tensors, count = cursor.number("Q"), cursor.number("Q")
        if tensors > MOST_TENSORS or count > MOST_TENSORS:
            refuse(path, "header", f"{tensors} tensors and {count} fields", DAMAGED)
        self._fields = {}
        for _ in range(count):
            key = cursor.string()
            self._fields[key] = cursor.value(cursor.number("I"))
        self._infos = self._read_infos(cursor, tensors)
        self.architecture = self._read_architecture()
        self._parts = {gguf_name(layer, name): (name, shape) for layer, name, shape in self.architecture.parts()}
        self._check_tensors()
        self.format = FORMATS[self._infos[gguf_name(0, "q")][0]]
        self.ends = self._read_ends()

    def _read_infos(self, cursor, count):
        infos = {}
        for _ in range(count):
            name, dimensions = cursor.string(), cursor.number("I")
            if not 1 <= dimensions <= 4 or name in infos:
                refuse(self.path, name, "twice in the file" if name in infos else f"{dimensions} dimensions", DAMAGED)
            shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
            infos[name] = cursor.number("I"), shape, cursor.number("Q")
        alignment = self._fields.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or not 8 <= alignment <= 1 << 20 or alignment & alignment - 1:
            refuse(self.path, "general.alignment", f"{alignment!r} is no power of two from 8 to 2**20", DAMAGED)
        start = cursor.position + -cursor.position % alignment
        for name, (_, _, offset) in infos.items():
            if offset % alignment:
                refuse(self.path, name, f"offset {offset} is no multiple of {alignment}", DAMAGED)
        return {name: (kind, shape, start + offset) for name, (kind, shape, offset) in infos.items()}

    def _read_architecture(self):
        family = self._fields.get("general.architecture")
        if not isinstance(family, str) or family not in ACTIVATIONS:
            refuse(self.path, "general.architecture", f"{family!r} is none of {', '.join(ACTIVATIONS)}",
                   "use a BitNet b1.58 model")
        _, shape, _ = self._info(gguf_name(None, "embedding"))
        found = {"vocab": shape[0], "tied": gguf_name(None, "head") not in self._infos,
                 "activation": ACTIVATIONS[family]}
        for name, key in KEYS.items():
            if f"{family}.{key}" not in self._fields:
                refuse(self.path, f"{family}.{key}", "missing", AGAIN)
            value = self._fields[f"{family}.{key}"]
            found[name] = float(str(np.float32(value))) if type(value) is float else value
        try:
            architecture = msgspec.convert(found, Architecture)
        except msgspec.ValidationError as error:
            refuse(self.path, family, " ".join(str(error).split()), AGAIN)
        if architecture.count > 2 * len(self._infos):
            refuse(self.path, f"{family}.block_count", f"{architecture.layers} and {len(self._infos)} tensors", DAMAGED)
        head_dim = architecture.hidden // architecture.heads
        for key, only in (("vocab_size", architecture.vocab), ("rope.dimension_count", head_dim),
                          ("attention.key_length", head_dim), ("attention.value_length", head_dim),
                          ("rope.scaling.type", "none")):
            if self._fields.get(f"{family}.{key}", only) != only:
                refuse(self.path, f"{family}.{key}", f"{self._fields[f'{family}.{key}']!r} instead of {only!r}",
                       "use a model with plain rotary embeddings of whole heads")
        return architecture

    def _read_ends(self):
        found = {key: self._fields[key] for key in ENDS if key in self._fields}
        for key, token in found.items():
            if type(token) is not int:
                refuse(self.path, key, f"{token!r} is no token", AGAIN)
        return tuple(token for token in found.values() if 0 <= token < self.architecture.vocab)

    def _info(self, name):
        if name not in self._infos:
            refuse(self.path, name, "missing", DAMAGED)
        return self._infos[name]

    def _check_tensors(self):
        for name in self._parts:
            self._info(name)
        for name in self._infos:
            if name not in self._parts:
                refuse(self.path, name, "not part of this model", "use a BitNet b1.58 model without more tensors")
        end, kinds = 0, set()
        for name, (kind, shape, offset) in sorted(self._infos.items(), key=lambda info: info[1][2]):
            part, expected = self._parts[name]
            allowed = MATRIX_TYPES if part in MATRICES else {number: key for key, number in FLOAT_TYPES.items()}
            if kind not in allowed:
                refuse(self.path, name, f"type {kind} instead of {' or '.join(allowed.values())}", AGAIN)
            if shape != expected:
                refuse(self.path, name, f"shape {list(shape)} instead of {list(expected)}", DAMAGED)
            if kind == I2_S and math.prod(shape) % I2_S_BLOCK or kind in (TQ1_0, TQ2_0) and shape[1] % TQ_BLOCK:
                refuse(self.path, name, f"shape {list(shape)} does not fill blocks of {allowed[kind]}", DAMAGED)
            size = _stored_bytes(kind, math.prod(shape))
            if offset < end or offset + size > len(self._data):
                refuse(self.path, name, f"{size} bytes at {offset} overlap others or are beyond the end", DAMAGED)
            end = offset + size
            kinds |= {kind} if part in MATRICES else set()
        if len(kinds) > 1:
            refuse(self.path, "tensors", f"matrices of types {sorted(kinds)}", AGAIN)

    def _stored(self, name):
        kind, shape, offset = self._infos[name]
        return kind, shape, self._data[offset:offset + _stored_bytes(kind, math.prod(shape))]

    def ternary(self, layer, name):
        """Ternary matrix ``name`` of a layer; see ``ModelFile``. Raises CheckpointError."""
        full = gguf_name(layer, name)
        kind, shape, data = self._stored(full)
        try:
            codes, scale = {I2_S: _i2_s, TQ1_0: _tq1_0, TQ2_0: _tq2_0}[kind](data)
        except ValueError as error:
            refuse(self.path, full, str(error), AGAIN)
        if not 0 < scale < np.inf:
            refuse(self.path, full, f"scale {scale} is not positive and finite", AGAIN)
        return Ternary(codes.reshape(shape), scale)

    def _floats(self, name, start=None, stop=None):
        kind, shape, data = self._stored(name)
        kind = next(key for key, number in FLOAT_TYPES.items() if number == kind)
        values = widen(data.view(FLOATS[kind]).reshape(shape)[start:stop], kind)
        if not np.isfinite(values).all():
            refuse(self.path, name, "holds NaN or infinity", AGAIN)
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
    def tokenizer(self):
        """{key: value} of the fields that describe the tokenizer; None where there are none."""
        found = {key: value for key, value in self._fields.items() if key.startswith("tokenizer.ggml.")}
        return found if found.get("tokenizer.ggml.model", "no_vocab") not in ("no_vocab", "none") else None


def _stored_bytes(kind, weights):
    match kind:
        case 36:
            return weights // 4 + 32
        case 35:
            return weights // TQ_BLOCK * 66
        case 34:
            return weights // TQ_BLOCK * 54
        case _:
            return weights * {0: 4, 1: 2, 30: 2}[kind]


def _i2_s(data):  # uint8 [n / 4 + 32] -> int8 [n], float
    codes = plain_decode(data[:-32].reshape(-1, 32))[::-1].swapaxes(0, 1)
    return np.ascontiguousarray(codes).reshape(-1), struct.unpack("<f", data[-32:-28].tobytes())[0]


def _common_scale(codes, scales):  # int8 [blocks, 256], float16 [blocks] -> float
    """The scale of all blocks."""
    found = np.unique(scales[scales != 0])
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
