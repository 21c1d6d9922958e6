"""The command ``setun``."""

import contextlib
import functools
import math
import pathlib
import sys
import zipfile

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from ..analysis.measure import measure_closeness, measure_matvec, measure_run
from ..analysis.results import replace_table, results_table
from ..driver.port import BAUD, LATENCY, SerialTransport
from ..formats import checkpoint
from ..formats.tokenizer import tokenizer_of
from ..generate import greedy, sampler
from ..hdl.boards import BOARDS
from ..hdl.config import PRESETS
from ..hdl.link.uart import OVERSAMPLING
from ..sim.rtl.board import Listener, Terminal, serve
from ..sim.rtl.transport import simulate, simulate_line
from .boards import boards, build, program
from .console import UserError, check_folders, json_option, progress, user_errors, write_json, writing
from .explore import explore_command
from .formats import convert_command, inspect_command, logits
from .profile import cycles, models, paper, profile
from .switching import calibrate_command, switching


__all__ = ["main"]


DEMO = pathlib.Path(__file__).parents[1] / "demo"
WINDOW = 256  # bytes
UART_LATENCY = 5  # seconds; the largest board's longest frame takes two to simulate


def load_array(path, field):
    """A .npy file. Raises UserError."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, TypeError, EOFError, ArithmeticError, MemoryError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: {field} is not a readable .npy file ({error}): write it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: {field} holds several arrays: write the one that is meant with numpy.save")
    return array


def config_option(default, **more):
    return click.option("--config", "config_name", type=click.Choice(list(PRESETS)),
                        **{"default": default, "show_default": True, **more},
                        help="Preset of the accelerator; see setun configs.")


def port_options(default):
    """Decorator: an accelerator at a port in place of the simulated one, which is ``default`` unless given."""
    def chosen(context, parameter, value):
        return value or (default if context.params["port"] is None else None)

    options = (
        config_option(None, show_default=f"{default}, or what is at the port", callback=chosen),
        click.option("--port", is_eager=True, help="Serial port of a board, /dev/ttyUSB0, or socket://HOST:PORT."),
        click.option("--baud", type=click.IntRange(min=1), default=BAUD, show_default=True, help="Bits a second."),
        click.option("--latency", type=click.FloatRange(min=0, min_open=True), default=LATENCY, show_default=True,
                     help="Seconds that bytes may be on their way, or in a slow simulation of a board."),
    )
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


def accelerator(config_name, port, baud, latency, waveform):
    """Config, None where a board is to tell, and transport, None of the simulated accelerator."""
    if port is not None and waveform:
        raise UserError("--waveform is of the simulated accelerator: leave out --port")
    return PRESETS.get(config_name), None if port is None else SerialTransport(port, baud, latency)


waveform_option = click.option("--waveform", type=click.Path(path_type=pathlib.Path, dir_okay=False),
                               help="Write a VCD of the whole simulation, for GTKWave or Surfer.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Run a BitNet b1.58 accelerator, its simulated RTL or a board, against the golden model."""


for command in (boards, build, calibrate_command, convert_command, cycles, explore_command, inspect_command, logits,
                models, paper, profile, program, switching):
    main.add_command(command)


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
@click.option("--tokens", type=click.IntRange(min=1), default=32, show_default=True,
              help="Tokens to generate, if the model does not end the text before.")
@port_options("16x40")
@json_option
@click.option("--temperature", type=click.FloatRange(min=0), default=0, show_default=True,
              help="Sample on the host; 0 takes the most likely token.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the sampling.")
