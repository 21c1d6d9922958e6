"""Toggles of a synthesised netlist, unit by unit, while it runs."""

import re

from hdl.top import Top

from .netlist import cells, netlist
from .simulator import Simulator


__all__ = ["UNITS", "instrument", "simulate_switching"]


# Units by what the names of their cells begin with; the first that fits counts.
UNITS = {
    "tiles": r"array\.bank_\d+\.tile_",  # decoders and products
    "accumulators": r"array\.drain_",
    "banks": r"array\.",  # lists, tokens, weight memories
    "vector unit": r"vector\.",
    "results": r"results\.",
    "sequencer": r"sequencer\.",
    "counters": r"counters\.",
    "link": "",  # receiver, commands, executor, loader, transmitter
}
OUTPUTS = ("Z", "Q", "S0", "S1", "O", "F")  # of LUTs, flip-flops and carry cells in all families
COUNTER_BITS = 64

_CELL = re.compile(r"^  \w+ (?:#\(\n(?:    \..*\n)+  \) )?(\\?\S+)\s+\(\n((?:    \..*\n)+)  \);", re.M)
_PIN = re.compile(r"^    \.(\w+)\((.+?)\),?$", re.M)


def instrument(verilog, units=UNITS):
    """``verilog`` of a flat netlist with an output ``toggles``, 64 bits for each of the units.

    Counted are the changes of all outputs of LUTs, flip-flops and carry cells from one rising edge of ``clk`` to the
    next; carries inside a cell, memories, the clock and glitches are not.
    """
    nets = {unit: [] for unit in units}
    for name, pins in _CELL.findall(verilog):
        unit = next(unit for unit, pattern in units.items() if re.match(pattern, name.removeprefix("\\")))
        nets[unit] += [net for pin, net in _PIN.findall(pins) if pin in OUTPUTS and not re.match(r"\d+'", net)]
    text = [f"  output [{COUNTER_BITS * len(units) - 1}:0] toggles;"]
    for index, chosen in enumerate(nets.values()):
        joined = ", ".join(chosen) or "1'h0"
        text.append(f"""
  wire [{max(len(chosen), 1) - 1}:0] toggles_now_{index} = {{ {joined} }};
  reg [{max(len(chosen), 1) - 1}:0] toggles_before_{index} = 0;
  reg [{COUNTER_BITS - 1}:0] toggles_{index} = 0;
  always @(posedge clk) begin
    toggles_before_{index} <= toggles_now_{index};
    toggles_{index} <= toggles_{index} + $countones(toggles_now_{index} ^ toggles_before_{index});
  end""")
    counters = ", ".join(f"toggles_{index}" for index in reversed(range(len(units))))
    text.append(f"  assign toggles = {{ {counters} }};\nendmodule\n")
    head, end, tail = verilog.rpartition("endmodule\n")
    head = re.sub(r"(?m)^(module top\()", r"\1toggles, ", head)
    return head + "\n".join(text) + tail


def simulate_switching(config, family):
    """Simulator of the netlist of hdl.top.Top, whose ``toggles()`` are those of UNITS. Raises ToolError."""
    verilog = instrument(netlist(config, family))
    simulator = Simulator(Top(config), "top", sources={"netlist.v": verilog, "cells.v": cells(family, verilog)},
                          toggles=len(UNITS))
    simulator.reset()
    return simulator
