"""The accumulators of a stack of tiles, and how their totals leave."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import TRITS
from .product import sum_width


__all__ = ["Drain", "Result", "Settle"]


def Settle(config):
    """What of a token concerns the accumulators.

    ``first`` and ``last`` are only set where ``valid`` is. ``destination`` is that of a block from its ``first`` on,
    for five cycles or more.
    """
    return data.StructLayout({"valid": 1, "first": 1, "last": 1, "destination": config.result_bits})


def Result(config):
    """An accumulator on its way to the result memory of its tile."""
    return data.StructLayout({"valid": 1, "address": config.result_bits,
                              "value": signed(config.accumulator_bits)})


class Drain(wiring.Component):
    """Accumulates the rows of a stack over the beats of a row block and sends the totals out, one of each tile a cycle.

    ``i_settle`` comes with the sums. The five results of each tile follow in cycles 2 to 6 after the last sums of a
    block, while the next block accumulates. Blocks of five beats or more follow each other without a gap.

    Members
    -------
    i_sums, i_signs : In
        Of the last bank.
    i_settle : In(Settle)
    o_settle : Out(Settle)
        To the stack below, a cycle later.
    o_results : Out(Result), one for each tile
    """

    def __init__(self, config, technology):
        self.config, self.technology = config, technology
        rows = config.stack * TRITS
        super().__init__({
            "i_sums": In(signed(sum_width(config.banks))).array(rows),
            "i_signs": In(rows),
            "i_settle": In(Settle(config)),
            "o_settle": Out(Settle(config)),
            "o_results": Out(Result(config)).array(config.stack),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        settle = Signal(Settle(config), reset_less=True)
        m.d.sync += [settle[name].eq(self.i_settle[name]) for name in ("valid", "first", "last")]
        with m.If(self.i_settle.first):
            m.d.sync += settle.destination.eq(self.i_settle.destination)
        m.d.comb += self.o_settle.eq(settle)

        select, leaving = Signal(TRITS), Signal(TRITS - 1, reset_less=True)  # one-hot: the row that leaves
        valid, address = Signal(reset_less=True), Signal.like(settle.destination, reset_less=True)
        m.d.comb += select.eq(Cat(settle.last, leaving))
        m.d.sync += [leaving.eq(select), valid.eq(select.any()), address.eq(address + 1)]
        with m.If(settle.last):
            m.d.sync += address.eq(settle.destination)

        for tile, result in enumerate(self.o_results):
            m.submodules[f"holding_{tile}"] = holding = self.technology.holding(width=config.accumulator_bits)
            m.d.comb += [holding.select.eq(select), result.valid.eq(valid), result.address.eq(address),
                         result.value.eq(holding.o)]
            for row, total in enumerate(holding.i, tile * TRITS):
                m.submodules[f"accumulator_{row}"] = accumulator = self.technology.accumulator(
                    products=config.banks, width=config.accumulator_bits)
                m.d.comb += [
                    accumulator.i.eq(self.i_sums[row]),
                    accumulator.i_sign.eq(self.i_signs[row]),
                    accumulator.enable.eq(self.i_settle.valid),
                    accumulator.first.eq(self.i_settle.first),
                    total.eq(accumulator.o),
                ]
        return m
