"""The quantiser divides as golden.quantiser.absmax_quantise is defined, at full width and for all operands.

In stage s, b is the number whose s digits, 1 or -1, are known, r what remains and v the first bits of 254 |y|. Proved
are, each for itself: that the pipeline begins with b = 0 and r = v; that a step keeps b m + r = v and -m <= r < m; and
that it ends with the integer that this says: 254 |y| = b m + r with b = 2 c + 1, so 127 |y| / m is next to c + 1 where
r > 0, to c where r < 0, and between them where r = 0.
"""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from setun.hdl.technology.product import PORTABLE, FoldedAdd
from setun.hdl.vector.quantiser import DIGITS, Quantiser
from setun.sim.verify.formal import Disproved, Opened, prove


LARGEST = 2 ** 31
STAGE = data.StructLayout({"digits": DIGITS + 1, "remainder": 32, "inverted": 1, "sign": 1})
WIDTH = 48  # of b m, of which b has at most 8 digits, with its sign


def remains(stage):
    return Mux(stage.inverted, ~stage.remainder, stage.remainder).as_signed()


class Step(wiring.Component):
    """One step from any stage that is as it should be, with any b m."""
    stage: In(STAGE)
    absmax: In(32)
    multiple: In(signed(WIDTH))

    def __init__(self, technology=PORTABLE):
        self.technology = technology
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        quantiser, begun = Quantiser(self.technology), Signal()
        quantiser._MustUse__used = True  # its step only
        stage, absmax = self.stage, self.absmax
        after = quantiser._divide(m, C(1), stage)
        before, bound, multiple, read = (Signal(shape, reset_less=True) for shape in (STAGE, 32, signed(WIDTH),
                                                                                      signed(WIDTH + 2)))
        digit, bit = remains(stage) >= 0, stage.digits[-1] ^ stage.sign
        m.d.sync += [
            begun.eq(1),
            before.eq(stage),
            bound.eq(absmax),
            multiple.eq(2 * self.multiple + Mux(digit, absmax, -absmax)),
            read.eq(2 * (self.multiple + remains(stage)) + bit),
        ]
        m.d.comb += [
            quantiser.absmax.eq(absmax),
            Assume(absmax <= LARGEST),
            Assume((self.multiple < absmax << DIGITS + 1) & (self.multiple > -(absmax << DIGITS + 1))
                   | (self.multiple == 0)),
            Assume((remains(stage) + absmax >= 0) & (remains(stage) < absmax + (absmax == 0))),
            Assume((absmax != 0) | ~bit),  # y is 0
        ]
        left = remains(after)
        with m.If(begun):
            m.d.comb += [
                Assert(after.digits == Cat(remains(before) >= 0, before.digits[:-1])),
                Assert(after.inverted == after.digits[0]),
                Assert(after.sign == before.sign),
                Assert(multiple + left == read),
                Assert((left + bound >= 0) & (left < bound + (bound == 0))),
            ]
        return m


def test_step():
    prove(Step(), "step", depth=2)


class Floor(FoldedAdd):
    """Only adds."""

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self.total + self.i)
        return m


def test_refutes_floor():
    with pytest.raises(Disproved, match="floor: .* fails"):
        prove(Step(PORTABLE._replace(folded_add=Floor)), "floor", depth=2)


class Observed(Quantiser):
    """With the registers of its division in view."""

    def _divide(self, m, advance, stage):
        self.stages = getattr(self, "stages", [stage])
        self.stages.append(super()._divide(m, advance, stage))
        return self.stages[-1]


class Ends(wiring.Component):
    """How the pipeline begins, and how it ends after a last stage that is as the steps leave it."""

    def __init__(self):
        self.quantiser = Observed()
        super().__init__(self.quantiser.signature)

    def elaborate(self, platform):
        m = Module()
        opened, absmax = Opened(self.quantiser), self.absmax
        m.submodules.quantiser = opened.fragment
        wiring.connect(m, wiring.flipped(self), self.quantiser)
        inside, first, last = opened.inside(), self.quantiser.stages[0], self.quantiser.stages[-1]
        valid, before, begun = inside.valid, Signal.like(absmax, reset_less=True), Signal()
        m.d.sync += [before.eq(absmax), begun.eq(1)]
        m.d.comb += Assume(~begun | (absmax == before))

        def follow(value):
            """Moves with the pipeline."""
            after = Signal(Value.cast(value).shape(), reset_less=True)
            with m.If(inside.advance):
                m.d.sync += after.eq(value)
            return after

        magnitude = abs(self.i.payload)
        scaled, negative = follow((magnitude << DIGITS + 1) - (magnitude << 1)), follow(self.i.payload < 0)
        with m.If(valid[0]):
            digits = Cat(first.digits, first.remainder)
            m.d.comb += [Assert(first.sign == negative), Assert(first.inverted == negative),
                         Assert(digits ^ negative.replicate(len(digits)) == scaled[:len(digits)])]

        left, whole = remains(last), last.digits[:DIGITS]  # c, for the first digit is that of r >= 0
        with m.If(valid[DIGITS + 1]):
            m.d.comb += [
                Assume(last.inverted == whole[0]),
                # b = 255 leaves -m of 254 m; m = 0 leaves 0, and y is 0.
                Assume((whole != 127) | (left < 0) | (absmax == 0)),
                Assume((absmax != 0) | (whole == 127) & (left == 0) & ~last.sign),
            ]
        near = whole + ((left > 0) | (left == 0) & whole[0])
        result = follow(Mux(absmax == 0, 0, Mux(last.sign, -near, near)))
        total, sign = inside.quotient + inside.up, inside.sign
        with m.If(valid[DIGITS + 2]):
            m.d.comb += [Assert(result == Mux(absmax == 0, 0, Mux(sign, -total, total))),
                         Assert((total <= 127) | (absmax == 0)), Assert((absmax != 0) | (total == 128) & ~sign)]
        result = follow(result)
        with m.If(valid[DIGITS + 3]):
            m.d.comb += Assert(self.o.payload == result)
        return m


def test_ends():
    prove(Ends(), "ends", depth=3)
