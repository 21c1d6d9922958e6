"""A lane of the whole-token processor: a multiplier, a shift, an addend, and what is remembered of the results."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...golden.attention import EXP2, EXP2_BITS
from ...golden.feed_forward import SIGMOID, SIGMOID_BITS
from ...golden.lanes import LANE_BITS
from ..technology.multiplier import MULTIPLIER_LATENCY, Multiplier


__all__ = ["LANE_LATENCY", "Lane", "LaneControl", "SUM_BITS"]


SHIFT_BITS = 5
FINE_BITS = 3  # of the shift, in its second cycle
SUM_BITS = 48
SHIFT_CYCLES = 2
LANE_LATENCY = 1 + MULTIPLIER_LATENCY + SHIFT_CYCLES + 2  # operands, product, shift, sum, saturation


class LaneControl(data.StructLayout):
    """What a lane does with the operands of a cycle.

    Members
    -------
    valid : the operands are an element
    takes : it takes part in the maximum, the largest, the best and the sum of weights
    chain : the result before is added, unsaturated; the element is a second product
    ends : the result leaves; not set where a second product follows
    exp2 : the result is 1023 * 2**-``below``
    sigmoid : the second factor is the sigmoid of ``b``
    """

    def __init__(self):
        super().__init__({"valid": 1, "takes": 1, "chain": 1, "ends": 1, "exp2": 1, "sigmoid": 1})


class Lane(wiring.Component):
    """golden.lanes.lane of an element a cycle, LANE_LATENCY cycles later, or a weight of the softmax.

    Each name is a register, each column a cycle::

        a, b -> multiplier (3) -> coarse -> fine -> total -> o
        c -----------------------------------------^
        below -> power, octaves -> shifted -> rounded -> ... -> o

    Parameters
    ----------
    count_bits : int
        Of the number of results of a step.
    silu : bool
        Whether there is a table of the sigmoid.

    Members
    -------
    control : In(LaneControl)
        With the operands.
    a, b, c : In(signed(18))
    below : In(18)
        In place of factors, how far the element is below the largest one.
    shift : In(5)
        Holds while elements pass.
    clear : In(1)
        Forget maximum, largest, best and sum.
    o : Out(signed(18))
    o_valid, o_takes : Out(1)
    maximum : Out(18)
        Largest magnitude of the results so far; two cycles behind them, as the following.
    largest : Out(signed(18))
        Largest result.
    best : Out(count_bits)
        How many results were before the first that is the largest.
    sum : Out(48)
        Of squares of first factors, or of weights.
    """

    def __init__(self, *, count_bits, silu):
        self.silu = silu
        super().__init__({
            "control": In(LaneControl()),
            "a": In(signed(LANE_BITS)),
            "b": In(signed(LANE_BITS)),
            "c": In(signed(LANE_BITS)),
            "below": In(LANE_BITS),
            "shift": In(SHIFT_BITS),
            "clear": In(1),
            "o": Out(signed(LANE_BITS)),
            "o_valid": Out(1),
            "o_takes": Out(1),
            "maximum": Out(LANE_BITS),
            "largest": Out(signed(LANE_BITS)),
            "best": Out(count_bits),
            "sum": Out(SUM_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        controls, addends = [self.control], [self.c]
        for stage in range(LANE_LATENCY):
            control = Signal(LaneControl(), name=f"control_{stage}")
            m.d.sync += control.eq(controls[-1])
            controls.append(control)
        a, b, below = (Signal.like(signal, name=f"first_{name}", reset_less=True)
                       for name, signal in (("a", self.a), ("b", self.b), ("below", self.below)))
        m.d.sync += [a.eq(self.a), b.eq(self.b), below.eq(self.below)]
        total_stage = LANE_LATENCY - 2
        for stage in range(total_stage):
            addend = Signal(signed(LANE_BITS), name=f"addend_{stage}", reset_less=True)
            m.d.sync += addend.eq(addends[-1])
            addends.append(addend)

        m.submodules.product = product = Multiplier(width=LANE_BITS)
        m.submodules.square = square = Multiplier(width=LANE_BITS)
        factor = Mux(controls[1].sigmoid, self._sigmoid(m), b) if self.silu else b
        m.d.comb += [product.a.eq(a), product.b.eq(factor), square.a.eq(a), square.b.eq(a)]
        total = self._sum(m, product.o, addends[-1], controls[total_stage])
        power = self._power(m, below)
        value = Signal.like(self.o)
        beyond = total[LANE_BITS - 1:]
        saturated = Mux(beyond.all() | ~beyond.any(), total, Cat((~total[-1]).replicate(LANE_BITS - 1), total[-1]))
        last = controls[-2]
        m.d.comb += value.eq(Mux(last.exp2, power, saturated))
        m.d.sync += self.o.eq(value)
        m.d.comb += [self.o_valid.eq(controls[-1].valid & controls[-1].ends),
                     self.o_takes.eq(controls[-1].takes & controls[-1].ends)]
        self._remember(m)
        self._total_of(m, square.o, controls, power)
        return m

    def _sum(self, m, product, addend, control):
        """The product, shifted and rounded, and its addend; two cycles for the shift, one for the sum."""
        width = len(product) + 1  # with the bit that decides the rounding
        coarse, fine = (Signal(signed(width), name=name, reset_less=True) for name in ("coarse", "fine"))
        total = Signal(signed(width + 1), reset_less=True)
        places = self.shift[FINE_BITS:] << FINE_BITS
        m.d.sync += [
            coarse.eq(Cat(C(0, 1), product).as_signed() >> places),
            fine.eq(coarse >> self.shift[:FINE_BITS]),
            total.eq((fine >> 1) + fine[0] + Mux(control.chain, total, addend)),
        ]
        return total

    def _sigmoid(self, m):
        """golden.feed_forward.sigmoid of ``b``, in the cycle of its register."""
        magnitude, negative = Signal(LANE_BITS), Signal(reset_less=True)
        m.d.comb += magnitude.eq(Mux(self.b[-1], -self.b, self.b))
        step = (magnitude + 1) >> 1
        m.submodules.sigmoid = table = Memory(shape=SIGMOID_BITS, depth=len(SIGMOID), init=SIGMOID.tolist())
        port = table.read_port(domain="sync")
        m.d.comb += port.addr.eq(Mux(step >= len(SIGMOID), len(SIGMOID) - 1, step))
        m.d.sync += negative.eq(self.b[-1])
        return Mux(negative, (1 << SIGMOID_BITS) - port.data, port.data)

    def _power(self, m, below):
        """1023 * 2**-below of golden.attention.softmax_weights, as late as the saturation."""
        bits = int(EXP2.max()).bit_length()
        table = Memory(shape=bits, depth=len(EXP2), init=EXP2.tolist())
        m.submodules.exp2 = table
        port = table.read_port(domain="sync")
        octaves = Signal(range(bits + 1), reset_less=True)
        far = below[EXP2_BITS:] >= bits
        shifted, rounded = Signal(bits, reset_less=True), Signal(bits, reset_less=True)
        m.d.comb += port.addr.eq(below[:EXP2_BITS])
        m.d.sync += [
            octaves.eq(Mux(far, bits, below[EXP2_BITS:])),
            shifted.eq(port.data >> octaves),  # one place more is the rounding
            rounded.eq((shifted >> 1) + shifted[0]),
        ]
        for stage in range(LANE_LATENCY - 1 - 1 - 3):  # behind ``below``, before the result, and the three above
            later = Signal(bits, name=f"power_{stage}", reset_less=True)
            m.d.sync += later.eq(rounded)
            rounded = later
        return rounded

    def _remember(self, m):
        magnitude, value = Signal(LANE_BITS, reset_less=True), Signal.like(self.o, reset_less=True)
        valid, takes, count = Signal(), Signal(), Signal.like(self.best, reset_less=True)
        m.d.sync += [magnitude.eq(Mux(self.o[-1], -self.o, self.o)), value.eq(self.o), valid.eq(self.o_valid),
                     takes.eq(self.o_valid & self.o_takes)]
        with m.If(valid):
            m.d.sync += count.eq(count + 1)
        with m.If(takes):
            with m.If(magnitude > self.maximum):
                m.d.sync += self.maximum.eq(magnitude)
            with m.If(value > self.largest):
                m.d.sync += [self.largest.eq(value), self.best.eq(count)]
        with m.If(self.clear):
            m.d.sync += [self.maximum.eq(0), self.largest.eq(-1 << LANE_BITS - 1), self.best.eq(0), count.eq(0)]

    def _total_of(self, m, square, controls, power):
        """The sum: squares when their products are there, weights when they are."""
        square_stage = 1 + MULTIPLIER_LATENCY
        squared, weighed = controls[square_stage], controls[-2]
        with m.If(weighed.valid & weighed.takes & weighed.exp2):
            m.d.sync += self.sum.eq(self.sum + power)
        with m.Elif(squared.valid & ~squared.exp2):
            m.d.sync += self.sum.eq(self.sum + square)
        with m.If(self.clear):
            m.d.sync += self.sum.eq(0)
