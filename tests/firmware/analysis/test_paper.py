import json

import pytest
from click.testing import CliRunner

from setun.analysis.models import named_models
from setun.analysis.paper import advantage, linear_energy, paper_rows
from setun.cli.main import main
from setun.hdl.config import PRESETS


def test_formula():
    """2B4T by hand: 2.084 G additions of 7 fJ, and attention of 20 heads of 128 over 512 tokens in 30 layers."""
    macs = 30 * (2560 * (2560 + 2 * 640) + 2560 * 2560 + 3 * 2560 * 6912)
    attention = 2 * 512 * 30 * 20 * 128
    assert linear_energy(named_models()["2b4t"], True) == pytest.approx(512 * (macs * 7e-15 + attention * .5e-12))
    assert linear_energy(named_models()["2b4t"], False) == pytest.approx(512 * (macs + attention) * .5e-12)


@pytest.mark.parametrize("row", list(paper_rows()), ids=lambda row: row.name)
def test_published(row):
    """Within 1 %, or within the published digits, or said why not."""
    digits = f"{row.ours:.{len(f'{row.published:g}'.partition('.')[2])}f}"
    assert abs(row.deviation) < .01 or float(digits) == row.published or row.why
    assert row.source.startswith("arXiv")


def test_all_are_there():
    names = [row.name for row in paper_rows()]
    assert len(names) == 1 + 2 + 6 + 6


def test_advantage_grows():
    rows = {row["model"]: row for row in advantage(PRESETS["16x20"], 100e6)}
    sizes = [rows[f"bitnet-{size}"] for size in ("700m", "1.3b", "3b", "7b", "13b", "70b")]
    for name in ("int8_energy", "fp16_energy"):
        ratios = [row[name] for row in sizes]
        assert all(after > before for before, after in zip(ratios, ratios[1:])), name
    assert all(row["fp16_bytes"] == 10 and 1 < row["int8_time"] < 5 + 1e-9 for row in sizes)


def test_command(tmp_path):
    result = CliRunner().invoke(main, ["paper", "--json", str(tmp_path / "paper.json")])
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "paper.json").read_text())
    assert len(fields["paper"]) == 15 and len(fields["machine"]) == len(named_models())
