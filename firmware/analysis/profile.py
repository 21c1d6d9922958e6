"""What an accelerator would do with a model: cycles, bytes and energy of a token, layer by layer."""

import dataclasses
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from ..compiler.packing import extent, pack, place
from ..generate import KINDS
from ..golden.bit_linear import quantised_matvec
from ..golden.decoder import empty_cache, step
from ..golden.fixed import to_fixed
from ..golden.quantiser import absmax_quantise
from ..hdl.config import TRITS
from ..hdl.protocol import ACCUMULATOR_BYTES
from ..sim.model.cycles import flush_cycles, list_size, listing_cycles
from .ledgers import energy_ledgers
from .models import dimensions_of


__all__ = ["ASSUMED_ZEROS", "CAUSES", "LayerProfile", "Memory", "Profile", "collect_activations", "layer_cycles",
           "profile_checkpoint", "profile_dimensions"]


# Share of zeros among the int8 inputs, low, mid, high. Behind relu2: 0.67 of a Gaussian gate, 0.79 of the demo; a gate
# that is trained for it may leave more.
ASSUMED_ZEROS = {"relu2": {"down": (.5, .67, .85)}, "silu": {}}
ASSUMED_ZEROS_ELSEWHERE = (.01, .015, .02)
SEED = 1958
CAUSES = ("issue", "flush", "vector")


@dataclass(frozen=True)
class Memory:
    """Where weights come from that are not in the array's own memories.

    Parameters
    ----------
    kind : str
        "resident" (all are in the array's memories, whether they fit or not), "link", "sdram", "ddr3" or "lpddr4".
        The link is there; of the others a controller is assumed that writes words as fast as they come.
    bandwidth : float
        Bytes a second, before ``efficiency``.
    efficiency : float
        Share of it that bursts, or a link's frames, reach.
    """
    kind: str = "resident"
    bandwidth: float = 0.0
    efficiency: float = 1.0

    def bytes_a_cycle(self, clock):
        """Bytes of weights; from the link at most one, which is what the loader takes."""
        rate = self.bandwidth * self.efficiency / clock
        return min(1.0, rate) if self.kind == "link" else rate


@dataclass(frozen=True)
class LayerProfile:
    """A matrix with its input, of ``layers`` layers alike; every count is that of one layer and one token, on average.

    Cycles by cause: ``issue`` and ``flush`` of the array, ``vector`` of the vector unit, ``load`` of an array that
    waits for weights. Bytes: ``weights`` from outside the array, ``activations`` in and ``results`` out. ``listed``
    products are those of an activation that is not left out and a live row, of ``products`` of the whole matrix.
    ``issue_dense`` is ``issue`` with no zero skipped, ``issue_whole`` that of a matrix with its dead rows and columns,
    and ``live_products`` those without them.
    """
    layer: int | None
    kind: str
    layers: int
    rows: int
    columns: int
    dead_rows: int
    dead_columns: int
    zeros: list  # share among the inputs, for each token
    weight_zeros: float | None  # share, where the weights are known
    cycles: dict
    issue_dense: int
    issue_whole: int
    bytes: dict
    products: int
    live_products: int
    listed: float

    @property
    def total(self):
        """Cycles of all causes."""
        return sum(self.cycles.values())


