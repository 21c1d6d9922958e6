"""The simulated accelerator as what carries the driver's frames."""

import math
import sys
import threading
from functools import cached_property

from ...driver.transport import LinkError
from ...hdl.build.verilog import sources
from ...hdl.link.serial import SerialTop
from ...hdl.machine import Machine
from ...hdl.protocol import LONGEST
from .simulator import Simulator


__all__ = ["SimulatedTransport", "simulate", "simulate_line"]


QUIET_SECONDS = 2  # a build that takes longer is announced


def simulate(config, *, waveform=None):
    """An accelerator in the fast simulator, built or found in the cache; standard error tells of a long build.

    ``waveform`` is as of ``Simulator``, and so is what is raised.
    """
    return _simulator(Machine(config), config, waveform)


def simulate_line(config, *, clock, baud, waveform=None):
    """Like ``simulate``, at the end of a serial line: ``clock`` and ``baud`` are as of hdl.link.uart.Uart."""
    return _simulator(SerialTop(config, clock=clock, baud=baud), (config, clock, baud), waveform)


def _simulator(component, what, waveform):
    said = f"building the simulator for {component.config.name}"
    timer = threading.Timer(QUIET_SECONDS, lambda: print(said, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        simulator = Simulator(component, "top", key=f"{what!r}\0{sources()}", waveform=waveform)
    finally:
        timer.cancel()
    simulator.reset()
    return simulator


class SimulatedTransport:
    """An accelerator in the fast simulator, as a setun.driver.transport.Transport.

    It is built when it is first used.

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
        """Send ``request`` and return what comes, as of ``Transport``; raises LinkError once it is closed."""
        if self._closed:
            raise LinkError("the simulated link is closed")
        line = math.ceil((len(request) + replies * LONGEST) * self._simulator.byte_cycles)
        return self._simulator.run(request, frames=replies, cycles=limit + line)[1]

    def flip(self, bank, tile, address, bit):
        """Flip a bit of a tile's word of weights, as radiation does: one of hdl.array.codes.WORD_BITS.

        Raises ValueError where there is none such.
        """
        self._simulator.flip(f"top.processor.engine.bank_{bank}.tile_{tile}.weights", address, bit)

    def close(self):
        """End the simulation; also twice."""
        if not self._closed and "_simulator" in self.__dict__:
            self._simulator.close()
        self._closed = True

    @property
    def cycles(self):
        """Cycles of the device's clock since the start."""
        return self._simulator.cycles

    @property
    def cycles_per_second(self):
        """Simulated in a second of the time spent simulating."""
        return self._simulator.cycles_per_second
