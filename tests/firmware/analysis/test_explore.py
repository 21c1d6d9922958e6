import json

import numpy as np
import pytest
from click.testing import CliRunner

from setun.analysis import explore
from setun.analysis.explore import CELLS, Point, area_of, block_rams, clocks_of, grid, measured_areas, pareto
from setun.analysis.models import Dimensions, named_models
from setun.analysis.profile import profile
from setun.cli.main import main
from setun.hdl.boards import BOARDS
from setun.hdl.config import PRESETS, Config


ULX3S = BOARDS["ulx3s"]
MODEL = Dimensions(name="small", hidden=64, inner=96, layers=2, heads=4, kv_heads=2, vocab=256)
CONTEXT = 64


@pytest.fixture
def few(monkeypatch):
    """A small grid."""
    monkeypatch.setattr(explore, "BANKS", (8, 16, 24))
    monkeypatch.setattr(explore, "TILES", (4, 8))
    monkeypatch.setattr(explore, "DEPTHS", (1024,))


@pytest.mark.parametrize("row", [row for row in measured_areas() if row["device"] in CELLS],
                         ids=lambda row: f"{row['config']} {row['device']}")
def test_block_rams(row):
    """Counted by formula, and by yosys."""
    assert block_rams(PRESETS[row["config"]]) == row["block_rams"]


def test_area():
    areas = measured_areas()
    first, second = (next(row for row in areas if row["device"] in CELLS and row["config"] == name)
                     for name in ("8x20", "24x40"))
    assert area_of(PRESETS["8x20"], "LFE5U-85F", areas).tier == "synthesised"
    between = Config(name="between", banks=28, tiles=4, depth=512)  # half way
    area = area_of(between, "LFE5U-85F", areas)
    assert area.tier == "interpolated" and first["luts"] < area.luts < second["luts"]
    assert area.luts == pytest.approx((first["luts"] + second["luts"]) / 2, rel=.001)
    assert area_of(between, "iCE40UP5K", areas) is None
    assert area_of(Config(name="small", banks=1, tiles=1, depth=512), "LFE5U-85F", areas) is None


def test_grid_fits():
    found = grid(MODEL, ULX3S, CONTEXT, measured_areas())
    cells, rams = CELLS[ULX3S.device]
    assert ULX3S.config in [config for config, _ in found] and len(found) > 20
    for config, area in found:
        assert config.context >= CONTEXT and area.block_rams <= rams and area.cells <= cells


@pytest.mark.parametrize("name", [name for name, board in BOARDS.items()
                                  if board.device in CELLS | {row["device"]: 0 for row in measured_areas()}])
def test_every_board(name):
    """Each that was built has at least its own preset at its clock; on a device that is no ECP5 only that."""
    board = BOARDS[name]
    found = dict(grid(MODEL, board, CONTEXT, measured_areas()))
    area = found[board.config]
    assert area.tier == "synthesised" and board.clock in clocks_of(board, board.config, area)
    assert (len(found) == 1) == (board.family.name != "ecp5")


def test_pareto():
    """Against the definition."""
    rng = np.random.default_rng(4)
    points = [Point(1, 5, 1, 1e8, float(luts), int(rams), "", 1.0, float(speed), float(energy))
              for luts, rams, speed, energy in rng.integers(0, 8, (200, 4))]

    def beats(a, b):
        ours = (-a.tokens_per_second, a.luts, a.block_rams, a.energy)
        theirs = (-b.tokens_per_second, b.luts, b.block_rams, b.energy)
        return ours != theirs and all(x <= y for x, y in zip(ours, theirs))

    front = pareto(points)
    assert 0 < len(front) < len(points)
    assert {id(point) for point in front} == {id(point) for point in points
                                              if not any(beats(other, point) for other in points)}


def explored(tmp_path, *arguments):
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, [
        "explore", *arguments, "--json", str(tmp_path / "e.json"), "--html", str(tmp_path / "e.html")])
    return result, json.loads((tmp_path / "e.json").read_text()) if result.exit_code == 0 else None


def test_command(few, tmp_path):
    """Each point is a profile of its own, of the board with that processor."""
    path = tmp_path / "small.json"
    path.write_text(json.dumps({name: getattr(MODEL, name) for name in (
        "name", "hidden", "inner", "layers", "heads", "kv_heads", "vocab")}))
    result, fields = explored(tmp_path, str(path), "--context", str(CONTEXT))
    assert result.exit_code == 0, result.output
    assert fields["context"] == CONTEXT and 0 < len(fields["front"]) <= len(fields["points"])
    own = next(point for point in fields["points"] if (point["banks"], point["depth"]) == (24, 2048)
               and point["clock"] == ULX3S.clock)
    alone = profile(MODEL, board="ulx3s", context=CONTEXT)
    assert own["cycles"] == pytest.approx(alone.cycles_per_token)
    assert own["tokens_per_second"] == pytest.approx(alone.tokens_per_second)
    assert own["energy"] == pytest.approx(alone.joules_per_token["mid"])
    assert "interpolated" in result.output and "plotly" in (tmp_path / "e.html").read_text()


def test_no_area(tmp_path, monkeypatch):
    monkeypatch.setattr("setun.cli.explore.measured_areas", lambda: [])
    result, _ = explored(tmp_path, "bitnet-700m", "--board", "tang-nano-20k", "--context", "8")
    assert result.exit_code == 2 and "no area of its bitstreams is known: give --measure" in result.output


def test_fits_nothing(tmp_path):
    result, _ = explored(tmp_path, "bitnet-700m", "--board", "icepi-zero", "--context", "8")
    assert result.exit_code == 2 and "fits no processor on the icepi-zero: choose a larger" in result.output


def test_too_large():
    assert grid(named_models()["2b4t"], ULX3S, 8, measured_areas()) == []
