"""A table of constants, for any technology."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


__all__ = ["Table"]


class Table(wiring.Component):
    """o = contents[i]. Combinational.

    Parameters
    ----------
    contents : list of int
        As many as ``i`` has values; none is negative.

    Members
    -------
    i : In
    o : Out
    """

    def __init__(self, contents):
        self.contents = list(contents)
        super().__init__({"i": In(ceil_log2(len(self.contents))), "o": Out(max(self.contents).bit_length())})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(Array(self.contents)[self.i])
        return m
