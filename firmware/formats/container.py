"""The container ``.setun``: a ternary model in one file, with 1.6 bits a weight and a checksum for every tensor.

A reader needs JSON, SHA-256 and this page. Numbers are little-endian, and the file is a preamble, tensors and a header:

======  =====  =========================================================================================
offset  bytes  preamble
======  =====  =========================================================================================
0       8      "SETUN", carriage return, line feed, 0x1a: damage by a transfer as text shows at once
8       4      version of this layout, 3
12      4      bytes of the header, at most 2**24
16      8      offset of the header, which ends the file
24      4      CRC-32 of the header, as in zlib
28      4      zero
32      ...    tensors, each at a multiple of 32, in any order; zeros between them
======  =====  =========================================================================================

The header is a JSON object of these fields. ``architecture`` is an object of vocab, context, hidden, inner, layers,
heads, kv_heads, head_dim (integers), rope_theta, rope_factor, eps (numbers), rope_bands (null, or an array of low, high
and the context of the training before, as golden/rotary.py tells), tied (the head is the embedding), activation
("relu2" or "silu") and sub_norms (there are norms before o and down). ``ends`` is an array of the tokens behind which
a text ends, and may be left out where there are none. ``formats`` is an object of the formats of the integer model,
as golden/formats.py tells them, or null in a model of more than 2**27 weights: whoever runs it finds them. ``tensors``
is an array of objects:

==========  ===========================================================================================
name        embedding, norm, head unless tied; of layer i, counted from 0: ``layers.i.`` and q, k, v, o, gate, up,
            down, attention_norm, attention_sub_norm, feed_forward_norm, feed_forward_sub_norm;
            tokenizer.json where there is a tokenizer, as the library ``tokenizers`` writes it; chat_template where
            there is Jinja's template of a conversation, UTF-8
type        trits, bf16, f16, f32 or bytes
shape       rows, columns of the matrices and the embedding; one number for norms and bytes
offset      from the start of the file
bytes       of the tensor in the file
sha256      of these bytes, 64 hexadecimal digits
scale       of trits only: the positive number that -1, 0 and +1 are to be multiplied by
==========  ===========================================================================================

Floats are in C order, in the smallest of the three types that holds all of a tensor exactly. Matrices have the type
trits: five in a byte, ``ceil(columns / 5)`` bytes a row, the first trit first, and zeros beyond the columns. The byte
is not base 3 but a code that hardware decodes in few gates; 13 of the 256 values are invalid::

    bits 7:6    0, 1, 3: trit 4 is 0, +1, -1, and neither of the pairs (trits 0 and 1, trits 2 and 3) is zero
                2: at least one of the pairs is
    otherwise   bits 5:3 the second pair, bits 2:0 the first
    first zero  bit 5 = 0, bits 4:3 = 0, 1, 3 are trit 4, bits 2:0 the second pair
    second zero bit 5 = 1, bits 4:3 = 0, 1, 3 are trit 4, bits 2:0 the first pair
    both zero   bits 5:2 = 4, bits 1:0 = 0, 1, 3 are trit 4
    a pair      bit 0 = 1: neither trit is zero, and bit 1 is set where the first is negative, bit 2 where the second is
                bit 0 = 0: only trit number (bit 1) is not zero, and bit 2 is set where it is negative
"""

import hashlib
import math
import struct
import zlib
from typing import Annotated, Literal

import msgspec
import numpy as np

from ..golden.calibration import calibrate
from ..golden.codes import byte_decode, byte_encode
from ..golden.formats import Formats
from ..golden.model import Ternary
from .floats import FLOATS, narrow, narrowest, widen
from .model_file import MATRICES, Architecture, ModelFile, refuse


__all__ = ["MAGIC", "Container", "write_container"]


MAGIC = b"SETUN\r\n\x1a"
VERSION = 3
PREAMBLE = struct.Struct("<8sIIQII")
MOST_HEADER = 1 << 24
MOST_CALIBRATED = 1 << 27  # weights, for which a model is held in memory and computed in float32
ALIGNMENT = 32
TRITS = 5  # in a byte
TOKENIZER, TEMPLATE = "tokenizer.json", "chat_template"
SCALES = float(np.finfo(np.float32).smallest_subnormal), float(np.finfo(np.float32).max)
DAMAGED = "the file is damaged: convert or download it again"

