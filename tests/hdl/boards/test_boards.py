"""Boards, their clocks, and what is put on them."""

import dataclasses
import time

import pytest
from amaranth.lib import io

from setun.hdl.boards import BOARDS
from setun.hdl.build import bitstream, toolchain
from setun.hdl.build.bitstream import _plan
from setun.hdl.technology import ecp5, ice40
from tests.support.boards import ICEBREAKER, TINY


def pll(family, i_frequency, o_frequency):
    component = family.Pll(io.SimulationPort("i", 1), i_frequency=i_frequency, o_frequency=o_frequency)
    component._MustUse__used = True
    return component


def clocks(family):
    """Of the boards, Hz."""
    return sorted({(board.oscillator, board.clock) for board in (*BOARDS.values(), ICEBREAKER)
                   if board.family.name == family})


@pytest.mark.parametrize("i_frequency, o_frequency", [*clocks("ecp5"), (25_000_000, 110_000_000),
                                                      (100_000_000, 125_000_000), (12_000_000, 60_000_000)])
def test_ecp5_pll(i_frequency, o_frequency):
    """Within the ranges of the data sheet."""
    made = pll(ecp5, i_frequency, o_frequency)
    detector = made.i_frequency / made.i_divider
    assert detector * made.feedback_divider == made.o_frequency
    assert 3.125e6 <= detector <= 400e6 and 400e6 <= made.o_frequency * made.o_divider <= 800e6
    assert all(1 <= divider <= 128 for divider in (made.i_divider, made.feedback_divider, made.o_divider))


@pytest.mark.parametrize("i_frequency, o_frequency", [*clocks("ice40"), (12_000_000, 27_000_000),
                                                      (12_000_000, 48_000_000), (48_000_000, 24_000_000)])
def test_ice40_pll(i_frequency, o_frequency):
    made = pll(ice40, i_frequency, o_frequency)
    detector = i_frequency / made.reference
    oscillator = detector * made.feedback
    assert oscillator / 2 ** made.shift == o_frequency
    assert 10e6 <= detector <= 133e6 and 533e6 <= oscillator <= 1066e6
    assert made.reference <= 16 and made.feedback <= 128 and 1 <= made.shift <= 6


@pytest.mark.parametrize("family, frequencies, message", [
    (ecp5, (25_000_000, 900_000_000), "the ECP5's PLL does not make 900000000 Hz of 25000000 Hz"),
    (ecp5, (25_000_000, 99_999_999), "the ECP5's PLL does not make 99999999 Hz"),
    (ice40, (12_000_000, 40_000_000), "the iCE40's PLL does not make 40000000 Hz of 12000000 Hz"),
    (ice40, (12_000_000, 600_000_000), "the iCE40's PLL does not make 600000000 Hz"),
])
def test_impossible_clocks(family, frequencies, message):
    with pytest.raises(ValueError, match=message):
        pll(family, *frequencies)


def test_baud_needs_a_clock():
    with pytest.raises(ValueError, match="board 'icebreaker': baud must be at most 5062500, an eighth of the clock, "
                                         "not 6000000"):
        dataclasses.replace(ICEBREAKER, baud=6_000_000)


def test_no_pll():
    with pytest.raises(ValueError, match="board 'tang-nano-20k': clock must be the oscillator's 27000000 Hz, not "
                                         "54000000: gowin has no PLL here"):
        dataclasses.replace(BOARDS["tang-nano-20k"], clock=54_000_000)


@pytest.mark.parametrize("board", [dataclasses.replace(board, config=TINY) for board in (*BOARDS.values(), ICEBREAKER)],
                         ids=lambda board: board.name)
def test_plan(board):
    """The files of a build: a clock that is as asked for and starts when it is stable, and pins of the serial line."""
    files, route, pack = _plan(board)
    constraints = next(text for file, text in files.items() if file.endswith((".lpf", ".pcf", ".cst")))
    assert "uart_0__rx" in constraints and "uart_0__tx" in constraints
    assert "check -assert" in files["top.ys"]
    assert route[0].startswith("$NEXTPNR") and pack
    cells = {"ecp5": ("EHXPLLL", "DCCA"), "ice40": ("SB_PLL40_PAD", "\\top.reset"), "gowin": ()}[board.family.name]
    assert all(cell in files["top.il"] for cell in cells)


@pytest.mark.parametrize("error", [KeyboardInterrupt, bitstream.BuildError])
def test_a_seed_that_fails_stops_the_others(monkeypatch, tmp_path, error):
    """Whether it comes before or after them."""
    def route(board, netlist, command, packing, seed):
        if seed == 2:
            while not (tmp_path / "log").exists():
                time.sleep(.01)
            raise error("enough")
        begun.add(seed)
        with pytest.raises(toolchain.ToolError, match=r"sleep failed \(-9\)"):
            toolchain.run(["sleep", "60"], folder=tmp_path, timeout=120)
        stopped.add(seed)

    monkeypatch.setattr(bitstream, "_plan", lambda board: ({}, [], []))
    monkeypatch.setattr(bitstream, "_synthesise", lambda board, files: tmp_path)
    monkeypatch.setattr(bitstream, "_check_size", lambda board, netlist, command: None)
    monkeypatch.setattr(bitstream, "_route", route)
    begun, stopped = set(), set()
    with pytest.raises(error, match="enough"):
        bitstream.build(BOARDS["icepi-zero"], [1, 2, 3], jobs=3)
    assert begun and stopped == begun
