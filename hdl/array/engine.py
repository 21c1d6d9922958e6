"""The array of the whole-token processor: banks with lists of their own lengths, ternary products or those of int8."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ...golden.attention import LOW_BITS
from ...golden.lanes import LANE_BITS
from ...golden.model import LEVELS
from ..config import GROUP, TRITS, sum_width
from ..technology.product import DOT_LATENCY, PORTABLE
from .combiner import COMBINER_LATENCY, NARROW_LATENCY, Combiner, Narrow
from .tile import Operand, Tile, WeightWrite


__all__ = ["Engine", "EngineBank", "EngineBeat", "ListEntry", "SLOTS", "engine_latency", "list_address", "most_narrow",
           "total_bits"]


SLOTS = 2
LIST_LATENCY = 2  # cycles from a beat to its entry: a register of the beat, and one of the entry


def total_bits(config, weight):
    """Of a sum of products by weights of at most that magnitude, with what rounds it."""
    return (128 * weight * config.columns + (1 << most_narrow(config) >> 1)).bit_length() + 1


def most_narrow(config):
    """How far results are shifted at most: what brings the largest sum of int8 products into a lane."""
    return max(sum_width(LEVELS * config.columns) - LANE_BITS, 0)


def list_address(slot, number):
    """Where entry ``number`` of a slot's list is in a bank's memory: slot 1's list is behind that of slot 0."""
    return Cat(number[:-1], number[-1] & ~slot, slot)


class EngineBeat(data.StructLayout):
    """One beat: every bank multiplies entry ``beat`` of its list by its column's word from ``base`` on.

    ``first`` and ``last`` frame a row block. With ``probe``, bank ``bank`` multiplies its word at ``base`` by 1 and the
    others nothing.
    """

    def __init__(self, config):
        super().__init__({
            "valid": 1, "first": 1, "last": 1, "low": 1, "probe": 1, "bank": range(max(config.banks, 2)),
            "slot": range(SLOTS), "beat": ceil_log2(config.list_depth), "base": config.address_bits})


class ListEntry(data.StructLayout):
    """A write to a bank's list at a list_address: the two digits of a value, and the word of its column."""

    def __init__(self, config):
        bits = ceil_log2(config.list_depth)
        super().__init__({"address": bits + 1, "index": bits, "high": signed(8), "low": LOW_BITS})


def _sum_cycles(config):
    """Cycles from a beat to its sums of the first tile: list, address, weights (3), groups."""
    return LIST_LATENCY + 1 + 3 + DOT_LATENCY + config.groups - 1


def engine_latency(config, int8):
    """Cycles from the last beat of a Run until its last result is written."""
    leaving = COMBINER_LATENCY - 1 if int8 else TRITS  # behind the first of five, or of one
    return _sum_cycles(config) + config.tiles + 1 + leaving + NARROW_LATENCY + 1


