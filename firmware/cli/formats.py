"""The commands on model files: what is in them, other formats, logits, and how close the integer model is."""

import pathlib

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from ..analysis.inspection import inspect
from ..analysis.measure import measure_closeness, measure_logits
from ..formats.checkpoint import load, open_checkpoint
from ..formats.convert import FORMATS, convert
from .console import (
    Input,
    Output,
    UserError,
    check_outputs,
    json_option,
    print_table,
    progress,
    user_errors,
    write_json,
    writing,
)
from .options import DEMO, model_options


__all__ = ["closeness", "convert_command", "inspect_command", "logits"]


WINDOW = 256  # bytes


@click.command(name="inspect")
@click.argument("model", type=click.Path(path_type=pathlib.Path))
@model_options
@json_option
@user_errors
def inspect_command(model, told, json_path):
    """Tell what is in MODEL: a Hugging Face folder, a GGUF or a container."""
    with progress() as report, open_checkpoint(model, **told) as opened:
        fields = inspect(opened, report)
    write_json(json_path, fields)
    out = Console(markup=False)
    table = Table(title=f"{model.name}: {fields['format']}", show_header=False)
    for name, value in fields["architecture"].items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
    table.add_row("tokenizer", {True: "its own", False: "bytes"}.get(fields["tokenizer"], fields["tokenizer"]))
    for line in fields["taken"]:
        table.add_row("taken", line)
    print_table(table, out)
    table = Table(title="Ternary matrices")
    for heading in ("layer", "matrix", "shape", "scale", "-1", "0", "+1", "dead rows", "columns"):
        table.add_column(heading, justify="left" if heading == "matrix" else "right")
    for entry in fields["tensors"].values():
        if "scale" in entry:
            table.add_row(str(entry["layer"]), entry["name"], " x ".join(map(str, entry["shape"])),
                          f"{entry['scale']:.6g}", *(f"{share:.1%}" for share in entry["shares"]),
                          str(entry["dead_rows"]), str(entry["dead_columns"]), end_section=entry["name"] == "down")
    print_table(table, out)
    table = Table(title="Boards", show_header=False)
    for name, value in fields["boards"].items():
        table.add_row(name, value)
    print_table(table, out)


@click.command(name="convert")
@click.argument("model", type=click.Path(path_type=pathlib.Path))
@click.argument("output", type=click.Path(path_type=pathlib.Path))
@click.option("--format", "form", required=True, type=click.Choice(list(FORMATS)),
              help="hf: a folder that transformers loads; gguf-i2s: bitnet.cpp's GGUF; setun: 1.6 bits a weight.")
@click.option("--force", is_flag=True, help="Overwrite OUTPUT where there is one.")
@model_options
@user_errors
def convert_command(model, output, form, force, told):
    """Write MODEL, of any format that is read, as OUTPUT, tensor by tensor; weights, scales and norms stay exact."""
    check_outputs(output)
    with progress() as report, open_checkpoint(model, **told) as opened:
        convert(opened, output, form, report, force=force)
    files = sorted(output.iterdir()) if output.is_dir() else [output]
    size = sum(file.stat().st_size for file in files)
    click.echo(f"{output}: {form}, {size:,} bytes")


def parse_ids(text):
    """Token ids of the option. Raises UserError."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--token-ids is {text!r}: give integers with commas between them, as 1,2,3") from error


@click.command()
@click.argument("model", type=click.Path(path_type=pathlib.Path))
@click.option("--token-ids", required=True, help="Integers with commas between them.")
@click.option("--numerics", type=click.Choice(["float", "integer"]), default="integer", show_default=True,
              help="The integer golden model, or the float32 reference.")
@click.option("--output", required=True, type=Output(),
              help="Write the logits here: .npy, float32 [tokens, vocabulary].")
@model_options
@user_errors
def logits(model, token_ids, numerics, output, told):
    """Logits of MODEL behind each of some tokens, from the golden model."""
    tokens = parse_ids(token_ids)
    loaded = load(model, **told)
    foreign = [token for token in tokens if not 0 <= token < loaded.vocab]
    if foreign:
        raise UserError(f"--token-ids has {foreign[0]} and the model {loaded.vocab} tokens: leave it out")
    if len(tokens) > loaded.context:
        raise UserError(f"--token-ids has {len(tokens)} tokens and the model a context of {loaded.context}: "
                        "leave some out")
    with progress() as report:
        found = measure_logits(loaded, np.array(tokens)[None], numerics, progress=report)[0].astype(np.float32)
    with writing(output), open(output, "wb") as file:
        np.save(file, found)
    click.echo(f"{output}: float32 {list(found.shape)}, {numerics} numerics")


@click.command()
@click.argument("model", type=click.Path(path_type=pathlib.Path), default=DEMO)
@click.option("--text", type=Input(), default=DEMO / "held_out.txt",
              help="What to predict; the shipped held-out text unless given.")
@click.option("--windows", type=click.IntRange(min=1), default=16, show_default=True, help="Of 256 bytes.")
@model_options
@json_option
@user_errors
def closeness(model, text, windows, told, json_path):
    """Compare the integer golden model of MODEL with the float32 reference on a text, byte by byte."""
    with open_checkpoint(model, **told) as opened:
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
    print_table(table)
