import dataclasses
import hashlib
import json
import struct
import zlib

import numpy as np
import pytest

from setun.formats import container
from setun.formats.checkpoint import CheckpointError, load, open_checkpoint
from setun.formats.container import write_container
from setun.golden.calibration import calibrate
from setun.golden.fixed import to_fixed
from tests.support.checkpoints import InMemory, assert_same, random_checkpoint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.setun"


def write(path, checkpoint, tokenizer=None):
    with open(path, "wb") as file:
        write_container(file, InMemory(checkpoint, ends=(2, 0)), tokenizer, lambda done, total: None)


def stranger_trits(byte):
    """Five trits of a byte, as the page says."""
    def pair(field):
        first, second = [1, -1][field >> 1 & 1], [1, -1][field >> 2 & 1]
        if field & 1:
            return [first, second]
        return [0, second] if field >> 1 & 1 else [second, 0]

    last = {0: 0, 1: 1, 3: -1}
    if byte >> 6 != 2:
        return [*pair(byte & 7), *pair(byte >> 3 & 7), last[byte >> 6]]
    if byte >> 3 & 3 != 2:
        return [*([*pair(byte & 7), 0, 0] if byte >> 5 & 1 else [0, 0, *pair(byte & 7)]), last[byte >> 3 & 3]]
    assert byte >> 2 & 15 == 4
    return [0, 0, 0, 0, last[byte & 3]]


