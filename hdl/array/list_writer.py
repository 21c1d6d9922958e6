"""Lists of the array, from words of the lanes."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.attention import LOW_BITS
from ...golden.lanes import LANE_BITS
from .engine import SLOTS, ListEntry, array_config


__all__ = ["ListWriter"]


class ListWriter(wiring.Component):
    """Writes a vector's elements that are not zero to the lists of their banks, N elements a cycle.

    Element i of lane i % N goes to bank i % K; K / N words take turns. A write leaves a cycle after its word.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    start : In(1)
        Begin the list of ``slot``, which holds; the words of the one before have been written.
    slot : In
    digits : In(1)
        Elements are weights of two digits, not int8; holds.
    i_valid : In(1)
    i_takes : In(tiles)
        Elements that may be listed.
    i : In(signed(18)), one for each lane
    query : In
        A slot, of which the next two tell.
    o_lengths : Out, one for each bank
    o_beats : Out
        Of the longest bank's list.
    write : Out(banks)
    o_entries : Out(ListEntry), one for each bank
    """

    def __init__(self, geometry):
        self.geometry = geometry
        self.length = range(array_config(geometry).list_depth + 1)
        super().__init__({
            "start": In(1), "slot": In(range(SLOTS)), "digits": In(1), "i_valid": In(1), "i_takes": In(geometry.tiles),
            "i": In(signed(LANE_BITS)).array(geometry.tiles), "query": In(range(SLOTS)),
            "o_lengths": Out(self.length).array(geometry.banks), "o_beats": Out(self.length),
            "write": Out(geometry.banks), "o_entries": Out(ListEntry(geometry)).array(geometry.banks),
        })

    def elaborate(self, platform):
        m = Module()
        banks, lanes = self.geometry.banks, self.geometry.tiles
        turns = banks // lanes
        turn = Signal(range(max(turns, 2)), reset_less=True)
        index = Signal.like(self.o_entries[0].index, reset_less=True)
        with m.If(self.i_valid):
            m.d.sync += turn.eq(turn + 1)
            with m.If(turn == turns - 1):
                m.d.sync += [turn.eq(0), index.eq(index + 1)]
        lengths = [[Signal(self.length, name=f"length_{slot}_{bank}") for bank in range(banks)]
                   for slot in range(SLOTS)]
        beats = Array(Signal(self.length, name=f"beats_{slot}") for slot in range(SLOTS))
        longer = Signal(banks)
        for bank, entry in enumerate(self.o_entries):
            value = self.i[bank % lanes]
            counted = Array(lengths[slot][bank] for slot in range(SLOTS))
            listed = Signal(name=f"listed_{bank}")
            m.d.comb += [
                listed.eq(self.i_valid & (turn == bank // lanes) & self.i_takes[bank % lanes]
                          & Mux(self.digits, value.any(), value[:8].any())),
                self.o_lengths[bank].eq(counted[self.query]),
                longer[bank].eq(listed & (counted[self.slot] == beats[self.slot])),
            ]
            m.d.sync += [
                self.write[bank].eq(listed), entry.slot.eq(self.slot), entry.address.eq(counted[self.slot]),
                entry.index.eq(index), entry.low.eq(Mux(self.digits, value[:LOW_BITS], 0)),
                entry.high.eq(Mux(self.digits, value >> LOW_BITS, value[:8].as_signed())),
            ]
            with m.If(listed):
                m.d.sync += counted[self.slot].eq(counted[self.slot] + 1)
            with m.If(self.start):
                m.d.sync += counted[self.slot].eq(0)
        m.d.comb += self.o_beats.eq(beats[self.query])
        with m.If(longer.any()):
            m.d.sync += beats[self.slot].eq(beats[self.slot] + 1)
        with m.If(self.start):
            m.d.sync += [beats[self.slot].eq(0), turn.eq(0), index.eq(0)]
        return m
