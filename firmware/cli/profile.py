"""The commands that ask what a processor would do with a model."""

import csv
import inspect

import click
from rich.console import Console
from rich.table import Table

from ..analysis.calibration import load_board
from ..analysis.ledgers import TABLE
from ..analysis.memory import KINDS, Memory, memory_of
from ..analysis.models import Dimensions, dimensions_of, named_models
from ..analysis.paper import SDRAM, advantage, paper_rows
from ..analysis.profile import CLOCK, PROMPT, Profile, compare, config_on, model_of, profiler, speed_text
from ..analysis.trace import trace_events
from ..configuration import board_of
from ..errors import Error
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
from .options import Named, config_option


__all__ = ["DIMENSIONS", "models", "paper", "profile"]


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
    tied: true           # head and embedding are one; true unless given
    sub_norms: true      # norms before o and down; with relu2 unless given
    source: config.json  # where they are from; empty unless given
A Hugging Face config.json has hidden_size, intermediate_size, num_hidden_layers,
num_attention_heads, num_key_value_heads, vocab_size, max_position_embeddings,
head_dim, hidden_act and tie_word_embeddings; others are not looked at."""


@click.command(epilog=DIMENSIONS + "\n\n" + inspect.getdoc(Profile.fields).replace("``", ""))
@click.argument("model", default="demo")
@config_option(None, show_default="the board's, or 24x40")
@click.option("--board", type=BOARD_OR_ALL,
              help="A name (setun boards), or a file my_board.py: whose preset, clock, link and power are taken; all "
                   "compares the named ones.")
@click.option("--clock", type=click.FloatRange(min=0, min_open=True), help="MHz; 100, or the board's.")
@click.option("--memory", "memory_kind", type=click.Choice(KINDS), default=KINDS[0], show_default=True,
              help="Where weights come from that the processor has no room for: a larger one that has it, the board's "
                   "link, or a memory beside the FPGA.")
@click.option("--bandwidth", type=click.FloatRange(min=0, min_open=True),
              help="MB/s that arrive from that memory; its chip's unless given.")
@click.option("--prompt", default=PROMPT, show_default=True, help="The beginning of the text, of a model with weights.")
@click.option("--context", type=click.IntRange(min=1),
              help="Positions of the text, over which the mean is taken; the model's, of one without weights 512 at "
                   "most.")
@click.option("--table", type=click.Choice(arithmetic_tables()), default=TABLE, show_default=True,
              help="Of the energy of arithmetic.")
@click.option("--calibration", "calibration_path", type=Input(), help="What setun calibrate wrote of this board.")
@json_option
@click.option("--csv", "csv_path", type=Output(), help="Write a line for each stage and cause to this file.")
@click.option("--html", "html_path", type=Output(),
              help="Write figures and tables to this file, which needs no network.")
@click.option("--trace", "trace_path", type=Output(),
              help="Write the last position as a Chrome trace, for ui.perfetto.dev.")
@user_errors
def profile(model, config, board, clock, memory_kind, bandwidth, prompt, context, table, calibration_path, json_path,
            csv_path, html_path, trace_path):
    """Tokens a second of MODEL end to end, with cycles and energy of a whole token, stage by stage.

    MODEL is demo, a checkpoint of a BitNet b1.58 (see setun run), whose cycles are those of a text that it writes, or
    without weights a name (setun models), a .yaml or .json file of dimensions (below) or a Hugging Face config.json,
    whose zeros are assumed. What a processor lacks for a model is supposed, and said.
    """
    if html_path:
        need("plotly", "profile")
    model = model_of(model)
    options = {"table": table, "context": context}
    bandwidth = bandwidth and bandwidth * 1e6
    with progress() as bar:
        again = profiler(model, prompt, bar)
        if board == ALL:
            alone = {"--config": config, "--clock": clock, "--calibration": calibration_path,
                     "--csv": csv_path, "--html": html_path, "--trace": trace_path}
            if given := [name for name, value in alone.items() if value]:
                raise UserError(f"--board all compares boards as they are: leave out {', '.join(given)}")
            compared = compare(again, memory_kind, bandwidth, calibration=None, **options)
        else:
            config = config_on(config, board)
            clock = clock * 1e6 if clock else board.clock if board else CLOCK
            found = again(config, board=board, memory=memory_of(memory_kind, board, bandwidth), clock=clock,
                          calibration=load_board(calibration_path) if calibration_path else None, **options)
    if board == ALL:
        return report_boards(compared, model.name, json_path)
    write_json(json_path, found.fields())
    if csv_path:
        write_csv(csv_path, found)
    if trace_path:
        write_json(trace_path, trace_events(found))
    if html_path:
        write_html(html_path, found, config, model)
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
    out, table = Console(), Table(title=f"Tokens a second of {model} on all boards, end to end")
    for heading in ("board", "config", "MHz", "cycles a token", "tokens a second", "energy a token", "hypothetical"):
        table.add_column(heading, justify="left" if heading in ("board", "config", "hypothetical") else "right",
                         overflow="fold")
    for found in profiles:
        table.add_row(found.board, found.config, f"{found.clock / 1e6:g}", f"{found.cycles_per_token:,.0f}",
                      speed_text(found.tokens_per_second), joules_text(found), "yes" if found.hypothetical else "")
    if profiles:
        print_table(table, out)
    for name, found in compared.items():
        if isinstance(found, Error):
            out.print(f"{name}: {found}", highlight=False, soft_wrap=True)
        elif found.hypothetical:
            out.print(f"{name} is hypothetical: {found.hypothetical}.", highlight=False, soft_wrap=True)


def write_csv(path, found):
    """A line for each stage and cause."""
    with writing(path), open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("stage", "cause", "cycles"))
        writer.writerows((stage, cause, cycles) for (stage, cause), cycles in found.table().items())


def write_html(path, found, config, model):
    """The report, with what other processors would do."""
    from ..analysis.report import report, what_if

    again = profiler(model if isinstance(model, Dimensions) else dimensions_of(model.checkpoint, model.name))
    with progress() as bar:
        bar("what if", 0, None)
        grid = what_if(config, lambda config, clock: again(
            config, clock=clock, memory=Memory(), board=None, table=TABLE, calibration=None, context=found.context))
    with writing(path):
        path.write_text(report(found, config, grid))


def report_profile(found):
    """What people came for first: the rate, and the energy; then the cycles, then the ledgers."""
    out = Console()

    def say(text):
        out.print(text, highlight=False, soft_wrap=True)

    if found.hypothetical:
        say(f"Hypothetical: {found.hypothetical}.")
    say(f"{found.speed} tokens a second end to end, the mean of positions 1 to {found.context}. {found.verdict}")
    if found.board:
        joules = found.joules_per_token
        say(f"{joules_text(found)} a token: {joules['tier']}, {joules['of']}." if joules else
            f"Energy a token of {found.board} is not known: nobody has published its device's static power.")
    print_table(cycles_table(found), out)
    low, _, high = found.cycles_range
    spread = "" if low == high else f" [{low:,.0f}-{high:,.0f}]"
    over = found.cycles_per_token / found.ideal_cycles
    say(f"{found.cycles_per_token:,.0f}{spread} cycles a token, {over:.2f} times the ideal {found.ideal_cycles:,.0f}; "
        f"utilisation {found.utilisation:.1%}: {found.tier}; {found.stimulus}.")
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


def cycles_table(found):
    """Stages by causes."""
    table = Table(title=f"{found.model} on {found.config}, {found.products} products a cycle at "
                        f"{found.clock / 1e6:g} MHz, weights {found.weights}: cycles a token")
    cells, causes, stages = found.table(), list(found.cycles_by("cause")), list(found.cycles_by("stage"))
    for heading in ("stage", *causes, "all"):
        table.add_column(heading, justify="left" if heading == "stage" else "right", no_wrap=True)
    for stage in (*stages, "all"):
        counts = [sum(count for (each, what), count in cells.items() if stage in (each, "all") and what == cause)
                  for cause in causes]
        table.add_row(stage, *(f"{count:,.0f}" if count else "" for count in counts), f"{sum(counts):,.0f}",
                      end_section=stage == stages[-1])
    return table


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
    config, clock = PRESETS["16x20"], 100e6
    machine = list(advantage(config, clock))
    table = Table(title=f"This machine, {config.name} at {clock / 1e6:g} MHz with {SDRAM.bandwidth / 1e6:g} MB/s of "
                        "SDRAM, hypothetical: no board has it, against arrays of the same width")
    for heading in ("model", "bytes a token", "tokens a second", "int8: bytes", "time", "energy", "fp16: bytes",
                    "time", "energy"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in machine:
        table.add_row(row["model"], f"{row['bytes']:,.0f}", f"{row['tokens_per_second']:.3g}",
                      *(f"{row[f'{name}_{what}']:.2f} x" for name in ("int8", "fp16")
                        for what in ("bytes", "time", "energy")))
    print_table(table, out)
    out.print("Energy here is the arithmetic ledger's (table), attention, norms and head in it.", highlight=False)
    supposed = f"{SDRAM.kind} of {SDRAM.bandwidth / 1e6:,.0f} MB/s on no board"
    write_json(json_path, {"paper": [{**row._asdict(), "deviation": row.deviation} for row in rows],
                           "machine": [{"hypothetical": supposed, **row} for row in machine]})
