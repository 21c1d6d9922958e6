"""A column bank: activation lists, and the tiles with their weights."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import TRITS
from ..technology.memory import BLOCK_LATENCY
from .lists import ListWriteLayout
from .tile import Operand, TileStack, WeightWrite


__all__ = ["Bank", "Beat"]


class Beat(data.StructLayout):
    """One beat: every bank multiplies entry ``beat`` of its list in ``slot`` with its column's word from ``base`` on.

    ``first`` and ``last`` frame a row block. The results of one that ``opens`` a product go to address ``destination``
    and following, those of others behind the block's before.
    """

    def __init__(self, config):
        super().__init__({
            "valid": 1,
            "first": 1,
            "last": 1,
            "opens": 1,
            "slot": config.slot_bits,
            "beat": ceil_log2(config.list_depth),
            "base": config.address_bits,
            "destination": config.result_bits,
        })


class Bank(wiring.Component):
    """Looks up the activation of a beat, and sends it down the tiles.

    A token enters in cycle 0; the activation is at stack ``t`` of tiles, with its weights, in cycle 6 + t.

    Members
    -------
    i_token : In(Beat)
    i_list : In(ListWriteLayout)
    i_weights : In(WeightWrite)
    o_x : Out(signed(8)), one for each stack
    o_non_zero, o_sign : Out(config.rows)
    """

    def __init__(self, config, technology, *, position):
        self.config, self.technology, self.position = config, technology, position
        super().__init__({
            "i_token": In(Beat(config)),
            "i_list": In(ListWriteLayout(config)),
            "i_weights": In(WeightWrite(config)),
            "o_x": Out(signed(8)).array(config.hops),
            "o_non_zero": Out(config.rows),
            "o_sign": Out(config.rows),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        write, weights, token = self.i_list, self.i_weights, self.i_token

        entry = Signal(data.StructLayout({"value": signed(8), "index": ceil_log2(config.list_depth)}))
        m.submodules.list = entries = self.technology.memory(
            depth=config.slots << ceil_log2(config.list_depth), width=len(entry.as_value()))
        m.d.comb += [
            entries.write_enable.eq(write.select[self.position]),
            entries.write_address.eq(Cat(write.address, write.slot)),
            entries.write_data.eq(Cat(write.value, write.index)),
            entries.read_enable.eq(token.valid),
            entries.read_address.eq(Cat(token.beat, token.slot)),
            entry.eq(entries.read_data),
        ]

        valid, base = token.valid, token.base
        for stage in range(BLOCK_LATENCY):
            later_valid, later_base = (Signal.like(signal, name=f"{name}_{stage}", reset_less=True)
                                       for name, signal in (("valid", valid), ("base", base)))
            m.d.sync += [later_valid.eq(valid), later_base.eq(base)]
            valid, base = later_valid, later_base
        operand = Signal(Operand(config), reset_less=True)
        m.d.sync += [operand.valid.eq(valid), operand.address.eq(base + entry.index), operand.x.eq(entry.value)]

        for hop, x in enumerate(self.o_x):
            tiles = slice(hop * config.stack, (hop + 1) * config.stack)
            rows = slice(tiles.start * TRITS, tiles.stop * TRITS)
            write_enable = Signal(config.stack, name=f"write_{tiles.start}", reset_less=True)
            m.d.sync += write_enable.eq(Mux(weights.bank[self.position], weights.tile[tiles], 0))
            m.submodules[f"tile_{tiles.start}"] = below = TileStack(config, self.technology)
            m.d.comb += [
                below.i_operand.eq(operand),
                below.write_enable.eq(write_enable),
                below.write_address.eq(weights.address),
                below.write_word.eq(weights.word),
                x.eq(below.o_x),
                self.o_non_zero[rows].eq(below.o_non_zero),
                self.o_sign[rows].eq(below.o_sign),
            ]
            operand = below.o_operand
        return m
