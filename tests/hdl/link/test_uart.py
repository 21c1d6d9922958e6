"""The UART against a serial line drawn bit by bit, in seconds."""

import random
from math import ceil

import pytest
from amaranth import Module

from setun.hdl.link.uart import FIFO_BYTES, Uart, UartReceiver, UartTransmitter
from setun.sim.verify.streams import get, put, simulate


RATES = [(40_500_000, 3_000_000), (125_000_000, 3_000_000), (27_000_000, 1_000_000), (12_000_000, 1_500_000)]
rates = pytest.mark.parametrize("clock, baud", RATES)


def fewer(count, clock, baud):
    """Number of bytes to send, ``count`` at the rate with the shortest bits: long ones take long to simulate."""
    return round(count * 8 * baud / clock)


def drawn(data, baud, *, stop=1, pause=0):
    """[(level, seconds)] of bytes on a line, least significant bit first, with a pause after each."""
    line = []
    for byte in data:
        line += [(level, 1 / baud) for level in (0, *(byte >> bit & 1 for bit in range(8)), stop)]
        line += [(1, pause)] if pause else []
    return line


def levels(line, clock, phase=0.0):
    """Level in each cycle of a clock whose first edge comes ``phase`` cycles after the line's first."""
    cycles, time, edge = [], 0.0, 0.0
    for level, seconds in line:
        edge += seconds
        while (time + phase) / clock < edge:
            cycles.append(level)
            time += 1
    return cycles


