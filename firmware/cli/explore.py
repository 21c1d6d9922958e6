"""The command that looks for processors worth building."""

from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from ..analysis.explore import CELLS, area_of, explore, grid, measured_areas, pareto, write_areas
from ..analysis.ledgers import TABLE
from ..analysis.memory import Memory
from ..analysis.models import Dimensions, dimensions_of
from ..analysis.profile import CONTEXT, model_of, speed_text
from ..hdl.boards import BOARDS
from ..hdl.build.bitstream import build as build_bitstream
from ..sim.model.energy import Range
from .console import Output, UserError, json_option, need, print_table, progress, user_errors, write_json, writing
from .options import BOARD


__all__ = ["explore_command"]


CONFIG, WIDTH = "banks x rows, depth", 12  # of a configuration, or of where its area is from


@click.command("explore")
@click.argument("model", default="demo")
@click.option("--board", type=BOARD, default="ulx3s", show_default=True,
              help="A name (setun boards), or a file my_board.py: whose device must hold it.")
@click.option("--context", type=click.IntRange(min=1),
              help=f"Positions; the model's unless given, {CONTEXT} at most.")
@click.option("--measure", is_flag=True, help="First build the bitstreams whose area is interpolated between; hours.")
@json_option
@click.option("--html", "html_path", type=Output(), help="Write the points to this file, which needs no network.")
@user_errors
def explore_command(model, board, context, measure, json_path, html_path):
    """Sweep banks, rows, depth and clock for MODEL to the Pareto front of tokens a second end to end, LUT, block RAM
    and energy.

    MODEL is as of setun profile, and must fit whole; zeros among its activations are assumed. On a device that is no
    ECP5 only the board's own preset is looked at, as it was built.
    """
    if html_path:
        need("plotly", "profile")
    with progress() as bar:
        if measure:
            write_areas([build_bitstream(each, progress=bar) for each in BOARDS.values()])
        model = model_of(model)
    dimensions = model if isinstance(model, Dimensions) else dimensions_of(model.checkpoint, model.name)
    context = context or min(dimensions.context, CONTEXT)
    areas = measured_areas()
    if board.device not in CELLS and area_of(board.config, board.device, areas) is None:
        raise UserError(f"{board.device}: no area of its bitstreams is known: give --measure, or another --board")
    candidates = grid(dimensions, board, context, areas)
    if not candidates:
        raise UserError(f"{dimensions.name} with {context} positions fits no processor on the {board.name}: choose a "
                        "larger --board, or fewer positions (--context)")
    with progress() as bar:
        points = explore(dimensions, board, context, candidates, bar, memory=Memory(), table=TABLE, calibration=None)
    front = pareto(points)
    write_json(json_path, {"model": dimensions.name, "board": board.name, "context": context,
                           "points": [asdict(point) for point in points], "front": [asdict(point) for point in front]})
    title = f"{dimensions.name} on {board.name}, {context} positions"
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
                                f"{point.tier}" for point in chosen])

    figure = go.Figure([trace(points, "all", color="#bbb"), trace(front, "front", color="#1b6ca8", size=10)])
    figure.update_layout(template="plotly_white", title=title, xaxis_title="LUT after synthesis, whole bitstream",
                         yaxis_title="tokens a second")
    return figure


def report_front(front, points, title):
    """The front as a table, fastest first."""
    table = Table(title=f"{title}: {len(front)} of {len(points)} points are on the front", pad_edge=False)
    for heading in (CONFIG, "MHz", "tokens a second", "cycles", "LUT", "block RAM", "energy", "area"):
        table.add_column(heading, justify="left" if heading == "area" else "right",
                         min_width=WIDTH if heading in (CONFIG, "area") else None)
    for point in front:
        table.add_row(f"{point.banks}x{point.rows}-{point.depth}", f"{point.clock / 1e6:g}",
                      speed_text(point.tokens_per_second), f"{point.cycles:,.0f}", f"{point.luts:,.0f}",
                      str(point.block_rams), Range(point.energy, point.energy, point.energy).text(), point.tier)
    print_table(table)
    Console().print("Tokens a second are end to end, the mean over all positions; what is interpolated was not built. "
                    "Energy is the middle of the board's, or of the memory ledger where its device's static power is "
                    "not known.", highlight=False, soft_wrap=True)
