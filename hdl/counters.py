"""What the machine tells about itself: identification, state and counters, as 32-bit registers."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .registers import MAGIC, MAP_HASH, VERSION, Register


__all__ = ["Counters", "Events"]


CAUSES = (Register.CYCLES_ISSUE, Register.CYCLES_FLUSH, Register.CYCLES_VECTOR, Register.CYCLES_LOAD,
          Register.CYCLES_LINK)  # first one that applies
COUNTED = (Register.ENTRIES, Register.SKIPPED, Register.MACS, Register.WEIGHTS_ZERO, Register.BYTES_IN,
           Register.BYTES_OUT, Register.BYTES_WEIGHTS, Register.BYTES_VECTOR, Register.BYTES_RESULTS)


def Events(config):
    """What happens in a cycle: a bit for each cause, and by how much each counter grows."""
    return data.StructLayout({cause.name.lower(): 1 for cause in CAUSES}
                             | {counter.name.lower(): range(config.columns + 1) for counter in COUNTED})


class Counters(wiring.Component):
    """The registers of registers.Register. Counters are read as they stood at ``snapshot``, a cycle later.

    Members
    -------
    i_events : In(Events)
    pending, absmax, beats : In
        Registers of the same names.
    clear : In(1)
    snapshot : In(1)
    address : In(range(len(Register)))
    value : Out(32)
        Of the register at ``address``, combinational.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_events": In(Events(config)),
            "pending": In(8),
            "absmax": In(32),
            "beats": In(16),
            "clear": In(1),
            "snapshot": In(1),
            "address": In(range(len(Register))),
            "value": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        causes = [self.i_events[cause.name.lower()] for cause in CAUSES]
        grows = {Register.CYCLES: 1, Register.CYCLES_IDLE: ~Cat(causes).any()}
        for index, cause in enumerate(CAUSES):
            grows[cause] = causes[index] & ~Cat(causes[:index]).any()
        for counter in COUNTED:
            grows[counter] = self.i_events[counter.name.lower()]

        values = {Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH,
                  Register.BANKS: config.banks, Register.TILES: config.tiles, Register.DEPTH: config.depth,
                  Register.COLUMNS: config.columns, Register.BLOCKS: config.blocks, Register.SLOTS: config.slots,
                  Register.PENDING: self.pending, Register.ABSMAX: self.absmax, Register.BEATS: self.beats}
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
