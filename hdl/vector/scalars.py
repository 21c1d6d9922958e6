"""The scalar unit: what follows the scales of vectors through a token, one operation after the other."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ...golden.scalars import MANTISSA_BITS
from ..instructions import SCALAR_BITS, ScaleOperation
from ..technology.memory import BLOCK_LATENCY
from ..technology.product import PORTABLE


__all__ = ["ScalarUnit", "VALUE_BITS", "scale_cycles"]


EXPONENT_BITS = SCALAR_BITS[1]
VALUE_BITS = 48  # of an integer that is loaded
WIDE_EXPONENT = EXPONENT_BITS + 2  # of sums of exponents on the way
STEPS = (16, 4, 1)  # places by which a loaded integer moves up in a cycle
OPERATION_BITS = 3
QUOTIENT_BITS = MANTISSA_BITS + 2  # the first is always 0, so that they are even in number
DIGITS = 2  # of a quotient in a cycle
LOADS = (ScaleOperation.LOAD_MAXIMUM, ScaleOperation.LOAD_SUM, ScaleOperation.LOAD_PICKED)


def scale_cycles(operation, a, b, value):
    """Cycles of an operation on golden's Scalars ``a`` and ``b``, or on the integer ``value``, its start included."""
    if operation in LOADS:
        return 3 + (_climb(value) if value else 0)
    calculation = {ScaleOperation.MULTIPLY: 1, ScaleOperation.DIVIDE: QUOTIENT_BITS // DIGITS if b.mantissa else 0,
                   ScaleOperation.ADD: 2, ScaleOperation.ROOT: MANTISSA_BITS}[operation]
    return BLOCK_LATENCY + 2 + calculation


def _climb(value):
    """Cycles until the highest bit of an integer stands at the top of VALUE_BITS."""
    places, cycles = VALUE_BITS - int(value).bit_length(), 0
    for step in STEPS:
        cycles, places = cycles + places // step, places % step
    return cycles


