"""The ternary array: banks in a row, accumulators at its end."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .bank import Bank, Token
from .config import TRITS
from .drain import Drain, Result, Settle
from .lists import ListWriteLayout
from .product import PORTABLE
from .tile import WeightWrite


__all__ = ["Array", "flush_cycles"]


NEIGHBOURS = 4  # banks that are written through the same registers


def flush_cycles(config):
    """Cycles from a row block's last token to its last result.

    The token passes the banks, one a cycle, and its operand the stacks of tiles; on the way are list (2), address (1),
    weights (2), trits (1), product (1), accumulator (1), and five results.
    """
    return (config.banks - 1) + (config.hops - 1) + 2 + 1 + 2 + 1 + 1 + 1 + TRITS


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
    i_token : In(Token)
    i_list : In(ListWriteLayout)
    i_weights : In(WeightWrite)
    o_results : Out(Result), one for each tile
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        super().__init__({
            "i_token": In(Token(config)),
            "i_list": In(ListWriteLayout(config)),
            "i_weights": In(WeightWrite(config)),
            "o_results": Out(Result(config)).array(config.tiles),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        token, write, weights = self.i_token, self.i_list, self.i_weights
        sums, signs = [C(0, signed(1))] * config.rows, C(0, config.rows)
        for position in range(config.banks):
            if position and position % NEIGHBOURS == 0:
                later_write = Signal.like(write, name=f"list_{position}", reset_less=True)
                later_weights = Signal.like(weights, name=f"weights_{position}", reset_less=True)
                m.d.sync += [later_write.eq(write), later_weights.eq(weights)]
                write, weights = later_write, later_weights
            m.submodules[f"bank_{position}"] = bank = Bank(config, self.technology, position=position)
            m.d.comb += [
                bank.i_token.eq(token),
                bank.i_list.eq(write),
                bank.i_weights.eq(weights),
                bank.i_signs.eq(signs),
            ]
            m.d.comb += [port.eq(i) for port, i in zip(bank.i_sums, sums)]
            token, sums, signs = bank.o_token, bank.o_sums, bank.o_signs

        # From the token to the last bank's sums: banks, list and address, weights, trits, product.
        settle, valid, stages = Signal(Settle(config)), self.i_token.valid, config.banks + 2 + 1 + 2 + 1
        m.d.comb += [
            settle.valid.eq(valid),
            settle.first.eq(self.i_token.first & valid),
            settle.last.eq(self.i_token.last & valid),
            settle.destination.eq(self.i_token.destination),
        ]
        for stage in range(stages):
            later = Signal(Settle(config), name=f"settle_{stage}", reset_less=True)
            m.d.sync += [later[name].eq(settle[name]) for name in ("valid", "first", "last")]
            # It holds for as many cycles as a block has beats, and needs no more registers.
            if stage % TRITS == stages % TRITS:
                with m.If(settle.first):
                    m.d.sync += later.destination.eq(settle.destination)
            else:
                m.d.comb += later.destination.eq(settle.destination)
            settle = later

        for hop in range(config.hops):
            tiles = slice(hop * config.stack, (hop + 1) * config.stack)
            rows = slice(tiles.start * TRITS, tiles.stop * TRITS)
            m.submodules[f"drain_{tiles.start}"] = drain = Drain(config, self.technology)
            m.d.comb += [drain.i_settle.eq(settle), drain.i_signs.eq(signs[rows])]
            m.d.comb += [port.eq(i) for port, i in zip(drain.i_sums, sums[rows])]
            m.d.comb += [o.eq(result) for o, result in zip(self.o_results[tiles], drain.o_results)]
            settle = drain.o_settle
        return m