@click.option("--scrub", is_flag=True, help="After each token, find damaged weights in the memories and repair them.")
@waveform_option
@user_errors
def run(model, prompt, tokens, config_name, port, baud, latency, json_path, temperature, seed, scrub, waveform):
    """Generate text with MODEL, a BitNet b1.58; every BitLinear goes through the RTL, or through a board.

    MODEL is a Hugging Face folder, a GGUF or a container (setun convert), and the shipped one unless given. Every
    accumulator is compared with the golden model, and every count of cycles with the cycle model; exit 1 where one
    differs.
    """
    check_folders(json_path, waveform)
    with checkpoint.open_checkpoint(model) as opened:
        tokenizer, ends, loaded = tokenizer_of(opened), opened.ends, opened.checkpoint()
    if not math.isfinite(temperature):
        raise UserError(f"--temperature is {temperature}: give a number from 0 on")
    prompt_ids = tokenizer.encode(prompt)
    if not prompt or not prompt_ids:
        raise UserError("--prompt is empty: give at least one character")
    if max(prompt_ids) >= loaded.vocab:
        raise UserError(f"--prompt has the token {max(prompt_ids)} and the model {loaded.vocab} tokens: leave it out")
    if len(prompt_ids) + tokens - 1 > loaded.context:
        raise UserError(f"--prompt of {len(prompt_ids)} tokens and --tokens {tokens} exceed the model's context of "
                        f"{loaded.context}: shorten one of them")
    choose = sampler(temperature, seed) if temperature else greedy
    config, transport = accelerator(config_name, port, baud, latency, waveform)
    with progress() as report:
        accelerated, fields = measure_run(config, loaded, prompt_ids, tokens, choose, ends=ends, scrub=scrub,
                                          transport=transport, waveform=waveform, progress=report)
    write_json(json_path, {"model": model.name, "prompt": tokenizer.decode(prompt_ids),
                           "text": tokenizer.decode(fields["token_ids"]), **fields})
    report_run(tokenizer.decode(prompt_ids + fields["token_ids"]), accelerated, fields)
    sys.exit(1 if accelerated.total.mismatches or accelerated.total.cycle_errors else 0)


def report_run(text, accelerated, fields):
    config, total = accelerated.device.config, accelerated.total
    out = Console()
    click.echo(text)
    table = Table(title=f"{config.name}: {config.products} products a cycle, weights "
                        + ("resident" if fields["resident"] else "streamed for every token"))
    for heading in ("layers", "values", "differ", "cycles", "predicted", "utilisation", "skipped"):
        table.add_column(heading, justify="left" if heading == "layers" else "right", no_wrap=True)
    for kind, tally in [*accelerated.tallies.items(), ("all", total)]:
        table.add_row(kind, f"{tally.values:,}", str(tally.mismatches), f"{tally.cycles:,}", f"{tally.predicted:,}",
                      f"{tally.utilisation:.1%}", f"{tally.skipped:.1%}", end_section=kind == "down")
    out.print(table)
    verdict = ("every value equals the golden model and every cycle count the cycle model"
               if not total.mismatches and not total.cycle_errors else
               f"{total.mismatches} values and {total.cycle_errors} counts of cycles differ from the models")
    if total.repeated:
        verdict += f"; {total.repeated} of {total.calls} products had frames sent again, and no count of cycles"
    speed = fields.get("simulated_cycles_per_second")
    simulated = f", {speed:,.0f} cycles a second simulated" if speed else ""
    out.print(f"{np.mean(fields['cycles_per_token']):,.0f} cycles a token{simulated}: {verdict}.", highlight=False)
    for damage in fields.get("damages", ()):
        place = ", ".join(f"{name} {value}" for name, value in damage.items())
        out.print(f"damaged weights were found and repaired: {place}", highlight=False)


@main.command()
@click.option("--weights", required=True, type=click.Path(path_type=pathlib.Path),
              help=".npy, int8 [M, n] of -1, 0, +1.")
@click.option("--activations", required=True, type=click.Path(path_type=pathlib.Path), help=".npy, int8 [n].")
@port_options("16x20")
@click.option("--output", type=click.Path(path_type=pathlib.Path, dir_okay=False),
              help="Write the result here: .npy, int32 [M].")
@json_option
@waveform_option
@user_errors
def matvec(weights, activations, config_name, port, baud, latency, output, json_path, waveform):
    """Multiply one ternary matrix and one int8 vector on the RTL or a board, with zeros skipped and without."""
    check_folders(output, json_path, waveform)
    w, x = load_array(weights, "--weights"), load_array(activations, "--activations")
    if w.dtype != np.int8 or w.ndim != 2 or not w.size:
        raise UserError(f"{weights}: --weights is {w.dtype} {list(w.shape)} and must be int8 [M, n]")
    if x.dtype != np.int8 or x.ndim != 1:
        raise UserError(f"{activations}: --activations is {x.dtype} {list(x.shape)} and must be int8 [n]")
    if w.shape[1] != len(x):
        raise UserError(f"{weights} has {w.shape[1]} columns and {activations} {len(x)} elements: they must agree")
    foreign = w[(w < -1) | (w > 1)]
    if foreign.size:
        raise UserError(f"{weights}: --weights has the value {foreign[0]}: only -1, 0 and +1 are ternary")
    config, transport = accelerator(config_name, port, baud, latency, waveform)
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
    Console().print(table)
    exact = (fields["cycles"], fields["cycles_dense"]) == (fields["cycles_predicted"], fields["cycles_dense_predicted"])
    sys.exit(1 if fields["mismatches"] or not exact and not fields["repeated"] else 0)


