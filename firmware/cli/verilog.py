"""The command that writes an accelerator for other people's designs."""

import click

from ..hardware import TECHNOLOGIES, core
from .console import Output, json_option, user_errors, write_json, writing
from .options import config_option


__all__ = ["verilog"]


@click.command()
@config_option("24x40")
@click.option("--technology", type=click.Choice(TECHNOLOGIES), default="portable", show_default=True,
              help="portable has no vendor's cells; the others use those of a family.")
@click.option("--output", type=Output(), required=True,
              help="Write the Verilog to this file; its top module is setun.")
@json_option
@user_errors
def verilog(config, technology, output, json_path):
    """Write an accelerator as one Verilog file, with a byte stream in and one out, for a design of your own.

    --json has its ports, parameters, memories, version and hash. What goes over the streams is in setun.hdl.protocol.
    """
    text, manifest = core(config, technology=technology)
    with writing(output):
        output.write_text(text)
    write_json(json_path, manifest)
    click.echo(f"{output}: module setun, config {config.name}, {len(text.splitlines()):,} lines")
