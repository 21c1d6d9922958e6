"""The command that looks for accelerators worth building."""

import contextlib
import functools
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from ..analysis.explore import (
    CELLS,
    clocks_of,
    explore,
    grid,
    local_executor,
    measured_areas,
    pareto,
    write_areas,
)
from ..analysis.memory import memory_of
from ..analysis.models import Dimensions, dimensions_of
from ..analysis.profile import model_of, profiler, speed_text
from ..hdl.boards import BOARDS
from ..hdl.build.bitstream import build as build_bitstream
from ..sim.model.energy import Range
from .console import Output, UserError, json_option, need, print_table, progress, user_errors, write_json, writing
from .options import BOARD
from .profile import accelerator_options


__all__ = ["explore_command"]


SECONDS = 10  # to reach a scheduler
TEXT = "In the beginning"  # whose activations are taken
CONFIG, WIDTH = "banks x rows, depth, stack", 12  # of a configuration, or of where its area is from


@contextlib.contextmanager
def executor_of(scheduler):
    """concurrent.futures.Executor of a Dask cluster, or of this machine's processors."""
    if scheduler is None:
        with local_executor() as executor:
            yield executor
        return
    need("distributed", "cluster")
    from dask.distributed import Client

    try:
        client = Client(scheduler, timeout=SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"--scheduler {scheduler}: there is no Dask scheduler: {error}") from error
    with client, client.get_executor(pure=False) as executor:
        yield executor


@click.command("explore")
@click.argument("model", default="demo")
@click.option("--board", type=BOARD, default="ulx3s", show_default=True,
              help="A name (setun boards), or a file my_board.py: whose device must hold it, and whose link it has.")
@accelerator_options
@click.option("--scheduler", help="Address of a Dask scheduler, tcp://HOST:8786, of the extra cluster; the processors "
                                  "of this machine unless given.")
@click.option("--measure", is_flag=True, help="First build the bitstreams whose area is interpolated between; hours.")
@json_option
@click.option("--html", "html_path", type=Output(), help="Write the points to this file, which needs no network.")
@user_errors
def explore_command(model, board, memory_kind, bandwidth, latency, hypothetical, scheduler, measure, json_path,
                    html_path):
    """Sweep banks, rows, depth and clock for MODEL to the Pareto front of tokens a second end to end, LUT, block RAM
    and energy.

    MODEL is as of setun profile; weights are resident unless --memory says where they are. On a device that is no ECP5
    only the board's own preset is looked at, as it was built.
    Points that were evaluated before are not evaluated again.
    """
    if html_path:
        need("plotly", "profile")
    memory = memory_of(memory_kind or "resident", board, bandwidth and bandwidth * 1e6)
    with progress() as bar:
        if measure:
            write_areas([build_bitstream(each, progress=bar) for each in BOARDS.values()])
        model = model_of(model)
        again = profiler(model, TEXT, bar)
    known = isinstance(model, Dimensions)
    dimensions = model if known else dimensions_of(model.checkpoint, model.name)
    options = {"board": board, "latency": latency, "hypothetical": hypothetical}
    again = functools.partial(again, **options)
    key = repr((dimensions, [x.tolist() for xs in again.args[-1].values() for x in xs] if not known else None,
                options))
    columns = max(columns for _, columns in dimensions.matrices.values())
    if memory.external and not hypothetical:
        again(board.config, clock=board.clock, memory=memory)  # says that there is no controller
    candidates = grid(board, columns, measured_areas())
    if not candidates:
        again(board.config, clock=board.clock, memory=memory)  # says what would do
        raise UserError(f"{board.name} holds no accelerator that takes a vector of {columns} elements of {model.name}: "
                        "choose a larger --board")
    tasks = [(config, area, clock) for config, area in candidates for clock in clocks_of(board, config, area)]
    with executor_of(scheduler) as executor, progress() as bar:
        points = explore(again, key, tasks, memory, executor, bar)
    if not points:
        again(board.config, clock=board.clock, memory=memory)
        raise UserError(f"{model.name} fits no accelerator on the {board.name}: choose a larger --board")
    found = again(board.config, clock=board.clock, memory=memory) if hypothetical else None
    front = pareto(points)
    write_json(json_path, {**({"hypothetical": found.hypothetical} if found else {}), "model": model.name,
                           "board": board.name, "memory": asdict(memory),
                           "points": [asdict(point) for point in points], "front": [asdict(point) for point in front]})
    title = f"{model.name} on {board.name}"
    if found:
        title = f"Hypothetical, {found.hypothetical}: {title}"
    if html_path:
        with writing(html_path):
            figure_of(points, front, title).write_html(html_path, include_plotlyjs=True)
    report_front(front, points, title)
    if board.device not in CELLS:
        Console().print(f"{board.device} is no ECP5, the only family whose area is known for other presets: this is "
                        "the board's own, as it was built.", highlight=False, soft_wrap=True)


def figure_of(points, front, title):
    """LUT against tokens a second; the front stands out."""
    import plotly.graph_objects as go

    def trace(chosen, name, **marker):
        return go.Scatter(x=[point.luts for point in chosen], y=[point.tokens_per_second for point in chosen],
                          mode="markers", name=name, marker=marker,
                          text=[f"{point.banks} x {point.rows}, {point.depth} words, {point.clock / 1e6:g} MHz, "
                                f"{point.tier}, the {point.binds} binds" for point in chosen])

    figure = go.Figure([trace(points, "all", color="#bbb"), trace(front, "front", color="#1b6ca8", size=10)])
    figure.update_layout(template="plotly_white", title=title, xaxis_title="LUT after synthesis, whole bitstream",
                         yaxis_title="tokens a second")
    return figure


def report_front(front, points, title):
    """The front as a table, fastest first."""
    table = Table(title=f"{title}: {len(front)} of {len(points)} points are on the front", pad_edge=False)
    for heading in (CONFIG, "MHz", "tokens a second", "binds", "LUT", "block RAM", "energy", "area"):
        left = heading in ("binds", "area")
        table.add_column(heading, justify="left" if left else "right",
                         min_width=WIDTH if heading in (CONFIG, "area") else None)
    for point in front:
        table.add_row(f"{point.banks}x{point.rows}-{point.depth}-{point.stack}", f"{point.clock / 1e6:g}",
                      speed_text(point.tokens_per_second), point.binds, f"{point.luts:,.0f}", str(point.block_rams),
                      Range(point.energy, point.energy, point.energy).text(), point.tier)
    print_table(table)
    Console().print("Tokens a second are end to end, without the host's own work; energy is the middle of the board's, "
                    "or of the memory ledger where its device's static power is not known.", highlight=False,
                    soft_wrap=True)
