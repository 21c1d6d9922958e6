"""The commands that use an accelerator: text from a model, one product."""

import pathlib
import sys
import zipfile

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from ..accelerator import check_matrix, check_prompt, smallest
from ..analysis.measure import measure_matvec, measure_run
from ..analysis.profile import CLOCK, speed_text
from ..formats.model import load
from ..generate import CHECKS
from ..hdl.config import PRESETS
from ..sim.model.processor_cycles import CAUSES, cycles_by
from .console import Input, Output, UserError, json_option, print_table, progress, user_errors, write_json, writing
from .options import BOARD, accelerator, model_options, port_options, waveform_option


__all__ = ["matvec", "run"]


def load_array(path, field):
    """A .npy file. Raises UserError."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, TypeError, EOFError, ArithmeticError, MemoryError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: {field} is not a readable .npy file ({error}): write it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: {field} holds several arrays: write the one that is meant with numpy.save")
    return array


@click.command()
@click.argument("model", type=click.Path(path_type=pathlib.Path), default="demo")
@click.option("--prompt", default="In the beginning", show_default=True, help="Text to continue.")
@click.option("--tokens", type=click.IntRange(min=1), default=32, show_default=True,
              help="Tokens to generate, if the model does not end the text before.")
@port_options("the smallest preset that holds the model", click.option(
    "--board", type=BOARD, help="Simulate the config of this board, and tell the rate at its clock: a name of setun "
                                "boards, or a file my_board.py."))
@click.option("--check", type=click.Choice(CHECKS), default="values", show_default=True,
              help="Compare tokens, all memories and cycles behind each position with the models; or tokens and the "
                   "sum of the cycles, while the accelerator runs on; or nothing.")
@json_option
@click.option("--temperature", type=click.FloatRange(min=0), default=0, show_default=True,
              help="Sample, on the accelerator; 0 takes the most likely token.")
@click.option("--seed", type=click.IntRange(0, 2 ** 32 - 1), default=0, show_default=True, help="Of the sampling.")
@click.option("--scrub", is_flag=True, help="Find damaged words in the memories and repair them: behind each token, or "
                                            "at the end where the accelerator runs on.")
@waveform_option
@model_options
@user_errors
def run(model, prompt, tokens, config, board, port, baud, latency, check, json_path, temperature, seed, scrub, waveform,
        told):
    """Generate text with MODEL, a BitNet b1.58, on the RTL or on a board: it computes the whole of every token.

    MODEL is demo, a Hugging Face folder, a GGUF or a container (setun convert), and demo unless given. Exit 1 where a
    value differs from the golden model and the reference machine, or a count of cycles from the cycle model.
    """
    loaded = load(model, **told)
    for line in loaded.taken:
        click.echo(f"{loaded.name}: {line}", err=True)
    prompt_ids = loaded.tokenizer.encode(prompt)
    check_prompt(loaded.checkpoint, prompt, prompt_ids, tokens)
    if board and (config or port):
        raise UserError("--board has a config of its own, and is simulated: leave out --config and --port")
    config = board.config if board else smallest(loaded) if config is None and port is None else config
    with accelerator(config, port, baud, latency, waveform) as device, progress() as report:
        generation, fields = measure_run(device, loaded, prompt_ids, tokens, temperature=temperature, seed=seed,
                                         check=check, scrub=scrub, progress=report)
    clock = board.clock if board else CLOCK
    fields |= {"board": board.name if board else None, "clock": clock,
               "tokens_per_second": clock / fields["cycles_per_step"]}
    decode = loaded.tokenizer.decode
    write_json(json_path, {"model": loaded.name, "prompt": decode(prompt_ids), "text": decode(fields["token_ids"]),
                           **fields})
    report_run(generation, fields, port, board)
    sys.exit(1 if fields["mismatches"] or fields["cycle_errors"] else 0)


def report_run(generation, fields, port, board):
    out = Console()
    click.echo(generation.text)
    if generation.causes:
        print_table(cycles_table(generation, fields), out)
    if fields["checked"] == "none":
        verdict = "nothing was checked"
    elif fields["mismatches"] or fields["cycle_errors"]:
        verdict = (f"{fields['mismatches']} values and {fields['cycle_errors']} counts of cycles differ from the "
                   "models")
    else:
        verdict = (f"all {fields['values_compared']:,} values equal the golden model and the reference machine, and "
                   "all cycles the cycle model")
    if fields["repeated"]:
        verdict += f"; {fields['repeated']} frames were sent again"
    speed = fields.get("simulated_cycles_per_second")
    simulated = f", {speed:,.0f} cycles a second simulated" if speed else ""
    out.print(f"{fields['cycles_per_step']:,.0f} cycles a token{simulated}: {verdict}.", highlight=False)
    if board:
        out.print(f"{speed_text(fields['tokens_per_second'])} tokens a second at the {board.clock / 1e6:g} MHz of the "
                  f"{board.name}.", highlight=False)
    if port:
        out.print(f"{1 / fields['seconds_per_step']:,.3g} tokens a second, the host's work included; "
                  f"{fields['link_bytes_per_token']:,.1f} bytes a token go over the link.", highlight=False)
    for damage in fields.get("damages", ()):
        place = ", ".join(f"{name} {value}" for name, value in damage.items())
        out.print(f"damaged memory was found and repaired: {place}", highlight=False)


def cycles_table(generation, fields):
    """Cycles a position, by stage and cause."""
    steps = len(generation.prompt) + len(generation.ids) - 1
    by_cause, stages = cycles_by("cause", generation.causes), list(cycles_by("stage", generation.causes))
    causes = [cause for cause in CAUSES if by_cause[cause]]
    table = Table(title=f"{fields['config']}: {fields['products']} products a cycle, cycles a token")
    for heading in ("stage", *causes, "all"):
        table.add_column(heading, justify="left" if heading == "stage" else "right", no_wrap=True)
    for stage in (*stages, "all"):
        counts = [sum(number for spent, number in generation.causes.items()
                      if stage in (spent.stage, "all") and spent.cause == cause) / steps for cause in causes]
        table.add_row(stage, *(f"{count:,.0f}" if count else "" for count in counts), f"{sum(counts):,.0f}",
                      end_section=stage == stages[-1])
    return table


@click.command()
@click.option("--weights", required=True, type=Input(), help=".npy, int8 [M, n] of -1, 0, +1.")
@click.option("--activations", required=True, type=Input(), help=".npy, int8 [n].")
@port_options("24x40")
@click.option("--output", type=Output(), help="Write the result here: .npy, int32 [M].")
@json_option
@waveform_option
@user_errors
def matvec(weights, activations, config, port, baud, latency, output, json_path, waveform):
    """Multiply one ternary matrix and one int8 vector on the RTL or a board, with zeros skipped and without."""
    w, x = check_matrix(load_array(weights, "--weights"), load_array(activations, "--activations"),
                        f"{weights}: --weights", f"{activations}: --activations")
    if config is None and port is None:
        config = PRESETS["24x40"]
    with accelerator(config, port, baud, latency, waveform) as device, progress() as report:
        accumulators, fields = measure_matvec(device, w, x, progress=report)
    if output:
        with writing(output), open(output, "wb") as file:
            np.save(file, accumulators)
    write_json(json_path, fields)
    table = Table(title=f"{w.shape[0]} x {w.shape[1]} on {fields['config']}", show_header=False)
    for name, value in fields.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float)
                      else str(value))
    print_table(table)
    exact = (fields["cycles"], fields["cycles_dense"]) == (fields["cycles_predicted"], fields["cycles_dense_predicted"])
    sys.exit(0 if exact and not fields["mismatches"] else 1)
