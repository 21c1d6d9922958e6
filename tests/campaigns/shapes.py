"""Random models on random processors: tokens, logits and cycles of the RTL against the reference machine.

    python -m tests.campaigns.shapes --seed 1 --count 60

Each processor is compiled anew, which takes most of the time.
"""

import argparse
import contextlib
import sys

import numpy as np

from setun.compiler.schedule import TooLarge, compile_model
from setun.golden.fixed import to_fixed
from setun.golden.rotary import Rope
from setun.hdl.instructions import Geometry
from setun.sim.model.processor import Processor
from setun.sim.model.processor_cycles import token_cycles
from tests.support.checkpoints import random_checkpoint
from tests.support.processor_bench import ProcessorBench


ROPES = [Rope(1e4), Rope(5e5, 3.0), Rope(1e4, 8.0, (1.0, 4.0, 16))]
ROOMY = {"columns": 1024, "results": 4096, "elements": 4096, "scalars": 1024, "instructions": 2048}
DEEPEST = 1 << 16
MOST_WORDS = 300_000  # of five trits, to be written one by one
TOKENS = 40


def shape(rng):
    """Arguments of random_checkpoint and of Geometry."""
    kv_heads, tiles = int(rng.integers(1, 5)), int(rng.choice([1, 2, 3, 4, 5, 8]))
    heads = kv_heads * int(rng.integers(1, 8 // kv_heads + 1))
    model = {
        "seed": int(rng.integers(1000)), "vocab": int(rng.choice([64, 100, 257, 1000, 4096])),
        "context": int(rng.choice([32, 64, 100, 256])), "heads": heads, "kv_heads": kv_heads,
        "head_dim": 2 * int(rng.integers(4, 33)), "hidden": int(rng.integers(16, 160)),
        "inner": int(rng.integers(16, 300)), "layers": int(rng.integers(1, 4)),
        "sub_norms": bool(rng.integers(2)), "activation": str(rng.choice(["relu2", "silu"])),
        "tied": bool(rng.integers(2)), "rope": ROPES[rng.integers(len(ROPES))]}
    return model, {"tiles": tiles, "banks": tiles * int(rng.integers(1, 5)), "silu": model["activation"] == "silu"}


def differences(model, sizes, rng):
    """How many tokens, logits and counts of cycles differ, and the cycles of the last token; None of a model that takes
    too long to write."""
    checkpoint = random_checkpoint(**model)
    integer = to_fixed(checkpoint)
    try:
        room = compile_model(integer, Geometry(depth=DEEPEST, **ROOMY, **sizes))
    except TooLarge:
        return None
    words = max(address + used for address, used in room.map.weights.values())
    if words * sizes["banks"] * sizes["tiles"] > MOST_WORDS:
        return None
    image = compile_model(integer, Geometry(depth=1 << (words - 1).bit_length(), **ROOMY, **sizes))
    reference, (address, logits), wrong = Processor(image), image.map.elements["logits"], 0
    with contextlib.closing(ProcessorBench(image.geometry, checkpoint.vocab, checkpoint.context)) as bench:
        bench.load(image)
        for position in range(min(checkpoint.context, TOKENS)):
            token = int(rng.integers(checkpoint.vocab))
            found, cycles = bench.step(token, position)
            expected, predicted = token_cycles(reference, token, position)
            wrong += (found != expected) + (cycles != predicted.total())
        found = bench.elements(address, logits).reshape(-1)[:checkpoint.vocab]
        wrong += int((found != reference.logits).sum())
    return wrong, cycles


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=60)
    arguments = parser.parse_args()
    rng, done, failed = np.random.default_rng(arguments.seed), 0, 0
    while done < arguments.count:
        model, sizes = shape(rng)
        result = differences(model, sizes, rng)
        if result is None:
            continue
        wrong, cycles = result
        done, failed = done + 1, failed + bool(wrong)
        told = " ".join(f"{name} {value}" for name, value in (sizes | model).items() if name not in ("rope", "seed"))
        print(f"{done} of {arguments.count}: {wrong} differences, {cycles:,} cycles: {told}", flush=True)
    print(f"{done} shapes, {failed} with differences")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
