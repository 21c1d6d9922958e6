"""Long runs on the fast simulator: many tokens of the demo, random descriptors, frames over a link that damages them.
``make soak``.
"""

import contextlib
import itertools
import json
import random
import struct
import sys
import time

import click
import numpy as np
from rich.console import Console

from setun.accelerator import Accelerator
from setun.analysis.measure import measure_run
from setun.cli.console import progress
from setun.cli.options import DEMO
from setun.compiler.packing import pack, place
from setun.driver.device import Device
from setun.driver.link import Link
from setun.driver.transport import LinkError
from setun.formats.model import load as load_model
from setun.golden.codes import byte_encode
from setun.golden.matvec import matvec
from setun.golden.quantiser import absmax_quantise
from setun.hdl.build.cache import digest
from setun.hdl.build.toolchain import build_folder
from setun.hdl.build.verilog import sources
from setun.hdl.config import PRESETS, TRITS
from setun.hdl.processors import PROCESSORS
from setun.hdl.protocol import MAX_PAYLOAD, Flags, Kind, Register
from setun.sim.model.machine import Machine
from setun.sim.rtl.transport import SimulatedTransport
from tests.support.links import Noisy


__all__ = ["exercise", "fill", "random_run", "random_vector", "random_weights", "soak_descriptors", "soak_link",
           "soak_tokens"]


PROMPT = 16  # tokens
RUNS = 8  # descriptors between looks at the results
PRODUCTS = 200  # on a link that stays as bad as it is
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


def random_weights(rng, machine, address, words):
    """WEIGHTS, with any share of zeros."""
    config = machine.config
    zeros = rng.choice([0, .3, .9])
    trits = rng.choice(np.array([-1, 0, 1], np.int8), (words, config.banks, config.tiles, TRITS),
                       p=[(1 - zeros) / 2, zeros, (1 - zeros) / 2])
    machine.load(address, trits)
    return Kind.WEIGHTS, struct.pack("<HH", address, words) + byte_encode(trits).tobytes()


def random_vector(rng, machine, slot):
    """VECTOR of any length, in pieces, whose order counts."""
    config = machine.config
    n, int8, skip = int(rng.integers(1, config.columns + 1)), bool(rng.integers(2)), bool(rng.integers(2))
    live = int(rng.integers(0, n + 1)) if rng.integers(2) else n
    limit = 128 if int8 else 1 << int(rng.integers(1, 32))
    y = np.where(rng.random(n) < rng.choice([0, .3, .9]), 0, rng.integers(-limit, limit, n))
    machine.list(slot, y.astype(np.int8) if int8 else absmax_quantise(y)[0], live, skip)
    size = 1 if int8 else 4
    most = (MAX_PAYLOAD - 8) // size
    flags = Flags.INT8 * int8 | Flags.SKIP * skip
    return [(Kind.VECTOR, struct.pack("<BBHHH", slot, flags, n, live, start)
             + y[start:start + most].astype(f"<i{size}").tobytes()) for start in range(0, n, most)]


