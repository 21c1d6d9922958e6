import contextlib
import csv
import dataclasses
import functools
import json
import re
import textwrap

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

import setun
from setun.analysis.calibration import Board, Figure
from setun.analysis.cases import all_cases, run_cases
from setun.analysis.memory import Memory, memory_of
from setun.analysis.models import named_models
from setun.analysis.profile import profile, profile_dimensions
from setun.cli.main import main
from setun.cli.options import DEMO
from setun.compiler.packing import CapacityError, extent, pack, place
from setun.driver.device import Device
from setun.errors import ArgumentError
from setun.golden.bit_linear import quantised_matvec
from setun.golden.decoder import empty_cache, step
from setun.hdl.boards import BOARDS
from setun.hdl.config import PRESETS
from setun.sim.rtl.transport import SimulatedTransport, simulate_line


CONFIG, CLOCK = PRESETS["16x20"], 125e6
SDRAM = memory_of("sdram")
ULX3S = BOARDS["ulx3s"]
DEEP = "8x10,depth=32768,columns=32768,blocks=1024"  # as in test_measure


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(argument) for argument in arguments])


def test_cycles_of_the_rtl():
    """Cause by cause, on the shapes of all named models and on random ones, by arrays that compile sooner than those of
    ``setun cycles``, and of the three shares of zeros one for each shape."""
    smaller = {"16x20-deep": DEEP, "16x20": "4x10,depth=512"}
    cases = [case._replace(config=smaller.get(case.config, case.config)) for index, case in enumerate(all_cases())
             if case.name.startswith("random") or index // 3 % 3 == index % 3]
    assert {case.config for case in cases} == {*smaller.values(), "4x10"}
    assert len(cases) >= 150
    assert {(case.of_rows, case.columns) for case in cases} >= {
        shape for model in named_models().values() for shape in model.matrices.values()}
    for case, predicted, measured, values in run_cases(cases):
        assert predicted == measured and not values, case


def test_extent():
    """Of a matrix with nothing dead, whatever packing makes of it."""
    rng = np.random.default_rng(3)
    for shape in ((1, 1), (20, 16), (21, 17), (95, 640)):
        w = rng.choice(np.array([-1, 1], np.int8), shape)
        packed, found = pack(w, CONFIG), extent(shape, CONFIG)
        assert (found.blocks, found.words, found.live) == (packed.blocks, packed.words, packed.live)
        assert (found.columns == packed.columns).all() and (found.rows == packed.rows).all()
        (one,), (other,) = (place([item], CONFIG)[0] for item in (packed, found))
        assert one.chunks == other.chunks


@pytest.fixture(scope="module")
def layer():
    """Model of the demo's first layer."""
    demo = setun.load("demo")
    return dataclasses.replace(demo, checkpoint=demo.checkpoint._replace(layers=demo.checkpoint.layers[:1]))


def test_the_virtual_board(layer):
    """The demo's first layer behind the UART of a board, simulated at its clock and baud rate: the rate of a token is
    that of the profile within 5 %, so are its bytes within 1 %, and there are as many exchanges.

    The weights are not written to the device, for no time depends on them; the token goes on with golden results.
    """
    board, token = BOARDS["icepi-zero"], "I"
    found = profile(layer, prompt=token, board=board, memory="resident", hypothetical=True, latency=0)
    line = functools.partial(simulate_line, clock=board.clock, baud=board.baud)
    with contextlib.closing(SimulatedTransport(board.config, start=line)) as transport:
        device = Device(transport, board.config)
        start, before = transport.cycles, device.traffic

        def linear(index, kind, codes, y):
            (placed,), resident = place([pack(codes, board.config)], board.config)
            assert resident
            device.multiply(placed, y, quantise=True)
            return quantised_matvec(index, kind, codes, y)

        model = layer.integer
        step(model, ord(token), 0, empty_cache(model), linear=linear)
        cycles, traffic = transport.cycles - start, np.subtract(device.traffic, before)
    rates, link = found.rates(), found.link_per_token()
    assert rates["end_to_end"] == pytest.approx(board.clock / cycles, rel=.05)
    assert (link["sent"], link["received"]) == pytest.approx(tuple(traffic[:2]), rel=.01)
    assert link["exchanges"] == traffic[2] and found.binds == "link"
    slow = profile(layer, prompt=token, board=board, memory="resident", hypothetical=True, latency=.016)
    assert slow.seconds_per_token == pytest.approx(found.seconds_per_token + .016 * traffic[2], rel=.01)


def test_sums():
    found = profile_dimensions(named_models()["2b4t"], CONFIG, clock=CLOCK, memory=SDRAM, board=ULX3S,
                               hypothetical=True)
    fields = found.fields()
    assert fields["cycles_per_token"] == pytest.approx(sum(fields["cycles_by_cause"].values()))
    assert fields["cycles_per_token"] == pytest.approx(sum(layer["cycles_per_token"] for layer in fields["layers"]))
    assert fields["tokens_per_second"] == fields["rates"]["end_to_end"] == pytest.approx(
        1 / sum(layer["layers"] * layer["seconds"] for layer in fields["layers"]))
    assert fields["cycles_range"]["low"] <= fields["cycles_range"]["mid"] <= fields["cycles_range"]["high"]
    assert fields["cycles_range"]["mid"] == fields["cycles_per_token"]
    # Five weights a byte, and what pads the last row block.
    assert 1 <= fields["bytes_per_token"]["weights"] / (named_models()["2b4t"].weights / 5) < 1.01
    for ledger in fields["energy"].values():
        assert ledger["low"] <= ledger["mid"] <= ledger["high"] and ledger["tier"] and ledger["excludes"]


@pytest.mark.parametrize("memory, parts", [("link", {"array", "link"}), ("sdram", {"array", "link", "memory"})])
def test_rates(memory, parts):
    """Parts that are there allow more than all together, and not fewer than if they followed each other; the one that
    binds allows the fewest."""
    found = profile("bitnet-700m", board="ulx3s", memory=memory, hypothetical=True)
    rates = found.rates()
    whole = rates.pop("end_to_end")
    there = {part: rate for part, rate in rates.items() if rate is not None}
    assert set(there) == parts and found.binds == min(there, key=there.get)
    assert 1 / sum(1 / rate for rate in there.values()) * .99 < whole < there[found.binds]
    link = found.link_per_token()
    assert (link["sent"] > found.bytes_per_token()["weights"] > 1e8) == (memory == "link")


def test_no_board():
    """There is no link, and it says so; the array alone."""
    found = profile("bitnet-700m", hypothetical=True)
    assert found.rates()["link"] is None and found.link_per_token() is None and found.joules_per_token is None
    assert found.tokens_per_second == pytest.approx(found.rates()["array"]) and found.binds == "array"
    assert "no board" in found.hypothetical and "holds" in found.hypothetical
    assert not profile("bitnet-700m", board="ulx3s", memory="link").hypothetical


def test_energy_of_the_board(layer):
    """Static power over the time end to end; memory and switching together are the board's."""
    for latency in (0, .016):
        found = profile(layer, board="ulx3s", latency=latency)
        static = next(part for name, part in found.energy["memory"]["parts"].items() if name.startswith("static"))
        assert static["mid"] == pytest.approx(.3 * found.seconds_per_token)
        assert found.joules_per_token["mid"] == pytest.approx(
            found.energy["memory"]["mid"] + found.energy["switching"]["mid"])
        clock = found.energy["switching"]["parts"]["clock"]["mid"]
        assert clock == pytest.approx(52e-12 * found.seconds_per_token * ULX3S.clock)
    assert profile(layer, board="tang-nano-20k", memory="link").joules_per_token is None
    figure = Figure(1., 1., 1.)
    meter = Board(board="ulx3s", source="", static=figure, cycle=Figure(0, 0, 0), product=Figure(0, 0, 0), residual=0)
    found = profile(layer, board="ulx3s", calibration=meter)
    assert found.joules_per_token["mid"] == pytest.approx(found.seconds_per_token)
    assert found.joules_per_token["tier"] == "calibrated"
    for board, words in (("ulx3s-800", "made on ulx3s, and the profile is of ulx3s-800"), (None, "of no board")):
        with pytest.raises(ArgumentError, match=words):
            profile(layer, board=board, calibration=meter)


@pytest.mark.parametrize("options, error, words", [
    ({"board": "ulx3s", "memory": "resident"}, CapacityError,
     "there is no preset or board to hold them, or give --memory link"),
    ({}, CapacityError, "take 6,516,480 words and config 16x20 has 2,048"),
    ({"board": "icebreaker"}, CapacityError, "a vector of 2560 elements does not fit config 4x10-spram, which "
     "takes 512: the presets 16x20, 16x50, 16x20-deep and the boards ulx3s, ulx3s-800, ecpix5 take it, or give "
     "--hypothetical"),
    ({"board": "ulx3s", "memory": "sdram"}, CapacityError,
     "417 MB of weights in the 34 MB of sdram on ulx3s: no board's chip is large enough"),
    ({"board": "ecpix5", "memory": "ddr3"}, ArgumentError, "bitstream of ecpix5 has no controller for the ddr3"),
    ({"board": "ecpix5", "memory": "sdram"}, ArgumentError, "bitstream of ecpix5 has no sdram of 246 MB/s"),
])
def test_what_is_not_there(options, error, words):
    """It is refused with what would do, unless it is supposed, which is told."""
    with pytest.raises(error, match=words):
        profile("2b4t", **options)
    found = profile("2b4t", hypothetical=True, **options)
    assert found.hypothetical and found.fields()["hypothetical"] == found.hypothetical


def test_weights_go_where_the_driver_has_them():
    """Resident where they fit, and else over the link; who asks for memories that are too small is refused."""
    found = profile("demo", board="ulx3s-800")
    assert found.weights == "resident" and found.bytes_per_token()["weights"] == 0
    found = profile("demo", board="icepi-zero")
    assert found.memory.kind == "link" and not found.fits and not found.hypothetical
    assert found.link_per_token()["sent"] > found.bytes_per_token()["weights"] > 0
    with pytest.raises(CapacityError, match="the weights of demo take .* config 8x10 on icepi-zero has 2,048: the "
                                            "presets 16x40, 16x50, 16x20-deep and the boards ulx3s-800 hold them"):
        profile("demo", board="icepi-zero", memory="resident")


def test_only_what_is_missing_is_supposed():
    """--hypothetical changes nothing where all is there; a board's other config, and its memory, are not there."""
    assert profile("demo", board="ulx3s", hypothetical=True) == profile("demo", board="ulx3s")
    found = profile("demo", board="ulx3s", config="16x40")
    assert found.hypothetical == "config 16x40 on ulx3s, whose bitstream has 16x20"
    with pytest.raises(ArgumentError, match="the bitstream of ulx3s-800 has no controller for the sdram"):
        profile("demo", board="ulx3s-800", memory="sdram")  # though the weights fit without it


@pytest.mark.parametrize("options, words", [
    ({"memory": "Sdram"}, "memory is 'Sdram' and must be one of resident, link, sdram, ddr3, lpddr4"),
    ({"clock": -5}, "a clock is more than 0"), ({"latency": -1}, "a latency 0 or more"),
    ({"latency": float("nan")}, "a latency 0 or more"),
    ({"table": "5nm"}, "table is '5nm' and must be one of 45nm, 7nm"),
])
def test_arguments_refused(options, words):
    with pytest.raises(ArgumentError, match=words):
        profile("demo", board="ulx3s-800", **options)


def test_memory_of_a_board():
    """The bandwidth is the chip's, at the board's clock, or the one that is given."""
    assert memory_of("sdram", ULX3S).bandwidth == pytest.approx(246e6, rel=.002)
    assert memory_of("sdram", BOARDS["ulx3s-2400"]).bandwidth == pytest.approx(197e6, rel=.002)
    assert memory_of("ddr3", BOARDS["ecpix5"]).bandwidth == 480e6
    assert memory_of("sdram", ULX3S, 1e6).bandwidth == 1e6
    with pytest.raises(ArgumentError, match="resident is none"):
        memory_of("resident", bandwidth=1e6)


def test_bound_by_memory():
    """With little bandwidth the token takes as long as its bytes; with much it is bound by the array."""
    model, array = named_models()["2b4t"], None
    for bandwidth in (1e6, 1e8, 1e12):
        found = profile_dimensions(model, CONFIG, clock=CLOCK, memory=Memory("sdram", bandwidth))
        causes, sent = found.cycles_by_cause(), found.bytes_per_token()["weights"] / bandwidth * CLOCK
        array = causes["issue"] + causes["flush"] + causes["vector"]
        assert max(sent, array) <= found.cycles_per_token <= sent + array
        assert found.binds == ("memory" if bandwidth < 1e9 else "array")
    assert found.cycles_per_token == pytest.approx(array, rel=.001)
    resident = profile_dimensions(model, CONFIG, clock=CLOCK, hypothetical=True)
    assert not resident.fits and resident.bytes_per_token()["weights"] == 0
    # Chunks of half the memory have more flushes than those of all results.
    assert array - resident.cycles_per_token == pytest.approx(
        causes["flush"] - resident.cycles_by_cause()["flush"])


def test_command(tmp_path):
    result = invoke("profile", "2b4t", "--board", "ulx3s", "--memory", "sdram", "--hypothetical", "--json",
                    tmp_path / "p.json", "--csv", tmp_path / "p.csv")
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "p.json").read_text())
    assert fields["config"] == "16x20" and fields["clock"] == 125e6 and not fields["fits"]
    with open(tmp_path / "p.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["qkv", "o", "gate_up", "down"]
    assert sum(int(row["layers"]) * float(row[f"cycles_{cause}"]) for row in rows
               for cause in fields["cycles_by_cause"]) == pytest.approx(fields["cycles_per_token"])
    assert "assumed" in result.output and "static power of LFE5U-85F" in result.output
    told = "417 MB of weights in the 34 MB of sdram on ulx3s, and a controller"
    assert result.stdout.startswith(f"Hypothetical: {told}.\n") and fields["hypothetical"] == told
    assert fields["hypothetical"] == rows[0]["hypothetical"] == rows[3]["hypothetical"]
    assert "The link binds: " in result.output


@pytest.mark.parametrize("name", BOARDS)
def test_command_for_a_board(tmp_path, name):
    result = invoke("profile", "demo", "--prompt", "A", "--board", name, "--memory", "link", "--json",
                    tmp_path / "p.json")
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "p.json").read_text())
    assert fields["clock"] == BOARDS[name].clock and fields["config"] == BOARDS[name].config.name
    assert fields["baud"] == BOARDS[name].baud and "hypothetical" not in fields
    counted = any("static power" in entry for entry in fields["energy"]["memory"]["parts"])
    left_out = "static power left out" in fields["energy"]["memory"]["of"]
    assert counted != left_out and left_out == (BOARDS[name].family.name == "gowin")
    lines = result.stdout.splitlines()
    assert ("is not known" if left_out else "mJ a token: modelled") in lines[2]
    assert (fields["joules_per_token"] is None) == left_out


