"""The command ``setun``."""

import click

from .boards import board, boards, build, configs, program
from .explore import explore_command
from .formats import closeness, convert_command, inspect_command, logits
from .profile import cycles, models, paper, profile
from .run import matvec, run
from .switching import calibrate_command, switching
from .verilog import verilog


__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Run a BitNet b1.58 accelerator, its simulated RTL or a board, against the golden model."""


for command in (board, boards, build, calibrate_command, closeness, configs, convert_command, cycles, explore_command,
                inspect_command, logits, matvec, models, paper, profile, program, run, switching,
                verilog):
    main.add_command(command)
