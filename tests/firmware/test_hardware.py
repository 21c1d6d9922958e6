"""Verilog for other people's designs, in a test bench of theirs; bitstreams from Python."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import setun
from setun.cli.main import main
from setun.compiler.schedule import compile_model
from setun.driver.machine import Machine
from setun.golden.fixed import to_fixed
from setun.hardware import core
from setun.hdl.build import toolchain
from setun.hdl.protocol import MAP_HASH, Space
from setun.sim.model.device import ReferenceTransport
from tests.support.checkpoints import random_checkpoint


BENCH = Path(__file__).with_name("core_bench.v")
CONFIG = ("24x40,banks=4,tiles=2,depth=1024,results=256,elements=256,instructions=128,silu=true,vocabulary=41,"
          "context=19")


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


class Recording(ReferenceTransport):
    """The reference machine, and all that it was asked and has answered."""

    def __init__(self, config):
        super().__init__(config)
        self.asked, self.answered, self.replies = b"", b"", 0

    def exchange(self, request, replies, limit):
        answer = super().exchange(request, replies, limit)
        self.asked, self.answered, self.replies = self.asked + request, self.answered + answer, self.replies + replies
        return answer


def test_text_in_a_foreign_test_bench(written):
    """The bytes of a session, in which a model is loaded and a text generated and read, are answered in Icarus as by
    the reference machine."""
    config = setun.config_of(CONFIG)
    image = compile_model(to_fixed(random_checkpoint(vocab=41, context=19, heads=2, kv_heads=1, head_dim=8, hidden=12,
                                                     inner=20)), config)
    transport = Recording(config)
    machine = Machine(transport)
    machine.load(image)
    machine.give([1, 2])
    machine.go(0, 4)
    machine.wait(4, 1 << 20)
    assert len(set(machine.tokens(0, 5))) > 2
    machine.read(Space.ELEMENTS, 0, image.used("elements"))
    assert run_bench(written, transport.asked, transport.replies) == transport.answered


def test_manifest(written):
    text, manifest = (written / "core.v").read_text(), json.loads((written / "core.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert manifest["version"] == setun.__version__ and manifest["protocol"]["map"] == f"{MAP_HASH:#010x}"
    assert manifest["parameters"] == vars(setun.config_of(CONFIG))
    # Ports are those of the module, and there is no trace.
    header, = re.findall(r"^module setun \((.*)\);$", text, re.M)
    assert {port["name"] for port in manifest["ports"]} == set(header.split(", ")) and "trace" not in header
    for port in manifest["ports"]:
        width = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
        assert f"\n  {port['direction']} {width}{port['name']};\n" in text
    weights = [memory for memory in manifest["memories"] if "weights" in memory["module"]]
    assert {(memory["depth"], memory["width"]) for memory in weights} == {(1024, 9)}
    assert sum(memory["count"] for memory in weights) == 8
    assert manifest["cells"] == [] and not re.search(r"/(tmp|home|root|work)/", text)


def test_vendor_cells():
    _, manifest = core(CONFIG, technology="ecp5")
    assert {"CCU2C", "DP16KD"} <= set(manifest["cells"])


def test_refusals(tmp_path):
    with pytest.raises(setun.ArgumentError, match="technology is 'asic' and must be one of portable, ecp5, ice40"):
        setun.write_verilog("24x40", tmp_path / "core.v", technology="asic")
    with pytest.raises(setun.ArgumentError, match="config '2x5': no preset"):
        setun.write_verilog("2x5", tmp_path / "core.v")
    assert not list(tmp_path.iterdir())
    result = CliRunner().invoke(main, ["verilog", "--config", "24x40,banks=72", "--output", str(tmp_path / "core.v")])
    assert result.exit_code == 2 and "banks must be an integer from 1 to 64, not 72" in result.output
