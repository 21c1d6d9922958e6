"""Damaged files of every format: each opens, or is refused in one line, soon, and never anything else.

``make fuzz`` tries for minutes what ``make test`` tries for seconds.
"""

import json
import re
import shutil
import struct
import subprocess
import sys
import zlib

import pytest
from gguf import GGMLQuantizationType
from hypothesis import given, settings
from hypothesis import strategies as st

from setun.analysis.inspection import inspect
from setun.cli.options import DEMO
from setun.formats.checkpoint import CheckpointError, open_checkpoint
from setun.formats.convert import FORMATS, convert
from setun.formats.tokenizer import LLAMA_3, tokenizer_of
from setun.golden.rotary import Rope
from tests.firmware.formats.test_export import gguf_tensors
from tests.firmware.formats.test_gguf_file import after, scaled, write_tq
from tests.firmware.formats.test_tokenizer import byte_level
from tests.support.checkpoints import InMemory, random_checkpoint


SECONDS, MOST_BYTES = 2, 500_000_000  # of CPU time for each file, of memory for all
TQ = {"tq1": GGMLQuantizationType.TQ1_0, "tq2": GGMLQuantizationType.TQ2_0}
HF, CONFIG, INDEX = "hf/model.safetensors", "hf/config.json", "shards/model.safetensors.index.json"
LLAMA = ["llama-hf/config.json", "llama.gguf", "llama-q8.gguf"]
TARGETS = ["gguf-i2s", *TQ, *LLAMA, "setun", CONFIG, HF, "hf/tokenizer.json", "hf/generation_config.json", INDEX]
PIECES = [b"[", b"{", b"]", b"9", b"-", b"e9", b"null", b'"', bytes(8), b"\xff" * 8, b"\x7f", b"../", b"NaN"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with a tokenizer in each format."""
    folder = tmp_path_factory.mktemp("hostile")
    tokenizer = byte_level((DEMO / "held_out.txt").read_text().splitlines()[:100], LLAMA_3)
    model = InMemory(random_checkpoint(hidden=32, inner=32, vocab=512, layers=1, heads=2, kv_heads=1), tokenizer.json)
    for form in FORMATS:
        convert(model, folder / form, form)
    (folder / "hf" / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    checkpoint = scaled(random_checkpoint(hidden=256, inner=256, vocab=512, layers=1, heads=2, kv_heads=1))
    for form, kind in TQ.items():
        write_tq(folder / form, checkpoint, kind)
    llama = scaled(random_checkpoint(hidden=256, inner=256, vocab=512, layers=1, heads=2, kv_heads=1, sub_norms=False,
                                     activation="silu", rope=Rope(1e4, 8.0, (1.0, 4.0, 8192))))
    convert(InMemory(llama, tokenizer.json), folder / "llama-hf", "hf")
    convert(InMemory(llama, tokenizer.json), folder / "llama.gguf", "gguf-i2s")
    write_tq(folder / "llama-q8.gguf", llama, GGMLQuantizationType.F32, family="llama",
             tables=GGMLQuantizationType.Q8_0)
    (folder / "shards").mkdir()
    (folder / "shards" / "config.json").write_bytes((folder / CONFIG).read_bytes())
    (folder / "shards" / "only.safetensors").write_bytes((folder / HF).read_bytes())
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(header_of((folder / HF).read_bytes()),
                                                                        "only.safetensors")}))
    return folder


def header_of(data):
    """Of a safetensors file."""
    header = json.loads(data[8:8 + struct.unpack_from("<Q", data)[0]])
    header.pop("__metadata__", None)
    return header


def outcome(path):
    """What all of a model says of itself, or the message of its refusal."""
    try:
        with open_checkpoint(path) as model:
            tokenizer = tokenizer_of(model)
            tokenizer.decode(tokenizer.encode("In the beginning"))
            inspect(model)
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
@settings(deadline=1000 * SECONDS)
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
        for size in [0, 1, 7, 8, 9, 19, len(sound) // 2, len(sound) - 2]:
            path.write_bytes(sound[:size])
            assert isinstance(outcome(folder / target.split("/")[0]), str)
    finally:
        path.write_bytes(sound)
    assert outcome(folder / target.split("/")[0]) == 512


def put(at, value):
    """An edit: other bytes at a place."""
    return lambda data: data[:at] + value + data[at + len(value):]


def becomes(value):
    return lambda data: value


def config(**fields):
    """An edit of JSON."""
    return lambda data: json.dumps(json.loads(data) | fields).encode()


def header(change):
    """An edit of a safetensors file: another header."""
    def edit(data):
        entries = header_of(data)
        change(entries)
        text = json.dumps(entries).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + struct.unpack_from("<Q", data)[0]:]
    return edit


def entry(name, **fields):
    return header(lambda entries: entries[name].update(fields))


def values(name, value):
    """An edit of a safetensors file: other bytes at the start of a tensor."""
    def edit(data):
        start, _ = header_of(data)[name]["data_offsets"]
        return put(8 + struct.unpack_from("<Q", data)[0] + start, value)(data)
    return edit


def info(name, at, value):
    """An edit of a GGUF: other bytes behind a name."""
    return lambda data: put(after(data, name) + at, value)(data)


def stored(name, at, value):
    """An edit of a GGUF: other bytes in a tensor."""
    return lambda data: put(gguf_tensors(data)[1][name][2] + at, value)(data)


def container(name, **fields):
    """An edit of a container: other fields of a tensor, under a right checksum."""
    def edit(data):
        offset = struct.unpack_from("<Q", data, 16)[0]
        found = json.loads(data[offset:])
        next(tensor for tensor in found["tensors"] if tensor["name"] == name).update(fields)
        return with_checksum(data[:offset] + json.dumps(found).encode())
    return edit


Q, O, G = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.o_proj.weight", "blk.0.attn_q.weight"
C = "layers.0.q"  # of 32 x 32
LONG, NAN, INFINITY = struct.pack("<Q", 1 << 60), struct.pack("<f", float("nan")), struct.pack("<f", float("inf"))
BOMB = b"[" * 1_000_000
HOSTILE = [  # file, edit, words of the message
    (HF, becomes(b""), "is empty"),
    (CONFIG, becomes(b""), "config.json: JSON"),
    (INDEX, becomes(b""), "index.json: JSON"),
    ("hf/tokenizer.json", becomes(b""), "tokenizer.json"),
    ("gguf-i2s", becomes(b""), "magic"),
    ("setun", put(0, b"SETUN\n"), "magic"),
    ("gguf-i2s", put(0, b"GGML"), "magic"),
    *((target, lambda data: data[:len(data) // 2], words) for target, words in {
        HF: "beyond the end", "gguf-i2s": "beyond the end", "tq1": "beyond the end", "setun": "header"}.items()),
    (HF, put(0, b"\xff" * 8), "a header of"),
    ("setun", put(12, b"\xff" * 4), "header"),
    ("gguf-i2s", put(8, LONG), f"{1 << 60} tensors"),
    ("gguf-i2s", put(16, LONG), f"{1 << 60} fields"),
    ("gguf-i2s", info("general.architecture", 4, LONG), "beyond the end"),
    ("gguf-i2s", info("tokenizer.ggml.tokens", 8, LONG), "items"),
    ("gguf-i2s", info(G, 4, LONG), f"shape [32, {1 << 60}]"),
    (HF, entry(Q, data_offsets=[0, 1 << 60]), "beyond the end"),
    (HF, entry(Q, data_offsets=[1 << 40, (1 << 40) + 256]), "beyond the end"),
    ("gguf-i2s", info(G, 24, struct.pack("<Q", 1 << 40)), "beyond the end"),
    ("setun", container(C, bytes=1 << 40), "bytes instead of"),
    ("setun", container(C, offset=1 << 40), "beyond the end"),
    (HF, header(lambda entries: entries[Q].update(data_offsets=entries[O]["data_offsets"])), "overlap"),
    ("gguf-i2s", info("blk.0.attn_output.weight", 24, bytes(8)), "overlap"),
    ("setun", container(C, offset=32), "overlaps"),
    (HF, entry(Q, dtype="I8"), "type I8 instead of U8"),
    ("gguf-i2s", info(G, 20, b"\0"), "overlap others or are beyond the end"),
    ("setun", container("norm", type="trits"), "type trits instead of"),
    (HF, entry(Q, shape=[32, 8]), "shape [32, 8] instead of [8, 32]"),
    ("gguf-i2s", info(G, 4, struct.pack("<QQ", 16, 64)), "shape [64, 16] instead of [32, 32]"),
    ("setun", container(C, shape=[16, 64]), "shape [16, 64] instead of [32, 32]"),
    (HF, values(Q, b"\xff"), f"{Q}: 2-bit weight code 3"),
    ("gguf-i2s", stored(G, 0, b"\xff"), f"{G}: 2-bit weight code 3"),
    ("tq2", stored(G, 0, b"\xff"), f"{G}: 2-bit weight code 3"),
    (HF, header(lambda entries: entries.update(scale=entries.pop(Q + "_scale"))), f"{Q}_scale: missing"),
    (HF, values(Q + "_scale", bytes(4)), f"{Q}_scale: scale 0.0 is not positive"),
    (HF, values(Q + "_scale", NAN), f"{Q}_scale: holds NaN"),
    (HF, values(Q + "_scale", INFINITY), f"{Q}_scale: holds NaN or infinity"),
    *(("gguf-i2s", stored(G, 256, value), f"{G}: scale {found} is not positive and finite")
      for value, found in ((bytes(4), "0.0"), (NAN, "nan"), (INFINITY, "inf"))),
    *(("setun", container(C, scale=value), "scale") for value in (None, 0, 1e300)),
    *(("tq2", stored(G, 64, value), f"{G}: 2 different scales") for value in (b"\0\x3c", b"\0\x7e", b"\0\x7c")),
    ("tq1", stored(G, 52, bytes(2)), f"{G}: a block has the scale 0"),
    *(("gguf-i2s", info(G, 20, bytes([kind])), f"{G}: type {kind} instead of I2_S or TQ1_0 or TQ2_0 or F32")
      for kind in (2, 38, 39, 41, 255)),  # Q4_0, TL1, TL2, what llama.cpp uses for others, none
    (CONFIG, config(quantization_config=None), "plain float model"),
    (CONFIG, config(model_type="qwen3"), "model_type"),
    (CONFIG, config(model_type="llama"), "ffn_sub_norm.weight: not part of this model"),
    (LLAMA[0], config(model_type="bitnet"), "attn_sub_norm.weight: missing"),
    (LLAMA[0], config(rope_scaling={"rope_type": "llama3", "factor": 1e400}), "rope_scaling.factor"),
    (LLAMA[1], info("rope_freqs.weight", 4, LONG), "rope_freqs.weight"),
    (LLAMA[1], info("rope_freqs.weight", 12, bytes([8])), "rope_freqs.weight: type 8 instead of F32 or F16 or BF16"),
    (LLAMA[1], stored("rope_freqs.weight", 0, NAN), "rope_freqs.weight: holds NaN"),
    (LLAMA[1], stored("rope_freqs.weight", 0, struct.pack("<f", 3)), "not those of Llama 3's scaling"),
    (LLAMA[2], stored("token_embd.weight", 0, b"\0\x7e"), "token_embd.weight: holds NaN"),
    (LLAMA[2], stored(G, 0, struct.pack("<f", .7)), f"{G}: floats that are not ternary"),
    (LLAMA[2], info("token_embd.weight", 4, LONG), f"shape [512, {1 << 60}] instead of [512, 256]"),
    (HF, values("model.norm.weight", b"\xc0\x7f" * 2), "model.norm.weight: holds NaN"),
    *((target, becomes(BOMB), words) for target, words in {
        CONFIG: "config.json: JSON", INDEX: "index.json: JSON", "hf/tokenizer.json": "tokenizer.json",
        "hf/generation_config.json": "generation_config.json: JSON"}.items()),
    (HF, becomes(struct.pack("<Q", len(BOMB)) + BOMB), "safetensors"),
    ("setun", lambda data: with_checksum(data[:struct.unpack_from("<Q", data, 16)[0]] + BOMB), "header"),
    *((INDEX, becomes(json.dumps({"weight_map": {Q: path}}).encode()), f"{path!r} is no file of this folder")
      for path in ("../hf/model.safetensors", "/etc/passwd")),
]
SCRIPT = r"""
import contextlib, io, json, pathlib, re, sys, time
from setun.cli.main import main
found = []
for path in sys.argv[2:]:
    start, said, status = time.process_time(), io.StringIO(), None
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main(["convert", path, sys.argv[1], "--format", "setun"])
    except SystemExit as ended:
        status = ended.code
    except Exception as error:
        status = repr(error)
    found.append((status, said.getvalue(), time.process_time() - start))
# Not ru_maxrss, which begins with what the parent held.
most = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]
print(json.dumps((found, 1024 * int(most))))
"""


@pytest.fixture(scope="module")
def refusals(folder, tmp_path_factory):
    """Exit status, output and CPU time of the command on each of HOSTILE; what it wrote, and the most memory held."""
    paths, output = [], tmp_path_factory.mktemp("refused")
    for index, (target, edit, _) in enumerate(HOSTILE):
        name, _, file = target.partition("/")
        paths.append(output / str(index))
        if file:
            shutil.copytree(folder / name, paths[-1])
        (paths[-1] / file if file else paths[-1]).write_bytes(edit((folder / target).read_bytes()))
    ended = subprocess.run([sys.executable, "-c", SCRIPT, output / "output", *paths], capture_output=True,
                           text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    found, most = json.loads(ended.stdout)
    return found, sorted(set(output.iterdir()) - set(paths)), most


@pytest.mark.parametrize("index", range(len(HOSTILE)), ids=lambda index: f"{index}-{HOSTILE[index][0]}")
def test_refused(refusals, index):
    status, said, seconds = refusals[0][index]
    assert status == 2 and HOSTILE[index][2] in said, (status, said)
    said = re.sub(r"^(\d+ of \d+: writing setun\n)*", "", said)  # what was sound
    assert said.startswith("Error: ") and said.count("\n") == 1 and said.count("; ") >= 1, said
    assert seconds < SECONDS


def test_refusals_leave_nothing(refusals):
    _, written, most = refusals
    assert not written and most < MOST_BYTES