def stranger_read(data):
    """Architecture and tensors by name, by the page at the top of firmware/formats/container.py and nothing else."""
    magic, version, size, offset, checksum, zero = struct.unpack("<8sIIQII", data[:32])
    assert (magic, version, zero, offset + size) == (b"SETUN\r\n\x1a", 3, 0, len(data))
    assert zlib.crc32(data[offset:]) == checksum
    header, tensors = json.loads(data[offset:]), {}
    for entry in header["tensors"]:
        stored = data[entry["offset"]:entry["offset"] + entry["bytes"]]
        assert entry["offset"] % 32 == 0 and hashlib.sha256(stored).hexdigest() == entry["sha256"]
        match entry["type"]:
            case "trits":
                rows, columns = entry["shape"]
                width = -(-columns // 5)
                trits = [sum(map(stranger_trits, stored[row * width:(row + 1) * width]), []) for row in range(rows)]
                assert not any(any(row[columns:]) for row in trits)
                values = [row[:columns] for row in trits], entry["scale"]
            case "bytes":
                values = stored
            case kind:
                code = {"bf16": "<H", "f16": "<e", "f32": "<f"}[kind]
                values = [item for item, in struct.iter_unpack(code, stored)]
                if kind == "bf16":
                    values = [struct.unpack("<f", struct.pack("<I", item << 16))[0] for item in values]
                values = np.array(values, np.float32).reshape(entry["shape"])
        tensors[entry["name"]] = values
    return header["architecture"], header["ends"], header["formats"], tensors


@pytest.mark.parametrize("changes", [{}, {"tied": False, "kind": "F16", "activation": "silu"}, {"kind": "F32"}])
def test_stranger_reads(path, changes):
    checkpoint = random_checkpoint(1, hidden=32, inner=48, vocab=40, **changes)
    write(path, checkpoint, b"{}")
    architecture, ends, formats, tensors = stranger_read(path.read_bytes())
    assert ends == [2, 0] and formats == json.loads(json.dumps(dataclasses.asdict(calibrate(checkpoint))))
    assert architecture == {name: getattr(InMemory(checkpoint).architecture, name) for name in architecture}
    assert tensors.pop("tokenizer.json") == b"{}"
    assert (tensors.pop("embedding") == checkpoint.embedding).all() and (tensors.pop("norm") == checkpoint.norm).all()
    if checkpoint.head is not None:
        assert (tensors.pop("head") == checkpoint.head).all()
    for index, layer in enumerate(checkpoint.layers):
        for name, value in layer._asdict().items():
            found = tensors.pop(f"layers.{index}.{name}")
            if isinstance(value, tuple):
                assert (np.array(found[0]) == value.codes).all() and found[1] == value.scale
            else:
                assert (found == value).all()
    assert not tensors


@pytest.mark.parametrize("changes", [
    {}, {"kind": "F16"}, {"kind": "F32", "tied": False}, {"activation": "silu", "hidden": 72, "inner": 101, "heads": 9,
                                                          "kv_heads": 3}])
def test_round_trip(path, changes):
    checkpoint = random_checkpoint(2, **changes)
    write(path, checkpoint)
    assert_same(load(path), checkpoint)
    with open_checkpoint(path) as model:
        assert model.format == "setun" and model.tokenizer is None and model.ends == (2, 0)
        assert (model.rows("embedding", 7, 11) == checkpoint.embedding[7:11]).all()


def test_density(path):
    """1.6 bits a weight, and floats as small as is exact."""
    checkpoint = random_checkpoint(3, hidden=640, inner=960, heads=5, kv_heads=1, vocab=10)
    write(path, checkpoint)
    weights = sum(value.codes.size for layer in checkpoint.layers for value in layer if isinstance(value, tuple))
    floats = sum(value.size for layer in checkpoint.layers for value in layer if not isinstance(value, tuple))
    others = 2 * (floats + checkpoint.norm.size + checkpoint.embedding.size)
    assert 0 < path.stat().st_size - weights / 5 - others < 10_000


def refused(path):
    """The message, whether opening or reading finds the defect."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and "; " in message
    return message


def rewrite(path, edit):
    """Change the header, under a right checksum."""
    data = path.read_bytes()
    offset = struct.unpack_from("<Q", data, 16)[0]
    header = json.loads(data[offset:])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<8sIIQII", data[:8], 3, len(text), offset, zlib.crc32(text), 0)
                     + data[32:offset] + text)


def tensor(header, name):
    return next(entry for entry in header["tensors"] if entry["name"] == name)


def setting(name, **fields):
    return lambda header: tensor(header, name).update(fields)


def changing_format(**fields):
    return lambda header: header["formats"]["layers"][1].update(fields)


@pytest.mark.parametrize("edit, words", [
    (lambda header: header.update(extra=1), ["header", "extra"]),
    (lambda header: header.update(tensors=[[[[]]]]), ["header", "object"]),
    (lambda header: header["architecture"].pop("eps"), ["header", "eps"]),
    (lambda header: header["architecture"].update(layers=10 ** 9), ["layers"]),
    (lambda header: header["architecture"].update(hidden=10 ** 9), ["hidden"]),
    (lambda header: header["architecture"].update(heads=0), ["heads"]),
    (lambda header: header["architecture"].update(heads=5), ["heads"]),
    (lambda header: header["architecture"].update(context=2 ** 40), ["context"]),
    (lambda header: header["architecture"].update(activation="gelu"), ["activation"]),
    (lambda header: header["architecture"].update(tied=False), ["head: missing"]),
    (lambda header: header.update(ends=[300]), ["ends: 300 is beyond the vocabulary"]),
    (lambda header: header.update(ends=[-1]), ["header", "ends"]),
    (lambda header: header.pop("formats"), ["header", "formats"]),
    (lambda header: header["formats"]["layers"].pop(), ["formats: 1 layers instead of 2"]),
    (lambda header: header["formats"].update(fraction=10 ** 6), ["fraction: 1000000"]),
    (changing_format(key_steps=[1.0]), ["formats: key_steps: 1 instead of 2"]),
    (changing_format(value_steps=[1.0, 0.0]), ["value_steps", "above 0"]),
    (changing_format(value_steps=[1e999, 1.0]), ["header"]),
    (changing_format(square_shift=32), ["square_shift: 32 is not 0 to 31"]),
    (changing_format(up_bits=0), ["up_bits: 0 is not 1 to 31"]),
    (lambda header: header["tensors"].pop(3), ["missing"]),
    (lambda header: header["tensors"].append(header["tensors"][3]), ["two have one name"]),
    (lambda header: header["tensors"].append(tensor(header, "norm") | {"name": "bias"}), ["bias: not part"]),
    (setting("norm", type="trits"), ["norm: type trits"]),
    (setting("layers.1.q", type="f32"), ["layers.1.q: type f32 instead of trits"]),
    (setting("layers.1.q", type="tq1"), ["header", "tq1"]),
    (setting("layers.1.q", shape=[64, 63]), ["layers.1.q: shape [64, 63] instead of [64, 64]"]),
    (setting("layers.1.q", shape=[-64, 64]), ["header"]),
    (setting("layers.1.q", bytes=17), ["layers.1.q: 17 bytes instead of 832"]),
    (setting("layers.1.q", offset=0), ["layers.1.q: offset 0"]),
    (setting("layers.1.q", offset=33), ["layers.1.q: offset 33"]),
    (setting("layers.1.q", offset=2 ** 40), ["layers.1.q", "beyond the end"]),
    (setting("layers.1.q", offset=64), ["overlaps"]),
    (setting("layers.1.q", scale=0), ["header", "scale"]),
    (setting("layers.1.q", scale=1e300), ["layers.1.q: scale"]),
    (setting("layers.1.q", scale=None), ["layers.1.q: scale"]),
    (setting("norm", scale=1.0), ["norm: scale"]),
    (setting("layers.1.q", sha256="0" * 64), ["layers.1.q: the checksum differs"]),
])
def test_header_defects(path, edit, words):
    write(path, random_checkpoint())
    rewrite(path, edit)
    message = refused(path)
    assert all(word in message for word in words), message


def replace_tensor(path, name, data):
    """Change what a tensor holds, under a right checksum."""
    whole = bytearray(path.read_bytes())
    def edit(header):
        entry = tensor(header, name)
        whole[entry["offset"]:entry["offset"] + len(data)] = data
        entry["sha256"] = hashlib.sha256(whole[entry["offset"]:entry["offset"] + entry["bytes"]]).hexdigest()
        path.write_bytes(whole)
    rewrite(path, edit)
    header = json.loads(path.read_bytes()[struct.unpack_from("<Q", whole, 16)[0]:])
    path.write_bytes(path.read_bytes()[:32] + whole[32:struct.unpack_from("<Q", whole, 16)[0]]
                     + json.dumps(header).encode())


@pytest.mark.parametrize("name, data, words", [
    ("layers.0.k", b"\x92", ["layers.0.k", "stands for no trits"]),
    ("layers.0.k", bytes(12) + b"\x40", ["layers.0.k", "beyond its columns"]),  # column 64 is +1
    ("norm", b"\xc0\x7f", ["norm", "NaN"]),
    ("embedding", b"\x80\xff", ["embedding", "infinity"]),
])
def test_tensor_defects(path, name, data, words):
    write(path, random_checkpoint())
    replace_tensor(path, name, data)
    message = refused(path)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("at, data, words", [
    (0, b"SETUN\n", ["magic"]), (8, b"\1", ["version: 1 instead of 3", "convert"]), (12, bytes(4), ["header"]),
    (12, b"\xff\xff\xff\xff", ["header"]), (16, bytes(8), ["header"]), (28, b"\1", ["header"]),
    (24, bytes(4), ["header: the checksum differs"]),
])
def test_preamble_defects(path, at, data, words):
    write(path, random_checkpoint())
    whole = bytearray(path.read_bytes())
    whole[at:at + len(data)] = data
    path.write_bytes(whole)
    if at:
        message = refused(path)
        assert all(word in message for word in words), message
    else:
        with pytest.raises(CheckpointError):
            load(path)


def test_every_truncation(path):
    write(path, random_checkpoint(hidden=8, inner=4, heads=2, kv_heads=1, vocab=3, layers=1))
    data = path.read_bytes()
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        refused(path)


def test_flipped_bits(path):
    """A flipped bit is found, or lies in the zeros between tensors and changes nothing."""
    checkpoint = random_checkpoint(hidden=8, inner=4, heads=2, kv_heads=1, vocab=3, layers=1)
    write(path, checkpoint)
    data, rng, found = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(400):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert_same(load(path), checkpoint)
        except CheckpointError:
            found += 1
    assert found > 250


def test_formats_travel(path):
    """A container is run with the formats that it holds, also where they would be calibrated to others."""
    checkpoint = random_checkpoint()
    formats = dataclasses.replace(calibrate(checkpoint), fraction=3)
    write(path, checkpoint._replace(formats=formats))
    with open_checkpoint(path) as model:
        found = model.checkpoint()
    assert found.formats == formats and to_fixed(found).fraction == 3
    write(path, found._replace(formats=None))
    with open_checkpoint(path) as model:
        assert model.formats == calibrate(checkpoint)


def test_formats_of_a_large_model(path, monkeypatch):
    """They are left to whoever runs it."""
    monkeypatch.setattr(container, "MOST_CALIBRATED", 50_000)
    write(path, random_checkpoint())
    with open_checkpoint(path) as model:
        assert model.formats is None and to_fixed(model.checkpoint()).layers
