"""Profiles of whole tokens: against the cycle model on the reference machine, and their own sums."""

import csv
import dataclasses
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
from setun.analysis.memory import memory_of
from setun.analysis.models import dimensions_of, named_models
from setun.analysis.profile import compare, profile, profiler
from setun.cli.main import main
from setun.compiler.hollow import hollow_model
from setun.compiler.schedule import compile_model, outline_model
from setun.errors import ArgumentError
from setun.formats.checkpoint import DEMO
from setun.formats.tokenizer import ByteTokenizer
from setun.hdl.boards import BOARDS
from setun.hdl.config import PRESETS
from setun.sim.model.assumed import AssumedProcessor
from setun.sim.model.processor import Processor
from setun.sim.model.processor_cycles import WORK, Meter, cycles_by, turn_cycles
from tests.firmware.cli.test_main import invoke
from tests.support.checkpoints import random_checkpoint
from tests.support.configs import SMALL


ULX3S = BOARDS["ulx3s"]
FEW = 6  # positions of the demo


@pytest.fixture(scope="module")
def demo():
    return profile("demo", context=FEW, prompt="A")


def small_model(**sizes):
    return setun.Model("small", random_checkpoint(**sizes), ByteTokenizer())


def test_cycles_of_the_rtl():
    """Products of the shapes of named models and random ones, a sixth of those of ``setun cycles``."""
    cases = all_cases()[::6]
    assert len({case.config for case in cases}) == 2
    for case, predicted, measured, values in run_cases(cases):
        assert predicted.total() == measured and not values, case


def test_exact(demo):
    """Cycles are those of the reference machine on the text that it writes, by stage and cause, and their mean."""
    model, config = setun.load("demo"), PRESETS["24x40"]
    processor, token, totals = Processor(compile_model(model.integer, config)), ord("A"), []
    for position in range(FEW):
        token, meter = turn_cycles(processor, token, position)
        totals.append(meter.cycles.total())
        assert demo.cycles[position] == meter.cycles
    assert demo.tier.startswith("exact") and demo.cycles_per_token == pytest.approx(np.mean(totals))
    assert demo.cycles_range == (demo.cycles_per_token,) * 3 and demo.hypothetical == "no board"
    assert demo.fields()["cycles_by_position"] == dict(enumerate(totals, 1))


def test_sums(demo):
    fields = demo.fields()
    for parts in ("cycles_by_stage", "cycles_by_cause"):
        assert sum(fields[parts].values()) == pytest.approx(fields["cycles_per_token"])
    assert sum(demo.table().values()) == pytest.approx(fields["cycles_per_token"])
    assert list(fields["cycles_by_stage"]) == ["embedding", "qkv", "attention", "o", "gate_up", "down", "head"]
    assert fields["tokens_per_second"] == fields["rates"]["machine"]
    assert fields["tokens_per_second"] == pytest.approx(100e6 / fields["cycles_per_token"])
    assert set(fields["work"]) == set(WORK) and 0 < fields["utilisation"] < 1
    for ledger in ("memory", "switching"):
        assert sum(part["mid"] for part in demo.energy[ledger]["parts"].values()) == pytest.approx(
            demo.energy[ledger]["mid"])


def test_work(demo):
    """Products are those of lists that hold no zeros: fewer than the weights, by the shares of zeros."""
    dimensions = dimensions_of(setun.load("demo").checkpoint, "demo")
    assert .5 * dimensions.weights < demo.work["ternary products"] < dimensions.weights
    keys_and_values = 2 * dimensions.layers * dimensions.keys
    assert demo.work["stored words"] == keys_and_values  # the heads' sizes are multiples of the lanes
    assert demo.ideal_cycles == pytest.approx((dimensions.weights + dimensions.vocab * dimensions.hidden
                                               + dimensions.layers * dimensions.queries * (FEW + 1)) / 960)


def test_hollow_program():
    """The program of dimensions alone is the model's, but for scalars' places and what the formats decide."""
    for sizes in ({}, {"heads": 4, "kv_heads": 2, "activation": "silu"}, {"sub_norms": False}):
        model = small_model(**sizes)
        dimensions = dimensions_of(model.checkpoint, "small")
        known, hollow = (outline_model(each, SMALL) for each in (
            model.integer, hollow_model(dimensions, model.checkpoint.context)))
        assert known.needs == hollow.needs and known.stages == hollow.stages

        def plain(outline):
            return [dataclasses.replace(each, frequency=0) if hasattr(each, "frequency") else
                    dataclasses.replace(each, exponent=0) if hasattr(each, "exponent") else each
                    for each in outline.program]

        assert plain(known) == plain(hollow)


