"""What the machine tells about itself: identification, state and counters, as 32-bit registers."""

import struct

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import TRITS
from ..protocol import MAGIC, MAP_HASH, VERSION, Register
from ..technology.memory import BLOCK_LATENCY
from ..technology.product import PORTABLE


__all__ = ["Cause", "Counters", "Events", "NUMBERS"]


CAUSES = (Register.CYCLES_ISSUE, Register.CYCLES_FLUSH, Register.CYCLES_VECTOR, Register.CYCLES_LOAD,
          Register.CYCLES_LINK)  # first one that applies
NUMBERS = {Register.ENTRIES: "list", Register.MACS: "block"}  # and the events they are of
COUNTED = (*NUMBERS, Register.WEIGHTS_ZERO, Register.BYTES_IN, Register.BYTES_OUT, Register.BYTES_WEIGHTS,
           Register.BYTES_VECTOR, Register.BYTES_RESULTS)


STATE = ("pending", "absmax", "beats", "offset")


PLACES = 1 << ceil_log2(len(Register))  # of registers in the memory, whose upper half begins with the counters
BEFORE = PLACES // 2 - Register.CYCLES
WORD_BYTES = 4
COUNT_LATENCY = BLOCK_LATENCY + 1  # cycles from the time of a byte, which is asked for in the next, to its sum
WRITE_LATENCY = COUNT_LATENCY + 1  # and to the write of that
ROUND = PLACES // 2 * WORD_BYTES  # cycles


class Cause(enum.Enum, shape=3):
    """What a cycle is counted as; the first that applies."""
    ISSUE = 0
    FLUSH = 1
    VECTOR = 2
    LOAD = 3
    LINK = 4
    IDLE = 5


class Events(data.StructLayout):
    """What happens in a cycle: a bit for each cause, and by how much each counter grows.

    ENTRIES does where ``list`` is set, MACS where ``block`` is: each in one of five cycles at most.
    """

    def __init__(self, config):
        most = {number: range(config.columns + 1) for number in NUMBERS} | {Register.WEIGHTS_ZERO: range(TRITS + 1)}
        super().__init__({cause.name.lower(): 1 for cause in CAUSES} | {"list": 1, "block": 1}
                         | {counter.name.lower(): most.get(counter, 1) for counter in COUNTED})


