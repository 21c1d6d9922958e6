"""A processor behind a byte stream of records, for the compiled simulator."""

import struct

import numpy as np
from amaranth import *
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.golden.codes import word_encode
from setun.hdl.build.verilog import sources
from setun.hdl.instructions import SCALAR_BITS, encode
from setun.hdl.processor import HOST_LATENCY, Processor, Space
from setun.sim.rtl.simulator import Simulator


__all__ = ["ProcessorBench"]


FIELDS = {"kind": 1, "space": 1, "bank": 1, "lane": 1, "address": 3, "data": 13}  # bytes
REPLY_BYTES = 8
LIMIT = 10_000_000  # cycles


class Kind(enum.Enum, shape=8):
    """What a record asks for; only the last two have a reply."""
    WRITE = 0
    READ = 1
    STEP = 2


class ProcessorPort(wiring.Component):
    """Takes records of 20 bytes: writes to ``i_host``, reads of ``o_host``, and steps, whose token and position are in
    ``address`` and ``data``. A reply is 8 bytes, of a step the token and its cycles."""

    def __init__(self, geometry, vocabulary, context):
        self.arguments = geometry, vocabulary, context
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        geometry, vocabulary, context = self.arguments
        m.submodules.processor = processor = Processor(geometry, vocabulary=vocabulary, context=context)
        size = sum(FIELDS.values())
        record, reply = Signal(8 * size), Signal(8 * REPLY_BYTES)
        left, sending, wait = Signal(range(size + 1), init=size), Signal(range(REPLY_BYTES + 1)), Signal(8)
        cycles, start = Signal(32), 0
        fields = {}
        for name, width in FIELDS.items():
            fields[name] = record[8 * start:8 * (start + width)]
            start += width
        host = processor.i_host
        m.d.comb += [*(host[name].eq(fields[name]) for name in ("space", "bank", "lane", "address", "data")),
                     processor.last_token.eq(vocabulary - 1), processor.i_token.eq(fields["address"]),
                     processor.i_position.eq(fields["data"])]
        m.d.comb += [self.o.payload.eq(reply[:8]), self.o.valid.eq(sending != 0)]
        with m.FSM():
            with m.State("RECEIVE"):
                m.d.comb += self.i.ready.eq(left != 0)
                with m.If(left == 0):
                    m.d.sync += [left.eq(size), wait.eq(0), cycles.eq(0)]
                    m.next = "DO"
                with m.Elif(self.i.valid):
                    m.d.sync += [record.eq(Cat(record[8:], self.i.payload)), left.eq(left - 1)]
            with m.State("DO"):
                with m.Switch(fields["kind"]):
                    with m.Case(Kind.WRITE):
                        m.d.comb += host.valid.eq(1)
                        m.next = "RECEIVE"
                    with m.Case(Kind.READ):
                        m.d.sync += wait.eq(wait + 1)
                        with m.If(wait == HOST_LATENCY):
                            m.d.sync += [reply.eq(processor.o_host), sending.eq(REPLY_BYTES)]
                            m.next = "SEND"
                    with m.Default():
                        m.d.comb += processor.start.eq(wait == 0)
                        m.d.sync += [wait.eq(1), cycles.eq(cycles + 1)]
                        with m.If(processor.done):
                            m.d.sync += [reply.eq(Cat(processor.o_token, C(0, 32))), sending.eq(REPLY_BYTES)]
                            m.d.sync += reply[32:].eq(cycles + 1)
                            m.next = "SEND"
            with m.State("SEND"):
                with m.If(self.o.ready):
                    m.d.sync += [reply.eq(reply >> 8), sending.eq(sending - 1)]
                    with m.If(sending == 1):
                        m.next = "RECEIVE"
        return m


class ProcessorBench:
    """A simulated processor with an image in its memories."""

    def __init__(self, geometry, vocabulary, context):
        port = ProcessorPort(geometry, vocabulary, context)
        self.geometry = geometry
        self.simulator = Simulator(port, "processor", key=f"{geometry}{vocabulary} {context}{sources()}{_own()}")

    def close(self):
        self.simulator.close()

    def load(self, image):
        """Write all of an image; memories that it does not fill keep what they had."""
        records = []

        def write(space, address, data, lane=0, bank=0):
            records.append(struct.pack("<BBBB", Kind.WRITE.value, space.value, bank, lane)
                           + int(address).to_bytes(3, "little") + int(data).to_bytes(13, "little"))

        codes, mask = word_encode(image.weights), (1 << 18) - 1
        for address, bank, tile in np.ndindex(codes.shape):
            write(Space.WEIGHTS, address, codes[address, bank, tile], tile, bank)
        for space, memory in ((Space.RESULTS, image.results), (Space.ELEMENTS, image.elements)):
            for address, lane in np.ndindex(memory.shape):
                write(space, address, memory[address, lane] & mask, lane)
        for address, (mantissa, exponent) in enumerate(image.scalars):
            write(Space.SCALARS, address, mantissa | (exponent & (1 << SCALAR_BITS[1]) - 1) << SCALAR_BITS[0])
        for address, instruction in enumerate(image.program):
            write(Space.PROGRAM, address, encode(instruction, image.geometry))
        self.simulator.exchange(b"".join(records), limit=50 * len(records))

    def step(self, token, position):
        """The next token, and the cycles it took."""
        record = struct.pack("<BBBB", Kind.STEP.value, 0, 0, 0) + token.to_bytes(3, "little")
        reply = self.simulator.exchange(record + position.to_bytes(13, "little"), want=REPLY_BYTES, limit=LIMIT)
        return struct.unpack("<II", reply)

    def elements(self, address, words):
        """int64 [words, N] of the lanes' elements."""
        found = np.empty((words, self.geometry.tiles), np.int64)
        for word, lane in np.ndindex(found.shape):
            record = struct.pack("<BBBB", Kind.READ.value, Space.ELEMENTS.value, 0, lane)
            record += (address + word).to_bytes(3, "little") + bytes(13)
            value = struct.unpack("<Q", self.simulator.exchange(record, want=REPLY_BYTES, limit=LIMIT))[0]
            found[word, lane] = (value & (1 << 18) - 1 ^ 1 << 17) - (1 << 17)
        return found


def _own():
    with open(__file__) as file:
        return file.read()
