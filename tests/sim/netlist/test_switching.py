import json

import numpy as np
import pytest
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from click.testing import CliRunner

from setun.analysis import switching
from setun.analysis.switching import EVENTS, FACTOR, Run, fit, predict, residual
from setun.cli import switching as cli_switching
from setun.cli.main import main
from setun.hdl.config import Config
from setun.hdl.technology.ecp5 import FAMILY
from setun.sim.model.energy import coefficient
from setun.sim.netlist.liberty import DEFAULT_LIBERTY
from setun.sim.netlist.netlist import cells
from setun.sim.netlist.switching import by_unit, instrument
from setun.sim.rtl.simulator import Simulator


CHAIN = 6
UNITS = {"chain": r"chain_", "rest": ""}
FLIP_FLOP = '''  TRELLIS_FF #(
    .GSR("DISABLED"),
    .REGSET("RESET")
  ) \\{name}  (
    .CLK(clk),
    .DI({di}),
    .Q({q})
  );
'''
INVERTER = '''  LUT4 #(
    .INIT(16'h5555)
  ) \\{name}  (
    .A({a}),
    .B(1'h0),
    .C(1'h0),
    .D(1'h0),
    .Z({z})
  );
'''


class Ports(wiring.Component):
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))


def toggles_of(*parts, cycles=100):
    """Of a netlist with wires a0 to a31, after some cycles."""
    verilog = "\n".join([
        "module top(clk, rst, i__valid, i__ready, i__payload, o__valid, o__ready, o__payload);",
        "  input clk, rst, i__valid, o__ready;", "  input [7:0] i__payload;", "  output i__ready, o__valid;",
        "  output [7:0] o__payload;", *(f"  wire a{index};" for index in range(32)),
        "  assign i__ready = 1'h0;", "  assign o__valid = 1'h0;", "  assign o__payload = 8'h00;", *parts,
        "endmodule\n"])
    simulator = Simulator(Ports(), "top", toggles=len(UNITS), sources={
        "netlist.v": instrument(verilog, by_unit(verilog, UNITS)), "cells.v": cells(FAMILY, verilog)})
    simulator.reset()
    before = simulator.toggles()
    simulator.run(b"\0", cycles=cycles)
    return [after - start for start, after in zip(before, simulator.toggles())]


def divider():
    """A flip-flop that changes every cycle, and its inverter."""
    return FLIP_FLOP.format(name="divider", di="a1", q="a0") + INVERTER.format(name="inverter", a="a0", z="a1")


def chain(first):
    """Inverters one after the other."""
    return "".join(INVERTER.format(name=f"chain_{index}", a=f"a{first + index}", z=f"a{first + index + 1}")
                   for index in range(CHAIN))


def test_known_answer():
    """All outputs change once a cycle: the flip-flop's, its inverter's and those of the chain."""
    assert toggles_of(divider(), chain(1)) == [100 * CHAIN, 100 * 2]


def test_nothing_moves():
    still = FLIP_FLOP.format(name="still", di="a0", q="a0")
    assert toggles_of(still, chain(0)) == [0, 0]


def test_additive():
    """Two parts have the toggles of both."""
    slow = FLIP_FLOP.format(name="slow", di="a20", q="a21") + "".join([
        '  LUT4 #(\n    .INIT(16\'h6666)\n  ) \\half  (\n    .A(a21),\n    .B(a0),\n    .C(1\'h0),\n    .D(1\'h0),\n'
        '    .Z(a20)\n  );\n'])
    alone, both = toggles_of(divider(), chain(1)), toggles_of(divider(), chain(1), slow)
    assert both[0] == alone[0] and both[1] - alone[1] == 50 + 50  # at half the rate, as their sum


def test_fit():
    """Recovers what made the toggles; what has no part in them gets none."""
    truth = dict.fromkeys(EVENTS, 0.0) | {"product": 20.0, "cycle": 70.0}
    runs = [Run(str(index), events := {event: (index * place) % 97 + 1 for place, event in enumerate(EVENTS, 3)},
                {"all": predict(truth, events)}) for index in range(1, 40)]
    assert fit(runs) == pytest.approx(truth, abs=1e-6)
    assert residual(truth, runs) == pytest.approx(1)
    assert residual(truth | {"product": 40.0}, runs) > 1


def test_no_liberty(tmp_path):
    result = CliRunner().invoke(main, ["switching", "--liberty", str(tmp_path / "none.lib")])
    assert result.exit_code == 2 and result.output.count("\n") == 1
    assert "none.lib: cannot be read: No such file or directory: give another --liberty" in result.output


def test_tokens(monkeypatch):
    """Toggles of a small machine: the work of the cycle model predicts them, also by what ships for a larger one."""
    monkeypatch.setattr(switching, "CONFIG", Config(
        banks=4, tiles=2, depth=512, columns=64, results=256, elements=256, scalars=64, instructions=128,
        vocabulary=64, context=16))
    rng = np.random.default_rng(1)
    with switching._machine(FAMILY) as machine:
        runs = [run for zeros in (0, .5, .9) for run in switching._runs(
            *machine, "", switching._random_checkpoint(rng, zeros, 32, 32, 2), [1, 2, 3], 3)]
    assert all(count > 0 for run in runs for count in run.toggles.values())
    # A zero weight gates its operand, and so products of the same number toggle less.
    tiles = [run.toggles["tiles"] / run.events["product"] for run in runs]
    assert min(tiles[:2]) > max(tiles[4:])
    shipped = {event: coefficient("toggles", event)[0].mid for event in EVENTS}
    assert residual(shipped, runs) < 2


@pytest.mark.skipif(not DEFAULT_LIBERTY.exists(), reason="qflow-tech-osu018 is not installed")
def test_command(tmp_path, monkeypatch):
    """Multiply-accumulates in standard cells: zeros save, int8 takes more than any ternary, a glitch only adds."""
    run = Run("", dict.fromkeys(EVENTS, 1.0), dict.fromkeys(switching.UNITS, 10.0))
    monkeypatch.setattr(cli_switching, "training_runs", lambda family: [run] * 3)
    monkeypatch.setattr(cli_switching, "real_runs", lambda *arguments: [run])
    result = CliRunner(env={"COLUMNS": "250"}).invoke(main, ["switching", "--json", str(tmp_path / "s.json")])
    assert result.exit_code == 0, result.output
    fields = json.loads((tmp_path / "s.json").read_text())
    assert fields["residual"] == pytest.approx(1) and fields["factor"] == FACTOR
    model, *shares, int8 = (run["switching"] for run in fields["macs"])
    assert [run["weight_zeros"] for run in fields["macs"][1:-1]] == pytest.approx([0, .33, .5, .75], abs=.02)
    for name in ("low", "mid", "high"):
        energies = [share[name] for share in shares]
        assert energies == sorted(energies, reverse=True) and energies[1] > model[name] * .95
        assert int8[name] > 2 * max(energies) and fields["ratio"][name] > 1
    assert all(run["low"] < run["mid"] < run["high"] < 2.8 * run["low"] for run in (model, *shares, int8))
