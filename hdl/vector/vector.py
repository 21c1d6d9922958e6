"""The way of a vector from the link to the activation lists."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..array.lists import ListBuilder, ListState, ListWriteLayout
from ..protocol import Flags
from ..technology.product import PORTABLE
from .elements import Elements, SerialElements


__all__ = ["VectorUnit"]


class VectorUnit(wiring.Component):
    """Quantises vectors and lists them, golden.quantiser.absmax_quantise and golden.layout.activation_lists.

    A vector comes in one or more pieces, each announced by ``start``; one with ``opens`` is the first, and abandons a
    vector that is open. One byte a cycle is taken, except that int8 elements wait while the list memories are cleared,
    which begins a cycle after opening. int32 elements are little-endian; once the last is there, one a cycle is
    quantised, or one in 44 cycles where ``config.serial``.

    The list is ready 5 cycles after the last byte of int8 elements is taken, and length + 20 after the last byte of
    int32 elements, or 44 * length + 17. From ``start`` of a vector of one piece, with bytes always there, it is
    max(ceil(live / banks), 5) + length + 6 and 5 * length + 20, or 48 * length + 17, cycles:
    sim.model.cycles.vector_cycles.

    The caller keeps to the following: a piece opens a vector or goes on at ``expected``, no piece goes beyond
    ``length <= config.columns``, which is not 0, ``live <= length``, and nothing is started while ``busy``. A list
    that is read by the array must not be opened.

    Parameters
    ----------
    config : Config

    Members
    -------
    clear : In(1)
        Pulse: abandon what is running, forget all lists; idle in the next cycle.
    start : In(1)
        A piece follows on ``i``, of which the next five tell.
    opens : In(1)
        It is the first of a vector.
    slot, flags, length, live : In
        As in VECTOR; looked at when a vector is opened only. All but ``length`` hold in the cycle after ``start`` too.
    i : In(stream.Signature(8))
        Bytes of the elements of a piece; there are none but after its start.
    busy : Out(1)
        Bytes that were taken are being stored, or a vector is quantised or listed.
    expected : Out(range(config.columns + 1))
        While not busy, offset at which the open vector continues, 0 where none is open.
    ready : Out(config.slots)
        Slots whose list is complete.
    query : In(range(config.slots))
    list : Out(ListState(config))
        Of slot ``query``. Combinational; meaningless where it is not ready.
    listing : Out(1)
        All elements are there, and are quantised or listed.
    absmax : Out(32)
        Largest magnitude of the last int32 vector.
    o_write : Out(ListWriteLayout(config))
    done : Out(1)
        Pulse, the cycle before ``ready``. From here to the next opening the following holds.
    built : Out(ListState(config))
        Of that list.
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        columns = range(config.columns + 1)
        super().__init__({
            "clear": In(1),
            "start": In(1),
            "opens": In(1),
            "slot": In(range(config.slots)),
            "flags": In(8),
            "length": In(columns),
            "live": In(columns),
            "i": In(stream.Signature(8)),
            "busy": Out(1),
            "expected": Out(columns),
            "ready": Out(config.slots),
            "query": In(range(config.slots)),
            "list": Out(ListState(config)),
            "listing": Out(1),
            "absmax": Out(32),
            "o_write": Out(ListWriteLayout(config)),
            "done": Out(1),
            "built": Out(ListState(config)),
        })

    def elaborate(self, platform):
        m = Module()
        kind = SerialElements if self.config.serial else Elements
        m.submodules.elements = elements = kind(self.config, self.technology)
        m.submodules.builder = builder = ListBuilder(self.config)

        opens = self.start & self.opens
        takes_int8, skip = (self.flags & Flags.INT8).any(), (self.flags & Flags.SKIP).any()
        opened, int8, length = Signal(), Signal(reset_less=True), Signal.like(self.length, reset_less=True)
        # The element that is received, and then again that is read; the two after it; and whether it ends the vector.
        position, last = self.expected, Signal()
        second, third = (Signal(range(self.config.columns + 1 + ahead), name=name, init=ahead)
                         for ahead, name in ((1, "second"), (2, "third")))
        storing, reading, listing, received = Signal(), Signal(), Signal(), Signal()

        taken, took, came = self.i.valid & self.i.ready, Signal(), Signal()  # took, came: the cycle before, of the kind
        byte = Signal.like(self.i.payload, reset_less=True)
        m.d.sync += [took.eq(taken & int8), came.eq(taken & ~int8), byte.eq(self.i.payload),
                     elements.start.eq(self.start), elements.opens.eq(opens & ~takes_int8)]
        m.d.comb += [
            self.busy.eq(took | came | self.listing),
            self.listing.eq(storing | reading | listing),
            self.i.ready.eq(~int8 | builder.i.ready & ~opened),  # opened: of the list that was abandoned
            received.eq(took | elements.element),
            elements.i.valid.eq(came),
            elements.i.payload.eq(byte),
            elements.read.eq(reading),
            elements.position.eq(position),
            elements.last.eq(last),
            builder.start.eq(opened),
            builder.slot.eq(self.slot),
            builder.skip.eq(skip),
            builder.live.eq(self.live),
            # Clearing, begun at opening, has ended before the first result: those always find the builder ready.
            builder.i.valid.eq(Mux(int8, took, elements.o.valid)),
            builder.i.payload.value.eq(Mux(int8, byte, elements.o.payload.value)),
            builder.i.payload.last.eq(Mux(int8, last, elements.o.payload.last)),
        ]

        m.d.sync += storing.eq(0)
        goes = received | elements.taken
        with m.If(goes):
            m.d.sync += [third.eq(third + 1), second.eq(third), position.eq(second), last.eq(third == length)]
        with m.If(opened | goes & last):
            m.d.sync += [third.eq(2), second.eq(1), position.eq(0), last.eq(length == 1)]
        with m.If(received & last):
            m.d.sync += [storing.eq(~int8), listing.eq(int8)]
        with m.If(storing):  # the last element
            m.d.sync += reading.eq(1)
        with m.If(elements.taken & last):
            m.d.sync += [reading.eq(0), listing.eq(1)]
        with m.If(builder.done):
            m.d.sync += [self.ready.bit_select(builder.o_write.slot, 1).eq(1), listing.eq(0)]
        m.d.sync += opened.eq(opens)
        with m.If(opens):
            m.d.sync += [length.eq(self.length), int8.eq(takes_int8)]
            m.d.sync += self.ready.bit_select(self.slot, 1).eq(0)

        lists = [Signal.like(self.list, name=f"list_{slot}", reset_less=True) for slot in range(self.config.slots)]
        for slot, state in enumerate(lists):
            with m.If(builder.done & (builder.o_write.slot == slot)):
                m.d.sync += state.eq(builder.built)
            with m.If(self.query == slot):
                m.d.comb += self.list.eq(state)
        m.d.comb += [
            self.absmax.eq(elements.absmax),
            self.o_write.eq(builder.o_write),
            self.done.eq(builder.done),
            self.built.eq(builder.built),
        ]
        return ResetInserter(self.clear)(m)