def test_command_for_all_boards(tmp_path):
    """One table, fastest first, with what each would do by itself; boards that cannot are told with a reason."""
    for model, refused in (("demo", 0), ("bitnet-700m", 4)):
        result = invoke("profile", model, "--prompt", "A", "--board", "all", "--json", tmp_path / "p.json")
        assert result.exit_code == 0, result.output
        found = {fields["board"]: fields for fields in json.loads((tmp_path / "p.json").read_text())}
        assert list(found) == list(BOARDS)
        taken = [name for name, fields in found.items() if "rates" in fields]
        assert len(found) - len(taken) == refused
        rows = [line for line in result.output.splitlines() if line.startswith("│")]
        order = sorted(taken, key=lambda name: -found[name]["tokens_per_second"])
        assert [row.split()[1] for row in rows] == order and "…" not in result.output
        for name, fields in found.items():
            if name in taken:
                alone = profile(model, board=name, prompt="A", memory="link")
                assert fields["tokens_per_second"] == pytest.approx(alone.tokens_per_second)
            else:
                assert f"{name}: {fields['refused']}" in result.output


def test_command_with_a_config(tmp_path):
    """A config.json of Hugging Face alone, and a file of dimensions as the help has it, are the model of that name."""
    path = tmp_path / "config.json"
    path.write_text((DEMO / "config.json").read_text())
    rate = {}
    help_text = invoke("profile", "--help").output
    fields = re.search(r"^ +name: my-model.*?activation: \w+", help_text, re.DOTALL | re.MULTILINE)[0]
    (tmp_path / "m.yaml").write_text(textwrap.dedent(fields))
    for model in (path, tmp_path / "m.yaml", "2b4t"):
        result = invoke("profile", model, "--board", "ulx3s", "--memory", "link", "--json", tmp_path / "p.json")
        assert result.exit_code == 0, result.output
        rate[model] = json.loads((tmp_path / "p.json").read_text())["tokens_per_second"]
    assert rate[tmp_path / "m.yaml"] == rate["2b4t"] < rate[path]


