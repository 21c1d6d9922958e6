"""What a processor does with a model: cycles, time and energy of a whole token, stage by stage."""

import dataclasses
import functools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..compiler.hollow import hollow_model
from ..compiler.schedule import compile_model, outline_model
from ..configuration import board_of, config_of
from ..errors import ArgumentError
from ..formats.model import load
from ..hdl.boards import BOARDS
from ..hdl.config import PRESETS, TRITS
from ..sim.model.assumed import assumed_token
from ..sim.model.energy import arithmetic_tables
from ..sim.model.processor import Processor
from ..sim.model.processor_cycles import cycles_by, turn_cycles
from .ledgers import TABLE, energy_ledgers, joules_of
from .memory import Memory, memory_of
from .models import Dimensions, dimensions_of, load_dimensions, named_models


__all__ = ["ASSUMED_ZEROS", "ASSUMED_ZEROS_ELSEWHERE", "CLOCK", "PROMPT", "Profile", "compare", "config_on",
           "model_of", "profile", "profiler", "speed_text"]


# Share of zeros among the int8 inputs, low, mid, high. Behind relu2: 0.67 of a Gaussian gate, 0.79 of the demo; a gate
# that is trained for it may leave more.
ASSUMED_ZEROS = {"relu2": {"down": (.5, .67, .85)}, "silu": {}}
ASSUMED_ZEROS_ELSEWHERE = (.01, .015, .02)
STAGES = ("qkv", "attention", "o", "gate_up", "down", "head")  # that list activations
CLOCK = 100e6  # Hz, of a processor on no board
CONFIG = "24x40"  # without a board
PROMPT = "In the beginning God created the heaven and the earth."
CONTEXT = 512  # positions of a model without weights, if it has as many
SAMPLES = 33  # of its positions; cycles are all but linear between them
SUPPOSED = {"vocabulary": "tokens", "context": "positions", "columns": "elements a list", "depth": "words of weights",
            "results": "words of results", "elements": "words of elements", "scalars": "scalars",
            "instructions": "instructions", "silu": "a table for SiLU"}


