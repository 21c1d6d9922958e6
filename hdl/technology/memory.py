"""Memories of the machine, for any technology."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


__all__ = ["BLOCK_LATENCY", "BlockMemory", "LUT_LATENCY", "Lag", "LutMemory", "MemorySignature"]


ROW = 16  # words of a LutMemory that need no choice, as the ECP5 has them
BLOCK_LATENCY = 2  # cycles from an address to its data
LUT_LATENCY = 1  # the same of a LutMemory


class MemorySignature(wiring.Signature):
    """Ports of a memory of ``depth`` words of ``lanes * width`` bits.

    Members
    -------
    write_enable : In(lanes)
        Lanes that are written, the lowest bits first.
    write_select : In(1)
        Clear where no lane is written. Set where it is not connected.
    write_address, write_data : In
    read_enable, read_address : In
    output_enable : In(1)
        Of the second register. Set where it is not connected.
    read_data : Out(lanes * width)
    """

    def __init__(self, *, depth, width, lanes=1):
        address = max(ceil_log2(depth), 1)
        super().__init__({
            "write_enable": In(lanes),
            "write_select": In(1, init=1),
            "write_address": In(address),
            "write_data": In(lanes * width),
            "read_enable": In(1),
            "read_address": In(address),
            "output_enable": In(1, init=1),
            "read_data": Out(lanes * width),
        })


class BlockMemory(wiring.Component):
    """Block RAM with one write port and one read port, whose data is registered twice: ``read_data`` follows
    ``read_address`` after two cycles.

    Each register keeps its word while its enable is low. A word that is read in the cycle in which it is written is
    undefined; nothing in the machine uses such a word. Told this, synthesis adds no logic around the block RAM.

    Parameters
    ----------
    depth : int
        Words.
    width : int
        Bits of a lane.
    lanes : int
        Parts of a word that are written one by one.
    init : list of int
        The first words; zeros follow.
    """

    def __init__(self, *, depth, width, lanes=1, init=()):
        self.depth, self.width, self.lanes, self.init = depth, width, lanes, init
        super().__init__(MemorySignature(depth=depth, width=width, lanes=lanes))

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=self.lanes * self.width, depth=self.depth, init=self.init, attrs={"no_rw_check": 1})
        # Synthesis merges the register behind an asynchronous port into the block RAM, and only so heeds the attribute.
        write, read = storage.write_port(granularity=self.width), storage.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(Mux(self.write_select, self.write_enable, 0)),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.read_address),
        ]
        word, data = (Signal.like(self.read_data, name=name, reset_less=True) for name in ("word", "data"))
        with m.If(self.read_enable):
            m.d.sync += word.eq(read.data)
        with m.If(self.output_enable):
            m.d.sync += data.eq(word)
        m.d.comb += self.read_data.eq(data)
        return m


class LutMemory(wiring.Component):
    """A small memory with one write port and one read port: ``read_data`` follows ``read_address`` after one cycle.

    A word that is read in the cycle in which it is written is the one before. Each ROW words have a register, which is
    0 while another's word is read: an OR instead of a multiplexer.

    Parameters
    ----------
    depth : int
        Words.
    width : int
        Bits.

    Members
    -------
    write_enable : In(1)
    write_address, write_data : In
    read_address : In
    read_data : Out(width)
    """

    ATTRIBUTES = {}  # of the storage, for synthesis

    def __init__(self, *, depth, width):
        self.depth, self.width = depth, width
        address = max(ceil_log2(depth), 1)
        super().__init__({"write_enable": In(1), "write_address": In(address), "write_data": In(width),
                          "read_address": In(address), "read_data": Out(width)})

    def elaborate(self, platform):
        m = Module()
        found, place = 0, ceil_log2(ROW)
        for first in range(0, self.depth, ROW):
            m.submodules[f"row_{first}"] = storage = memory.Memory(
                shape=self.width, depth=min(self.depth - first, ROW), init=[], attrs=self.ATTRIBUTES)
            write, read = storage.write_port(), storage.read_port(domain="comb")
            data = Signal.like(self.read_data, name=f"data_{first}", reset_less=True)
            row = first // ROW
            m.d.comb += [
                write.en.eq(self.write_enable & (self.write_address[place:] == row)),
                write.addr.eq(self.write_address),
                write.data.eq(self.write_data),
                read.addr.eq(self.read_address),
            ]
            m.d.sync += data.eq(Mux(self.read_address[place:] == row, read.data, 0))
            found = found | data
        m.d.comb += self.read_data.eq(found)
        return m


class Lag(wiring.Component):
    """What a memory has read, for a reader that may lie far from it: the memory stops a cycle after the reader does,
    and the word that has left it by then is kept.

    Parameters
    ----------
    width : int

    Members
    -------
    goes : In(1)
        The reader takes ``o``, and ``o`` is the next word in the next cycle.
    flows : Out(1)
        Enables the memory's registers, and those of what goes along with its words.
    i : In(width)
        The memory's ``read_data``.
    o : Out(width)
    """

    def __init__(self, width):
        super().__init__({"goes": In(1), "flows": Out(1, init=1), "i": In(width), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        kept = Signal.like(self.o, reset_less=True)
        m.d.comb += self.o.eq(Mux(self.flows, self.i, kept))
        m.d.sync += [self.flows.eq(self.goes), kept.eq(self.o)]
        return m
