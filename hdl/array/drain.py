"""The accumulators of a stack of tiles, and how their totals leave."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import TRITS, sum_width


__all__ = ["Drain", "Leave", "Leaving", "Result", "Settle"]


class Settle(data.StructLayout):
    """What of a token concerns the accumulators.

    ``first`` and ``last`` are only set where ``valid`` is. ``opens`` and ``destination`` are those of a block from its
    ``first`` on, for five cycles or more.
    """

    def __init__(self, config):
        super().__init__({"valid": 1, "first": 1, "last": 1, "opens": 1, "destination": config.result_bits})


class Result(data.StructLayout):
    """An accumulator on its way to the result memory of its tile."""

    def __init__(self, config):
        super().__init__({"valid": 1, "address": config.result_bits,
                          "value": signed(config.accumulator_bits)})


class Leave(data.StructLayout):
    """When the rows of a stack leave: ``select`` is one-hot, the row that is taken; the others tell of the one that
    was taken in the cycle before. All of ``select`` is set in the first cycles of a stack."""

    def __init__(self, config):
        super().__init__({"select": TRITS, "valid": 1, "address": config.result_bits})


class Leaving(wiring.Component):
    """Lets the rows of the first stack leave, one after the other, from the second cycle after a block's last sums.

    Their address counts on from that of the block before, or from its destination where a block opens a product. Blocks
    of five beats or more follow each other without a gap.

    Members
    -------
    i_settle : In(Settle)
    o_leave : Out(Leave)
        ``select`` from the cycle after ``i_settle.last`` on.
    """

    def __init__(self, config):
        super().__init__({"i_settle": In(Settle(config)), "o_leave": Out(Leave(config))})

    def elaborate(self, platform):
        m = Module()
        settle, leave = self.i_settle, self.o_leave
        last, opens = Signal(reset_less=True), Signal(reset_less=True)
        destination = Signal.like(settle.destination, reset_less=True)
        later, valid = Signal(TRITS - 1, reset_less=True), Signal(reset_less=True)
        # The sum of the address before and 1; or, to choose none, of 0 and the destination.
        before, step = Signal.like(leave.address, reset_less=True), Signal.like(leave.address, reset_less=True)
        m.d.comb += [leave.select.eq(Cat(last, later)), leave.valid.eq(valid), leave.address.eq(before + step)]
        m.d.sync += [last.eq(settle.last), later.eq(leave.select), valid.eq(leave.select.any())]
        m.d.sync += step.eq(1)
        with m.If(valid):
            m.d.sync += before.eq(leave.address)
        with m.If(settle.first):
            m.d.sync += [opens.eq(settle.opens), destination.eq(settle.destination)]
        with m.If(last & opens):
            m.d.sync += [before.eq(0), step.eq(destination)]
        return m


class Drain(wiring.Component):
    """Accumulates the rows of a stack over the beats of a row block and sends the totals out, one of each tile a cycle.

    The five results of each tile follow in cycles 2 to 6 after the last sums of a block, while the next block
    accumulates.

    Members
    -------
    i_sums, i_carries : In
        Of the last group.
    i_valid, i_first : In(1)
        Of Settle, with the sums.
    i_leave : In(Leave)
    o_valid, o_first, o_leave : Out
        To the stack below, a cycle later.
    o_results : Out(Result), one for each tile
    """

    def __init__(self, config, technology):
        self.config, self.technology = config, technology
        rows = config.stack * TRITS
        super().__init__({
            "i_sums": In(signed(sum_width(config.banks))).array(rows),
            "i_carries": In(rows),
            "i_valid": In(1),
            "i_first": In(1),
            "i_leave": In(Leave(config)),
            "o_valid": Out(1),
            "o_first": Out(1),
            "o_leave": Out(Leave(config)),
            "o_results": Out(Result(config)).array(config.stack),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        # ``select`` starts as ones, unlike what Leaving makes it of: synthesis makes one register of two that are
        # always equal, and stacks lie far apart.
        starts = {"valid": 0, "first": 0, "leave": {"select": (1 << TRITS) - 1}}
        for name, start in starts.items():
            i, o = getattr(self, f"i_{name}"), getattr(self, f"o_{name}")
            later = Signal.like(i, name=name, init=start, reset_less=True)
            m.d.sync += later.eq(i)
            m.d.comb += o.eq(later)

        for tile, result in enumerate(self.o_results):
            m.submodules[f"holding_{tile}"] = holding = self.technology.holding(width=config.accumulator_bits)
            m.d.comb += [holding.select.eq(self.i_leave.select), result.valid.eq(self.i_leave.valid),
                         result.address.eq(self.i_leave.address), result.value.eq(holding.o)]
            for row, total in enumerate(holding.i, tile * TRITS):
                m.submodules[f"accumulator_{row}"] = accumulator = self.technology.accumulator(
                    products=config.banks, width=config.accumulator_bits)
                m.d.comb += [
                    accumulator.i.eq(self.i_sums[row]),
                    accumulator.i_carry.eq(self.i_carries[row]),
                    accumulator.enable.eq(self.i_valid),
                    accumulator.first.eq(self.i_first),
                    total.eq(accumulator.o),
                ]
        return m
