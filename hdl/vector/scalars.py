"""The scalar unit: what follows the scales of vectors through a token, one operation after the other."""

from amaranth import *
from amaranth.lib import data, wiring
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
DISTANCE_BITS = ceil_log2(MANTISSA_BITS)  # of that of two exponents, beyond which a sum is its larger operand
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
    table : list of int
        Of 16 bits, for whoever else reads: a memory for it alone would have room to spare. As many as a power of two.
    technology : Technology

    Members
    -------
    start : In(1)
        Begin, while not busy, with the following, which hold until ``done``. In the cycle before, ``read_address`` was
        the register of the first operand.
    operation : In(3)
        A ScaleOperation's value.
    destination, b : In
        Registers of the result and of the second operand.
    exponent : In(signed(12))
        Added to the result's, unless the result is 0.
    value : In(48)
        The integer that is loaded.
    busy, done : Out(1)
        ``done`` is set in an operation's last cycle.
    read_address : In
        The register at ``read_mantissa`` and ``read_exponent`` two cycles later, while not busy.
    read_table : In(1)
        ``read_address`` is one of the table, whose word ``read_mantissa`` is then.
    write_enable, write_address, write_mantissa, write_exponent : In
        From outside, while not busy.
    """

    def __init__(self, *, registers, table=(), technology=PORTABLE):
        self.registers, self.table, self.technology = registers, list(table), technology
        address = max(ceil_log2(registers), ceil_log2(len(self.table)), 1)
        super().__init__({
            "start": In(1), "operation": In(OPERATION_BITS), "destination": In(address), "b": In(address),
            "exponent": In(signed(EXPONENT_BITS)), "value": In(VALUE_BITS), "busy": Out(1),
            "done": Out(1), "read_address": In(address), "read_table": In(1), "read_mantissa": Out(MANTISSA_BITS),
            "read_exponent": Out(signed(EXPONENT_BITS)), "write_enable": In(1), "write_address": In(address),
            "write_mantissa": In(MANTISSA_BITS), "write_exponent": In(signed(EXPONENT_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        behind = 1 << len(self.read_address)
        m.submodules.registers = registers = self.technology.memory(
            depth=behind + len(self.table) if self.table else self.registers, width=sum(SCALAR_BITS),
            init=[0] * behind + self.table if self.table else [])
        scalar = data.StructLayout({"mantissa": MANTISSA_BITS, "exponent": signed(EXPONENT_BITS)})
        a, b = Signal(scalar, reset_less=True), data.View(scalar, registers.read_data)
        m.d.comb += [
            registers.read_enable.eq(1),
            registers.read_address.eq(Mux(self.busy | self.start, self.b, Cat(self.read_address, self.read_table))),
            self.read_mantissa.eq(b.mantissa), self.read_exponent.eq(b.exponent),
        ]
        m.submodules.product = product = self.technology.multiplier(width=MANTISSA_BITS + 1, pipelined=False)
        m.d.comb += [product.a.eq(a.mantissa), product.b.eq(b.mantissa)]

        loaded, some = Signal(VALUE_BITS, reset_less=True), Signal(reset_less=True)  # whether it is not 0
        exponent = Signal(signed(WIDE_EXPONENT), reset_less=True)  # of the result before it is normalised
        pair = Signal(signed(WIDE_EXPONENT), reset_less=True)  # what the operands' exponents add to it
        begun, climb = Signal(), Signal(signed(STEPS[0].bit_length() + 1))
        result = Signal(MANTISSA_BITS + 1, reset_less=True)  # sum, quotient or root
        rest, divisor = Signal(signed(MANTISSA_BITS + 4), reset_less=True), Signal(MANTISSA_BITS, reset_less=True)
        radicand = Signal(MANTISSA_BITS + 1, reset_less=True)  # its upper bits; those below are 0
        digits = Signal(range(QUOTIENT_BITS + 1), reset_less=True)
        above, distance = Signal(reset_less=True), Signal(range(2 * MANTISSA_BITS), reset_less=True)
        quotient, left = self._digits(m, result, rest, divisor)
        operation = self.operation
        loads = Cat(operation == load.value for load in LOADS).any()

        with m.FSM() as fsm:
            with m.State("IDLE"):
                with m.If(self.start):
                    m.next = "READ"
                    with m.If(loads):
                        m.next = "CLIMB"
            with m.State("READ"):
                m.d.sync += a.eq(registers.read_data)
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += [pair.eq(self._pair(operation, a, b)), divisor.eq(b.mantissa), result.eq(0), rest.eq(0),
                             above.eq(~b.mantissa.any() | a.mantissa.any() & (a.exponent >= b.exponent))]
                # The mantissa is widened to 31 or 32 bits, by which the exponent becomes even.
                m.d.sync += radicand.eq(Mux(a.exponent[0], a.mantissa, a.mantissa << 1))
                with m.Switch(operation):
                    with m.Case(ScaleOperation.MULTIPLY.value):
                        m.next = "PRODUCT"
                    with m.Case(ScaleOperation.DIVIDE.value):
                        m.d.sync += [rest.eq(a.mantissa), digits.eq(QUOTIENT_BITS // DIGITS)]
                        m.next = "DIVIDE"
                        with m.If(b.mantissa == 0):
                            m.next = "WRITE"
                    with m.Case(ScaleOperation.ADD.value):
                        m.next = "ALIGN"
                    with m.Case(ScaleOperation.ROOT.value):
                        m.d.sync += digits.eq(MANTISSA_BITS)
                        m.next = "ROOT"
            with m.State("PRODUCT"):
                m.next = "WRITE"
            with m.State("DIVIDE"):
                m.d.sync += [result.eq(quotient), rest.eq(left), digits.eq(digits - 1)]
                with m.If(digits == 1):
                    m.next = "WRITE"
            with m.State("ROOT"):
                # Two bits of the radicand come down for a digit; ``result`` is the root so far.
                brought, trial = Cat(radicand[-2:], rest[:MANTISSA_BITS + 1]), Cat(C(1, 2), result)
                fits = brought >= trial
                m.d.sync += [rest.eq(Mux(fits, brought - trial, brought)), result.eq(Cat(fits, result)),
                             radicand.eq(radicand << 2), digits.eq(digits - 1)]
                with m.If(digits == 1):
                    m.next = "WRITE"
            with m.State("ALIGN"):
                apart = Mux(above, pair, -pair)
                m.d.sync += [result.eq(Mux(above, a.mantissa, b.mantissa)),
                             divisor.eq(Mux(above, b.mantissa, a.mantissa)),
                             distance.eq(Cat(apart[:DISTANCE_BITS], apart[DISTANCE_BITS:].any()))]
                m.next = "SUM"
            with m.State("SUM"):
                m.d.sync += result.eq(result + (divisor >> distance))
                m.next = "WRITE"
            with m.State("CLIMB"):
                m.next = "WRITE"
                place = 0
                with m.If(some):
                    for step in STEPS:
                        with (m.Elif if place else m.If)(loaded[VALUE_BITS - step:] == 0):
                            m.d.sync += loaded.eq(loaded << step)
                            m.d.comb += climb.eq(-step)
                            m.next = "CLIMB"
                        place = 1
            with m.State("WRITE"):
                m.next = "IDLE"
        m.d.sync += begun.eq(fsm.ongoing("BEGIN"))
        with m.If(fsm.ongoing("IDLE")):
            m.d.sync += [loaded.eq(self.value), some.eq(self.value.any()),
                         exponent.eq(self.exponent + self._constant(m, loads))]
        with m.Else():
            larger = Mux(above, a.exponent, b.exponent)
            added = Mux(operation == ScaleOperation.ADD.value, larger, pair)
            m.d.sync += exponent.eq(exponent + Mux(begun, added, climb))

        normal = Signal(MANTISSA_BITS + 1)
        m.d.comb += [self.busy.eq(~fsm.ongoing("IDLE")), self.done.eq(fsm.ongoing("WRITE")),
                     normal.eq(Mux(operation == ScaleOperation.MULTIPLY.value, product.o[MANTISSA_BITS - 1:], result))]
        carry = normal[-1] & ~loads
        mantissa = Mux(loads, loaded[VALUE_BITS - MANTISSA_BITS:], Mux(normal[-1], normal[1:], normal))[:MANTISSA_BITS]
        shown = Mux(mantissa[-1], exponent + carry, 0)  # the highest bit of a mantissa is only clear in 0
        m.d.comb += [
            registers.write_enable.eq(self.done | self.write_enable),
            registers.write_address.eq(Mux(self.done, self.destination, self.write_address)),
            registers.write_data.eq(Mux(self.done, Cat(mantissa, shown[:EXPONENT_BITS]),
                                        Cat(self.write_mantissa, self.write_exponent))),
        ]
        return m

    def _digits(self, m, quotient, rest, divisor):
        """The quotient with its next digits, and the rest: below 0 the divisor is added to it, not subtracted. Where it
        is not below 0 after that the digit is 1, as if nothing too large were ever subtracted."""
        for digit in range(DIGITS):
            m.submodules[f"digit_{digit}"] = add = self.technology.folded_add(width=len(rest))
            subtracts = ~rest[-1]
            m.d.comb += [add.total.eq(Cat(subtracts, rest)), add.i.eq(divisor << 2), add.flip.eq(subtracts)]
            quotient, rest = Cat(~add.o[-1], quotient), add.o
        return quotient, rest

    def _pair(self, operation, a, b):
        """Sum or difference of exponents; of a root, half of an even one or of one that is made even."""
        root = operation == ScaleOperation.ROOT.value
        negative = (operation == ScaleOperation.DIVIDE.value) | (operation == ScaleOperation.ADD.value)
        first = Mux(root, a.exponent >> 1, a.exponent)
        second = Mux(root, 0, b.exponent ^ negative.replicate(EXPONENT_BITS).as_signed())
        carry = negative | root & a.exponent[0]
        return (Cat(C(1, 1), first).as_signed() + Cat(carry, second).as_signed())[1:].as_signed()

    def _constant(self, m, loads):
        """What a result's exponent has beside those of the operands."""
        constant = Signal(signed(WIDE_EXPONENT))
        with m.Switch(self.operation):
            with m.Case(ScaleOperation.MULTIPLY.value):
                m.d.comb += constant.eq(MANTISSA_BITS - 1)
            with m.Case(ScaleOperation.DIVIDE.value):
                m.d.comb += constant.eq(-MANTISSA_BITS)
            with m.Case(ScaleOperation.ROOT.value):
                m.d.comb += constant.eq(-MANTISSA_BITS // 2)
        with m.If(loads):
            m.d.comb += constant.eq(VALUE_BITS - MANTISSA_BITS)
        return constant
