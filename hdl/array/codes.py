"""Decoders of the weight codes of golden.codes."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import TRITS


__all__ = ["BYTE_BITS", "ByteDecoder", "Trits", "WORD_BITS", "WordDecoder", "WordEncoder"]


BYTE_BITS, WORD_BITS = 8, 9


class Trits(data.Struct):
    """Five trits: where ``non_zero`` is clear, ``sign`` says nothing."""
    non_zero: TRITS
    sign: TRITS


class WordDecoder(wiring.Component):
    """9-bit word to trits, golden.codes.word_decode. Combinational; three LUT4, and the signs are wires.

    Members
    -------
    code : In(9)
    trits : Out(Trits)
    """

    code: In(WORD_BITS)
    trits: Out(Trits)

    def elaborate(self, platform):
        m = Module()
        sign, field = self.code[:TRITS], self.code[TRITS:TRITS + 2]
        m.d.comb += self.trits.sign.eq(sign)
        for index in range(3):
            before, last = (index - 1) % 3, (index - 2) % 3
            zero = ((field == index) | (field == before) & sign[before]
                    | (field == last) & sign[last] & sign[before])
            m.d.comb += self.trits.non_zero[index].eq(~zero)
        m.d.comb += self.trits.non_zero[3:].eq(~self.code[TRITS + 2:])
        return m


class WordEncoder(wiring.Component):
    """Trits to 9-bit word, golden.codes.word_encode. Combinational.

    Members
    -------
    trits : In(Trits)
    word : Out(9)
    """

    trits: In(Trits)
    word: Out(WORD_BITS)

    def elaborate(self, platform):
        m = Module()
        non_zero = self.trits.non_zero
        sign, field = self.word[:TRITS], self.word[TRITS:TRITS + 2]
        m.d.comb += [
            sign.eq(self.trits.sign & non_zero),
            field.eq(3),
            self.word[TRITS + 2:].eq(~non_zero[3:]),
        ]
        for index in range(3):
            after, before = (index + 1) % 3, (index - 1) % 3
            with m.If(~non_zero[index] & non_zero[before]):
                m.d.comb += [field.eq(index), sign[index].eq(~non_zero[after])]
        with m.If(~non_zero[:3].any()):
            m.d.comb += [field.eq(0), sign[:3].eq(0b011)]
        return m


class ByteDecoder(wiring.Component):
    """Byte code to trits, golden.codes.byte_decode. Combinational.

    Members
    -------
    code : In(8)
    trits : Out(Trits)
    valid : Out(1)
        Clear for the 13 bytes that stand for no trits; ``trits`` is then meaningless.
    """

    code: In(BYTE_BITS)
    trits: Out(Trits)
    valid: Out(1)

    def elaborate(self, platform):
        m = Module()
        first, second, last = self.code[0:3], self.code[3:6], self.code[6:8]
        escape = last == 2
        both = escape & (second[:2] == 2)
        m.d.comb += self.valid.eq(~both | ~(second[2] | first[2] | (first[:2] == 2)))

        # An escaped byte holds its one non-zero pair in the first field, whichever pair it is.
        pairs = [(first, escape & (both | ~second[2])), (Mux(escape, first, second), escape & (both | second[2]))]
        tail = Mux(both, first[:2], Mux(escape, second[:2], last))
        for index, (pair, zero) in enumerate(pairs):
            m.d.comb += [
                self.trits.non_zero[2 * index].eq(~zero & (pair[0] | ~pair[1])),
                self.trits.non_zero[2 * index + 1].eq(~zero & (pair[0] | pair[1])),
                self.trits.sign[2 * index].eq(Mux(pair[0], pair[1], pair[2])),
                self.trits.sign[2 * index + 1].eq(pair[2]),
            ]
        m.d.comb += [self.trits.non_zero[4].eq(tail[0]), self.trits.sign[4].eq(tail[1])]
        return m
