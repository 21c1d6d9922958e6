"""The parts of the link keep within their states and memories, for all that may come in."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from setun.hdl.link import frame
from setun.hdl.link.frame import PREFIX_BYTES, FrameReceiver, FrameTransmitter, Ring
from setun.hdl.protocol import CRC_BYTES, HEADER_BYTES, MAX_PAYLOAD
from setun.hdl.technology.product import PORTABLE
from setun.sim.verify.formal import Disproved, Opened, prove


class Transmitter(wiring.Component):
    """Its state is one of four."""

    def __init__(self):
        self.transmitter = FrameTransmitter()
        super().__init__(self.transmitter.signature)

    def elaborate(self, platform):
        m = Module()
        opened = Opened(self.transmitter)
        m.submodules.transmitter = opened.fragment
        wiring.connect(m, wiring.flipped(self), self.transmitter)
        state = opened.inside().state
        m.d.comb += Assert((state != 0) & (state & (state - 1) == 0))
        return m


def test_transmitter():
    prove(Transmitter(), "one_hot", depth=2)


RING_BYTES = 32  # instead of 2048: the proof takes longer with every place


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(frame, "RING_BYTES", RING_BYTES)


def ends_of(ring, inside):
    """Places from the first not taken to the last used and to the one amended, after this cycle."""
    released = (inside.committed - inside.taken)[:len(inside.taken)]
    amended = released + ring.place
    return Mux(ring.curtail, amended, released + inside.came + Mux(ring.i.valid, Mux(ring.leap, 2, 1), 0)), amended


class Followed(wiring.Component):
    """Any one place of a Ring, counted to twice its size, while its user does not overfill it.

    Places leave one by one, in their order, and each with what was written there last; no write hits a place that is
    committed and has not left, nor one beyond the RING_BYTES from the first that is not taken.

    Parameters
    ----------
    most : int
        Places that the user may fill.
    """

    def __init__(self, most=RING_BYTES):
        self.ring, self.most = Ring(PORTABLE), most
        members = dict(self.ring.signature.members)
        del members["i"]
        super().__init__({**members, "comes": In(1), "byte": In(8), "watched": In(range(2 * RING_BYTES))})

    def elaborate(self, platform):
        m = Module()
        ring, opened = self.ring, Opened(self.ring)
        inside = opened.inside()
        m.submodules.ring = opened.fragment
        m.d.comb += [ring.i.valid.eq(self.comes), ring.i.payload.eq(self.byte)]
        wiring.connect(m, ring.o, wiring.flipped(self.o))
        m.d.comb += [getattr(ring, name).eq(getattr(self, name))
                     for name in ("leap", "amend", "place", "value", "commit", "curtail")]
        end, amended = ends_of(ring, inside)
        m.d.comb += [
            Assume((end <= self.most) & (~ring.amend | (amended < self.most))),
            Assume(~ring.i.valid | ~(ring.amend | ring.commit | ring.curtail)),
            Assume(~(ring.commit & ring.curtail) & ~(ring.amend & (ring.commit | ring.curtail))),
            Assume(ring.place <= PREFIX_BYTES),
        ]

        place, chosen, known, value = Signal.like(self.watched), Signal(), Signal(), Signal(8)
        left, taken, (in_word, in_data) = Signal.like(place), inside.taken, inside.valid
        stage = opened.inside(inside.stage)
        staged = ring.o.valid + stage.full
        held = in_word + in_data + staged
        with m.If(~chosen):
            m.d.sync += [chosen.eq(1), place.eq(self.watched)]
        with m.If(ring.o.valid & ring.o.ready):
            m.d.sync += left.eq(left + 1)
            with m.If(left == place):
                m.d.sync += known.eq(0)
        hit = inside.committed + Mux(ring.amend, ring.place, inside.came)
        writes = ring.i.valid | ring.amend
        with m.If(chosen & writes & (hit[:len(place)] == place)):
            m.d.sync += [known.eq(1), value.eq(Mux(ring.amend, ring.value, ring.i.payload))]

        def ahead(position):
            return (position - taken)[:len(taken)]

        memory, port = opened.inside(inside.storage), inside.storage
        m.d.comb += [
            Assert(ahead(inside.committed) + inside.came <= RING_BYTES),
            Assert(left == (taken - held)[:len(left)]),
            Assert(ring.o.valid | ~stage.full),
        ]
        with m.If(writes):
            m.d.comb += Assert((ahead(hit) >= ahead(inside.committed)) & (ahead(hit) < RING_BYTES))
        with m.If(known):
            m.d.comb += Assert((ahead(place) < RING_BYTES) | ((place - left)[:len(left)] < held))
            with m.If(ahead(place) < RING_BYTES):
                comes = port.write_enable & (port.write_address == place[:-1])
                m.d.comb += Assert(Mux(comes, port.write_data, opened.word(place[:-1])) == value)
            with m.Elif(ring.o.valid & (place == left)):
                m.d.comb += Assert(ring.o.payload == value)
            with m.Elif(stage.full & (place == (left + 1)[:len(left)])):
                m.d.comb += Assert(stage.spare == value)
            with m.Elif(in_data & (place == (left + staged)[:len(left)])):
                m.d.comb += Assert(memory.data == value)
            with m.Else():
                m.d.comb += Assert(memory.word == value)
        return m


def test_ring(small):
    prove(Followed(), "ring", depth=2)


def test_refutes_overfilled(small):
    with pytest.raises(Disproved, match="overfilled: .* is not inductive"):
        prove(Followed(RING_BYTES + 1), "overfilled", depth=2)


class Receiver(wiring.Component):
    """Asks of its Ring what Followed assumes, for whatever bytes come, and never stops for ever.

    No body takes more places than a frame of MAX_PAYLOAD; and when the ring is full, some of what it holds is released.

    Parameters
    ----------
    receiver : FrameReceiver
    """

    def __init__(self, receiver):
        self.receiver = receiver
        super().__init__(receiver.signature)

    def elaborate(self, platform):
        m = Module()
        opened = Opened(self.receiver)
        m.submodules.receiver = opened.fragment
        wiring.connect(m, wiring.flipped(self), self.receiver)
        inside = opened.inside()
        ring, inspector, clears, place = inside.ring, inside.inspector, inside.clears, inside.place
        pointers, parser = opened.inside(ring), opened.inside(inspector)
        came, committed, taken = pointers.came, pointers.committed, pointers.taken
        end, amended = ends_of(ring, pointers)
        judges = inspector.found | clears
        m.d.comb += [
            Assert((end <= frame.RING_BYTES) & (~ring.amend | (amended < frame.RING_BYTES))),
            Assert(~(ring.i.valid & (judges | ring.commit)) & ~(inspector.found & clears) & ~(ring.commit & judges)),
            Assert(Mux(clears, place <= PREFIX_BYTES, place == HEADER_BYTES)),
            Assert(ring.curtail == (clears & (place == PREFIX_BYTES))),
            Assert(inspector.named <= 2),
        ]

        # An item adds five places at most. Behind what is used the ring knows of an end that is four back, and five
        # more where a body was curtailed in the cycle before, and it is full by what it knew in that.
        def distance(one, other):
            return (one - other)[:len(taken)]

        released = distance(committed, taken)
        filled = released + came
        most = frame.RING_BYTES - frame.SPARE_BYTES
        comes = Mux(ring.i.valid, Mux(ring.leap, 2, 1), 0)
        reach, judged = filled + comes, released + PREFIX_BYTES
        known = distance(pointers.end, taken)
        m.d.comb += [
            Assert(reach <= known + Mux(judges, 4, 4 + PREFIX_BYTES)),
            Assert(Mux(judges & (judged > reach), judged, reach)
                   < most + 4 + Mux(ring.full, 3, 2) * PREFIX_BYTES),
            Assert((filled < most) | (released != 0)),
        ]

        with m.If(ring.i.valid | ring.amend):
            m.d.comb += Assert(released + Mux(ring.amend, ring.place, came) < frame.RING_BYTES)

        count, left, wide = parser.count, parser.left, parser.wide
        held = Mux(ring.commit, 0, came + comes)
        m.d.comb += [
            Assert(count <= parser.whole),
            Assert(parser.inside == (count >= HEADER_BYTES)),
            Assert((came + comes <= PREFIX_BYTES + MAX_PAYLOAD) & (~judges | (count == 0))),
        ]
        with m.If(~parser.inside):
            m.d.comb += [Assert(judges | (held == count)), Assert(~(wide | parser.complete | parser.over)),
                         Assert((count != HEADER_BYTES - 1) | (parser.wide_low == (left[:8] > parser.most_low)))]
        with m.Else():
            m.d.comb += Assert(held + Mux(~wide & (left > 0), left, 0) <= PREFIX_BYTES + Mux(wide, 0, MAX_PAYLOAD))
            with m.If(~wide):
                m.d.comb += [Assert((left >= -CRC_BYTES - 1) & (left <= MAX_PAYLOAD)),
                             Assert(parser.complete == (left == -CRC_BYTES)),
                             Assert(parser.over == (left == -CRC_BYTES - 1))]
        return m


def test_receiver():
    prove(Receiver(FrameReceiver()), "receiver_ring", depth=2)


def test_refutes_late(monkeypatch):
    monkeypatch.setattr(frame, "SPARE_BYTES", 8)
    with pytest.raises(Disproved, match="late: .* is not inductive"):
        prove(Receiver(FrameReceiver()), "late", depth=2)