def random_run(rng, machine, slot):
    """RUN, wherever it fits."""
    config = machine.config
    stride = max(machine.lists[slot][1].words, 1) + int(rng.integers(0, 3))
    blocks = int(rng.integers(1, min(config.depth // stride, config.blocks) + 1))
    base, destination = int(rng.integers(0, config.depth - blocks * stride + 1)), int(rng.integers(
        0, config.blocks - blocks + 1))
    machine.multiply(slot, base, stride, blocks, destination)
    return Kind.RUN, struct.pack("<BBHHHH", slot, 0, base, stride, blocks, destination)


def fill(link, machine, rng):
    """Write all weights: what the memories hold before is no code of zeros."""
    config = machine.config
    words = (MAX_PAYLOAD - 4) // (config.banks * config.tiles)
    for address in range(0, config.depth, words):
        link.transact([random_weights(rng, machine, address, min(words, config.depth - address))])


def exercise(link, machine, rng, runs):
    """Weights, lists and ``runs`` descriptors as they come: how many results and counters differ from the machine's.

    A run may wait for another, and lists are built while runs of the other slot go on. All results are read, and the
    counters that are exact.
    """
    config = machine.config
    link.transact([(Kind.WAIT, b"")])
    words = min(config.depth, (MAX_PAYLOAD - 4) // (config.banks * config.tiles))
    for _ in range(int(rng.integers(1, 4))):
        size = int(rng.integers(1, words + 1))
        link.transact([random_weights(rng, machine, int(rng.integers(0, config.depth - size + 1)), size)])
    for slot in range(config.slots):
        for piece in random_vector(rng, machine, slot):
            link.transact([piece])
        for _ in range(slot, runs, config.slots):
            link.transact([random_run(rng, machine, slot)])
    wrong, most = 0, MAX_PAYLOAD // (3 * config.rows)
    for first in range(0, config.blocks, most):
        blocks = min(most, config.blocks - first)
        found, = link.transact([(Kind.RESULTS, struct.pack("<HH", first, blocks))], cycles=config.depth * runs)
        wrong += found != machine.fetch(first, blocks)
    registers, = link.transact([(Kind.READ, struct.pack("<HH", 0, len(Register)))])
    found = dict(zip(Register, np.frombuffer(registers, "<u4").tolist(), strict=True))
    return wrong + sum(found[register] != value % 2 ** 32 for register, value in machine.counted.items())


def soak_descriptors(config, count, seed, report=lambda description, done, total: None):
    """Random descriptors, and how many results and counters differ from sim.model.machine."""
    rng, done, wrong = np.random.default_rng(seed), 0, 0
    with contextlib.closing(SimulatedTransport(config)) as transport:
        link, machine = Link(transport), Machine(config)
        link.transact([(Kind.RESET, b"")])
        fill(link, machine, rng)
        while done < count:
            runs = min(RUNS, count - done)
            wrong += exercise(link, machine, rng, runs)
            done += runs
            report("descriptors", done, count)
    return done, wrong


class Counting(Noisy):
    """Counts the frames that are sent."""
    frames = 0

    def exchange(self, request, replies, limit):
        self.frames += replies if request else 0
        return super().exchange(request, replies, limit)


def soak_link(config, count, seed, report=lambda description, done, total: None):
    """Frames over a link that loses, changes, doubles and reorders bytes: how many, and how many products and weights
    are wrong.

    A session that gives up, which it may, is followed by another. Behind each session is one on a sound link, in which
    all weights must be there if all of them were.
    """
    rng, wrong = np.random.default_rng(seed), 0
    random.seed(seed)  # sequences of frames
    with contextlib.closing(SimulatedTransport(config)) as transport:
        noisy = Counting(transport, 0, seed)
        while noisy.frames < count:
            w = [rng.integers(-1, 2, rng.integers(1, 20, 2), np.int8) for _ in range(3)]
            placed, loaded = place([pack(matrix, config) for matrix in w], config, resident=True)[0], False
            noisy.rate = 10 ** rng.uniform(*NOISE)
            with contextlib.suppress(LinkError):
                device = Device(noisy, config)
                device.load(placed)
                loaded = True
                for index in rng.integers(0, len(w), PRODUCTS):
                    x = rng.integers(-128, 128, w[index].shape[1]).astype(np.int8)
                    product = device.multiply(placed[index], x, quantise=False)
                    wrong += int((product.accumulators != matvec(w[index], x)).any())
                    report("frames", min(noisy.frames, count), count)
            noisy.rate = 0
            sound = Device(noisy, config)
            wrong += len(sound.scrub(placed)) if loaded else 0
    return noisy.frames, wrong


@click.command()
@click.option("--tokens", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--descriptors", default=10_000, show_default=True, type=click.IntRange(1))
@click.option("--frames", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, help="Of the descriptors and the frames.")
def main(tokens, descriptors, frames, seed):
    """Tokens, descriptors and damaged frames on the simulated RTL; exit 1 where anything differs from the models.

    The figures go to build/soak.json, where setun results finds them.
    """
    outcomes, of = [], digest(sources())
    with progress() as report:
        for what, soak, arguments in (
                ("tokens of the demo on 24x40", soak_tokens,
                 (SimulatedTransport(PROCESSORS["24x40"]), load_model("demo"),
                  (DEMO / "held_out.txt").read_bytes(), tokens)),
                ("random descriptors on 8x10", soak_descriptors, (PRESETS["8x10"], descriptors, seed)),
                ("frames to 1x5 over a link that loses, changes, doubles and reorders bytes", soak_link,
                 (PRESETS["1x5"], frames, seed))):
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
