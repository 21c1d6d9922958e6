"""The commands that ask what an accelerator would do with a model."""

import csv
import functools
import inspect

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from ..analysis.calibration import load_board
from ..analysis.cases import all_cases, run_cases
from ..analysis.ledgers import TABLE
from ..analysis.memory import BANDWIDTHS
from ..analysis.models import named_models
from ..analysis.paper import SDRAM, advantage, paper_rows
from ..analysis.profile import (
    CLOCK,
    LATENCY,
    PROMPT,
    Profile,
    compare,
    config_on,
    kinds_of,
    model_of,
    on_first,
    profiler,
    speed_text,
)
from ..analysis.trace import trace_events
from ..configuration import board_of
from ..errors import Error
from ..golden.model import KINDS
from ..hdl.config import PRESETS
from ..sim.model.energy import Range, arithmetic_tables
from .console import (
    Input,
    Output,
    UserError,
    json_option,
    need,
    print_table,
    progress,
    user_errors,
    write_json,
    writing,
)
from .options import CONFIG, Named


__all__ = ["DIMENSIONS", "accelerator_options", "cycles", "models", "paper", "profile"]


ALL = "all"  # boards
BOARD_OR_ALL = Named("board", lambda text: text if text == ALL else board_of(text))
DIMENSIONS = """\b
A file of dimensions, .yaml or .json, has these fields (those of 2b4t):
    name: my-model
    hidden: 2560
    inner: 6912          # of the feed-forward network
    layers: 30
    heads: 20
    kv_heads: 5
    vocab: 128256
    context: 4096        # 2048 unless given
    head_dim: 128        # hidden / heads unless given
    activation: relu2    # or silu; relu2 unless given
    source: config.json  # where they are from; empty unless given
A Hugging Face config.json has hidden_size, intermediate_size, num_hidden_layers,
num_attention_heads, num_key_value_heads, vocab_size, max_position_embeddings,
head_dim and hidden_act; others are not looked at."""


def accelerator_options(command):
    """Decorator: memory, latency, and what may be supposed."""
    for option in reversed((
            click.option("--memory", "memory_kind", type=click.Choice(["resident", "link", *BANDWIDTHS]),
                         help="Where weights come from: the array's own memories, the board's link, or a memory beside "
                              "the FPGA. Unless given they are resident where they fit, and else cross the link."),
            click.option("--bandwidth", type=click.FloatRange(min=0, min_open=True),
                         help="MB/s that arrive from that memory; its chip's unless given."),
            click.option("--latency", type=click.FloatRange(min=0), default=LATENCY, show_default=True,
                         help="Seconds of each exchange over the link, both ways together; an FTDI's timer is 0.016 "
                              "where the driver cannot set it to 0.001."),
            click.option("--hypothetical", is_flag=True, help="Suppose what is not there, and say so in every output: "
                                                              "room for weights and vectors, a memory's controller."),
    )):
        command = option(command)
    return command


@click.command(epilog=DIMENSIONS + "\n\n" + inspect.getdoc(Profile.fields).replace("``", ""))
@click.argument("model", default="demo")
@click.option("--config", type=CONFIG, help="As of setun run; the board's unless given.")
@click.option("--board", type=BOARD_OR_ALL,
              help="A name (setun boards), or a file my_board.py: whose preset, clock, link and power are taken; all "
                   "compares the named ones.")
@click.option("--clock", type=click.FloatRange(min=0, min_open=True), help="MHz; 100, or the board's.")
@accelerator_options
@click.option("--prompt", default=PROMPT, show_default=True,
              help="Whose activations are taken, of a model with weights.")
@click.option("--table", type=click.Choice(arithmetic_tables()), default=TABLE, show_default=True,
              help="Of the energy of arithmetic.")
@click.option("--calibration", "calibration_path", type=Input(), help="What setun calibrate wrote of this board.")
@click.option("--context", type=click.IntRange(min=1), default=512, show_default=True,
              help="Tokens that attention looks back on.")
@json_option
@click.option("--csv", "csv_path", type=Output(), help="Write a line for each matrix to this file.")
@click.option("--html", "html_path", type=Output(),
              help="Write figures and tables to this file, which needs no network.")
@click.option("--trace", "trace_path", type=Output(), help="Write a token as a Chrome trace, for ui.perfetto.dev.")
@user_errors
def profile(model, config, board, clock, memory_kind, bandwidth, latency, hypothetical, prompt, table,
            calibration_path, context, json_path, csv_path, html_path, trace_path):
    """Tokens a second of MODEL end to end, with cycles, bytes and energy of a token, layer by layer.

    MODEL is demo, a checkpoint of a BitNet b1.58 (see setun run), whose activations are real, or without weights a name
    (setun models), a .yaml or .json file of dimensions (below) or a Hugging Face config.json, whose zeros are assumed.
    """
    if html_path:
        need("plotly", "profile")
    model = model_of(model)
    with progress() as bar:
        again = profiler(model, prompt, bar)
    options = {"latency": latency, "hypothetical": hypothetical, "table": table, "context": context}
    bandwidth = bandwidth and bandwidth * 1e6
    if board == ALL:
        alone = {"--config": config, "--clock": clock, "--calibration": calibration_path,
                 "--csv": csv_path, "--html": html_path, "--trace": trace_path}
        if given := [name for name, value in alone.items() if value]:
            raise UserError(f"--board all compares boards as they are: leave out {', '.join(given)}")
        return report_boards(compare(again, memory_kind, bandwidth, **options), model.name, json_path)
    config = config_on(model, config, board)
    options |= {"board": board, "calibration": load_board(calibration_path) if calibration_path else None}
    found = on_first(again, kinds_of(memory_kind, board), config, bandwidth=bandwidth,
                     clock=clock * 1e6 if clock else board.clock if board else CLOCK, **options)
    write_json(json_path, found.fields())
    if csv_path:
        write_csv(csv_path, found)
    if trace_path:
        write_json(trace_path, trace_events(found))
    if html_path:
        write_html(html_path, found, config, functools.partial(again, **options))
    report_profile(found)


