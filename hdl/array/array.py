"""The ternary array: groups of banks in a row, accumulators at its end."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import GROUP, TRITS
from ..technology.product import DOT_LATENCY, PORTABLE
from .bank import Beat
from .drain import Drain, Leaving, Result, Settle
from .group import Group
from .lists import ListWriteLayout
from .tile import WeightWrite


__all__ = ["Array", "flush_cycles"]


def _sum_cycles(config):
    """Cycles from a token to its sums of the first stack: list (2), address (1), weights (3), groups."""
    return 2 + 1 + 3 + DOT_LATENCY + config.groups - 1


def flush_cycles(config):
    """Cycles from a row block's last token to its last result: its sums, stacks of tiles, accumulator, five results."""
    return _sum_cycles(config) + config.hops - 1 + 1 + TRITS


class Array(wiring.Component):
    """K column banks x R rows of systolic ternary x int8 products: golden.matvec, a row block at a time.

    Takes a token every cycle and never stalls; the five results of each tile leave the tiles in parallel, skewed by
    one cycle from stack to stack, the last ``flush_cycles(config)`` cycles after the token marked ``last``. Row blocks
    must be at least five tokens long. A reset leaves what is on its way to run out.

    Parameters
    ----------
    config : Config
    technology : Technology
        The components used for products and accumulators.

    Members
    -------
    i_token : In(Beat)
    i_list : In(ListWriteLayout)
    i_weights : In(WeightWrite)
    o_results : Out(Result), one for each tile
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        super().__init__({
            "i_token": In(Beat(config)),
            "i_list": In(ListWriteLayout(config)),
            "i_weights": In(WeightWrite(config)),
            "o_results": Out(Result(config)).array(config.tiles),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        token, write, weights = self.i_token, self.i_list, self.i_weights
        sums, carries = [C(0, signed(1))] * config.rows, C(0, config.rows)
        for position in range(0, config.banks, GROUP):
            later_weights = Signal.like(weights, name=f"weights_{position}", reset_less=True)
            m.d.sync += later_weights.eq(weights)
            weights = later_weights
            if position:
                later_write = Signal.like(write, name=f"list_{position}", reset_less=True)
                m.d.sync += later_write.eq(write)
                write = later_write
            if position > GROUP:  # the second adds to sums that the first had ready
                later_token = Signal.like(token, name=f"token_{position}", reset_less=True)
                m.d.sync += later_token.eq(token)
                token = later_token
            m.submodules[f"group_{position}"] = group = Group(config, self.technology, position=position)
            m.d.comb += [
                group.i_token.eq(token),
                group.i_list.eq(write),
                group.i_weights.eq(weights),
                group.i_carries.eq(carries),
            ]
            m.d.comb += [port.eq(i) for port, i in zip(group.i_sums, sums)]
            sums, carries = group.o_sums, group.o_carries

        settle, valid, stages = Signal(Settle(config)), self.i_token.valid, _sum_cycles(config)
        m.d.comb += [
            settle.valid.eq(valid),
            settle.first.eq(self.i_token.first & valid),
            settle.last.eq(self.i_token.last & valid),
            settle.opens.eq(self.i_token.opens),
            settle.destination.eq(self.i_token.destination),
        ]
        for stage in range(stages):
            later = Signal(Settle(config), name=f"settle_{stage}", reset_less=True)
            m.d.sync += [later[name].eq(settle[name]) for name in ("valid", "first", "last")]
            # They hold for as many cycles as a block has beats, and need no more registers.
            held = Cat(later.opens, later.destination).eq(Cat(settle.opens, settle.destination))
            if stage % TRITS == stages % TRITS:
                with m.If(settle.first):
                    m.d.sync += held
            else:
                m.d.comb += held
            settle = later

        m.submodules.leaving = leaving = Leaving(config)
        m.d.comb += leaving.i_settle.eq(settle)
        valid, first, leave = settle.valid, settle.first, leaving.o_leave
        for hop in range(config.hops):
            tiles = slice(hop * config.stack, (hop + 1) * config.stack)
            rows = slice(tiles.start * TRITS, tiles.stop * TRITS)
            m.submodules[f"drain_{tiles.start}"] = drain = Drain(config, self.technology)
            m.d.comb += [drain.i_valid.eq(valid), drain.i_first.eq(first), drain.i_leave.eq(leave),
                         drain.i_carries.eq(carries[rows])]
            m.d.comb += [port.eq(i) for port, i in zip(drain.i_sums, sums[rows])]
            m.d.comb += [o.eq(result) for o, result in zip(self.o_results[tiles], drain.o_results)]
            valid, first, leave = drain.o_valid, drain.o_first, drain.o_leave
        return m
