"""A tile: the weights of five rows of one column bank."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import TRITS
from .codes import WORD_BITS, WordDecoder


__all__ = ["Operand", "Tile", "WeightWrite"]


class Operand(data.StructLayout):
    """An activation and the word of its column: {valid, address, x}."""

    def __init__(self, config):
        super().__init__({"valid": 1, "address": config.address_bits, "x": signed(8)})


class WeightWrite(data.StructLayout):
    """A word on its way to the tile (one-hot, or none) of a bank (one-hot, the first bank first).

    Bank and tile come a cycle before the word and its address.
    """

    def __init__(self, config):
        super().__init__({"bank": config.banks, "tile": config.tiles, "address": config.address_bits,
                          "word": WORD_BITS})


class Tile(wiring.Component):
    """Weight memory and trit decoder.

    ``operand`` enters in cycle 0, and is at ``o_x`` with its weights in cycle 3: block RAM may lie far from the
    products of its weights, and they take a cycle for that way::

        operand.address -> memory -> register -> decoder -> register -> o_non_zero, o_sign
        operand.x ---------> register -> register ----------> register -> o_x

    Parameters
    ----------
    config : Config
    technology : Technology

    Members
    -------
    i_operand : In(Operand)
    o_operand : Out(Operand)
        To the tile below, a cycle later.
    write_enable : In(1)
    write_select : In(1)
        Clear where nothing is written. Set where it is not connected.
    write_address, write_word : In
    o_x : Out(signed(8))
    o_non_zero, o_sign : Out(5)
        Weights of the rows.
    """

    def __init__(self, config, technology):
        self.config, self.technology = config, technology
        super().__init__({
            "i_operand": In(Operand(config)),
            "o_operand": Out(Operand(config)),
            "write_enable": In(1),
            "write_select": In(1, init=1),
            "write_address": In(config.address_bits),
            "write_word": In(WORD_BITS),
            "o_x": Out(signed(8)),
            "o_non_zero": Out(TRITS),
            "o_sign": Out(TRITS),
        })

    def elaborate(self, platform):
        m = Module()
        operand = Signal.like(self.i_operand, reset_less=True)
        m.d.sync += operand.eq(self.i_operand)
        m.d.comb += self.o_operand.eq(operand)

        m.submodules.weights = weights = self.technology.memory(depth=self.config.depth, width=WORD_BITS)
        m.d.comb += [
            weights.write_enable.eq(self.write_enable),
            weights.write_select.eq(self.write_select),
            weights.write_address.eq(self.write_address),
            weights.write_data.eq(self.write_word),
            weights.read_enable.eq(self.i_operand.valid),
            weights.read_address.eq(self.i_operand.address),
        ]
        x, later_x = (Signal(signed(8), name=name, reset_less=True) for name in ("x", "later_x"))
        m.d.sync += [x.eq(operand.x), later_x.eq(x)]
        m.d.comb += self.o_x.eq(later_x)

        m.submodules.decoder = decoder = WordDecoder()
        # A zero resets what it is multiplied by: kept as it is, it needs no inverter before that.
        zero, sign = (Signal(TRITS, name=name, reset_less=True) for name in ("zero", "sign"))
        m.d.sync += [zero.eq(~decoder.trits.non_zero), sign.eq(decoder.trits.sign)]
        m.d.comb += [decoder.code.eq(weights.read_data), self.o_non_zero.eq(~zero), self.o_sign.eq(sign)]
        return m
