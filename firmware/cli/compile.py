"""The command that shows what a model becomes on a processor."""

import pathlib

import click
from rich.table import Table

from ..accelerator import smallest
from ..compiler.listing import listing
from ..compiler.schedule import compile_model
from ..formats.model import load
from ..sim.model.processor import Processor
from ..sim.model.processor_cycles import turn_cycles
from .console import json_option, print_table, progress, user_errors, write_json
from .options import config_option, model_options


__all__ = ["compile_command"]


SPACES = {"weights": "depth", "results": "results", "elements": "elements", "scalars": "scalars"}


@click.command()
@click.argument("model", type=click.Path(path_type=pathlib.Path), default="demo")
@config_option(None, show_default="the smallest preset that holds the model")
@click.option("--list", "lists", is_flag=True, help="Print the program.")
@json_option
@model_options
@user_errors
def compile_command(model, config, lists, json_path, told):
    """Compile MODEL for a processor: what it takes of each memory, and the cycles of a token.

    MODEL is as of setun run. Cycles are those of tokens of the model's own text, greedily generated, at the first, the
    middle and the last position.
    """
    loaded = load(model, **told)
    image = compile_model(loaded.integer, config or smallest(loaded))
    with progress() as told_progress:
        cycles = cycles_at(image, told_progress)
    used = {space: [image.used(space), getattr(image.config, size)] for space, size in SPACES.items()}
    used["program"] = [len(image.program), image.config.instructions]
    write_json(json_path, {
        "model": loaded.name, "config": image.config.name, "used": used,
        "map": {space: getattr(image.map, space) for space in SPACES}, "cycles": cycles})
    if lists:
        click.echo(listing(image), nl=False)
    table = Table(title=f"{loaded.name} on {image.config.name}")
    for heading in ("memory", "words used", "of"):
        table.add_column(heading, justify="left" if heading == "memory" else "right")
    for space, (words, size) in used.items():
        table.add_row(space, f"{words:,}", f"{size:,}")
    print_table(table)
    click.echo("cycles a token: " + ", ".join(f"{count:,} at position {position}"
                                              for position, count in cycles.items()))


def cycles_at(image, told):
    """{position from 1 on: cycles} of the first, the middle and the last position of a greedy text."""
    processor, token, found = Processor(image), 0, {}
    for position in range(image.context):
        token, meter = turn_cycles(processor, token, position)
        if position + 1 in (1, image.context // 2, image.context):
            found[position + 1] = meter.cycles.total()
        told("generating", position + 1, image.context)
    return found
