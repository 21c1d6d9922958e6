"""Mutation testing: which changes of the RTL do the cocotb tests of the whole machine notice? ``make mutants``."""

import json
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from firmware.console import progress
from hdl.config import Config
from hdl.top import Top
from sim import toolchain
from sim.cocotb_runner import run_cocotb
from sim.mutation import MUTANT, mutate


__all__ = ["judge", "run_mutant"]


CONFIG = Config(name="2x5", banks=2, tiles=1, depth=256, columns=64, blocks=70)
SECONDS = 60  # of the tests of one mutant; without a mutant they take a fifth of it


def run_mutant(number, count, seed):
    """Why a mutant is dead, "" where the tests pass; number 0 is the design as it was."""
    verilog, _ = mutate(Top(CONFIG), count, seed)
    try:
        run_cocotb(verilog, "top", "cocotb_top", {"config": asdict(CONFIG), MUTANT: number}, most_failures=1,
                   seconds=SECONDS)
    except AssertionError as error:
        return str(error).splitlines()[1]
    except TimeoutError:
        return f"has not ended after {SECONDS} s"
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
    _, mutants = mutate(Top(CONFIG), count, seed)
    report("without a mutant", 0, count)
    if why := run_mutant(0, count, seed):
        raise RuntimeError(f"the tests fail without a mutant: {why}")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        waiting = iter(mutants)
        running = {pool.submit(run_mutant, mutant.number, count, seed): mutant
                   for mutant, _ in zip(waiting, range(os.cpu_count()))}
        while running:
            future = next(as_completed(running))
            judged.append((running.pop(future), future.result()))
            report("mutants", len(judged), count)
            following = next(waiting, None) if time.monotonic() - start < seconds else None
            if following:
                running[pool.submit(run_mutant, following.number, count, seed)] = following
    return judged


@click.command()
@click.option("--count", default=400, show_default=True, type=click.IntRange(1, 60000), help="Mutants of all blocks.")
@click.option("--seed", default=1, show_default=True, help="Of the choice of mutants.")
@click.option("--seconds", default=3600, show_default=True, help="After which no mutant is begun.")
@click.option("--json", "json_path", default=Path("build/mutants.json"), show_default=True,
              type=click.Path(path_type=Path, dir_okay=False), help="Write what became of each here.")
def main(count, seed, seconds, json_path):
    """Change the RTL in one place at a time and see whether the tests notice. Survivors are listed."""
    with progress() as report:
        judged = judge(count, seed, seconds, report)
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps([{**mutant._asdict(), "dead": why} for mutant, why in judged], indent=1))
    alive, all_ = (Counter(mutant.block for mutant, why in judged if which or not why) for which in (0, 1))
    table = Table(title=f"{len(judged)} mutants, seed {seed}")
    for heading in ("block", "mutants", "killed", "share"):
        table.add_column(heading, justify="left" if heading == "block" else "right")
    for block in sorted(all_):
        killed = all_[block] - alive[block]
        table.add_row(block, str(all_[block]), str(killed), f"{killed / all_[block]:.0%}")
    table.add_section()
    killed = len(judged) - alive.total()
    table.add_row("all", str(len(judged)), str(killed), f"{killed / len(judged):.1%}")
    Console().print(table)
    for mutant, why in judged:
        if not why:
            Console().print(f"alive: {mutant.number} {mutant.source} {mutant.change} of {mutant.cell}", highlight=False,
                            markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
