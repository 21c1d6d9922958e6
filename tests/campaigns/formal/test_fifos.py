"""What holds items between two streams loses none, duplicates none, and changes neither them nor their order."""

import pytest
from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hdl.link.stream_buffer import StreamBuffer
from setun.hdl.link.uart import FIFO_BYTES, Uart
from setun.sim.verify.formal import Disproved, Opened, prove


CLOCK, BAUD = 12_000_000, 1_500_000


class Queue(wiring.Component):
    """Follows any one item that comes in: it leaves when those that were there before it have, as it came.

    Without a bound in time: the invariant is that ``held`` counts the items, and ``at`` gives the item where it should
    be.

    Parameters
    ----------
    queue : Opened
        The ports of its component are free.
    came, left : (Value, Value)
        Whether an item comes in or leaves, and which.
    held : Value
        Items that are inside.
    at : function
        Of an index: the item that leaves after so many others.
    invariants : list of Value
        What else always holds.
    """

    def __init__(self, queue, came, left, held, at, invariants=()):
        self.queue, self.came, self.left, self.held, self.at, self.invariants = (queue, came, left, held, at,
                                                                                 invariants)
        super().__init__({"watch": In(1), "ports": Out(queue.component.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = self.queue.fragment
        wiring.connect(m, wiring.flipped(self.ports), self.queue.component)
        (came, comes), (left, leaves) = self.came, self.left
        count, followed, ahead, item = Signal(8), Signal(), Signal(8), Signal.like(comes)
        m.d.sync += count.eq(count + came - left)
        with m.If(followed & left):
            m.d.sync += [followed.eq(ahead != 0), ahead.eq(ahead - 1)]
        with m.If(came & self.watch & ~followed):
            m.d.sync += [followed.eq(1), ahead.eq(count - left), item.eq(comes)]
        m.d.comb += [Assert(count == self.held), Assert(~left | (count != 0)), *map(Assert, self.invariants)]
        with m.If(followed):
            m.d.comb += [Assert(ahead < count), Assert(self.at(ahead) == item)]
            with m.If(left & (ahead == 0)):
                m.d.comb += Assert(leaves == item)
        return m


def taken(port):
    """Whether an item of a stream is taken, and which."""
    return port.valid & port.ready, port.payload


def queue_of(component, stage):
    opened = Opened(component)
    inside = opened.inside(stage)
    return Queue(opened, taken(component.i), taken(component.o), component.o.valid + inside.full,
                 lambda index: Mux(index == 0, component.o.payload, inside.spare))


def test_stage():
    stage = StreamBuffer(8)
    prove(queue_of(stage, stage), "stage_queue", depth=2)


class Hasty(wiring.Component):
    """A StreamBuffer that takes an item more than it can hold."""
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self):
        super().__init__()
        self.stage = StreamBuffer(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.stage = stage = self.stage
        wiring.connect(m, stage.o, wiring.flipped(self.o))
        m.d.comb += [stage.i.payload.eq(self.i.payload), stage.i.valid.eq(self.i.valid), self.i.ready.eq(1)]
        return m


def test_refutes_hasty():
    hasty = Hasty()
    with pytest.raises(Disproved, match="hasty: .* fails"):
        prove(queue_of(hasty, hasty.stage), "hasty", depth=5)


def received(uart):
    """The bytes that wait in a Uart; one that comes when there is no room never comes in."""
    opened, size = Opened(uart), FIFO_BYTES - 1
    inside = opened.inside()
    fifo, receiver = inside.received, inside.receiver
    produce, consume, level = (getattr(opened.inside(fifo), name) for name in ("produce", "consume", "inner_level"))

    def wrapped(place):
        return Mux(place >= size, place - size, place)

    return Queue(opened, (receiver.o.valid & fifo.w_rdy, receiver.o.payload), taken(uart.o), level + uart.o.valid,
                 lambda index: Mux(uart.o.valid & (index == 0), uart.o.payload,
                                   opened.word(wrapped(consume + index - uart.o.valid)[:len(consume)])),
                 [consume < size, level <= size, produce == wrapped(consume + level)])


def sent(uart):
    """The bytes that a Uart is to send."""
    opened = Opened(uart)
    waiting, transmitter = opened.inside().waiting, opened.inside().transmitter
    inside = opened.inside(waiting)
    return Queue(opened, taken(uart.i), taken(transmitter.i), waiting.o.valid + inside.full,
                 lambda index: Mux(index == 0, waiting.o.payload, inside.spare))


@pytest.mark.parametrize("direction", [received, sent])
def test_uart(direction):
    prove(direction(Uart(clock=CLOCK, baud=BAUD)), f"uart_{direction.__name__}", depth=2)
