"""What becomes of a configuration: Verilog for other people's designs, and bitstreams of boards."""

import hashlib
import json
import re
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from .configuration import board_of, config_of
from .errors import ArgumentError
from .hdl import protocol
from .hdl.config import Config


__all__ = ["TECHNOLOGIES", "build", "core", "write_verilog"]


TECHNOLOGIES = ("portable", "ecp5", "ice40")
NAME = "setun"  # of the top module, and the beginning of all others' names
MEMORY = re.compile(r"^  reg (?:\[(\d+):0\] )?(\S+) ?\[(\d+):0\];$", re.M)
MODULE = re.compile(r"^module (\S+?) ?\(.*?^endmodule", re.M | re.S)
INSTANCE = re.compile(r"^  (\\?[A-Za-z]\S*) +(?:#\([^;]*?\n  \) )?\S+ +\($", re.M)


def _technology(name):
    from .hdl.technology import ecp5, ice40, product

    found = {"portable": product.PORTABLE, "ecp5": ecp5.ECP5, "ice40": ice40.ICE40}
    if name not in found:
        raise ArgumentError(f"technology is {name!r} and must be one of {', '.join(found)}")
    return found[name]


def core(config: Config | str, *, technology: str = "portable") -> tuple[str, dict]:
    """Verilog of an accelerator with its link and nothing else, and what there is to know of it.

    Parameters
    ----------
    config : Config | str
        Or its text, as ``setun.simulate`` takes it.
    technology : str
        "portable": no vendor's cells; "ecp5", "ice40": with carry chains, block RAM or SPRAM of that family.

    Returns the text, whose top module is ``setun``, and the manifest: ``ports`` with direction, width and meaning,
    ``parameters``, ``memories`` by module with depth, width and how often the module is there, ``cells`` of a vendor,
    ``protocol`` (version and hash of the register map), ``version`` of Setun, and ``sha256`` of the text.
    """
    from .hdl.build.verilog import generate
    from .hdl.core import Core

    config = config_of(config)
    body = generate(Core(config, _technology(technology)), NAME)
    text = (f"// {NAME} {version('setun')}, config {config.name}, {technology}: {config.products} products a cycle.\n"
            + body)
    modules = {match[1]: match[0] for match in MODULE.finditer(body)}
    counts = _instances(modules, NAME)
    return text, {
        "module": NAME,
        "version": version("setun"),
        "technology": technology,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "parameters": asdict(config),
        "protocol": {"version": protocol.VERSION, "map": f"{protocol.MAP_HASH:#010x}"},
        "ports": [
            {"name": "clk", "direction": "input", "width": 1, "meaning": "everything happens at its rising edge"},
            {"name": "rst", "direction": "input", "width": 1, "meaning": "synchronous reset, active high"},
            *({"name": f"{side}__{name}", "direction": "input" if (side == "i") != (name == "ready") else "output",
               "width": width, "meaning": f"{name} of the {'commands' if side == 'i' else 'answers'}"}
              for side in "io" for name, width in (("payload", 8), ("valid", 1), ("ready", 1)))],
        "memories": [{"module": module.lstrip("\\"), "name": memory.lstrip("\\"), "depth": int(last) + 1,
                      "width": int(high or 0) + 1, "count": counts[module]}
                     for module, body in modules.items() for high, memory, last in MEMORY.findall(body)],
        "cells": sorted({cell for body in modules.values() for cell in INSTANCE.findall(body)} - set(modules)),
    }


def _instances(modules, top):
    """How often each module is there, {name: count}."""
    counts = dict.fromkeys(modules, 0)

    def add(name):
        counts[name] += 1
        for inner in INSTANCE.findall(modules[name]):
            if inner in modules:
                add(inner)

    add(top)
    return counts


def write_verilog(config: Config | str, path: str | Path, *, technology: str = "portable",
                  manifest: str | Path | None = None) -> dict:
    """Write the Verilog of ``core`` to a file, and its manifest as JSON to another where one is given.

    Parameters as of ``core``. Returns the manifest. Raises ArgumentError for a configuration or technology that does
    not exist, and OSError where a file cannot be written.
    """
    text, fields = core(config, technology=technology)
    Path(path).write_text(text)
    if manifest is not None:
        Path(manifest).write_text(json.dumps(fields, indent=2) + "\n")
    return fields


def build(board, seeds: int | list[int] = 3, *, jobs: int | None = None,
          progress=lambda description, done, total: None):
    """Build the bitstream of a board with yosys and nextpnr; steps that were done before are not done again.

    Parameters
    ----------
    board : Board | str
        Or its text, as setun.board_of takes it.
    seeds : int | list of int
        Of place and route: so many, from 1 on, or these. The bitstream is that of the fastest; the frequency that is
        reported is that of the slowest.
    jobs : int | None
        Seeds that are routed at the same time; None takes the number of processors.
    progress : function
        Is told what goes on, the steps that are done, and their number.

    Returns setun.hdl.build.bitstream.Report. Raises BuildError where the device is too small or no seed reaches the
    clock, and ToolError where a tool is missing or failed.
    """
    from .hdl.build.bitstream import build as build_bitstream

    chosen = list(range(1, seeds + 1) if isinstance(seeds, int) else seeds)
    if not chosen:
        raise ArgumentError("seeds is empty: give one at least")
    return build_bitstream(board_of(board), chosen, jobs=jobs, progress=progress)
