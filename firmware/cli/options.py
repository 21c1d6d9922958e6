"""Options that several commands have."""

import functools

import click

from ..accelerator import Accelerator, connect
from ..configuration import board_of, config_of
from ..driver.port import BAUD, LATENCY
from ..errors import ArgumentError
from ..formats.checkpoint import DEMO
from ..formats.gguf_blocks import I2_S_PACKINGS
from ..hdl.config import PRESETS
from ..sim.rtl.transport import SimulatedTransport
from .console import Output, UserError


__all__ = ["BOARD", "CONFIG", "DEMO", "Named", "accelerator", "config_option", "model_options", "port_options",
           "waveform_option"]


class Named(click.ParamType):
    """A value by its text; ``find(text)`` raises ArgumentError where there is none."""

    def __init__(self, name, find):
        self.name, self.find = name, find

    def convert(self, value, param, ctx):
        """As of click.ParamType. Raises UserError."""
        try:
            return self.find(value)
        except ArgumentError as error:
            raise UserError(str(error)) from error


CONFIG = Named("config", config_of)
BOARD = Named("board", board_of)


def config_option(default, **more):
    """Option ``--config``, a Config; ``more`` is as of click.option."""
    return click.option("--config", type=CONFIG, **{"default": default, "show_default": True, **more},
                        help=f"A preset (setun configs), one with changes, {next(iter(PRESETS))},depth=4096, or a "
                             "YAML file with banks, tiles and depth.")


def port_options(default, *more):
    """Decorator: an accelerator at a port in place of the simulated one, which is ``default`` unless given."""
    options = (
        config_option(None, show_default=f"{default}, or what is at the port"),
        *more,
        click.option("--port", help="Serial port of a board, /dev/ttyUSB0, or socket://HOST:PORT."),
        click.option("--baud", type=click.IntRange(min=1), default=BAUD, show_default=True, help="Bits a second."),
        click.option("--latency", type=click.FloatRange(min=0, min_open=True), default=LATENCY, show_default=True,
                     help="Seconds that bytes may be on their way, or in a slow simulation of a board."),
    )
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


def model_options(command):
    """Decorator: what a GGUF leaves open, as ``told``, keyword arguments of open_checkpoint and load."""
    @click.option("--activation", type=click.Choice(["relu2", "silu"]),
                  help="Of a GGUF's feed-forward network, in place of what its architecture says.")
    @click.option("--i2s-packing", type=click.Choice(list(I2_S_PACKINGS)),
                  help="Where the matrices of a GGUF were packed as I2_S; x86 unless given.")
    @functools.wraps(command)
    def told(activation, i2s_packing, **arguments):
        return command(told={"activation": activation, "i2s_packing": i2s_packing}, **arguments)

    return told


def accelerator(config, port, baud, latency, waveform):
    """The Accelerator at a port, or simulated; ``config`` is what it is, or must be."""
    if port is None:
        return Accelerator(SimulatedTransport(config, waveform=waveform), config)
    if waveform:
        raise UserError("--waveform is of the simulated accelerator: leave out --port")
    return connect(port, baud=baud, latency=latency, config=config)


waveform_option = click.option("--waveform", type=Output(),
                               help="Write a VCD of the whole simulation, for GTKWave or Surfer.")
