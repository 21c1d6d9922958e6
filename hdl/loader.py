"""Writes weights from the link into the tiles."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .codes import ByteDecoder, Trits, WordEncoder
from .config import TRITS
from .tile import WeightWrite


__all__ = ["Loader"]


class Loader(wiring.Component):
    """Transcodes bytes to the code of the memories and deals them out: for each word, for each bank, for each tile one.

    A byte a cycle; the write leaves three cycles after its byte is taken. Never stalls.

    Members
    -------
    start : In(1)
        The next byte goes to word ``address`` of the first tile of the first bank.
    address : In
    i : In(stream.Signature(8))
    o_weights : Out(WeightWrite)
    zeros : Out(range(6))
        Zeros among the weights that leave; 0 where none leave.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "start": In(1),
            "address": In(config.address_bits),
            "i": In(stream.Signature(8)),
            "o_weights": Out(WeightWrite(config)),
            "zeros": Out(range(TRITS + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = ByteDecoder()
        m.submodules.encoder = encoder = WordEncoder()
        address = Signal.like(self.address)
        bank, tile = Signal(self.config.banks), Signal(self.config.tiles)  # one-hot: where ``byte`` goes
        byte, valid = Signal(8, reset_less=True), Signal()
        code, trits, decoded = Signal(8, reset_less=True), Signal(Trits, reset_less=True), Signal()
        place = Signal(WeightWrite(self.config), reset_less=True)
        write = Signal(WeightWrite(self.config), reset_less=True)

        m.d.comb += self.i.ready.eq(1)
        m.d.sync += [valid.eq(self.i.valid), byte.eq(self.i.payload),
                     place.bank.eq(bank), place.tile.eq(tile), place.address.eq(address)]
        with m.If(valid):
            m.d.sync += tile.eq(tile.rotate_left(1))
            with m.If(tile[-1]):
                m.d.sync += bank.eq(bank.rotate_left(1))
                with m.If(bank[-1]):
                    m.d.sync += address.eq(address + 1)
        with m.If(self.start):
            m.d.sync += [bank.eq(1), tile.eq(1), address.eq(self.address)]

        m.d.comb += [decoder.code.eq(byte), encoder.trits.eq(trits), self.o_weights.eq(write)]
        m.d.sync += [code.eq(byte), trits.eq(decoder.trits), decoded.eq(valid)]
        zeros = Signal.like(self.zeros)
        m.d.sync += [
            write.bank.eq(Mux(decoded, place.bank, 0)),
            write.tile.eq(place.tile),
            write.address.eq(place.address),
            write.word.eq(code if self.config.single_port else encoder.word),
            zeros.eq(Mux(decoded, sum(~trits.non_zero[row] for row in range(TRITS)), 0)),
        ]
        m.d.comb += self.zeros.eq(zeros)
        return m
