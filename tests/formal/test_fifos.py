"""What holds items between two streams loses none, duplicates none, and changes neither them nor their order."""

import pytest
from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hdl.stage import Stage
from hdl.uart import FIFO_BYTES
from sim.formal import Disproved, Opened, prove


class Queue(wiring.Component):
    """Follows any one item that comes in: it leaves when those that were there before it have, as it came.

    Without a bound in time: the invariant is that ``held`` counts the items, and ``at`` gives the item where it should
    be.

    Parameters
    ----------
    queue : Opened
    i, o : streams
        Of its component.
    held : Value
        Items that are inside.
    at : function
        Of an index: the item that leaves after so many others.
    invariants : list of Value
        What else always holds.
    """

    def __init__(self, queue, i, o, held, at, invariants=()):
        self.queue, self.i, self.o, self.held, self.at, self.invariants = queue, i, o, held, at, invariants
        super().__init__({"watch": In(1), "valid": In(1), "payload": In(len(Value.cast(i.payload))), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = self.queue.fragment
        m.d.comb += [self.i.valid.eq(self.valid), self.i.payload.eq(self.payload), self.o.ready.eq(self.ready)]
        came, left = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        count, followed, ahead, item = Signal(8), Signal(), Signal(8), Signal.like(self.payload)
        m.d.sync += count.eq(count + came - left)
        with m.If(followed & left):
            m.d.sync += [followed.eq(ahead != 0), ahead.eq(ahead - 1)]
        with m.If(came & self.watch & ~followed):
            m.d.sync += [followed.eq(1), ahead.eq(count - left), item.eq(self.payload)]
        m.d.comb += [Assert(count == self.held), *map(Assert, self.invariants)]
        with m.If(self.o.valid):
            m.d.comb += Assert(count != 0)
        with m.If(followed):
            m.d.comb += [Assert(ahead < count), Assert(self.at(ahead) == item)]
            with m.If(left & (ahead == 0)):
                m.d.comb += Assert(self.o.payload == item)
        return m


def queue_of(component, stage):
    opened = Opened(component)
    inside = opened.inside(stage)
    return Queue(opened, component.i, component.o, component.o.valid + inside.full,
                 lambda index: Mux(index == 0, component.o.payload, inside.spare))


def test_stage():
    stage = Stage(8)
    prove(queue_of(stage, stage), "stage_queue", depth=2)


class Hasty(wiring.Component):
    """A Stage that takes an item more than it can hold."""
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self):
        super().__init__()
        self.stage = Stage(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.stage = stage = self.stage
        wiring.connect(m, stage.o, wiring.flipped(self.o))
        m.d.comb += [stage.i.payload.eq(self.i.payload), stage.i.valid.eq(self.i.valid), self.i.ready.eq(1)]
        return m


def test_hasty():
    hasty = Hasty()
    with pytest.raises(Disproved, match="hasty: .* fails"):
        prove(queue_of(hasty, hasty.stage), "hasty", depth=5)


def test_uart():
    """The bytes that wait in a Uart; one that comes when there is no room never comes in."""
    fifo, size = SyncFIFOBuffered(width=8, depth=FIFO_BYTES), FIFO_BYTES - 1
    opened = Opened(fifo)
    produce, consume, inside = (getattr(opened.inside(), name) for name in ("produce", "consume", "inner_level"))

    def wrapped(place):
        return Mux(place >= size, place - size, place)

    prove(Queue(opened, fifo.w_stream, fifo.r_stream, inside + fifo.r_rdy,
                lambda index: Mux(fifo.r_rdy & (index == 0), fifo.r_data,
                                  opened.word(wrapped(consume + index - fifo.r_rdy)[:len(consume)])),
                [consume < size, inside <= size, produce == wrapped(consume + inside)]), "uart_queue", depth=2)
