"""What the commands for boards do with what they get from the tools."""

import dataclasses
import hashlib
import json
import subprocess

import pytest
from click.testing import CliRunner

from setun.cli import boards as cli_boards
from setun.cli.main import main
from setun.hdl.boards import BOARDS
from setun.hdl.build import bitstream
from setun.hdl.build.bitstream import Report, Routed
from setun.hdl.build.toolchain import ToolError


NETWORK = {"path": [{"type": "clk-to-q", "delay": .5, "from": {"cell": "machine.top.a_TRELLIS_FF_Q"}, "to": {}},
                    {"type": "routing", "delay": 1.25, "from": {}, "to": {}},
                    {"type": "setup", "delay": .25, "from": {}, "to": {"cell": "machine.top.b_LUT4_Z"}}]}


@pytest.fixture
def routes(monkeypatch, tmp_path):
    """Place and route without the tools: {seed: MHz}, which a test changes."""
    frequencies = {1: 101., 2: 140., 3: 120.}
    (tmp_path / "stat.json").write_text(json.dumps({"design": {"num_cells_by_type": {
        "LUT4": 160, "CCU2C": 40, "TRELLIS_FF": 30, "DP16KD": 2, "MULT18X18D": 1}}}))
    (tmp_path / "time.json").write_text("2.5")

    def route(board, netlist, command, packing, seed):
        folder = tmp_path / str(seed)
        folder.mkdir(exist_ok=True)
        (folder / "top.bit").write_bytes(b"bitstream of seed %d" % seed)
        return (Routed(seed, frequencies[seed], bitstream._describe(NETWORK), 3., .5, str(folder)),
                {"TRELLIS_COMB": {"used": 250, "available": 1000}})

    monkeypatch.setattr(bitstream, "_plan", lambda board: ({}, [], []))
    monkeypatch.setattr(bitstream, "_synthesise", lambda board, files: tmp_path)
    monkeypatch.setattr(bitstream, "_check_size", lambda board, netlist, command: None)
    monkeypatch.setattr(bitstream, "_route", route)
    return frequencies


@pytest.fixture
def loader(monkeypatch):
    """The command lines of openFPGALoader, which does nothing."""
    lines = []

    def run(command, **options):
        lines.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(cli_boards.subprocess, "run", run)
    return lines


def build(folder, *arguments):
    result = CliRunner().invoke(main, ["build", "--board", "icepi-zero", "--json", str(folder / "report.json"),
                                       "--output", str(folder / "out.bit"), *arguments])
    return result, json.loads((folder / "report.json").read_text())


