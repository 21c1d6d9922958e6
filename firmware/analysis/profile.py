"""What an accelerator would do with a model: cycles, bytes, time and energy of a token, layer by layer."""

import contextlib
import dataclasses
import functools
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..compiler.packing import CapacityError, extent, pack, place
from ..configuration import board_of, config_of
from ..errors import ArgumentError
from ..formats.model import load
from ..golden.bit_linear import quantised_matvec
from ..golden.decoder import empty_cache, step
from ..golden.fixed import to_fixed
from ..golden.model import KINDS
from ..golden.quantiser import absmax_quantise
from ..hdl.boards import BOARDS
from ..hdl.config import PRESETS
from ..hdl.link.uart import OVERSAMPLING
from ..sim.model.energy import arithmetic_tables
from ..sim.model.link import LINE_BITS
from .layers import CAUSES, Target, layer_profile
from .ledgers import TABLE, energy_ledgers, joules_of
from .memory import Memory, memory_of, suited
from .models import Dimensions, dimensions_of, load_dimensions, named_models


__all__ = ["ASSUMED_ZEROS", "ASSUMED_ZEROS_ELSEWHERE", "CLOCK", "LATENCY", "PROMPT", "Profile", "collect_activations",
           "compare", "config_on", "kinds_of", "model_of", "on_first", "profile", "profile_checkpoint",
           "profile_dimensions", "profiler", "speed_text"]


# Share of zeros among the int8 inputs, low, mid, high. Behind relu2: 0.67 of a Gaussian gate, 0.79 of the demo; a gate
# that is trained for it may leave more.
ASSUMED_ZEROS = {"relu2": {"down": (.5, .67, .85)}, "silu": {}}
ASSUMED_ZEROS_ELSEWHERE = (.01, .015, .02)
SEED = 1958
CLOCK = 100e6  # Hz, of an accelerator on no board
LATENCY = 1e-3  # seconds from the last byte of an exchange to the first of the next: of an FTDI in its low-latency mode
CONFIG, CONFIG_OF_DEMO = "16x20", "16x40"  # presets on no board, of a model without weights and of one with them
PROMPT = "In the beginning God created the heaven and the earth."