Size = Annotated[int, msgspec.Meta(ge=0, lt=1 << 48)]


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An entry of the header."""
    name: str
    type: Literal["trits", "bf16", "f16", "f32", "bytes"]
    shape: tuple[Size, ...]
    offset: Size
    bytes: Size
    sha256: str
    scale: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is not a tensor."""
    architecture: Architecture
    tensors: list[Tensor]
    formats: Formats | None
    ends: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = ()

    def __post_init__(self):
        if self.formats is not None:
            self._check_formats(self.formats.layers)
        if max(self.ends, default=0) >= self.architecture.vocab:
            raise ValueError(f"ends: {max(self.ends)} is beyond the vocabulary")

    def _check_formats(self, layers):
        if len(layers) != self.architecture.layers:
            raise ValueError(f"formats: {len(layers)} layers instead of {self.architecture.layers}")
        for layer in layers:
            for name in ("key_steps", "value_steps"):
                if len(getattr(layer, name)) != self.architecture.kv_heads:
                    raise ValueError(f"formats: {name}: {len(getattr(layer, name))} instead of "
                                     f"{self.architecture.kv_heads}")


def _tensor_name(layer, name):
    return name if layer is None else f"layers.{layer}.{name}"


class Container(ModelFile):
    """A container that is open. Checksums are compared when a tensor is first read.

    Parameters
    ----------
    path : Path
        Raises CheckpointError for whatever is wrong with its preamble or header.
    data : uint8 [size]
        The file, memory-mapped.
    """

    format = "setun"

    def __init__(self, path, data):
        super().__init__(path)
        self._data = data
        header = self._header()
        self.architecture, self.ends, self.formats = header.architecture, header.ends, header.formats
        self._tensors = {tensor.name: tensor for tensor in header.tensors}
        self._check_tensors(header)
        self._sound = set()

    def _refuse(self, field, defect, remedy=DAMAGED):
        refuse(self.path, field, defect, remedy)

    def _header(self):
        if len(self._data) < PREAMBLE.size:
            self._refuse("preamble", f"{len(self._data)} bytes instead of {PREAMBLE.size}")
        magic, version, size, offset, checksum, zero = PREAMBLE.unpack(self._data[:PREAMBLE.size].tobytes())
        if magic != MAGIC:
            self._refuse("magic", f"{magic!r} instead of {MAGIC!r}")
        if version != VERSION:
            self._refuse("version", f"{version} instead of {VERSION}", "convert the model again with this version")
        if zero or size > MOST_HEADER or offset < PREAMBLE.size or offset + size != len(self._data):
            self._refuse("header", f"{size} bytes at {offset} do not end a file of {len(self._data)}")
        text = self._data[offset:].tobytes()
        if zlib.crc32(text) != checksum:
            self._refuse("header", "the checksum differs")
        try:
            return msgspec.json.decode(text, type=Header)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            self._refuse("header", " ".join(str(error).split()), "write it again as the layout says")

    def _check_tensors(self, header):
        if len(self._tensors) < len(header.tensors):
            self._refuse("tensors", "two have one name")
        if self.architecture.count > 2 * len(header.tensors):
            self._refuse("layers", f"{self.architecture.layers} layers and {len(header.tensors)} tensors")
        expected = {_tensor_name(layer, name): shape for layer, name, shape in self.architecture.parts()}
        for name in sorted(expected.keys() - self._tensors.keys()):
            self._refuse(name, "missing")
        for name, tensor in self._tensors.items():
            if name in (TOKENIZER, TEMPLATE):
                kinds, shape = ("bytes",), tensor.shape
            elif name in expected:
                matrix = name.rpartition(".")[2] in MATRICES
                kinds, shape = (("trits",) if matrix else ("bf16", "f16", "f32")), expected[name]
            else:
                self._refuse(name, "not part of this model")
            if tensor.type not in kinds:
                self._refuse(name, f"type {tensor.type} instead of {' or '.join(kinds)}")
            if tensor.shape != shape or not shape:
                self._refuse(name, f"shape {list(tensor.shape)} instead of {list(shape)}")
            if tensor.bytes != _stored_bytes(tensor.type, shape):
                self._refuse(name, f"{tensor.bytes} bytes instead of {_stored_bytes(tensor.type, shape)}")
            if (tensor.scale is None) == (tensor.type == "trits"):
                self._refuse(name, "scale: trits have one, and nothing else")
            if tensor.scale is not None and not SCALES[0] <= tensor.scale <= SCALES[1]:
                self._refuse(name, f"scale: {tensor.scale} is no positive float32")
        end = PREAMBLE.size
        for tensor in sorted(header.tensors, key=lambda tensor: tensor.offset):
            if tensor.offset < end or tensor.offset % ALIGNMENT or tensor.offset + tensor.bytes > len(self._data):
                self._refuse(tensor.name, f"offset {tensor.offset} overlaps, is no multiple of {ALIGNMENT} or beyond "
                             "the end")
            end = tensor.offset + tensor.bytes

    def _bytes(self, name):
        tensor = self._tensors[name]
        data = self._data[tensor.offset:tensor.offset + tensor.bytes]
        if name not in self._sound and hashlib.sha256(data).hexdigest() != tensor.sha256:
            self._refuse(name, "the checksum differs")
        self._sound.add(name)
        return tensor, data

    def _floats(self, name, start=None, stop=None):
        tensor, data = self._bytes(name)
        kind = tensor.type.upper()
        values = widen(data.view(FLOATS[kind]).reshape(tensor.shape)[start:stop], kind)
        if not np.isfinite(values).all():
            self._refuse(name, "holds NaN or infinity")
        return values

    def ternary(self, layer, name):
        """Ternary matrix ``name`` of a layer; see ``ModelFile``. Raises CheckpointError."""
        tensor, data = self._bytes(_tensor_name(layer, name))
        rows, columns = tensor.shape
        try:
            trits = byte_decode(data.reshape(rows, -1)).reshape(rows, -1)
        except ValueError as error:
            self._refuse(tensor.name, str(error))
        if trits[:, columns:].any():
            self._refuse(tensor.name, "holds weights beyond its columns")
        return Ternary(np.ascontiguousarray(trits[:, :columns]), tensor.scale)

    def norm(self, layer, name):
        """Norm ``name`` of a layer, or the last norm where ``layer`` is None, float32 [n]. Raises CheckpointError."""
        return self._floats(_tensor_name(layer, "norm" if layer is None else name))

    def rows(self, name, start, stop):
        """Rows ``start`` to ``stop`` of the embedding or the head, float32. Raises CheckpointError."""
        return self._floats(name, start, stop)

    def tensors(self):
        """(name in the file, layer, name) of every tensor."""
        return ((_tensor_name(layer, name), layer, name) for layer, name, _ in self.architecture.parts())

    @property
    def chat_template(self):
        """Jinja's template of a conversation; None where there is none."""
        if TEMPLATE not in self._tensors:
            return None
        try:
            return self._bytes(TEMPLATE)[1].tobytes().decode()
        except UnicodeDecodeError:
            self._refuse(TEMPLATE, "is no UTF-8")

    @property
    def tokenizer(self):
        """Bytes of the tokenizer.json that the file holds; None where there is none."""
        return self._bytes(TOKENIZER)[1].tobytes() if TOKENIZER in self._tensors else None


