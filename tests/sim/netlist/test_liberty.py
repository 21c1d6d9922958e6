import sys
from functools import partial

import pytest

from setun.hdl.build.toolchain import ToolError
from setun.sim.netlist.liberty import DEFAULT_LIBERTY, FlipFlop, read_library


near = partial(pytest.approx, rel=1e-6, abs=0)  # what is near 1e-15 is not near 0
# 2 V: a toggle of 1 fF takes 2 fJ.
LIBERTY = '''library (tiny) {
  voltage_unit : "1V"; nom_voltage : 2.0; capacitive_load_unit (1, ff); leakage_power_unit : "1nW";
  cell (INV) {
    area : 1; cell_leakage_power : 3;
    pin (A) { direction : input; capacitance : 4; }
    pin (Y) { direction : output; function : "(!A)"; internal_power () { related_pin : "A";
      rise_power (scalar) { values ("1"); } fall_power (scalar) { values ("3"); } } }
  }
  cell (NAND2) {
    area : 2; cell_leakage_power : 5;
    pin (A) { direction : input; capacitance : 5; }
    pin (B) { direction : input; capacitance : 6; }
    pin (Y) { direction : output; function : "(A B)'"; }
  }
  cell (DFF) {
    area : 6; cell_leakage_power : 7;
    ff (IQ, IQN) { next_state : "D"; clocked_on : "CK"; }
    pin (CK) { direction : input; clock : true; capacitance : 1;
      internal_power () { rise_power (scalar) { values ("10"); } fall_power (scalar) { values ("20"); } } }
    pin (D) { direction : input; capacitance : 2; }
    pin (Q) { direction : output; function : "IQ"; }
  }
  cell (DFFR) {
    area : 7;
    ff (IQ, IQN) { next_state : "D"; clocked_on : "CK"; clear : "R"; }
    pin (CK) { direction : input; clock : true; } pin (D) { direction : input; } pin (R) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; }
  }
  cell (LATCH) {
    area : 5; latch (IQ, IQN) { data_in : "D"; enable : "E"; }
    pin (D) { direction : input; } pin (E) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; }
  }
}
'''


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "tiny.lib"
    path.write_text(LIBERTY)
    return path


def test_energies(written):
    """By hand: C V^2 / 2 of the pins, and the mean of both edges inside the cell."""
    library = read_library(written)
    assert (library.name, library.voltage) == ("tiny", 2)
    inverter, nand, flip_flop = (library.cells[name] for name in ("INV", "NAND2", "DFF"))
    assert inverter.inputs["A"] == near(8e-15)
    assert inverter.outputs["Y"] == ("~A", near(2e-15))
    assert inverter.leakage == near(3e-9)
    assert nand.inputs == {"A": near(10e-15), "B": near(12e-15)}
    assert nand.outputs["Y"] == ("~(A & B)", 0)
    assert flip_flop.flip_flop == FlipFlop("IQ", "IQN", "D", "CK")
    assert flip_flop.inputs["CK"] == near(2e-15 + 15e-15)


def test_unusable_cells(written):
    """Flip-flops with a reset, and latches."""
    assert set(read_library(written).cells) == {"INV", "NAND2", "DFF"}


@pytest.mark.parametrize("text, message", [
    ("", "is no Liberty file"),
    ("library (x) { cell (a) {", "is no Liberty file"),
    (LIBERTY.replace("nom_voltage : 2.0;", ""), "nom_voltage"),
    (LIBERTY.replace("capacitive_load_unit (1, ff);", ""), "capacitive_load_unit"),
    (LIBERTY.replace("cell (DFF)", "operating_conditions (DFF)"), "no gates and flip-flops"),
])
def test_errors(tmp_path, text, message):
    path = tmp_path / "bad.lib"
    path.write_text(text)
    with pytest.raises(ToolError, match=rf"bad\.lib: .*{message}.*: give another --liberty") as found:
        read_library(path)
    assert "\n" not in str(found.value)


def test_missing(tmp_path, monkeypatch):
    with pytest.raises(ToolError, match="none.lib: cannot be read: No such file"):
        read_library(tmp_path / "none.lib")
    monkeypatch.setattr("setun.sim.netlist.liberty.DEFAULT_LIBERTY", tmp_path / "none.lib")
    with pytest.raises(ToolError, match="apt-get install qflow-tech-osu018, or give --liberty"):
        read_library(tmp_path / "none.lib")
    monkeypatch.setitem(sys.modules, "liberty.parser", None)
    with pytest.raises(ToolError, match=r"liberty-parser is not installed: pip install 'setun\[liberty\]'"):
        read_library(tmp_path / "none.lib")


@pytest.mark.skipif(not DEFAULT_LIBERTY.exists(), reason="qflow-tech-osu018 is not installed")
def test_installed():
    """Debian's, some figures as they stand in it."""
    library = read_library(DEFAULT_LIBERTY)
    assert library.voltage == 1.8 and {"INVX1", "NAND2X1", "XOR2X1", "DFFPOSX1"} <= set(library.cells)
    assert library.cells["INVX1"].inputs["A"] == near(0.00932456e-12 * 1.8 ** 2 / 2)
    assert library.cells["INVX1"].leakage == near(0.0221741e-9)
    assert library.cells["XOR2X1"].outputs["Y"][0] == "A ^ B"