def rtl_receive(line, clock, baud, *, phase=0.0):
    """Bytes received from a line."""
    receiver, received = UartReceiver(clock=clock, baud=baud), []
    cycles = [1] * 20 + levels(line, clock, phase) + [1] * (20 + 2 * clock // baud)

    async def bench(ctx):
        for level in cycles:
            ctx.set(receiver.rx, level)
            _, _, valid, payload = await ctx.tick().sample(receiver.o.valid, receiver.o.payload)
            if valid:
                received.append(payload)

    simulate(receiver, bench, cycles=len(cycles) + 10)
    return bytes(received)


@rates
def test_every_byte(clock, baud):
    """Of those with the shortest bits; of others as many as are simulated in the same time."""
    count = fewer(256, clock, baud)
    data = bytes(256 * index // count for index in range(count))
    assert rtl_receive(drawn(data, baud), clock, baud, phase=.3) == data


@pytest.mark.parametrize("error", [-.02, .02])
@rates
def test_rates_differ(clock, baud, error):
    """Without a pause between the bytes."""
    data = random.Random(1).randbytes(fewer(100, clock, baud))
    assert rtl_receive(drawn(data, baud * (1 + error)), clock, baud) == data


@pytest.mark.parametrize("phase", [0.0, .25, .5, .75])
def test_phases(phase):
    data = random.Random(2).randbytes(40)
    assert rtl_receive(drawn(data, 1_500_000), 12_000_000, 1_500_000, phase=phase) == data


@rates
def test_a_sample_is_outvoted(clock, baud):
    """A cycle of noise, anywhere in a byte."""
    rng, line = random.Random(4), []
    data = rng.randbytes(40)
    for byte in data:
        bits, bit = drawn([byte], baud, pause=2 / baud), rng.randrange(10)
        level, seconds = bits[bit]
        before = rng.random() * (seconds - 1 / clock)
        noisy = [(level, before), (1 - level, 1 / clock), (level, seconds - 1 / clock - before)]
        line += bits[:bit] + noisy + bits[bit + 1:]
    assert rtl_receive(line, clock, baud, phase=.3) == data


@rates
def test_stop_bit_is_missing(clock, baud):
    """The byte is dropped, and the next one is received."""
    line = drawn([0x55], baud) + drawn([0x00], baud, stop=0) + [(1, 3 / baud)] + drawn([0xa7], baud)
    assert rtl_receive(line, clock, baud) == bytes([0x55, 0xa7])


def test_break():
    line = drawn([1], 1e6) + [(0, 45e-6), (1, 2e-6)] + drawn([2, 3], 1e6)
    assert rtl_receive(line, 27_000_000, 1_000_000) == bytes([1, 2, 3])


@pytest.mark.parametrize("share", [.1, .25, .4])
def test_short_start(share):
    """Less than half a bit is no start bit."""
    baud = 1_000_000
    line = [(0, share / baud), (1, 1 / baud)] + drawn([0x96], baud)
    assert rtl_receive(line, 27_000_000, baud) == bytes([0x96])


def rtl_transmit(data, clock, baud):
    """Level of the line in each cycle."""
    transmitter, seen = UartTransmitter(clock=clock, baud=baud), []

    async def source(ctx):
        await put(ctx, transmitter.i, data)

    async def watch(ctx):
        for _ in range(int((10 * clock / baud + 2) * len(data)) + 50):
            seen.append(ctx.get(transmitter.tx))
            await ctx.tick()

    simulate(transmitter, source, watch)
    return seen


@rates
def test_transmitter(clock, baud):
    """Every edge of many bytes, that follow each other without a pause, within a cycle; the rate is right to 1e-5."""
    data = random.Random(3).randbytes(fewer(100, clock, baud))
    seen, wanted, ends = rtl_transmit(data, clock, baud), [], 0.0
    start = seen.index(0)
    for level, seconds in drawn(data, baud):
        begins, ends = ends, ends + seconds * clock
        wanted.append((begins, ends, level))
    for begins, ends, level in wanted:
        assert set(seen[start + ceil(begins * (1 + 1e-5)):start + int(ends * (1 - 1e-5))]) == {level}
    assert set(seen[start + int(ends) + 2:]) == {1}


@rates
def test_transmitter_with_pauses(clock, baud):
    """One of them hears the other, whenever a byte begins."""
    transmitter, receiver = UartTransmitter(clock=clock, baud=baud), UartReceiver(clock=clock, baud=baud)
    data, received = random.Random(5).randbytes(20), []
    m = Module()
    m.submodules.transmitter, m.submodules.receiver = transmitter, receiver
    m.d.comb += receiver.rx.eq(transmitter.tx)

    async def source(ctx):
        await put(ctx, transmitter.i, data, stall=.97)

    async def sink(ctx):
        while len(received) < len(data):
            _, _, valid, payload = await ctx.tick().sample(receiver.o.valid, receiver.o.payload)
            received.extend([payload] if valid else [])

    simulate(m, source, sink)
    assert bytes(received) == data


@rates
def test_both_directions(clock, baud):
    """Two of them, one at each end."""
    left, right = Uart(clock=clock, baud=baud), Uart(clock=clock, baud=baud)
    data, received = {name: random.Random(name).randbytes(60) for name in ("left", "right")}, {}

    m = Module()
    m.submodules.left, m.submodules.right = left, right
    m.d.comb += [left.rx.eq(right.tx), right.rx.eq(left.tx)]

    def sends(name, end):
        async def bench(ctx):
            await put(ctx, end.i, data[name], stall=.5)
        return bench

    def receives(name, end):
        async def bench(ctx):
            received[name] = bytes((await get(ctx, end.o, 60, stall=.5))[0])
        return bench

    simulate(m, sends("left", left), sends("right", right), receives("left", right), receives("right", left))
    assert received == data


def test_keeps_what_has_room():
    """The bytes that come first; later ones are lost, and it goes on afterwards."""
    clock, baud = 12_000_000, 1_500_000
    uart, data = Uart(clock=clock, baud=baud), bytes(range(40, 80))
    line = [1] * 20 + levels(drawn(data, baud), clock) + [1] * 40
    received = []

    async def bench(ctx):
        for level in line:
            ctx.set(uart.rx, level)
            await ctx.tick()
        received.extend((await get(ctx, uart.o, FIFO_BYTES))[0])
        assert not ctx.get(uart.o.valid)
        for level in levels(drawn([7], baud), clock) + [1] * 40:
            ctx.set(uart.rx, level)
            await ctx.tick()
        received.extend((await get(ctx, uart.o, 1))[0])

    simulate(uart, bench)
    assert bytes(received) == data[:FIFO_BYTES] + bytes([7])


@pytest.mark.parametrize("component", [UartReceiver, UartTransmitter, Uart])
@pytest.mark.parametrize("baud", [1_500_001, 0])
def test_too_fast(component, baud):
    with pytest.raises(ValueError, match=f"a clock of 12000000 Hz receives at most 1500000 baud, not {baud}"):
        component(clock=12_000_000, baud=baud)
