"""The switching ledger: toggles of the netlist on whole tokens, and a model of them from the work that is counted."""

import contextlib
from typing import NamedTuple

import numpy as np

from ..compiler.schedule import compile_model
from ..driver.machine import Machine
from ..golden.fixed import to_fixed
from ..golden.model import Checkpoint, CheckpointLayer, Ternary
from ..golden.rotary import Rope
from ..golden.sampling import temperature_scalar
from ..hdl.config import TRITS, Config
from ..sim.model.energy import coefficient
from ..sim.model.processor import Processor
from ..sim.model.processor_cycles import turn_cycles
from ..sim.netlist.switching import UNITS, simulate_switching
from ..sim.rtl.transport import SimulatedTransport


__all__ = ["CONFIG", "EVENTS", "FACTOR", "Run", "energy_of", "fit", "predict", "real_runs", "residual",
           "training_runs"]


# Holds one layer of the demo.
CONFIG = Config(name="8x10", banks=8, tiles=2, depth=16384, columns=512, results=2048, elements=2048, scalars=128,
                instructions=256, context=256, vocabulary=256)
EVENTS = ("product", "lane_operation", "cycle")
FACTOR = 1.25  # within which the model from events must be of the netlist's toggles, on what it was not fitted to
SEED = 1958
TOKENS, FIRST = 3, 1  # of a training run; those before are not counted
MOST_CYCLES = 1 << 22


class Run(NamedTuple):
    """A token on the netlist."""
    name: str
    events: dict  # number of each of EVENTS
    toggles: dict  # by unit


def events_of(work, cycles):
    """{event: number} of a token, from its work (sim.model.processor_cycles.WORK) and its cycles. A product is of a
    weight's trit and an activation that is not 0."""
    return {"product": work["ternary products"] + TRITS * work["int8 products"],
            "lane_operation": work["lane operations"], "cycle": cycles}


@contextlib.contextmanager
def _machine(family):
    simulator = simulate_switching(CONFIG, family)
    with contextlib.closing(SimulatedTransport(CONFIG, start=lambda *_, **__: simulator)) as transport:
        yield simulator, transport, Machine(transport, CONFIG)


def _runs(simulator, transport, machine, name, checkpoint, prompt, count):
    """Runs of ``count`` tokens of a text that begins with ``prompt``, all but the first FIRST."""
    image = compile_model(to_fixed(checkpoint), CONFIG)
    processor, tokens = Processor(image), list(prompt)
    machine.load(image)
    machine.sample(image, temperature_scalar(0), 0)
    machine.give(tokens)
    for position in range(count):
        following, meter = turn_cycles(processor, tokens[position], position)
        before, start = simulator.toggles(), transport.cycles
        machine.go(position, 1)
        machine.wait(position + 1, MOST_CYCLES)
        after, cycles = simulator.toggles(), transport.cycles - start
        if position + 1 == len(tokens):
            tokens.append(following)
        if machine.tokens(position + 1, 1) != [tokens[position + 1]]:
            raise AssertionError(f"{name}: the netlist differs from the reference machine")
        if position >= FIRST:
            yield Run(f"{name}, position {position + 1}", events_of(meter.work, cycles),
                      dict(zip(UNITS, (end - begin for begin, end in zip(before, after)))))


def _random_checkpoint(rng, weight_zeros, hidden, inner, heads):
    """A Checkpoint of one layer with that share of zeros among its weights."""
    head_dim = hidden // heads

    def ternary(rows, columns):
        codes = rng.choice(np.array([-1, 1], np.int8), (rows, columns))
        codes[rng.random(codes.shape) < weight_zeros] = 0
        return Ternary(codes, 1 / 8)

    def norm(size):
        return np.ones(size, np.float32)

    layer = CheckpointLayer(
        q=ternary(hidden, hidden), k=ternary(head_dim, hidden), v=ternary(head_dim, hidden), o=ternary(hidden, hidden),
        gate=ternary(inner, hidden), up=ternary(inner, hidden), down=ternary(hidden, inner),
        attention_norm=norm(hidden), attention_sub_norm=norm(hidden), feed_forward_norm=norm(hidden),
        feed_forward_sub_norm=norm(inner))
    return Checkpoint(
        vocab=64, context=16, hidden=hidden, inner=inner, heads=heads, kv_heads=1, head_dim=head_dim, rope=Rope(1e4),
        eps=1e-5, activation="relu2", embedding=rng.normal(0, 1, (64, hidden)).astype(np.float32), layers=(layer,),
        norm=norm(hidden), head=None)


def training_runs(family):
    """Runs of random models of every share of zeros among the weights, and several sizes."""
    rng = np.random.default_rng(SEED)
    with _machine(family) as machine:
        for weight_zeros in (0, .33, .5, .75):
            for hidden, inner, heads in ((64, 64, 2), (128, 256, 2), (32, 320, 4)):
                name = f"{weight_zeros:.0%} zero weights, {hidden} hidden, {inner} inner, {heads} heads"
                yield from _runs(*machine, name, _random_checkpoint(rng, weight_zeros, hidden, inner, heads),
                                 rng.integers(0, 64, 1).tolist(), TOKENS)


def real_runs(family, checkpoint, prompt=b"In the beginning"):
    """Runs of the first layer of golden.model.Checkpoint, its embedding and its head, on the tokens of a prompt."""
    with _machine(family) as machine:
        yield from _runs(*machine, "first layer", checkpoint._replace(layers=checkpoint.layers[:1], formats=None),
                         prompt, len(prompt))


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
