"""The accumulators of one tile's rows, and how they leave."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import ACCUMULATOR_BITS, TRITS
from .product import sum_width


__all__ = ["Drain", "Result", "Settle"]


def Settle(config):
    """What of a token concerns the accumulators."""
    return data.StructLayout({"valid": 1, "first": 1, "last": 1, "destination": config.result_bits})


def Result(config):
    """An accumulator on its way to the result memory of its tile."""
    return data.StructLayout({"valid": 1, "address": config.result_bits,
                              "value": signed(ACCUMULATOR_BITS)})


class Drain(wiring.Component):
    """Accumulates five rows over the beats of a row block and sends their totals out one a cycle.

    ``i_settle`` comes with the sums. Two cycles after the last sums of a block, the totals move to holding registers
    while the next block accumulates; the five results follow in cycles 3 to 7. Blocks of five beats or more follow
    each other without a gap.

    Members
    -------
    i_sums, i_signs : In
        Of the last bank.
    i_settle : In(Settle)
    o_settle : Out(Settle)
        To the tile below, a cycle later.
    o_result : Out(Result)
    """

    def __init__(self, config, technology):
        self.config, self.technology = config, technology
        super().__init__({
            "i_sums": In(signed(sum_width(config.banks))).array(TRITS),
            "i_signs": In(TRITS),
            "i_settle": In(Settle(config)),
            "o_settle": Out(Settle(config)),
            "o_result": Out(Result(config)),
        })

    def elaborate(self, platform):
        m = Module()
        settle = Signal(Settle(self.config), reset_less=True)
        m.d.sync += settle.eq(self.i_settle)
        m.d.comb += self.o_settle.eq(settle)

        hold = [Signal(signed(ACCUMULATOR_BITS), name=f"hold_{row}", reset_less=True) for row in range(TRITS)]
        capture = settle.valid & settle.last
        for row in range(TRITS):
            m.submodules[f"accumulator_{row}"] = accumulator = self.technology.accumulator(products=self.config.banks)
            m.d.comb += [
                accumulator.i.eq(self.i_sums[row]),
                accumulator.i_sign.eq(self.i_signs[row]),
                accumulator.enable.eq(self.i_settle.valid),
                accumulator.first.eq(self.i_settle.first),
            ]
            with m.If(capture):
                m.d.sync += hold[row].eq(accumulator.o)

        select = Signal(TRITS, reset_less=True)  # one-hot: the row that leaves
        address = Signal.like(settle.destination, reset_less=True)
        m.d.sync += select.eq(Cat(capture, select[:-1]))
        with m.If(capture):
            m.d.sync += address.eq(settle.destination)
        with m.Else():
            m.d.sync += address.eq(address + 1)

        chosen = 0
        for row in range(TRITS):
            chosen = chosen | hold[row] & select[row].replicate(ACCUMULATOR_BITS)
        result = Signal(Result(self.config), reset_less=True)
        m.d.sync += [result.valid.eq(select.any()), result.address.eq(address), result.value.eq(chosen)]
        m.d.comb += self.o_result.eq(result)
        return m