@dataclass(frozen=True)
class Profile:
    """Of one token of a model on a configuration. Cycles are of array, vector unit and waiting for weights."""
    model: str
    source: str
    activation: str  # relu2 or silu
    config: str
    products: int
    clock: float
    board: str | None
    baud: float | None  # of the board's line
    latency: float  # seconds, of an exchange
    memory: Memory
    fits: bool  # the weights, in the array's memories
    hypothetical: str  # what is supposed that is not there; empty where all is
    stimulus: str
    tier: str  # of the cycles
    tokens: int  # that the averages are over
    layers: list
    cycles_range: tuple  # low, mid, high, from the range of the zeros
    energy: dict = field(default_factory=dict)
    joules_per_token: dict | None = None

    @property
    def cycles_per_token(self):
        """Of array, vector unit and waits for weights from a memory."""
        return sum(layer.layers * layer.total for layer in self.layers)

    @property
    def seconds_per_token(self):
        """End to end, without the host's own work."""
        return sum(layer.layers * layer.seconds for layer in self.layers)

    @property
    def tokens_per_second(self):
        """End to end, without the host's own work; without a board, of array, vector unit and memory."""
        return 1 / self.seconds_per_token

    def rates(self):
        """{part: tokens a second that it alone would allow, None where there is none}, and of all "end_to_end"."""
        cycles, streamed = self.cycles_by_cause(), self.bytes_per_token()["weights"]
        return {
            "array": self.clock / sum(cycles[cause] for cause in CAUSES),
            "link": 1 / sum(layer.layers * layer.link_seconds for layer in self.layers) if self.board else None,
            "memory": self.memory.bandwidth / streamed if self.memory.external and streamed else None,
            "end_to_end": self.tokens_per_second,
        }

    @property
    def binds(self):
        """The part that allows the fewest tokens a second."""
        rates = {part: rate for part, rate in self.rates().items() if part != "end_to_end" and rate is not None}
        return min(rates, key=rates.get)

    @property
    def verdict(self):
        """One line: which part binds, and what the others would allow."""
        others = ", ".join(f"the {part} alone allows {speed_text(rate)}" for part, rate in self.rates().items()
                           if part != "end_to_end" and rate is not None)
        return f"The {self.binds} binds: {others} tokens a second."

    @property
    def speed(self):
        """Tokens a second, as text."""
        return speed_text(self.tokens_per_second)

    @property
    def weights(self):
        """Where they are, in words."""
        if self.fits or self.memory.kind == "resident":
            return "resident"
        return f"from {self.memory.kind} for every token, {self.memory.bandwidth / 1e6:,.3g} MB/s"

    def cycles_by_cause(self):
        """{cause: cycles of a token}."""
        return _summed((layer.cycles, layer.layers) for layer in self.layers)

    def bytes_per_token(self):
        """{stream: bytes}."""
        return _summed((layer.bytes, layer.layers) for layer in self.layers)

    def link_per_token(self):
        """{"sent": bytes, "received": bytes, "exchanges": count} of a token, None without a board."""
        return _summed((layer.link, layer.layers) for layer in self.layers) if self.board else None

    @property
    def utilisation(self):
        """Share of the array's products, over all cycles, that were of a listed activation and a live row."""
        return sum(layer.layers * layer.listed for layer in self.layers) / (self.cycles_per_token * self.products)

    def fields(self):
        """What setun profile --json writes; these names stay. With --board all it is a list of them.

        ``tokens_per_second`` end to end, without the host's own work, and ``rates``: tokens a second that ``array``,
        ``link`` and ``memory`` alone would allow (null where there is none), and ``end_to_end``; ``binds`` names the
        part with the fewest. ``link_per_token``: bytes sent and received and exchanges, at ``baud`` and with
        ``latency`` (s) for each exchange; null without a ``board``. ``hypothetical`` says what is supposed that is not
        there. ``joules_per_token`` of the board: low, mid, high in J, tier and of; null where it is not known.
        ``cycles_per_token`` and ``cycles_by_cause``, with ``cycles_range`` (low, mid, high) where zeros are assumed;
        ``bytes_per_token`` by stream: weights from outside the array, activations in, results out; ``energy`` by
        ledger: low, mid, high in J, tier, of, excludes, and its parts; ``clock`` (Hz); ``utilisation``; ``layers``: the
        fields of LayerProfile, and ``cycles_per_token`` of all layers alike; ``tokens`` that the averages are over, and
        ``stimulus``, ``tier``, ``memory``, ``fits``, ``products``, ``config``, ``model`` and ``source`` that say what
        was profiled.
        """
        return {
            **({"hypothetical": self.hypothetical} if self.hypothetical else {}),
            **{name: getattr(self, name) for name in (
                "model", "source", "config", "board", "baud", "latency", "products", "clock", "fits", "stimulus",
                "tier", "tokens", "tokens_per_second", "binds", "joules_per_token", "cycles_per_token", "utilisation")},
            "rates": self.rates(),
            "link_per_token": self.link_per_token(),
            "memory": dataclasses.asdict(self.memory),
            "cycles_range": dict(zip(("low", "mid", "high"), self.cycles_range)),
            "cycles_by_cause": self.cycles_by_cause(),
            "bytes_per_token": self.bytes_per_token(),
            "energy": self.energy,
            "layers": [{**dataclasses.asdict(layer), "cycles_per_token": layer.layers * layer.total}
                       for layer in self.layers],
        }


def speed_text(rate):
    """Tokens a second."""
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"


def _summed(parts):
    total = defaultdict(float)
    for counts, factor in parts:
        for name, count in counts.items():
            total[name] += factor * count
    return dict(total)


def _place(matrices, config, memory, fits):
    return place(matrices, config, resident=fits or memory.kind == "resident")[0]