class Counters(wiring.Component):
    """The registers of registers.Register.

    Events are counted in small counters, and those added up in a memory, one after the other and byte by byte, every 64
    cycles. Nothing is counted while registers are read, from ``start`` to the cycle of the last byte, so that all
    counters are read as of the same cycle, and their reading shows in none. The first byte comes 70 to 135 cycles after
    ``start``, then one every third cycle.

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

    def _count(self, m, stopped, visits):
        """What has happened up to a counter's last visit, in the cycle after it, and else 0."""
        m.d.comb += self.cause.eq(Cause.IDLE)
        for cause in reversed(CAUSES):
            with m.If(self.i_events[cause.name.lower()]):
                m.d.comb += self.cause.eq(Cause[cause.name.removeprefix("CYCLES_")])
        growths = {Register.CYCLES: C(1, 1)}
        for name in (*CAUSES, Register.CYCLES_IDLE):
            growths[name] = self.cause == Cause[name.name.removeprefix("CYCLES_")]
        for counter in COUNTED:
            growths[counter] = self.i_events[counter.name.lower()]

        visited = 0
        for visit, (register, growth) in zip(visits, growths.items(), strict=True):
            rounds = ROUND // TRITS + 1 if register in NUMBERS else ROUND
            name = register.name.lower()
            count = Signal(len(growth) + ceil_log2(rounds), name=name)
            grown = Signal(len(growth), name=f"{name}_growth")
            if register in NUMBERS:
                self._add_number(m, count, grown, growth, visit, self.i_events[NUMBERS[register]] & ~stopped)
            else:
                self._add(m, count, grown, growth, visit, stopped)
            # A register that is reset while another counter is visited: to choose is to join.
            leaving = Signal.like(count, name=f"{name}_leaving")
            with m.If(visit):
                m.d.sync += leaving.eq(count)
            with m.Else():
                m.d.sync += leaving.eq(0)
            visited |= leaving
        return visited

    def _add(self, m, count, grown, growth, visit, stopped):
        """Count in each cycle."""
        m.d.sync += grown.eq(growth)
        with m.If(stopped):
            m.d.sync += grown.eq(0)
        if len(grown) > 1:
            m.d.sync += count.eq(Mux(visit, 0, count) + grown)
        else:  # a reset of the upper bits, and no mask
            m.d.sync += [count[0].eq(grown ^ (count[0] & ~visit)), count[1:].eq(count[1:] + (count[0] & grown))]
            with m.If(visit):
                m.d.sync += count[1:].eq(0)

    def _add_number(self, m, count, grown, growth, visit, comes):
        """Count where there is something, and not in the cycle of a visit but in the one after."""
        due = Signal(name=f"{count.name}_due")
        with m.If(visit):
            m.d.sync += count.eq(0)
        with m.Elif(due):
            m.d.sync += [count.eq(count + grown), due.eq(0)]
        with m.If(comes):
            m.d.sync += [grown.eq(growth), due.eq(1)]
        with m.If(self.clear):
            m.d.sync += due.eq(0)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        constants = {Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH,
                     Register.BANKS: config.banks, Register.TILES: config.tiles, Register.DEPTH: config.depth,
                     Register.COLUMNS: config.columns, Register.BLOCKS: config.blocks, Register.SLOTS: config.slots,
                     Register.STACK: config.stack}
        words = [constants.get(place - BEFORE, 0) for place in range(PLACES)]
        m.submodules.storage = storage = self.technology.memory(
            depth=PLACES * WORD_BYTES, width=8, init=list(struct.pack(f"<{PLACES}I", *words)))

        # A counter is visited in the cycle in which the first byte of its sum is asked for, which is there two later.
        asked = Signal(range(ROUND), reset_less=True)
        time, age = Signal(range(ROUND)), Signal(WRITE_LATENCY)  # age: cycles since the address jumped, unary
        byte = time[:2]
        frozen, draining, drained, reading = Signal(), Signal(), Signal(), Signal()
        clearing = Signal(init=1)  # for a reset leaves the memory as it is
        cleared = Signal()  # for the pulse comes from far away
        m.d.sync += cleared.eq(self.clear)
        # A round goes by the counters: every fourth cycle is a visit.
        visits = Signal(len(Register) - Register.CYCLES)
        passing = Signal(len(visits) * WORD_BYTES)
        passes = Cat((time == 0) & ~reading, passing)  # in the next cycle
        # summed: the last round, but for the cycles of the memory
        fetched, summed = age[BLOCK_LATENCY - 1], Signal()
        m.d.sync += [
            summed.eq((time == WRITE_LATENCY - 2) & age[-2] & drained),
            time.eq(time + 1),
            asked.eq(time),
            age.eq(Cat(1, age)),
            passing.eq(passes),
            visits.eq(passes[::WORD_BYTES]),
        ]
        visited = self._count(m, frozen | self.start | self.clear, visits)
        growth, carry, total = Signal(24, reset_less=True), Signal(reset_less=True), Signal(9)
        m.d.sync += [growth.eq(visited | growth >> 8), carry.eq(total[8] & (byte != 2)), storage.write_data.eq(total)]
        with m.If(byte == 1):
            m.d.sync += growth.eq(0)
        m.d.comb += [
            total.eq(Mux(clearing, 0, storage.read_data) + growth[:8] + carry),
            storage.write_address.eq(Cat((time - WRITE_LATENCY)[:len(time)], 1)),
            storage.write_enable.eq(age[-1] & ~reading),
        ]

        address, left = Signal(range(PLACES * WORD_BYTES)), Signal(range(len(Register) * WORD_BYTES + 1))
        states = [Signal(WORD_BYTES * 8, name=f"{name}_word") for name in STATE]
        state, is_state = Signal(8, reset_less=True), Signal(reset_less=True)
        m.d.comb += [word.eq(getattr(self, name)) for name, word in zip(STATE, states)]
        with m.If(~self.o.valid):
            m.d.sync += state.eq(Cat(states).word_select(address[:ceil_log2(len(STATE) * WORD_BYTES)], 8))
        m.d.sync += [
            is_state.eq(address[ceil_log2(len(STATE) * WORD_BYTES):] == (Register.PENDING + BEFORE) // len(STATE)),
        ]
        m.d.comb += [
            storage.read_enable.eq(1),
            storage.read_address.eq(Mux(reading, address, Cat(asked, 1))),
            self.o.valid.eq(reading & fetched),
            self.o.payload.eq(Mux(is_state, state, storage.read_data)),
        ]
        with m.If(reading):
            m.d.sync += time.eq(0)
        with m.If((time == BLOCK_LATENCY - 1) & fetched):
            m.d.sync += [draining.eq(frozen), drained.eq(draining)]
        with m.If((time == COUNT_LATENCY - 1) & age[COUNT_LATENCY - 1]):
            m.d.sync += clearing.eq(0)
        with m.If(summed):
            m.d.sync += [reading.eq(1), draining.eq(0), drained.eq(0), age.eq(0), passing.eq(0)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1), age.eq(0)]
            with m.If(left == 1):
                m.d.sync += [reading.eq(0), frozen.eq(0)]
        with m.If(self.start):
            m.d.sync += [frozen.eq(1), address.eq(Cat(C(0, 2), (self.first + BEFORE)[:len(self.first)])),
                         left.eq(self.count << 2)]
        with m.If(cleared):
            m.d.sync += [clearing.eq(1), time.eq(0), age.eq(0), summed.eq(0), passing.eq(0), visits.eq(-1)]
        return m
