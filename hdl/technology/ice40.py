"""Lattice iCE40 UltraPlus: what one of its logic cells does in one, and its PLL."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from .family import Family
from .holding import HoldingSignature
from .product import Technology


__all__ = ["FAMILY", "Holding", "ICE40", "Pll"]


class Holding(wiring.Component):
    """hdl.technology.holding.Holding as a chain that shifts: one logic cell a bit.

    The choice is in the LUT before the register.
    """

    def __init__(self, *, width):
        super().__init__(HoldingSignature(width))

    def elaborate(self, platform):
        m = Module()
        before = C(0, self.o.shape())
        for row, total in reversed(list(enumerate(self.i))):
            hold = Signal.like(total, name=f"hold_{row}", reset_less=True)
            m.d.sync += hold.eq(Mux(self.select[0], total, before))
            before = hold
        m.d.comb += self.o.eq(before)
        return m


ICE40 = Technology(holding=Holding)


class Pll(wiring.Component):
    """SB_PLL40_PAD: a clock made from the one at the PLL's own pin (Lattice FPGA-TN-02052).

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
    locked : Out(1)
    """

    PHASE_DETECTOR = range(10_000_000, 133_000_001)  # Hz
    OSCILLATOR = range(533_000_000, 1_066_000_001)
    FILTER = ((17_000_000, 1), (26_000_000, 2), (44_000_000, 3), (66_000_000, 4), (101_000_000, 5), (133_000_001, 6))

    def __init__(self, port, *, i_frequency, o_frequency):
        self.port = port
        found = [(reference, shift, (o_frequency << shift) * reference // i_frequency)
                 for reference in range(1, 17) for shift in range(1, 7)
                 if i_frequency // reference in self.PHASE_DETECTOR and o_frequency << shift in self.OSCILLATOR
                 and (o_frequency << shift) * reference % i_frequency == 0
                 and (o_frequency << shift) * reference // i_frequency <= 128]
        if not found:
            raise ValueError(f"the iCE40's PLL does not make {o_frequency} Hz of {i_frequency} Hz")
        self.reference, self.shift, self.feedback = found[0]
        self.filter = next(value for end, value in self.FILTER if i_frequency // self.reference < end)
        super().__init__({"o": Out(1), "locked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD", p_FEEDBACK_PATH="SIMPLE", p_DIVR=C(self.reference - 1, 4), p_DIVF=C(self.feedback - 1, 7),
            p_DIVQ=C(self.shift, 3), p_FILTER_RANGE=C(self.filter, 3), i_PACKAGEPIN=self.port.io,
            i_RESETB=C(1, 1), i_BYPASS=C(0, 1), o_PLLOUTGLOBAL=self.o, o_LOCK=self.locked)
        return m


FAMILY = Family(name="ice40", technology=ICE40, pll=Pll)
