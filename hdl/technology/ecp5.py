"""Lattice ECP5: dot products and accumulators on its carry chains, its block RAM, and its PLL.

A CCU2C is two bits of carry chain. Each half has a LUT4 of its own, P(A, B, C, D), and GEN, the value of that LUT for
C = D = 0; the sum is P ^ carry, and the carry out is P ? carry : GEN (yosys' cells_sim.v). Synthesis only uses A and B
as addends; with all four inputs used, a sum or difference of two, by a sign of each, takes one LUT a bit.
"""

from fractions import Fraction

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .family import Family
from .memory import LutMemory as PortableLutMemory
from .memory import MemorySignature
from .product import LEVELS, AccumulatorSignature, DotSignature, Technology
from .shifter import PRODUCT_BITS, SHIFT_BITS, TOTAL_BITS, ShiftAddSignature, differ


__all__ = ["ECP5", "FAMILY", "BlockMemory", "CarryChain", "ChosenAdd", "Dot", "FoldedAdd", "LutMemory",
           "Multiplier", "Pll", "ShiftAdd", "Table", "multiplier_block"]


BLOCK_SHAPES = {1: 16384, 2: 8192, 4: 4096, 9: 2048, 18: 1024, 36: 512}  # bits of a word: words
BLOCK_BITS = 18  # of a port
BLOCK_LANE = 9  # bits that are written together, of 18 and 36
LUT_INPUTS = 4
FACTOR_BITS = 18  # of a multiplier
BLOCK_ROWS, INIT_ROWS, INIT_PITCH = 1024, 16, 20


def lut4(function):
    """INIT of a LUT4 from a function of A, B, C, D."""
    return sum(bool(function(*((index >> bit) & 1 for bit in range(4)))) << index for index in range(16))


CHOICE = lut4(lambda a, b, c, d: a ^ (d if b else c))  # an addend, a choice, and the two of which one is added
PASSES = lut4(lambda a, b, c, d: a & ~c)  # of a half with C = 1: P is 0, thus the carry out GEN, which is A


class CarryChain(Elaboratable):
    """A carry chain of CCU2C with the same LUT in all bits.

    Parameters
    ----------
    init : int
        INIT of the LUT4s.
    a, b, c, d, o : Value
        Operands and sum, of the same width.
    carry : Value
        One bit, added to the lowest.
    """

    def __init__(self, init, *, a, b, c, d, o, carry=C(0, 1)):
        self.init, self.operands, self.o, self.carry = init, {"A": a, "B": b, "C": c, "D": d}, o, carry

    def elaborate(self, platform):
        m = Module()
        # Place and route spends a CCU2C on a carry in, though constant, and one on a carry out, though unused. Where a
        # half is to spare it comes first, and passes on the carry whatever comes in below.
        spare = len(self.o) % 2
        halves = [None] * spare + list(range(len(self.o)))
        passing = {"A": self.carry, "B": C(0, 1), "C": C(1, 1), "D": C(0, 1)}
        carry = {} if spare else {"i_CIN": self.carry}
        for low in range(0, len(halves), 2):
            ports = dict(carry)
            for half, bit in enumerate(halves[low:low + 2]):
                for name, operand in self.operands.items():
                    ports[f"i_{name}{half}"] = passing[name] if bit is None else operand[bit]
                ports[f"o_S{half}"] = Signal(name=f"unused_{low}") if bit is None else self.o[bit]
                ports[f"p_INIT{half}"] = C(PASSES if bit is None else self.init, 16)
                ports[f"p_INJECT1_{half}"] = "NO"
            if low + 2 < len(halves):
                carry_out = Signal(name=f"carry_{low + 2}")
                ports["o_COUT"], carry = carry_out, {"i_CIN": carry_out}
            m.submodules[f"bits_{low}"] = Instance("CCU2C", **ports)
        return m


