"""Shifts to the right that leave fewer bits, for any technology."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["PRODUCT_BITS", "SHIFT_ADD_LATENCY", "SHIFT_BITS", "ShiftAdd", "ShiftAddSignature", "ShiftInto",
           "TOTAL_BITS", "differ"]


ADDEND_BITS = 18
PRODUCT_BITS = 2 * ADDEND_BITS
SHIFT_BITS = 5
FINE_BITS = 3  # of the shift, in its second cycle
TOTAL_BITS = 22  # a sum of two products that are shifted by 15 or more
COARSE_BITS = TOTAL_BITS + (1 << FINE_BITS) - 1  # of a shifted product, a place below the point among them
SHIFT_ADD_LATENCY = 3


def differ(bits):
    """Whether bits of a number, the sign among them, are not all the same."""
    return ~(bits.all() | ~bits.any())


class ShiftInto(wiring.Component):
    """o = i >> shift, rounded down, if ``to`` bits hold that; otherwise ``beyond`` is set. Combinational.

    Each place of ``shift`` only keeps what the lower ones can still bring into ``to`` bits: a multiplexer a bit.

    Parameters
    ----------
    width, to : int
        Bits of ``i`` and ``o``.
    places : int
        Bits of ``shift``.

    Members
    -------
    i : In(signed(width))
    shift : In(places)
    o : Out(signed(to))
    beyond : Out(1)
    """

    def __init__(self, *, width, to, places):
        super().__init__({"i": In(signed(width)), "shift": In(places), "o": Out(signed(to)), "beyond": Out(1)})

    def elaborate(self, platform):
        m = Module()
        value, beyond = self.i, C(0, 1)
        for place in reversed(range(len(self.shift))):
            step, shifts = 1 << place, self.shift[place]
            bits = max(len(value) - step, len(self.o) + step - 1)
            if bits < len(value):
                beyond = beyond | Mux(shifts, differ((value >> step)[bits - 1:]), differ(value[bits - 1:]))
            left = Signal(signed(bits), name=f"left_{place}")
            m.d.comb += left.eq(Mux(shifts, value >> step, value))
            value = left
        if len(value) > len(self.o):
            beyond = beyond | differ(value[len(self.o) - 1:])
        m.d.comb += [self.o.eq(value), self.beyond.eq(beyond)]
        return m


class ShiftAddSignature(wiring.Signature):
    """Ports of a shift and an addition: i / 2**shift, rounded half up, and either an addend or the total before.

    Members
    -------
    i : In(signed(36))
        A product of two factors of 18 bits.
    shift : In(5)
        A cycle before ``i``; holds while products come.
    chain : In(1)
        A cycle after ``i``: the total before is added, and ``addend`` is 0. Shifts are 15 or more then.
    addend : In(signed(18))
        Two cycles after ``i``.
    o : Out(signed(22))
        SHIFT_ADD_LATENCY cycles after ``i``, as the following.
    beyond : Out(1)
        The shifted product has more than 21 bits, and ``o`` says nothing. 2 ** 20 may pass for one or the other.
    negative : Out(1)
        The product is.
    """

    def __init__(self):
        super().__init__({
            "i": In(signed(PRODUCT_BITS)), "shift": In(SHIFT_BITS), "chain": In(1), "addend": In(signed(ADDEND_BITS)),
            "o": Out(signed(TOTAL_BITS)), "beyond": Out(1), "negative": Out(1)})


class ShiftAdd(wiring.Component):
    """Two cycles for the shift, each of which leaves what later places can bring back into range; then the sum."""

    def __init__(self):
        super().__init__(ShiftAddSignature())

    def elaborate(self, platform):
        m = Module()
        shift, fine_shift = Signal(SHIFT_BITS, reset_less=True), Signal(FINE_BITS, reset_less=True)
        coarse, fine = Signal(signed(COARSE_BITS), reset_less=True), Signal(signed(TOTAL_BITS), reset_less=True)
        scaled = Cat(C(0, 1), self.i).as_signed()
        steps = [scaled >> (step << FINE_BITS) for step in range(1 << SHIFT_BITS - FINE_BITS)]
        low, high = shift[FINE_BITS:]
        beyond, negative = Signal(2, reset_less=True), Signal(3, reset_less=True)
        m.submodules.shifter = shifter = ShiftInto(width=COARSE_BITS, to=TOTAL_BITS, places=FINE_BITS)
        m.d.comb += [shifter.i.eq(coarse), shifter.shift.eq(fine_shift)]
        m.d.sync += [
            shift.eq(self.shift),
            coarse.eq(Mux(high, Mux(low, steps[3], steps[2]), Mux(low, steps[1], steps[0]))),
            fine_shift.eq(shift[:FINE_BITS]),
            beyond.eq(Cat(~low & ~high & differ(scaled[COARSE_BITS - 1:]), beyond[0] | shifter.beyond)),
            negative.eq(Cat(self.i[-1], negative)),
            fine.eq(shifter.o),
        ]
        # The place below the point rounds.
        chain, total, last_beyond = Signal(), Signal.like(self.o, reset_less=True), Signal(reset_less=True)
        m.d.sync += [chain.eq(self.chain), last_beyond.eq(beyond[1]),
                     total.eq((fine >> 1) + fine[0] + Mux(chain, total, self.addend))]
        m.d.comb += [self.o.eq(total), self.beyond.eq(last_beyond), self.negative.eq(negative[-1])]
        return m
