"""Exact absmax quantisation of int32 vectors to int8, golden.quantiser.absmax_quantise."""

from itertools import pairwise

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


__all__ = ["Absmax", "DIGITS", "QUANTISER_LATENCY", "Quantiser"]


DIGITS = 7  # of a quotient of at most 127
QUANTISER_LATENCY = DIGITS + 4  # the magnitude, its multiple of 127, the digits, the rounding, the sign


def _less(a, b):
    """a < b of unsigned values as a carry out: yosys spends another 49 LUT on a comparison of 32 bits."""
    return (a - b)[-1]


def _magnitude_below(value):
    """|value| less one where ``value`` is negative: its ones' complement."""
    return value[:-1] ^ value[-1].replicate(len(value) - 1)


class Absmax(wiring.Component):
    """Largest magnitude of the values since ``clear``, m of golden.quantiser.absmax_quantise.

    ``absmax`` follows ``valid`` by three cycles. One value a cycle.

    Members
    -------
    clear : In(1)
        Forget all values; a value of the same cycle too.
    valid : In(1)
    value : In(signed(32))
    absmax : Out(32)
        At most 2 ** 31.
    """

    clear: In(1)
    valid: In(1)
    value: In(signed(32))
    absmax: Out(32)

    def elaborate(self, platform):
        m = Module()
        # Ones' complement above the sign never orders against |y|; so only the largest need be incremented.
        key, valid = Signal(32, reset_less=True), Signal()
        largest = Signal.like(key)
        m.d.sync += [key.eq(Cat(self.value[-1], _magnitude_below(self.value))), valid.eq(self.valid & ~self.clear)]
        with m.If(self.clear):
            m.d.sync += largest.eq(0)
        with m.Elif(valid & _less(largest, key)):
            m.d.sync += largest.eq(key)
        m.d.sync += self.absmax.eq(largest[1:] + largest[0])
        return m


class Quantiser(wiring.Component):
    """q = sign(y) * round_half_even(127 |y| / m), golden.quantiser.absmax_quantise, with exact division.

    One element a cycle; 11 cycles (``QUANTISER_LATENCY``) from an element to its result when the output is never
    stalled. A stalled result stops the whole pipeline. Results are from -127 to 127, and 0 where m = 0.

    Members
    -------
    i : In(stream.Signature(signed(32)))
        Elements y, of magnitude at most ``absmax``.
    absmax : In(32)
        m, at most 2 ** 31. Must be stable from the cycle after the first element is taken to the last result.
    o : Out(stream.Signature(signed(8)))
    """

    i: In(stream.Signature(signed(32)))
    absmax: In(32)
    o: Out(stream.Signature(signed(8)))

    def elaborate(self, platform):
        m = Module()
        # 127 |y| < 128 m, thus its upper part starts as a remainder below m <= 2 ** 31; each stage replaces a lower
        # bit by a digit of the quotient.
        layout = data.StructLayout({"digits": DIGITS, "remainder": 31, "sign": 1})
        stages = [Signal(layout, name=f"stage_{index}", reset_less=True) for index in range(DIGITS + 1)]
        below, negative = Signal(31, reset_less=True), Signal(reset_less=True)
        quotient = Signal(DIGITS, reset_less=True)
        up, sign = Signal(reset_less=True), Signal(reset_less=True)
        valid = Signal(QUANTISER_LATENCY)
        advance = ~self.o.valid | self.o.ready
        m.d.comb += [self.i.ready.eq(advance), self.o.valid.eq(valid[-1])]

        with m.If(advance):
            m.d.sync += valid.eq(Cat(self.i.valid, valid[:-1]))

            m.d.sync += [below.eq(_magnitude_below(self.i.payload)), negative.eq(self.i.payload[-1])]
            m.d.sync += [
                # 128 |y| - |y|: with |y| = below + negative, the 127 * negative fill the bits under 128 * below.
                Cat(stages[0].digits, stages[0].remainder).eq(Cat(negative.replicate(DIGITS), below) - below),
                stages[0].sign.eq(negative),
            ]

            for before, after in pairwise(stages):
                dividend = Cat(before.digits[-1], before.remainder)
                difference = dividend - self.absmax
                m.d.sync += [
                    after.digits.eq(Cat(~difference[-1], before.digits[:-1])),
                    after.remainder.eq(Mux(difference[-1], dividend, difference)),
                    after.sign.eq(before.sign),
                ]

            m.d.sync += [
                # 2 r > m, or 2 r = m and the quotient is odd
                up.eq(_less(self.absmax, Cat(stages[-1].digits[0], stages[-1].remainder))),
                quotient.eq(stages[-1].digits),
                sign.eq(stages[-1].sign),
            ]

            # m = 0 gives 127 and up, whose 128 is cut to 0.
            result = (Cat(quotient, C(0, 1)) ^ sign.replicate(DIGITS + 1)) + (up ^ sign)
            m.d.sync += self.o.payload.eq(Cat(result[:DIGITS], result[DIGITS] & sign))
        return m
