"""Verilog of Amaranth components, the same text every time."""

import itertools
import os
import re
from pathlib import Path

from amaranth.back import verilog


__all__ = ["generate", "sources", "without_positions"]


_MODULE = re.compile(r"^module (\S+?) ?\(.*?^endmodule\n", re.M | re.S)
_PORTS = re.compile(r"^(module \S+?) ?\((.*)\);$", re.M)
_INSTANCE = re.compile(r"(?<=^  )\\\S+(?=  \S+ +\($)", re.M)
_CONNECTIONS = re.compile(r"^  (\\\S+)  \S+ +\(\n(?:    \..*\n)+  \);\n", re.M)
_PORT = re.compile(r"(\.?)(\\port\$(\d+)\$(\d+))(?= )")
_INITIAL = re.compile(r"  initial begin\n((?:    \S+ ?\[\d+\] = \S+;\n)+)  end\n")
_ENTRY = re.compile(r"    (\S+ ?)\[(\d+)\] = (\S+);\n")


def _loops(module):
    """Fill memories whose entries are alike by a loop: most of the text of an array is such memories."""
    number = itertools.count()

    def loop(match):
        entries = _ENTRY.findall(match[1])
        memories, addresses, values = ({entry[column] for entry in entries} for column in range(3))
        if len(memories) != 1 or len(values) != 1 or addresses != set(map(str, range(len(entries)))):
            return match[0]
        index = f"setun_{next(number)}"
        return (f"  integer {index};\n  initial for ({index} = 0; {index} < {len(entries)}; {index} = {index} + 1) "
                f"{memories.pop()}[{index}] = {values.pop()};\n")

    return _INITIAL.sub(loop, module)


def _renumber(modules):
    """Number ports without a name from zero in each module, and not through the design: else no two are alike."""
    numbers = {}
    for name, body in modules.items():
        ports = sorted({(int(cell), int(bit), port) for dot, port, cell, bit in _PORT.findall(body) if not dot})
        numbers[name] = {port: f"\\port${index}" for index, (_, _, port) in enumerate(ports)}

    def connect(match):
        return _PORT.sub(lambda port: "." + numbers[match[1]][port[2]] if port[1] else port[0], match[0])

    return {name: _PORTS.sub(_sort, _PORT.sub(lambda port: numbers[name][port[2]], _CONNECTIONS.sub(connect, body)))
            for name, body in modules.items()}


def _sort(match):
    return f"{match[1]} ({', '.join(sorted(match[2].split(', ')))});"


def _share(modules):
    """Text of modules by name, those alike once: Amaranth makes one of each instance, and compilers pay for each."""
    while True:
        first, alias = {}, {}
        for name, body in modules.items():
            alias[name] = first.setdefault(body.replace(name, "", 1), name)
        if len(first) == len(modules):
            return "\n".join(modules.values())
        modules = {name: _INSTANCE.sub(lambda match: alias.get(match[0], match[0]), body)
                   for name, body in modules.items() if alias[name] == name}


def generate(component, name):
    """Verilog of a component as module ``name``: no paths, no attributes of Amaranth's, every module once."""
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")  # one yosys, one text
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    text = re.sub(r"\\\$auto\$verilog_backend\S+", r"\\setun_initial", text)  # a counter that differs in each module
    return _share(_renumber({match[1]: _loops(match[0]) for match in _MODULE.finditer(text)}))


def without_positions(text):
    """RTLIL without what it says of lines in the sources, which tell nothing of the design."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("attribute \\src"))


def sources():
    """Text of all that a design is made from: elaborating a large array to look it up takes longer than its answer."""
    own, root = Path(__file__), Path(__file__).parents[2]
    paths = [own, *(path for package in ("golden", "hdl") for path in sorted((root / package).rglob("*.py"))
                    if path.parent != own.parent)]
    return "\0".join(f"{path.relative_to(root)}\0{path.read_text()}" for path in paths)
