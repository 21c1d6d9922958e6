"""What the machine tells about itself: identification, state and counters, as 32-bit registers."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import TRITS
from .memory import BLOCK_LATENCY
from .product import PORTABLE
from .registers import MAGIC, MAP_HASH, VERSION, Register


__all__ = ["Cause", "Counters", "Events"]


CAUSES = (Register.CYCLES_ISSUE, Register.CYCLES_FLUSH, Register.CYCLES_VECTOR, Register.CYCLES_LOAD,
          Register.CYCLES_LINK)  # first one that applies
COUNTED = (Register.ENTRIES, Register.SKIPPED, Register.MACS, Register.WEIGHTS_ZERO, Register.BYTES_IN,
           Register.BYTES_OUT, Register.BYTES_WEIGHTS, Register.BYTES_VECTOR, Register.BYTES_RESULTS)


REGISTERS = 1 << ceil_log2(len(Register))  # places for them
ROUND = 2 * REGISTERS  # cycles
GROUP = 4  # registers


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
    columns = range(config.columns + 1)
    most = {Register.ENTRIES: columns, Register.SKIPPED: columns, Register.MACS: columns,
            Register.WEIGHTS_ZERO: range(TRITS + 1)}
    return data.StructLayout({cause.name.lower(): 1 for cause in CAUSES}
                             | {counter.name.lower(): most.get(counter, 1) for counter in COUNTED})


class Counters(wiring.Component):
    """The registers of registers.Register.

    Events are counted in small counters, and those added up in a memory every 64 cycles, one after the other. What is
    read is as all counters stood before some cycle, the same for all, at most 64 cycles from ``start``. The first byte
    comes at most 136 cycles after ``start``.

    Members
    -------
    i_events : In(Events)
    pending, absmax, beats, offset : In
        Registers of the same names.
    clear : In(1)
        Pulse: forget the events up to this cycle and in it. Not between ``start`` and the last byte.
    start : In(1)
        Pulse: read ``count`` registers, one or more, from ``first``, which hold until the last byte is taken. There is
        no other start meanwhile.
    first, count : In
    o : Out(stream.Signature(8))
        Registers, low bytes first.
    cause : Out(Cause)
        Of this cycle.
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        super().__init__({
            "i_events": In(Events(config)),
            "pending": In(8),
            "absmax": In(32),
            "beats": In(16),
            "offset": In(16),
            "clear": In(1),
            "start": In(1),
            "first": In(range(len(Register))),
            "count": In(range(len(Register) + 1)),
            "o": Out(stream.Signature(8)),
            "cause": Out(Cause),
        })

    def _counted(self, m, turn):
        """What each counter has grown by since the last ``turn``."""
        m.d.comb += self.cause.eq(Cause.IDLE)
        for cause in reversed(CAUSES):
            with m.If(self.i_events[cause.name.lower()]):
                m.d.comb += self.cause.eq(Cause[cause.name.removeprefix("CYCLES_")])
        events, cause, alive = Signal.like(self.i_events), Signal(Cause), Signal()
        m.d.sync += [events.eq(self.i_events), cause.eq(self.cause), alive.eq(1)]
        with m.If(self.clear):
            m.d.sync += [events.eq(0), alive.eq(0)]
        growths = {Register.CYCLES: alive}
        for name in (*CAUSES, Register.CYCLES_IDLE):
            growths[name] = alive & (cause == Cause[name.name.removeprefix("CYCLES_")])
        for counter in COUNTED:
            growths[counter] = events[counter.name.lower()]

        counted = {}
        for register, growth in growths.items():
            grown = Signal(len(growth), name=f"{register.name.lower()}_growth")
            counted[register] = count = Signal(len(growth) + ceil_log2(ROUND), name=register.name.lower())
            m.d.sync += grown.eq(growth)
            with m.If(turn):
                m.d.sync += count.eq(grown)
            with m.Else():
                m.d.sync += count.eq(count + grown)
            with m.If(self.clear):
                m.d.sync += [grown.eq(0), count.eq(0)]
        return counted

    def elaborate(self, platform):
        m = Module()
        config = self.config
        constants = {Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH,
                     Register.BANKS: config.banks, Register.TILES: config.tiles, Register.DEPTH: config.depth,
                     Register.COLUMNS: config.columns, Register.BLOCKS: config.blocks, Register.SLOTS: config.slots,
                     Register.STACK: config.stack}
        # Below lies what is read, above what was added up; of that, word 0 is never written and stays 0.
        m.submodules.storage = storage = self.technology.memory(
            depth=2 * REGISTERS, width=32, init=[constants.get(address, 0) for address in range(REGISTERS)])

        # In a round each register has two cycles: the even one fetches its sum, the odd one belongs to the reader.
        time, turn = Signal(range(ROUND)), Signal()
        odd, register = time[0], time[1:]
        start_waits, copying, clearing = Signal(), Signal(), Signal()
        clear_waits = Signal(init=1)  # for a reset leaves the memory as it is
        m.d.sync += [time.eq(time + 1), turn.eq(time == ROUND - 2)]
        with m.If(turn):
            m.d.sync += [copying.eq(start_waits), start_waits.eq(0), clearing.eq(clear_waits), clear_waits.eq(0)]
        with m.If(self.start):
            m.d.sync += start_waits.eq(1)
        with m.If(self.clear):
            m.d.sync += clear_waits.eq(1)

        counted = self._counted(m, turn)
        state = {Register.PENDING: self.pending, Register.ABSMAX: self.absmax, Register.BEATS: self.beats,
                 Register.OFFSET: self.offset}
        holding = dict(state)
        growth, total = Signal(32, reset_less=True), Signal(32, reset_less=True)
        growing, grown = (Signal.like(register, name=name, reset_less=True) for name in ("growing", "grown"))
        for source, value in counted.items():
            holding[source] = Signal.like(value, name=f"{source.name.lower()}_held", reset_less=True)
            with m.If(turn):
                m.d.sync += holding[source].eq(value)
        # One of four in the odd cycle before, then one of those.
        following = Signal.like(register)
        m.d.comb += following.eq(register + 1)
        nearest = [Signal(32, name=f"nearest_{place}", reset_less=True) for place in range(0, REGISTERS, GROUP)]
        for place, chosen in zip(range(0, REGISTERS, GROUP), nearest):
            m.d.sync += chosen.eq(Array(holding.get(place + index, 0) for index in range(GROUP))[following[:2]])
        with m.If(~odd):
            m.d.sync += growth.eq(Array(nearest)[register[2:]])
            m.d.sync += [growing.eq(register), total.eq(storage.read_data + growth), grown.eq(growing)]

        address, left = Signal(range(REGISTERS)), Signal.like(self.count)
        summed = (register >= Register.CYCLES) & ~clearing
        m.d.comb += [
            storage.read_enable.eq(1),
            storage.read_address.eq(Mux(odd, address, Cat(register & summed.replicate(len(register)), 1))),
            storage.write_data.eq(total),
            storage.write_address.eq(Cat(grown, odd)),
            storage.write_enable.eq((grown >= Register.PENDING) & (grown < len(Register))
                                    & Mux(odd, grown >= Register.CYCLES, copying)),
        ]

        word, bytes, age = Signal(32, reset_less=True), Signal(4), Signal(BLOCK_LATENCY + 1)  # unary
        some = Signal()  # left != 0
        m.d.comb += [self.o.valid.eq(bytes[0]), self.o.payload.eq(word[:8])]
        m.d.sync += [age.eq(Cat(1, age)), some.eq(left != 0)]
        with m.If(self.o.ready):
            m.d.sync += [word.eq(word >> 8), bytes.eq(bytes >> 1)]
        with m.If(some & ~bytes[0] & odd & age[-1]):
            m.d.sync += [word.eq(storage.read_data), bytes.eq(-1), left.eq(left - 1), address.eq(address + 1),
                         age.eq(0)]
        with m.If(turn & copying):
            m.d.sync += [address.eq(self.first), left.eq(self.count), age.eq(0)]
        return m
