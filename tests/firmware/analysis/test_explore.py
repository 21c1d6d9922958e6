import functools
import json

import numpy as np
import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster

from setun.analysis import explore
from setun.analysis.explore import Point, area_of, block_rams, grid, measured_areas, pareto
from setun.analysis.models import named_models
from setun.analysis.profile import Memory, profile_dimensions
from setun.cli.main import main
from setun.hdl.boards import BOARDS
from setun.hdl.config import PRESETS, Config


SDRAM = Memory("sdram", 332e6, .8)
CELLS = (83640, 208)


@pytest.fixture
def few(monkeypatch, tmp_path):
    """A small grid, with a folder of its own for what was evaluated."""
    monkeypatch.setattr(explore, "BANKS", (8, 16))
    monkeypatch.setattr(explore, "TILES", (2, 4))
    monkeypatch.setattr(explore, "DEPTHS", (1024,))
    monkeypatch.setenv("SETUN_BUILD", str(tmp_path / "build"))


@pytest.fixture(scope="module")
def client():
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster:
        with Client(cluster) as client:
            yield client


@pytest.mark.parametrize("row", measured_areas(), ids=lambda row: row["config"])
def test_block_rams(row):
    """Counted by formula, and by yosys."""
    assert block_rams(PRESETS[row["config"]]) == row["block_rams"]


def test_area():
    areas = measured_areas()
    first, second = areas[:2]
    assert area_of(PRESETS[first["config"]], areas).tier == "synthesised"
    products = (first["products"] + second["products"]) // 2
    between = Config(name="between", banks=products // 10, tiles=2, depth=512, columns=512, blocks=10)
    area = area_of(between, areas)
    assert area.tier == "interpolated" and first["luts"] < area.luts < second["luts"]
    assert area.luts == pytest.approx((first["luts"] + second["luts"]) / 2, rel=.001)
    small = Config(name="small", banks=1, tiles=1, depth=512, columns=512, blocks=10)
    assert area_of(small, areas) is None


def test_grid_fits():
    board = BOARDS["ulx3s"]
    found = grid(board, 6912, *CELLS, measured_areas())
    assert board.config in [config for config, _ in found] and len(found) > 50
    for config, area in found:
        assert config.columns >= 6912 and area.block_rams <= CELLS[1] and area.cells <= CELLS[0]


def test_pareto():
    """Against the definition."""
    rng = np.random.default_rng(4)
    points = [Point(1, 5, 1, 1, 1e8, float(luts), int(rams), "", 1.0, float(speed), float(energy))
              for luts, rams, speed, energy in rng.integers(0, 8, (200, 4))]

    def beats(a, b):
        ours = (-a.tokens_per_second, a.luts, a.block_rams, a.energy)
        theirs = (-b.tokens_per_second, b.luts, b.block_rams, b.energy)
        return ours != theirs and all(x <= y for x, y in zip(ours, theirs))

    front = pareto(points)
    assert 0 < len(front) < len(points)
    assert {id(point) for point in front} == {id(point) for point in points
                                              if not any(beats(other, point) for other in points)}


def test_resumes(few, client, tmp_path):
    """What was evaluated is not evaluated again, and is the same."""
    model, log = named_models()["bitnet-700m"], tmp_path / "calls"

    def again(config, **options):
        with open(log, "a") as file:
            file.write(f"{config.name}\n")
        return profile_dimensions(model, config, **options)

    board = BOARDS["ulx3s"]
    candidates = grid(board, 4096, *CELLS, measured_areas())
    first = explore.explore(again, "a model", candidates, (1e8,), SDRAM, client)
    assert len(log.read_text().splitlines()) == len(candidates) == len(first)
    for point in first:
        config = next(config for config, area in candidates if (config.banks, config.rows, config.depth, config.stack)
                      == (point.banks, point.rows, point.depth, point.stack))
        assert point.cycles == profile_dimensions(model, config, clock=1e8, memory=SDRAM).cycles_per_token
    log.unlink()
    again_points = explore.explore(again, "a model", candidates, (1e8,), SDRAM, client)
    assert not log.exists() and {*again_points} == {*first}
    explore.explore(again, "another", candidates[:1], (1e8,), SDRAM, client)
    assert len(log.read_text().splitlines()) == 1


def test_clocks_that_are_reached(few, client):
    again = functools.partial(profile_dimensions, named_models()["bitnet-700m"])
    candidates = grid(BOARDS["ulx3s"], 4096, *CELLS, measured_areas())[:1]
    points = explore.explore(again, "clocks", candidates, (1e8, 9e8), SDRAM, client)
    assert [point.clock for point in points] == [1e8]


def test_command(few, tmp_path):
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        main, ["explore", "2b4t", "--memory", "sdram", "--json", str(tmp_path / "e.json"), "--html",
               str(tmp_path / "e.html")])
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "e.json").read_text())
    assert len(fields["points"]) >= len(fields["front"]) > 0
    assert "synthesised" in {point["tier"] for point in fields["points"]}
    assert (tmp_path / "e.html").stat().st_size > 1_000_000


@pytest.mark.parametrize("arguments, words", [
    (["bitnet-70b", "--memory", "sdram", "--board", "icepi-zero"], "holds no accelerator that takes a vector of 28672"),
    (["2b4t"], "fit no accelerator on the ulx3s: give --memory sdram"),
    (["none"], "see setun models"),
    (["2b4t", "--memory", "sdram", "--scheduler", "nonsense"], "there is no Dask scheduler"),
    (["2b4t", "--memory", "sdram", "--board", "icebreaker"], "'icebreaker' is not one of"),
])
def test_command_refuses(few, monkeypatch, arguments, words):
    monkeypatch.setattr("setun.cli.explore.SECONDS", 1)
    result = CliRunner().invoke(main, ["explore", *arguments])
    assert result.exit_code == 2 and words in " ".join(result.output.split()), result.output