class FoldedAdd(wiring.Component):
    """hdl.technology.product.FoldedAdd in one LUT a bit."""

    def __init__(self, *, width):
        self.width = width
        super().__init__({"total": In(signed(width)), "i": In(signed(width)), "flip": In(1),
                          "o": Out(signed(width))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.chain = CarryChain(
            lut4(lambda a, b, c, d: a ^ c ^ d),
            a=self.total, b=C(0, self.width), c=self.i, d=self.flip.replicate(self.width), o=self.o)
        return m


class ChosenAdd(wiring.Component):
    """hdl.technology.product.ChosenAdd in one LUT a bit."""

    def __init__(self, *, width):
        self.width = width
        super().__init__({"total": In(signed(width)), "a": In(signed(width)), "b": In(signed(width)),
                          "choose": In(1), "carry": In(1), "o": Out(signed(width))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.chain = CarryChain(CHOICE, a=self.total, b=self.choose.replicate(self.width), c=self.a, d=self.b,
                                        o=self.o, carry=self.carry)
        return m


class Dot(wiring.Component):
    """hdl.technology.product.Dot in one LUT a bit of each sum, with no LUT before it.

    A weight of zero resets the register of its activation. A sign inverts that in the first adders' own LUTs, and is a
    carry that is still to be added: every node of the tree is a sum and one such bit. A node takes in the one of its
    right branch, and leaves that of its left one to the next. The last is left to the accumulator.
    """

    def __init__(self, *, position, products):
        self.position, self.products = position, products
        super().__init__(DotSignature(position, products))

    def elaborate(self, platform):
        m = Module()
        self._chains = 0
        nodes = []
        for index in range(self.products):
            sign = Signal(name=f"sign_{index}", reset_less=True)
            m.d.sync += sign.eq(self.sign[index])
            nodes.append((self._term(m, index), sign, sign, 1))
        for _ in range(LEVELS):
            nodes = [self._add(m, *nodes[low:low + 2]) for low in range(0, len(nodes), 2)]
        if self.position:
            nodes = [self._add(m, nodes[0], (self.i, C(0, 1), self.i_carry, self.position))]
        (total, _, carry, _), = nodes
        m.d.comb += [self.o.eq(total), self.o_carry.eq(carry)]
        return m

    def _term(self, m, index):
        """An activation, or zero, a cycle later."""
        term = Signal(signed(8), name=f"term_{index}", reset_less=True)
        with m.If(self.non_zero[index]):
            m.d.sync += term.eq(self.x[index])
        with m.Else():
            m.d.sync += term.eq(0)
        return term

    def _add(self, m, left, right=None):
        """A node of (value, whether it is inverted, the carry to be added, products), whose value is in a register."""
        i, flip, i_carry, products = left
        name = f"{self._chains}"
        self._chains += 1
        added = right[3] if right else 0
        # Short of a carry, thus 128 less one at most.
        width = (128 * (products + added) - 1).bit_length() + 1
        total, carry = (Signal(signed(width), name=f"total_{name}", reset_less=True),
                        Signal(name=f"carry_{name}", reset_less=True))
        if right is None:
            value = i ^ flip.replicate(len(i)).as_signed()
        else:
            value, a, c = (Signal(signed(width), name=f"{part}_{name}") for part in ("sum", "a", "c"))
            m.d.comb += [a.eq(i), c.eq(right[0])]
            m.submodules[f"chain_{name}"] = CarryChain(
                lut4(lambda a, b, c, d: a ^ b ^ c ^ d), a=a, b=flip.replicate(width), c=c,
                d=right[1].replicate(width), o=value, carry=right[2])
        m.d.sync += [total.eq(value), carry.eq(i_carry)]
        return total, C(0, 1), carry, products + added


class Accumulator(wiring.Component):
    """hdl.technology.product.Accumulator in one LUT a bit, the clearing and the last carry included."""

    def __init__(self, *, products, width):
        super().__init__(AccumulatorSignature(products, width))

    def elaborate(self, platform):
        m = Module()
        width = len(self.o)
        total, i, o = Signal.like(self.o), Signal.like(self.o), Signal.like(self.o, reset_less=True)
        m.submodules.chain = CarryChain(
            CHOICE, a=i, b=self.first.replicate(width), c=o, d=self.start, o=total, carry=self.i_carry)
        m.d.comb += [i.eq(self.i), self.o.eq(o)]
        with m.If(self.enable):
            m.d.sync += o.eq(total)
        return m


class BlockMemory(wiring.Component):
    """hdl.technology.memory.BlockMemory in DP16KD, of as many as there are bits, with the last register in them.

    From that register data comes 4 ns sooner than from the array (Lattice FPGA-DS-02012), and fabric saves its own.

    Parameters
    ----------
    depth, width, lanes : int
    init : list of int
        As of hdl.technology.memory.BlockMemory; at most 16384 words. Lanes are 2 or 4 of 9 bits, or 2 of 18.
        Initial contents are for words of 9 bits and more in a block, that is for at most 2048 of them.

    Raises ValueError where the blocks have no such shape.
    """

    def __init__(self, *, depth, width, lanes=1, init=()):
        self.depth, self.width, self.lanes, self.init = depth, width, lanes, init
        fits = [bits for bits, words in BLOCK_SHAPES.items() if depth <= words]
        self.enables = width // BLOCK_LANE if lanes > 1 else 1  # of a lane, in the blocks
        if not fits or lanes > 1 and (
                lanes * self.enables not in (2, 4) or width % BLOCK_LANE or fits[-1] < BLOCK_LANE):
            raise ValueError(f"the ECP5's block RAM has no {depth} words of {lanes} x {width} bits")
        if init and fits[-1] < BLOCK_LANE:
            raise ValueError(f"of {depth} words none can have initial contents: choose 2048 or less")
        self.bits = fits[-1] if lanes == 1 else min(fits[-1], lanes * width)
        super().__init__(MemorySignature(depth=depth, width=width, lanes=lanes))

    def elaborate(self, platform):
        m = Module()
        for low in range(0, self.lanes * self.width, self.bits):
            m.submodules[f"bits_{low}"] = self._block(m, low)
        return m

    def _contents(self, low):
        """INITVAL of a block: rows of 18 bits, sixteen to a value and 20 bits apart."""
        bits = 0
        for address, word in enumerate(self.init):
            bits |= (word >> low) % (1 << self.bits) << address * self.bits
        rows = [bits >> row * BLOCK_BITS & (1 << BLOCK_BITS) - 1 for row in range(BLOCK_ROWS if bits else 0)]
        return [sum(row << place * INIT_PITCH for place, row in enumerate(rows[first:first + INIT_ROWS]))
                for first in range(0, len(rows), INIT_ROWS)]

    def _block(self, m, low):
        i, o = Signal(2 * BLOCK_BITS, name=f"i_{low}"), Signal(2 * BLOCK_BITS, name=f"o_{low}")
        m.d.comb += [i.eq(self.write_data[low:low + self.bits]), self.read_data[low:low + self.bits].eq(o)]
        # An address counts bits of a word; where it has lanes, those of a write take the place of the lowest.
        shift = 14 - ceil_log2(BLOCK_SHAPES[self.bits])
        write, read = (Signal(14, name=f"{name}_{low}") for name in ("write", "read"))
        m.d.comb += [write[shift:].eq(self.write_address), read[shift:].eq(self.read_address)]
        lanes = self.bits // BLOCK_LANE
        chosen = self.write_enable.replicate(max(lanes, 1))
        if self.lanes > 1:
            enables = Cat(enable.replicate(self.enables) for enable in self.write_enable)
            chosen = enables[low // BLOCK_LANE:low // BLOCK_LANE + lanes]
        if lanes > 1:
            m.d.comb += write[:lanes].eq(chosen)
        ports = {}
        for bit in range(BLOCK_BITS):
            # A word of 36 bits goes in and out at both ports.
            ports |= {f"i_DIA{bit}": i[bit], f"o_DOA{bit}": Signal(name=f"unused_{low}")}
            ports |= {f"i_DIB{bit}": i[BLOCK_BITS + bit], f"o_DOB{bit}": o[bit]}
            if self.bits > BLOCK_BITS:
                ports |= {f"o_DOA{bit}": o[bit], f"o_DOB{bit}": o[BLOCK_BITS + bit]}
        for bit in range(14):
            ports |= {f"i_ADA{bit}": write[bit], f"i_ADB{bit}": read[bit]}
        for number, value in enumerate(self._contents(low)):
            ports[f"p_INITVAL_{number:02X}"] = C(value, INIT_ROWS * INIT_PITCH)
        for port in "AB":
            ports |= {f"i_CS{port}{bit}": C(0, 1) for bit in range(3)}
            ports |= {f"p_DATA_WIDTH_{port}": self.bits, f"p_REGMODE_{port}": "OUTREG", f"p_CSDECODE_{port}": "0b000",
                      f"p_WRITEMODE_{port}": "NORMAL", f"i_CLK{port}": ClockSignal(), f"i_RST{port}": C(0, 1)}
        return Instance("DP16KD", p_RESETMODE="SYNC", p_GSR="DISABLED",
                        i_CEA=self.write_select, i_WEA=chosen.any(), i_CEB=self.read_enable, i_WEB=C(0, 1),
                        i_OCEA=self.output_enable, i_OCEB=self.output_enable, **ports)


class LutMemory(PortableLutMemory):
    """hdl.technology.memory.LutMemory in TRELLIS_DPR16X4."""

    ATTRIBUTES = {"ram_style": "distributed"}


class Table(wiring.Component):
    """hdl.technology.table.Table of 64 words: a bit is four LUT4, joined by the multiplexers of their slices (PFUMX,
    L6MUX21), which synthesis is told not to use.

    Parameters
    ----------
    contents : list of int

    Raises ValueError where there are not 64.
    """

    def __init__(self, contents):
        self.contents = list(contents)
        if len(self.contents) != 4 << LUT_INPUTS:
            raise ValueError(f"a table of the ECP5 has {4 << LUT_INPUTS} words, not {len(self.contents)}")
        super().__init__({"i": In(LUT_INPUTS + 2), "o": Out(max(self.contents).bit_length())})

    def elaborate(self, platform):
        m = Module()
        for bit in range(len(self.o)):
            luts = Signal(4, name=f"luts_{bit}")
            for number, lut in enumerate(luts):
                words = self.contents[number << LUT_INPUTS:number + 1 << LUT_INPUTS]
                m.submodules[f"bit_{bit}_{number}"] = Instance(
                    "LUT4", p_INIT=C(sum((word >> bit & 1) << place for place, word in enumerate(words)), 16),
                    i_A=self.i[0], i_B=self.i[1], i_C=self.i[2], i_D=self.i[3], o_Z=lut)
            halves = Signal(2, name=f"halves_{bit}")
            for number, half in enumerate(halves):
                m.submodules[f"bit_{bit}_half_{number}"] = Instance(
                    "PFUMX", i_ALUT=luts[2 * number + 1], i_BLUT=luts[2 * number], i_C0=self.i[4], o_Z=half)
            m.submodules[f"bit_{bit}"] = Instance("L6MUX21", i_D0=halves[0], i_D1=halves[1], i_SD=self.i[5],
                                                  o_Z=self.o[bit])
        return m


def multiplier_block(a, b, o, *, pipelined, signed_a=1, signed_b=1):
    """MULT18X18D with its registers (Lattice FPGA-TN-02205): ``o`` follows the factors after three cycles, or two."""
    ports = {f"i_{name}{bit}": factor[bit] for name, factor in (("A", a), ("B", b)) for bit in range(FACTOR_BITS)}
    ports |= {f"i_C{bit}": C(0, 1) for bit in range(FACTOR_BITS)}
    ports |= {f"o_P{bit}": o[bit] for bit in range(2 * FACTOR_BITS)}
    for number in range(4):
        ports |= {f"i_CLK{number}": C(0, 1) if number else ClockSignal(), f"i_CE{number}": C(1, 1),
                  f"i_RST{number}": C(0, 1)}
    for register in ("INPUTA", "INPUTB", *["PIPELINE"] * pipelined, "OUTPUT"):
        ports |= {f"p_REG_{register}_CLK": "CLK0", f"p_REG_{register}_CE": "CE0", f"p_REG_{register}_RST": "RST0"}
    return Instance("MULT18X18D", i_SIGNEDA=C(signed_a, 1), i_SIGNEDB=C(signed_b, 1), i_SOURCEA=C(0, 1),
                    i_SOURCEB=C(0, 1), p_RESETMODE="SYNC", p_GSR="DISABLED", **ports)


class Multiplier(wiring.Component):
    """hdl.technology.multiplier.Multiplier in a MULT18X18D.

    Parameters
    ----------
    width : int
        At most 18.
    pipelined : bool
    """

    def __init__(self, *, width, pipelined=True):
        self.width, self.pipelined = width, pipelined
        super().__init__({"a": In(signed(width)), "b": In(signed(width)), "o": Out(signed(2 * width))})

    def elaborate(self, platform):
        m = Module()
        a, b, o = Signal(signed(FACTOR_BITS)), Signal(signed(FACTOR_BITS)), Signal(2 * FACTOR_BITS)
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.o.eq(o)]
        m.submodules.block = multiplier_block(a, b, o, pipelined=self.pipelined)
        return m


class ShiftAdd(wiring.Component):
    """hdl.technology.shifter.ShiftAdd by two multiplications by a power of two, and one LUT a bit of the sum.

    The product, doubled, has 36 bits but for one value, which is taken as one less: rounded, it is the same. It is
    shifted by 14 places or not before the multipliers, and by 1 to 18 after them: its upper half times 2**k and the
    upper half of its lower half times 2**k share no bit.
    """

    STEP = 14

    def __init__(self):
        super().__init__(ShiftAddSignature())

    def elaborate(self, platform):
        m = Module()
        stepped, factor = Signal(reset_less=True), Signal(FACTOR_BITS, reset_less=True)
        steps = self.shift >= FACTOR_BITS
        m.d.sync += [stepped.eq(steps),
                     factor.eq(1 << (FACTOR_BITS - 1 - self.shift + Mux(steps, self.STEP, 0))[:SHIFT_BITS])]
        largest = self.i[-2] & ~self.i[-1]
        doubled = (Cat(C(0, 1), self.i[:-2]) | largest.replicate(PRODUCT_BITS - 1))
        halves = Signal(PRODUCT_BITS)
        m.d.comb += halves.eq(Mux(stepped, self.i >> self.STEP - 1, Cat(doubled, self.i[-1])))
        low, high = Signal(PRODUCT_BITS), Signal(PRODUCT_BITS)
        m.submodules.low = multiplier_block(halves[:FACTOR_BITS], factor, low, pipelined=False, signed_a=0, signed_b=0)
        m.submodules.high = multiplier_block(halves[FACTOR_BITS:], factor, high, pipelined=False, signed_b=0)

        addend, below, total = Signal(signed(TOTAL_BITS)), Signal(TOTAL_BITS), Signal(TOTAL_BITS)
        o, kept = Signal.like(self.o, reset_less=True), Signal.like(self.o, reset_less=True)
        m.d.comb += [addend.eq(self.addend), below.eq(low[FACTOR_BITS:])]
        m.submodules.chain = CarryChain(
            lut4(lambda a, b, c, d: a ^ b ^ (c | d)), a=high[:TOTAL_BITS], b=below, c=addend, d=kept, o=total,
            carry=low[FACTOR_BITS - 1])
        beyond, negative = Signal(reset_less=True), Signal(3, reset_less=True)
        m.d.sync += [o.eq(total), kept.eq(Mux(self.chain, total, 0)), beyond.eq(differ(high[TOTAL_BITS - 2:])),
                     negative.eq(Cat(self.i[-1], negative))]
        m.d.comb += [self.o.eq(o), self.beyond.eq(beyond), self.negative.eq(negative[-1])]
        return m


ECP5 = Technology(dot=Dot, accumulator=Accumulator, folded_add=FoldedAdd, chosen_add=ChosenAdd, multiplier=Multiplier,
                  shift_add=ShiftAdd, memory=BlockMemory, lut_memory=LutMemory, table=Table)


class Pll(wiring.Component):
    """EHXPLLL: a clock made from the one at a pin, with a ratio of small integers (Lattice FPGA-TN-02200).

    Parameters
    ----------
    port : io.PortLike
        The pin.
    i_frequency, o_frequency : int
        Hz.

    Raises ValueError where no dividers give ``o_frequency`` exactly.

    Members
    -------
    o : Out(1)
        Stands still until it is stable: what runs on it needs no reset.
    """

    PHASE_DETECTOR = range(3_125_000, 400_000_001)  # Hz
    OSCILLATOR = range(400_000_000, 800_000_001)

    def __init__(self, port, *, i_frequency, o_frequency):
        self.port, self.i_frequency, self.o_frequency = port, i_frequency, o_frequency
        ratio = Fraction(o_frequency, i_frequency)
        fits = [divider for divider in range(1, 129) if o_frequency * divider in self.OSCILLATOR]
        if not fits or max(ratio.numerator, ratio.denominator) > 80 or (
                i_frequency // ratio.denominator not in self.PHASE_DETECTOR):
            raise ValueError(f"the ECP5's PLL does not make {o_frequency} Hz of {i_frequency} Hz")
        self.i_divider, self.feedback_divider = ratio.denominator, ratio.numerator
        self.o_divider = fits[len(fits) // 2]
        super().__init__({"o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.domains.running = ClockDomain(local=True, reset_less=True)
        running, locked, enable = ClockSignal("running"), Signal(), Signal()
        m.submodules.synchroniser = FFSynchronizer(locked, enable, o_domain="running")
        m.submodules.gate = Instance("DCCA", i_CLKI=running, i_CE=enable, o_CLKO=self.o)
        m.submodules.buffer = buffer = io.Buffer("i", self.port)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=str(self.i_frequency / 1e6), a_FREQUENCY_PIN_CLKOP=str(self.o_frequency / 1e6),
            p_CLKI_DIV=self.i_divider, p_CLKFB_DIV=self.feedback_divider, p_CLKOP_DIV=self.o_divider,
            p_CLKOP_CPHASE=self.o_divider - 1, p_CLKOP_FPHASE=0, p_CLKOP_ENABLE="ENABLED", p_FEEDBK_PATH="CLKOP",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB", p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            i_CLKI=buffer.i, i_CLKFB=running, i_RST=0, i_STDBY=0, i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1,
            i_PHASESTEP=1, i_PHASELOADREG=1, i_PLLWAKESYNC=0, i_ENCLKOP=0,
            o_CLKOP=running, o_LOCK=locked)
        return m


FAMILY = Family(name="ecp5", technology=ECP5, pll=Pll)
