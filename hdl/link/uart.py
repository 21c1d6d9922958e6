"""Serial line: eight data bits, no parity, one stop bit."""

from fractions import Fraction

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .stream_buffer import StreamBuffer


__all__ = ["Uart", "UartReceiver", "UartTransmitter"]


OVERSAMPLING = 8  # ticks of the receiver in a bit
LONGEST_PERIOD = 1 << 17  # cycles after which ticks repeat: the rate is right to 1e-5
DATA_BITS = 8
FIFO_BYTES = 16


def _ticks(m, name, clock, rate, restart=0):
    """A pulse, ``rate`` of them in ``clock`` cycles on average, the first 1 / rate after ``restart``."""
    share = Fraction(rate, clock).limit_denominator(LONGEST_PERIOD)
    step, period = share.numerator, share.denominator
    phase = Signal(range(period), name=f"{name}_phase")
    wraps = phase >= period - step
    tick = Signal(name=name)  # a cycle late, and so ``restart`` is a step ahead
    m.d.sync += [phase.eq(Mux(restart, step % period, phase + Mux(wraps, step - period, step))), tick.eq(wraps)]
    return tick


def _check(clock, baud):
    if not 0 < baud * OVERSAMPLING <= clock:
        raise ValueError(f"a clock of {clock} Hz receives at most {clock // OVERSAMPLING} baud, not {baud}")


class UartReceiver(wiring.Component):
    """Line to bytes: every bit is the majority of three samples around its middle, an eighth of a bit apart.

    A byte whose stop bit is missing is dropped, and the line waited for to be idle. Bytes come when they come: one that
    is not taken in its cycle is lost.

    Parameters
    ----------
    clock : int
        Hz.
    baud : int
        At most ``clock / 8``.

    Raises ValueError for a baud rate beyond that.

    Members
    -------
    rx : In(1)
        The line, of no clock domain.
    o : Out(stream.Signature(8, always_ready=True))
    """

    def __init__(self, *, clock, baud):
        _check(clock, baud)
        self.clock, self.baud = clock, baud
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8, always_ready=True))})

    def elaborate(self, platform):
        m = Module()
        line, samples = Signal(init=1), Signal(3, init=-1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1)
        tick = _ticks(m, "tick", self.clock, self.baud * OVERSAMPLING)
        level = (samples[0] & samples[1]) | (samples[0] & samples[2]) | (samples[1] & samples[2])
        wait = Signal(range(OVERSAMPLING))
        bits, left = Signal(DATA_BITS, reset_less=True), Signal(range(DATA_BITS + 1))
        m.d.comb += self.o.payload.eq(bits)
        m.d.sync += self.o.valid.eq(0)
        with m.If(tick):
            m.d.sync += [samples.eq(Cat(line, samples)), wait.eq(wait - 1)]
            with m.FSM():
                with m.State("IDLE"):
                    # The majority falls two ticks behind the edge: half a bit less one, and the tick of this state.
                    m.d.sync += [wait.eq(OVERSAMPLING // 2 - 1), left.eq(DATA_BITS)]
                    with m.If(~level):
                        m.next = "START"
                with m.State("START"):
                    with m.If(wait == 0):
                        m.next = "DATA"
                        with m.If(level):
                            m.next = "IDLE"
                with m.State("DATA"):
                    with m.If(wait == 0):
                        m.d.sync += [bits.eq(Cat(bits[1:], level)), left.eq(left - 1)]
                        with m.If(left == 1):
                            m.next = "STOP"
                with m.State("STOP"):
                    with m.If(wait == 0):
                        m.d.sync += self.o.valid.eq(level)
                        m.next = "BREAK"
                        with m.If(level):
                            m.next = "IDLE"
                with m.State("BREAK"):
                    with m.If(level):
                        m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to line: ten bits each, one after the other without a pause where bytes are there.

    Every edge comes within a cycle of its time, as many bytes as follow each other.

    Parameters
    ----------
    clock, baud : int
        As of UartReceiver.

    Members
    -------
    i : In(stream.Signature(8))
    tx : Out(1)
        The line, from a register.
    """

    def __init__(self, *, clock, baud):
        _check(clock, baud)
        self.clock, self.baud = clock, baud
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        bits, left = Signal(DATA_BITS + 1, init=-1), Signal(range(DATA_BITS + 3))
        idle = left == 0
        tick = _ticks(m, "bit", self.clock, self.baud, restart=idle)
        m.d.comb += [self.i.ready.eq(idle | tick & (left == 1)), self.tx.eq(bits[0])]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [bits.eq(Cat(C(0, 1), self.i.payload)), left.eq(DATA_BITS + 2)]
        with m.Elif(tick):
            m.d.sync += [bits.eq(Cat(bits[1:], C(1, 1))), left.eq(left - 1)]
        return m


class Uart(wiring.Component):
    """Both directions of a line, with room for 16 bytes that came in. One that comes when there is none is lost.

    Parameters
    ----------
    clock, baud : int
        As of UartReceiver.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    i, o : stream.Signature(8)
        What is sent, and what was received.
    """

    def __init__(self, *, clock, baud):
        _check(clock, baud)
        self.clock, self.baud = clock, baud
        super().__init__({
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(clock=self.clock, baud=self.baud)
        m.submodules.transmitter = transmitter = UartTransmitter(clock=self.clock, baud=self.baud)
        m.submodules.received = received = SyncFIFOBuffered(width=8, depth=FIFO_BYTES)
        m.submodules.waiting = waiting = StreamBuffer(8)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            received.w_data.eq(receiver.o.payload),
            received.w_en.eq(receiver.o.valid),
        ]
        wiring.connect(m, wiring.flipped(self.i), waiting.i)
        wiring.connect(m, waiting.o, transmitter.i)
        wiring.connect(m, received.r_stream, wiring.flipped(self.o))
        return m