@pytest.mark.parametrize("arguments, words", [
    (["none"], "no model of that name: see setun models"),
    (["bitnet-70b"], "a vector of 28672 elements does not fit config 16x20, which takes 8192: the presets 16x20-deep"),
    (["2b4t", "--bandwidth", 100], "a bandwidth is of a memory"),
    (["2b4t", "--memory", "link"], "--memory link is a board's: give --board"),
    (["demo", "--board", "all", "--clock", 50], "leave out --clock"),
    (["demo", "--prompt", ""], "--prompt must have tokens below 256"),
    (["2b4t", "--clock", 0], "--clock"),
    (["none.yaml"], "none.yaml: cannot be read"),
    (["2b4t", "--json", "nowhere/p.json"], "create nowhere first"),
])
def test_command_refuses(arguments, words):
    result = invoke("profile", *arguments)
    assert result.exit_code == 2 and words in " ".join(result.output.split()), result.output


def test_command_refuses_a_calibration(tmp_path):
    figure = Figure(1., 1., 1.)
    (tmp_path / "b.yaml").write_bytes(msgspec.yaml.encode(
        Board(board="ulx3s", source="meter", static=figure, cycle=figure, product=figure, residual=0)))
    result = invoke("profile", "demo", "--board", "ecpix5", "--memory", "link", "--calibration", tmp_path / "b.yaml")
    assert result.exit_code == 2
    assert "made on ulx3s, and the profile is of ecpix5: give --board ulx3s" in " ".join(result.output.split())


def test_html_needs_an_extra(monkeypatch):
    monkeypatch.setattr("setun.cli.console.find_spec", lambda name: None)
    result = invoke("profile", "demo", "--html", "p.html")
    assert result.exit_code == 2 and result.output == "Error: plotly is not installed: pip install 'setun[profile]'\n"


def test_cases_are_listed():
    result = invoke("cycles", "--list")
    assert result.exit_code == 0 and len(result.output.splitlines()) == len(all_cases())


def test_fields_are_documented(tmp_path):
    """setun profile --help names all that --json writes."""
    runner = CliRunner()
    assert runner.invoke(main, ["profile", "2b4t", "--hypothetical", "--json", str(tmp_path / "p.json")]).exit_code == 0
    words = set(re.findall(r"\w+", runner.invoke(main, ["profile", "--help"]).output))
    assert set(json.loads((tmp_path / "p.json").read_text())) <= words
