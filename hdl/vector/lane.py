"""A lane of the whole-token processor: a multiplier, a shift, an addend, and what is remembered of the results."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...golden.attention import EXP2, EXP2_BITS, WEIGHT_BITS
from ...golden.feed_forward import SIGMOID, SIGMOID_BITS
from ...golden.lanes import LANE_BITS
from ..technology.multiplier import MULTIPLIER_LATENCY
from ..technology.product import PORTABLE
from ..technology.shifter import SHIFT_ADD_LATENCY, SHIFT_BITS


__all__ = ["LANE_LATENCY", "SQUARE_LATENCY", "WEIGHT_SHIFT", "Lane", "LaneControl"]


OCTAVE_BITS = 4
WEIGHT_SHIFT = 1 << OCTAVE_BITS  # octaves beyond which a weight is 0: its power is times one of 2**15 to 1 before
HIGHEST = (1 << LANE_BITS - 1) - 1
SQUARE_LATENCY = 1 + MULTIPLIER_LATENCY
LANE_LATENCY = 1 + MULTIPLIER_LATENCY + SHIFT_ADD_LATENCY + 1  # operands, product, shift and sum, saturation


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

        a, b -> multiplier (3) -> shift and sum (3) -> o
        c ------------------------------^

    A weight is the power of ``below``'s fraction times 2 ** (15 - octaves), shifted by WEIGHT_SHIFT.

    Parameters
    ----------
    technology : Technology
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
        Of a weight, how far the element is below the largest one.
    factor : In(signed(18))
        The second factor of all elements, a cycle after they begin to come: ``b`` is 0 then, or this is. Both of a
        weight.
    shift : In(5)
        Three cycles after the operands; holds while elements pass. 15 or more of two products that are added,
        WEIGHT_SHIFT of a weight.
    count : In(count_bits)
        How many results have left before the one that leaves.
    clear : In(1)
        Forget smallest, largest and best.
    o : Out(signed(18))
    o_valid, o_takes : Out(1)
    smallest, largest : Out(signed(18))
        Of the results so far; a cycle behind them, as the following.
    best : Out(count_bits)
        How many results were before the first that is the largest.
    square : Out(36)
        Of a first factor, with its product.
    weight : Out(10)
        The result of the cycle before, if it is a weight that takes part; else 0.
    """

    def __init__(self, *, count_bits, silu, technology=PORTABLE):
        self.silu, self.technology = silu, technology
        super().__init__({
            "control": In(LaneControl()),
            "a": In(signed(LANE_BITS)),
            "b": In(signed(LANE_BITS)),
            "c": In(signed(LANE_BITS)),
            "below": In(LANE_BITS),
            "factor": In(signed(LANE_BITS)),
            "shift": In(SHIFT_BITS),
            "count": In(count_bits),
            "clear": In(1),
            "o": Out(signed(LANE_BITS)),
            "o_valid": Out(1),
            "o_takes": Out(1),
            "smallest": Out(signed(LANE_BITS), init=HIGHEST),
            "largest": Out(signed(LANE_BITS), init=-HIGHEST - 1),
            "best": Out(count_bits),
            "square": Out(2 * LANE_BITS),
            "weight": Out(WEIGHT_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        controls, addends = [self.control], [self.c]
        for stage in range(LANE_LATENCY):
            control = Signal(LaneControl(), name=f"control_{stage}")
            m.d.sync += control.eq(controls[-1])
            controls.append(control)
        a, b = (Signal.like(signal, name=f"first_{name}", reset_less=True)
                for name, signal in (("a", self.a), ("b", self.b)))
        m.submodules.exp2 = power = self.technology.table(EXP2.tolist())
        m.d.comb += power.i.eq(self.below)
        weight, octave = Signal.like(power.o, reset_less=True), Signal(WEIGHT_SHIFT, reset_less=True)
        octaves = self.below[EXP2_BITS:]
        m.d.sync += [a.eq(Mux(self.control.exp2, 0, self.a)), b.eq(self.b),
                     weight.eq(Mux(self.control.exp2, power.o, 0)), octave.eq(0)]
        with m.If(self.control.exp2 & (octaves < WEIGHT_SHIFT)):
            m.d.sync += octave.eq(1 << (WEIGHT_SHIFT - 1 - octaves)[:OCTAVE_BITS])
        total_stage = LANE_LATENCY - 2
        for stage in range(total_stage):
            addend = Signal(signed(LANE_BITS), name=f"addend_{stage}", reset_less=True)
            m.d.sync += addend.eq(addends[-1])
            addends.append(addend)

        m.submodules.product = product = self.technology.multiplier(width=LANE_BITS)
        m.submodules.square = square = self.technology.multiplier(width=LANE_BITS)
        factor = b | self.factor | weight  # of which one is not 0
        if self.silu:
            factor = Mux(controls[1].sigmoid, self._sigmoid(m), factor)
        m.d.comb += [product.a.eq(a | octave), product.b.eq(factor), square.a.eq(a), square.b.eq(a)]
        m.submodules.shift_add = add = self.technology.shift_add()
        m.d.comb += [add.i.eq(product.o), add.shift.eq(self.shift), add.addend.eq(addends[-1]),
                     add.chain.eq(controls[total_stage - 1].chain)]
        total, overflow = add.o, Cat(add.beyond, add.negative)
        upper, below = Signal(), Signal()
        m.d.comb += [upper.eq(Mux(overflow[0], ~overflow[1], ~total[-1] & total[LANE_BITS - 1:].any())),
                     below.eq(Mux(overflow[0], overflow[1], total[-1] & ~total[LANE_BITS - 1:].all()))]
        m.d.sync += [self.o[:-1].eq(Mux(upper, -1, Mux(below, 0, total))),
                     self.o[-1].eq(Mux(overflow[0], overflow[1], total[-1]))]
        m.d.comb += [self.o_valid.eq(controls[-1].valid & controls[-1].ends),
                     self.o_takes.eq(controls[-1].takes & controls[-1].ends)]
        weighed = controls[-1]
        counted = Signal.like(self.weight, reset_less=True)
        m.d.sync += counted.eq(Mux(weighed.valid & weighed.takes & weighed.exp2, self.o, 0))
        m.d.comb += [self.square.eq(square.o), self.weight.eq(counted)]
        self._remember(m)
        return m

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

    def _remember(self, m):
        with m.If(self.o_valid & self.o_takes):
            with m.If(self.o < self.smallest):
                m.d.sync += self.smallest.eq(self.o)
            with m.If(self.largest < self.o):  # yosys makes > of twice the logic
                m.d.sync += [self.largest.eq(self.o), self.best.eq(self.count)]
        with m.If(self.clear):
            m.d.sync += [self.smallest.eq(HIGHEST), self.largest.eq(-HIGHEST - 1), self.best.eq(0)]
