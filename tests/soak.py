"""Long runs on the fast simulator: many tokens of the demo, and random descriptors. ``make soak``."""

import contextlib
import itertools
import struct
import sys

import click
import numpy as np
from rich.console import Console

from firmware import checkpoint
from firmware.cli import DEMO
from firmware.console import progress
from firmware.link import Link
from firmware.measure import measure_run
from golden.codes import byte_encode
from golden.quantiser import absmax_quantise
from hdl.config import PRESETS, TRITS
from hdl.registers import MAX_PAYLOAD, Flags, Kind, Register
from sim.machine import Machine
from sim.transport import SimulatedTransport


__all__ = ["soak_descriptors", "soak_tokens"]


PROMPT = 16  # tokens
RUNS = 8  # descriptors between looks at the results


def soak_tokens(name, count, report=lambda description, done, total: None):
    """Tokens of the demo, and how many of its accumulators and counts of cycles differ from the models.

    Each run of text fills the model's context, after some held-out text.
    """
    loaded, text = checkpoint.load(DEMO), (DEMO / "held_out.txt").read_bytes()
    done = wrong = 0
    for start in itertools.count(0, loaded.context):
        if done == count:
            return done, wrong
        length = min(count - done, loaded.context - PROMPT)
        accelerated, fields = measure_run(
            PRESETS[name], loaded, list(text[start:start + PROMPT]), length,
            progress=lambda description, made, total, done=done: report("tokens", done + (made if total == length else 0),
                                                                        count))
        done += fields["tokens"]
        wrong += accelerated.total.mismatches + accelerated.total.cycle_errors


def _load(rng, config, machine, address, words):
    """WEIGHTS, with any share of zeros."""
    zeros = rng.choice([0, .3, .9])
    trits = rng.choice(np.array([-1, 0, 1], np.int8), (words, config.banks, config.tiles, TRITS),
                       p=[(1 - zeros) / 2, zeros, (1 - zeros) / 2])
    machine.load(address, trits)
    return Kind.WEIGHTS, struct.pack("<HH", address, words) + byte_encode(trits).tobytes()


def _list(rng, config, machine, slot):
    """VECTOR of any length, in pieces: one list of commands for each piece, for they keep their order."""
    n, int8, skip = int(rng.integers(1, config.columns + 1)), bool(rng.integers(2)), bool(rng.integers(2))
    live = int(rng.integers(0, n + 1)) if rng.integers(2) else n
    limit = 128 if int8 else 1 << int(rng.integers(1, 32))
    y = np.where(rng.random(n) < rng.choice([0, .3, .9]), 0, rng.integers(-limit, limit, n))
    machine.list(slot, y.astype(np.int8) if int8 else absmax_quantise(y)[0], live, skip)
    size = 1 if int8 else 4
    most = (MAX_PAYLOAD - 8) // size
    flags = Flags.INT8 * int8 | Flags.SKIP * skip
    return [[(Kind.VECTOR, struct.pack("<BBHHH", slot, flags, n, live, start)
              + y[start:start + most].astype(f"<i{size}").tobytes())] for start in range(0, n, most)]


def _run(rng, config, machine, slot):
    """RUN, wherever it fits."""
    stride = max(machine.lists[slot][1].words, 1) + int(rng.integers(0, 3))
    blocks = int(rng.integers(1, min(config.depth // stride, config.blocks) + 1))
    base, destination = int(rng.integers(0, config.depth - blocks * stride + 1)), int(rng.integers(
        0, config.blocks - blocks + 1))
    machine.multiply(slot, base, stride, blocks, destination)
    return Kind.RUN, struct.pack("<BBHHHH", slot, 0, base, stride, blocks, destination)


def soak_descriptors(name, count, seed, report=lambda description, done, total: None):
    """Random descriptors, and how many results and counters differ from sim.machine.

    Weights, lists and runs follow each other as they come; a run may wait for another, and lists are built while runs
    of the other slot go on. All results are read, and the counters that are exact.
    """
    config, rng = PRESETS[name], np.random.default_rng(seed)
    most = MAX_PAYLOAD // (3 * config.rows)
    done = wrong = 0
    with contextlib.closing(SimulatedTransport(config)) as transport:
        link, machine = Link(transport), Machine(config)
        link.transact([(Kind.RESET, b"")])
        words = (MAX_PAYLOAD - 4) // (config.banks * config.tiles)
        for address in range(0, config.depth, words):  # what they hold before is no code of zeros
            link.transact([_load(rng, config, machine, address, min(words, config.depth - address))])
        while done < count:
            link.transact([(Kind.WAIT, b"")])
            for _ in range(int(rng.integers(1, 4))):
                size = int(rng.integers(1, min(config.depth, words) + 1))
                link.transact([_load(rng, config, machine, int(rng.integers(0, config.depth - size + 1)), size)])
            for slot in range(config.slots):
                for piece in _list(rng, config, machine, slot):
                    link.transact(piece)
                for _ in range(min(RUNS // config.slots, count - done)):
                    link.transact([_run(rng, config, machine, slot)])
                    done += 1
            for first in range(0, config.blocks, most):
                blocks = min(most, config.blocks - first)
                found, = link.transact([(Kind.RESULTS, struct.pack("<HH", first, blocks))],
                                       cycles=config.depth * RUNS)
                wrong += found != machine.fetch(first, blocks)
            registers, = link.transact([(Kind.READ, struct.pack("<HH", 0, len(Register)))])
            found = dict(zip(Register, np.frombuffer(registers, "<u4").tolist(), strict=True))
            wrong += sum(found[register] != value % 2 ** 32 for register, value in machine.counted.items())
            report("descriptors", done, count)
    return done, wrong


@click.command()
@click.option("--tokens", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--descriptors", default=10_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, help="Of the descriptors.")
def main(tokens, descriptors, seed):
    """Many tokens and descriptors on the simulated RTL; exit 1 where anything differs from the models."""
    with progress() as report:
        outcomes = [("tokens of the demo on 16x40", *soak_tokens("16x40", tokens, report)),
                    ("random descriptors on 8x10", *soak_descriptors("8x10", descriptors, seed, report))]
    for what, done, wrong in outcomes:
        Console().print(f"{done:,} {what}: {wrong} differences", highlight=False)
    sys.exit(any(wrong for _, _, wrong in outcomes))


if __name__ == "__main__":
    main()
