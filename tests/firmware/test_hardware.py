"""Verilog for other people's designs, in a test bench of theirs; bitstreams from Python."""

import hashlib
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import setun
from setun.cli.main import main
from setun.compiler.packing import pack
from setun.driver.frames import Decoder, encode
from setun.hardware import core
from setun.hdl.build import toolchain
from setun.hdl.protocol import MAP_HASH, Flags, Kind


BENCH = Path(__file__).with_name("core_bench.v")
CONFIG = "1x5,banks=3,tiles=2,stack=2"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder with core.v and core.json of ``setun verilog``."""
    folder = tmp_path_factory.mktemp("core")
    result = CliRunner().invoke(main, ["verilog", "--config", CONFIG, "--output", str(folder / "core.v"),
                                       "--json", str(folder / "core.json")])
    assert result.exit_code == 0, result.output
    return folder


def run_bench(folder, request, answers):
    """Bytes of the ``answers`` frames with which the core answers ``request`` in the test bench."""
    (folder / "request.hex").write_text("\n".join(f"{byte:02x}" for byte in request))
    toolchain.run([toolchain.tool("iverilog"), "-g2005", "-o", "bench", f"-Pcore_bench.BYTES={len(request)}",
                   f"-Pcore_bench.ANSWERS={answers}", str(BENCH), "core.v"], folder=folder, timeout=120)
    toolchain.run([toolchain.tool("vvp"), "bench"], folder=folder, timeout=300)
    return bytes(int(line, 16) for line in (folder / "reply.hex").read_text().split())


def test_multiplies_in_a_foreign_test_bench(written):
    rng = np.random.default_rng(3)
    w, x = rng.integers(-1, 2, (17, 20), np.int8), rng.integers(-128, 128, 20).astype(np.int8)
    w[:, 0] = w[0] = 1  # no dead rows and columns, whose places would be others'
    config = setun.config_of(CONFIG)
    packed = pack(w, config)
    request = b"".join(encode(kind, sequence, payload) for sequence, (kind, payload) in enumerate([
        (Kind.WEIGHTS, struct.pack("<HH", 0, packed.blocks * packed.words) + packed.weights.tobytes()),
        (Kind.VECTOR, struct.pack("<BBHHH", 0, Flags.INT8 | Flags.SKIP, 20, 20, 0) + x[packed.columns].tobytes()),
        (Kind.RUN, struct.pack("<BBHHHH", 0, 0, 0, packed.words, packed.blocks, 0)),
        (Kind.RESULTS, struct.pack("<HH", 0, packed.blocks))]))
    *others, (kind, sequence, payload) = Decoder().feed(run_bench(written, request, 4))
    assert [frame[1] for frame in others] == [0, 1, 2] and (kind, sequence) == (Kind.RESULTS | 0x80, 3)
    values = [int.from_bytes(payload[place:place + 3], "little", signed=True) for place in range(0, len(payload), 3)]
    assert values[:17] == (w.astype(int) @ x).tolist()


def test_manifest(written):
    text, manifest = (written / "core.v").read_text(), json.loads((written / "core.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert manifest["version"] == setun.__version__ and manifest["protocol"]["map"] == f"{MAP_HASH:#010x}"
    assert manifest["parameters"] | {"name": ""} == {
        "name": "", "banks": 3, "tiles": 2, "depth": 256, "columns": 512, "blocks": 64, "slots": 2, "stack": 2,
        "serial": False, "single_port": False}
    # Ports are those of the module, and there is no trace.
    header, = re.findall(r"^module setun \((.*)\);$", text, re.M)
    assert {port["name"] for port in manifest["ports"]} == set(header.split(", ")) and "trace" not in header
    for port in manifest["ports"]:
        width = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
        assert f"\n  {port['direction']} {width}{port['name']};\n" in text
    weights = [memory for memory in manifest["memories"] if "weights" in memory["module"]]
    assert [(memory["depth"], memory["width"], memory["count"]) for memory in weights] == [(256, 18, 3)]
    assert manifest["cells"] == [] and not re.search(r"/(tmp|home|root|work)/", text)


def test_vendor_cells():
    _, manifest = core("1x5", technology="ecp5")
    assert manifest["cells"] == ["CCU2C", "DP16KD"]


def test_refusals(tmp_path):
    with pytest.raises(setun.ArgumentError, match="technology is 'asic' and must be one of portable, ecp5, ice40"):
        setun.write_verilog("1x5", tmp_path / "core.v", technology="asic")
    with pytest.raises(setun.ArgumentError, match="config '2x5': no preset"):
        setun.write_verilog("2x5", tmp_path / "core.v")
    assert not list(tmp_path.iterdir())
    result = CliRunner().invoke(main, ["verilog", "--config", "1x5,banks=65", "--output", str(tmp_path / "core.v")])
    assert result.exit_code == 2 and "banks must be an integer from 1 to 64, not 65" in result.output
