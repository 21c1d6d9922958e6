"""Products in which the cycle model must equal the RTL: shapes of real models' matrices, and random ones."""

from itertools import groupby
from typing import NamedTuple

import numpy as np

from ..accelerator import simulate
from ..golden.matvec import matvec
from ..hdl.config import PRESETS
from .models import named_models
from .profile import ASSUMED_ZEROS, ASSUMED_ZEROS_ELSEWHERE


__all__ = ["Case", "all_cases", "run_cases"]


SEED = 1958
LARGE, SMALL = "16x20", "8x20"
WHOLE_BLOCKS = 1  # of a large matrix, and the last one, which may be partial; in between cycles grow by the block


class Case(NamedTuple):
    """A matrix and a vector.

    ``config`` is as of setun.config_of; ``rows`` of ``of_rows`` are run.
    """
    config: str
    name: str
    of_rows: int
    rows: int
    columns: int
    zeros: float
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
                yield Case(LARGE, f"{model.name} {kind}", rows, run, columns, zeros, len(seen))


def random_cases(count=60):
    """Any shape and share of zeros."""
    rng = np.random.default_rng(SEED)
    for index in range(count):
        config = PRESETS[SMALL if index % 3 else LARGE]
        columns = int(rng.integers(1, 1000)) if index % 2 else int(rng.choice([1, 2, 7, 8, 9, 39, 40, 41, 512, 640]))
        rows = int(rng.integers(1, 600)) if index % 4 else int(rng.choice([1, 19, 20, 21, 1020, 1021]))
        yield Case(config.name, f"random {index}", rows, rows, columns,
                   float(rng.choice([0, .02, .3, .5, .8, .99, 1])), SEED + index)


def all_cases():
    """Those of one configuration together."""
    return sorted([*model_cases(), *random_cases()], key=lambda case: case.config)


def run_cases(cases, progress=lambda description, done, total: None):
    """Yields case, cycles predicted by Spent, cycles of the RTL, values that differ from NumPy's."""
    done = 0
    for name, of_config in groupby(cases, key=lambda case: case.config):
        with simulate(name) as accelerator:
            for case in of_config:
                rng = np.random.default_rng([case.seed, int(1000 * case.zeros)])
                w = rng.integers(-1, 2, (case.rows, case.columns), np.int8)
                x = (rng.integers(1, 128, case.columns) * (rng.random(case.columns) >= case.zeros)).astype(np.int8)
                product = accelerator.matvec(w, x, check=False)
                done += 1
                progress(f"{case.config} {case.name}", done, len(cases))
                yield case, product.causes, product.cycles, int((product.accumulators != matvec(w, x)).sum())
