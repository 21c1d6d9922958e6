"""What carries frames between the driver and a device: one interface, and the simulated accelerator behind it."""

import math
import threading
from functools import cached_property
from pathlib import Path
from typing import Protocol

from rich.console import Console

from hdl.config import GROUP
from hdl.registers import LONGEST
from hdl.serial import SerialTop
from hdl.tile import code_bits
from hdl.top import Top

from .simulator import Simulator


__all__ = ["LinkError", "LinkTimeout", "SimulatedTransport", "Transport", "simulate", "simulate_line", "sources"]


QUIET_SECONDS = 2  # a build that takes longer is announced


class LinkError(Exception):
    """The link does not work, or what came over it makes no sense."""


class LinkTimeout(LinkError, TimeoutError):
    """The device has not answered in the time it was given."""


class Transport(Protocol):
    """Bytes to a device and back. Frames and their repetition are the driver's business."""

    def exchange(self, request: bytes, replies: int, limit: int) -> bytes:
        """Send ``request`` whole, and return the bytes received when ``replies`` frames are complete, damaged ones too,
        or when nothing more comes: fewer bytes then, or none.

        The bytes may begin with what an earlier exchange left behind, and they are not checked. An empty request waits
        on. ``limit`` bounds the wait, in cycles of the device's clock; a real link takes as much time, and what its own
        speed and buffers need.

        Raises LinkError where the link is closed or broken.
        """
        ...

    def close(self) -> None:
        """Release the link. Nothing follows but further calls of ``close``."""
        ...


def sources():
    """Text of all that a design is made from: elaborating a large array to look it up takes longer than its answer."""
    root = Path(__file__).parents[1]
    paths = [Path(__file__).with_name("verilog.py"), *(path for package in ("golden", "hdl")
                                                       for path in sorted((root / package).rglob("*.py")))]
    return "\0".join(f"{path.relative_to(root)}\0{path.read_text()}" for path in paths)


def simulate(config, *, waveform=None):
    """An accelerator in the fast simulator, built or found in the cache; standard error shows a build that takes long.

    ``waveform`` is as of ``Simulator``, and so is what is raised.
    """
    return _simulator(Top(config), config, waveform)


def simulate_line(config, *, clock, baud, waveform=None):
    """Like ``simulate``, at the end of a serial line: ``clock`` and ``baud`` are as of hdl.uart.Uart."""
    return _simulator(SerialTop(config, clock=clock, baud=baud), (config, clock, baud), waveform)


def _simulator(component, what, waveform):
    config = component.config
    status = Console(stderr=True).status(f"building the simulator for {config.name}")
    timer = threading.Timer(QUIET_SECONDS, status.start)
    timer.daemon = True
    timer.start()
    try:
        simulator = Simulator(component, "top", key=f"{what!r}\0{sources()}", waveform=waveform)
    finally:
        timer.cancel()
        timer.join()
        status.stop()
    simulator.reset()
    return simulator


class SimulatedTransport:
    """An accelerator in the fast simulator, as a ``Transport``; it is built when it is first used.

    Parameters
    ----------
    config : Config
        The accelerator.
    waveform : path | None
        As of ``Simulator``.
    start : function
        Makes the simulator, as ``simulate`` does; ``limit`` counts beside the time of the bytes on its line, if any.

    Members
    -------
    cycles : int
        Of the device's clock, since the start.
    cycles_per_second : float
        Simulated in a second of the time spent simulating.
    """

    def __init__(self, config, *, waveform=None, start=simulate):
        self.config = config
        self.waveform, self.start = waveform, start
        self._closed = False

    @cached_property
    def _simulator(self):
        return self.start(self.config, waveform=self.waveform)

    def exchange(self, request, replies, limit):
        if self._closed:
            raise LinkError("the simulated link is closed")
        line = math.ceil((len(request) + replies * LONGEST) * self._simulator.byte_cycles)
        return self._simulator.run(request, frames=replies, cycles=limit + line)[1]

    def flip(self, bank, tile, address, bit):
        """Flip a bit of a tile's word of weights, as radiation does: one of hdl.tile.code_bits.

        Raises ValueError where there is none such.
        """
        first, lane = tile // self.config.stack * self.config.stack, tile % self.config.stack
        group, block = bank // GROUP * GROUP, ".block" * self.config.single_port
        memory = f"top.array.group_{group}.bank_{bank}.tile_{first}.weights{block}"
        self._simulator.flip(memory, address, lane * code_bits(self.config) + bit)

    def close(self):
        if not self._closed and "_simulator" in self.__dict__:
            self._simulator.close()
        self._closed = True

    @property
    def cycles(self):
        return self._simulator.cycles

    @property
    def cycles_per_second(self):
        return self._simulator.cycles_per_second
