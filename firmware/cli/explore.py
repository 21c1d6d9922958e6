"""The command that looks for accelerators worth building."""

import functools
import pathlib
from dataclasses import asdict

import click
import plotly.graph_objects as go
from rich.console import Console
from rich.table import Table

from ..analysis.explore import SECONDS, explore, grid, measured_areas, pareto, write_areas
from ..analysis.models import dimensions_of, load_dimensions, named_models
from ..analysis.profile import collect_activations, profile_checkpoint, profile_dimensions
from ..formats import checkpoint
from ..hdl.boards import BOARDS
from ..hdl.build.bitstream import build as build_bitstream
from ..sim.model.energy import Range
from .console import Output, UserError, json_option, print_table, progress, user_errors, write_json, writing
from .options import DEMO
from .profile import MEMORIES, memory_of


__all__ = ["explore_command"]


CELLS = {"LFE5U-25F": (24288, 56), "LFE5U-85F": (83640, 208), "LFE5UM5G-85F": (83640, 208)}  # and block RAM
CLOCKS = (50e6, 75e6, 100e6, 125e6)
MEASURED = ("icepi-zero", "ulx3s", "ulx3s-800", "ulx3s-2400")
PROMPT = b"In the beginning"
CONFIG, WIDTH = "banks x rows, depth, stack", 12  # of a configuration, or of where its area is from


def client_of(scheduler):
    """dask.distributed.Client of a cluster, or of two threads of this process."""
    from dask.distributed import Client, LocalCluster

    if scheduler is None:
        return Client(LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"))
    try:
        return Client(scheduler, timeout=SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"--scheduler {scheduler}: there is no Dask scheduler: {error}") from error


@click.command("explore")
@click.argument("model", default="demo")
@click.option("--board", "board_name", type=click.Choice([name for name, board in BOARDS.items()
                                                          if board.device in CELLS]),
              default="ulx3s", show_default=True, help="Whose device must hold it.")
@click.option("--memory", "memory_kind", type=click.Choice(list(MEMORIES)), default="resident", show_default=True,
              help="Where weights come from; all but resident and link are modelled.")
@click.option("--bandwidth", type=click.FloatRange(min=0, min_open=True), help="Of that memory, MB/s.")
@click.option("--efficiency", type=click.FloatRange(0, 1, min_open=True), help="Share of it that arrives.")
@click.option("--scheduler", help="Address of a Dask scheduler, tcp://HOST:8786; this machine unless given.")
@click.option("--measure", is_flag=True, help="First build the bitstreams whose area is interpolated between; hours.")
@json_option
@click.option("--html", "html_path", type=Output(), help="Write the points to this file, which needs no network.")
@user_errors
def explore_command(model, board_name, memory_kind, bandwidth, efficiency, scheduler, measure, json_path, html_path):
    """Sweep banks, rows, depth and clock for MODEL to the Pareto front of tokens a second, LUT, block RAM and
    energy.

    Presets that were built before are not built again, and points that were evaluated before not evaluated.
    """
    memory, board, named = memory_of(memory_kind, bandwidth, efficiency), BOARDS[board_name], named_models()
    if measure:
        with progress() as bar:
            write_areas([build_bitstream(BOARDS[name], progress=bar) for name in MEASURED])
    path = pathlib.Path(model)
    if model in named or path.suffix in (".yaml", ".yml", ".json"):
        dimensions = named.get(model) or load_dimensions(path)
        again, key = functools.partial(profile_dimensions, dimensions, device=board.device), repr(dimensions)
    elif model == "demo" or path.exists():
        loaded = checkpoint.load(DEMO if model == "demo" else path)
        dimensions = dimensions_of(loaded, path.name)
        activations = collect_activations(loaded, list(PROMPT))
        again = functools.partial(profile_checkpoint, loaded, path.name, activations, device=board.device)
        key = repr(sorted((str(name), [x.tolist() for x in vectors]) for name, vectors in activations.items()))
    else:
        raise UserError(f"{model}: no checkpoint, no .yaml or .json file, and no model of that name: see setun models")
    areas = measured_areas()
    columns = max(columns for _, columns in dimensions.matrices.values())
    candidates = grid(board, columns, *CELLS[board.device], areas)
    if not candidates:
        raise UserError(f"{board_name} holds no accelerator that takes a vector of {columns} elements of {model}: "
                        "choose a larger --board")
    with client_of(scheduler) as client, progress() as bar:
        points = explore(again, key, candidates, CLOCKS, memory, client, bar)
    if not points:
        raise UserError(f"the weights of {model} fit no accelerator on the {board_name}: give --memory sdram")
    front = pareto(points)
    write_json(json_path, {"model": model, "board": board_name, "memory": asdict(memory),
                           "points": [asdict(point) for point in points], "front": [asdict(point) for point in front]})
    if html_path:
        with writing(html_path):
            figure_of(points, front, f"{model} on {board.device}").write_html(html_path, include_plotlyjs=True)
    report_front(front, points, model, board)


def figure_of(points, front, title):
    """LUT against tokens a second; the front stands out."""
    def trace(chosen, name, **marker):
        return go.Scatter(x=[point.luts for point in chosen], y=[point.tokens_per_second for point in chosen],
                          mode="markers", name=name, marker=marker,
                          text=[f"{point.banks} x {point.rows}, {point.depth} words, {point.clock / 1e6:g} MHz, "
                                f"{point.tier}" for point in chosen])

    figure = go.Figure([trace(points, "all", color="#bbb"), trace(front, "front", color="#1b6ca8", size=10)])
    figure.update_layout(template="plotly_white", title=title, xaxis_title="LUT after synthesis, whole bitstream",
                         yaxis_title="tokens a second")
    return figure


def report_front(front, points, model, board):
    table = Table(title=f"{model} on {board.device}: {len(front)} of {len(points)} points are on the front",
                  pad_edge=False)
    for heading in (CONFIG, "MHz", "tokens a second", "LUT", "block RAM", "energy", "area"):
        table.add_column(heading, justify="left" if heading == "area" else "right",
                         min_width=WIDTH if heading in (CONFIG, "area") else None)
    for point in front:
        table.add_row(f"{point.banks}x{point.rows}-{point.depth}-{point.stack}", f"{point.clock / 1e6:g}",
                      f"{point.tokens_per_second:,.0f}" if point.tokens_per_second >= 1000 else
                      f"{point.tokens_per_second:.4g}", f"{point.luts:,.0f}", str(point.block_rams),
                      Range(point.energy, point.energy, point.energy).text(), point.tier)
    print_table(table)
    Console().print("Tokens a second are those of array and vector unit; energy is the middle of the memory ledger, "
                    "without switching and arithmetic.", highlight=False)
