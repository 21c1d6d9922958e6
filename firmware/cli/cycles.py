"""The command that holds the cycle model against the RTL."""

import click
from rich.console import Console

from ..analysis.cases import all_cases, run_cases
from ..sim.model.processor_cycles import cycles_by
from .console import json_option, progress, user_errors, write_json


__all__ = ["cycles"]


@click.command()
@click.option("--list", "listed", is_flag=True, help="Only list the cases.")
@json_option
@user_errors
def cycles(listed, json_path):
    """Compare the cycle model with the RTL in products, of the shapes of all named models and of random ones.

    Exit 1 where a count or a value differs. setun run does the same for whole tokens.
    """
    cases, out = all_cases(), Console()
    if listed:
        for case in cases:
            click.echo(f"{case.config:10} {case.name:20} {case.rows:5} of {case.of_rows:5} x {case.columns:5}, zeros "
                       f"{case.zeros:.0%}")
        return
    with progress() as bar:
        found = list(run_cases(cases, bar))
    write_json(json_path, [
        {**case._asdict(), "predicted": cycles_by("cause", predicted), "measured": measured, "values": values}
        for case, predicted, measured, values in found])
    wrong = [(case, predicted, measured, values) for case, predicted, measured, values in found
             if predicted.total() != measured or values]
    for case, predicted, measured, values in wrong:
        out.print(f"{case}: predicted {predicted.total():,}, RTL {measured:,}, {values} values differ", highlight=False)
    counted = sum(measured for *_, measured, _ in found)
    out.print(f"{len(found)} cases, {counted:,} cycles on the RTL: {len(wrong)} differ from the model.",
              highlight=False)
    raise SystemExit(bool(wrong))