@main.command()
@config_option(None, show_default="4x10, or that of --board")
@click.option("--tcp", type=click.IntRange(0, 65535), help="Serve this TCP port of localhost; 0 takes a free one.")
@click.option("--link", type=click.Path(path_type=pathlib.Path), help="Make this symbolic link to the pseudo-terminal.")
@click.option("--uart", is_flag=True, help=f"Simulate the UART too, bit by bit at {BAUD:,} baud; some 80 times slower.")
@click.option("--board", "board_name", type=click.Choice(list(BOARDS)),
              help="Simulate the UART with the clock and the baud rate of this board; see setun boards.")
@user_errors
def board(config_name, tcp, link, uart, board_name):
    """Serve a simulated accelerator on a pseudo-terminal or a TCP port, as if it were a board, until interrupted.

    Where the UART is simulated, the baud rate that is set on the pseudo-terminal must be right, as on a cable.
    """
    if link and tcp is not None:
        raise UserError("--link is of a pseudo-terminal: leave out --tcp")
    if link and link.exists() and not link.is_symlink():
        raise UserError(f"{link}: --link exists and is no symbolic link: choose another name")
    modelled = BOARDS.get(board_name)
    config = PRESETS.get(config_name) or (modelled.config if modelled else PRESETS["4x10"])
    clock, baud = (modelled.clock, modelled.baud) if modelled else (OVERSAMPLING * BAUD, BAUD)
    with (Terminal(link) if tcp is None else Listener(tcp)) as line, contextlib.suppress(KeyboardInterrupt):
        if uart or modelled:
            simulator = simulate_line(config, clock=clock, baud=baud)
            speed = f" at {baud:,} baud, for setun run --latency {UART_LATENCY}"
        else:
            simulator, speed = simulate(config), ""
        click.echo(f"{config.name} on {line.name}{speed}; Ctrl-C ends it")
        serve(simulator, line)


@main.command()
@click.argument("model", type=click.Path(path_type=pathlib.Path), default=DEMO)
@click.option("--text", type=click.Path(path_type=pathlib.Path, dir_okay=False), default=DEMO / "held_out.txt",
              help="What to predict; the shipped held-out text unless given.")
@click.option("--windows", type=click.IntRange(min=1), default=16, show_default=True, help="Of 256 bytes.")
@json_option
@user_errors
def closeness(model, text, windows, json_path):
    """Compare the integer golden model of MODEL with the float32 reference on a text, byte by byte."""
    check_folders(json_path)
    with checkpoint.open_checkpoint(model) as opened:
        if opened.tokenizer is not None:
            raise UserError(f"{model}: --text is taken as bytes, and the model has a tokenizer: use a model of bytes")
        loaded = opened.checkpoint()
    try:
        data = np.frombuffer(text.read_bytes(), np.uint8).astype(np.int64)
    except OSError as error:
        raise UserError(f"{text}: --text cannot be read: {error.strerror}") from error
    length = min(WINDOW, loaded.context)
    if len(data) and data.max() >= loaded.vocab:
        raise UserError(f"{text}: --text has the byte {data.max()} and the model {loaded.vocab} tokens: leave it out")
    if len(data) < windows * length + 1:
        raise UserError(f"{text}: --text has {len(data)} bytes and {windows} windows need {windows * length + 1}: "
                        "ask for fewer --windows")
    with progress() as report:
        fields = measure_closeness(loaded, data, windows, length, progress=report)
    write_json(json_path, fields)
    table = Table(title=f"integer model against float32, {windows} windows of {length} bytes", show_header=False)
    for name, value in fields.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:.6f}")
    Console().print(table)


@main.command()
@click.option("--readme", type=click.Path(path_type=pathlib.Path, dir_okay=False, exists=True),
              default=pathlib.Path("README.md"), show_default=True, help="File whose results table is rewritten.")
@user_errors
def results(readme):
    """Measure all figures of the README again and rewrite its results table; takes about half an hour."""
    try:
        replace_table(readme.read_text(), "")
    except ValueError as error:
        raise UserError(f"{readme}: {error}") from error
    with progress() as report:
        table = results_table(checkpoint.load(DEMO), (DEMO / "held_out.txt").read_bytes(), progress=report)
    with writing(readme):
        readme.write_text(replace_table(readme.read_text(), table))
    Console().print(table, markup=False, highlight=False)
