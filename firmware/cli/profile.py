"""The commands that ask what an accelerator would do with a model."""

import csv
import functools
import inspect
import pathlib

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from ..analysis.calibration import load_board
from ..analysis.cases import all_cases, run_cases
from ..analysis.measure import measure_run
from ..analysis.models import load_dimensions, named_models
from ..analysis.paper import advantage, paper_rows
from ..analysis.profile import Memory, Profile, collect_activations, profile_checkpoint, profile_dimensions
from ..analysis.report import report, what_if
from ..analysis.trace import trace_events
from ..formats import checkpoint
from ..formats.tokenizer import tokenizer_of
from ..generate import KINDS
from ..hdl.boards import BOARDS
from ..hdl.config import PRESETS
from ..sim.model.energy import Range, arithmetic_tables
from .console import (
    Input,
    Output,
    UserError,
    json_option,
    print_table,
    progress,
    user_errors,
    write_json,
    writing,
)
from .options import DEMO


__all__ = ["cycles", "models", "paper", "profile"]


MEMORIES = {  # bytes a second, and the share of them that arrives: frames of a link, bursts of a memory
    "resident": (0.0, 1.0), "link": (300e3, .98), "sdram": (332e6, .8), "ddr3": (1600e6, .7), "lpddr4": (6400e6, .7)}


def memory_of(kind, bandwidth, efficiency):
    rate, share = MEMORIES[kind]
    if kind == "resident" and (bandwidth or efficiency):
        raise UserError("--bandwidth and --efficiency are of a memory: give --memory sdram, ddr3, lpddr4 or link")
    return Memory(kind, bandwidth * 1e6 if bandwidth else rate, efficiency or share)


def accelerator_options(command):
    """Decorator: preset or board, clock, memory."""
    for option in reversed((
            click.option("--config", "config_name", type=click.Choice(list(PRESETS)), help="See setun configs."),
            click.option("--board", "board_name", type=click.Choice(list(BOARDS)),
                         help="Take preset, clock and static power of this board; see setun boards."),
            click.option("--clock", type=click.FloatRange(min=0, min_open=True), help="MHz; 100, or the board's."),
            click.option("--memory", "memory_kind", type=click.Choice(list(MEMORIES)), default="resident",
                         show_default=True, help="Where weights come from; all but resident and link are modelled."),
            click.option("--bandwidth", type=click.FloatRange(min=0, min_open=True), help="Of that memory, MB/s."),
            click.option("--efficiency", type=click.FloatRange(0, 1, min_open=True), help="Share of it that arrives."),
    )):
        command = option(command)
    return command


def accelerator_of(config_name, board_name, clock, default):
    """Config, clock in Hz, and device."""
    board = BOARDS.get(board_name)
    config = PRESETS[config_name] if config_name else board.config if board else PRESETS[default]
    return config, clock * 1e6 if clock else board.clock if board else 100e6, board.device if board else None


@click.command(epilog=inspect.getdoc(Profile.fields).replace("``", ""))
@click.argument("model", default="demo")
@accelerator_options
@click.option("--prompt", default="In the beginning God created the heaven and the earth.", show_default=True,
              help="Whose activations are taken, of a model with weights.")
@click.option("--simulate", type=click.IntRange(min=0), default=0, show_default=True,
              help="Tokens to run on the RTL too, of a model with weights; exit 1 where its cycles differ.")
@click.option("--table", type=click.Choice(arithmetic_tables()), default="7nm", show_default=True,
              help="Of the energy of arithmetic.")
@click.option("--calibration", "calibration_path", type=Input(), help="What setun calibrate wrote of a board.")
@click.option("--context", type=click.IntRange(min=1), default=512, show_default=True,
              help="Tokens that attention looks back on.")
