"""The commands that use an accelerator: text from a model, one product."""

import math
import pathlib
import sys
import zipfile

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from ..accelerator import check_matrix, check_prompt
from ..analysis.measure import measure_matvec, measure_run
from ..formats.model import load
from ..generate import greedy, sampler
from .console import Input, Output, UserError, json_option, print_table, progress, user_errors, write_json, writing
from .options import accelerator, model_options, port_options, waveform_option


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
@port_options("16x40")
@click.option("--check", type=click.Choice(["all", "none"]), default="all", show_default=True,
              help="Compute every product again in NumPy and predict its cycles, or take what comes.")
@json_option
@click.option("--temperature", type=click.FloatRange(min=0), default=0, show_default=True,
              help="Sample on the host; 0 takes the most likely token.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the sampling.")
@click.option("--scrub", is_flag=True, help="After each token, find damaged weights in the memories and repair them.")
@waveform_option
@model_options
@user_errors
def run(model, prompt, tokens, config, port, baud, latency, check, json_path, temperature, seed, scrub, waveform, told):
    """Generate text with MODEL, a BitNet b1.58; every BitLinear goes through the RTL, or through a board.

    MODEL is demo, a Hugging Face folder, a GGUF or a container (setun convert), and demo unless given. Unless
    --check is none, every accumulator is compared with the golden model, and every count of cycles with the cycle
    model; exit 1 where one differs.
    """
    loaded = load(model, **told)
    for line in loaded.taken:
        click.echo(f"{loaded.name}: {line}", err=True)
    if not math.isfinite(temperature):
        raise UserError(f"--temperature is {temperature}: give a number from 0 on")
    prompt_ids = loaded.tokenizer.encode(prompt)
    check_prompt(loaded.checkpoint, prompt, prompt_ids, tokens)
    choose = sampler(temperature, seed) if temperature else greedy
    transport = accelerator(port, baud, latency, waveform)
    with progress() as report:
        generation, fields = measure_run(config, loaded.checkpoint, prompt_ids, tokens, choose, ends=loaded.ends,
                                         check=check == "all", scrub=scrub, transport=transport, waveform=waveform,
                                         progress=report)
    decode = loaded.tokenizer.decode
    write_json(json_path, {"model": loaded.name, "prompt": decode(prompt_ids), "text": decode(fields["token_ids"]),
                           **fields})
    report_run(decode(prompt_ids + fields["token_ids"]), generation, fields, port)
    sys.exit(1 if fields["mismatches"] or fields["cycle_errors"] else 0)


def report_run(text, generation, fields, port):
    total, checked = generation.total, fields["checked"]
    out = Console()
    click.echo(text)
    table = Table(title=f"{fields['config']}: {fields['products']} products a cycle, weights "
                        + ("resident" if fields["resident"] else "streamed for every token"))
    for heading in ("layers", *(("values", "differ", "cycles", "predicted") if checked else ("cycles",)), "utilisation",
                    "skipped"):
        table.add_column(heading, justify="left" if heading == "layers" else "right", no_wrap=True)
    for kind, tally in [*generation.tallies.items(), ("all", total)]:
        table.add_row(kind, *((f"{tally.values:,}", str(tally.mismatches)) if checked else ()), f"{tally.cycles:,}",
                      *((f"{tally.predicted:,}",) if checked else ()), f"{tally.utilisation:.1%}",
                      f"{tally.skipped:.1%}", end_section=kind == "down")
    print_table(table, out)
    if not checked:
        verdict = "nothing was checked"
    elif not total.mismatches and not total.cycle_errors:
        verdict = "every value equals the golden model and every cycle count the cycle model"
    else:
        verdict = f"{total.mismatches} values and {total.cycle_errors} counts of cycles differ from the models"
    if total.repeated:
        verdict += f"; {total.repeated} of {total.calls} products had frames sent again, and no count of cycles"
    speed = fields.get("simulated_cycles_per_second")
    simulated = f", {speed:,.0f} cycles a second simulated" if speed else ""
    out.print(f"{np.mean(fields['cycles_per_token']):,.0f} cycles a token{simulated}: {verdict}.", highlight=False)
    if port:
        link = fields["link_per_token"]
        out.print(f"{1 / fields['seconds_per_step']:,.3g} tokens a second, the host's work included; over the link go "
                  f"{link['sent']:,.0f} bytes out, {link['received']:,.0f} in and {link['exchanges']:,.1f} exchanges a "
                  "token.", highlight=False)
    for damage in fields.get("damages", ()):
        place = ", ".join(f"{name} {value}" for name, value in damage.items())
        out.print(f"damaged weights were found and repaired: {place}", highlight=False)


@click.command()
@click.option("--weights", required=True, type=Input(), help=".npy, int8 [M, n] of -1, 0, +1.")
@click.option("--activations", required=True, type=Input(), help=".npy, int8 [n].")
@port_options("16x20")
@click.option("--output", type=Output(), help="Write the result here: .npy, int32 [M].")
@json_option
@waveform_option
@user_errors
def matvec(weights, activations, config, port, baud, latency, output, json_path, waveform):
    """Multiply one ternary matrix and one int8 vector on the RTL or a board, with zeros skipped and without."""
    w, x = check_matrix(load_array(weights, "--weights"), load_array(activations, "--activations"),
                        f"{weights}: --weights", f"{activations}: --activations")
    transport = accelerator(port, baud, latency, waveform)
    with progress() as report:
        accumulators, fields = measure_matvec(config, w, x, transport=transport, waveform=waveform, progress=report)
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
    sys.exit(1 if fields["mismatches"] or not exact and not fields["repeated"] else 0)
