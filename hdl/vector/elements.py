"""Elements of a vector: their bytes stored, then quantised, golden.quantiser.absmax_quantise."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..array.lists import Element
from ..technology.memory import BLOCK_LATENCY
from ..technology.product import PORTABLE
from .quantiser import DIGITS, QUANTISER_LATENCY, Absmax, Quantiser


__all__ = ["ELEMENT_LATENCY", "Elements", "ElementsSignature", "SERIAL_CYCLES", "SerialElements"]


ELEMENT_BYTES = 4
ELEMENT_LATENCY = BLOCK_LATENCY + 1 + QUANTISER_LATENCY  # and the way of a word, for block RAM may lie far away
ADDRESS_LATENCY = 1 + BLOCK_LATENCY  # a step
SERIAL_STEPS = DIGITS + 4  # the magnitude, the digits, what they were too many, the half, the rounding
SERIAL_CYCLES = 4 * SERIAL_STEPS  # an addend, the carry of the sum, the addend or none, the sum


class ElementsSignature(wiring.Signature):
    """Ports of a store that quantises int32 elements.

    Members
    -------
    start : In(1)
        Elements follow.
    opens : In(1)
        They are those of a new vector.
    i : In(stream.Signature(8, always_ready=True))
        Bytes, little-endian.
    element : Out(1)
        An element is complete with the byte of this cycle, and stored at ``position``. Combinational.
    read : In(1)
        Quantise the elements from ``position`` on, until it falls with the last one taken.
    taken : Out(1)
        The element at ``position`` is on its way: next comes the following one. Combinational.
    position : In(range(config.columns + 1))
    last : In(1)
        The element at ``position`` is the last.
    absmax : Out(32)
        Largest magnitude of the vector.
    o : Out(stream.Signature(Element, always_ready=True))
    """

    def __init__(self, config):
        super().__init__({
            "start": In(1),
            "opens": In(1),
            "i": In(stream.Signature(8, always_ready=True)),
            "element": Out(1),
            "read": In(1),
            "taken": Out(1),
            "position": In(range(config.columns + 1)),
            "last": In(1),
            "absmax": Out(32),
            "o": Out(stream.Signature(Element, always_ready=True)),
        })


class Elements(wiring.Component):
    """Stores the int32 elements of a vector, then quantises them, golden.quantiser.absmax_quantise.

    A byte a cycle in, an element a cycle out, 14 cycles (``ELEMENT_LATENCY``) from ``read`` to the result. Reading may
    begin two cycles after the last byte.

    Parameters
    ----------
    config : Config
    technology : Technology
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        super().__init__(ElementsSignature(config))

    def elaborate(self, platform):
        m = Module()
        m.submodules.absmax = absmax = Absmax(self.technology)
        m.submodules.storage = storage = self.technology.memory(
            depth=self.config.columns, width=8 * ELEMENT_BYTES)
        m.submodules.quantiser = quantiser = Quantiser(self.technology)

        word, byte = Signal(8 * ELEMENT_BYTES, reset_less=True), Signal(range(ELEMENT_BYTES), reset_less=True)
        shifted = Cat(word[8:], self.i.payload)
        with m.If(self.i.valid):
            m.d.comb += self.element.eq(byte == ELEMENT_BYTES - 1)
            m.d.sync += [word.eq(shifted), byte.eq(byte + 1)]
        with m.If(self.start):
            m.d.sync += byte.eq(0)

        complete, fetched = Signal(), Signal(BLOCK_LATENCY + 1)
        y = Signal(signed(8 * ELEMENT_BYTES), reset_less=True)
        place = Signal(range(self.config.columns), reset_less=True)
        m.d.sync += [complete.eq(self.element), place.eq(self.position), fetched.eq(Cat(self.read, fetched[:-1])),
                     y.eq(storage.read_data)]
        m.d.comb += [
            self.taken.eq(self.read),
            absmax.clear.eq(self.opens),
            absmax.valid.eq(complete),
            absmax.value.eq(word),
            self.absmax.eq(absmax.absmax),
            storage.write_enable.eq(complete),
            storage.write_address.eq(place),
            storage.write_data.eq(word),
            storage.read_enable.eq(self.read),
            storage.read_address.eq(self.position),
            quantiser.i.valid.eq(fetched[-1]),
            quantiser.i.payload.eq(y),
            quantiser.absmax.eq(absmax.absmax),
        ]
        last = Signal(ELEMENT_LATENCY, reset_less=True)
        m.d.sync += last.eq(Cat(self.last, last))
        m.d.comb += [quantiser.o.ready.eq(1), self.o.valid.eq(quantiser.o.valid),
                     self.o.payload.value.eq(quantiser.o.payload), self.o.payload.last.eq(last[-1])]
        return m


