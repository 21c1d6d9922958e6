"""What the machine tells about itself: identification, state and counters, as 32-bit registers."""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from .config import TRITS
from .registers import MAGIC, MAP_HASH, VERSION, Register


__all__ = ["Cause", "Counters", "Events"]


CAUSES = (Register.CYCLES_ISSUE, Register.CYCLES_FLUSH, Register.CYCLES_VECTOR, Register.CYCLES_LOAD,
          Register.CYCLES_LINK)  # first one that applies
COUNTED = (Register.ENTRIES, Register.SKIPPED, Register.MACS, Register.WEIGHTS_ZERO, Register.BYTES_IN,
           Register.BYTES_OUT, Register.BYTES_WEIGHTS, Register.BYTES_VECTOR, Register.BYTES_RESULTS)


class Cause(enum.Enum, shape=3):
    """What a cycle is counted as; the first that applies."""
    ISSUE = 0
    FLUSH = 1
    VECTOR = 2
    LOAD = 3
    LINK = 4
    IDLE = 5


def Events(config):
    """What happens in a cycle: a bit for each cause, and by how much each counter grows."""
    return data.StructLayout({cause.name.lower(): 1 for cause in CAUSES}
                             | {counter.name.lower(): range(max(config.columns, TRITS) + 1) for counter in COUNTED})


class Counters(wiring.Component):
    """The registers of registers.Register. Counters are read as they stood at ``snapshot``, a cycle later.

    Members
    -------
    i_events : In(Events)
    pending, absmax, beats, offset : In
        Registers of the same names.
    clear : In(1)
    snapshot : In(1)
    address : In(range(len(Register)))
    value : Out(32)
        Of the register at ``address``, combinational.
    cause : Out(Cause)
        Of this cycle.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_events": In(Events(config)),
            "pending": In(8),
            "absmax": In(32),
            "beats": In(16),
            "offset": In(16),
            "clear": In(1),
            "snapshot": In(1),
            "address": In(range(len(Register))),
            "value": Out(32),
            "cause": Out(Cause),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.d.comb += self.cause.eq(Cause.IDLE)
        for cause in reversed(CAUSES):
            with m.If(self.i_events[cause.name.lower()]):
                m.d.comb += self.cause.eq(Cause[cause.name.removeprefix("CYCLES_")])
        grows = {Register.CYCLES: 1}
        for cause in (*CAUSES, Register.CYCLES_IDLE):
            grows[cause] = self.cause == Cause[cause.name.removeprefix("CYCLES_")]
        for counter in COUNTED:
            grows[counter] = self.i_events[counter.name.lower()]

        values = {Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH,
                  Register.BANKS: config.banks, Register.TILES: config.tiles, Register.DEPTH: config.depth,
                  Register.COLUMNS: config.columns, Register.BLOCKS: config.blocks, Register.SLOTS: config.slots,
                  Register.PENDING: self.pending, Register.ABSMAX: self.absmax, Register.BEATS: self.beats,
                  Register.OFFSET: self.offset}
        for register, growth in grows.items():
            counter = Signal(32, name=register.name.lower())
            values[register] = seen = Signal(32, name=f"{register.name.lower()}_seen", reset_less=True)
            with m.If(self.clear):
                m.d.sync += counter.eq(0)
            with m.Else():
                m.d.sync += counter.eq(counter + growth)
            with m.If(self.snapshot):
                m.d.sync += seen.eq(counter)

        with m.Switch(self.address):
            for register in Register:
                with m.Case(register):
                    m.d.comb += self.value.eq(values[register])
        return m
