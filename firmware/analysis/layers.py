"""Cycles, bytes and time of one matrix with its input."""

from dataclasses import dataclass

import numpy as np

from ..compiler.packing import extent
from ..driver.plan import product_exchanges
from ..hdl.config import TRITS, Config
from ..hdl.protocol import ACCUMULATOR_BYTES
from ..sim.model.cycles import flush_cycles, list_size, listing_cycles
from ..sim.model.link import LINE_BITS, product_time
from .memory import Memory


__all__ = ["CAUSES", "LayerProfile", "Target", "layer_cycles", "layer_profile"]


CAUSES = ("issue", "flush", "vector")


@dataclass(frozen=True)
class LayerProfile:
    """A matrix with its input, of ``layers`` layers alike; every count is that of one layer and one token, on average.

    Cycles by cause: ``issue`` and ``flush`` of the array, ``vector`` of the vector unit, ``load`` of an array that
    waits for weights from a memory. Bytes: ``weights`` from outside the array, ``activations`` in and ``results`` out.
    ``listed`` products are those of an activation that is not left out and a live row, of ``products`` of the whole
    matrix. ``issue_dense`` is ``issue`` with no zero skipped, ``issue_whole`` that of a matrix with its dead rows and
    columns, and ``live_products`` those without them. ``link`` counts bytes ``sent`` to the device and ``received``
    from it, and ``exchanges``; ``link_seconds`` is what they would take alone, and ``seconds`` the time of all.
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
    seconds: float
    link: dict | None = None  # None without a board
    link_seconds: float | None = None

    @property
    def total(self):
        """Cycles of all causes."""
        return sum(self.cycles.values())


def layer_cycles(placed, config, x, *, skip=True, int8=False):  # int8 [n] -> {cause: cycles}
    """Cycles of a matrix-vector product by cause, as the counters of hdl.protocol have them; waits are not in it."""
    return _cycles(placed, config, list_size(x[placed.packed.columns], config.banks, placed.packed.live, skip), int8)


def _cycles(placed, config, size, int8=False):  # ListSize -> {cause: cycles}
    packed, chunks = placed
    return {"issue": packed.blocks * size.beats, "flush": len(chunks) * flush_cycles(config),
            "vector": listing_cycles(config, packed.shape[1], int8)}


def _load_cycles(placed, config, memory, clock, runs):
    """Cycles for each chunk in which the array waits for its weights, the chunks taking ``runs`` cycles each.

    A chunk's weights come while the one before runs, if they lie in the other half of the memory.
    """
    if not (memory.external and any(chunk.load for chunk in placed.chunks)):
        return [0.0] * len(placed.chunks)
    loads = [chunk.blocks * placed.packed.words * config.banks * config.tiles / memory.bytes_a_cycle(clock)
             for chunk in placed.chunks]
    return loads[:1] + [load if before.base == chunk.base else max(0.0, load - run)
                        for before, chunk, load, run in zip(placed.chunks, placed.chunks[1:], loads[1:], runs)]


@dataclass(frozen=True)
class Target:
    """What a model is profiled on; ``baud`` is None without a board."""
    config: Config
    clock: float
    memory: Memory
    baud: float | None
    latency: float

    def product_times(self, placed, vector, runs):
        """sim.model.link.Time of a product on the board's line, and of the line alone."""
        exchanges = list(product_exchanges(placed, self.config, self.memory.kind == "link"))
        return [product_time(exchanges, byte=LINE_BITS * self.clock / self.baud, latency=self.latency * self.clock,
                             vector=vector, runs=runs, idle=idle) for idle in (False, True)]


def layer_profile(placed, target, vectors, *, layer, kind, layers, weight_zeros=None):
    """LayerProfile of a matrix on a Target, the mean over ``vectors``, int8 [n] each, that the device quantises.

    ``layer``, ``kind``, ``layers`` and ``weight_zeros`` are as of LayerProfile.
    """
    packed, chunks = placed
    config, (rows, columns) = target.config, packed.shape
    sizes = [list_size(x[packed.columns], config.banks, packed.live, True) for x in vectors]
    counted = [_cycles(placed, config, size) for size in sizes]
    dense = list_size(np.ones(columns, np.int8), config.banks, packed.live, False).beats
    runs = np.array([[chunk.blocks * size.beats + flush_cycles(config) for chunk in chunks] for size in sizes])
    loads = np.array([_load_cycles(placed, config, target.memory, target.clock, run) for run in runs])
    cycles = {cause: float(np.mean([each[cause] for each in counted])) for cause in CAUSES}
    cycles["load"] = float(loads.sum(1).mean())
    live_rows, whole = len(packed.rows), extent(packed.shape, config)
    streamed = any(chunk.load for chunk in chunks)
    timing = {"seconds": sum(cycles.values()) / target.clock}
    if target.baud:
        means = (runs + loads).mean(0).tolist()
        time, line = target.product_times(placed, cycles["vector"], means)
        timing = {"seconds": time.cycles / target.clock, "link_seconds": line.cycles / target.clock,
                  "link": {"sent": time.sent, "received": time.received, "exchanges": time.exchanges}}
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
        listed=float(np.mean([size.entries for size in sizes])) * live_rows,
        **timing)