@dataclass(frozen=True)
class Profile:
    """Of a token of a model on a processor, the mean over positions 1 to ``context``."""
    model: str
    source: str
    activation: str  # relu2 or silu
    config: str
    products: int
    clock: float
    board: str | None
    memory: Memory
    fits: bool  # the weights, in the processor's memories
    hypothetical: str  # what is supposed that is not there; empty where all is
    stimulus: str
    tier: str  # of the cycles
    context: int
    positions: tuple  # from 1 on, that were looked at
    cycles: tuple  # of each of them, a Counter by sim.model.processor_cycles.Spent
    cycles_range: tuple  # low, mid, high of a token, from the range of the zeros
    work: dict  # of a token, {one of sim.model.processor_cycles.WORK: count}
    ideal_cycles: float
    parameters: int
    streamed_bytes: float  # of weights, for each token
    timeline: tuple  # of sim.model.processor_cycles.Event, of the last position; of two layers where all are alike
    energy: dict = field(default_factory=dict)
    joules_per_token: dict | None = None

    def mean(self, values):
        """Over the positions 1 to ``context``, of a value for each that was looked at."""
        return float(np.interp(np.arange(1, self.context + 1), self.positions, values).mean())

    @functools.cached_property
    def cycles_per_token(self):
        """Of the processor."""
        return self.mean([cycles.total() for cycles in self.cycles])

    def cycles_by(self, name):
        """{value of that field of Spent: cycles of a token}."""
        found = [cycles_by(name, cycles) for cycles in self.cycles]
        return {key: self.mean([cycles[key] for cycles in found]) for key in found[-1]}

    def table(self):
        """{(stage, cause): cycles of a token}."""
        found = [Counter() for _ in self.cycles]
        for counts, cycles in zip(found, self.cycles):
            for spent, count in cycles.items():
                counts[spent.stage, spent.cause] += count
        return {key: self.mean([counts[key] for counts in found]) for key in found[-1]}

    def rates(self):
        """{part: tokens a second that it alone would allow, None where there is none}, and of all "end_to_end".

        Weights that come from elsewhere are loaded beside all that is computed, at best.
        """
        machine = self.clock / self.cycles_per_token
        loads = self.memory.bandwidth / self.streamed_bytes if self.streamed_bytes else None
        return {"machine": machine, "weights": loads, "end_to_end": min(machine, loads) if loads else machine}

    @property
    def tokens_per_second(self):
        """End to end: the processor generates by itself, and the host only fetches tokens while it goes on."""
        return self.rates()["end_to_end"]

    @property
    def seconds_per_token(self):
        """End to end."""
        return 1 / self.tokens_per_second

    @property
    def binds(self):
        """The part that allows the fewest tokens a second."""
        rates = {part: rate for part, rate in self.rates().items() if part != "end_to_end" and rate is not None}
        return min(rates, key=rates.get)

    @property
    def verdict(self):
        """One line: which part binds, and what the other would allow."""
        rates = self.rates()
        if rates["weights"] is None:
            return f"All of it is the processor's {self.cycles_per_token:,.0f} cycles a token."
        return (f"The {self.binds} binds: the processor alone allows {speed_text(rates['machine'])}, weights from "
                f"{self.memory.kind} {speed_text(rates['weights'])} tokens a second.")

    @property
    def speed(self):
        """Tokens a second, as text."""
        return speed_text(self.tokens_per_second)

    @property
    def weights(self):
        """Where they are, in words."""
        if not self.streamed_bytes:
            return "resident"
        return f"from {self.memory.kind} for every token, {self.memory.bandwidth / 1e6:,.3g} MB/s"

    @property
    def utilisation(self):
        """Share of the array's products, over all cycles, that were of an activation that is not 0; an int8 weight is
        five trits."""
        made = self.work["ternary products"] + TRITS * self.work["int8 products"]
        return made / (self.cycles_per_token * self.products)

    def fields(self):
        """What setun profile --json writes; these names stay. With --board all it is a list of them.

        ``tokens_per_second`` end to end, and ``rates``: tokens a second that the ``machine`` and the ``weights`` from
        elsewhere alone would allow (null where there are none), and ``end_to_end``; ``binds`` names the part with the
        fewest. ``hypothetical`` says what is supposed that is not there. ``joules_per_token`` of the board: low, mid,
        high in J, tier and of; null where it is not known. ``cycles_per_token`` is the mean over positions 1 to
        ``context``, ``cycles_by_stage`` and ``cycles_by_cause`` its parts, ``cycles_by_position`` of those that were
        looked at; ``cycles_range`` low, mid and high where zeros are assumed. ``ideal_cycles``: all weights of the
        matrices and the head, and the products of attention, by products a cycle; ``over_ideal`` is their ratio.
        ``work`` counts what is done for a token, ``streamed_bytes`` weights from ``memory``; ``energy`` by ledger: low,
        mid, high in J, tier, of, excludes, and its parts; ``clock`` (Hz); ``utilisation``; ``stimulus``, ``tier``,
        ``fits``, ``products``, ``parameters``, ``config``, ``board``, ``model`` and ``source`` say what was profiled.
        """
        return {
            **({"hypothetical": self.hypothetical} if self.hypothetical else {}),
            **{name: getattr(self, name) for name in (
                "model", "source", "config", "board", "products", "clock", "fits", "stimulus", "tier", "context",
                "parameters", "tokens_per_second", "binds", "joules_per_token", "cycles_per_token", "ideal_cycles",
                "utilisation", "work", "streamed_bytes", "energy")},
            "over_ideal": self.cycles_per_token / self.ideal_cycles,
            "rates": self.rates(),
            "memory": dataclasses.asdict(self.memory),
            "cycles_range": dict(zip(("low", "mid", "high"), self.cycles_range)),
            "cycles_by_stage": self.cycles_by("stage"),
            "cycles_by_cause": self.cycles_by("cause"),
            "cycles_by_position": {position: cycles.total() for position, cycles in zip(self.positions, self.cycles)},
        }


def speed_text(rate):
    """Tokens a second."""
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"


def _ideal(dimensions, config, context):
    """Cycles in which the array would make all products of a token, each at once; the mean over the positions."""
    attention = 2 * dimensions.layers * dimensions.queries * (context + 1) / 2
    return (dimensions.weights + dimensions.vocab * dimensions.hidden + attention) / config.products


