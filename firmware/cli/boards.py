"""The commands for boards and presets: what there is, a simulated board, building a bitstream, loading it."""

import os
import pathlib
import shutil
import subprocess
from dataclasses import asdict

import click
from rich.table import Table

from ..driver.port import BAUD
from ..hdl.boards import BOARDS
from ..hdl.build import toolchain
from ..hdl.build.bitstream import MissedClock
from ..hdl.build.bitstream import build as build_bitstream
from ..hdl.config import PRESETS
from ..hdl.link.uart import OVERSAMPLING
from ..sim.rtl.board import Listener, Terminal, serve
from ..sim.rtl.transport import simulate, simulate_line
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
from .options import BOARD, config_option


__all__ = ["board", "boards", "build", "configs", "program"]


UART_LATENCY = 5  # seconds; the largest board's longest frame takes two to simulate
LOADING_SECONDS = 300
LIBRARIES = ("libusb", "libftdi")
TERMINALS = pathlib.Path("/dev/pts")
board_option = click.option("--board", type=BOARD, required=True,
                            help="A name of setun boards, or a file my_board.py that defines BOARDS.")


def seeds_of(context, parameter, value):
    try:
        seeds = [int(seed) for seed in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers: give 1,2,3") from None
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise click.BadParameter(f"{value!r}: seeds are different and not negative")
    return seeds


seeds_option = click.option("--seeds", default="1,2,3", show_default=True, callback=seeds_of,
                            help="Of place and route.")


@click.command()
def boards():
    """List the boards that bitstreams are built for."""
    table = Table(title="Boards", pad_edge=False)
    for heading in ("board", "device", "config"):
        table.add_column(heading)
    for heading in ("products a cycle", "MHz", "Mbaud"):
        table.add_column(heading, justify="right")
    for board in BOARDS.values():
        table.add_row(board.name, board.device, board.config.name, str(board.config.products),
                      f"{board.clock / 1e6:g}", f"{board.baud / 1e6:g}")
    print_table(table)


@click.command()
def configs():
    """List the presets."""
    table = Table(title="Configurations")
    for heading in ("config", "banks x rows", "products a cycle", "weights on chip", "results", "elements", "context",
                    "SiLU"):
        table.add_column(heading, justify="left" if heading == "config" else "right")
    for config in PRESETS.values():
        table.add_row(config.name, f"{config.banks} x {config.rows}", str(config.products), f"{config.capacity:,}",
                      f"{config.results:,}", f"{config.elements:,}", str(config.context), "yes" if config.silu else "")
    print_table(table)


@click.command()
@config_option("16x20")
@click.option("--tcp", type=click.IntRange(0, 65535), help="Serve this TCP port of localhost; 0 takes a free one.")
@click.option("--link", type=click.Path(path_type=pathlib.Path), help="Make this symbolic link to the pseudo-terminal.")
@click.option("--uart", is_flag=True, help=f"Simulate the UART too, bit by bit at {BAUD:,} baud; some 80 times slower.")
@click.option("--board", "modelled", type=BOARD,
              help="Simulate the UART with clock and baud rate of this board: a name of setun boards, or a file.")
@user_errors
def board(config, tcp, link, uart, modelled):
    """Serve a simulated accelerator on a pseudo-terminal or a TCP port, as if it were a board, until interrupted.

    Where the UART is simulated, the baud rate that is set on the pseudo-terminal must be right, as on a cable.
    """
    if link and tcp is not None:
        raise UserError("--link is of a pseudo-terminal: leave out --tcp")
    if link and link.exists() and not (link.is_symlink() and link.readlink().parent == TERMINALS):
        raise UserError(f"{link}: --link exists and is no symbolic link to a pseudo-terminal: choose another name")
    if link and not os.access(link.absolute().parent, os.W_OK):
        raise UserError(f"{link}: --link cannot be made: {link.parent} is no folder that can be written: choose "
                        "another")
    clock, baud = (modelled.clock, modelled.baud) if modelled else (OVERSAMPLING * BAUD, BAUD)
    line = Terminal(link) if tcp is None else Listener(tcp)  # a port that another has is refused before a long build
    if uart or modelled:
        simulator = simulate_line(config, clock=clock, baud=baud)
        speed = f" at {baud:,} baud, for setun run --latency {UART_LATENCY}"
    else:
        simulator, speed = simulate(config), ""
    with line:
        click.echo(f"{config.name} on {line.name}{speed}; Ctrl-C ends it")
        serve(simulator, line)


@click.command()
@board_option
@seeds_option
@click.option("--jobs", type=click.IntRange(min=1), help="Seeds routed at the same time; all processors unless given.")
@click.option("--output", type=Output(), help="Copy the bitstream here.")
@json_option
@user_errors
def build(board, seeds, jobs, output, json_path):
    """Build the bitstream of a board with yosys and nextpnr, and report what it takes and how fast it is.

    The bitstream is that of the fastest seed; the frequency that is reported is that of the slowest. Where no seed
    reaches the board's clock there is a report and no bitstream, and exit 1.
    """
    missed = None
    try:
        with progress() as told:
            report = build_bitstream(board, seeds, jobs=jobs, progress=told)
    except MissedClock as error:
        report, missed = error.report, error
    fields = {**asdict(report), "share": report.share, "luts_a_product": report.luts_a_product,
              "products_a_second": report.products_a_second}
    write_json(json_path, fields)
    print_table(report_table(report))
    if missed:
        raise click.ClickException(f"no bitstream: {missed}")
    if output:
        with writing(output):
            shutil.copy(report.bitstream, output)
    click.echo(output or report.bitstream)


def report_table(report):
    area = report.area
    table = Table(title=f"{report.board}: {report.products} products a cycle on {report.device}", show_header=False)
    table.add_row("after synthesis", f"{area['luts']:,} LUT, {area['flip_flops']:,} FF, {area['block_rams']} block "
                  f"RAM, {area['single_port_rams']} single-port RAM, {area['multipliers']} DSP")
    table.add_row("LUT a product, whole bitstream", f"{report.luts_a_product:.2f}")
    for name, (used, available) in report.used.items():
        table.add_row(f"after place and route: {name}", f"{used:,} of {available:,} ({used / available:.1%})")
    table.add_row("synthesis", f"{report.synthesis_seconds:.0f} s")
    for seed in report.seeds:
        speed = "" if seed["frequency"] is None else f"{seed['frequency']:.1f} MHz, "
        table.add_row(f"seed {seed['seed']}", f"{speed}place and route {seed['seconds']:.0f} s, packing "
                      f"{seed['packing_seconds']:.0f} s" + (f"; slowest {seed['path']}" if speed else ""))
    if report.worst is None:
        table.add_row("frequency", f"not reported: {report.no_frequency}")
    else:
        table.add_row("frequency, worst seed", f"{report.worst:.1f} MHz, with a clock of {report.clock:g} MHz")
    if report.products_a_second:
        table.add_row("products a second, at its clock", f"{report.products_a_second / 1e9:.1f} G")
    return table


@click.command()
@board_option
@seeds_option
@click.argument("bitstream", type=Input(exists=True), required=False)
@user_errors
def program(board, seeds, bitstream):
    """Load a bitstream with openFPGALoader: BITSTREAM, or what setun build makes of the same --seeds."""
    if bitstream is None:
        run_loader(board.name, "--list-boards")  # a library that it lacks is told before what takes long
        with progress() as told:
            bitstream = pathlib.Path(build_bitstream(board, seeds, progress=told).bitstream)
    run_loader(board.name, "--board", board.loader, str(bitstream))
    click.echo(f"{bitstream.name} is loaded into the {board.name}.")


def run_loader(board_name, *arguments):
    """Run openFPGALoader. Raises UserError, with what to do, where it fails."""
    try:
        result = subprocess.run([toolchain.tool("openfpgaloader-cli"), *arguments], capture_output=True, text=True,
                                timeout=LOADING_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"openFPGALoader has not ended after {LOADING_SECONDS} s: plug the {board_name} in "
                        "again") from None
    if result.returncode:
        raise UserError(explain(board_name, result.stdout + result.stderr))


def explain(board_name, log):
    """Why openFPGALoader failed, and what to do."""
    text = log.lower()
    if any(library in text and ("cannot open shared object" in text or "load" in text and "librar" in text)
           for library in LIBRARIES):
        return "openFPGALoader lacks a library: apt-get install libusb-1.0-0 libftdi1-2"
    if any(sign in text for sign in ("preamble", "wrong file")):
        return f"this is no bitstream for the {board_name}: give a file of setun build --board {board_name}"
    if any(sign in text for sign in ("device not found", "unable to open ftdi", "no device", "jtag init")):
        return (f"no {board_name} was found: plug it in, and allow its USB device to your user "
                "(openFPGALoader's 99-openfpgaloader.rules)")
    lines = [line for line in log.strip().splitlines() if line.strip()]
    return f"openFPGALoader failed: {lines[-1] if lines else 'without a word'}"
