import functools
import json
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner

from setun.analysis import explore
from setun.analysis.explore import (
    CELLS,
    Point,
    area_of,
    block_rams,
    clocks_of,
    grid,
    local_executor,
    measured_areas,
    pareto,
)
from setun.analysis.memory import memory_of
from setun.analysis.models import named_models
from setun.analysis.profile import profile_dimensions
from setun.cli.main import main
from setun.hdl.boards import BOARDS
from setun.hdl.config import PRESETS, Config


SDRAM, ULX3S = memory_of("sdram"), BOARDS["ulx3s"]


@pytest.fixture
def few(monkeypatch, tmp_path):
    """A small grid, with a folder of its own for what was evaluated."""
    monkeypatch.setattr(explore, "BANKS", (8, 16))
    monkeypatch.setattr(explore, "TILES", (2, 4))
    monkeypatch.setattr(explore, "DEPTHS", (1024,))
    monkeypatch.setenv("SETUN_BUILD", str(tmp_path / "build"))


@pytest.fixture
def small(tmp_path):
    """Path of a model's dimensions whose weights fit all of the grid."""
    path = tmp_path / "small.json"
    path.write_text(json.dumps({"name": "small", "hidden": 64, "inner": 96, "layers": 2, "heads": 4, "kv_heads": 2,
                                "vocab": 256}))
    return str(path)


def tasks_of(clocks=(1e8,)):
    """Tasks of the grid of the ulx3s."""
    return [(config, area, clock) for config, area in grid(ULX3S, 4096, measured_areas()) for clock in clocks]


@pytest.mark.parametrize("row", [row for row in measured_areas() if row["device"] in CELLS],
                         ids=lambda row: f"{row['config']} {row['device']}")
def test_block_rams(row):
    """Counted by formula, and by yosys."""
    assert block_rams(PRESETS[row["config"]]) == row["block_rams"]


def test_area():
    areas = measured_areas()
    first, second = (row for row in areas if row["device"] in CELLS and row["products"] in (80, 320)
                     and row["device"] != "LFE5UM5G-85F")
    assert area_of(PRESETS[first["config"]], "LFE5U-85F", areas).tier == "synthesised"
    products = (first["products"] + second["products"]) // 2
    between = Config(name="between", banks=products // 10, tiles=2, depth=512, columns=512, blocks=10)
    area = area_of(between, "LFE5U-85F", areas)
    assert area.tier == "interpolated" and first["luts"] < area.luts < second["luts"]
    assert area.luts == pytest.approx((first["luts"] + second["luts"]) / 2, rel=.001)
    assert area_of(between, "iCE40UP5K", areas) is None
    small = Config(name="small", banks=1, tiles=1, depth=512, columns=512, blocks=10)
    assert area_of(small, "LFE5U-85F", areas) is None


def test_grid_fits():
    found = grid(ULX3S, 6912, measured_areas())
    cells, rams = CELLS[ULX3S.device]
    assert ULX3S.config in [config for config, _ in found] and len(found) > 50
    for config, area in found:
        assert config.columns >= 6912 and area.block_rams <= rams and area.cells <= cells


@pytest.mark.parametrize("name", BOARDS)
def test_every_board(name):
    """Each has at least its own preset, at the clock of its bitstream; on a device that is no ECP5 only that."""
    board = BOARDS[name]
    found = dict(grid(board, 480, measured_areas()))
    area = found[board.config]
    assert area.tier == "synthesised" and board.clock in clocks_of(board, board.config, area)
    assert (len(found) == 1) == (board.family.name != "ecp5")
    if board.family.name != "ecp5":
        assert clocks_of(board, board.config, area) == [board.clock]


def test_pareto():
    """Against the definition."""
    rng = np.random.default_rng(4)
    points = [Point(1, 5, 1, 1, 1e8, float(luts), int(rams), "", 1.0, float(speed), "link", float(energy))
              for luts, rams, speed, energy in rng.integers(0, 8, (200, 4))]

    def beats(a, b):
        ours = (-a.tokens_per_second, a.luts, a.block_rams, a.energy)
        theirs = (-b.tokens_per_second, b.luts, b.block_rams, b.energy)
        return ours != theirs and all(x <= y for x, y in zip(ours, theirs))

    front = pareto(points)
    assert 0 < len(front) < len(points)
    assert {id(point) for point in front} == {id(point) for point in points
                                              if not any(beats(other, point) for other in points)}


def test_resumes(few, tmp_path):
    """What was evaluated is not evaluated again, and is the same."""
    model, log = named_models()["bitnet-700m"], tmp_path / "calls"

    def again(config, **options):
        with open(log, "a") as file:
            file.write(f"{config.name}\n")
        return profile_dimensions(model, config, **options)

    tasks = tasks_of()
    with ThreadPoolExecutor(2) as executor:
        first = explore.explore(again, "a model", tasks, SDRAM, executor)
        assert len(log.read_text().splitlines()) == len(tasks) == len(first)
        for point in first:
            config = next(config for config, _, _ in tasks if (config.banks, config.rows, config.depth, config.stack)
                          == (point.banks, point.rows, point.depth, point.stack))
            alone = profile_dimensions(model, config, clock=1e8, memory=SDRAM)
            assert (point.cycles, point.tokens_per_second, point.binds) == (
                alone.cycles_per_token, alone.tokens_per_second, alone.binds)
        log.unlink()
        again_points = explore.explore(again, "a model", tasks, SDRAM, executor)
        assert not log.exists() and {*again_points} == {*first}
        explore.explore(again, "another", tasks[:1], SDRAM, executor)
        assert len(log.read_text().splitlines()) == 1


def test_processes(few):
    """They give what threads give; an error ends them."""
    again = functools.partial(profile_dimensions, named_models()["bitnet-700m"])
    with ThreadPoolExecutor(1) as executor:
        expected = explore.explore(again, "threads", tasks_of()[:2], SDRAM, executor)
    with local_executor() as executor:
        assert explore.explore(again, "processes", tasks_of()[:2], SDRAM, executor) == expected
    with pytest.raises(KeyboardInterrupt), local_executor() as executor:
        executor.submit(explore.evaluate, again, tasks_of((1e8,) * 10_000), SDRAM)
        children = multiprocessing.active_children()
        raise KeyboardInterrupt
    assert children
    end = time.monotonic() + 10
    while any(child.is_alive() for child in children) and time.monotonic() < end:
        time.sleep(.05)  # the executor's thread waits for them, too, and who comes second is told a moment later
    assert not any(child.is_alive() for child in children)


def test_clocks_that_are_reached():
    area = area_of(ULX3S.config, ULX3S.device, measured_areas())
    assert clocks_of(ULX3S, ULX3S.config, area) == [50e6, 75e6, 100e6, 125e6]
    large = BOARDS["ulx3s-2400"]
    area = area_of(large.config, large.device, measured_areas())
    assert clocks_of(large, large.config, area) == [50e6, 75e6, 100e6]
    assert clocks_of(ULX3S, large.config, area) == [50e6, 75e6, 100e6]


def test_command(few, small, tmp_path):
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        main, ["explore", small, "--json", str(tmp_path / "e.json"), "--html",
               str(tmp_path / "e.html")])
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "e.json").read_text())
    assert len(fields["points"]) >= len(fields["front"]) > 0
    assert "synthesised" in {point["tier"] for point in fields["points"]}
    assert (tmp_path / "e.html").stat().st_size > 1_000_000
    front = [point["tokens_per_second"] for point in fields["front"]]
    assert front == sorted(front, reverse=True) and {point["binds"] for point in fields["points"]} == {"link"}
    assert "hypothetical" not in fields and "Hypothetical" not in result.output


