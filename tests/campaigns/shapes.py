"""Random models on random machines: tokens, memories and cycles of the RTL against the reference machine's.

    python -m tests.campaigns.shapes --seed 1 --count 60

Each processor is compiled anew, which takes most of the time.
"""

import argparse
import contextlib
import sys

import numpy as np

from setun.compiler.schedule import TooLarge, compile_model
from setun.driver.machine import Machine
from setun.golden.fixed import to_fixed
from setun.golden.rotary import Rope
from setun.golden.sampling import temperature_scalar
from setun.hdl.config import Config
from setun.hdl.protocol import Register, Space
from setun.sim.model.device import ReferenceTransport
from setun.sim.rtl.transport import SimulatedTransport
from tests.support.checkpoints import random_checkpoint


ROPES = [Rope(1e4), Rope(5e5, 3.0), Rope(1e4, 8.0, (1.0, 4.0, 16))]
ROOMY = {"columns": 1024, "results": 4096, "elements": 4096, "scalars": 1024, "instructions": 2048,
         "vocabulary": 4096, "context": 256}
DEEPEST = 1 << 16
MOST_WORDS = 300_000  # of five trits, to be written one by one
TOKENS = 40
MOST_CYCLES = 50_000_000  # of a token


def shape(rng):
    """Arguments of random_checkpoint and of Config."""
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
    """How many tokens, words of lanes and counts of cycles differ, and the cycles of a token; None of a model that
    takes too long to write."""
    checkpoint = random_checkpoint(**model)
    integer = to_fixed(checkpoint)
    try:
        room = compile_model(integer, Config(depth=DEEPEST, **ROOMY, **sizes))
    except TooLarge:
        return None
    words = max(address + used for address, used in room.map.weights.values())
    if words * sizes["banks"] * sizes["tiles"] > MOST_WORDS:
        return None
    image = compile_model(integer, Config(depth=1 << (words - 1).bit_length(), **ROOMY, **sizes))
    transports, found = (SimulatedTransport(image.config), ReferenceTransport(image.config)), []
    temperature = float(rng.choice([0, .8, 2]))
    tokens, count = rng.integers(checkpoint.vocab, size=checkpoint.context).tolist(), min(checkpoint.context, TOKENS)
    for transport in transports:
        with contextlib.closing(transport):
            machine = Machine(transport)
            machine.load(image)
            machine.sample(image, temperature_scalar(temperature), 5)
            machine.give(tokens[:-(-count // 2)])
            machine.go(0, count)
            registers = machine.wait(count, MOST_CYCLES)
            found.append([np.array([*registers.values(), *machine.tokens(0, count + 1)]), *(
                machine.read(space, 0, image.used(space.name.lower()))
                for space in (Space.RESULTS, Space.ELEMENTS, Space.SCALARS))])
    wrong = sum(int((rtl != reference).sum()) for rtl, reference in zip(*found))
    return wrong, registers[Register.CYCLES] // count


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
