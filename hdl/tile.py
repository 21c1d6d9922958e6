"""A stack of tiles: five rows each of one column bank, with their weights."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .codes import BYTE_BITS, WORD_BITS, ByteDecoder, WordDecoder
from .config import TRITS
from .product import sum_width


__all__ = ["Operand", "Tile", "WeightWrite", "code_bits"]


def Operand(config):
    """An activation and the word of its column: {valid, address, x}."""
    return data.StructLayout({"valid": 1, "address": config.address_bits, "x": signed(8)})


def code_bits(config):
    """Bits of five weights in memory."""
    return BYTE_BITS if config.single_port else WORD_BITS


def WeightWrite(config):
    """A word on its way to the tile (one-hot, or none) of a bank (one-hot, the first bank first).

    Bank and tile come a cycle before the word and its address.
    """
    return data.StructLayout({"bank": config.banks, "tile": config.tiles, "address": config.address_bits,
                              "word": code_bits(config)})


class Tile(wiring.Component):
    """Weight memory, and for each tile of the stack a trit decoder and one product for each of five rows.

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
        To the stack below, a cycle later.
    write_enable : In(config.stack)
        Tiles that are written.
    write_address, write_word : In
    i_sums, o_sums : partial sums of the rows, in the technology's form
    i_signs, o_signs : what the technology wants to know of them, a cycle earlier
    """

    def __init__(self, config, technology, *, position):
        self.config, self.technology, self.position = config, technology, position
        super().__init__({
            "i_operand": In(Operand(config)),
            "o_operand": Out(Operand(config)),
            "write_enable": In(config.stack),
            "write_address": In(config.address_bits),
            "write_word": In(code_bits(config)),
            "i_sums": In(signed(sum_width(position))).array(config.stack * TRITS),
            "o_sums": Out(signed(sum_width(position + 1))).array(config.stack * TRITS),
            "i_signs": In(config.stack * TRITS),
            "o_signs": Out(config.stack * TRITS),
        })

    def elaborate(self, platform):
        m = Module()
        stack, width = self.config.stack, code_bits(self.config)
        memory, decoder_type = ((self.technology.single_port_memory, ByteDecoder) if self.config.single_port else
                                (self.technology.memory, WordDecoder))
        operand = Signal.like(self.i_operand, reset_less=True)
        m.d.sync += operand.eq(self.i_operand)
        m.d.comb += self.o_operand.eq(operand)

        m.submodules.weights = weights = memory(depth=self.config.depth, width=width, lanes=stack)
        m.d.comb += [
            weights.write_enable.eq(self.write_enable),
            weights.write_address.eq(self.write_address),
            weights.write_data.eq(self.write_word.replicate(stack)),
            weights.read_enable.eq(self.i_operand.valid),
            weights.read_address.eq(self.i_operand.address),
        ]
        x_read, x = Signal(signed(8), reset_less=True), Signal(signed(8), reset_less=True)
        m.d.sync += [x_read.eq(operand.x), x.eq(x_read)]

        trits = []
        for lane in range(stack):
            m.submodules[f"decoder_{lane}"] = decoder = decoder_type()
            m.d.comb += decoder.code.eq(weights.read_data.word_select(lane, width))
            trits += [(decoder.trits.non_zero[row], decoder.trits.sign[row]) for row in range(TRITS)]

        for row, (non_zero, sign) in enumerate(trits):
            m.submodules[f"product_{row}"] = product = self.technology.product(position=self.position)
            m.d.comb += [
                product.i.eq(self.i_sums[row]),
                product.i_sign.eq(self.i_signs[row]),
                product.non_zero.eq(non_zero),
                product.sign.eq(sign),
                product.x.eq(x),
                self.o_sums[row].eq(product.o),
                self.o_signs[row].eq(product.o_sign),
            ]
        return m
