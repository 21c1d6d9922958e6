"""A profile as one HTML file that needs no network: figures, and beside each the table with its numbers."""

import itertools
import json
from pathlib import Path
from typing import NamedTuple

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..errors import ArgumentError
from ..hdl.config import Config
from ..sim.model.energy import Range
from ..sim.model.processor_cycles import cycles_by
from .profile import speed_text


__all__ = ["Section", "WHAT_IF", "report", "sections", "what_if"]


HEIGHT, ROW = 420, 56  # of a figure, and of one figure of a ledger
WHAT_IF = {"banks": (8, 16, 24, 32), "tiles": (2, 4, 8), "clock, MHz": (25, 50, 75, 100)}
ROWS = 17  # of a table by positions


class Section(NamedTuple):
    """A figure, and the same as a table."""
    title: str
    note: str
    figure: go.Figure | None
    headings: list
    rows: list


def _figure(*traces, x, y, **layout):
    figure = go.Figure(traces)
    figure.update_layout(template="plotly_white", height=HEIGHT, xaxis_title=x, yaxis_title=y, margin={"t": 20},
                         font={"size": 14}, colorway=["#1b6ca8", "#e07a1f", "#3a7d44", "#8a4f9e", "#b3313d", "#888",
                                                      "#c9a227"], **layout)
    return figure


def rates(profile):
    """What each part alone would allow."""
    found = {part.replace("_", " "): rate for part, rate in profile.rates().items() if rate is not None}
    figure = _figure(go.Bar(x=list(found), y=list(found.values())), x="", y="tokens a second")
    figure.update_yaxes(type="log")
    return Section("What binds", "The processor's cycles alone; weights from elsewhere alone, where there are any; and "
                   "end to end: the processor generates by itself, and the host only fetches tokens.", figure,
                   ["part", "tokens a second"], [[part, speed_text(rate)] for part, rate in found.items()])


def positions(profile, name):
    """Cycles over the positions of a text, stacked by stage or by cause."""
    found = [cycles_by(name, cycles) for cycles in profile.cycles]
    keys = list(found[-1])
    figure = _figure(*(go.Scatter(x=list(profile.positions), y=[cycles[key] for cycles in found], name=key,
                                  mode="lines", stackgroup="all") for key in keys), x="position", y="cycles of a token")
    step = max(len(found) // (ROWS - 1), 1)
    chosen = sorted({*range(0, len(found), step), len(found) - 1})
    rows = [[str(profile.positions[place]), *(f"{found[place][key]:,}" for key in keys), f"{found[place].total():,}"]
            for place in chosen]
    return Section(f"Cycles by {name}, over the positions of a text", "Attention looks back on all positions before.",
                   figure, ["position", *keys, "all"], rows)


def cycles(profile):
    """Stages by causes, the mean over all positions."""
    table, causes, stages = profile.table(), list(profile.cycles_by("cause")), list(profile.cycles_by("stage"))
    figure = _figure(*(go.Bar(x=stages, y=[table.get((stage, cause), 0) for stage in stages], name=cause)
                       for cause in causes), x="stage", y="cycles a token", barmode="stack")
    rows = [[stage, *(f"{table.get((stage, cause), 0):,.1f}" for cause in causes),
             f"{sum(table.get((stage, cause), 0) for cause in causes):,.1f}"] for stage in stages]
    rows.append(["all", *(f"{profile.cycles_by('cause')[cause]:,.1f}" for cause in causes),
                 f"{profile.cycles_per_token:,.1f}"])
    return Section("Cycles by stage and cause", "array: an instruction waits for the array; lanes: words pass them; "
                   "latency: what is waited for behind the last word; scalars: the scalar unit; control: instructions "
                   "are read and started.", figure, ["stage", *causes, "all"], rows)


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


def what_if(config, again):
    """[(banks, tiles, MHz, cycles, tokens a second)] over the grid WHAT_IF, of what can be made.

    ``again(config, clock)`` profiles anew.
    """
    found = []
    for banks, tiles in itertools.product(WHAT_IF["banks"], WHAT_IF["tiles"]):
        try:
            variant = Config(banks=banks, tiles=tiles, depth=config.depth, columns=config.columns,
                               results=config.results, elements=config.elements, scalars=config.scalars,
                               instructions=config.instructions, silu=config.silu, vocabulary=config.vocabulary,
                               context=config.context)
        except ArgumentError:
            continue
        profile = again(variant, clock=1e6)
        found += [(banks, tiles, clock, round(profile.cycles_per_token), profile.tokens_per_second * clock)
                  for clock in WHAT_IF["clock, MHz"]]
    return found


def sections(profile):
    """All figures with their tables."""
    return [rates(profile), positions(profile, "stage"), positions(profile, "cause"), cycles(profile),
            *(energy(profile, name) for name in profile.energy)]


def report(profile, config, grid):
    """HTML. ``grid`` is of ``what_if``."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined,
                                     loader=jinja2.FileSystemLoader(Path(__file__).parent))
    drawn = [(section, Markup(section.figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True})))
        for section in sections(profile)]
    low, _, high = profile.cycles_range
    joules = profile.joules_per_token
    return environment.get_template("report.html.j2").render(
        profile=profile, low=low, high=high, drawn=drawn,
        joules=joules and Range(*(joules[name] for name in Range._fields)).text(), plotly=Markup(get_plotlyjs()),
        choices=[(name, sorted({row[place] for row in grid})) for place, name in enumerate(WHAT_IF)], grid=grid,
        grid_json=Markup(json.dumps(grid)), config=config)
