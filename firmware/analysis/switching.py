"""The switching ledger: toggles of the netlist on real and made activations, and a model of them from counters."""

import contextlib
from typing import NamedTuple

import numpy as np

from ..compiler.packing import pack, place
from ..driver.device import Device
from ..golden.bit_linear import quantised_matvec
from ..golden.decoder import empty_cache, step
from ..golden.fixed import to_fixed
from ..golden.matvec import matvec
from ..golden.quantiser import absmax_quantise
from ..hdl.config import Config
from ..sim.model.energy import coefficient
from ..sim.netlist.switching import UNITS, simulate_switching
from ..sim.rtl.transport import SimulatedTransport


__all__ = ["CONFIG", "EVENTS", "FACTOR", "Run", "energy_of", "events_of", "fit", "predict", "real_runs", "residual",
           "training_runs"]


CONFIG = Config(name="4x10", banks=4, tiles=2, depth=2048, columns=512, blocks=64)
EVENTS = ("product", "accumulation", "vector_cycle", "link_byte", "cycle")
FACTOR = 1.25  # within which the model from counters must be of the netlist's toggles, on what it was not fitted to
SEED = 1958


class Run(NamedTuple):
    """A matrix-vector product on the netlist."""
    name: str
    products: int  # of an activation and a weight that are not zero
    events: dict  # number of each of EVENTS
    toggles: dict  # by unit


def events_of(counters, rows):
    """{event: number} from the counters of the machine that have the same names; ``rows`` of its array."""
    return {"product": counters["MACS"] * rows, "accumulation": counters["CYCLES_ISSUE"] * rows,
            "vector_cycle": counters["CYCLES_VECTOR"], "link_byte": counters["BYTES_IN"] + counters["BYTES_OUT"],
            "cycle": counters["CYCLES"]}


@contextlib.contextmanager
def _machine(family):
    simulator = simulate_switching(CONFIG, family)
    with contextlib.closing(SimulatedTransport(CONFIG, start=lambda *_, **__: simulator)) as transport:
        yield simulator, Device(transport, CONFIG)


def _run(simulator, device, name, w, x, *, quantise, skip=True):
    (placed,), resident = place([pack(w, CONFIG)], CONFIG)
    if resident:
        device.load([placed])
    device.counters()
    before = simulator.toggles()
    product = device.multiply(placed, x, quantise=quantise, skip=skip)
    after = simulator.toggles()
    q = absmax_quantise(x)[0] if quantise else np.asarray(x)
    if (product.accumulators != matvec(w, q.astype(np.int8))).any():
        raise AssertionError(f"{name}: the netlist differs from the golden model")
    return Run(name, int(((w != 0) & (q != 0)).sum()), events_of(product.counters, CONFIG.rows),
               dict(zip(UNITS, (end - start for start, end in zip(before, after)))))


def training_runs(family):
    """Runs of random matrices and vectors: every share of zeros, of weights and activations, and several sizes."""
    rng = np.random.default_rng(SEED)
    with _machine(family) as (simulator, device):
        for weight_zeros in (0, .33, .5, .75):
            for zeros in (0, .5, .9, 1):
                for rows, columns in ((160, 160), (320, 64), (40, 480)):
                    quantise = bool(rng.random() < .5)
                    w = rng.choice(np.array([-1, 1], np.int8), (rows, columns))
                    w[rng.random(w.shape) < weight_zeros] = 0
                    x = np.rint(rng.normal(0, 40, columns)).clip(-127, 127).astype(np.int64)
                    x[rng.random(columns) < zeros] = 0
                    yield _run(simulator, device, f"{weight_zeros:.0%} zero weights, {zeros:.0%} zero activations, "
                               f"{rows} x {columns}", w, x << 8 if quantise else x, quantise=quantise)


def real_runs(family, checkpoint, prompt=b"In"):
    """Runs of all matrices of the first layer of golden.model.Checkpoint, on its activations of the tokens."""
    model, inputs = to_fixed(checkpoint), []

    def linear(layer, kind, codes, y):
        if layer == 0:
            inputs.append((kind, codes, y))
        return quantised_matvec(layer, kind, codes, y)

    cache = empty_cache(model)
    for position, token in enumerate(prompt):
        _, _, cache = step(model, token, position, cache, linear=linear)
    with _machine(family) as (simulator, device):
        for kind, codes, y in inputs:
            yield _run(simulator, device, f"real {kind}", codes, np.asarray(y), quantise=True)


def fit(runs):
    """{event: toggles} by least squares of relative errors over the runs; none is negative."""
    runs, chosen = list(runs), list(EVENTS)
    targets = np.array([sum(run.toggles.values()) for run in runs], float)
    while True:
        table = np.array([[run.events[event] for event in chosen] for run in runs]) / targets[:, None]
        found, *_ = np.linalg.lstsq(table, np.ones(len(runs)), rcond=None)
        if (found >= 0).all():
            return {event: 0.0 for event in EVENTS} | dict(zip(chosen, found.tolist()))
        chosen.pop(int(np.argmin(found)))


def predict(toggles, events):
    """Toggles of {event: number} with what ``fit`` returns."""
    return sum(toggles[event] * events[event] for event in EVENTS)


def residual(toggles, runs):
    """The largest factor by which a prediction is off, one way or the other."""
    ratios = [predict(toggles, run.events) / sum(run.toggles.values()) for run in runs]
    return max(max(ratio, 1 / ratio) for ratio in ratios)


def energy_of(toggles, cycles, device):
    """Range in J of so many toggles and clock cycles of "ecp5" or "ice40up5k"."""
    return (coefficient("switching", device, "toggle")[0] * toggles
            + coefficient("switching", device, "cycle")[0] * cycles)
