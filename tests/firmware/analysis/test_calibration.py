import json

import msgspec
import pytest
from click.testing import CliRunner

from setun.analysis.calibration import Board, calibrate, load_board, load_readings
from setun.cli.main import main
from setun.formats.checkpoint import CheckpointError


STATIC, CYCLE, PRODUCT = .3, 2e-9, 4e-12
LOADS = [(clock, share * clock * 1e6 * 320) for clock in (50, 125) for share in (0, .8)]


def watts(clock, products):
    return STATIC + clock * 1e6 * CYCLE + products * PRODUCT


def readings(**changes):
    return {"board": "ulx3s", "readings": [
        {"load": f"{clock} MHz", "clock": clock, "products": products, "watts": watts(clock, products)} | changes
        for clock, products in LOADS]}


def written(folder, fields, name="readings.yaml"):
    path = folder / name
    path.write_text(json.dumps(fields))
    return path


def test_recovers(tmp_path):
    path = written(tmp_path, readings())
    board = calibrate(load_readings(path), path)
    for figure, truth in ((board.static, STATIC), (board.cycle, CYCLE), (board.product, PRODUCT)):
        assert figure.mid == pytest.approx(truth) and 0 <= figure.low < truth < figure.high
    assert board.residual < 1e-6


def test_ranges_hold(tmp_path):
    """With a meter that is off by 2 % at random the truth lies within the ranges."""
    fields = readings() | {"accuracy": .02}
    for reading, error in zip(fields["readings"], (.02, -.015, -.01, .02)):
        reading["watts"] *= 1 + error
    board = calibrate(load_readings(written(tmp_path, fields)), "x")
    for figure, truth in ((board.static, STATIC), (board.cycle, CYCLE), (board.product, PRODUCT)):
        assert figure.low <= truth <= figure.high
    assert 0 < board.residual < .05


def test_volts_and_amperes(tmp_path):
    fields = readings()
    for reading in fields["readings"]:
        reading |= {"volts": 5.0, "amperes": reading.pop("watts") / 5}
    assert calibrate(load_readings(written(tmp_path, fields)), "x").static.mid == pytest.approx(STATIC)


@pytest.mark.parametrize("fields, words", [
    (readings(clock=50), "one value of clock only"),
    (readings(products=0), "one value of products only"),
    (readings(products=-1), "`$.readings[0].products`"),
    (readings(watts=0), "`$.readings[0].watts`"),
    (readings(watts=None), "must have watts, or volts and amperes"),
    (readings(volts=5, amperes=1), "must have watts, or volts and amperes"),
    (readings(colour="red"), "unknown field `colour`"),
    (readings() | {"accuracy": 0}, "`$.accuracy`"),
    ({"board": "x", "readings": readings()["readings"][:3:2]}, "one value of products only"),
    ({"board": "x", "readings": [readings()["readings"][0], readings()["readings"][3]]}, "go together"),
    ({"board": "x", "readings": []}, "one value of clock only"),
    ([], "give board, and readings"),
])
def test_refuses(tmp_path, fields, words):
    path = written(tmp_path, fields)
    with pytest.raises(CheckpointError) as caught:
        calibrate(load_readings(path), path)
    assert str(caught.value).startswith(str(path)) and words in str(caught.value)


def test_negative(tmp_path):
    fields = readings()
    fields["readings"][1]["watts"] = fields["readings"][3]["watts"] = .1
    with pytest.raises(CheckpointError, match="make product negative"):
        calibrate(load_readings(written(tmp_path, fields)), "x")


def test_commands(tmp_path):
    """What is calibrated is a ledger of its own in a profile."""
    runner = CliRunner(env={"COLUMNS": "200"})
    path = written(tmp_path, readings())
    result = runner.invoke(main, ["calibrate", str(path), "--output", str(tmp_path / "b.yaml")])
    assert result.exit_code == 0 and "static: 300" in result.output, result.output
    board = load_board(tmp_path / "b.yaml")
    assert isinstance(board, Board) and board.board == "ulx3s"
    result = runner.invoke(main, ["profile", "2b4t", "--board", "ulx3s", "--memory", "link", "--calibration",
                                  str(tmp_path / "b.yaml"), "--json", str(tmp_path / "p.json")])
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "p.json").read_text())
    ledger, seconds = fields["energy"]["board"], 1 / fields["tokens_per_second"]
    listed = fields["work"]["ternary products"] + 5 * fields["work"]["int8 products"]
    assert ledger["tier"] == "calibrated"
    assert ledger["mid"] == pytest.approx(STATIC * seconds + CYCLE * seconds * fields["clock"] + PRODUCT * listed)
    assert fields["joules_per_token"]["mid"] == ledger["mid"]


def test_refuses_a_board(tmp_path):
    path = tmp_path / "b.yaml"
    path.write_bytes(msgspec.yaml.encode({"board": "x"}))
    result = CliRunner().invoke(main, ["profile", "2b4t", "--calibration", str(path)])
    assert result.exit_code == 2 and "give what setun calibrate wrote" in " ".join(result.output.split())
