"""Up to four column banks, and the dot products of their columns."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import GROUP, sum_width
from .bank import Bank, Beat
from .lists import ListWriteLayout
from .tile import WeightWrite


__all__ = ["Group"]


class Group(wiring.Component):
    """Adds the products of its banks, row by row, to the sums of the group before.

    A token enters in cycle 0; ``i_sums`` of stack ``t`` of tiles must come in cycle 9 + t, and ``o_sums`` leave in the
    next, those of the first group in the same.

    Parameters
    ----------
    config : Config
    technology : Technology
    position : int
        Number of its first bank: banks before this group.

    Members
    -------
    i_token : In(Beat)
    i_list : In(ListWriteLayout)
    i_weights : In(WeightWrite)
    i_sums, o_sums : partial sums of the rows, in the technology's form
    i_carries, o_carries : what the technology wants to know of them
    """

    def __init__(self, config, technology, *, position):
        self.config, self.technology, self.position = config, technology, position
        self.banks = range(position, min(position + GROUP, config.banks))
        super().__init__({
            "i_token": In(Beat(config)),
            "i_list": In(ListWriteLayout(config)),
            "i_weights": In(WeightWrite(config)),
            "i_sums": In(signed(sum_width(position))).array(config.rows),
            "o_sums": Out(signed(sum_width(self.banks.stop))).array(config.rows),
            "i_carries": In(config.rows),
            "o_carries": Out(config.rows),
        })

    def elaborate(self, platform):
        m = Module()
        banks = []
        for position in self.banks:
            m.submodules[f"bank_{position}"] = bank = Bank(self.config, self.technology, position=position)
            m.d.comb += [bank.i_token.eq(self.i_token), bank.i_list.eq(self.i_list), bank.i_weights.eq(self.i_weights)]
            banks.append(bank)
        for row in range(self.config.rows):
            m.submodules[f"dot_{row}"] = dot = self.technology.dot(position=self.position, products=len(banks))
            m.d.comb += [
                dot.non_zero.eq(Cat(bank.o_non_zero[row] for bank in banks)),
                dot.sign.eq(Cat(bank.o_sign[row] for bank in banks)),
                dot.i.eq(self.i_sums[row]),
                dot.i_carry.eq(self.i_carries[row]),
                self.o_sums[row].eq(dot.o),
                self.o_carries[row].eq(dot.o_carry),
            ]
            m.d.comb += [x.eq(bank.o_x[row * self.config.hops // self.config.rows])
                         for x, bank in zip(dot.x, banks, strict=True)]
        return m
