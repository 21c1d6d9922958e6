import numpy as np
import pytest

from setun.hdl.build.toolchain import ToolError
from setun.sim.netlist.liberty import DEFAULT_LIBERTY, read_library
from setun.sim.netlist.standard_cells import FLUSH, Int8Mac, TernaryMac, measure, synthesise
from tests.sim.netlist.test_liberty import LIBERTY, near


CHAIN, STEPS = 5, 20
INVERTER, FLIP_FLOP = (8e-15, 2e-15), 17e-15  # of tiny.lib, by hand: input and output; half of a clock's cycle


@pytest.fixture
def liberty(tmp_path):
    path = tmp_path / "tiny.lib"
    path.write_text(LIBERTY)
    return path


def cell(kind, name, **pins):
    connections = ",\n".join(f"    .{pin}({net})" for pin, net in pins.items())
    return f"  {kind} {name} (\n{connections}\n  );\n"


def chain(source, first):
    """Inverters one after the other."""
    nets = [source, *(f"n[{first + index}]" for index in range(CHAIN))]
    return "".join(cell("INV", f"inverter_{first}_{index}", A=a, Y=y)
                   for index, (a, y) in enumerate(zip(nets, nets[1:])))


def measured(liberty, netlist, weights, activations=None):
    """Of a netlist with wires n[0] to n[31]; weights and activations are those of STEPS steps."""
    verilog = ("module mac(clk, rst, weight, activation, first, sum);\n  input clk, rst, first;\n"
               "  input [7:0] weight, activation;\n  output [23:0] sum;\n  wire [31:0] n;\n"
               f"  assign sum = 24'h000000;\n{netlist}endmodule\n")
    weights = np.asarray(weights, np.uint8)
    activations = np.zeros(len(weights), np.int8) if activations is None else np.asarray(activations, np.int8)
    return measure(verilog, read_library(liberty), weights, activations, np.zeros(len(weights), bool))[0]


ALTERNATING = np.arange(STEPS) % 2


def test_known_answer(liberty):
    """Every inverter of a chain toggles with each change, once, with delay and without."""
    found = measured(liberty, chain("weight[0]", 0), ALTERNATING)
    expected = STEPS * CHAIN * sum(INVERTER) / (STEPS + FLUSH)  # the last step's 1 goes back in the flush
    assert found.switching == near([expected] * 3)
    assert found.cells == CHAIN and found.clock == 0


def test_nothing_moves(liberty):
    """Leakage is left, and the clock of what has one."""
    found = measured(liberty, chain("weight[0]", 0) + cell("DFF", "still", CK="clk", D="n[4]", Q="n[20]"),
                     np.zeros(STEPS))
    assert found.switching == (0, 0, 0)
    assert found.leakage == near((3 * CHAIN + 7) * 1e-9)
    assert found.clock == near(2 * FLIP_FLOP)
    assert found.energy == near([2 * FLIP_FLOP] * 3)


def test_additive(liberty):
    """Two parts have the energy of both."""
    slow = (np.arange(STEPS) // 2) % 2
    alone = measured(liberty, chain("weight[0]", 0), ALTERNATING)
    other = measured(liberty, chain("activation[0]", 8), np.zeros(STEPS), slow)
    both = measured(liberty, chain("weight[0]", 0) + chain("activation[0]", 8), ALTERNATING, slow)
    assert 0 < other.switching.mid < alone.switching.mid
    assert both.switching == near(list(alone.switching + other.switching))
    assert both.leakage == near(alone.leakage + other.leakage)


def test_glitch(liberty):
    """x & ~x never changes without delay; with it there is a pulse for each rise, of two toggles."""
    netlist = cell("INV", "late", A="weight[0]", Y="n[0]") + cell("NAND2", "hazard", A="weight[0]", B="n[0]",
                                                                  Y="n[1]") + cell("INV", "load", A="n[1]", Y="n[2]")
    found = measured(liberty, netlist, ALTERNATING)
    pulses = STEPS / 2 * 2 * sum(INVERTER) / (STEPS + FLUSH)
    assert found.switching.high - found.switching.low == near(pulses)


def test_foreign_cell(liberty):
    with pytest.raises(ToolError, match="tiny: XOR2 is neither a gate nor a plain flip-flop: give another --liberty"):
        measured(liberty, cell("XOR2", "foreign", A="weight[0]", B="weight[1]", Y="n[0]"), ALTERNATING)


@pytest.mark.skipif(not DEFAULT_LIBERTY.exists(), reason="qflow-tech-osu018 is not installed")
@pytest.mark.parametrize("mac, weights", [(TernaryMac, (-1, 0, 1)), (Int8Mac, (-128, -127, -1, 0, 1, 127))])
def test_multiply_accumulate(mac, weights):
    """The netlist's sum is that of NumPy, modulo 2^24; only what comes after the last first counts."""
    rng, mac = np.random.default_rng(1958), mac()
    w = rng.choice(np.array(weights, np.int8), 200)
    x = rng.choice(np.array((-128, -1, 0, 1, 5, 127), np.int8), 200)
    firsts = np.isin(np.arange(200), (0, 1, 70))
    found, total = measure(synthesise(mac, DEFAULT_LIBERTY), read_library(DEFAULT_LIBERTY), mac.encode(w), x, firsts)
    assert total == w[70:].astype(int) @ x[70:].astype(int)
    assert 0 < found.switching.low < found.switching.mid < found.switching.high
