"""Options that several commands have."""

import functools
import pathlib

import click

from ..driver.port import BAUD, LATENCY, SerialTransport
from ..hdl.config import PRESETS
from .console import UserError


__all__ = ["DEMO", "accelerator", "config_option", "port_options", "waveform_option"]


DEMO = pathlib.Path(__file__).parents[1] / "demo"


def config_option(default, **more):
    """Option ``--config``, a preset's name as ``config_name``; ``more`` is as of click.option."""
    return click.option("--config", "config_name", type=click.Choice(list(PRESETS)),
                        **{"default": default, "show_default": True, **more},
                        help="Preset of the accelerator; see setun configs.")


def port_options(default):
    """Decorator: an accelerator at a port in place of the simulated one, which is ``default`` unless given."""
    def chosen(context, parameter, value):
        return value or (default if context.params["port"] is None else None)

    options = (
        config_option(None, show_default=f"{default}, or what is at the port", callback=chosen),
        click.option("--port", is_eager=True, help="Serial port of a board, /dev/ttyUSB0, or socket://HOST:PORT."),
        click.option("--baud", type=click.IntRange(min=1), default=BAUD, show_default=True, help="Bits a second."),
        click.option("--latency", type=click.FloatRange(min=0, min_open=True), default=LATENCY, show_default=True,
                     help="Seconds that bytes may be on their way, or in a slow simulation of a board."),
    )
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


def accelerator(config_name, port, baud, latency, waveform):
    """Config, None where a board is to tell, and transport, None of the simulated accelerator."""
    if port is not None and waveform:
        raise UserError("--waveform is of the simulated accelerator: leave out --port")
    return PRESETS.get(config_name), None if port is None else SerialTransport(port, baud, latency)


waveform_option = click.option("--waveform", type=click.Path(path_type=pathlib.Path, dir_okay=False),
                               help="Write a VCD of the whole simulation, for GTKWave or Surfer.")
