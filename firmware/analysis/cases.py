"""Cases in which the cycle model must equal the RTL, cause by cause: shapes of real models, and random ones."""

import contextlib
from itertools import groupby
from typing import NamedTuple

import numpy as np

from ..compiler.packing import pack, place
from ..configuration import config_of
from ..driver.device import Device
from ..golden.quantiser import absmax_quantise
from ..hdl.config import PRESETS
from ..sim.rtl.transport import SimulatedTransport
from .layers import CAUSES, layer_cycles
from .models import named_models
from .profile import ASSUMED_ZEROS, ASSUMED_ZEROS_ELSEWHERE


__all__ = ["Case", "all_cases", "run_cases"]


SEED = 1958
LARGE, STREAMED, SMALL = "16x20-deep", "16x20", "4x10"
WHOLE_BLOCKS = 2  # of a large matrix, and the last one, which may be partial; in between cycles grow by the block


class Case(NamedTuple):
    """A matrix and a vector.

    ``config`` is as of setun.config_of; ``rows`` of ``of_rows`` are run; ``dead`` is a share of rows and columns.
    """
    config: str
    name: str
    of_rows: int
    rows: int
    columns: int
    zeros: float
    skip: bool
    quantise: bool
    dead: float
    seed: int


def model_cases():
    """The distinct shapes of all named models, each with the three shares of zeros that profiles assume."""
    seen = set()
    for model in named_models().values():
        for kind, (rows, columns) in model.matrices.items():
            if (rows, columns) in seen:
                continue
            seen.add((rows, columns))
            shares = ASSUMED_ZEROS[model.activation].get(kind, ASSUMED_ZEROS_ELSEWHERE)
            block = PRESETS[LARGE].rows
            run = min(rows, WHOLE_BLOCKS * block + (rows % block or block))
            for zeros in shares:
                yield Case(LARGE, f"{model.name} {kind}", rows, run, columns, zeros, True, True, 0, len(seen))


def random_cases(count=120):
    """Any shape, pattern and flags, resident and streamed."""
    rng = np.random.default_rng(SEED)
    for index in range(count):
        config = PRESETS[STREAMED if index % 3 else SMALL]
        columns = int(rng.integers(1, 1000)) if index % 2 else int(rng.choice([1, 2, 15, 16, 17, 79, 80, 81, 512, 640]))
        rows = int(rng.integers(1, 1200)) if index % 4 else int(rng.choice([1, 19, 20, 21, 2040, 2041]))
        yield Case(config.name, f"random {index}", rows, rows, columns,
                   float(rng.choice([0, .02, .3, .5, .8, .99, 1])), bool(rng.random() < .8), bool(rng.random() < .7),
                   float(rng.choice([0, 0, .1])), SEED + index)


def all_cases():
    """Those of one matrix together."""
    return [*model_cases(), *sorted(random_cases(), key=lambda case: case.config)]


def _matrix(case):
    rng = np.random.default_rng(case.seed)
    w = rng.integers(-1, 2, (case.rows, case.columns), np.int8)
    w[rng.random(case.rows) < case.dead] = 0
    w[:, rng.random(case.columns) < case.dead] = 0
    return w


def _vector(case):
    rng = np.random.default_rng([case.seed, int(1000 * case.zeros)])
    x = rng.integers(1, 128, case.columns) * (rng.random(case.columns) >= case.zeros)
    return x << 8 if case.quantise else x


def run_cases(cases, progress=lambda description, done, total: None):
    """Yields case, {cause: cycles predicted}, {cause: cycles of the RTL}, values that differ from the golden model."""
    done = 0
    for name, of_config in groupby(cases, key=lambda case: case.config):
        config = config_of(name)
        with contextlib.closing(SimulatedTransport(config)) as transport:
            device = Device(transport, config)
            for _, of_matrix in groupby(of_config, key=lambda case: (case.name, case.seed)):
                loaded = None
                for case in of_matrix:
                    if loaded is None:
                        w = _matrix(case)
                        (loaded,), resident = place([pack(w, config)], config)
                        if resident:
                            device.load([loaded])
                    y = _vector(case)
                    product = device.multiply(loaded, y, quantise=case.quantise, skip=case.skip)
                    x = absmax_quantise(y)[0] if case.quantise else y
                    predicted = layer_cycles(loaded, config, x.astype(np.int8), skip=case.skip, int8=not case.quantise)
                    measured = {cause: product.counters[f"CYCLES_{cause.upper()}"] for cause in CAUSES}
                    done += 1
                    progress(f"{case.config} {case.name}", done, len(cases))
                    yield case, predicted, measured, int((product.accumulators != w.astype(np.int32) @ x).sum())
