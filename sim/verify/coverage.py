"""What tests have reached: bins of a functional model, and lines and toggles of the Verilog."""

import itertools
import re
from collections import defaultdict
from typing import NamedTuple

from cocotb_coverage.coverage import CoverPoint


__all__ = ["Model", "Place", "Point", "read_places"]


class Point(NamedTuple):
    """What is looked at, as values that are strings, numbers, or tuples of them.

    Members
    -------
    bins : list
        Values of which each must be met.
    holes : dict
        Values that cannot be met, and why.
    """
    bins: list
    holes: dict = {}

    @classmethod
    def cross(cls, *axes, holes=()):
        """All tuples of one value of each axis; ``holes`` are pairs of a predicate on such a tuple, and why it holds of
        none that is met."""
        reasons = {}
        for values in itertools.product(*axes):
            reasons |= {values: why for applies, why in holes if values not in reasons and applies(*values)}
        return cls([values for values in itertools.product(*axes) if values not in reasons], reasons)


class Model:
    """Functional coverage: closed when all bins of all points were met.

    Parameters
    ----------
    name : str
        Prefix of the points in cocotb-coverage's database, of which a process has one.
    points : dict
        {name: Point}
    """

    def __init__(self, name, points):
        self.name, self.points = name, points
        self._items, self._samples, self._met = {}, {}, set()
        for point, (bins, _) in points.items():
            self._items[point] = CoverPoint(f"{name}.{point}", xf=lambda value: value, bins=bins)
            self._samples[point] = self._items[point](lambda value: None)

    def meet(self, point, value):
        """Raises ValueError where a value is no bin: a hole whose reason is wrong, or nothing foreseen."""
        if (point, value) in self._met:  # the library goes through all bins
            return
        self._met.add((point, value))
        self._samples[point](value)
        if not self._items[point].new_hits:
            why = self.points[point].holes.get(value)
            raise ValueError(f"{point}: {value} was met, " + (f"though {why}" if why else "and is no bin"))

    def missing(self, point):
        """Bins of a point that were not met."""
        return [value for value, hits in self._items[point].detailed_coverage.items() if not hits]

    @property
    def closed(self):
        """Whether all bins are met."""
        return not any(map(self.missing, self.points))

    def report(self):
        """{point: {"bins", "met": numbers; "missing": list of str; "holes": {str: why}}}"""
        return {point: dict(bins=len(bins), met=len(bins) - len(self.missing(point)),
                            missing=list(map(str, self.missing(point))),
                            holes={str(value): why for value, why in holes.items()})
                for point, (bins, holes) in self.points.items()}


class Place(NamedTuple):
    """A place in the Verilog whose execution Verilator counts, over all instances of its module."""
    block: str  # of the top, where an instance is; "top" itself
    module: str
    what: str  # "line", "branch" or "toggle"
    line: int
    column: int
    name: str  # of a toggle: signal, bit and direction


_CODE = re.compile("__0([0-9A-Fa-f]{2})")  # Verilator's of a character of a name
_ENTRY = re.compile(r"C '(.*)' (\d+)")


def read_places(text):
    """{Place: count} of Verilator's coverage.dat; counts of a place that is there more than once are added.

    Raises ValueError with the number of a line that is none of a coverage.dat.
    """
    counts = defaultdict(int)
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            continue
        if not (entry := _ENTRY.fullmatch(line)):
            raise ValueError(f"line {number} is none of a coverage.dat: {line[:60]}")
        keys = dict(key.split("\2", 1) for key in entry[1].split("\1")[1:])
        what, module = keys["page"].removeprefix("v_").split("/", 1)
        counts[Place((module.split(".") + ["top"])[1], module, what, int(keys["l"]), int(keys["n"]),
                     _CODE.sub(lambda code: chr(int(code[1], 16)), keys["o"]))] += int(entry[2])
    return dict(counts)
