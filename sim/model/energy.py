"""Energy of what was counted, in three ledgers that never mix: arithmetic, switching, and memory with the board.

Coefficients and their sources are in energy.yaml. Every figure is a Range, with the tier of its coefficients.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from ...hdl.config import GROUP, sum_width


__all__ = ["Range", "add_energy", "arithmetic_tables", "coefficient", "coefficients", "partial_sum_bits"]


UNITS = {"pJ": 1e-12, "nJ": 1e-9, "W": 1.0, "toggles": 1.0}  # in J, W or toggles


class Range(NamedTuple):
    """A figure with its uncertainty, J or W."""
    low: float
    mid: float
    high: float

    def __add__(self, other):
        return Range(*(a + b for a, b in zip(self, other, strict=True)))

    def __mul__(self, factor):
        """By a number, or by what has a range too: low by low, high by high."""
        factors = factor if isinstance(factor, Range) else (factor,) * 3
        return Range(*(value * each for value, each in zip(self, factors, strict=True)))

    __radd__, __rmul__ = __add__, __mul__

    def text(self, unit="J"):
        """mid [low-high], with a prefix."""
        scale, prefix = next((pair for pair in ((1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))
                              if self.mid >= pair[0]), (1e-15, "f"))
        low, mid, high = (_digits(value / scale) for value in self)
        return f"{mid} {prefix}{unit}" if low == high else f"{mid} [{low}-{high}] {prefix}{unit}"


def _digits(value):
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


@cache
def coefficients():
    """Contents of energy.yaml."""
    return yaml.safe_load(Path(__file__).with_name("energy.yaml").read_text())


def coefficient(*path):
    """(Range in J, W or toggles, tier) of an entry, by the keys that lead to it. Raises KeyError."""
    entry = coefficients()
    for key in path:
        entry = entry[key]
    return Range(*(entry[name] * UNITS[entry["unit"]] for name in Range._fields)), entry["tier"]


def arithmetic_tables():
    """Names of the published tables of arithmetic."""
    return list(coefficients()["arithmetic"])


def add_energy(table, bits):
    """Range of an addition of ``bits`` bits: on the line through the table's additions of 8 and of 32 bits."""
    narrow, wide = (coefficient("arithmetic", table, name)[0] for name in ("int8_add", "int32_add"))
    return narrow * ((32 - bits) / 24) + wide * ((bits - 8) / 24)


def partial_sum_bits(banks):
    """Widths of the additions of one row: by twos within a group of banks, then group by group.

    An addition is as wide as its sum.
    """
    widths, before = [], 0
    for first in range(0, banks, GROUP):
        nodes = [1] * min(GROUP, banks - first)
        while len(nodes) > 1:
            pairs = [sum(nodes[low:low + 2]) for low in range(0, len(nodes), 2)]
            widths += [sum_width(pair) for pair in pairs[:len(nodes) // 2]]
            nodes = pairs
        if before:
            widths.append(sum_width(before + nodes[0]))
        before += nodes[0]
    return widths
