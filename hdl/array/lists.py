"""Activation lists: what each bank of the array multiplies, beat by beat."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import TRITS


__all__ = ["Element", "ListBuilder", "ListState", "ListWriteLayout"]


class Element(data.Struct):
    """An element of a vector on its way to the lists."""
    value: signed(8)
    last: 1


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
        Begin a list, with the following three; a list that is being built is abandoned.
    slot : In(range(config.slots))
    skip : In(1)
    live : In(range(config.columns + 1))
    i : In(stream.Signature(Element))
        All elements of the vector, those from ``live`` on included, one or more.
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
            "i": In(stream.Signature(Element)),
            "o_write": Out(ListWriteLayout(config)),
            "busy": Out(1),
            "done": Out(1),
            "built": Out(ListState(config)),
        })

    def elaborate(self, platform):
        m = Module()
        banks, built = self.config.banks, self.built
        counts = [Signal(range(self.config.list_depth), name=f"count_{place}", reset_less=True)
                  for place in range(banks)]  # entries of each bank, the one of the next element first

        clearing, appending = Signal(), Signal()
        skip = Signal(reset_less=True)
        # Live columns after this one, -1 where it is dead; while clearing, it is the first of this address. It is the
        # sum of what it was before and a step down; or, to choose none, of -1 and all that live.
        after = Signal(range(-banks * (TRITS + 1), self.config.columns))
        before, step = (Signal.like(after, name=name, init=-1, reset_less=True) for name in ("before", "step"))
        live = Signal.like(self.live, reset_less=True)
        opened, cleared = Signal(reset_less=True), Signal(reset_less=True)
        index = Signal(range(self.config.list_depth), reset_less=True)
        select = Signal(banks, reset_less=True)
        value_in, alive, final = self.i.payload.value, ~after[-1], self.i.payload.last
        zero = value_in == 0
        judged = Signal()  # the element of the cycle before, of which all is known but its place in the list
        wrote, ended = Signal(), Signal()  # an entry, the last element
        m.d.comb += [self.busy.eq(clearing | appending | judged | ended), self.i.ready.eq(appending)]
        value, place = Signal.like(value_in, reset_less=True), Signal.like(index, reset_less=True)
        chosen = Signal.like(select, reset_less=True)
        entry, active, ends = (Signal(name=name, reset_less=True) for name in ("entry", "active", "ends"))
        m.d.sync += [
            judged.eq(appending & self.i.valid), value.eq(value_in), place.eq(index),
            chosen.eq(select), entry.eq(alive & ~(skip & zero)), active.eq(alive & ~zero),
            ends.eq(final),
        ]

        count, *others = counts
        with m.If(judged):
            m.d.sync += Cat(counts).eq(Cat(others, (count + entry)[:len(count)]))
        with m.If(opened):
            m.d.sync += Cat(counts).eq(0)
        m.d.sync += [wrote.eq(judged & entry), ended.eq(judged & ends), self.done.eq(ended)]
        # Counts grow by one: the first to pass the longest is the longest.
        with m.If(wrote & (self.o_write.address == built.beats)):
            m.d.sync += built.beats.eq(built.beats + 1)

        m.d.comb += after.eq(before + step)
        m.d.sync += opened.eq(self.start)
        begins = opened | clearing & cleared
        with m.If(begins):
            m.d.sync += step.eq(live)
        with m.If(~begins & (clearing | appending & self.i.valid)):
            m.d.sync += [before.eq(after), step.eq(Mux(clearing, -banks, -1))]
        with m.If(begins):
            m.d.sync += before.eq(-1)
        m.d.sync += self.o_write.select.eq(0)
        with m.If(clearing):
            m.d.sync += [
                self.o_write.select.eq(-1), self.o_write.address.eq(index),
                self.o_write.index.eq(0), self.o_write.value.eq(0),
                index.eq(index + 1),
                cleared.eq((before[-1] | (before[:-1] < 4 * banks)) & (index >= TRITS - 2)),
            ]
            with m.If(cleared):
                m.d.sync += [clearing.eq(0), appending.eq(1), index.eq(0), cleared.eq(0)]
        with m.Elif(appending & self.i.valid):
            m.d.sync += [select.eq(select.rotate_left(1)), index.eq(index + select[-1])]
            with m.If(final):
                m.d.sync += appending.eq(0)
        with m.If(judged):
            m.d.sync += [
                self.o_write.select.eq(Mux(entry, chosen, 0)), self.o_write.address.eq(count),
                self.o_write.index.eq(place), self.o_write.value.eq(value),
                built.entries.eq(built.entries + entry), built.active.eq(built.active + active),
            ]
            with m.If(entry):
                m.d.sync += built.words.eq(place + 1)

        with m.If(self.start):
            m.d.sync += [
                clearing.eq(1), cleared.eq(0), appending.eq(0), judged.eq(0), wrote.eq(0), ended.eq(0),
                self.done.eq(0), self.o_write.select.eq(0),
                self.o_write.slot.eq(self.slot), skip.eq(self.skip), live.eq(self.live),
                index.eq(0), select.eq(1),
                built.eq(0), built.beats.eq(TRITS),
            ]
        return m