def test_assumed_cycles_with_real_lists():
    """With the lists of the reference machine what is assumed costs as much but for the scalars, whose share it is."""
    model = setun.load("demo")
    image = compile_model(model.integer, PRESETS["24x40"])
    real, lists = Processor(image), []

    class Recorder(Meter):
        def __call__(self, processor, counter):
            super().__call__(processor, counter)
            lists.append(dict(processor.lists))

    class Replayed(AssumedProcessor):
        def step(self, token, position, observe):
            def listed(processor, counter):
                processor.lists = given.pop(0)
                observe(processor, counter)

            given = list(lists)
            super().step(token, position, listed)

    measured = Recorder(real, 65, 0)
    real.step(65, 0, measured)
    outline = outline_model(hollow_model(dimensions_of(model.checkpoint, "demo"), 256), PRESETS["24x40"])
    assumed = Replayed(outline, {}, outline.layers)
    assumed.token = 65
    found = Meter(assumed, 65, 0)
    assumed.step(65, 0, found)
    assert found.work == measured.work
    causes, expected = (cycles_by("cause", meter.cycles) for meter in (found, measured))
    for cause in ("lanes", "latency"):
        assert causes[cause] == expected[cause]
    assert abs(causes["scalars"] / expected["scalars"] - 1) < .06
    assert abs(found.cycles.total() / measured.cycles.total() - 1) < .015


def test_layers_alike():
    """All layers are counted from two of them."""
    model = named_models()["bitnet-700m"]
    outline = outline_model(hollow_model(model, 64), PRESETS["16x20"])
    whole = AssumedProcessor(outline, {}, outline.layers)
    meter = Meter(whole, 0, 63)
    whole.step(0, 63, meter)
    found = profiler(model)(PRESETS["16x20"], board=None, clock=1e8, memory=memory_of("resident"), context=64,
                            table="45nm", calibration=None)
    zeros = AssumedProcessor(outline, {"qkv": .015}, 1)
    assert zeros.zeros["qkv"] == .015
    assert cycles_by("stage", meter.cycles).keys() == found.cycles_by("stage").keys()
    assert found.cycles[-1].total() == pytest.approx(meter.cycles.total(), rel=.05)  # without zeros


def test_zeros_matter():
    low, mid, high = profile("2b4t", context=16).cycles_range
    assert low < mid < high


@pytest.mark.parametrize("model, options, words", [
    ("2b4t", {"board": "tang-nano-20k"}, ["config 8x20 on tang-nano-20k has 128,256 tokens, not 4,096", "words of w"]),
    ("2b4t", {"board": "ulx3s", "memory": "sdram"},
     [f"a controller for the sdram, {1.97 * ULX3S.clock / 1e6:.3g} MB/s, loaded while"]),
    ("2b4t", {"board": "ulx3s", "memory": "link"}, ["weights that cross the link, 0.2"]),
    ("llama3-8b-158", {}, ["no board", "a table for SiLU"]),
    ("demo", {"board": "ulx3s", "config": "16x20", "context": 1}, ["config 16x20 on ulx3s, whose bitstream has 24x40"]),
])
def test_what_is_not_there(model, options, words):
    found = profile(model, **options)
    assert all(word in found.hypothetical for word in words), found.hypothetical
    assert found.fields()["hypothetical"] == found.hypothetical


def test_all_is_there():
    found = profile("demo", board="ulx3s", context=2)
    assert not found.hypothetical and "hypothetical" not in found.fields() and found.fits
    assert found.clock == ULX3S.clock and found.weights == "resident"
    assert found.joules_per_token["tier"] == "modelled"


def test_bound_by_memory():
    """With little bandwidth the token takes as long as its bytes; with much it is bound by the processor."""
    model = named_models()["2b4t"]
    for bandwidth, binds in ((1e6, "weights"), (1e12, "machine")):
        found = profile(model, memory="sdram", bandwidth=bandwidth, context=16)
        loads = model.weights / 5 / bandwidth
        assert found.binds == binds and found.seconds_per_token == pytest.approx(
            max(loads, found.cycles_per_token / 100e6))
        assert found.energy["memory"]["parts"][f"sdram: {model.weights / 5:,.0f} bytes of weights"]["mid"] > 0


def test_too_large_for_any_processor():
    """A model with weights that no processor can hold is profiled by its dimensions."""
    model = small_model(hidden=64, inner=96, layers=1)
    found = profile(model, config="24x40,depth=1,results=1,elements=1")
    assert found.tier.startswith("exact") and "words of weights, not 1" in found.hypothetical


