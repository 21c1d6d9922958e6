"""The commands of the switching ledger, and of a meter."""

import pathlib

import click
import msgspec
from rich.console import Console
from rich.table import Table

from hdl.boards.ecp5 import FAMILY

from . import checkpoint
from .calibration import calibrate, load_readings
from .cli_profile import DEMO
from .console import check_folders, json_option, progress, user_errors, write_json, writing
from .switching import CONFIG, FACTOR, energy_of, fit, predict, real_runs, residual, training_runs


__all__ = ["calibrate_command", "switching"]


@click.command()
@json_option
@user_errors
def switching(json_path):
    """Toggles of the synthesised netlist of a small accelerator on the demo's activations, and the energy of them.

    Beside it stands what the counters say, fitted to random runs: exit 1 where that is off by more than a factor of
    1.25.
    """
    check_folders(json_path)
    with progress() as bar:
        bar("synthesising and compiling", 0, None)
        training = []
        for run in training_runs(FAMILY):
            training.append(run)
            bar("random runs", len(training), 48)
        bar("real runs", 0, None)
        real = list(real_runs(FAMILY, checkpoint.load(DEMO)))
    toggles = fit(training)
    off = residual(toggles, real)
    out = Console()
    table = Table(title=f"Toggles of {CONFIG.name} on the ECP5, first layer of the demo, two tokens")
    for heading in ("run", "cycles", *real[0].toggles, "all", "by counters", "energy"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for run in real:
        total = sum(run.toggles.values())
        table.add_row(run.name, f"{run.events['cycle']:,}", *(f"{value:,}" for value in run.toggles.values()),
                      f"{total:,}", f"{predict(toggles, run.events) / total:.0%}",
                      energy_of(total, run.events["cycle"], "ecp5").text())
    out.print(table)
    table = Table(title="Energy of a product in its tile, zero weights and zero activations left out of the count")
    for heading in ("stimulus", "toggles a product", "energy"):
        table.add_column(heading, justify="left" if heading == "stimulus" else "right")
    for name, runs in [*((f"{share} zero weights", [run for run in training if run.name.startswith(share)])
                         for share in ("0%", "33%", "50%", "75%")), ("real", real)]:
        runs = [run for run in runs if run.products]
        each = sum(run.toggles["tiles"] for run in runs) / sum(run.products for run in runs)
        table.add_row(name, f"{each:.1f}", energy_of(each, 0, "ecp5").text())
    out.print(table)
    fitted = ", ".join(f"{value:.1f} a {event.replace('_', ' ')}" for event, value in toggles.items() if value)
    out.print(f"By counters: {fitted} toggles; the largest residual on real runs is a factor of {off:.2f}, at most "
              f"{FACTOR} is asked for.", highlight=False)
    out.print("Modelled: pJ a toggle of the ECP5 are those of the iCE40UP5K, times or divided by 3. Without glitches, "
              "carries inside a cell, memories, pins and static power.", highlight=False)
    write_json(json_path, {"toggles": toggles, "residual": off, "factor": FACTOR,
                           "runs": [run._asdict() for run in [*training, *real]]})
    raise SystemExit(off > FACTOR)


@click.command("calibrate")
@click.argument("readings", type=click.Path(path_type=pathlib.Path, dir_okay=False))
@click.option("--output", type=click.Path(path_type=pathlib.Path, dir_okay=False), required=True,
              help="Write the board's figures here, for setun profile --calibration.")
@user_errors
def calibrate_command(readings, output):
    """Fit a board's static power and its energy a cycle and a product to READINGS of a meter, a YAML file.

    It holds board, accuracy (of the meter, .02 unless given) and readings, each with load, clock (MHz), products (a
    second) and watts, or volts and amperes; at two clocks and two loads or more.
    """
    check_folders(output)
    board = calibrate(load_readings(readings), readings)
    with writing(output):
        output.write_bytes(msgspec.yaml.encode(board))
    out = Console()
    for name, unit in (("static", "W"), ("cycle", "J"), ("product", "J")):
        out.print(f"{name}: {getattr(board, name).range.text(unit)}", highlight=False)
    out.print(f"{board.board}, calibrated: the largest residual is {board.residual:.1%} of a reading.",
              highlight=False)
