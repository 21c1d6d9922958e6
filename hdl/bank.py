"""A column bank: activation lists, and the tiles."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import TRITS
from .lists import ListWriteLayout
from .product import sum_width
from .tile import Operand, Tile, WeightWrite


__all__ = ["Bank", "Token"]


def Token(config):
    """One beat: every bank multiplies entry ``beat`` of its list in ``slot`` with its column's word from ``base`` on.

    ``first`` and ``last`` frame a row block, whose results go to address ``destination`` and following.
    """
    return data.StructLayout({
        "valid": 1,
        "first": 1,
        "last": 1,
        "slot": config.slot_bits,
        "beat": ceil_log2(config.list_depth),
        "base": config.address_bits,
        "destination": config.result_bits,
    })


class Bank(wiring.Component):
    """Looks up the activation of a beat, and sends it down the tiles.

    A token enters in cycle 0; stack ``t`` of tiles gets the operand in cycle 3 + t. The token goes on to the next bank
    a cycle later.

    Members
    -------
    i_token, o_token : Token
    i_list : In(ListWriteLayout)
    i_weights : In(WeightWrite)
    i_sums, o_sums, i_signs, o_signs : as in Tile, for all rows
    """

    def __init__(self, config, technology, *, position):
        self.config, self.technology, self.position = config, technology, position
        super().__init__({
            "i_token": In(Token(config)),
            "o_token": Out(Token(config)),
            "i_list": In(ListWriteLayout(config)),
            "i_weights": In(WeightWrite(config)),
            "i_sums": In(signed(sum_width(position))).array(config.rows),
            "o_sums": Out(signed(sum_width(position + 1))).array(config.rows),
            "i_signs": In(config.rows),
            "o_signs": Out(config.rows),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        write, weights = self.i_list, self.i_weights
        token = Signal(Token(config), reset_less=True)
        m.d.sync += token.eq(self.i_token)
        m.d.comb += self.o_token.eq(token)

        entry = Signal(data.StructLayout({"value": signed(8), "index": ceil_log2(config.list_depth)}))
        m.submodules.list = entries = self.technology.memory(
            depth=config.slots << ceil_log2(config.list_depth), width=len(entry.as_value()))
        m.d.comb += [
            entries.write_enable.eq(write.select[self.position]),
            entries.write_address.eq(Cat(write.address, write.slot)),
            entries.write_data.eq(Cat(write.value, write.index)),
            entries.read_enable.eq(self.i_token.valid),
            entries.read_address.eq(Cat(self.i_token.beat, self.i_token.slot)),
            entry.eq(entries.read_data),
        ]

        base, valid = Signal.like(token.base, reset_less=True), Signal(reset_less=True)
        operand = Signal(Operand(config), reset_less=True)
        m.d.sync += [
            valid.eq(token.valid),
            base.eq(token.base),
            operand.valid.eq(valid),
            operand.address.eq(base + entry.index),
            operand.x.eq(entry.value),
        ]

        for hop in range(config.hops):
            tiles = slice(hop * config.stack, (hop + 1) * config.stack)
            rows = slice(tiles.start * TRITS, tiles.stop * TRITS)
            write_enable = Signal(config.stack, name=f"write_{tiles.start}", reset_less=True)
            m.d.sync += write_enable.eq(Mux(weights.bank[self.position], weights.tile[tiles], 0))
            m.submodules[f"tile_{tiles.start}"] = below = Tile(config, self.technology, position=self.position)
            m.d.comb += [
                below.i_operand.eq(operand),
                below.write_enable.eq(write_enable),
                below.write_address.eq(weights.address),
                below.write_word.eq(weights.word),
                below.i_signs.eq(self.i_signs[rows]),
                self.o_signs[rows].eq(below.o_signs),
            ]
            m.d.comb += [port.eq(i) for port, i in zip(below.i_sums, self.i_sums[rows])]
            m.d.comb += [o.eq(port) for port, o in zip(below.o_sums, self.o_sums[rows])]
            operand = below.o_operand
        return m