def _stored_bytes(kind, shape):
    if kind == "trits":
        return shape[0] * -(-shape[1] // TRITS)
    return int(np.prod(shape, dtype=object)) * {"bytes": 1, "bf16": 2, "f16": 2, "f32": 4}[kind]


def write_container(file, model, tokenizer, progress):
    """Write a model to a file that is open for writing and can seek, tensor by tensor.

    ``tokenizer`` is the content of tokenizer.json, or None. ``progress`` is called with the tensors done and all.
    """
    tensors = []
    file.write(bytes(PREAMBLE.size))
    parts = list(model.architecture.parts())
    template = None if model.chat_template is None else model.chat_template.encode()
    texts = {name: data for name, data in ((TOKENIZER, tokenizer), (TEMPLATE, template)) if data}

    def put(name, kind, shape, chunks, scale=None):
        offset = file.tell() + -file.tell() % ALIGNMENT
        file.write(bytes(offset - file.tell()))
        digest = hashlib.sha256()
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
        tensors.append(Tensor(name, kind, shape, offset, file.tell() - offset, digest.hexdigest(), scale))
        progress(len(tensors), len(parts) + len(texts))

    for layer, name, shape in parts:
        full = _tensor_name(layer, name)
        if name in MATRICES:
            codes, scale = model.ternary(layer, name)
            trits = np.pad(codes, ((0, 0), (0, -shape[1] % TRITS)))
            put(full, "trits", shape, [byte_encode(trits.reshape(shape[0], -1, TRITS))], scale)
        else:
            kind = narrowest(model.pieces(layer, name))
            put(full, kind.lower(), shape, (narrow(values, kind) for values in model.pieces(layer, name)))
    for name, data in texts.items():
        put(name, "bytes", (len(data),), [data])
    formats = model.formats
    if formats is None and sum(math.prod(shape) for _, name, shape in parts if name in MATRICES) <= MOST_CALIBRATED:
        formats = calibrate(model.checkpoint())
    header = msgspec.json.encode(Header(model.architecture, tensors, formats, model.ends))
    offset = file.tell()
    file.write(header)
    file.seek(0)
    file.write(PREAMBLE.pack(MAGIC, VERSION, len(header), offset, zlib.crc32(header), 0))
