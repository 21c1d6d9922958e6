"""Block RAM with one write port and one read port."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


__all__ = ["BlockMemory"]


class BlockMemory(wiring.Component):
    """Block RAM whose data is registered twice: ``read_data`` follows ``read_address`` after two cycles.

    It keeps what was read last while ``read_enable`` is low. A word that is read in the cycle in which it is written is
    undefined; nothing in the machine uses such a word. Told this, synthesis adds no logic around the block RAM.

    Parameters
    ----------
    depth : int
        Words.
    width : int
        Bits of a word.

    Members
    -------
    write_enable, write_address, write_data : In
    read_enable, read_address : In
    read_data : Out(width)
    """

    def __init__(self, *, depth, width):
        self.depth, self.width = depth, width
        address = max(ceil_log2(depth), 1)
        super().__init__({
            "write_enable": In(1),
            "write_address": In(address),
            "write_data": In(width),
            "read_enable": In(1),
            "read_address": In(address),
            "read_data": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=self.width, depth=self.depth, init=[], attrs={"no_rw_check": 1})
        # Synthesis merges the register behind an asynchronous port into the block RAM, and only so heeds the attribute.
        write, read = storage.write_port(), storage.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.read_address),
        ]
        word, data = Signal(self.width, reset_less=True), Signal(self.width, reset_less=True)
        with m.If(self.read_enable):
            m.d.sync += word.eq(read.data)
        m.d.sync += data.eq(word)
        m.d.comb += self.read_data.eq(data)
        return m
