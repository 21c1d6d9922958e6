"""Registers that hold the totals of a tile while they leave."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import TRITS


__all__ = ["Holding", "HoldingSignature"]


class HoldingSignature(wiring.Signature):
    """Ports of the registers.

    Members
    -------
    i : In(signed(width)), one for each row
        Totals, taken in the cycle of ``select[0]``.
    select : In(5)
        One-hot: the row that is at ``o`` in the next cycle. The rows follow each other, from 0 on.
    o : Out(signed(width))
        0 where none was selected.
    """

    def __init__(self, width):
        super().__init__({"i": In(signed(width)).array(TRITS), "select": In(TRITS), "o": Out(signed(width))})


class Holding(wiring.Component):
    """Takes five totals in one cycle, and shows one a cycle from the next on.

    Parameters
    ----------
    width : int
        Bits of a total.
    """

    def __init__(self, *, width):
        super().__init__(HoldingSignature(width))

    def elaborate(self, platform):
        m = Module()
        # What leaves comes through a register of its own that is reset while another leaves: to choose is to join.
        leaving = []
        for row, hold in enumerate(self.i):
            if row:
                hold = Signal.like(self.o, name=f"hold_{row}", reset_less=True)
                with m.If(self.select[0]):
                    m.d.sync += hold.eq(self.i[row])
            leaving.append(leaves := Signal.like(self.o, name=f"leaving_{row}", reset_less=True))
            with m.If(self.select[row]):
                m.d.sync += leaves.eq(hold)
            with m.Else():
                m.d.sync += leaves.eq(0)
        m.d.comb += self.o.eq(reduce(or_, leaving))
        return m