class ScalarUnit(wiring.Component):
    """Registers of scalars, and golden.scalars' multiply, divide, add, square_root and normalise of them.

    A scalar is a mantissa of 16 bits, its highest set, and an exponent of 12; 0 has exponent 0. Results are truncated,
    and a / 0 is 0. Exponents that leave 12 bits wrap: a program must keep them. An operation takes as many cycles as
    scale_cycles says, from ``start`` to ``done``::

        multiply, add    read, begin, one or two, write
        divide           read, begin, two digits a cycle (9), write
        root             read, begin, a digit a cycle (16), write
        loads            up to the top by 16, 4 or 1 places a cycle, write

    Parameters
    ----------
    registers : int
    technology : Technology

    Members
    -------
    start : In(1)
        Begin, while not busy, with the following, which hold until ``done``.
    operation : In(3)
        A ScaleOperation's value.
    destination, a, b : In
        Registers.
    exponent : In(signed(12))
        Added to the result's, unless the result is 0.
    value : In(48)
        The integer that is loaded.
    busy, done : Out(1)
        ``done`` is set in an operation's last cycle.
    read_address : In
        The register at ``read_mantissa`` and ``read_exponent`` two cycles later, while not busy.
    write_enable, write_address, write_mantissa, write_exponent : In
        From outside, while not busy.
    """

    def __init__(self, *, registers, technology=PORTABLE):
        self.registers, self.technology = registers, technology
        address = max(ceil_log2(registers), 1)
        super().__init__({
            "start": In(1), "operation": In(OPERATION_BITS), "destination": In(address), "a": In(address),
            "b": In(address), "exponent": In(signed(EXPONENT_BITS)), "value": In(VALUE_BITS), "busy": Out(1),
            "done": Out(1), "read_address": In(address), "read_mantissa": Out(MANTISSA_BITS),
            "read_exponent": Out(signed(EXPONENT_BITS)), "write_enable": In(1), "write_address": In(address),
            "write_mantissa": In(MANTISSA_BITS), "write_exponent": In(signed(EXPONENT_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        # Two copies, so that both operands are read at once.
        copies = []
        for name in ("a", "b"):
            m.submodules[f"registers_{name}"] = copy = self.technology.memory(
                depth=self.registers, width=sum(SCALAR_BITS))
            copies.append(copy)
        first, second = copies
        a, b = first.read_data[:MANTISSA_BITS], second.read_data[:MANTISSA_BITS]
        a_exponent, b_exponent = (copy.read_data[MANTISSA_BITS:].as_signed() for copy in copies)
        m.d.comb += [
            *(copy.read_enable.eq(1) for copy in copies),
            first.read_address.eq(self.a),
            second.read_address.eq(Mux(self.busy | self.start, self.b, self.read_address)),
            self.read_mantissa.eq(b), self.read_exponent.eq(b_exponent),
        ]

        mantissa = Signal(MANTISSA_BITS)  # of the result, in the last cycle
        exponent = Signal(signed(WIDE_EXPONENT), reset_less=True)  # of the result before it is normalised
        carry = Signal()  # the result is one place longer
        wide = Signal(VALUE_BITS, reset_less=True)  # product, sum, quotient, root or loaded integer
        rest, divisor = Signal(MANTISSA_BITS + 4, reset_less=True), Signal(MANTISSA_BITS, reset_less=True)
        digits = Signal(range(QUOTIENT_BITS + 1), reset_less=True)
        loads = Cat(self.operation == load.value for load in LOADS).any()

        with m.FSM() as fsm:
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [wide.eq(self.value), exponent.eq(VALUE_BITS - MANTISSA_BITS)]
                    m.next = "READ"
                    with m.If(loads):
                        m.next = "CLIMB"
            with m.State("READ"):
                m.next = "BEGIN"
            with m.State("BEGIN"):
                with m.Switch(self.operation):
                    with m.Case(ScaleOperation.MULTIPLY.value):
                        m.d.sync += [wide.eq(a * b), exponent.eq(a_exponent + b_exponent + MANTISSA_BITS - 1)]
                        m.next = "PRODUCT"
                    with m.Case(ScaleOperation.DIVIDE.value):
                        m.d.sync += [rest.eq(a), divisor.eq(b), wide.eq(0), digits.eq(QUOTIENT_BITS // DIGITS),
                                     exponent.eq(a_exponent - b_exponent - MANTISSA_BITS)]
                        m.next = "DIVIDE"
                        with m.If(b == 0):
                            m.next = "WRITE"
                    with m.Case(ScaleOperation.ADD.value):
                        self._larger(m, (a, a_exponent), (b, b_exponent), wide, rest, exponent)
                        m.next = "ALIGN"
                    with m.Case(ScaleOperation.ROOT.value):
                        # The mantissa is widened to 31 or 32 bits, by which the exponent becomes even.
                        odd = a_exponent[0]
                        m.d.sync += [wide.eq(Mux(odd, a << MANTISSA_BITS - 1, a << MANTISSA_BITS)), rest.eq(0),
                                     divisor.eq(0), digits.eq(MANTISSA_BITS),
                                     exponent.eq((a_exponent - Mux(odd, MANTISSA_BITS - 1, MANTISSA_BITS)) >> 1)]
                        m.next = "ROOT"
            with m.State("PRODUCT"):
                m.d.sync += wide.eq(Mux(wide[2 * MANTISSA_BITS - 1], wide >> MANTISSA_BITS, wide >> MANTISSA_BITS - 1))
                m.d.sync += exponent.eq(exponent + wide[2 * MANTISSA_BITS - 1])
                m.next = "WRITE"
            with m.State("DIVIDE"):
                quotient, left, double = wide, rest, divisor << 1
                for digit in range(DIGITS):
                    fits, lower = Signal(name=f"fits_{digit}"), Signal.like(rest, name=f"left_{digit}")
                    m.d.comb += [fits.eq(left >= double), lower.eq(Mux(fits, left - double, left) << 1)]
                    quotient, left = Cat(fits, quotient), lower
                m.d.sync += [wide.eq(quotient), rest.eq(left), digits.eq(digits - 1)]
                with m.If(digits == 1):
                    m.next = "WRITE"
            with m.State("ROOT"):
                # Two bits of the radicand come down for a digit; ``divisor`` is the root so far.
                top = wide[2 * MANTISSA_BITS - 2:2 * MANTISSA_BITS]
                brought, trial = Cat(top, rest), Cat(C(1, 2), divisor)
                fits = brought >= trial
                m.d.sync += [rest.eq(Mux(fits, brought - trial, brought)), divisor.eq(Cat(fits, divisor)),
                             wide.eq(wide << 2), digits.eq(digits - 1)]
                with m.If(digits == 1):
                    m.d.sync += wide.eq(Cat(fits, divisor)[:MANTISSA_BITS])
                    m.next = "WRITE"
            with m.State("ALIGN"):
                # ``rest`` is by how much the smaller exponent is less, and its mantissa is in the upper half.
                larger, smaller = wide[:MANTISSA_BITS], wide[MANTISSA_BITS:2 * MANTISSA_BITS]
                m.d.sync += wide.eq((larger << MANTISSA_BITS) + ((smaller << MANTISSA_BITS) >> rest[:6]))
                m.next = "SUM"
            with m.State("SUM"):
                m.d.sync += wide.eq(wide >> MANTISSA_BITS)
                m.next = "WRITE"
            with m.State("CLIMB"):
                m.next = "WRITE"
                place = 0
                with m.If(wide != 0):
                    for step in STEPS:
                        with (m.Elif if place else m.If)(wide[VALUE_BITS - step:] == 0):
                            m.d.sync += [wide.eq(wide << step), exponent.eq(exponent - step)]
                            m.next = "CLIMB"
                        place = 1
            with m.State("WRITE"):
                m.next = "IDLE"
        m.d.comb += [self.busy.eq(~fsm.ongoing("IDLE")), self.done.eq(fsm.ongoing("WRITE"))]
        with m.If(loads):
            m.d.comb += mantissa.eq(wide[VALUE_BITS - MANTISSA_BITS:])
        with m.Else():
            m.d.comb += [carry.eq(wide[MANTISSA_BITS]), mantissa.eq(Mux(carry, wide >> 1, wide))]
        shown = Mux(mantissa == 0, 0, exponent + carry + self.exponent)
        for copy in copies:
            m.d.comb += [
                copy.write_enable.eq(self.done | self.write_enable),
                copy.write_address.eq(Mux(self.done, self.destination, self.write_address)),
                copy.write_data.eq(Mux(self.done, Cat(mantissa, shown[:EXPONENT_BITS]),
                                       Cat(self.write_mantissa, self.write_exponent))),
            ]
        return m

    def _larger(self, m, a, b, wide, rest, exponent):
        """The mantissa of the larger exponent below the other's, and by how much the exponents differ."""
        above, farthest = Signal(), (1 << 6) - 1
        m.d.comb += above.eq(~b[0].any() | a[0].any() & (a[1] >= b[1]))
        large, small = ([Mux(above, x, y) for x, y in zip(*pair)] for pair in ((a, b), (b, a)))
        difference = Mux(small[0] == 0, 0, large[1] - small[1])
        m.d.sync += [wide.eq(Cat(large[0], small[0])), exponent.eq(large[1]),
                     rest.eq(Mux(difference > farthest, farthest, difference))]
