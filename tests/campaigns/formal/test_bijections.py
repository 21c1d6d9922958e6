"""Decoders of weight codes are bijections between the codes of golden.codes and all trits: for every code."""

import itertools

import numpy as np
import pytest
from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from setun.golden.codes import byte_encode, word_encode
from setun.hdl.array.codes import ByteDecoder, WordDecoder, WordEncoder
from setun.sim.verify.formal import Disproved, prove


TRITS = np.array(list(itertools.product((-1, 0, 1), repeat=5)), np.int8)


def meaning(trits):
    return Cat(trits.non_zero, trits.sign & trits.non_zero)


class Bijection(wiring.Component):
    """No two codes have the same trits, and the code of any trits has them.

    Parameters
    ----------
    decoder : function
        Makes one.
    encode : function
        Of golden.codes.
    """

    def __init__(self, decoder, encode):
        self.decoder, self.codes = decoder, encode(TRITS).tolist()
        width = max(self.codes).bit_length()
        super().__init__({"one": In(width), "other": In(width), "rank": In(range(len(TRITS)))})

    def elaborate(self, platform):
        m = Module()
        decoded, valid, coded, wanted = [], [], Signal.like(self.one), Signal(2 * TRITS.shape[1])
        for code in (self.one, self.other, coded):
            m.submodules += (decoder := self.decoder())
            m.d.comb += decoder.code.eq(code)
            decoded.append(meaning(decoder.trits))
            valid.append(code.matches(*self.codes))
            if "valid" in decoder.signature.members:
                m.d.comb += Assert(decoder.valid == valid[-1])
        with m.If(valid[0] & valid[1] & (decoded[0] == decoded[1])):
            m.d.comb += Assert(self.one == self.other)
        with m.Switch(self.rank):
            for rank, (code, trits) in enumerate(zip(self.codes, TRITS.tolist())):
                bits = [trit != 0 for trit in trits] + [trit < 0 for trit in trits]
                with m.Case(rank):
                    m.d.comb += [coded.eq(code), wanted.eq(sum(bit << place for place, bit in enumerate(bits))),
                                 Assert(decoded[2] == wanted)]
        return m


@pytest.mark.parametrize("decoder, encode", [(ByteDecoder, byte_encode), (WordDecoder, word_encode)])
def test_decoder(decoder, encode):
    prove(Bijection(decoder, encode), decoder.__name__, depth=1, bounded=True)


class Inverse(wiring.Component):
    """A word that is encoded is decoded to its trits."""
    rank: In(2 * TRITS.shape[1])

    def elaborate(self, platform):
        m = Module()
        m.submodules.encoder, m.submodules.decoder = encoder, decoder = WordEncoder(), WordDecoder()
        m.d.comb += [encoder.trits.eq(self.rank), decoder.code.eq(encoder.word),
                     Assert(meaning(decoder.trits) == meaning(encoder.trits))]
        return m


def test_encoder():
    prove(Inverse(), "encoder", depth=1, bounded=True)


class Short(WordDecoder):
    """Takes trit 4 for trit 3."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = WordDecoder()
        m.d.comb += [decoder.code.eq(Cat(self.code[:8], self.code[7])), self.trits.eq(decoder.trits)]
        return m


def test_refutes_short():
    with pytest.raises(Disproved, match="short: .* fails"):
        prove(Bijection(Short, word_encode), "short", depth=1, bounded=True)
