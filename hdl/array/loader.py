"""Writes weights from the link into the tiles."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import TRITS
from .codes import ByteDecoder, Trits, WordEncoder
from .tile import WeightWrite


__all__ = ["Loader"]


class Loader(wiring.Component):
    """Transcodes bytes to the code of the memories and deals them out: for each word, for each bank, for each tile one.

    A byte a cycle; the write leaves three cycles after its byte is taken, two where the config is single_port. Never
    stalls.

    Members
    -------
    start : In(1)
        The next byte goes to word ``address`` of the first tile of the first bank. The writes of those before have
        left, or do in the next cycle.
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
        byte, valid = Signal(8, reset_less=True), Signal(1 if self.config.single_port else 2)  # unary delay of a byte
        trits, write, leaves = Signal(Trits, reset_less=True), self.o_weights, valid[-1]
        word = Signal.like(write.word, reset_less=True)
        m.d.comb += [self.i.ready.eq(1), decoder.code.eq(byte), write.word.eq(word)]
        m.d.sync += [valid.eq(Cat(self.i.valid, valid)), byte.eq(self.i.payload)]
        if self.config.single_port:
            m.d.comb += trits.eq(decoder.trits)
            m.d.sync += word.eq(byte)
        else:
            m.submodules.encoder = encoder = WordEncoder()
            m.d.comb += encoder.trits.eq(trits)
            m.d.sync += [trits.eq(decoder.trits), word.eq(encoder.word)]

        address, bank, tile = (Signal.like(write[name], name=name) for name in ("address", "bank", "tile"))
        written, zeros = Signal.like(address, reset_less=True), Signal.like(self.zeros)
        m.d.sync += [
            written.eq(address),
            zeros.eq(Mux(leaves, sum(~trits.non_zero[row] for row in range(TRITS)), 0)),
        ]
        m.d.comb += [
            write.address.eq(written),
            write.bank.eq(bank),
            write.tile.eq(Mux(leaves, tile, 0)),
            self.zeros.eq(zeros),
        ]
        with m.If(leaves):
            m.d.sync += tile.eq(tile.rotate_left(1))
            with m.If(tile[-1]):
                m.d.sync += bank.eq(bank.rotate_left(1))
                with m.If(bank[-1]):
                    m.d.sync += address.eq(address + 1)
        with m.If(self.start):
            m.d.sync += [bank.eq(1), tile.eq(1), address.eq(self.address)]
        return m