def test_command_that_supposes(few, tmp_path):
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        main, ["explore", "bitnet-700m", "--board", "tang-nano-20k", "--memory", "sdram", "--hypothetical", "--json",
               str(tmp_path / "e.json"), "--html", str(tmp_path / "e.html")])
    assert result.exit_code == 2 and "holds no accelerator that takes a vector of 4096" in " ".join(
        result.output.split()), result.output
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        main, ["explore", "demo", "--board", "tang-nano-20k", "--memory", "sdram", "--hypothetical", "--json",
               str(tmp_path / "e.json"), "--html", str(tmp_path / "e.html")])
    assert result.exit_code == 0, result.output
    told = "a controller for the sdram on tang-nano-20k"
    assert json.loads((tmp_path / "e.json").read_text())["hypothetical"] == told
    assert f"Hypothetical, {told}" in " ".join(result.output.split()) and told in (tmp_path / "e.html").read_text()
    assert "is no ECP5, the only family whose area is known for other presets" in result.output


@pytest.mark.parametrize("arguments, words", [
    (["bitnet-70b", "--board", "icepi-zero"], "a vector of 8192 elements does not fit config 8x10, which takes 1024: "
     "the presets 16x20-deep take it"),
    (["bitnet-70b", "--board", "icepi-zero", "--hypothetical"], "icepi-zero holds no accelerator that takes a vector"),
    (["2b4t"], "there is no preset or board to hold them, or give --memory link"),
    (["2b4t", "--memory", "sdram"], "417 MB of weights in the 34 MB of sdram on ulx3s"),
    (["bitnet-700m", "--memory", "ddr3"], "the bitstream of ulx3s has no ddr3 of 480 MB/s and its controller"),
    (["none"], "see setun models"),
    (["2b4t", "--memory", "link", "--scheduler", "nonsense"], "there is no Dask scheduler"),
])
def test_command_refuses(few, monkeypatch, arguments, words):
    monkeypatch.setattr("setun.cli.explore.SECONDS", 1)
    result = CliRunner().invoke(main, ["explore", *arguments])
    assert result.exit_code == 2 and words in " ".join(result.output.split()), result.output


def test_scheduler_is_an_extra(few, monkeypatch):
    monkeypatch.setattr("setun.cli.console.find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["explore", "2b4t", "--memory", "link", "--scheduler", "tcp://localhost:1"])
    assert result.exit_code == 2 and result.output == (
        "Error: distributed is not installed: pip install 'setun[cluster]'\n")


def test_scheduler(few, small, tmp_path):
    """A cluster gives what this machine gives."""
    from distributed import LocalCluster

    arguments, points = ["explore", small, "--json", str(tmp_path / "e.json")], []
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster:
        for more in ([], ["--scheduler", cluster.scheduler_address]):
            result = CliRunner(env={"SETUN_BUILD": str(tmp_path / str(len(points)))}).invoke(main, [*arguments, *more])
            assert result.exit_code == 0, result.output
            points.append(json.loads((tmp_path / "e.json").read_text())["points"])
    assert sorted(map(str, points[0])) == sorted(map(str, points[1]))
