"""Energy of a multiply-accumulate in standard cells on a model's activations: ternary by weight zeros, and int8."""

from typing import NamedTuple

import numpy as np

from ..golden.bit_linear import quantised_matvec
from ..golden.decoder import empty_cache, step
from ..golden.fixed import to_fixed
from ..golden.quantiser import reciprocal_quantise
from ..sim.model.energy import Range
from ..sim.netlist.liberty import read_library
from ..sim.netlist.standard_cells import Int8Mac, Measured, TernaryMac, measure, synthesise


__all__ = ["MacRun", "WEIGHT_ZEROS", "mac_runs", "ratio"]


SEED = 1958
ROWS = 8  # of each matrix of the first layer
WEIGHT_ZEROS = (0, .33, .5, .75)
SPREAD = 32  # standard deviation of int8 weights
ACCUMULATOR = 1 << 24


class MacRun(NamedTuple):
    """A multiplier with a stimulus."""
    name: str
    weight_zeros: float
    steps: int
    measured: Measured


def stimulus(checkpoint, prompt):
    """Weights int8 [n], activations int8 [n], firsts bool [n]: rows of the first layer's matrices, on its activations
    of the last token; those that are 0 are left out, as the accelerator does.
    """
    rng, model, inputs = np.random.default_rng(SEED), to_fixed(checkpoint), {}

    def linear(layer, kind, codes, y):
        if layer == 0:
            inputs[kind] = codes, reciprocal_quantise(y)[0]
        return quantised_matvec(layer, kind, codes, y)

    cache, parts = empty_cache(model), []
    for position, token in enumerate(prompt):
        _, _, cache = step(model, token, position, cache, linear=linear)
    for codes, x in inputs.values():
        for row in rng.choice(len(codes), ROWS, replace=False):
            parts.append((codes[row, x != 0], x[x != 0], np.arange(np.count_nonzero(x)) == 0))
    return tuple(np.concatenate(column) for column in zip(*parts))


def _run(name, mac, liberty, library, weights, activations, firsts):
    measured, total = measure(synthesise(mac, liberty), library, mac.encode(weights), activations, firsts)
    last = np.flatnonzero(firsts)[-1]
    expected = int(weights[last:].astype(int) @ activations[last:].astype(int))
    if (total - expected) % ACCUMULATOR:
        raise AssertionError(f"{name}: the sum of the netlist is {total} and must be {expected}")
    return MacRun(name, float(np.mean(weights == 0)), len(weights), measured)


def mac_runs(checkpoint, prompt, liberty, progress=lambda description, done, total: None):
    """Yields MacRun: of the model's own weights, of ternary weights with WEIGHT_ZEROS, last of int8 weights.

    ``liberty`` is a path. Raises ToolError.
    """
    library, rng = read_library(liberty), np.random.default_rng(SEED)
    weights, activations, firsts = stimulus(checkpoint, prompt)
    shape = weights.shape
    runs = [("ternary, the model's weights", TernaryMac(), weights)]
    for share in WEIGHT_ZEROS:
        made = rng.choice(np.array([-1, 1], np.int8), shape)
        made[rng.random(shape) < share] = 0
        runs.append(("ternary, random weights", TernaryMac(), made))
    int8 = np.rint(rng.normal(0, SPREAD, shape)).clip(-127, 127).astype(np.int8)
    runs.append((f"int8, normal weights of deviation {SPREAD}", Int8Mac(), int8))
    for done, (name, mac, made) in enumerate(runs):
        progress("multiply-accumulates in standard cells", done, len(runs))
        yield _run(name, mac, liberty, library, made, activations, firsts)


def ratio(runs, energy=lambda measured: measured.energy):
    """Range of the energy of the last of the runs over that of the first, both by the same simulation."""
    return Range(*(theirs / ours for ours, theirs in zip(energy(runs[0].measured), energy(runs[-1].measured))))
