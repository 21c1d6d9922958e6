"""Options that several commands have."""

import functools

import click

from ..configuration import board_of, config_of
from ..driver.port import BAUD, LATENCY, SerialTransport
from ..errors import ArgumentError
from ..formats.checkpoint import DEMO
from ..formats.gguf_blocks import I2_S_PACKINGS
from ..hdl.config import PRESETS
from .console import Output, UserError


__all__ = ["BOARD", "CONFIG", "DEMO", "accelerator", "config_option", "model_options", "port_options",
           "waveform_option"]


class Named(click.ParamType):
    """A value by its text; ``find(text)`` raises ArgumentError where there is none."""

    def __init__(self, name, find):
        self.name, self.find = name, find

    def convert(self, value, param, ctx):
        try:
            return self.find(value)
        except ArgumentError as error:
            raise UserError(str(error)) from error


CONFIG = Named("config", config_of)
BOARD = Named("board", board_of)


def config_option(default, **more):
    """Option ``--config``, a Config; ``more`` is as of click.option."""
    return click.option("--config", type=CONFIG, **{"default": default, "show_default": True, **more},
                        help="A preset (setun configs), one with changes, 16x20,depth=4096, or a YAML file with banks, "
                             "tiles, depth, columns and blocks.")


def port_options(default):
    """Decorator: an accelerator at a port in place of the simulated one, which is ``default`` unless given."""
    def chosen(context, parameter, value):
        return value or (PRESETS[default] if context.params["port"] is None else None)

    options = (
        config_option(None, show_default=f"{default}, or what is at the port", callback=chosen),
        click.option("--port", is_eager=True, help="Serial port of a board, /dev/ttyUSB0, or socket://HOST:PORT."),
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


def accelerator(port, baud, latency, waveform):
    """Transport of the board at a port, None of the simulated accelerator."""
    if port is not None and waveform:
        raise UserError("--waveform is of the simulated accelerator: leave out --port")
    return None if port is None else SerialTransport(port, baud, latency)


waveform_option = click.option("--waveform", type=Output(),
                               help="Write a VCD of the whole simulation, for GTKWave or Surfer.")
