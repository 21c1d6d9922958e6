"""The command ``setun``."""

import contextlib
import json
import pathlib
import sys

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from golden.fixed import to_fixed
from golden.matvec import matvec as golden_matvec
from hdl.config import PRESETS
from sim.cycles import array_cycles
from sim.toolchain import ToolError
from sim.transport import SimulatedTransport

from . import checkpoint
from .device import Device, DeviceError, MismatchError
from .generate import Accelerated, generate, greedy, sampler
from .packing import CapacityError, pack, place
from .transport import LinkError


__all__ = ["main"]


DEMO = pathlib.Path(__file__).parent / "demo"
USER_ERRORS = (checkpoint.CheckpointError, CapacityError, DeviceError, MismatchError, LinkError, ToolError)
console = Console(stderr=True)


class UserError(click.ClickException):
    """One line, exit 2."""
    exit_code = 2


@contextlib.contextmanager
def user_errors():
    try:
        yield
    except USER_ERRORS as error:
        raise UserError(str(error)) from error


def progress():
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                    console=console, transient=True)


def write_json(path, fields):
    if path:
        try:
            path.write_text(json.dumps(fields, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def load_array(path, field):
    """A .npy file. Raises UserError."""
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: {field} is not a readable .npy file ({error}): write it with numpy.save") from error


config_option = click.option("--config", "config_name", type=click.Choice(list(PRESETS)), default="16x40",
                             show_default=True, help="Preset of the accelerator; see setun configs.")
json_option = click.option("--json", "json_path", type=click.Path(path_type=pathlib.Path, dir_okay=False),
                           help="Write the measurements to this file.")
waveform_option = click.option("--waveform", type=click.Path(path_type=pathlib.Path, dir_okay=False),
                               help="Write a VCD of the whole simulation, for GTKWave or Surfer.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Simulate a BitNet b1.58 accelerator: its RTL, against the golden model."""


@main.command()
def configs():
    """List the presets."""
    table = Table(title="Presets")
    for heading in ("config", "banks x rows", "products a cycle", "weights on chip", "longest vector", "result rows"):
        table.add_column(heading, justify="left" if heading == "config" else "right")
    for config in PRESETS.values():
        table.add_row(config.name, f"{config.banks} x {config.rows}", str(config.products),
                      f"{config.capacity:,}", f"{config.columns:,}", f"{config.blocks * config.rows:,}")
    Console().print(table)


@main.command()
@click.argument("model", type=click.Path(path_type=pathlib.Path), default=DEMO)
@click.option("--prompt", default="In the beginning", show_default=True, help="Text to continue.")
@click.option("--tokens", type=click.IntRange(min=1), default=32, show_default=True, help="Tokens to generate.")
@config_option
@json_option
@click.option("--temperature", type=click.FloatRange(min=0), default=0, show_default=True,
              help="Sample on the host; 0 takes the most likely token.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sampling.")
@waveform_option
def run(model, prompt, tokens, config_name, json_path, temperature, seed, waveform):
    """Generate text with MODEL, a Hugging Face folder of a BitNet b1.58; every BitLinear goes through the RTL.

    MODEL is the shipped one unless given. Every accumulator is compared with the golden model, and every count of
    cycles with the cycle model; exit 1 where one differs.
    """
    config = PRESETS[config_name]
    with user_errors():
        loaded = checkpoint.load(model)
        prompt_ids = list(prompt.encode())
        if not prompt_ids:
            raise UserError("--prompt is empty: give at least one character")
        if max(prompt_ids) >= loaded.vocab:
            raise UserError(f"--prompt has the byte {max(prompt_ids)}, and the model {loaded.vocab} tokens")
        if len(prompt_ids) + tokens - 1 > loaded.context:
            raise UserError(f"--prompt of {len(prompt_ids)} tokens and --tokens {tokens} exceed the model's context of "
                            f"{loaded.context}: shorten one of them")
        integer = to_fixed(loaded)
        choose = sampler(temperature, seed) if temperature else greedy
        with contextlib.closing(SimulatedTransport(config, waveform=waveform)) as transport, progress() as bars:
            device = Device(transport, config)
            loading = bars.add_task("loading weights", total=None)
            accelerated = Accelerated(integer, device, lambda done, total: bars.update(
                loading, completed=done, total=total))
            bars.update(loading, visible=False)
            task = bars.add_task("generating", total=tokens)
            ids, cycles, predicted = [], [], []
            for token, measured, expected in generate(integer, accelerated, prompt_ids, tokens, choose):
                ids.append(token)
                cycles.append(measured)
                predicted.append(expected)
                bars.update(task, advance=1)
            speed = transport.cycles_per_second

    total = accelerated.total
    text = b"".join(bytes([token]) if token < 256 else b"?" for token in ids).decode("utf-8", "replace")
    write_json(json_path, {
        "model": str(model), "config": config.name, "prompt": prompt, "text": text, "tokens": len(ids),
        "token_ids": ids, "resident": accelerated.resident, "values_compared": total.values,
        "mismatches": total.mismatches, "cycles_per_token": cycles, "cycles_predicted": predicted,
        "utilisation": total.utilisation, "skipped_fraction": total.skipped, "simulated_cycles_per_second": speed,
    })
    report_run(prompt + text, config, accelerated, cycles, speed)
    sys.exit(1 if total.mismatches or total.cycles != total.predicted else 0)


def report_run(text, config, accelerated, cycles, speed):
    total = accelerated.total
    out = Console()
    out.print(text, markup=False, highlight=False)
    table = Table(title=f"{config.name}: {config.products} products a cycle, weights "
                        + ("resident" if accelerated.resident else "streamed for every token"))
    for heading in ("layer kind", "products compared", "mismatches", "cycles", "predicted", "utilisation", "skipped"):
        table.add_column(heading, justify="left" if heading == "layer kind" else "right")
    for kind, tally in [*accelerated.tallies.items(), ("all", total)]:
        table.add_row(kind, f"{tally.values:,}", str(tally.mismatches), f"{tally.cycles:,}", f"{tally.predicted:,}",
                      f"{tally.utilisation:.1%}", f"{tally.skipped:.1%}", end_section=kind == "down")
    out.print(table)
    verdict = ("every value equals the golden model and every cycle count the cycle model"
               if not total.mismatches and total.cycles == total.predicted else
               f"{total.mismatches} values and {abs(total.cycles - total.predicted)} cycles differ from the models")
    out.print(f"{np.mean(cycles):,.0f} cycles a token, {speed:,.0f} cycles a second simulated: {verdict}.",
              highlight=False)


@main.command()
@click.option("--weights", required=True, type=click.Path(path_type=pathlib.Path),
              help=".npy, int8 [M, n] of -1, 0, +1.")
@click.option("--activations", required=True, type=click.Path(path_type=pathlib.Path), help=".npy, int8 [n].")
@config_option
@click.option("--output", type=click.Path(path_type=pathlib.Path, dir_okay=False),
              help="Write the result here: .npy, int32 [M].")
@json_option
@waveform_option
def matvec(weights, activations, config_name, output, json_path, waveform):
    """Multiply one ternary matrix and one int8 vector on the RTL, with zeros skipped and without."""
    config = PRESETS[config_name]
    w, x = load_array(weights, "--weights"), load_array(activations, "--activations")
    if w.dtype != np.int8 or w.ndim != 2 or not w.size:
        raise UserError(f"{weights}: --weights is {w.dtype} {list(w.shape)} and must be int8 [M, n]")
    if x.dtype != np.int8 or x.ndim != 1:
        raise UserError(f"{activations}: --activations is {x.dtype} {list(x.shape)} and must be int8 [n]")
    if w.shape[1] != len(x):
        raise UserError(f"{weights} has {w.shape[1]} columns and {activations} {len(x)} elements: they must agree")
    if (abs(w.astype(np.int16)) > 1).any():
        raise UserError(f"{weights}: --weights has the value {w[abs(w.astype(np.int16)) > 1].flat[0]}: only -1, 0 and "
                        "+1 are ternary")
    with user_errors():
        packed = pack(w, config)
        (placed,), resident = place([packed], config)
        with contextlib.closing(SimulatedTransport(config, waveform=waveform)) as transport, progress() as bars:
            device = Device(transport, config)
            task = bars.add_task("loading weights", total=packed.blocks * packed.words if resident else None)
            if resident:
                device.load([placed], lambda words: bars.update(task, advance=words))
            loading = device.counters()["CYCLES_LOAD"]
            bars.update(task, description="multiplying", total=None)
            product = device.multiply(placed, x, quantise=False)
            dense = device.multiply(placed, x, quantise=False, skip=False)

    expected = golden_matvec(w, x)
    mismatches = int((product.accumulators != expected).sum() + (dense.accumulators != expected).sum())
    cycles, cycles_dense = (item.counters["CYCLES_ISSUE"] + item.counters["CYCLES_FLUSH"] for item in (product, dense))
    predicted = array_cycles(config, placed, x)
    listed = product.counters["ENTRIES"] * len(packed.rows)
    fields = {
        "config": config.name, "shape": list(w.shape), "cycles": cycles, "cycles_predicted": predicted,
        "cycles_dense": cycles_dense, "cycles_load": loading + product.counters["CYCLES_LOAD"],
        "utilisation": listed / (cycles * config.products) if cycles else 0.0, "mismatches": mismatches,
    }
    if output:
        try:
            with open(output, "wb") as file:
                np.save(file, product.accumulators)
        except OSError as error:
            raise UserError(f"{output}: cannot be written: {error.strerror}") from error
    write_json(json_path, fields)
    table = Table(title=f"{w.shape[0]} x {w.shape[1]} on {config.name}", show_header=False)
    for name, value in fields.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float)
                      else str(value))
    Console().print(table)
    sys.exit(1 if mismatches or cycles != predicted else 0)
