import random

import pytest

from setun.hdl.technology.memory import BlockMemory, LutMemory
from setun.sim.verify.streams import simulate


SIZES = [(1, 1), (2, 9), (5, 24), (64, 9), (100, 32)]


def rtl_memory(depth, width, cycles):
    """read_data in each of ``cycles``, which are those of ``reference``; ports that are not enabled have something."""
    memory, rng, read_data = BlockMemory(depth=depth, width=width), random.Random(0), []

    async def bench(ctx):
        for write, read in cycles:
            address, data = write or (rng.randrange(depth), rng.getrandbits(width))
            ctx.set(memory.write_enable, write is not None)
            ctx.set(memory.write_address, address)
            ctx.set(memory.write_data, data)
            ctx.set(memory.read_enable, read is not None)
            ctx.set(memory.read_address, rng.randrange(depth) if read is None else read)
            read_data.append((await ctx.tick().sample(memory.read_data))[2])

    simulate(memory, bench)
    return read_data


def reference(cycles):
    """read_data, None while unknown, in each cycle of ((address, data) or None, read address or None)."""
    words, last, now, read_data = {}, None, None, []
    for write, read in cycles:
        read_data.append(now)
        now = last
        if read is not None:
            last = words[read]
        if write is not None:
            words[write[0]] = write[1]
    return read_data


def fill(rng, depth, width):
    return [((address, rng.getrandbits(width)), None) for address in range(depth)]


def assert_equal(depth, width, cycles):
    expected = reference(cycles)
    seen = rtl_memory(depth, width, cycles)
    assert [None if word is None else data for word, data in zip(expected, seen, strict=True)] == expected


@pytest.mark.parametrize("depth, width", SIZES)
def test_random(depth, width):
    """Each port is enabled in half of the cycles, but not both on one address."""
    rng = random.Random(depth)
    cycles = fill(rng, depth, width)
    for _ in range(200):
        write = (rng.randrange(depth), rng.getrandbits(width)) if rng.random() < 0.5 else None
        read = rng.randrange(depth) if rng.random() < 0.5 else None
        cycles.append((None if write and write[0] == read else write, read))
    assert_equal(depth, width, cycles)


@pytest.mark.parametrize("depth, width", SIZES)
def test_all_words(depth, width):
    """A word a cycle: data of the address of two cycles before."""
    rng = random.Random(depth)
    filling = fill(rng, depth, width)
    seen = rtl_memory(depth, width, filling + [(None, address) for address in range(depth)] + [(None, None)] * 2)
    assert seen[depth + 2:] == [data for (_, data), _ in filling]


@pytest.mark.parametrize("data", [0, 2 ** 24 - 1])
def test_write_then_read(data):
    """What is written in a cycle can be read in the next."""
    cycles = [((3, 2 ** 24 - 1 - data), None), (None, 3), ((3, data), None), (None, 3), (None, None), (None, None)]
    assert rtl_memory(5, 24, cycles)[3:] == [2 ** 24 - 1 - data, 2 ** 24 - 1 - data, data]


def test_holds():
    """What was read last stays, whatever is written and addressed, until something else is read."""
    written = [((address, 10 + address), None) for address in range(4)]
    cycles = [*written, (None, 1), *[((1, 90 + cycle), None) for cycle in range(6)], (None, 2), *[(None, None)] * 2]
    assert rtl_memory(4, 8, cycles)[6:] == [11] * 7 + [12]


@pytest.mark.parametrize("depth, width", [(1, 1), (3, 6), (64, 16)])
def test_lut_memory(depth, width):
    """A word a cycle after its address, as it was before a write of that cycle."""
    memory, rng = LutMemory(depth=depth, width=width), random.Random(depth)
    words, seen, expected = [0] * depth, [], []

    async def bench(ctx):
        for _ in range(300):
            address, write, read = rng.randrange(depth), rng.random() < 0.5, rng.randrange(depth)
            data = rng.getrandbits(width)
            for name, value in (("write_enable", write), ("write_address", address), ("write_data", data),
                                ("read_address", read)):
                ctx.set(getattr(memory, name), value)
            await ctx.tick()
            seen.append(ctx.get(memory.read_data))
            expected.append(words[read])
            if write:
                words[address] = data

    simulate(memory, bench)
    assert seen == expected
