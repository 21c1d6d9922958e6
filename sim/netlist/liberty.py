"""Standard cells of a Liberty file: their functions, and what their toggles cost."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...hdl.build.toolchain import ToolError


__all__ = ["Cell", "DEFAULT_LIBERTY", "FlipFlop", "Library", "read_library"]


DEFAULT_LIBERTY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
PACKAGE = "qflow-tech-osu018"  # Debian's, which brings it
PREFIXES = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0}


class FlipFlop(NamedTuple):
    """Names of the state and of its complement, the next state, the pin of the clock."""
    state: str
    inverse: str
    following: str
    clock: str


class Cell(NamedTuple):
    """A gate, or a flip-flop without set and reset; functions are Verilog expressions.

    The energy of a pin, J, is that of a toggle inside the cell, and of an input also what charges its capacitance.
    """
    inputs: dict  # {pin: energy}
    outputs: dict  # {pin: (function, energy)}
    flip_flop: FlipFlop | None
    leakage: float  # W


class Library(NamedTuple):
    """The usable cells of a Liberty file, at its nominal voltage."""
    name: str
    voltage: float
    cells: dict  # {name: Cell}


def _text(value):
    return str(value).strip('"')


def _unit(text, base):
    """A unit, "1nW", in its base unit."""
    text = text.lower().removesuffix(base)
    number = text.rstrip("".join(PREFIXES))
    return float(number or 1) * PREFIXES[text[len(number):]]


def _middle(group, name):
    """The middle of a table of power, or 0 where there is none."""
    for table in group.get_groups(name):
        values = np.atleast_2d(table.get_array("values"))
        return float(values[values.shape[0] // 2, values.shape[1] // 2])
    return 0.0


def _internal(pin):
    """Energy of a toggle inside the cell: the mean of both edges, and of the conditions that are told apart."""
    found = [(_middle(power, "rise_power") + _middle(power, "fall_power")) / 2
             for power in pin.get_groups("internal_power")]
    return max(float(np.mean(found)), 0.0) if found else 0.0


def _cell(group, function, charging, internal, power):
    """Cell, or None where it is neither a gate nor a plain flip-flop.

    ``charging`` is the energy of a toggle of a unit of capacitance, ``internal`` the unit of tables, ``power`` that of
    leakage.
    """
    flip_flops, flip_flop = group.get_groups("ff"), None
    if len(flip_flops) > 1 or any(group.get_groups(kind) for kind in ("ff_bank", "latch", "statetable", "bundle")):
        return None
    for ff in flip_flops:
        if ff.get("clear") or ff.get("preset"):
            return None
        flip_flop = FlipFlop(*map(_text, ff.args), function(ff["next_state"]), function(ff["clocked_on"]).strip("~()"))
    inputs, outputs = {}, {}
    for pin in group.get_groups("pin"):
        name = _text(pin.args[0])
        if _text(pin["direction"]) == "input":
            inputs[name] = charging * float(pin.get("capacitance", 0)) + internal * _internal(pin)
        elif pin.get("function") is None or pin.get("three_state") is not None:
            return None
        else:
            outputs[name] = function(pin["function"]), internal * _internal(pin)
    if not inputs or not outputs:
        return None
    return Cell(inputs, outputs, flip_flop, float(group.get("cell_leakage_power", 0)) * power)


def read_library(path):
    """Library of a Liberty file. Raises ToolError that names file and remedy where it cannot be used."""
    try:
        from liberty.boolean_functions import parse_boolean_function
        from liberty.parser import parse_liberty
    except ImportError as error:
        raise ToolError("liberty-parser is not installed: pip install 'setun[liberty]'") from error
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        remedy = (f"apt-get install {PACKAGE}, or give --liberty" if path == DEFAULT_LIBERTY else
                  "give another --liberty")
        raise ToolError(f"{path}: cannot be read: {error.strerror}: {remedy}") from error
    try:
        library = parse_liberty(text)
        volt = _unit(_text(library.get("voltage_unit", "1V")), "v")
        voltage = float(library["nom_voltage"]) * volt
        number, unit = library["capacitive_load_unit"]
        capacitance = float(number) * _unit(_text(unit), "f")
        power = _unit(_text(library.get("leakage_power_unit", "1nW")), "w")
        cells = {_text(group.args[0]): _cell(group, lambda text: str(parse_boolean_function(_text(text))),
                                             capacitance * voltage ** 2 / 2, capacitance * volt ** 2, power)
                 for group in library.get_groups("cell")}
        name = _text(library.args[0])
    except Exception as error:  # the parser's own, of many kinds
        raise ToolError(f"{path}: is no Liberty file with nom_voltage and capacitive_load_unit "
                        f"({type(error).__name__}): give another --liberty") from error
    usable = {name: cell for name, cell in cells.items() if cell}
    if not any(cell.flip_flop for cell in usable.values()) or all(cell.flip_flop for cell in usable.values()):
        raise ToolError(f"{path}: has no gates and flip-flops with functions: give another --liberty")
    return Library(name, voltage, usable)
