import random
import zlib

from setun.hdl.link.crc import Crc
from setun.sim.verify.streams import simulate


def test_crc():
    """Of bytes at random, with pauses; and a start in the cycle of a byte that is not to count."""
    crc, rng = Crc(), random.Random(1)

    async def bench(ctx):
        for length in range(30):
            data = rng.randbytes(length)
            for byte in data:
                ctx.set(crc.valid, 0)
                ctx.set(crc.data, rng.randrange(256))
                await ctx.tick().repeat(rng.randint(1, 3))
                ctx.set(crc.data, byte)
                ctx.set(crc.valid, 1)
                await ctx.tick()
            assert ctx.get(crc.crc) == zlib.crc32(data)
            ctx.set(crc.start, 1)
            await ctx.tick()
            ctx.set(crc.start, 0)

    simulate(crc, bench)


def test_matches_and_shift():
    """What is shifted out of it matches, and nothing before its last byte does."""
    crc, rng = Crc(), random.Random(2)

    async def feed(ctx, byte):
        ctx.set(crc.data, byte)
        await ctx.tick()

    async def bench(ctx):
        ctx.set(crc.valid, 1)
        for length in range(20):
            data, check = rng.randbytes(length), []
            for byte in data:
                await feed(ctx, byte)
            ctx.set(crc.shift, 1)
            for _ in range(4):
                check.append(ctx.get(crc.crc[:8]))
                await feed(ctx, rng.randrange(256))
            ctx.set(crc.shift, 0)
            ctx.set(crc.start, 1)
            await feed(ctx, 0)
            ctx.set(crc.start, 0)
            assert bytes(check) == zlib.crc32(data).to_bytes(4, "little")
            for byte in (*data, *check):
                assert not ctx.get(crc.matches)
                await feed(ctx, byte)
            assert ctx.get(crc.matches)
            ctx.set(crc.start, 1)
            await feed(ctx, 0)
            ctx.set(crc.start, 0)

    simulate(crc, bench)