def _profile(dimensions, make, items, config, levels, *, clock, memory, board, latency, hypothetical, table, context,
             calibration, tier, **about):
    """Profile of placed matrices; ``levels(placed, target)`` makes the lists of LayerProfile, low, mid, high."""
    if not clock > 0 or not latency >= 0:
        raise ArgumentError(f"clock is {clock} Hz and latency {latency} s: a clock is more than 0, a latency 0 or "
                            "more")
    if table not in arithmetic_tables():
        raise ArgumentError(f"table is {table!r} and must be one of {', '.join(arithmetic_tables())}")
    if calibration and calibration.board != (board.name if board else None):
        raise ArgumentError(f"the calibration was made on {calibration.board}, and the profile is of "
                            f"{board.name if board else 'no board'}: give --board {calibration.board}, or leave it out")
    config, matrices, fits, supposed = suited(dimensions, make, items, config, board, memory, hypothetical)
    baud = min(board.baud, clock / OVERSAMPLING) if board else None
    if memory.kind == "link":
        memory = Memory("link", baud / LINE_BITS)
    target = Target(config, clock, memory, baud, latency)
    low, mid, high = levels(_place(matrices, config, memory, fits), target)
    totals = sorted(sum(layer.layers * layer.total for layer in layers) for layers in (low, mid, high))
    tier += "" if fits or not memory.external else f"; the wait for {memory.kind} is modelled"
    result = Profile(
        model=dimensions.name, source=dimensions.source, activation=dimensions.activation, config=config.name,
        products=config.products, clock=clock, board=board.name if board else None, baud=baud, latency=latency,
        memory=memory, fits=fits, hypothetical="; ".join(supposed), tier=tier, layers=mid, cycles_range=tuple(totals),
        **about)
    energy = energy_ledgers(result, dimensions, config, table=table, board=board, context=context,
                            calibration=calibration)
    return dataclasses.replace(result, energy=energy, joules_per_token=joules_of(energy, board))


def profile_dimensions(dimensions, config, *, clock=CLOCK, memory=Memory(), board=None, latency=LATENCY,
                       hypothetical=False, table=TABLE, context=512, calibration=None):
    """Profile of a model without weights; the zeros among its activations are assumed, drawn with a fixed seed.

    Parameters
    ----------
    dimensions : setun.analysis.models.Dimensions
    config : hdl.config.Config
    clock : float
        Hz.
    memory : Memory
    board : hdl.boards.board.Board | None
        Whose link and device it is; without one the time is that of array, vector unit and memory alone.
    latency : float
        Seconds of each exchange over the link.
    hypothetical : bool
        Suppose what is not there, and say so, where else CapacityError or ArgumentError is raised: room for weights and
        vectors, a memory and its controller.
    table, context, calibration
        As of ``energy_ledgers``. A calibration of another board raises ArgumentError.
    """
    matrices, assumed = dimensions.matrices, ASSUMED_ZEROS[dimensions.activation]

    def levels(placed, target):
        for level in range(3):
            on = target if level == 1 else dataclasses.replace(target, baud=None)  # only the cycles of the others count
            rng, layers = np.random.default_rng(SEED), []
            for (kind, (_, columns)), item in zip(matrices.items(), placed[::dimensions.layers], strict=True):
                zeros = assumed.get(kind, ASSUMED_ZEROS_ELSEWHERE)[level]
                x = np.where(rng.random(columns) < zeros, 0, 1).astype(np.int8)
                layers.append(layer_profile(item, on, [x], layer=None, kind=kind, layers=dimensions.layers))
            yield layers

    return _profile(
        dimensions, extent, [shape for shape in matrices.values() for _ in range(dimensions.layers)], config, levels,
        clock=clock, memory=memory, board=board, latency=latency, hypothetical=hypothetical, table=table,
        context=context, calibration=calibration, tier="exact for these zeros, which are assumed",
        stimulus="assumed zeros, drawn with a fixed seed", tokens=1)


def collect_activations(checkpoint, prompt, progress=lambda description, done, total: None):
    """{(layer, kind): int8 [n] of each token} that the golden model quantises for the tokens ``prompt``."""
    model, seen = to_fixed(checkpoint), defaultdict(list)

    def linear(layer, kind, codes, y):
        seen[layer, kind].append(absmax_quantise(y)[0])
        return quantised_matvec(layer, kind, codes, y)

    cache = empty_cache(model)
    for position, token in enumerate(prompt):
        _, _, cache = step(model, token, position, cache, linear=linear)
        progress("golden model", position + 1, len(prompt))
    return dict(seen)


