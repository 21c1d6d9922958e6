"""The whole machine at the end of a serial line."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..machine import Machine
from ..technology.product import PORTABLE
from .uart import Uart


__all__ = ["SerialTop"]


class SerialTop(wiring.Component):
    """What is on a board: the accelerator behind a UART.

    Parameters
    ----------
    config : Config
    clock, baud : int
        As of Uart.
    technology : Technology

    Members
    -------
    rx : In(1)
    tx : Out(1)
    """

    def __init__(self, config, *, clock, baud, technology=PORTABLE):
        self.config, self.clock, self.baud, self.technology = config, clock, baud, technology
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart = uart = Uart(clock=self.clock, baud=self.baud)
        m.submodules.top = top = Machine(self.config, self.technology)
        m.d.comb += [uart.rx.eq(self.rx), self.tx.eq(uart.tx)]
        wiring.connect(m, uart.o, top.i)
        wiring.connect(m, top.o, uart.i)
        return m
