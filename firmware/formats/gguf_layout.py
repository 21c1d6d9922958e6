"""The skeleton of a GGUF, version 3: fields, and where each tensor lies.

Magic, u32 version, u64 tensors, u64 fields; fields of a key, the type of the value and the value; of each tensor its
name, u32 dimensions, u64 sizes from the innermost on, u32 type and u64 offset from where the data begins, the next
multiple of general.alignment.
"""

import math
import pathlib
import struct
from typing import NamedTuple

import numpy as np

from .gguf_blocks import BLOCKS, I2_S
from .model_file import refuse


__all__ = ["ALIGNMENT", "DAMAGED", "GGUF_MAGIC", "read_part"]


GGUF_MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MOST_METADATA, MOST_ITEMS, MOST_TENSORS = 1 << 26, 1 << 22, 1 << 14
DAMAGED = "the file is damaged: download it again"


class Cursor:
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


def read_part(path, data):
    """{key: value} and {name: Info} of one file."""
    cursor = Cursor(path, data)
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
