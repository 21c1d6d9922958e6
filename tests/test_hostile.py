"""Damaged files of every format: each opens, or is refused in one line, soon, and never anything else."""

import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpoints import InMemory, random_checkpoint
from firmware.checkpoint import CheckpointError, open_checkpoint
from firmware.cli import DEMO
from firmware.convert import FORMATS, convert
from firmware.tokenizer import LLAMA_3, tokenizer_of
from test_tokenizer import byte_level


SECONDS = 2
TARGETS = ["gguf-i2s", "setun", "hf/config.json", "hf/model.safetensors", "hf/tokenizer.json"]
PIECES = [b"[", b"{", b"]", b"9", b"-", b"e9", b"null", b'"', bytes(8), b"\xff" * 8, b"\x7f", b"../", b"NaN"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with a tokenizer in each format."""
    folder = tmp_path_factory.mktemp("hostile")
    tokenizer = byte_level((DEMO / "held_out.txt").read_text().splitlines()[:100], LLAMA_3)
    model = InMemory(random_checkpoint(hidden=32, inner=32, vocab=512, layers=1, heads=2, kv_heads=1), tokenizer.json)
    for form in FORMATS:
        convert(model, folder / form, form)
    return folder


def outcome(path):
    """What all of a model says of itself, or the message of its refusal."""
    try:
        with open_checkpoint(path) as model:
            tokenizer = tokenizer_of(model)
            tokenizer.decode(tokenizer.encode("In the beginning"))
            return model.checkpoint().vocab
    except CheckpointError as error:
        return str(error)


@st.composite
def edits(draw):
    """(share of the file, what is put there, bytes that it replaces) a few times; shares crowd at the ends."""
    places = st.one_of(st.floats(0, 1), st.floats(0, 0.01), st.floats(0.95, 1), st.floats(0, 0.001))
    return draw(st.lists(st.tuples(places, st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)),
                                   st.sampled_from([0, 1, 8, 100, 1 << 30])), min_size=1, max_size=4))


def damaged(data, changes):
    for share, piece, length in changes:
        at = int(share * len(data))
        data = data[:at] + piece + data[at + length:]
    return data


def with_checksum(data):
    """A container whose header has the right length and checksum again, so that what is behind them is reached."""
    if len(data) < 32:
        return data
    offset = struct.unpack_from("<Q", data, 16)[0]
    header = data[offset:]
    return data[:12] + struct.pack("<I", len(header)) + data[16:24] + struct.pack("<I", zlib.crc32(header)) + data[28:]


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=300, deadline=1000 * SECONDS, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
@given(changes=edits(), mend=st.booleans())
def test_damage(folder, target, changes, mend):
    path = folder / target
    sound = path.read_bytes()
    data = damaged(sound, changes)
    try:
        path.write_bytes(with_checksum(data) if mend and target == "setun" else data)
        found = outcome(folder / target.split("/")[0])
        if isinstance(found, str):
            assert "\n" not in found and len(found) < 1000 and str(folder) in found and found.count("; ") >= 1
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize("target", TARGETS)
def test_truncation(folder, target):
    path = folder / target
    sound = path.read_bytes()
    try:
        for size in [0, 1, 7, 8, 9, 31, 32, 33, len(sound) // 2, len(sound) - 2]:
            path.write_bytes(sound[:size])
            assert isinstance(outcome(folder / target.split("/")[0]), str)
    finally:
        path.write_bytes(sound)
    assert outcome(folder / target.split("/")[0]) == 512