class SerialElements(wiring.Component):
    """Elements over one adder, for small devices.

    A byte a cycle in, an element in 44 cycles (``SERIAL_CYCLES``) out, 49 cycles from ``read`` to the first result
    where the last byte came seven cycles before or earlier. ``absmax`` is undefined from ``read`` to four cycles after
    the last result.

    Parameters
    ----------
    config : Config
    technology : Technology
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        super().__init__(ElementsSignature(config))

    def elaborate(self, platform):
        m = Module()
        byte = Signal(range(ELEMENT_BYTES), reset_less=True)
        address, largest = (Signal(range(self.config.columns), name=name) for name in ("address", "largest"))
        y = Signal(signed(8 * ELEMENT_BYTES))  # at the address that was chosen ADDRESS_LATENCY cycles ago
        for lane in range(ELEMENT_BYTES):
            m.submodules[f"lane_{lane}"] = storage = self.technology.memory(depth=self.config.columns, width=8)
            m.d.comb += [
                storage.write_enable.eq(self.i.valid & (byte == lane)),
                storage.write_address.eq(self.position),
                storage.write_data.eq(self.i.payload),
                storage.read_enable.eq(1),
                storage.read_address.eq(address),
                y.word_select(lane, 8).eq(storage.read_data),
            ]
        with m.If(self.i.valid):
            m.d.comb += self.element.eq(byte == ELEMENT_BYTES - 1)
            m.d.sync += byte.eq(byte + 1)
        with m.If(self.start):
            m.d.sync += byte.eq(0)

        # Seven digits of 128 |y| / m come first; then |y| is taken from the remainder, which leaves s of -m to m, and
        # the quotient is the digits, plus or less one where 2 s is beyond m or -m.
        running, quantised = Signal(), Signal()
        step, phase = Signal(SERIAL_STEPS), Signal(4)
        load, excess, half, round_ = step[0], *step[DIGITS + 1:]
        _, looks, chooses, moves = phase

        # An element that arrives is compared, then added to nothing where it is larger.
        arrived, larger = Signal(ADDRESS_LATENCY + 3), Signal()
        compares, compared = arrived[ADDRESS_LATENCY - 1], arrived[ADDRESS_LATENCY + 1]

        remainder = Signal(8 * ELEMENT_BYTES + 1)
        reaches = Signal(reset_less=True)
        addend, inverted = Signal(signed(len(remainder) + 1), reset_less=True), Signal(reset_less=True)
        negative = Signal(reset_less=True)  # s is
        twice = excess | half | compares
        invert = y[-1] ^ ~(load | compared | half & negative)  # -|y| and -m, else |y| and m
        doubled = Cat(C(0, 1), remainder)
        total = Cat(C(1, 1), doubled) + Cat(inverted, addend)
        exceeds, place = compared & ~reaches, Signal.like(address, reset_less=True)
        m.d.sync += [
            addend.eq(Mux(twice, Cat(C(0, 1), y).as_signed(), y) ^ invert.replicate(len(addend)).as_signed()),
            inverted.eq(invert),
            reaches.eq(total[len(doubled) + 1]),
            arrived.eq(Cat(self.element, arrived[:-1])),
            larger.eq(exceeds),
            place.eq(address),
        ]
        with m.If(moves | larger):
            m.d.sync += remainder.eq(total[1:len(doubled) + 1])
        with m.If(chooses & ~(reaches | load | excess | half)):
            m.d.sync += [addend.eq(0), inverted.eq(0)]
        with m.If(exceeds):
            m.d.sync += largest.eq(place)
        with m.If(self.opens):
            m.d.sync += [largest.eq(0), arrived.eq(0), larger.eq(0)]
        with m.If(self.opens | moves & round_ | exceeds):
            m.d.sync += remainder.eq(0)

        sign, digits = Signal(reset_less=True), Signal(DIGITS, reset_less=True)
        beyond, tie = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(moves & load):
            m.d.sync += sign.eq(y[-1])
        with m.If(moves & excess):
            m.d.sync += negative.eq(~reaches)
        with m.If(moves & ~(load | excess | half | round_)):
            m.d.sync += digits.eq(Cat(reaches ^ sign, digits[:-1]))
        with m.If(moves & half):
            m.d.sync += beyond.eq(reaches)
        up, down, odd = Signal(reset_less=True), Signal(reset_less=True), digits[0] ^ sign
        m.d.sync += [
            tie.eq(remainder == 0),
            up.eq(~negative & beyond & (odd | ~tie)),
            down.eq(negative & (~beyond | odd & tie)),
        ]
        # digits are inverted where the sign is set, thus -quotient - 1
        one, two, less = Mux(sign, ~up & ~down, up), sign & down, ~sign & down
        result = (Cat(C(1, 1), digits, sign) + Cat(one | two, two | less, less.replicate(DIGITS)))[1:]
        o, last = Signal(Element, reset_less=True), Signal(reset_less=True)
        o_valid = Signal()
        m.d.sync += [
            # m = 0 gives 127 and up, whose 128 is cut to 0.
            o.value.eq(Cat(result[:DIGITS], result[DIGITS] & sign)),
            o.last.eq(last),
            o_valid.eq(moves & round_ & quantised),
        ]
        m.d.comb += [self.o.payload.eq(o), self.o.valid.eq(o_valid), self.absmax.eq(remainder)]

        m.d.comb += self.taken.eq(looks & step[DIGITS])
        with m.If(self.taken):
            m.d.sync += last.eq(self.last)
        with m.If(self.element | looks):
            m.d.sync += address.eq(Mux(self.element | step[DIGITS] | round_ & self.read, self.position, largest))
        starts, stops = self.read & ~(running | arrived.any()), moves & load & ~self.read
        m.d.sync += [
            running.eq(starts | running & ~stops),
            phase.eq(Cat(starts | moves & ~stops, phase[:-1])),
        ]
        with m.If(moves | starts):
            m.d.sync += step.eq(Cat(step[-1], load & self.read, step[1:-2], step[-2] | starts))
        with m.If(moves & load | starts):
            m.d.sync += quantised.eq(~starts & self.read)
        return m
