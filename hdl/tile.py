"""A tile: five rows of one column bank, with their weights."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .codes import WORD_BITS, WordDecoder
from .config import TRITS
from .memory import BlockMemory
from .product import sum_width


__all__ = ["Operand", "Tile", "WeightWrite"]


def Operand(config):
    """An activation and the word of its column: {valid, address, x}."""
    return data.StructLayout({"valid": 1, "address": ceil_log2(config.depth) or 1, "x": signed(8)})


def WeightWrite(config):
    """A word on its way to the tile (one-hot) of a bank (one-hot, this bank first)."""
    return data.StructLayout({"bank": config.banks, "tile": config.tiles, "address": ceil_log2(config.depth) or 1,
                              "word": WORD_BITS})


class Tile(wiring.Component):
    """Weight memory, trit decoder and one product for each of five rows.

    Drawn for one row; ``operand`` enters in cycle 0, ``sums`` must come in cycle 3 and leave in cycle 4::

        operand.address -> memory -> register -> trits -> register --> +- -> register -> o_sums
        operand.x ---------> register -> register ------> register ----^
        i_sums --------------------------------------------------------^

    Parameters
    ----------
    config : Config
    technology : Technology
    position : int
        Number of the bank: products before this one in the row's chain.

    Members
    -------
    i_operand : In(Operand)
    o_operand : Out(Operand)
        To the tile below, a cycle later.
    write_enable, write_address, write_word : In
    i_sums, o_sums : partial sums of the rows, in the technology's form
    i_signs, o_signs : what the technology wants to know of them, a cycle earlier
    """

    def __init__(self, config, technology, *, position):
        self.config, self.technology, self.position = config, technology, position
        super().__init__({
            "i_operand": In(Operand(config)),
            "o_operand": Out(Operand(config)),
            "write_enable": In(1),
            "write_address": In(ceil_log2(config.depth) or 1),
            "write_word": In(WORD_BITS),
            "i_sums": In(signed(sum_width(position))).array(TRITS),
            "o_sums": Out(signed(sum_width(position + 1))).array(TRITS),
            "i_signs": In(TRITS),
            "o_signs": Out(TRITS),
        })

    def elaborate(self, platform):
        m = Module()
        operand = Signal.like(self.i_operand, reset_less=True)
        m.d.sync += operand.eq(self.i_operand)
        m.d.comb += self.o_operand.eq(operand)

        m.submodules.weights = weights = BlockMemory(depth=self.config.depth, width=WORD_BITS)
        m.submodules.decoder = decoder = WordDecoder()
        m.d.comb += [
            weights.write_enable.eq(self.write_enable),
            weights.write_address.eq(self.write_address),
            weights.write_data.eq(self.write_word),
            weights.read_enable.eq(self.i_operand.valid),
            weights.read_address.eq(self.i_operand.address),
            decoder.word.eq(weights.read_data),
        ]
        x_read, x = Signal(signed(8), reset_less=True), Signal(signed(8), reset_less=True)
        m.d.sync += [x_read.eq(operand.x), x.eq(x_read)]

        for row in range(TRITS):
            m.submodules[f"product_{row}"] = product = self.technology.product(position=self.position)
            m.d.comb += [
                product.i.eq(self.i_sums[row]),
                product.i_sign.eq(self.i_signs[row]),
                product.non_zero.eq(decoder.trits.non_zero[row]),
                product.sign.eq(decoder.trits.sign[row]),
                product.x.eq(x),
                self.o_sums[row].eq(product.o),
                self.o_signs[row].eq(product.o_sign),
            ]
        return m
