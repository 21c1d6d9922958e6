import csv
import json
import re
import time

import numpy as np
import pytest
from click.testing import CliRunner

from setun.analysis.cases import all_cases, run_cases
from setun.analysis.measure import measure_run
from setun.analysis.models import named_models
from setun.analysis.profile import Memory, collect_activations, profile_checkpoint, profile_dimensions
from setun.cli.main import main
from setun.cli.options import DEMO
from setun.compiler.packing import extent, pack, place
from setun.formats import checkpoint
from setun.hdl.boards import BOARDS
from setun.hdl.config import PRESETS


CONFIG, CLOCK = PRESETS["16x20"], 125e6
SDRAM = Memory("sdram", 332e6, .8)


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(argument) for argument in arguments])


def test_cycles_of_the_rtl():
    """Cause by cause, on the shapes of all named models and on random ones."""
    cases = all_cases()
    assert len(cases) > 200
    assert {(case.of_rows, case.columns) for case in cases} >= {
        shape for model in named_models().values() for shape in model.matrices.values()}
    for case, predicted, measured, values in run_cases(cases):
        assert predicted == measured and not values, case


def test_cycles_of_the_demo():
    """The profile's cycles of the prompt's last token are those that the RTL takes for it."""
    loaded, prompt, config = checkpoint.load(DEMO), list(b"In"), PRESETS["16x40"]
    _, measured = measure_run(config, loaded, prompt, 1)
    whole, but_last = (profile_checkpoint(loaded, "demo", collect_activations(loaded, prompt[:count]), config,
                                          clock=CLOCK) for count in (2, 1))
    last = 2 * whole.cycles_per_token - but_last.cycles_per_token
    assert measured["cycles_per_token"] == measured["cycles_predicted"] == [round(last)]
    assert last == pytest.approx(round(last))


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


def test_sums():
    profile = profile_dimensions(named_models()["2b4t"], CONFIG, clock=CLOCK, memory=SDRAM, device="LFE5U-85F")
    fields = profile.fields()
    assert fields["cycles_per_token"] == pytest.approx(sum(fields["cycles_by_cause"].values()))
    assert fields["cycles_per_token"] == pytest.approx(sum(layer["cycles_per_token"] for layer in fields["layers"]))
    assert fields["tokens_per_second"] == pytest.approx(CLOCK / fields["cycles_per_token"])
    assert fields["cycles_range"]["low"] <= fields["cycles_range"]["mid"] <= fields["cycles_range"]["high"]
    assert fields["cycles_range"]["mid"] == fields["cycles_per_token"]
    # Five weights a byte, and what pads the last row block.
    assert 1 <= fields["bytes_per_token"]["weights"] / (named_models()["2b4t"].weights / 5) < 1.01
    for ledger in fields["energy"].values():
        assert ledger["low"] <= ledger["mid"] <= ledger["high"] and ledger["tier"] and ledger["excludes"]


def test_bound_by_memory():
    """With little bandwidth the token takes as long as its bytes; with much it is bound by the array."""
    model, array = named_models()["2b4t"], None
    for bandwidth in (1e6, 1e8, 1e12):
        profile = profile_dimensions(model, CONFIG, clock=CLOCK, memory=Memory("sdram", bandwidth))
        causes, sent = profile.cycles_by_cause(), profile.bytes_per_token()["weights"] / bandwidth * CLOCK
        array = causes["issue"] + causes["flush"] + causes["vector"]
        assert max(sent, array) <= profile.cycles_per_token <= sent + array
    assert profile.cycles_per_token == pytest.approx(array, rel=.001)
    resident = profile_dimensions(model, CONFIG, clock=CLOCK)
    assert not resident.fits and resident.bytes_per_token()["weights"] == 0
    # Chunks of half the memory have more flushes than those of all results.
    assert array - resident.cycles_per_token == pytest.approx(
        causes["flush"] - resident.cycles_by_cause()["flush"])


def test_the_link_is_slower_than_the_loader():
    """A byte a cycle at most, whatever the link."""
    assert Memory("link", 1e12).bytes_a_cycle(CLOCK) == 1 and Memory("sdram", 1e12).bytes_a_cycle(CLOCK) > 1


def test_quick():
    start = time.perf_counter()
    profile_dimensions(named_models()["2b4t"], CONFIG, clock=CLOCK, memory=SDRAM)
    assert time.perf_counter() - start < 5


def test_command(tmp_path):
    result = invoke("profile", "2b4t", "--board", "ulx3s", "--memory", "sdram", "--json", tmp_path / "p.json", "--csv",
                    tmp_path / "p.csv")
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "p.json").read_text())
    assert fields["config"] == "16x20" and fields["clock"] == 125e6 and not fields["fits"]
    with open(tmp_path / "p.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["qkv", "o", "gate_up", "down"]
    assert sum(int(row["layers"]) * float(row[f"cycles_{cause}"]) for row in rows
               for cause in fields["cycles_by_cause"]) == pytest.approx(fields["cycles_per_token"])
    assert "assumed" in result.output and "static power of LFE5U-85F" in result.output


@pytest.mark.parametrize("name", BOARDS)
def test_command_for_a_board(tmp_path, name):
    result = invoke("profile", "demo", "--prompt", "A", "--board", name, "--json", tmp_path / "p.json")
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "p.json").read_text())
    assert fields["clock"] == BOARDS[name].clock and fields["config"] == BOARDS[name].config.name
    counted = any("static power" in entry for entry in fields["energy"]["memory"]["parts"])
    left_out = "static power left out" in fields["energy"]["memory"]["of"]
    assert counted != left_out and left_out == (BOARDS[name].family.name == "gowin")


def test_command_with_the_rtl(tmp_path):
    result = invoke("profile", "--simulate", 2, "--json", tmp_path / "p.json")
    assert result.exit_code == 0, result.output
    assert "2 tokens on the RTL: 0 values differ, cycles equal those predicted" in result.output
    fields = json.loads((tmp_path / "p.json").read_text())
    assert len(fields["layers"]) == 16 and fields["fits"] and fields["tokens"] == 54


@pytest.mark.parametrize("arguments, words", [
    (["none"], "no model of that name: see setun models"),
    (["2b4t", "--simulate", 1], "--simulate needs weights"),
    (["bitnet-70b"], "a vector of 28672 elements does not fit config 16x20"),
    (["2b4t", "--bandwidth", 100], "are of a memory"),
    (["demo", "--prompt", ""], "--prompt must have tokens below 256"),
    (["2b4t", "--clock", 0], "--clock"),
    (["none.yaml"], "none.yaml: cannot be read"),
    (["2b4t", "--json", "nowhere/p.json"], "create nowhere first"),
])
def test_command_refuses(arguments, words):
    result = invoke("profile", *arguments)
    assert result.exit_code == 2 and words in " ".join(result.output.split()), result.output


def test_cases_are_listed():
    result = invoke("cycles", "--list")
    assert result.exit_code == 0 and len(result.output.splitlines()) == len(all_cases())


def test_fields_are_documented(tmp_path):
    """setun profile --help names all that --json writes."""
    runner = CliRunner()
    assert runner.invoke(main, ["profile", "2b4t", "--json", str(tmp_path / "p.json")]).exit_code == 0
    words = set(re.findall(r"\w+", runner.invoke(main, ["profile", "--help"]).output))
    assert set(json.loads((tmp_path / "p.json").read_text())) <= words
