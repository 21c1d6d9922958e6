"""A profile as one HTML file that needs no network: figures, and beside each the table with its numbers."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..compiler.packing import CapacityError
from ..golden.model import KINDS
from ..hdl.config import MAX_TILES, TRITS, Config
from ..sim.model.energy import Range
from .profile import speed_text
from .skipping import savings


__all__ = ["Section", "WHAT_IF", "report", "sections", "what_if"]


HEIGHT, ROW = 420, 56  # of a figure, and of one figure of a ledger
SYMBOLS = ("circle", "square", "diamond", "cross")
WHAT_IF = {"banks": (8, 16, 32), "rows": (10, 20, 40, 80), "clock, MHz": (50, 100, 125, 200),
           "bandwidth, MB/s": (100, 332, 1600, 6400)}


class Section(NamedTuple):
    """A figure, and the same as a table."""
    title: str
    note: str
    figure: go.Figure | None
    headings: list
    rows: list


def _by_kind(profile):
    return {kind: [layer for layer in profile.layers if layer.kind == kind] for kind in KINDS}


def _figure(*traces, x, y, **layout):
    figure = go.Figure(traces)
    figure.update_layout(template="plotly_white", height=HEIGHT, xaxis_title=x, yaxis_title=y, margin={"t": 20},
                         font={"size": 14}, colorway=["#1b6ca8", "#e07a1f", "#3a7d44", "#8a4f9e", "#b3313d"], **layout)
    return figure


def rates(profile):
    """What each part alone would allow."""
    found = {part.replace("_", " "): rate for part, rate in profile.rates().items() if rate is not None}
    figure = _figure(go.Bar(x=list(found), y=list(found.values())), x="", y="tokens a second")
    figure.update_yaxes(type="log")
    note = ("Of each part alone: array and vector unit, the link's bytes and latencies, the memory's bytes; and of all "
            "as they follow each other, without the host's own work.")
    return Section("What binds", note, figure, ["part", "tokens a second"],
                   [[part, speed_text(rate)] for part, rate in found.items()])


def roofline(profile, config):
    """Products a byte of weights against products a cycle, a dot for each kind of matrix."""
    streamed = profile.bytes_per_token()["weights"] > 0
    points = []
    for kind, layers in _by_kind(profile).items():
        listed = sum(layer.layers * layer.listed for layer in layers)
        cycles = sum(layer.layers * layer.total for layer in layers)
        issue = sum(layer.layers * layer.cycles["issue"] for layer in layers)
        moved = (sum(layer.layers * layer.bytes["weights"] for layer in layers) if streamed
                 else issue * config.products / TRITS)
        points.append((kind, listed / moved, listed / cycles))
    rate = profile.memory.bytes_a_cycle(profile.clock) if streamed else config.products / TRITS
    ridge = config.products / rate
    ends = [min(min(point[1] for point in points), ridge) / 4, ridge,
            max(max(point[1] for point in points), ridge) * 4]
    ceiling = [min(config.products, end * rate) for end in ends]
    figure = _figure(
        go.Scatter(x=ends, y=ceiling, mode="lines", name="ceiling", line={"color": "#555"}),
        *(go.Scatter(x=[x], y=[y], mode="markers", name=kind, marker={"size": 14, "symbol": symbol})
          for symbol, (kind, x, y) in zip(SYMBOLS, points)),
        x="products a byte of weights", y="products a cycle")
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    source = profile.memory.kind if streamed else "the array's own memories"
    return Section("Roofline", f"Bytes are those from {source}, {rate:.3g} a cycle; the array makes at most "
                   f"{config.products} products a cycle. Zeros that are skipped are no products.", figure,
                   ["matrix", "products a byte", "products a cycle"],
                   [[kind, f"{x:.3f}", f"{y:.3f}"] for kind, x, y in points])


def cycles(profile):
    """By cause, stacked for each matrix."""
    causes = list(profile.cycles_by_cause())
    names = [f"{layer.kind}" if layer.layer is None else f"{layer.layer} {layer.kind}" for layer in profile.layers]
    figure = _figure(*(go.Bar(x=names, y=[layer.layers * layer.cycles[cause] for layer in profile.layers], name=cause)
                       for cause in causes), x="matrix", y="cycles a token", barmode="stack")
    rows = [[name, str(layer.layers), f"{layer.rows} x {layer.columns}",
             *(f"{layer.layers * layer.cycles[cause]:,.1f}" for cause in causes), f"{layer.layers * layer.total:,.1f}"]
            for name, layer in zip(names, profile.layers)]
    rows.append(["all", "", "", *(f"{value:,.1f}" for value in profile.cycles_by_cause().values()),
                 f"{profile.cycles_per_token:,.1f}"])
    return Section("Cycles by cause", "issue: a beat enters the array; flush: results are on their way; vector: the "
                   "input is quantised and listed; load: the array waits for weights.", figure,
                   ["matrix", "layers", "shape", *causes, "all"], rows)


def energy(profile, name):
    """One ledger; dots are the middle, lines the range."""
    ledger = profile.energy[name]
    parts = {part: Range(**figures) for part, figures in ledger["parts"].items()}
    figure = _figure(go.Scatter(
        y=list(parts), x=[part.mid for part in parts.values()], mode="markers", marker={"size": 14},
        error_x={"type": "data", "symmetric": False, "array": [part.high - part.mid for part in parts.values()],
                 "arrayminus": [part.mid - part.low for part in parts.values()]}), x="J a token", y="")
    figure.update_xaxes(type="log")
    figure.update_yaxes(automargin=True, autorange="reversed")
    figure.update_layout(height=100 + ROW * len(parts))
    return Section(f"Energy of a token: {name} ledger", f"Tier: {ledger['tier']}, {ledger['of']}. Without "
                   f"{ledger['excludes']}. Not to be added to another ledger.", figure,
                   ["figure", "mid [low-high]"], [[part, figures.text()] for part, figures in parts.items()])


def zeros(profile):
    """Shares of zeros among the inputs, over tokens and layers."""
    shares = {kind: [share for layer in layers for share in layer.zeros]
              for kind, layers in _by_kind(profile).items()}
    figure = _figure(*(go.Histogram(x=values, name=kind, xbins={"start": 0, "end": 1.0001, "size": .025}, opacity=.8)
                       for kind, values in shares.items()), x="share of zeros", y="inputs", barmode="overlay")
    return Section("Zeros among the activations", f"{profile.stimulus.capitalize()}.", figure,
                   ["matrix", "inputs", "least", "mean", "most"],
                   [[kind, str(len(values)), f"{min(values):.3f}", f"{np.mean(values):.3f}", f"{max(values):.3f}"]
                    for kind, values in shares.items()])


def zero_accounts(profile, config):
    """What each kind of zero saves."""
    found = savings(profile, config)
    figure = _figure(go.Bar(x=[item.zero for item in found], y=[item.cycles for item in found],
                            marker={"color": ["#1b6ca8" if item.built else "#bbb" for item in found]}),
                     x="", y="cycles of the array saved, a token")
    return Section("What zeros save", "Grey is not built: what it could save at best. Single zero weights only gate "
                   "their operand; setun switching tells how much less it toggles. Energy is the arithmetic ledger's.",
                   figure, ["zeros", "built", "share", "cycles", "weight bytes not read", "products", "energy"],
                   [[item.zero, "yes" if item.built else "no", f"{item.share:.1%}", f"{item.cycles:,.1f}",
                     f"{item.bytes:,.0f}", f"{item.products:,.0f}", item.energy.text()] for item in found])


def what_if(config, memory, again):
    """[(banks, rows, MHz, MB/s, cycles, tokens a second)] over the grid WHAT_IF, of what fits.

    ``again(config, clock, memory)`` profiles anew; only a memory beside the FPGA has a bandwidth to vary.
    """
    found = []
    bandwidths = WHAT_IF["bandwidth, MB/s"] if memory.external else (0,)
    for banks, rows in itertools.product(WHAT_IF["banks"], WHAT_IF["rows"]):
        if banks * rows // TRITS > MAX_TILES:
            continue
        variant = Config(name=f"{banks}x{rows}", banks=banks, tiles=rows // TRITS, depth=config.depth,
                         columns=config.columns, blocks=config.blocks)
        for clock, bandwidth in itertools.product(WHAT_IF["clock, MHz"], bandwidths):
            try:
                profile = again(variant, clock * 1e6, replace(memory, bandwidth=bandwidth * 1e6))
            except CapacityError:
                continue
            found.append((banks, rows, clock, bandwidth, round(profile.cycles_per_token), profile.tokens_per_second))
    return found


def sections(profile, config):
    """All figures with their tables."""
    return [rates(profile), cycles(profile), roofline(profile, config),
            *(energy(profile, name) for name in profile.energy), zeros(profile), zero_accounts(profile, config)]


def report(profile, config, grid):
    """HTML. ``grid`` is of ``what_if``."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined,
                                     loader=jinja2.FileSystemLoader(Path(__file__).parent))
    drawn = [(section, Markup(section.figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True})))
        for section in sections(profile, config)]
    low, _, high = profile.cycles_range
    joules = profile.joules_per_token
    return environment.get_template("report.html.j2").render(
        profile=profile, low=low, high=high, drawn=drawn,
        joules=joules and Range(*(joules[name] for name in Range._fields)).text(), plotly=Markup(get_plotlyjs()),
        choices=[(name, sorted({row[place] for row in grid})) for place, name in enumerate(WHAT_IF)], grid=grid,
        grid_json=Markup(json.dumps(grid)), config=config)