class EngineBank(wiring.Component):
    """Looks up the activation of a beat, and sends it down the tiles.

    Entries beyond a list's length count as zero. A beat enters in cycle 0; the activation is at tile ``t``, with its
    weights, in cycle 5 + t.

    Members
    -------
    i_beat : In(EngineBeat)
    write : In(1)
    i_entry : In(ListEntry)
    i_length : In(list_depth)
        Of the beat's list, with the beat.
    i_weights : In(WeightWrite)
    o_x : Out(signed(8)), one for each tile
    o_non_zero, o_sign : Out(rows)
    """

    def __init__(self, config, technology, *, position):
        self.config, self.technology, self.position = config, technology, position
        self.config = config
        super().__init__({
            "i_beat": In(EngineBeat(config)),
            "write": In(1),
            "i_entry": In(ListEntry(config)),
            "i_length": In(range(config.list_depth + 1)),
            "i_weights": In(WeightWrite(config)),
            "o_x": Out(signed(8)).array(config.tiles),
            "o_non_zero": Out(config.rows),
            "o_sign": Out(config.rows),
        })

    def elaborate(self, platform):
        m = Module()
        config, beat, write = self.config, self.i_beat, self.i_entry
        stored = data.StructLayout({"index": len(write.index), "high": signed(8), "low": LOW_BITS})
        entry = Signal(stored)
        m.submodules.list = entries = self.technology.lut_memory(depth=3 << len(write.index) - 1, width=stored.size)
        m.d.comb += [
            entries.write_enable.eq(self.write),
            entries.write_address.eq(write.address),
            entries.write_data.eq(Cat(write.index, write.high, write.low)),
            entries.read_address.eq(list_address(beat.slot, beat.beat)),
            entry.eq(entries.read_data),
        ]

        known = data.StructLayout({"valid": 1, "listed": 1, "low": 1, "probe": 1, "probed": 1, "base": len(beat.base)})
        stage = Signal(known, reset_less=True)
        m.d.sync += [stage.valid.eq(beat.valid), stage.listed.eq(beat.beat < self.i_length), stage.low.eq(beat.low),
                     stage.probe.eq(beat.probe), stage.probed.eq(beat.bank == self.position),
                     stage.base.eq(beat.base)]
        operand, value = Signal(Operand(config), reset_less=True), Signal(signed(8))
        m.d.comb += value.eq(Mux(stage.low, entry.low, entry.high))
        m.d.sync += [operand.valid.eq(stage.valid),
                     operand.address.eq(stage.base + Mux(stage.probe, 0, entry.index)),
                     operand.x.eq(Mux(stage.probe, stage.probed, Mux(stage.listed, value, 0)))]

        weights = self.i_weights
        select, enable = Signal(reset_less=True), Signal.like(weights.tile, name="enable", reset_less=True)
        m.d.sync += [select.eq(weights.bank[self.position]), enable.eq(weights.tile)]
        for tile, x in enumerate(self.o_x):
            rows = slice(tile * TRITS, (tile + 1) * TRITS)
            m.submodules[f"tile_{tile}"] = below = Tile(config, self.technology)
            m.d.comb += [
                below.i_operand.eq(operand),
                below.write_enable.eq(enable[tile]),
                below.write_select.eq(select),
                below.write_address.eq(weights.address),
                below.write_word.eq(weights.word),
                x.eq(below.o_x),
                self.o_non_zero[rows].eq(below.o_non_zero),
                self.o_sign[rows].eq(below.o_sign),
            ]
            operand = below.o_operand
        return m