@pytest.mark.parametrize("options, words", [
    ({"memory": "Sdram"}, "memory is 'Sdram' and must be one of resident, link, sdram, ddr3, lpddr4"),
    ({"clock": -5}, "clock is -5 Hz: give more than 0"), ({"table": "3nm"}, "table is '3nm'"),
    ({"context": 257}, "context is 257 and demo has 256 positions"),
    ({"memory": "resident", "bandwidth": 5}, "a bandwidth is of a memory"),
])
def test_arguments_refused(options, words):
    with pytest.raises(ArgumentError, match=words):
        profile("demo", board="ulx3s", **{"context": 1} | options)


def test_memory_of_a_board():
    """The bandwidth is the chip's, at the board's clock, or the one that is given; a line carries frames."""
    assert memory_of("sdram", ULX3S).bandwidth == pytest.approx(.985 * 2 * ULX3S.clock)
    assert memory_of("sdram").bandwidth == 246e6 and memory_of("sdram", ULX3S, 5.).bandwidth == 5
    assert .9 * ULX3S.baud / 10 < memory_of("link", ULX3S).bandwidth < ULX3S.baud / 10
    with pytest.raises(ArgumentError, match="--memory link is a board's"):
        memory_of("link")


def test_compare():
    found = compare(profiler(named_models()["bitnet-700m"]), calibration=None, table="45nm", context=8)
    assert set(found) == set(BOARDS) and all(each.hypothetical for each in found.values())


def test_command(tmp_path):
    result = invoke("profile", "2b4t", "--board", "ulx3s", "--memory", "sdram", "--context", 16, "--json",
                    tmp_path / "p.json", "--csv", tmp_path / "p.csv", "--trace", tmp_path / "t.json")
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "p.json").read_text())
    with open(tmp_path / "p.csv") as file:
        rows = list(csv.DictReader(file))
    assert sum(float(row["cycles"]) for row in rows) == pytest.approx(fields["cycles_per_token"])
    assert result.stdout.startswith(f"Hypothetical: {fields['hypothetical']}.\n")
    assert "The weights binds" in result.output
    assert "static power of LFE5U-85F" in result.output and "assumed" in result.output


def test_command_for_all_boards(tmp_path):
    """One table, fastest first, with what each would do by itself."""
    result = invoke("profile", "bitnet-700m", "--context", 8, "--board", "all", "--json", tmp_path / "p.json")
    assert result.exit_code == 0, result.output
    found = {fields["board"]: fields for fields in json.loads((tmp_path / "p.json").read_text())}
    assert list(found) == list(BOARDS)
    rows = [line for line in result.output.splitlines() if line.startswith("│")]
    order = sorted(found, key=lambda name: -found[name]["tokens_per_second"])
    assert [row.split()[1] for row in rows] == order and "…" not in result.output
    for name, fields in found.items():
        assert fields["tokens_per_second"] == profile("bitnet-700m", board=name, context=8).tokens_per_second
        assert (fields["joules_per_token"] is None) == (name == "tang-nano-20k")


def test_command_with_a_config(tmp_path):
    """A config.json of Hugging Face alone, and a file of dimensions as the help has it, are the model of that name."""
    path = tmp_path / "config.json"
    path.write_text((DEMO / "config.json").read_text())
    rate = {}
    help_text = invoke("profile", "--help").output
    fields = re.search(r"^ +name: my-model.*?sub_norms: \w+", help_text, re.DOTALL | re.MULTILINE)[0]
    (tmp_path / "m.yaml").write_text(textwrap.dedent(fields))
    for model in (path, tmp_path / "m.yaml", "2b4t"):
        result = invoke("profile", model, "--board", "ulx3s", "--context", 16, "--json", tmp_path / "p.json")
        assert result.exit_code == 0, result.output
        rate[model] = json.loads((tmp_path / "p.json").read_text())["tokens_per_second"]
    assert rate[tmp_path / "m.yaml"] == rate["2b4t"] < rate[path]


@pytest.mark.parametrize("arguments, words", [
    (["none"], "no model of that name: see setun models"),
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
    result = invoke("profile", "2b4t", "--board", "ecpix5", "--calibration", tmp_path / "b.yaml")
    assert result.exit_code == 2
    assert "made on ulx3s, and the profile is of ecpix5: give --board ulx3s" in " ".join(result.output.split())
    result = invoke("profile", "2b4t", "--board", "ulx3s", "--context", 8, "--calibration", tmp_path / "b.yaml")
    assert result.exit_code == 0 and "calibrated, ulx3s, as measured" in " ".join(result.output.split())


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
    assert runner.invoke(main, ["profile", "2b4t", "--context", "8", "--json", str(tmp_path / "p.json")]).exit_code == 0
    words = set(re.findall(r"\w+", runner.invoke(main, ["profile", "--help"]).output))
    assert set(json.loads((tmp_path / "p.json").read_text())) <= words
