"""Activation lists: what each bank of the array multiplies, beat by beat."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TRITS


__all__ = ["ListBuilder", "ListState", "ListWriteLayout"]


class ListWriteLayout(data.StructLayout):
    """A write to the list memories of the banks in ``select``; none is selected where nothing is written."""

    def __init__(self, config):
        super().__init__({
            "select": config.banks,
            "slot": range(config.slots),
            "address": range(config.list_depth),
            "index": range(config.list_depth),
            "value": signed(8),
        })


class ListState(data.StructLayout):
    """What is known of the list of a vector."""

    def __init__(self, config):
        super().__init__({
            "beats": range(config.list_depth + 1),  # length of the longest bank's list, or 5 where all are shorter
            "words": range(config.list_depth + 1),  # of a row block that the list reaches
            "entries": range(config.columns + 1),  # elements in all banks
            "active": range(config.columns + 1),  # those that are not zero
            "skipped": range(config.columns + 1),  # zeros left out
        })


class ListBuilder(wiring.Component):
    """Writes the lists of a vector to the list memories, golden.layout.activation_lists.

    Column c goes to bank c % banks as (c // banks, value), in ascending order; columns from ``live`` on are left out,
    and zeros too where ``skip`` is set. Before that, (0, 0) is written to all banks where the array will read past
    the end of a bank's list: to max(ceil(live / banks), 5) addresses, one a cycle. Then an element is taken every
    cycle. ``done`` comes max(ceil(live / banks), 5) + length + 3 cycles after ``start`` when elements are always
    there, a cycle after the last write, and in any case three cycles after the last element is taken.

    Parameters
    ----------
    config : Config

    Members
    -------
    start : In(1)
        Begin a list, with the following four; a list that is being built is abandoned.
    slot : In(range(config.slots))
    skip : In(1)
    live : In(range(config.columns + 1))
    length : In(range(config.columns + 1))
        Elements of the vector, 1 or more.
    i : In(stream.Signature(signed(8)))
        All elements of the vector, those from ``live`` on included.
    o_write : Out(ListWriteLayout(config))
        ``slot`` holds from ``start`` to the next.
    busy : Out(1)
    done : Out(1)
        Pulse; from here to the next ``start`` the following holds.
    built : Out(ListState(config))
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "start": In(1),
            "slot": In(range(config.slots)),
            "skip": In(1),
            "live": In(range(config.columns + 1)),
            "length": In(range(config.columns + 1)),
            "i": In(stream.Signature(signed(8))),
            "o_write": Out(ListWriteLayout(config)),
            "busy": Out(1),
            "done": Out(1),
            "built": Out(ListState(config)),
        })

    def elaborate(self, platform):
        m = Module()
        banks, built = self.config.banks, self.built
        counts = [Signal(range(self.config.list_depth + 1), name=f"count_{place}", reset_less=True)
                  for place in range(banks)]  # entries of each bank, the one of the next element first

        clearing, appending = Signal(), Signal()
        skip = Signal(reset_less=True)
        left = Signal.like(self.length, reset_less=True)  # columns after this one
        # Live columns after this one, -1 where it is dead; while clearing it is the first of the next address.
        after = Signal(range(-self.config.columns - banks * (TRITS + 2), self.config.columns), reset_less=True)
        live = Signal.like(after, reset_less=True)  # at the first column
        cleared = Signal(reset_less=True)
        index = Signal(range(self.config.list_depth), reset_less=True)
        select = Signal(banks, reset_less=True)
        alive, final = ~after[-1], left == 0
        zero = self.i.payload == 0
        judged = Signal()  # the element of the cycle before, of which all is known but its place in the list
        wrote, ended = Signal(), Signal()  # an entry, the last element
        m.d.comb += [self.busy.eq(clearing | appending | judged | ended), self.i.ready.eq(appending)]
        value, place = Signal.like(self.i.payload, reset_less=True), Signal.like(index, reset_less=True)
        chosen = Signal.like(select, reset_less=True)
        entry, active, skipped, opens, ends = (Signal(name=name, reset_less=True) for name in (
            "entry", "active", "skipped", "opens", "ends"))
        m.d.sync += [
            judged.eq(appending & self.i.valid), value.eq(self.i.payload), place.eq(index),
            chosen.eq(select), entry.eq(alive & ~(skip & zero)), active.eq(alive & ~zero),
            skipped.eq(alive & skip & zero), opens.eq(index == 0), ends.eq(final),
        ]

        count, next_count = Signal.like(counts[0]), Signal.like(counts[0])
        m.d.comb += [count.eq(Mux(opens, 0, counts[0])), next_count.eq(count + entry)]
        with m.If(judged):
            m.d.sync += Cat(counts).eq(Cat(counts[1:], next_count))
        m.d.sync += [wrote.eq(judged & entry), ended.eq(judged & ends), self.done.eq(ended)]
        # Counts grow by one: the first to pass the longest is the longest.
        with m.If(wrote & (self.o_write.address == built.beats)):
            m.d.sync += built.beats.eq(built.beats + 1)

        with m.If(clearing | appending & self.i.valid):
            m.d.sync += after.eq(after - Mux(clearing, banks, 1))
        m.d.sync += self.o_write.select.eq(0)
        with m.If(clearing):
            m.d.sync += [
                self.o_write.select.eq(-1), self.o_write.address.eq(index),
                self.o_write.index.eq(0), self.o_write.value.eq(0),
                index.eq(index + 1),
                cleared.eq((after[-1] | (after[:-1] < 2 * banks)) & (index >= TRITS - 2)),
            ]
            with m.If(cleared):
                m.d.sync += [clearing.eq(0), appending.eq(1), after.eq(live), index.eq(0), cleared.eq(0)]
        with m.Elif(appending & self.i.valid):
            m.d.sync += [left.eq(left - 1), select.eq(select.rotate_left(1)), index.eq(index + select[-1])]
            with m.If(final):
                m.d.sync += appending.eq(0)
        with m.If(judged):
            m.d.sync += [
                self.o_write.select.eq(Mux(entry, chosen, 0)), self.o_write.address.eq(count),
                self.o_write.index.eq(place), self.o_write.value.eq(value),
                built.entries.eq(built.entries + entry), built.active.eq(built.active + active),
                built.skipped.eq(built.skipped + skipped),
            ]
            with m.If(entry):
                m.d.sync += built.words.eq(place + 1)

        with m.If(self.start):
            m.d.sync += [
                clearing.eq(1), cleared.eq(0), appending.eq(0), judged.eq(0), wrote.eq(0), ended.eq(0),
                self.done.eq(0), self.o_write.select.eq(0),
                self.o_write.slot.eq(self.slot), skip.eq(self.skip), live.eq(self.live - 1), left.eq(self.length - 1),
                after.eq(self.live - 1), index.eq(0), select.eq(1),
                built.eq(0), built.beats.eq(TRITS),
            ]
        return m
