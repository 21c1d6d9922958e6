"""Holds the results of the array until they are read."""

from math import ceil

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ACCUMULATOR_BITS, TRITS
from ..protocol import ACCUMULATOR_BYTES
from ..technology.memory import BLOCK_LATENCY
from ..technology.product import PORTABLE
from .drain import Result


__all__ = ["Results"]


NEAR = 4  # tiles whose results a cycle chooses among: a look-up table has four inputs, and an FPGA pairs them


class Results(wiring.Component):
    """A result memory a tile, read out in the order of the rows as bytes, low byte first.

    The first byte comes seven cycles after ``start``, then one a cycle.

    Members
    -------
    i_results : In(Result), one for each tile
    start : In(1)
        Read ``blocks`` row blocks, one or more, from ``address``, five times the number of the first.
    address, blocks : In
    clear : In(1)
        Stop reading.
    o : Out(stream.Signature(8))
    busy : Out(1)
        From the cycle after ``start`` until the last byte is taken; there is no other start meanwhile.
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        super().__init__({
            "i_results": In(Result(config)).array(config.tiles),
            "start": In(1),
            "address": In(range(config.blocks * TRITS)),
            "blocks": In(range(config.blocks + 1)),
            "clear": In(1),
            "o": Out(stream.Signature(8)),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        address, block_address = Signal.like(self.address), Signal.like(self.address)  # of what is read next
        tile, row, blocks = Signal(range(config.tiles)), Signal(range(TRITS)), Signal.like(self.blocks)
        # What NEAR tiles read, whose block RAM may lie far from that of others: ``address``, a cycle later.
        near = [Signal.like(address, name=f"address_{index}", reset_less=True)
                for index in range(ceil(config.tiles / NEAR))]
        read_data = [Signal(signed(config.accumulator_bits), name=f"data_{index}") for index in range(config.tiles)]
        for index in range(config.tiles):
            m.submodules[f"tile_{index}"] = store = self.technology.memory(
                depth=config.blocks * TRITS, width=config.accumulator_bits)
            # Through registers both ways, for the block RAM may lie far away.
            result = Signal(Result(config), name=f"result_{index}", reset_less=True)
            m.d.sync += result.eq(self.i_results[index])
            m.d.comb += [
                store.write_enable.eq(result.valid),
                store.write_address.eq(result.address),
                store.write_data.eq(result.value),
                store.read_enable.eq(1),
                store.read_address.eq(near[index // NEAR]),
                read_data[index].eq(store.read_data),
            ]
        for index, later in enumerate(near):
            with m.If(tile // NEAR == index):
                m.d.sync += later.eq(address)

        # A result is chosen among NEAR tiles, and in the cycle after among those: the one of ``group``.
        chosen = Array(Signal(signed(config.accumulator_bits), name=f"chosen_{index}", reset_less=True)
                       for index in range(len(near)))
        read, group = Signal.like(tile, reset_less=True), Signal(range(len(near)), reset_less=True)
        # Unary: bytes that are left; cycles of reading since the address changed, one less than to the result's fetch.
        value, left, age = Signal(ACCUMULATOR_BITS, reset_less=True), Signal(ACCUMULATOR_BYTES), Signal(BLOCK_LATENCY)
        started, reading = Signal(), Signal()  # reading: blocks != 0
        fetch, fetched = Signal(), Signal()
        # An address is older than a cycle where it goes.
        row_ends, block_ends = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [row_ends.eq(row == TRITS - 1), block_ends.eq((row == TRITS - 1) & (tile == config.tiles - 1))]
        free = ~left[0] | ~left[1] & self.o.ready
        goes = age[-1] & ~fetched  # there is a result in the next cycle, and room for it
        m.d.comb += [
            self.o.valid.eq(left[0]),
            self.o.payload.eq(value[:8]),
            self.busy.eq(started | reading | fetch | fetched | left[0]),
        ]
        m.d.sync += [age.eq(Cat(reading, age)), started.eq(self.start), fetch.eq(goes), read.eq(tile)]
        with m.If(self.o.ready):
            m.d.sync += [value.eq(value >> 8), left.eq(left >> 1)]
        with m.If(fetched & free):
            m.d.sync += [value.eq(chosen[group]), left.eq(-1), fetched.eq(0)]
        with m.If(fetch):
            m.d.sync += [group.eq(read // NEAR), fetched.eq(1)]
            for index, signal in enumerate(chosen):
                m.d.sync += signal.eq(Array(read_data[index * NEAR:(index + 1) * NEAR])[read % NEAR])
        with m.If(goes):
            m.d.sync += [age.eq(0), row.eq(row + 1), address.eq(address + 1)]
            with m.If(row_ends):
                m.d.sync += [row.eq(0), tile.eq(tile + 1)]
            with m.If(block_ends):
                m.d.sync += [tile.eq(0), blocks.eq(blocks - 1), block_address.eq(address + 1), reading.eq(blocks != 1)]
        with m.If(started | goes & row_ends & ~block_ends):
            m.d.sync += address.eq(block_address)
        with m.If(started):
            m.d.sync += [reading.eq(1), age.eq(0)]
        with m.If(self.start):
            m.d.sync += [blocks.eq(self.blocks), block_address.eq(self.address), tile.eq(0), row.eq(0)]
        return ResetInserter(self.clear)(m)
