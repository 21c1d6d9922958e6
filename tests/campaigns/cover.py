"""What random tests reach of the whole machine: its functional model, its lines and its toggles. ``make coverage``."""

import json
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from setun.cli.console import progress, user_errors
from setun.hdl.build.cache import digest
from setun.hdl.build.toolchain import build_folder
from setun.hdl.build.verilog import generate, sources
from setun.hdl.machine import Machine
from setun.sim.verify.cocotb_runner import run_cocotb
from setun.sim.verify.coverage import read_places
from tests.machine.stimulus import CONFIG


__all__ = ["CONFIG", "measure", "summary"]


SECONDS = 1800
LOOK_SECONDS = .5  # between looks at how far it is
INITIAL = "setun_initial"  # lines that only make simulators begin
UNNAMED = re.compile(r"\$\d+(\[|:)")
EMPTY = re.compile(r"(.+)\[-1\]:")  # a signal without bits has two in Verilog


def measure(seed, cycles, *, places=False, report=lambda description, done, total: None):
    """Random stimulus until the functional model is closed, or for so many cycles.

    Returns a dict: ``cycles``, ``seed``, ``points`` as of sim.verify.coverage.Model.report, ``failure``, what is wrong
    or was not met, "" for nothing, and with ``places`` also a list of [block of hdl.machine, "line" or "toggle", place,
    times it was reached].
    """
    verilog = generate(Machine(CONFIG), "top")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        path, counts = Path(folder) / "report.json", Path(folder) / "coverage.dat"
        values = dict(seed=seed, cycles=cycles, report=str(path))
        report("building", 0, None)
        run = pool.submit(run_cocotb, verilog, "top", "tests.machine.cocotb_machine", values, seconds=SECONDS,
                          coverage=counts if places else None)
        while not wait([run], LOOK_SECONDS).done:
            if path.exists():
                points = json.loads(path.read_text())["points"].values()
                report("bins", *(sum(point[name] for point in points) for name in ("met", "bins")))
        error = run.exception()
        if error and not (isinstance(error, AssertionError) and path.exists()):
            raise error
        found = json.loads(path.read_text())
        found["failure"] = str(error) if error else "; ".join(
            f"{point}: {', '.join(fields['missing'])}" for point, fields in found["points"].items()
            if fields["missing"])
        if places:
            found["places"] = _places(verilog.splitlines(), counts.read_text())
    return found


def _places(lines, text):
    """Lines, and toggles of signals that have a name in hdl, by the block of hdl.machine that they are in."""
    found, places = [], sorted(read_places(text).items())
    empty = {(place.module, match[1]) for place, _ in places if (match := EMPTY.match(place.name))}
    for place, count in places:
        source, toggles = lines[place.line - 1].strip(), place.what == "toggle"
        unnamed = UNNAMED.match(place.name) or (place.module, place.name.rpartition("[")[0]) in empty
        if INITIAL not in source and not (toggles and unnamed):
            what = f"{place.module} {place.name}" if toggles else f"{place.module} {place.line} {place.name}: {source}"
            found.append([place.block, "toggle" if toggles else "line", what, count])
    return found


def summary(found):
    """{what: [reached, all]} for the points of the model, and for lines and toggles of each block and of all."""
    table = {"bins": [sum(point[name] for point in found["points"].values()) for name in ("met", "bins")]}
    for block, what, _, count in found.get("places", []):
        for key in (f"{what}s", f"{what}s of {block}"):
            reached, all_ = table.get(key, (0, 0))
            table[key] = [reached + (count > 0), all_ + 1]
    return table


def _write(folder, found, totals):
    """coverage.json with the totals, and coverage.txt with all that was not reached."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = {name: found[name] for name in ("config", "seed", "cycles", "failure", "points")}
    fields |= {"sources": digest(sources()), "totals": totals}
    (folder / "coverage.json").write_text(json.dumps(fields, indent=1) + "\n")
    lines = []
    for point, fields in found["points"].items():
        lines += [f"{point}: {fields['met']} of {fields['bins']} bins"]
        lines += [f"  missing {value}" for value in fields["missing"]]
        lines += [f"  never {value}: {why}" for value, why in fields["holes"].items()]
    lines += [f"{what} not reached: {place}"
              for _, what, place, count in found["places"] if not count]
    (folder / "coverage.txt").write_text("\n".join(lines) + "\n")


@click.command()
@click.option("--seed", default=1, show_default=True, help="Of the stimulus.")
@click.option("--cycles", default=3_000_000, show_default=True, type=click.IntRange(1), help="After which it ends.")
@click.option("--folder", default=build_folder() / "coverage",
              type=click.Path(path_type=Path, file_okay=False), help="Write coverage.json and coverage.txt here.")
@user_errors
def main(seed, cycles, folder):
    """Random stimulus until the functional model of the machine is closed; exit 1 where it is not, or a test fails."""
    with progress() as report:
        found = dict(measure(seed, cycles, places=True, report=report), config=asdict(CONFIG))
    totals = summary(found)
    _write(folder, found, totals)
    table = Table(title=f"{CONFIG.name}, {found['cycles']:,} cycles, seed {seed}")
    for heading in ("block", "bins", "lines", "toggles"):
        table.add_column(heading, justify="left" if heading == "block" else "right")

    def row(name, keys):
        table.add_row(name, *("{:,} of {:,}".format(*totals[key]) if key in totals else "" for key in keys))

    for block in sorted({block for block, *_ in found["places"]}):
        row(block, ("", f"lines of {block}", f"toggles of {block}"))
    table.add_section()
    row("all", ("bins", "lines", "toggles"))
    Console().print(table)
    holes = [place for *_, place, count in found["places"] if not count]
    Console().print(f"{len(holes):,} lines and toggles were not reached: {folder / 'coverage.txt'}", highlight=False)
    if found["failure"]:
        Console().print(found["failure"], highlight=False, markup=False)
    sys.exit(bool(found["failure"]))


if __name__ == "__main__":
    main()
