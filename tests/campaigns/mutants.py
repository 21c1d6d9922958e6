"""Mutation testing: which changes of the RTL do the tests of the whole machine notice? ``make mutants``."""

import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import click
import yaml
from rich.console import Console
from rich.table import Table

from setun.cli.console import progress, user_errors
from setun.hdl.build import toolchain
from setun.hdl.build.cache import digest
from setun.hdl.build.verilog import sources
from setun.hdl.machine import Machine
from setun.sim.verify.cocotb_runner import run_cocotb
from setun.sim.verify.mutation import MUTANT, mutate
from tests.machine.stimulus import CONFIG


__all__ = ["CONFIG", "COUNT", "EQUIVALENT", "SEED", "judge", "noticed", "run_mutant", "summary"]


KILLER = "tests.machine.cocotb_machine"
CYCLES = 400_000  # of the stimulus
COUNT, SEED = 200, 1
LEAST = .95  # of those that somebody can notice
SECONDS = 600  # without a mutant it takes a twentieth of it
EQUIVALENT = yaml.safe_load(Path(__file__).with_name("equivalent.yaml").read_text())  # mutant: why nobody can notice it


def run_mutant(verilog, number, cycles=CYCLES):
    """Why a mutant is dead, "" where all tests pass; number 0 is the design as it was.

    ``verilog`` is of sim.verify.mutation.mutate, for CONFIG; the stimulus ends after ``cycles``.
    """
    with tempfile.TemporaryDirectory() as folder:
        values = {MUTANT: number, "seed": SEED, "cycles": cycles, "report": str(Path(folder) / "report.json")}
        try:
            run_cocotb(verilog, "top", KILLER, values, most_failures=1, seconds=SECONDS)
        except AssertionError as error:
            return str(error).splitlines()[1]
        except TimeoutError:
            return f"it has not ended after {SECONDS} s"
        except toolchain.ToolError:
            if not number:
                raise
            return "the simulation broke off"
    return ""


def judge(count, seed, seconds, report=lambda description, done, total: None):
    """Run mutants until the time is up: [(Mutant, why it is dead)] of those that were run.

    Raises RuntimeError where the tests do not pass without a mutant.
    """
    start, judged = time.monotonic(), []
    verilog, mutants = mutate(Machine(CONFIG), count, seed)
    report("without a mutant", 0, count)
    if why := run_mutant(verilog, 0):
        raise RuntimeError(f"the tests fail without a mutant: {why}")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        waiting = iter(mutants)
        running = {pool.submit(run_mutant, verilog, mutant.number): mutant
                   for _, mutant in zip(range(os.cpu_count()), waiting)}
        while running:
            future = next(as_completed(running))
            judged.append((running.pop(future), future.result()))
            report("mutants", len(judged), count)
            following = next(waiting, None) if time.monotonic() - start < seconds else None
            if following:
                running[pool.submit(run_mutant, verilog, following.number)] = following
    return sorted(judged)


def summary(judged):
    """{"mutants", "killed", "equivalent", "alive": numbers} of what judge returns."""
    alive = [mutant.name for mutant, why in judged if not why]
    equivalent = sum(name in EQUIVALENT for name in alive)
    return {"mutants": len(judged), "killed": len(judged) - len(alive), "equivalent": equivalent,
            "alive": len(alive) - equivalent}


def noticed(judged):
    """Of those that nobody can notice, by EQUIVALENT, the names of the dead."""
    return [mutant.name for mutant, why in judged if why and mutant.name in EQUIVALENT]


@click.command()
@click.option("--count", default=COUNT, show_default=True, type=click.IntRange(1, 60000), help="Mutants of all blocks.")
@click.option("--seed", default=SEED, show_default=True, help="Of the choice of mutants.")
@click.option("--seconds", default=3600, show_default=True, help="After which no mutant is begun.")
@click.option("--json", "json_path", default=toolchain.build_folder() / "mutants.json", show_default=True,
              type=click.Path(path_type=Path, dir_okay=False), help="Write what became of each here.")
@user_errors
def main(count, seed, seconds, json_path):
    """Change the RTL in one place at a time and see whether the tests notice; exit 1 where they do not notice enough.

    Survivors are listed. setun results finds the figures in build/mutants.json.
    """
    of = digest(sources())
    with progress() as report:
        judged = judge(count, seed, seconds, report)
    totals = summary(judged)
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps({
        "sources": of, "config": asdict(CONFIG), "seed": seed, "totals": totals,
        "mutants": [{**mutant._asdict(), "dead": why, "equivalent": EQUIVALENT.get(mutant.name, "")}
                    for mutant, why in judged]}, indent=1) + "\n")
    table = Table(title=f"{CONFIG.name}, seed {seed}")
    for heading in ("block", *totals):
        table.add_column(heading, justify="left" if heading == "block" else "right")
    for block in sorted({mutant.block for mutant, _ in judged}):
        numbers = summary([(mutant, why) for mutant, why in judged if mutant.block == block])
        table.add_row(block, *map(str, numbers.values()))
    table.add_section()
    table.add_row("all", *map(str, totals.values()))
    Console().print(table)
    for mutant, why in judged:
        if not why:
            Console().print(f"{mutant.number} {mutant.source or mutant.block}: {mutant.name}: "
                            f"{EQUIVALENT.get(mutant.name, 'alive')}", highlight=False, markup=False, soft_wrap=True)
    for name in noticed(judged):
        Console().print(f"noticed, though equivalent.yaml says that nobody can: {name}", highlight=False, markup=False,
                        soft_wrap=True)
    sys.exit(bool(noticed(judged)) or totals["killed"] < LEAST * (totals["mutants"] - totals["equivalent"]))


if __name__ == "__main__":
    main()