@json_option
@click.option("--csv", "csv_path", type=Output(), help="Write a line for each matrix to this file.")
@click.option("--html", "html_path", type=Output(), help="Write figures and tables to this file, which needs no network.")
@click.option("--trace", "trace_path", type=Output(), help="Write a token as a Chrome trace, for ui.perfetto.dev.")
@user_errors
def profile(model, config_name, board_name, clock, memory_kind, bandwidth, efficiency, prompt, simulate, table,
            calibration_path, context, json_path, csv_path, html_path, trace_path):
    """Cycles, bytes and energy of a token of MODEL, layer by layer.

    MODEL is demo, a checkpoint of a BitNet b1.58 (see setun run), whose activations are real, or without weights a name
    (setun models) or a .yaml or .json file of dimensions, whose zeros are assumed.
    """
    memory = memory_of(memory_kind, bandwidth, efficiency)
    named, path = named_models(), pathlib.Path(model)
    config, clock, device = accelerator_of(config_name, board_name, clock, "16x20" if model in named else "16x40")
    options = {"table": table, "device": device, "context": context,
               "calibration": load_board(calibration_path) if calibration_path else None}
    if model in named or path.suffix in (".yaml", ".yml", ".json"):
        if simulate:
            raise UserError(f"--simulate needs weights, and {model} has none: leave it out")
        again = functools.partial(profile_dimensions, named.get(model) or load_dimensions(path), **options)
        found = again(config, clock=clock, memory=memory)
    elif model == "demo" or path.exists():
        with checkpoint.open_checkpoint(DEMO if model == "demo" else path) as opened:
            tokenizer, loaded = tokenizer_of(opened), opened.checkpoint()
        tokens = tokenizer.encode(prompt)[:loaded.context]
        if not tokens or max(tokens) >= loaded.vocab:
            raise UserError(f"--prompt must have tokens below {loaded.vocab}, at least one: change it")
        with progress() as bar:
            activations = collect_activations(loaded, tokens, bar)
            again = functools.partial(profile_checkpoint, loaded, path.name, activations, **options)
            found = again(config, clock=clock, memory=memory)
            if simulate:
                _, run = measure_run(config, loaded, tokens[:1], simulate, progress=bar)
    else:
        raise UserError(f"{model}: no checkpoint, no .yaml or .json file, and no model of that name: see setun models")
    write_json(json_path, found.fields())
    if csv_path:
        write_csv(csv_path, found)
    if trace_path:
        write_json(trace_path, trace_events(found))
    if html_path:
        write_html(html_path, found, config, again)
    report_profile(found)
    if simulate:
        equal = run["cycles_per_token"] == run["cycles_predicted"]
        Console().print(f"{simulate} tokens on the RTL: {run['mismatches']} values differ, cycles "
                        + ("equal those predicted" if equal else "DIFFER from those predicted"), highlight=False)
        if not equal or run["mismatches"]:
            raise SystemExit(1)


def write_csv(path, found):
    """A line for each matrix."""
    rows = [{"layer": "all" if layer.layer is None else layer.layer, "kind": layer.kind, "layers": layer.layers,
             "rows": layer.rows, "columns": layer.columns, "dead_rows": layer.dead_rows,
             "dead_columns": layer.dead_columns, "zeros": np.mean(layer.zeros),
             **{f"cycles_{cause}": value for cause, value in layer.cycles.items()}, "issue_dense": layer.issue_dense,
             **{f"bytes_{stream}": value for stream, value in layer.bytes.items()}, "products": layer.products,
             "listed": layer.listed} for layer in found.layers]
    with writing(path), open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_html(path, found, config, again):
    """The report, with what other accelerators would do."""
    with progress() as bar:
        bar("what if", 0, None)
        grid = what_if(config, found.memory, lambda config, clock, memory: again(config, clock=clock, memory=memory))
    with writing(path):
        path.write_text(report(found, config, grid))


def report_profile(found):
    out = Console()
    table = Table(title=f"{found.model} on {found.config}, {found.products} products a cycle at {found.clock / 1e6:g} "
                        f"MHz, weights {found.memory.kind}" + ("" if found.fits or found.memory.kind != "resident"
                                                                else ", though they do not fit"))
    kinds = {kind: [layer for layer in found.layers if layer.kind == kind] for kind in KINDS}
    table.add_column("matrix")
    for kind, layers in kinds.items():
        table.add_column(f"{sum(layer.layers for layer in layers)} x {kind}", justify="right", no_wrap=True)
    table.add_column("all", justify="right", no_wrap=True)

    def add_row(name, of, **style):
        table.add_row(name, *(f"{sum(layer.layers * of(layer) for layer in layers):,.0f}"
                              for layers in (*kinds.values(), found.layers)), **style)

    table.add_row("rows", *(f"{layers[0].rows:,}" for layers in kinds.values()), "")
    table.add_row("columns", *(f"{layers[0].columns:,}" for layers in kinds.values()), "")
    table.add_row("zeros", *(f"{np.mean([np.mean(layer.zeros) for layer in layers]):.1%}" for layers in kinds.values()),
                  "", end_section=True)
    for cause in found.cycles_by_cause():
        add_row(cause, lambda layer: layer.cycles[cause])
    add_row("cycles", lambda layer: layer.total, end_section=True)
    add_row("dense", lambda layer: layer.total + layer.issue_dense - layer.cycles["issue"])
    print_table(table, out)
    low, _, high = found.cycles_range
    spread = "" if low == high else f" [{low:,.0f}-{high:,.0f}]"
    out.print(f"{found.cycles_per_token:,.0f}{spread} cycles a token, {found.speed} tokens a second, "
              f"utilisation {found.utilisation:.1%}: {found.tier}; {found.stimulus}.", highlight=False)
    out.print("Left out: attention, norms, residuals and the head, which are the host's, and vectors on the link.",
              highlight=False)
    ledgers = Table(title="Energy of a token; ledgers are not to be added")
    ledgers.add_column("ledger and its figures")
    ledgers.add_column("energy", justify="right", no_wrap=True)
    for name, ledger in found.energy.items():
        ledgers.add_row(f"{name}: {ledger['tier']}, {ledger['of']}", "", style="bold")
        for part, value in ledger["parts"].items():
            ledgers.add_row(f"  {part}", Range(**value).text())
        ledgers.add_section()
    print_table(ledgers, out)
    for name, ledger in found.energy.items():
        out.print(f"{name}: without {ledger['excludes']}.", highlight=False)


