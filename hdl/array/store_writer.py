"""Keys and values on their way from the lanes into the weights' memories."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.codes import level_trits
from ...golden.lanes import LANE_BITS
from ...golden.model import LEVELS
from ..config import TRITS
from ..technology.shifter import differ
from .codes import Trits, WordEncoder
from .tile import WeightWrite


__all__ = ["StoreWriter"]


LEVEL_BITS = 7  # of a magnitude up to LEVELS

class StoreWriter(wiring.Component):
    """Writes a word of N elements, limited to +-121, one after the other: their five trits are a word of a tile.

    A key's elements lie in their banks of the tile ``fixed``, K at an address; a value's in their tiles of the bank
    ``fixed``, N to an address, and addresses ``stride`` apart.

    Parameters
    ----------
    config : Config

    Members
    -------
    start : In(1)
        With the following, which hold: the first element is the next word's, two cycles later or more.
    value : In(1)
        Else a key.
    fixed : In
        Tile of a key, bank of a value.
    address : In
        Of the first element.
    stride : In
    i_valid : In(1)
        A word; N cycles or more before the next.
    i : In(signed(18)), one for each lane
    o_weights : Out(WeightWrite)
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "start": In(1), "value": In(1), "fixed": In(range(max(config.banks, 2))),
            "address": In(range(config.depth)), "stride": In(range(config.depth + 1)), "i_valid": In(1),
            "i": In(signed(LANE_BITS)).array(config.tiles), "o_weights": Out(WeightWrite(self.config)),
        })

    def elaborate(self, platform):
        m = Module()
        banks, lanes = self.config.banks, self.config.tiles
        waiting = [Signal(signed(LANE_BITS), name=f"waiting_{lane}", reset_less=True) for lane in range(lanes)]
        left = Signal(range(lanes + 1))
        bank, tile = Signal(range(max(banks, 2)), reset_less=True), Signal(range(max(lanes, 2)), reset_less=True)
        address = Signal.like(self.address, reset_less=True)
        with m.If(self.i_valid):
            m.d.sync += [*(stored.eq(i) for stored, i in zip(waiting, self.i)), left.eq(lanes)]
        with m.Elif(left.any()):
            m.d.sync += [*(stored.eq(after) for stored, after in zip(waiting, waiting[1:])), left.eq(left - 1)]
            with m.If(self.value):
                m.d.sync += tile.eq(tile + 1)
                with m.If(tile == lanes - 1):
                    m.d.sync += [tile.eq(0), address.eq(address + self.stride)]
            with m.Else():
                m.d.sync += bank.eq(bank + 1)
                with m.If(bank == banks - 1):
                    m.d.sync += [bank.eq(0), address.eq(address + 1)]
        start = Signal()
        m.d.sync += start.eq(self.start)
        with m.If(start):
            m.d.sync += [address.eq(self.address), bank.eq(Mux(self.value, self.fixed, 0)),
                         tile.eq(Mux(self.value, 0, self.fixed))]

        # magnitude -> trits -> word, while bank and tile go a cycle ahead of the word and its address.
        element = waiting[0]
        negative, beyond = element[-1], differ(element[LEVEL_BITS:])
        magnitude, sign, valid = Signal(LEVEL_BITS + 1, reset_less=True), Signal(reset_less=True), Signal(3)
        m.d.sync += [
            magnitude.eq((element[:LEVEL_BITS] ^ negative.replicate(LEVEL_BITS) | beyond.replicate(LEVEL_BITS))
                         + negative),
            sign.eq(negative), valid.eq(Cat(left.any() & ~self.i_valid, valid)),
        ]
        trits, code = Signal(Trits, reset_less=True), Signal.like(self.o_weights.word, reset_less=True)
        digits = [level_trits(min(level, LEVELS)).tolist() for level in range(1 << LEVEL_BITS)]
        bits = Signal(Trits)
        with m.Switch(magnitude[:-1]):
            for level, places in enumerate(digits):
                with m.Case(level):
                    m.d.comb += [bits.non_zero.eq(sum((digit != 0) << place for place, digit in enumerate(places))),
                                 bits.sign.eq(sum((digit < 0) << place for place, digit in enumerate(places)))]
        most = magnitude[-1].replicate(TRITS)  # of 2 ** LEVEL_BITS, which is limited as all above LEVELS are
        m.d.sync += [trits.non_zero.eq(bits.non_zero | most), trits.sign.eq(bits.sign ^ sign.replicate(TRITS))]
        m.submodules.encoder = encoder = WordEncoder()
        m.d.comb += [encoder.trits.eq(trits), self.o_weights.word.eq(code)]
        m.d.sync += code.eq(encoder.word)
        place = Cat(bank, tile, address)
        places = [place]
        for stage in range(3):
            later = Signal(len(place), name=f"place_{stage}", reset_less=True)
            m.d.sync += later.eq(places[-1])
            places.append(later)
        sizes = len(bank), len(bank) + len(tile)
        early, late = places[2], places[3]
        m.d.comb += [
            self.o_weights.bank.eq(Mux(valid[1], 1 << early[:sizes[0]], 0)),
            self.o_weights.tile.eq(1 << early[sizes[0]:sizes[1]]),
            self.o_weights.address.eq(late[sizes[1]:]),
        ]
        return m
