"""What holds items between two streams loses none, duplicates none, and changes neither them nor their order."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hdl.config import PRESETS, TRITS
from setun.hdl.control.sequencer import Run, Sequencer
from setun.hdl.link.stream_buffer import StreamBuffer
from setun.hdl.link.uart import FIFO_BYTES, Uart
from setun.sim.verify.formal import Disproved, Opened, prove


CONFIG = PRESETS["1x5"]
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


class Products(wiring.Component):
    """A Sequencer beside what it is for: each descriptor that is queued becomes its tokens, once and in order.

    Assumed is what its user keeps to: no descriptor is empty and, if it is patient, nothing is written while one waits.
    """

    def __init__(self, sequencer, patient=True):
        self.sequencer, self.patient = sequencer, patient
        super().__init__(sequencer.signature)

    def elaborate(self, platform):
        m = Module()
        opened, sequencer = Opened(self.sequencer), self.sequencer
        m.submodules.sequencer = opened.fragment
        wiring.connect(m, wiring.flipped(self), sequencer)
        inside, token, layout = opened.inside(), sequencer.o_token, Run(sequencer.config)
        told, next_, run = (Signal(layout, name=name, reset_less=True) for name in ("told", "next", "run"))
        queued, runs, block, beat = Signal(), Signal(), Signal.like(run.blocks), Signal.like(run.beats)

        def has_list(run):
            return (run.beats >= TRITS) & (run.beats <= sequencer.config.list_depth)

        m.d.comb += next_.eq(told)
        for name in ("base", "stride", "blocks"):
            with m.If(sequencer.write[name]):
                m.d.comb += next_[name].eq(sequencer.i[name])
        with m.If(sequencer.write.rest):
            m.d.comb += [next_[name].eq(sequencer.i[name]) for name in ("slot", "active", "destination", "beats")]
        m.d.comb += [
            Assume(~(queued & sequencer.write.as_value().any() & self.patient)),
            Assume(~sequencer.write.rest | (next_.blocks >= 1) & has_list(next_)),
        ]
        last, final = beat == run.beats - 1, block == run.blocks - 1
        m.d.sync += told.eq(next_)
        with m.If(~runs | last & final):
            m.d.sync += [runs.eq(queued), run.eq(told), block.eq(0), beat.eq(0), queued.eq(0)]
        with m.Elif(last):
            m.d.sync += [beat.eq(0), block.eq(block + 1), run.base.eq(run.base + run.stride)]
        with m.Else():
            m.d.sync += beat.eq(beat + 1)
        with m.If(sequencer.write.rest):
            m.d.sync += queued.eq(1)
        with m.If(sequencer.clear):
            m.d.sync += [runs.eq(0), queued.eq(0)]

        m.d.comb += [Assert(sequencer.waiting == queued), Assert(token.valid == runs),
                     Assert(sequencer.block_done == (runs & last)), Assert(runs | ~inside.last),
                     Assert(sequencer.pending == queued + (runs | (inside.flush != 0)))]
        with m.If(runs):
            m.d.comb += [
                Assert((token.first == (beat == 0)) & (token.last == last) & (token.beat == beat)),
                Assert(token.opens == (block == 0)),
                *[Assert(token[name] == run[name]) for name in ("slot", "base", "destination")],
                Assert(sequencer.active == run.active),
                Assert((beat < run.beats) & (block < run.blocks) & has_list(run)),
                Assert((inside.run.beats == (run.beats - 2)[:len(run.beats)]) & (inside.run.stride == run.stride)),
                Assert((inside.run.blocks == run.blocks - block) & (inside.final == final)),
            ]
        with m.If(queued):
            m.d.comb += [Assert(inside.following[name] == (told[name] - 2 * (name == "beats"))[:len(told[name])])
                         for name in layout.members]
            m.d.comb += Assert((told.blocks >= 1) & has_list(told))
        with m.Else():
            m.d.comb += [Assert(inside.following[name] == told[name]) for name in ("base", "stride", "blocks")]
        return m


def test_sequencer():
    prove(Products(Sequencer(CONFIG)), "sequencer", depth=2)


def test_refutes_hurried():
    with pytest.raises(Disproved, match="hurried: .* fails"):
        prove(Products(Sequencer(CONFIG), patient=False), "hurried", depth=4)