@click.command()
@click.option("--list", "listed", is_flag=True, help="Only list the cases.")
@json_option
@user_errors
def cycles(listed, json_path):
    """Compare the cycle model with the RTL, cause by cause, on the shapes of all named models and on random ones.

    Exit 1 where a count or a value differs.
    """
    cases, out = all_cases(), Console()
    if listed:
        for case in cases:
            click.echo(f"{case.config:10} {case.name:20} {case.rows:5} of {case.of_rows:5} x {case.columns:5}, zeros "
                       f"{case.zeros:.0%} {'skipped' if case.skip else 'kept'}, {'int32' if case.quantise else 'int8'}")
        return
    with progress() as bar:
        found = list(run_cases(cases, bar))
    write_json(json_path, [{**case._asdict(), "predicted": predicted, "measured": measured, "values": values}
                           for case, predicted, measured, values in found])
    wrong = [(case, predicted, measured, values) for case, predicted, measured, values in found
             if predicted != measured or values]
    for case, predicted, measured, values in wrong:
        out.print(f"{case}: predicted {predicted}, RTL {measured}, {values} values differ", highlight=False)
    counted = sum(sum(measured.values()) for _, _, measured, _ in found)
    out.print(f"{len(found)} cases, {counted:,} cycles on the RTL: {len(wrong)} differ from the model.",
              highlight=False)
    raise SystemExit(bool(wrong))


@click.command()
@user_errors
def models():
    """List the models that can be profiled without weights."""
    table = Table(title="Models")
    for heading in ("model", "ternary weights", "layers", "hidden", "inner", "heads", "kv heads", "dimensions from"):
        table.add_column(heading, justify="left" if heading in ("model", "dimensions from") else "right")
    for model in named_models().values():
        table.add_row(model.name, f"{model.weights / 1e9:.3f} G", str(model.layers), str(model.hidden),
                      str(model.inner), str(model.heads), str(model.kv_heads), model.source)
    print_table(table)


@click.command()
@json_option
@user_errors
def paper(json_path):
    """Compare the energy and memory figures of the BitNet papers with ours, and ask the same of this machine."""
    rows = list(paper_rows())
    table = Table(title="Arithmetic ledger at 7 nm and memory, as published and by our formula")
    for heading in ("figure", "published", "ours", "deviation", "source"):
        table.add_column(heading, justify="left" if heading in ("figure", "source") else "right")
    for row in rows:
        table.add_row(row.name + (f" ({row.why})" if row.why else ""), f"{row.published:g} {row.unit}",
                      f"{row.ours:.3g} {row.unit}", f"{row.deviation:+.1%}", row.source)
    out = Console()
    print_table(table, out)
    config, clock = PRESETS["16x20-deep"], 125e6
    machine = list(advantage(config, clock))
    table = Table(title=f"This machine, {config.name} at {clock / 1e6:g} MHz with SDRAM (modelled), against arrays of "
                        "the same width")
    for heading in ("model", "bytes a token", "tokens a second", "int8: bytes", "cycles", "energy", "fp16: bytes",
                    "cycles", "energy"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in machine:
        table.add_row(row["model"], f"{row['bytes']:,.0f}", f"{row['tokens_per_second']:.3g}",
                      *(f"{row[f'{name}_{what}']:.2f} x" for name in ("int8", "fp16")
                        for what in ("bytes", "cycles", "energy")))
    print_table(table, out)
    out.print("Energy here is the arithmetic ledger's (table), with attention over 512 tokens in fp16 in all three.",
              highlight=False)
    write_json(json_path, {"paper": [{**row._asdict(), "deviation": row.deviation} for row in rows],
                           "machine": machine})
