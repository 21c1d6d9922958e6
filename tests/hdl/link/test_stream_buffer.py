import random

import pytest

from setun.hdl.link.stream_buffer import StreamBuffer
from setun.sim.verify.streams import get, put, simulate


@pytest.mark.parametrize("stall_in, stall_out", [(0, 0), (.6, 0), (0, .6), (.5, .5), (.9, .1), (.1, .9)])
def test_passes_all(stall_in, stall_out):
    stage, data, received = StreamBuffer(8), list(random.Random(1).randbytes(300)), []

    async def source(ctx):
        await put(ctx, stage.i, data, stall=stall_in)

    async def sink(ctx):
        received.extend((await get(ctx, stage.o, len(data), stall=stall_out))[0])

    simulate(stage, source, sink)
    assert received == data


def test_an_item_a_cycle():
    stage, data, cycles = StreamBuffer(8), list(range(50)), []

    async def source(ctx):
        cycles.append(await put(ctx, stage.i, data))

    async def sink(ctx):
        cycles.append((await get(ctx, stage.o, len(data)))[1])

    simulate(stage, source, sink)
    taken, left = sorted(cycles)
    assert taken == list(range(50)) and left == list(range(1, 51))


def test_parts_in_time():
    """Neither side sees in a cycle what the other does in it."""
    stage = StreamBuffer(8)

    async def bench(ctx):
        rng = random.Random(2)
        for _ in range(200):
            seen = set()
            for valid, ready in ((0, 0), (0, 1), (1, 0), (1, 1)):
                ctx.set(stage.i.valid, valid)
                ctx.set(stage.o.ready, ready)
                await ctx.delay(1e-9)
                seen.add((ctx.get(stage.i.ready), ctx.get(stage.o.valid), ctx.get(stage.o.payload)))
            assert len(seen) == 1
            ctx.set(stage.i.valid, rng.random() < .5)
            ctx.set(stage.o.ready, rng.random() < .5)
            ctx.set(stage.i.payload, rng.randrange(256))
            await ctx.tick()

    simulate(stage, bench)