@dataclass(frozen=True)
class Profile:
    """Of one token of a model on a configuration. Cycles are of array, vector unit and waiting for weights."""
    model: str
    source: str
    activation: str  # relu2 or silu
    config: str
    products: int
    clock: float
    memory: Memory
    fits: bool  # the weights, in the array's memories
    stimulus: str
    tier: str  # of the cycles
    tokens: int  # that the averages are over
    layers: list
    cycles_range: tuple  # low, mid, high, from the range of the zeros
    energy: dict = field(default_factory=dict)

    @property
    def cycles_per_token(self):
        """Cycles of the array and the vector unit for a token."""
        return sum(layer.layers * layer.total for layer in self.layers)

    @property
    def tokens_per_second(self):
        """At the clock, of array and vector unit."""
        return self.clock / self.cycles_per_token

    @property
    def speed(self):
        """Tokens a second, as text."""
        return f"{self.tokens_per_second:,.0f}" if self.tokens_per_second >= 1000 else f"{self.tokens_per_second:.4g}"

    def cycles_by_cause(self):
        """{cause: cycles of a token}."""
        return _summed((layer.cycles, layer.layers) for layer in self.layers)

    def bytes_per_token(self):
        """{stream: bytes}."""
        return _summed((layer.bytes, layer.layers) for layer in self.layers)

    @property
    def utilisation(self):
        """Share of the array's products, over all cycles, that were of a listed activation and a live row."""
        return sum(layer.layers * layer.listed for layer in self.layers) / (self.cycles_per_token * self.products)

    def fields(self):
        """What setun profile --json writes; these names stay.

        ``cycles_per_token`` and ``cycles_by_cause``, with ``cycles_range`` (low, mid, high) where zeros are assumed;
        ``bytes_per_token`` by stream: weights from outside the array, activations in, results out; ``energy`` by
        ledger: low, mid, high in J, tier, of, excludes, and its parts; ``tokens_per_second`` at ``clock`` (Hz);
        ``utilisation``; ``layers``: the fields of LayerProfile, and ``cycles_per_token`` of all layers alike;
        ``tokens`` that the averages are over, and ``stimulus``, ``tier``, ``memory``, ``fits``, ``products``,
        ``config``, ``model`` and ``source`` that say what was profiled.
        """
        return {
            **{name: getattr(self, name) for name in ("model", "source", "config", "products", "clock", "fits",
                                                      "stimulus", "tier", "tokens", "cycles_per_token",
                                                      "tokens_per_second", "utilisation")},
            "memory": dataclasses.asdict(self.memory),
            "cycles_range": dict(zip(("low", "mid", "high"), self.cycles_range)),
            "cycles_by_cause": self.cycles_by_cause(),
            "bytes_per_token": self.bytes_per_token(),
            "energy": self.energy,
            "layers": [{**dataclasses.asdict(layer), "cycles_per_token": layer.layers * layer.total}
                       for layer in self.layers],
        }


def _summed(parts):
    total = defaultdict(float)
    for counts, factor in parts:
        for name, count in counts.items():
            total[name] += factor * count
    return dict(total)


def layer_cycles(placed, config, x, *, skip=True, int8=False):  # int8 [n] -> {cause: cycles}
    """Cycles of a matrix-vector product by cause, as the counters of hdl.protocol have them; waits are not in it."""
    packed, chunks = placed
    beats = list_size(x[packed.columns], config.banks, packed.live, skip).beats
    return {"issue": packed.blocks * beats, "flush": len(chunks) * flush_cycles(config),
            "vector": listing_cycles(config, packed.shape[1], int8)}


def _load_cycles(placed, config, memory, clock, runs):
    """Cycles in which the array waits for weights, its chunks taking ``runs`` cycles each.

    A chunk's weights come while the one before runs, if they lie in the other half of the memory; the driver does so.
    """
    if not any(chunk.load for chunk in placed.chunks):
        return 0.0
    loads = [chunk.blocks * placed.packed.words * config.banks * config.tiles / memory.bytes_a_cycle(clock)
             for chunk in placed.chunks]
    waits = loads[0]
    for before, chunk, load, run in zip(placed.chunks, placed.chunks[1:], loads[1:], runs):
        waits += load if before.base == chunk.base else max(0.0, load - run)
    return waits


def _layer_profile(placed, config, memory, clock, vectors, *, layer, kind, layers, weight_zeros=None):
    packed, chunks = placed
    rows, columns = packed.shape
    sizes = [list_size(x[packed.columns], config.banks, packed.live, True) for x in vectors]
    counted = [layer_cycles(placed, config, x) for x in vectors]
    dense = list_size(np.ones(columns, np.int8), config.banks, packed.live, False).beats
    loads = [_load_cycles(placed, config, memory, clock, [chunk.blocks * size.beats + flush_cycles(config)
                                                          for chunk in chunks]) for size in sizes]
    cycles = {cause: float(np.mean([each[cause] for each in counted])) for cause in CAUSES}
    cycles["load"] = float(np.mean(loads))
    live_rows, whole = len(packed.rows), extent(packed.shape, config)
    streamed = any(chunk.load for chunk in chunks)
    return LayerProfile(
        layer=layer, kind=kind, layers=layers, rows=rows, columns=columns, dead_rows=rows - live_rows,
        dead_columns=columns - packed.live,
        zeros=[float(np.mean(x == 0)) for x in vectors],
        weight_zeros=weight_zeros,
        cycles=cycles,
        issue_dense=packed.blocks * dense,
        issue_whole=whole.blocks * max(whole.words, TRITS),
        bytes={"weights": packed.blocks * packed.words * config.banks * config.tiles if streamed else 0,
               "activations": 4 * columns, "results": packed.blocks * config.rows * ACCUMULATOR_BYTES},
        products=rows * columns,
        live_products=live_rows * packed.live,
        listed=float(np.mean([size.entries for size in sizes])) * live_rows)