class Engine(wiring.Component):
    """K banks x N tiles of five rows: products of lists and the weights' memories, as a lane takes them.

    Takes a beat every cycle. Row blocks of ternary products must be five beats long or more, those of int8 one. The
    last result has left ``o_results`` engine_latency(config, int8) cycles after the last beat.

    Parameters
    ----------
    config : Config
    technology : Technology

    Members
    -------
    i_beat : In(EngineBeat)
    int8 : In(1)
        Five rows are the digits of one; holds while a Run's beats and results pass, as the next.
    narrow : In
        How far results are shifted, most_narrow(config) at most; holds as ``int8``.
    write : In(banks)
        Lists that are written.
    i_entries : In(ListEntry), one for each tile
        Of the banks that its lane feeds.
    i_lengths : In, one for each bank
        Of the beat's list, a cycle after the beat; holds.
    i_weights : In(WeightWrite)
    o_valid : Out(tiles)
    o_results : Out(signed(18)), one for each tile
        In the order of their words, the later tiles a cycle later each.
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        self.config = config
        super().__init__({
            "i_beat": In(EngineBeat(config)),
            "int8": In(1),
            "narrow": In(range(most_narrow(config) + 1)),
            "write": In(config.banks),
            "i_entries": In(ListEntry(config)).array(config.tiles),
            "i_lengths": In(range(config.list_depth + 1)).array(config.banks),
            "i_weights": In(WeightWrite(config)),
            "o_valid": Out(config.tiles),
            "o_results": Out(signed(LANE_BITS)).array(config.tiles),
        })

    def elaborate(self, platform):
        m = Module()
        config, weights = self.config, self.i_weights
        beat = Signal.like(self.i_beat, name="beat", reset_less=True)
        m.d.sync += beat.eq(self.i_beat)
        sums, carries = [C(0, signed(1))] * config.rows, C(0, config.rows)
        for first in range(0, config.banks, GROUP):
            later_weights = Signal.like(weights, name=f"weights_{first}", reset_less=True)
            m.d.sync += later_weights.eq(weights)
            weights = later_weights
            if first > GROUP:  # the second group adds to sums that the first had ready
                later_beat = Signal.like(beat, name=f"beat_{first}", reset_less=True)
                m.d.sync += later_beat.eq(beat)
                beat = later_beat
            sums, carries = self._group(m, first, beat, weights, sums, carries)

        half = Signal(most_narrow(self.config), reset_less=True)  # rounds rows of a result, or its lowest digits
        half_of_rows = Signal.like(half, reset_less=True)
        m.d.sync += [half.eq(1 << self.narrow >> 1), half_of_rows.eq(Mux(self.int8, 0, 1 << self.narrow >> 1))]

        settle = Signal(3)  # valid, first, last
        m.d.comb += settle.eq(Cat(self.i_beat.valid, self.i_beat.first & self.i_beat.valid,
                                  self.i_beat.last & self.i_beat.valid))
        for stage in range(_sum_cycles(config)):
            later = Signal(3, name=f"settle_{stage}")
            m.d.sync += later.eq(settle)
            settle = later
        for tile in range(config.tiles):
            rows = slice(tile * TRITS, (tile + 1) * TRITS)
            self._drain(m, tile, settle, sums[rows], carries[rows], [half] + [half_of_rows] * (TRITS - 1))
            later = Signal(3, name=f"settle_tile_{tile}")
            m.d.sync += later.eq(settle)
            settle = later
        return m

    def _group(self, m, first, beat, weights, sums, carries):
        """Banks from ``first`` on, and the sums of their products and those before."""
        config, banks = self.config, []
        for position in range(first, min(first + GROUP, config.banks)):
            m.submodules[f"bank_{position}"] = bank = EngineBank(self.config, self.technology, position=position)
            m.d.comb += [bank.i_beat.eq(beat), bank.write.eq(self.write[position]),
                         bank.i_entry.eq(self.i_entries[position % config.tiles]),
                         bank.i_length.eq(self.i_lengths[position]), bank.i_weights.eq(weights)]
            banks.append(bank)
        dots = []
        for row in range(config.rows):
            m.submodules[f"dot_{first}_{row}"] = dot = self.technology.dot(position=first, products=len(banks))
            m.d.comb += [
                dot.non_zero.eq(Cat(bank.o_non_zero[row] for bank in banks)),
                dot.sign.eq(Cat(bank.o_sign[row] for bank in banks)),
                dot.i.eq(sums[row]),
                dot.i_carry.eq(carries[row]),
            ]
            m.d.comb += [x.eq(bank.o_x[row // TRITS]) for x, bank in zip(dot.x, banks, strict=True)]
            dots.append(dot)
        return [dot.o for dot in dots], Cat(dot.o_carry for dot in dots)

    def _drain(self, m, tile, settle, sums, carries, starts):
        """Accumulators of a tile; their totals leave one by one, or as one product of int8."""
        width, combined = total_bits(self.config, 1), total_bits(self.config, LEVELS)
        valid, first, last = settle
        totals = []
        for row in range(TRITS):
            m.submodules[f"accumulator_{tile}_{row}"] = accumulator = self.technology.accumulator(
                products=self.config.banks, width=width)
            m.d.comb += [accumulator.i.eq(sums[row]), accumulator.i_carry.eq(carries[row]),
                         accumulator.enable.eq(valid), accumulator.first.eq(first), accumulator.start.eq(starts[row])]
            totals.append(accumulator.o)
        m.submodules[f"combiner_{tile}"] = combiner = Combiner(width=width, to=combined)
        m.d.comb += combiner.show.eq(self.int8)
        m.d.comb += [port.eq(total) for port, total in zip(combiner.i, totals)]
        m.submodules[f"holding_{tile}"] = holding = self.technology.holding(width=width)
        m.d.comb += [port.eq(total) for port, total in zip(holding.i, totals)]
        ready = Signal(COMBINER_LATENCY + 1, name=f"ready_{tile}")  # the totals, and in cycles behind them
        leaving = Signal(TRITS, name=f"leaving_{tile}")
        leaves = ready[0] & ~self.int8
        m.d.sync += [ready.eq(Cat(last, ready)), leaving.eq(Cat(leaves, leaving))]
        m.d.comb += holding.select.eq(Cat(leaves, leaving))
        m.submodules[f"narrow_{tile}"] = narrow = Narrow(width=combined, to=LANE_BITS)
        left = Signal(name=f"left_{tile}")
        delay = Signal(NARROW_LATENCY, name=f"delay_{tile}")
        m.d.comb += [left.eq(leaving.any() | self.int8 & ready[-1]),
                     narrow.i.eq(combiner.o | holding.o),  # the one that is not asked for is 0
                     narrow.shift.eq(self.narrow),
                     self.o_valid[tile].eq(delay[-1]), self.o_results[tile].eq(narrow.o)]
        m.d.sync += delay.eq(Cat(left, delay))
