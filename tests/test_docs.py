"""What README.md and docs/ show works, and what they point at is there."""

import re
from pathlib import Path

import pytest

import setun


ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def example(page):
    """The Python code of a page."""
    code, = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    return code


def test_example(tmp_path, monkeypatch, capsys):
    """The library's page as it stands there, with fewer tokens."""
    code = example("docs/library.md")
    assert "tokens=32" in code
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code.replace("tokens=32", "tokens=2"), names)
    assert len(capsys.readouterr().out) > 1 and (tmp_path / "setun.v").stat().st_size > 0
    assert (names["product"].accumulators == names["weights"].astype(int) @ names["activations"]).all()


def test_example_of_the_readme():
    """It is part of the library's."""
    shown, tested = ([line.partition("#")[0].rstrip() for line in example(page).splitlines() if line.strip()]
                     for page in ("README.md", "docs/library.md"))
    assert shown and not set(shown) - set(tested)


def test_board():
    board = setun.board_of(ROOT / "docs" / "my_board.py")
    assert board.name == "mine" and board.config.products == 12 * 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page):
    wanted = [target for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()) if not target.startswith("http")]
    assert not [target for target in wanted if not (page.parent / target).exists()]