def _place(matrices, config, memory):
    """Placed matrices, and whether they fit the array's memories."""
    fits = place(matrices, config)[1]
    return place(matrices, config, resident=memory.kind == "resident" or fits)[0], fits


def profile_dimensions(dimensions, config, *, clock, memory=Memory(), table="7nm", device=None, context=512,
                       calibration=None):
    """Profile of a model without weights; the zeros among its activations are assumed, drawn with a fixed seed.

    Parameters
    ----------
    dimensions : firmware.analysis.models.Dimensions
    config : hdl.config.Config
    clock : float
        Hz.
    memory : Memory
    table, device, context, calibration
        As of ``energy_ledgers``.

    Raises CapacityError where a matrix cannot go through.
    """
    matrices = dimensions.matrices
    extents = [extent(shape, config) for shape in matrices.values()]
    placed, fits = _place([item for item in extents for _ in range(dimensions.layers)], config, memory)
    placed = placed[::dimensions.layers]
    assumed = ASSUMED_ZEROS[dimensions.activation]
    profiles = []
    for level in range(3):  # the middle one is reported, the others are its range
        rng, layers = np.random.default_rng(SEED), []
        for (kind, (_, columns)), item in zip(matrices.items(), placed, strict=True):
            zeros = assumed.get(kind, ASSUMED_ZEROS_ELSEWHERE)[level]
            x = np.where(rng.random(columns) < zeros, 0, 1).astype(np.int8)
            layers.append(_layer_profile(item, config, memory, clock, [x], layer=None, kind=kind,
                                         layers=dimensions.layers))
        profiles.append(layers)
    totals = sorted(sum(layer.layers * layer.total for layer in layers) for layers in profiles)
    result = Profile(
        model=dimensions.name, source=dimensions.source, activation=dimensions.activation, config=config.name,
        products=config.products, clock=clock, memory=memory, fits=fits,
        stimulus="assumed zeros, drawn with a fixed seed", tier=_tier(memory, assumed=True), tokens=1,
        layers=profiles[1], cycles_range=tuple(totals))
    return dataclasses.replace(result, energy=energy_ledgers(result, dimensions, config, table=table, device=device,
                                                             context=context, calibration=calibration))


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


def profile_checkpoint(checkpoint, name, activations, config, *, clock, memory=Memory(), table="7nm", device=None,
                       context=512, calibration=None):
    """Profile of golden.model.Checkpoint on ``activations``, of collect_activations."""
    model, dimensions = to_fixed(checkpoint), dimensions_of(checkpoint, name)
    keys = [(index, kind) for index in range(len(model.layers)) for kind in KINDS]
    placed, fits = _place([pack(getattr(model.layers[index], kind).codes, config) for index, kind in keys], config,
                          memory)
    layers = [_layer_profile(item, config, memory, clock, activations[layer, kind], layer=layer, kind=kind, layers=1,
                             weight_zeros=float(np.mean(getattr(model.layers[layer], kind).codes == 0)))
              for (layer, kind), item in zip(keys, placed, strict=True)]
    cycles, tokens = sum(layer.total for layer in layers), len(activations[keys[0]])
    result = Profile(
        model=name, source="", activation=dimensions.activation, config=config.name, products=config.products,
        clock=clock, memory=memory, fits=fits, stimulus=f"activations of {tokens} tokens",
        tier=_tier(memory, assumed=False), tokens=tokens, layers=layers, cycles_range=(cycles,) * 3)
    return dataclasses.replace(result, energy=energy_ledgers(result, dimensions, config, table=table, device=device,
                                                             context=context, calibration=calibration))


def _tier(memory, assumed):
    exact = "exact for these zeros, which are assumed" if assumed else "exact: equal to the RTL cycle for cycle"
    return exact if memory.kind == "resident" else f"{exact}; the wait for {memory.kind} is modelled"