def test_best_bitstream_and_worst_frequency(routes, tmp_path):
    result, fields = build(tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.bit").read_bytes() == b"bitstream of seed 2"
    assert fields["worst"] == 101 and [seed["seed"] for seed in fields["seeds"]] == [1, 2, 3]
    assert fields["sha256"] == hashlib.sha256(b"bitstream of seed 2").hexdigest() and fields["size"] == 19
    assert fields["luts_a_product"] == (160 + 2 * 40) / 160 and fields["share"] == .25
    assert fields["products_a_second"] == 160 * 75e6  # at the clock
    table = " ".join(result.output.replace("│", " ").split())
    for row in ("after synthesis 240 LUT, 30 FF, 2 block RAM, 0 single-port RAM, 1 DSP",
                "LUT a product, whole bitstream 1.50", "after place and route: TRELLIS_COMB 250 of 1,000 (25.0%)",
                "synthesis 2 s", "seed 2 140.0 MHz, place and route 3 s, packing 0 s; slowest from a to b: 2.0 ns",
                "frequency, worst seed 101.0 MHz, with a clock of 75 MHz", "products a second, at its clock 12.0 G"):
        assert row in table, table


def test_one_seed_too_slow(routes, tmp_path):
    """The fastest is enough for a bitstream."""
    routes[3] = 74.9
    result, fields = build(tmp_path)
    assert result.exit_code == 0 and fields["worst"] == 74.9 and fields["bitstream"].endswith("2/top.bit")


def test_no_seed_reaches_the_clock(routes, tmp_path):
    routes.update({1: 60., 2: 74.5, 3: 70.})
    result, fields = build(tmp_path)
    assert result.exit_code == 1 and not (tmp_path / "out.bit").exists()
    assert fields["bitstream"] is None and fields["sha256"] is None and fields["worst"] == 60
    assert {field.name for field in dataclasses.fields(Report)} <= set(fields)
    output = " ".join(result.output.split())
    assert ("Error: no bitstream: icepi-zero reaches 74.5 MHz with seed 2, the best of 3, and its clock is 75.0 MHz; "
            "the slowest path leads from a to b: 2.0 ns, 1.2 of it routing: try other --seeds") in output


@pytest.fixture
def fails(monkeypatch, tmp_path):
    """What is said of a build whose synthesis is done, and whose other tools are a function."""
    monkeypatch.setenv("SETUN_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(bitstream, "_synthesise", lambda board, files: tmp_path)

    def says(run, *arguments):
        monkeypatch.setattr(bitstream.toolchain, "run", run)
        result = CliRunner().invoke(main, ["build", *arguments])
        assert result.exit_code == 2 and "Traceback" not in result.output
        return " ".join(result.output.split())
    return says


@pytest.mark.parametrize("step, error, log, message", [
    ("route", ToolError("failed"), "Info: a\nERROR: Unable to find legal placement for all cells.\nERROR: more\n",
     "icepi-zero with config 8x20 cannot be placed and routed with seed 7, says nextpnr: Unable to find legal "
     "placement for all cells: try other --seeds, or a smaller config"),
    ("route", TimeoutError("late"), "", "icepi-zero with config 8x20 is not placed and routed with seed 7 after 4 h: "
     "try other --seeds, or a smaller config"),
    ("route", ToolError("nextpnr is not installed: pip install it"), "", "nextpnr is not installed: pip install it"),
    ("pack", ToolError("failed"), "ERROR: too many clocks\n",
     "icepi-zero with config 8x20 cannot be packed, says nextpnr: too many clocks: choose another config"),
])
def test_nextpnr_fails(fails, step, error, log, message):
    """What is said is why and what to do, and no log."""
    def run(command, *, folder, timeout):
        if ("--pack-only" in command) == (step == "pack"):
            (folder / "log").write_text(log)
            raise error
        (folder / "report.json").write_text('{"utilization": {"TRELLIS_COMB": {"used": 9, "available": 9}}}')

    assert fails(run, "--board", "icepi-zero", "--seeds", "7").endswith(f"Error: {message}")


def test_too_large(fails):
    """It is found before place and route; what a device is not said to have, nextpnr counts by another name."""
    def run(command, *, folder, timeout):
        assert "--pack-only" in command and "--write" not in command
        (folder / "report.json").write_text(json.dumps({"utilization": {
            name: {"used": used, "available": available}
            for name, used, available in (("TBUF", 1, 0), ("ALU", 9, 8), ("DFF", 8, 8), ("BSRAM", 50, 46))}}))

    assert fails(run, "--board", "tang-nano-20k").endswith(
        "Error: tang-nano-20k with config 8x20 needs 9 of 8 carry cells and 50 of 46 block RAMs: choose a smaller "
        "config, with less banks, tiles, depth, results or elements")


def test_program_loads_what_was_built(routes, loader):
    result = CliRunner().invoke(main, ["program", "--board", "icepi-zero", "--seeds", "1,3"])
    assert result.exit_code == 0, result.output
    asked, command = loader
    assert asked[1:] == ["--list-boards"]
    assert command[1:3] == ["--board", "icepi-zero"] and command[3].endswith("3/top.bit")
    assert "top.bit is loaded into the icepi-zero" in result.output


def test_program_refuses_what_is_too_slow(routes, loader):
    routes.update({1: 60., 2: 74.5, 3: 70.})
    result = CliRunner().invoke(main, ["program", "--board", "icepi-zero"])
    assert result.exit_code == 2 and "icepi-zero reaches 74.5 MHz" in result.output and len(loader) == 1


def test_program_lacks_a_library(routes, monkeypatch):
    """Nothing is built for a loader that cannot run."""
    monkeypatch.setattr(cli_boards, "build_bitstream", None)
    monkeypatch.setattr(cli_boards.subprocess, "run", lambda command, **options: subprocess.CompletedProcess(
        command, 127, "", "libusb-1.0.so.0: cannot open shared object file"))
    result = CliRunner().invoke(main, ["program", "--board", "icepi-zero"])
    assert result.exit_code == 2 and "apt-get install libusb-1.0-0" in result.output


def test_program_loads_a_file(loader, tmp_path):
    (tmp_path / "own.bit").write_bytes(b"own")
    for name, board in BOARDS.items():
        result = CliRunner().invoke(main, ["program", "--board", name, str(tmp_path / "own.bit")])
        assert result.exit_code == 0, result.output
        assert loader.pop()[1:] == ["--board", board.loader, str(tmp_path / "own.bit")]
