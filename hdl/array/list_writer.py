"""Lists of the array, from words of the lanes."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.attention import LOW_BITS, WEIGHT_BITS
from ...golden.lanes import LANE_BITS
from .engine import SLOTS, ListEntry, list_address


__all__ = ["ListWriter"]


class ListWriter(wiring.Component):
    """Writes a vector's elements that are not zero to the lists of their banks, N elements a cycle.

    Element i of lane i % N goes to bank i % K; K / N words take turns. A write leaves a cycle after its word.

    Parameters
    ----------
    config : Config

    Members
    -------
    start : In(1)
        Begin the list of ``slot``, which holds until its last word, which comes two cycles later or more; words of
        the list before have been written.
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
        A cycle later.
    o_beats : Out
        Of the longest bank's list.
    write : Out(banks)
    o_entries : Out(ListEntry), one for each lane
        For the bank that is written of those that the lane feeds.
    """

    def __init__(self, config):
        self.config = config
        self.length = range(config.list_depth + 1)
        super().__init__({
            "start": In(1), "slot": In(range(SLOTS)), "digits": In(1), "i_valid": In(1), "i_takes": In(config.tiles),
            "i": In(signed(LANE_BITS)).array(config.tiles), "query": In(range(SLOTS)),
            "o_lengths": Out(self.length).array(config.banks), "o_beats": Out(self.length),
            "write": Out(config.banks), "o_entries": Out(ListEntry(config)).array(config.tiles),
        })

    def elaborate(self, platform):
        m = Module()
        banks, lanes = self.config.banks, self.config.tiles
        turns = banks // lanes
        turn = Signal(range(max(turns, 2)), reset_less=True)
        index = Signal.like(self.o_entries[0].index, reset_less=True)
        with m.If(self.i_valid):
            m.d.sync += turn.eq(turn + 1)
            with m.If(turn == turns - 1):
                m.d.sync += [turn.eq(0), index.eq(index + 1)]
        beats = Array(Signal(self.length, name=f"beats_{slot}") for slot in range(SLOTS))
        longer, start, started = Signal(lanes), Signal(), Signal()
        slot = Signal.like(self.slot, name="written_slot", reset_less=True)
        m.d.sync += [start.eq(self.start), started.eq(start), slot.eq(self.slot)]
        for lane, (value, entry) in enumerate(zip(self.i, self.o_entries)):
            # Entries of the lane's banks so far, those of the bank whose turn it is first.
            counts = [Signal(self.length, name=f"count_{lane}_{place}", reset_less=True) for place in range(turns)]
            listed, more = Signal(name=f"listed_{lane}"), Signal(self.length, name=f"more_{lane}")
            grown = Signal(self.length, name=f"grown_{lane}", reset_less=True)
            m.d.comb += [
                listed.eq(self.i_valid & self.i_takes[lane]
                          & (value[:8].any() | self.digits & value[8:WEIGHT_BITS].any())),
                more.eq(counts[0] + listed),
                longer[lane].eq(listed & (counts[0] == beats[self.slot])),
            ]
            with m.If(self.i_valid):
                m.d.sync += Cat(counts).eq(Cat(*counts[1:], more))
            m.d.sync += [
                entry.address.eq(list_address(self.slot, counts[0][:len(entry.index)])), entry.index.eq(index),
                entry.low.eq(Mux(self.digits, value[:LOW_BITS], 0)),
                entry.high.eq(Mux(self.digits, value[LOW_BITS:WEIGHT_BITS], value[:8].as_signed())), grown.eq(more),
            ]
            with m.If(start):
                m.d.sync += [Cat(counts).eq(0), grown.eq(0)]
            for place in range(turns):
                bank = place * lanes + lane
                m.d.sync += self.write[bank].eq(listed & (turn == place))
                lengths = [Signal(self.length, name=f"length_{bank}_{number}", reset_less=True)
                           for number in range(SLOTS)]
                for number, length in enumerate(lengths):
                    with m.If((started | self.write[bank]) & (slot == number)):
                        m.d.sync += length.eq(grown)
                m.d.sync += self.o_lengths[bank].eq(Array(lengths)[self.query])
        m.d.comb += self.o_beats.eq(beats[self.query])
        with m.If(longer.any()):
            m.d.sync += beats[self.slot].eq(beats[self.slot] + 1)
        with m.If(start):
            m.d.sync += [beats[self.slot].eq(0), turn.eq(0), index.eq(0)]
        return m
