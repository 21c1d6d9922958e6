"""Exact absmax quantisation of int32 vectors to int8, golden.quantiser.absmax_quantise."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..technology.product import PORTABLE


__all__ = ["Absmax", "DIGITS", "QUANTISER_LATENCY", "Quantiser"]


DIGITS = 7  # of a quotient of at most 127
QUANTISER_LATENCY = DIGITS + 4  # the multiple of 127, the digits, the half, the rounding, the sign


def _less(a, b):
    """a < b of unsigned values as a carry out: yosys spends another 49 LUT on a comparison of 32 bits."""
    return (a - b)[-1]


class Absmax(wiring.Component):
    """Largest magnitude of the values since ``clear``, m of golden.quantiser.absmax_quantise.

    ``absmax`` follows ``valid`` by two cycles. One value a cycle.

    Parameters
    ----------
    technology : Technology

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

    def __init__(self, technology=PORTABLE):
        self.technology = technology
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        magnitude, valid, negative = Signal(32, reset_less=True), Signal(), self.value[-1]
        m.submodules.negate = negate = self.technology.folded_add(width=32)
        m.d.comb += [negate.total.eq(Cat(negative, C(0, 31))), negate.i.eq(self.value), negate.flip.eq(negative)]
        m.d.sync += [magnitude.eq(negate.o), valid.eq(self.valid & ~self.clear)]
        with m.If(self.clear):
            m.d.sync += self.absmax.eq(0)
        with m.Elif(valid & _less(self.absmax, magnitude)):
            m.d.sync += self.absmax.eq(magnitude)
        return m


class Quantiser(wiring.Component):
    """q = sign(y) * round_half_even(127 |y| / m), golden.quantiser.absmax_quantise, with exact division.

    One element a cycle; 11 cycles (``QUANTISER_LATENCY``) from an element to its result when the output is never
    stalled. A stalled result stops the whole pipeline. Results are from -127 to 127, and 0 where m = 0.

    Parameters
    ----------
    technology : Technology

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

    def __init__(self, technology=PORTABLE):
        self.technology = technology
        super().__init__()

    def _divide(self, m, advance, stage):
        """A step of a division that does not restore: r becomes 2 r - m or, where it is negative, 2 r + m.

        r - m is ~(~r + m): r is carried as it is or inverted, and m only ever added.
        """
        m.submodules += (add := self.technology.folded_add(width=len(stage.remainder)))
        after, digit = Signal.like(stage, reset_less=True), ~(stage.remainder[-1] ^ stage.inverted)
        m.d.comb += [
            add.total.eq(self.absmax),
            add.i.eq(Cat(stage.digits[-1] ^ stage.sign ^ stage.inverted, stage.remainder)),
            add.flip.eq(~stage.remainder[-1]),
        ]
        with m.If(advance):
            m.d.sync += [
                after.remainder.eq(add.o),
                after.inverted.eq(digit),
                after.digits.eq(Cat(digit, stage.digits[:-1])),
                after.sign.eq(stage.sign),
            ]
        return after

    def elaborate(self, platform):
        m = Module()
        # 127 |y| < 128 m, thus its upper part starts as a remainder below m <= 2 ** 31; each stage replaces a lower
        # bit, inverted where y is negative, by a digit of the quotient, 1 or -1: the odd one next to 254 |y| / m.
        layout = data.StructLayout({"digits": DIGITS + 1, "remainder": 32, "inverted": 1, "sign": 1})
        stage, negative = Signal(layout, reset_less=True), self.i.payload[-1]
        quotient = Signal(DIGITS, reset_less=True)
        up, sign = Signal(reset_less=True), Signal(reset_less=True)
        valid = Signal(QUANTISER_LATENCY)
        advance = ~self.o.valid | self.o.ready
        m.d.comb += [self.i.ready.eq(advance), self.o.valid.eq(valid[-1])]

        with m.If(advance):
            m.d.sync += valid.eq(Cat(self.i.valid, valid[:-1]))

            # 128 y - y, less one where y is negative: 127 |y| or its inverse.
            multiple = Cat(C(0, DIGITS + 1), self.i.payload).as_signed() - Cat(negative, self.i.payload).as_signed()
            m.d.sync += [
                Cat(stage.digits, stage.remainder).eq(Cat(negative, multiple[1:])),
                stage.inverted.eq(negative),
                stage.sign.eq(negative),
            ]
        for _ in range(DIGITS + 1):
            stage = self._divide(m, advance, stage)
        with m.If(advance):
            m.d.sync += [
                # What remains is positive, or 0 and the quotient, rounded down, odd: its last digit is ``inverted``.
                up.eq(Mux(stage.inverted, stage.remainder[-1], ~stage.remainder[-1] & stage.remainder.any())),
                quotient.eq(stage.digits),
                sign.eq(stage.sign),
            ]

            # m = 0 gives 127 and up, whose 128 is cut to 0.
            result = (Cat(quotient, C(0, 1)) ^ sign.replicate(DIGITS + 1)) + (up ^ sign)
            m.d.sync += self.o.payload.eq(Cat(result[:DIGITS], result[DIGITS] & sign))
        return m