def _supposed(outline, config, board, streamed):
    """What of a processor is not there that a model needs, in words."""
    lacks = {name: needed for name, needed in outline.needs.items() if needed > getattr(config, name)}
    if streamed:
        lacks.pop("depth", None)
    where = f"config {config.name}" + (f" on {board.name}" if board else "")
    if not lacks:
        return []
    texts = [SUPPOSED[name] if name == "silu" else
             f"{needed:,} {SUPPOSED[name]}, not {getattr(config, name):,}" for name, needed in lacks.items()]
    return [f"{where} has {', '.join(texts)}"]


def _profile(dimensions, outline, config, counted, *, context, clock, memory, board, table, calibration, **about):
    """Profile of what was counted: positions, and for low, mid and high the (cycles, work, events) of each."""
    if not clock > 0:
        raise ArgumentError(f"clock is {clock} Hz: give more than 0")
    if table not in arithmetic_tables():
        raise ArgumentError(f"table is {table!r} and must be one of {', '.join(arithmetic_tables())}")
    if calibration and calibration.board != (board.name if board else None):
        raise ArgumentError(f"the calibration was made on {calibration.board}, and the profile is of "
                            f"{board.name if board else 'no board'}: give --board {calibration.board}, or leave it out")
    positions, levels = counted
    fits = outline.needs["depth"] <= config.depth
    streamed = 0.0 if fits or memory.kind == "resident" else dimensions.weights / TRITS
    supposed = [] if board else ["no board"]
    if board and config != board.config:
        supposed.append(f"config {config.name} on {board.name}, whose bitstream has {board.config.name}")
    supposed += _supposed(outline, config, board, streamed > 0)
    if streamed:
        what = "weights that cross the link" if memory.kind == "link" else f"a controller for the {memory.kind}"
        supposed.append(f"{what}, {memory.bandwidth / 1e6:,.3g} MB/s, loaded while all else goes on")
    result = Profile(
        model=dimensions.name, source=dimensions.source, activation=dimensions.activation, config=config.name,
        products=config.products, clock=clock, board=board.name if board else None, memory=memory, fits=fits,
        hypothetical="; ".join(supposed), context=context, positions=tuple(positions), cycles_range=(0.0, 0.0, 0.0),
        cycles=tuple(cycles for cycles, *_ in levels[1]), work={}, streamed_bytes=streamed,
        timeline=tuple(levels[1][-1][2]),
        ideal_cycles=_ideal(dimensions, config, context),
        parameters=dimensions.weights + dimensions.vocab * dimensions.hidden, **about)
    works = [work for _, work, _ in levels[1]]
    totals = sorted(result.mean([cycles.total() for cycles, *_ in level]) for level in levels)
    result = dataclasses.replace(result, cycles_range=tuple(totals), work={
        name: result.mean([work[name] for work in works]) for name in works[-1]})
    energy = energy_ledgers(result, config, table=table, board=board, calibration=calibration)
    return dataclasses.replace(result, energy=energy, joules_per_token=joules_of(energy, board))


def _assumed(dimensions, config, context):
    """The Outline of a model without weights, and what was counted; its zeros are assumed."""
    outline = outline_model(hollow_model(dimensions, context), config)
    positions = sorted({int(round(each)) for each in np.linspace(1, context, min(context, SAMPLES))})
    assumed, levels = ASSUMED_ZEROS[dimensions.activation], []
    for level in range(3):
        zeros = {stage: assumed.get(stage, ASSUMED_ZEROS_ELSEWHERE)[level] for stage in STAGES}
        levels.append([assumed_token(outline, zeros, position - 1) for position in positions])
    return outline, (positions, levels)


def _profile_dimensions(dimensions, config, *, context=None, **options):
    context = context or min(dimensions.context, CONTEXT)
    outline, counted = _assumed(dimensions, config, context)
    return _profile(dimensions, outline, config, counted, context=context,
                    stimulus="assumed zeros, drawn with a fixed seed", tier="modelled: these zeros, and scalars, are "
                    "assumed", **options)


def _counted_text(image, prompt, context, progress):
    """(cycles, work, events) of each position of a greedy text that begins with the tokens ``prompt``."""
    processor, tokens, found = Processor(image), list(prompt), []
    for position in range(context):
        following, meter = turn_cycles(processor, tokens[position], position)
        found.append((meter.cycles, meter.work, meter.events))
        if position + 1 == len(tokens):
            tokens.append(following)
        progress("reference machine", position + 1, context)
    return found


