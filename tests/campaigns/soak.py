"""Long runs on the fast simulator: many tokens of the demo, random programs, frames over a link that damages them.
``make soak``.
"""

import contextlib
import itertools
import json
import sys
import time

import click
import numpy as np
from rich.console import Console

from setun.accelerator import Accelerator
from setun.analysis.measure import measure_run
from setun.cli.console import progress
from setun.cli.options import DEMO
from setun.compiler.product import product_image
from setun.driver.machine import Machine, MachineError, MismatchError
from setun.driver.transport import LinkError
from setun.formats.model import load as load_model
from setun.hdl.build.cache import digest
from setun.hdl.build.toolchain import build_folder
from setun.hdl.build.verilog import sources
from setun.hdl.config import PRESETS
from setun.hdl.protocol import Space
from setun.sim.rtl.transport import SimulatedTransport
from tests.machine.test_programs import differs
from tests.support.links import Noisy
from tests.support.programs import CONFIG


__all__ = ["soak_link", "soak_programs", "soak_tokens"]


PROMPT = 16  # tokens
PRODUCTS = 20  # on a link that stays as bad as it is
MOST_CYCLES = 1 << 20
NOISE = -4, -2  # logarithms of the share of bytes at which something happens


def soak_tokens(transport, model, text, count, report=lambda description, done, total: None):
    """Tokens of a model of bytes, and how many values and counts of cycles differ from the models.

    Each run of text fills the model's context, after some of ``text``. ``transport`` is closed behind them.
    """
    done = wrong = 0
    with Accelerator(transport, transport.config) as device:
        for start in itertools.count(0, model.checkpoint.context):
            if done == count:
                return done, wrong
            length = min(count - done, model.checkpoint.context - PROMPT)
            _, fields = measure_run(
                device, model, list(text[start:start + PROMPT]), length,
                progress=lambda description, made, total, done=done: report(
                    "tokens", done + (made if total == length else 0), count))
            done += fields["tokens"]
            wrong += fields["mismatches"] + fields["cycle_errors"]


def soak_programs(transport, count, seed, report=lambda description, done, total: None):
    """Random programs on a machine of tests.support.programs.CONFIG, and how many leave something else behind than on
    the reference machine, or take other cycles."""
    wrong = 0
    for done in range(count):
        wrong += bool(differs(transport, seed + done))
        report("programs", done + 1, count)
    return count, wrong


class Counting(Noisy):
    """Counts the frames that are sent."""
    frames = 0

    def exchange(self, request, replies, limit):
        self.frames += replies if request else 0
        return super().exchange(request, replies, limit)


def soak_link(transport, count, seed, report=lambda description, done, total: None):
    """Frames over a link that loses, changes, doubles and reorders bytes: how many, and how many products are wrong.

    A session that gives up, which it may, is followed by another.
    """
    rng, wrong, config = np.random.default_rng(seed), 0, transport.config
    noisy = Counting(transport, 0, seed)
    while noisy.frames < count:
        noisy.rate = 10 ** rng.uniform(*NOISE)
        with contextlib.suppress(LinkError, MachineError):
            try:
                machine = Machine(noisy, config)
            except MismatchError:  # what it is was read wrong
                wrong += 1
                continue
            for _ in range(PRODUCTS):
                w = rng.integers(-1, 2, rng.integers(1, 20, 2), np.int8)
                x = rng.integers(-128, 128, w.shape[1]).astype(np.int8)
                image = product_image(w, x, config)
                machine.load(image)
                machine.give([0])
                machine.go(0, 1)
                machine.wait(1, MOST_CYCLES)
                found = machine.read(Space.RESULTS, 0, image.used("results")).reshape(-1)[:len(w)]
                wrong += bool((found != w.astype(int) @ x).any())
                report("frames", min(noisy.frames, count), count)
    return noisy.frames, wrong


@click.command()
@click.option("--tokens", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--programs", default=10_000, show_default=True, type=click.IntRange(1))
@click.option("--frames", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, help="Of the programs and the frames.")
def main(tokens, programs, frames, seed):
    """Tokens, random programs and damaged frames on the simulated RTL; exit 1 where anything differs from the models.

    The figures go to build/soak.json, where setun results finds them.
    """
    outcomes, of = [], digest(sources())
    with progress() as report:
        for what, soak, arguments in (
                ("tokens of the demo on 24x40", soak_tokens,
                 (SimulatedTransport(PRESETS["24x40"]), load_model("demo"),
                  (DEMO / "held_out.txt").read_bytes(), tokens)),
                (f"random programs on {CONFIG.name}", soak_programs, (SimulatedTransport(CONFIG), programs, seed)),
                (f"frames to {CONFIG.name} over a link that loses, changes, doubles and reorders bytes", soak_link,
                 (SimulatedTransport(CONFIG), frames, seed))):
            start = time.perf_counter()
            done, wrong = soak(*arguments, report)
            outcomes.append({"what": what, "done": done, "differences": wrong, "seconds": time.perf_counter() - start})
    (build_folder() / "soak.json").write_text(json.dumps({"sources": of, "outcomes": outcomes}, indent=2) + "\n")
    for outcome in outcomes:
        Console().print(f"{outcome['done']:,} {outcome['what']}: {outcome['differences']} differences, "
                        f"{outcome['seconds']:.0f} s", highlight=False)
    sys.exit(any(outcome["differences"] for outcome in outcomes))


if __name__ == "__main__":
    main()
