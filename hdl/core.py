"""The whole machine for other people's designs: its link and nothing else."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .machine import Machine
from .technology.product import PORTABLE


__all__ = ["Core"]


class Core(wiring.Component):
    """An accelerator between two byte streams that carry the commands of hdl.protocol.

    Parameters
    ----------
    config : Config
    technology : Technology

    Members
    -------
    i, o : stream.Signature(8)
        The link: a byte passes in each cycle in which ``valid`` and ``ready`` are both 1.
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.top = top = Machine(self.config, self.technology)
        wiring.connect(m, wiring.flipped(self.i), top.i)
        wiring.connect(m, top.o, wiring.flipped(self.o))
        return m