def profile_checkpoint(checkpoint, name, activations, config, *, clock=CLOCK, memory=Memory(), board=None,
                       latency=LATENCY, hypothetical=False, table=TABLE, context=512, calibration=None):
    """Profile of golden.model.Checkpoint on ``activations``, of collect_activations; the rest as of
    profile_dimensions."""
    model, dimensions = to_fixed(checkpoint), dimensions_of(checkpoint, name)
    keys = [(index, kind) for index in range(len(model.layers)) for kind in KINDS]
    codes = {(index, kind): getattr(model.layers[index], kind).codes for index, kind in keys}

    def levels(placed, target):
        layers = [layer_profile(item, target, activations[key], layer=key[0], kind=key[1], layers=1,
                                 weight_zeros=float(np.mean(codes[key] == 0)))
                  for key, item in zip(keys, placed, strict=True)]
        return layers, layers, layers

    tokens = len(activations[keys[0]])
    return _profile(
        dimensions, pack, [codes[key] for key in keys], config, levels, clock=clock, memory=memory, board=board,
        latency=latency, hypothetical=hypothetical, table=table, context=context, calibration=calibration,
        tier="exact: equal to the RTL cycle for cycle", stimulus=f"activations of {tokens} tokens", tokens=tokens)


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
    """The function that profiles ``model``, a Dimensions or a Model: of a Config, and of what follows it in
    profile_dimensions. Of a Model the activations for the text ``prompt`` are taken."""
    if isinstance(model, Dimensions):
        return functools.partial(profile_dimensions, model)
    tokens = model.tokenizer.encode(prompt)[:model.checkpoint.context]
    if not tokens or max(tokens) >= model.checkpoint.vocab:
        raise ArgumentError(f"--prompt must have tokens below {model.checkpoint.vocab}, at least one: change it")
    activations = collect_activations(model.checkpoint, tokens, progress)
    return functools.partial(profile_checkpoint, model.checkpoint, model.name, activations)


def profile(model, *, config=None, board=None, clock=None, memory=None, bandwidth=None, prompt=PROMPT,
            progress=lambda description, done, total: None, **options) -> Profile:
    """Profile of a token of a model.

    Parameters
    ----------
    model : Model | Dimensions | str
        A model with weights, of setun.load, or without; or what ``model_of`` takes: "demo", "2b4t", a path.
    config : Config | str | None
        As of setun.config_of; the board's unless given.
    board : Board | str | None
        As of setun.board_of. Without a board there is no link: the time is that of array and vector unit.
    clock : float | None
        Hz; the board's unless given.
    memory : str | None
        Where weights come from: "resident", "link", or one of BANDWIDTHS. None is what the driver does: they are
        resident where they fit, and else come over the board's link for every token.
    bandwidth : float | None
        Bytes a second of that memory.
    prompt : str
        Text whose activations are taken, of a model with weights.
    options
        ``latency``, ``hypothetical``, ``table``, ``context`` and ``calibration`` of profile_dimensions.

    Raises ArgumentError and CapacityError for what does not go together, CheckpointError for a file.
    """
    model, board = model_of(model), board and board_of(board)
    again = profiler(model, prompt, progress)
    return on_first(again, kinds_of(memory, board), config_on(model, config, board), board, bandwidth,
                    clock=clock or (board.clock if board else CLOCK), **options)


def kinds_of(memory, board):
    """Where weights may come from, in the order of trial: the memory that is given, or what the driver does."""
    return [memory] if memory else ["resident", "link"] if board else ["resident"]


def on_first(again, kinds, config, board, bandwidth=None, *, hypothetical=False, **options):
    """Profile with the weights where the first of ``kinds`` that takes them has them.

    Only where none does they are in the first, if ``hypothetical`` allows to suppose so. ``again`` is as of
    ``profiler``. Raises what it raises of the last that is tried.
    """
    tried = [(kind, False) for kind in kinds] + [(kind, True) for kind in kinds[:1] if hypothetical]
    *others, last = [functools.partial(again, config, board=board, memory=memory_of(kind, board, bandwidth),
                                       hypothetical=supposes, **options) for kind, supposes in tried]
    for profiled in others:
        with contextlib.suppress(CapacityError, ArgumentError):
            return profiled()
    return last()


def config_on(model, config, board):
    """The Config that is given, or else the board's, or else one for the model."""
    default = CONFIG if isinstance(model, Dimensions) else CONFIG_OF_DEMO
    return config_of(config) if config else board.config if board else PRESETS[default]


def compare(again, memory=None, bandwidth=None, **options):
    """{board: Profile, or the error that says why there is none} of all boards, as they are.

    ``again`` is as of ``profiler``, ``memory`` and ``bandwidth`` as of ``profile``.
    """
    found = {}
    for name, board in BOARDS.items():
        try:
            found[name] = on_first(again, kinds_of(memory, board), board.config, board, bandwidth, clock=board.clock,
                                   **options)
        except (CapacityError, ArgumentError) as error:
            found[name] = error
    return found