def _profile_model(model, prompt, progress, config, *, context=None, **options):
    """Of a setun.Model, exact where a processor with room for it can be had."""
    dimensions = dimensions_of(model.checkpoint, model.name)
    context = context or dimensions.context
    if context > dimensions.context:
        raise ArgumentError(f"context is {context} and {model.name} has {dimensions.context} positions: give fewer")
    outline = outline_model(model.integer, config)
    try:
        room = dataclasses.replace(config, **{
            name: max(needed, getattr(config, name)) for name, needed in outline.needs.items()})
    except ArgumentError:  # there is no such processor
        return _profile_dimensions(dimensions, config, context=context, **options)
    found = _counted_text(compile_model(model.integer, room), prompt, context, progress)
    return _profile(dimensions, outline, config, (range(1, context + 1), [found] * 3), context=context,
                    stimulus=f"{context} positions of a text that the model continues",
                    tier="exact: equal to the RTL cycle for cycle", **options)


def model_of(what):
    """A Dimensions or a Model, or one by its text: the name of a model (``named_models``), a .yaml or .json file of
    dimensions, a Hugging Face config.json, or what setun.load reads."""
    if not isinstance(what, (str, Path)):
        return what
    if what in named_models():
        return named_models()[what]
    if Path(what).suffix in (".yaml", ".yml", ".json"):
        return load_dimensions(Path(what))
    if what != "demo" and not Path(what).exists():
        raise ArgumentError(f"{what}: no checkpoint, no .yaml or .json file, and no model of that name: see setun "
                            "models")
    return load(what)


def profiler(model, prompt=PROMPT, progress=lambda description, done, total: None):
    """The function that profiles ``model``, a Dimensions or a Model: of a Config, and of the keywords of
    ``profile_on``. Of a Model the text begins with ``prompt``."""
    if isinstance(model, Dimensions):
        return functools.partial(_profile_dimensions, model)
    tokens = model.tokenizer.encode(prompt)[:model.checkpoint.context]
    if not tokens or max(tokens) >= model.checkpoint.vocab:
        raise ArgumentError(f"--prompt must have tokens below {model.checkpoint.vocab}, at least one: change it")
    return functools.partial(_profile_model, model, tokens, progress)


def profile(model, *, config=None, board=None, clock=None, memory=None, bandwidth=None, prompt=PROMPT, context=None,
            table=TABLE, calibration=None, progress=lambda description, done, total: None) -> Profile:
    """Profile of a token of a model, the mean over its positions.

    Parameters
    ----------
    model : Model | Dimensions | str
        A model with weights, of setun.load, or without; or what ``model_of`` takes: "demo", "2b4t", a path.
    config : Config | str | None
        As of setun.config_of; the board's unless given.
    board : Board | str | None
        As of setun.board_of: whose clock, link and power are taken.
    clock : float | None
        Hz; the board's unless given, or 100 MHz.
    memory : str | None
        Where weights come from that the processor has no room for: "resident" (a larger one is supposed), "link", or
        one of BANDWIDTHS.
    bandwidth : float | None
        Bytes a second of that memory.
    prompt : str
        The beginning of the text, of a model with weights.
    context : int | None
        Positions over which the mean is taken; the model's, of one without weights 512 at most.
    table, calibration
        As of ``energy_ledgers``. A calibration of another board raises ArgumentError.

    What is not there is supposed, and said in ``Profile.hypothetical``. Raises ArgumentError for what does not go
    together, CheckpointError for a file.
    """
    model, board = model_of(model), board and board_of(board)
    again = profiler(model, prompt, progress)
    return again(config_on(config, board), board=board, memory=memory_of(memory or "resident", board, bandwidth),
                 clock=clock or (board.clock if board else CLOCK), context=context, table=table,
                 calibration=calibration)


def config_on(config, board):
    """The Config that is given, or else the board's, or else one."""
    return config_of(config) if config else board.config if board else PRESETS[CONFIG]


def compare(again, memory=None, bandwidth=None, **options):
    """{board: Profile, or the error that says why there is none} of all boards, as they are.

    ``again`` is as of ``profiler``, ``memory`` and ``bandwidth`` as of ``profile``.
    """
    found = {}
    for name, board in BOARDS.items():
        try:
            found[name] = again(board.config, board=board, memory=memory_of(memory or "resident", board, bandwidth),
                                clock=board.clock, **options)
        except ArgumentError as error:
            found[name] = error
    return found
