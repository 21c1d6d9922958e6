"""Toggles of a synthesised netlist, unit by unit, while it runs."""

import re

from ...hdl.machine import Machine
from ..rtl.simulator import Simulator
from .netlist import cells, netlist


__all__ = ["CELL", "PIN", "UNITS", "by_unit", "instrument", "simulate_switching"]


# Units by what the names of their cells begin with; the first that fits counts.
UNITS = {
    "tiles": r"processor\.engine\.(bank_\d+\.tile_|dot_)",  # decoders and products
    "accumulators": r"processor\.engine\.(accumulator_|combiner_|holding_|narrow_)",
    "banks": r"processor\.engine\.",  # lists
    "lanes": r"processor\.(lanes|lists|stores)\.",
    "scalars": r"processor\.(scalars|angles)\.",
    "control": r"(processor|conductor)\.",
    "link": "",  # receiver, commands, transmitter
}
OUTPUTS = ("Z", "Q", "S0", "S1", "O", "F")  # of LUTs, flip-flops and carry cells in all families
COUNTER_BITS = 64

CELL = re.compile(r"^  (\w+) (?:#\(\n(?:    \..*\n)+  \) )?(\\?\S+)\s+\(\n((?:    \..*\n)+)  \);", re.M)
PIN = re.compile(r"^    \.(\w+)\((.+?)\),?$", re.M)


def instrument(verilog, groups, clock="clk"):
    """``verilog`` of a flat module with an output ``toggles``, 64 bits for each list of nets in ``groups``.

    Counted are the changes of the nets from one rising edge of ``clock`` to the next; what goes back in between is not.
    """
    text = [f"  output [{COUNTER_BITS * len(groups) - 1}:0] toggles;"]
    for index, nets in enumerate(groups):
        joined = ", ".join(nets) or "1'h0"
        text.append(f"""
  wire [{max(len(nets), 1) - 1}:0] toggles_now_{index} = {{ {joined} }};
  reg [{max(len(nets), 1) - 1}:0] toggles_before_{index} = 0;
  reg [{COUNTER_BITS - 1}:0] toggles_{index} = 0;
  always @(posedge {clock}) begin
    toggles_before_{index} <= toggles_now_{index};
    toggles_{index} <= toggles_{index} + $countones(toggles_now_{index} ^ toggles_before_{index});
  end
  assign toggles[{COUNTER_BITS * index} +: {COUNTER_BITS}] = toggles_{index};""")
    text.append("endmodule\n")
    head, _, tail = verilog.rpartition("endmodule\n")
    return re.sub(r"(?m)^(module \w+\()", r"\1toggles, ", head) + "\n".join(text) + tail


def by_unit(verilog, units=UNITS):
    """Nets of each unit: outputs of LUTs, flip-flops and carry cells, not carries inside a cell nor memories."""
    nets = {unit: [] for unit in units}
    for _, name, pins in CELL.findall(verilog):
        unit = next(unit for unit, pattern in units.items() if re.match(pattern, name.removeprefix("\\")))
        nets[unit] += [net for pin, net in PIN.findall(pins) if pin in OUTPUTS and not re.match(r"\d+'", net)]
    return list(nets.values())


def simulate_switching(config, family):
    """Simulator of the netlist of hdl.machine.Machine, whose ``toggles()`` are those of UNITS. Raises ToolError."""
    verilog = netlist(config, family)
    verilog = instrument(verilog, by_unit(verilog))
    simulator = Simulator(Machine(config), "top", sources={"netlist.v": verilog, "cells.v": cells(family, verilog)},
                          toggles=len(UNITS))
    simulator.reset()
    return simulator
