"""The commands of the switching ledger, and of a meter."""

import click
import msgspec
from rich.console import Console
from rich.table import Table

from ..analysis.calibration import calibrate, load_readings
from ..analysis.mac import mac_runs, ratio
from ..analysis.switching import CONFIG, FACTOR, energy_of, fit, predict, real_runs, residual, training_runs
from ..formats import checkpoint
from ..hdl.technology.ecp5 import FAMILY
from ..sim.model.energy import Range
from ..sim.netlist.liberty import DEFAULT_LIBERTY, read_library
from .console import Input, Output, json_option, print_table, progress, user_errors, write_json, writing
from .options import DEMO


__all__ = ["calibrate_command", "switching"]


PROMPT = b"In the"


@click.command()
@click.option("--liberty", type=Input(), default=DEFAULT_LIBERTY, show_default=True,
              help="Standard cells with tables of power; the default is in qflow-tech-osu018.")
@json_option
@user_errors
def switching(liberty, json_path):
    """Toggles of synthesised netlists on the demo's activations, and the energy of them.

    First of a multiply-accumulate in standard cells, ternary against int8. Then of a small machine on the ECP5, token
    by token, beside what is predicted from the work that the cycle model counts, fitted to random models: exit 1 where
    that is off by more than a factor of 1.25.
    """
    library, demo = read_library(liberty), checkpoint.load(DEMO)
    with progress() as bar:
        macs = list(mac_runs(demo, PROMPT, liberty, bar))
        bar("synthesising and compiling the accelerator", 0, None)
        training = []
        for run in training_runs(FAMILY):
            training.append(run)
            bar("random models", len(training), 24)
        bar("real runs", 0, None)
        real = list(real_runs(FAMILY, demo, PROMPT))
    toggles = fit(training)
    off = residual(toggles, real)
    report_macs(macs, library)
    report_netlist(training, real, toggles, off)
    write_json(json_path, {
        "library": library.name, "voltage": library.voltage, "ratio": ratio(macs)._asdict(),
        "macs": [{"name": run.name, "weight_zeros": run.weight_zeros, "steps": run.steps,
                  **run.measured._asdict(), "switching": run.measured.switching._asdict()} for run in macs],
        "toggles": toggles, "residual": off, "factor": FACTOR,
        "runs": [run._asdict() for run in [*training, *real]]})
    raise SystemExit(off > FACTOR)


def report_macs(macs, library):
    out = Console()
    table = Table(title=f"Energy of a multiply-accumulate in {library.name} at {library.voltage:g} V, the mean of "
                        f"{macs[0].steps:,} of the demo's first layer")
    for heading in ("multiplier and weights", "zero weights", "switching", "clock", "both", "leakage", "cells"):
        table.add_column(heading, justify="left" if heading == "multiplier and weights" else "right")
    for run in macs:
        measured = run.measured
        table.add_row(run.name, f"{run.weight_zeros:.0%}", measured.switching.text(),
                      Range(*(measured.clock,) * 3).text(), measured.energy.text(),
                      Range(*(measured.leakage,) * 3).text("W"), str(measured.cells))
    print_table(table, out)
    both, alone = ratio(macs), ratio(macs, lambda measured: measured.switching)
    out.print(f"int8 over ternary: {both.mid:.2f} [{both.low:.2f}-{both.high:.2f}] times, without the clock "
              f"{alone.mid:.2f} [{alone.low:.2f}-{alone.high:.2f}].", highlight=False)
    out.print("Modelled: toggles x the library's capacitances and tables of power. Low is of cells without delay, in "
              "which nothing glitches: a lower bound. High is of cells with a unit of delay each, mid the mean. "
              "Activations are real, those that are 0 left out; both accumulate in 24 bits. Without wires, memories, "
              "control and leakage.", highlight=False)


def report_netlist(training, real, toggles, off):
    out = Console()
    table = Table(title=f"Toggles of {CONFIG.name} on the ECP5, one layer of the demo")
    for heading in ("run", "cycles", *real[0].toggles, "all", "predicted", "energy"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for run in real:
        total = sum(run.toggles.values())
        table.add_row(run.name, f"{run.events['cycle']:,}", *(f"{value:,}" for value in run.toggles.values()),
                      f"{total:,}", f"{predict(toggles, run.events) / total:.0%}",
                      energy_of(total, run.events["cycle"], "ecp5").text())
    print_table(table, out)
    fitted = ", ".join(f"{value:.1f} a {event.replace('_', ' ')}" for event, value in toggles.items() if value)
    out.print(f"Predicted: {fitted} toggles; the largest residual on real runs is a factor of {off:.2f}, at most "
              f"{FACTOR} is asked for.", highlight=False)
    out.print("Modelled: pJ a toggle of the ECP5 are those of the iCE40UP5K, times or divided by 3. Without glitches, "
              "carries inside a cell, memories, pins and static power.", highlight=False)


@click.command("calibrate")
@click.argument("readings", type=Input())
@click.option("--output", type=Output(), required=True,
              help="Write the board's figures here, for setun profile --calibration.")
@user_errors
def calibrate_command(readings, output):
    """Fit a board's static power and its energy a cycle and a product to READINGS of a meter, a YAML file.

    It holds board, accuracy (of the meter, .02 unless given) and readings, each with load, clock (MHz), products (a
    second) and watts, or volts and amperes; at two clocks and two loads or more.
    """
    board = calibrate(load_readings(readings), readings)
    with writing(output):
        output.write_bytes(msgspec.yaml.encode(board))
    out = Console()
    for name, unit in (("static", "W"), ("cycle", "J"), ("product", "J")):
        out.print(f"{name}: {getattr(board, name).range.text(unit)}", highlight=False)
    out.print(f"{board.board}, calibrated: the largest residual is {board.residual:.1%} of a reading.",
              highlight=False)
