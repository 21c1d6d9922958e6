"""Configurations and boards by name, by file, and with changes."""

import pytest

import setun
from setun.hdl.config import PRESETS, Config


def test_configs(tmp_path):
    assert setun.config_of("16x20") is PRESETS["16x20"]
    assert setun.config_of(PRESETS["8x20"]) is PRESETS["8x20"]
    changed = setun.config_of("8x20,depth=4096,silu=true")
    assert changed == Config(name="8x20,depth=4096,silu=true", banks=8, tiles=4, depth=4096, results=1024,
                               elements=512, scalars=128, instructions=256, silu=True)
    assert setun.Config(banks=4, tiles=4, depth=100).name == "4x20"
    path = tmp_path / "mine.yaml"
    path.write_text("{banks: 4, tiles: 2, depth: 100, columns: 200, silu: true}")
    assert setun.config_of(str(path)) == Config(name="mine", banks=4, tiles=2, depth=100, columns=200, silu=True)


@pytest.mark.parametrize("text, words", [
    ("2x5", "config '2x5': no preset and no .yaml file: give one of 8x20, 24x40"),
    ("16x20,deep=3", "'deep=3' changes no parameter: write banks=..., tiles="),
    ("16x20,depth", "'depth' changes no parameter"),
    ("16x20,name=x", "'name=x' changes no parameter"),
    ("16x20,depth=many", "depth must be an integer, not 'many'"),
    ("16x20,silu=1", "silu must be true or false, not '1'"),
    ("16x20,tiles=3", "tiles must divide the 16 banks, not be 3"),
])
def test_configs_refused(text, words):
    with pytest.raises(setun.ArgumentError, match=words):
        setun.config_of(text)


@pytest.mark.parametrize("content, words", [
    ("banks: 3", "lacks 'tiles': write banks, tiles and depth"),
    ("{banks: 3, tiles: 1, depth: 100, slot: 2}", "'slot' is no parameter"),
    ("{banks: many, tiles: 1, depth: 100}", "banks must be an integer from 1 to 64, not 'many'"),
    ("{banks: 3, tiles: true, depth: 100}", "tiles must be an integer from 1 to 32, not T"),
    ("{banks: 3, tiles: 1, depth: 100, silu: 3}", "silu must be true or false, not 3"),
    ('{banks: 3, tiles: 1, depth: 100, name: "a\\nb"}', "name must be a text of one line"),
    ("[1, 2]", "mine.yaml: Expected `object`"),
    ("\x00", "mine.yaml: "),
    ("[" * 5000, "is longer than 4096 bytes"),
])
def test_files_refused(tmp_path, content, words):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(setun.ArgumentError, match=words) as raised:
        setun.config_of(str(path))
    assert "\n" not in str(raised.value) and "mine.yaml" in str(raised.value)
    with pytest.raises(setun.ArgumentError, match="gone.yaml: config cannot be read: No such file"):
        setun.config_of(str(tmp_path / "gone.yaml"))


BOARD = """
from amaranth_boards.{module} import {platform}
from setun.hdl.boards.board import Board
from setun.hdl.config import Config
from setun.hdl.technology.ecp5 import FAMILY

CONFIG = Config(name="small", banks=4, tiles=2, depth=512)
BOARDS = [Board(name=name, config=CONFIG, family=FAMILY, platform={platform},
                clock={clock}, baud=1_000_000, loader="mine") for name in {names}]
"""


def write_board(path, module="ulx3s", platform="ULX3S_85F_Platform", clock=100_000_000, names=("mine",)):
    path.write_text(BOARD.format(module=module, platform=platform, clock=clock, names=names))
    return str(path)


def test_boards(tmp_path):
    assert setun.board_of("ulx3s") is setun.BOARDS["ulx3s"] and setun.board_of(setun.BOARDS["ulx3s"]).name == "ulx3s"
    path = write_board(tmp_path / "my_board.py")
    assert setun.board_of(path).device == "LFE5U-85F" and setun.board_of(f"mine@{path}").config.name == "small"
    write_board(tmp_path / "my_board.py", names=("small", "large"))
    assert setun.board_of(f"large@{path}").name == "large"
    with pytest.raises(setun.ArgumentError, match="choose one of its boards: small@.*my_board.py, large@"):
        setun.board_of(path)


@pytest.mark.parametrize("content, words", [
    ("", "defines no BOARDS: end it with BOARDS ="),
    ("BOARDS = []", "BOARDS must be a sequence of setun.Board"),
    ("BOARDS = [1]", "BOARDS must be a sequence of setun.Board"),
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ("def", "SyntaxError: invalid syntax"),
    ("import sys; sys.exit(3)", "SystemExit: 3"),
])
def test_board_files_refused(tmp_path, content, words):
    path = tmp_path / "my_board.py"
    path.write_text(content)
    with pytest.raises(setun.ArgumentError, match=words) as raised:
        setun.board_of(str(path))
    assert str(raised.value).startswith(str(path)) and "\n" not in str(raised.value)


def test_boards_refused(tmp_path):
    with pytest.raises(setun.ArgumentError, match="board 'ulx4s': there is no such board: give one of ulx3s"):
        setun.board_of("ulx4s")
    with pytest.raises(setun.ArgumentError, match="gone.py: board cannot be read"):
        setun.board_of(str(tmp_path / "gone.py"))
    with pytest.raises(setun.ArgumentError, match='OrangeCrab.*has no resource "uart": add UARTResource'):
        setun.board_of(write_board(tmp_path / "crab.py", "orangecrab_r0_2", "OrangeCrabR0_2_25FPlatform", 96_000_000))
