"""Verilog of Amaranth components, the same text every time, and the cache of what is built from it."""

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from amaranth.back import verilog

from . import toolchain


__all__ = ["cached", "digest", "generate"]


_MODULE = re.compile(r"^module (\S+).*?^endmodule\n", re.M | re.S)
_INSTANCE = re.compile(r"^  (\\\S+)(?=  \S+ +\($)", re.M)
_INITIAL = re.compile(r"  initial begin\n((?:    \S+ ?\[\d+\] = \S+;\n)+)  end\n")
_ENTRY = re.compile(r"    (\S+ ?)\[(\d+)\] = (\S+);\n")


def _loop(match):
    """A memory whose entries are alike, filled by a loop: most of the text of an array is such memories."""
    entries = _ENTRY.findall(match[1])
    names, addresses, values = ({entry[column] for entry in entries} for column in range(3))
    if len(names) != 1 or len(values) != 1 or len(addresses) != max(map(int, addresses)) + 1:
        return match[0]
    name, value = names.pop(), values.pop()
    return (f"  integer setun_{match.start()};\n  initial for (setun_{match.start()} = 0; setun_{match.start()} < "
            f"{len(entries)}; setun_{match.start()} = setun_{match.start()} + 1) "
            f"{name}[setun_{match.start()}] = {value};\n")


def _share(text):
    """Write modules that are alike once: Amaranth makes one of each instance, and compilers pay for each."""
    modules = {match[1]: match[0] for match in _MODULE.finditer(text)}
    while True:
        first, alias = {}, {}
        for name, body in modules.items():
            key = body.replace(name, "", 1)
            alias[name] = first.setdefault(key, name)
        if len(first) == len(modules):
            return "\n".join(modules.values())
        modules = {name: _INSTANCE.sub(lambda match: alias.get(match[1], match[1]) + " ", body)
                   for name, body in modules.items() if alias[name] == name}


def generate(component, name):
    """Verilog of a component as module ``name``: no paths, no attributes of Amaranth's, every module once."""
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")  # one yosys, one text
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    text = re.sub(r"\\\$auto\$verilog_backend\S+", r"\\setun_initial", text)  # a counter that differs in each module
    modules = [_INITIAL.sub(_loop, match[0]) for match in _MODULE.finditer(text)]
    return _share("\n".join(modules))


def digest(*parts):
    """Key of a build: a hash of all it is made from, and of the tools' versions."""
    return hashlib.sha256("\0".join([toolchain.versions(), *parts]).encode()).hexdigest()[:20]


def cached(folder, key, build):
    """The folder ``folder / key``, made by ``build(path)`` the first time.

    It appears complete or not at all, and processes may build the same key at the same time: each works in a folder of
    its own, and the first to end names the result.
    """
    result = Path(folder) / key
    if result.exists():
        return result
    result.parent.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(dir=folder, prefix=f"{key}."))
    try:
        build(own)
        try:
            own.rename(result)
        except OSError:
            if not result.exists():  # else another process was first
                raise
    finally:
        shutil.rmtree(own, ignore_errors=True)
    return result