def joules_text(found):
    """Joules a token of the board, with their range."""
    joules = found.joules_per_token
    return Range(*(joules[name] for name in Range._fields)).text() if joules else "not known"


def report_boards(compared, model, json_path):
    """All boards in one table, the fastest first, and as JSON."""
    write_json(json_path, [{"board": name, "refused": str(found)} if isinstance(found, Error) else found.fields()
                           for name, found in compared.items()])
    profiles = sorted((found for found in compared.values() if isinstance(found, Profile)),
                      key=lambda found: -found.tokens_per_second)
    out, table = Console(), Table(title=f"Tokens a second of {model} on all boards, without the host's own work")
    for heading in ("board", "config", "weights", "array", "link", "memory", "end to end", "energy a token", "binds"):
        table.add_column(heading, justify="left" if heading in ("board", "config", "weights", "binds") else "right",
                         overflow="fold")
    for found in profiles:
        rates = {part: "" if rate is None else speed_text(rate) for part, rate in found.rates().items()}
        table.add_row(found.board, found.config, found.weights, rates["array"], rates["link"], rates["memory"],
                      rates["end_to_end"], joules_text(found), found.binds)
    if profiles:
        print_table(table, out)
    for name, found in compared.items():
        if isinstance(found, Error):
            out.print(f"{name}: {found}", highlight=False, soft_wrap=True)
        elif found.hypothetical:
            out.print(f"{name} is hypothetical: {found.hypothetical}.", highlight=False, soft_wrap=True)


def write_csv(path, found):
    """A line for each matrix."""
    rows = [{**({"hypothetical": found.hypothetical} if found.hypothetical else {}),
             "layer": "all" if layer.layer is None else layer.layer, "kind": layer.kind, "layers": layer.layers,
             "rows": layer.rows, "columns": layer.columns, "dead_rows": layer.dead_rows,
             "dead_columns": layer.dead_columns, "zeros": np.mean(layer.zeros),
             **{f"cycles_{cause}": value for cause, value in layer.cycles.items()}, "issue_dense": layer.issue_dense,
             **{f"bytes_{stream}": value for stream, value in layer.bytes.items()}, "products": layer.products,
             "listed": layer.listed, "seconds": layer.seconds,
             **{f"link_{name}": value for name, value in (layer.link or {}).items()}} for layer in found.layers]
    with writing(path), open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_html(path, found, config, again):
    """The report, with what other accelerators would do."""
    from ..analysis.report import report, what_if

    with progress() as bar:
        bar("what if", 0, None)
        grid = what_if(config, found.memory, lambda config, clock, memory: again(config, clock=clock, memory=memory))
    with writing(path):
        path.write_text(report(found, config, grid))


def report_profile(found):
    """What people came for first: the rate, what binds it, and the energy; then the cycles, then the ledgers."""
    out = Console()

    def say(text):
        out.print(text, highlight=False, soft_wrap=True)

    if found.hypothetical:
        say(f"Hypothetical: {found.hypothetical}.")
    whole = "end to end" if found.board else "of array, vector unit and memory alone"
    say(f"{found.speed} tokens a second {whole}, without the host's own work. {found.verdict}")
    if found.board:
        link = found.link_per_token()
        say(f"A token sends {link['sent']:,.0f} and receives {link['received']:,.0f} bytes in {link['exchanges']:,.0f} "
            f"exchanges of {found.latency * 1e3:g} ms, at {found.baud:,.0f} baud.")
        joules = found.joules_per_token
        say(f"{joules_text(found)} a token: {joules['tier']}, {joules['of']}." if joules else
            f"Energy a token of {found.board} is not known: nobody has published its device's static power.")
    table = Table(title=f"{found.model} on {found.config}, {found.products} products a cycle at {found.clock / 1e6:g} "
                        f"MHz, weights {found.weights}: cycles")
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
    say(f"{found.cycles_per_token:,.0f}{spread} cycles a token, utilisation {found.utilisation:.1%}: {found.tier}; "
        f"{found.stimulus}. Left out: attention, norms, residuals and the head, which are the host's.")
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
        say(f"{name}: without {ledger['excludes']}.")


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
    table = Table(title=f"This machine, {config.name} at {clock / 1e6:g} MHz with {SDRAM.bandwidth / 1e6:g} MB/s of "
                        "SDRAM, hypothetical: no board has it, against arrays of the same width")
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
    supposed = f"{SDRAM.kind} of {SDRAM.bandwidth / 1e6:,.0f} MB/s on no board"
    write_json(json_path, {"paper": [{**row._asdict(), "deviation": row.deviation} for row in rows],
                           "machine": [{"hypothetical": supposed, **row} for row in machine]})
