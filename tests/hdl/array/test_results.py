import numpy as np
import pytest

from setun.hdl.array.results import Results
from setun.hdl.config import ACCUMULATOR_BITS, MAX_COLUMNS, TRITS, Config
from setun.hdl.protocol import ACCUMULATOR_BYTES
from setun.sim.verify.streams import get, simulate


LATENCY = 7  # cycles from start to the first byte
BLOCKS = 6
LOW, HIGH = -1 << ACCUMULATOR_BITS - 1, 1 << ACCUMULATOR_BITS - 1


class Reader:
    """Fills result memories and reads them."""

    def __init__(self, tiles):
        self.tiles = tiles
        self.config = Config(name="test", banks=1, tiles=tiles, depth=16, columns=MAX_COLUMNS, blocks=BLOCKS)
        self.results = Results(self.config)

    def simulate(self, bench):
        simulate(self.results, bench, cycles=20_000)

    async def write(self, ctx, values, seed=0):
        """Values [BLOCKS, tiles, 5], each tile in an order of its own, some twice, with idle cycles and noise there."""
        rng = np.random.default_rng(seed)
        streams = []
        for tile in range(self.tiles):
            places = rng.permutation(np.repeat(np.arange(BLOCKS * TRITS), 2))
            last = {int(place): index for index, place in enumerate(places)}
            stream = []
            for index, place in enumerate(places.tolist()):
                block, row = divmod(place, TRITS)
                stream.append((1, place, values[block, tile, row] if last[place] == index else rng.integers(LOW, HIGH)))
                if rng.random() < 0.3:
                    stream.append((0, int(rng.integers(BLOCKS * TRITS)), rng.integers(LOW, HIGH)))
            streams.append(stream)
        for cycle in range(max(map(len, streams))):
            for tile, stream in enumerate(streams):
                valid, address, value = stream[cycle] if cycle < len(stream) else (0, 0, 0)
                ctx.set(self.results.i_results[tile], {"valid": valid, "address": address, "value": int(value)})
            await ctx.tick()
        for tile in range(self.tiles):
            ctx.set(self.results.i_results[tile].valid, 0)

    async def start(self, ctx, first, blocks):
        for port, value in (("start", 1), ("address", TRITS * first), ("blocks", blocks)):
            ctx.set(getattr(self.results, port), value)
        await ctx.tick()
        for port in ("start", "address", "blocks"):
            ctx.set(getattr(self.results, port), 0)

    async def read(self, ctx, first, blocks, *, stall=0.0):
        """The bytes of a read, and the cycles from its start at which they are taken; no more may come."""
        await self.start(ctx, first, blocks)
        assert ctx.get(self.results.busy)
        count = blocks * self.tiles * TRITS * ACCUMULATOR_BYTES
        values, taken = await get(ctx, self.results.o, count - 1, stall=stall)
        assert ctx.get(self.results.busy)
        (value,), (waited,) = await get(ctx, self.results.o, 1, stall=stall, seed=2)
        await self.is_idle(ctx)
        return bytes([*values, value]), [1 + cycle for cycle in [*taken, taken[-1] + 1 + waited]]

    async def is_idle(self, ctx):
        for _ in range(10):
            assert not ctx.get(self.results.o.valid) and not ctx.get(self.results.busy)
            await ctx.tick()


def reference(values, first, blocks):
    """Three bytes little-endian, row after row, block after block."""
    return b"".join(int(value).to_bytes(ACCUMULATOR_BYTES, "little", signed=True)
                    for value in values[first:first + blocks].flatten())


def rtl_results(values, reads, *, stall=0.0):
    """The bytes of each read (first, blocks) of the values [BLOCKS, tiles, 5], and their cycles."""
    reader, results = Reader(values.shape[1]), []

    async def bench(ctx):
        await reader.write(ctx, values)
        for first, blocks in reads:
            results.append(await reader.read(ctx, first, blocks, stall=stall))

    reader.simulate(bench)
    return results


def random_values(tiles):
    return np.random.default_rng(tiles).integers(LOW, HIGH, (BLOCKS, tiles, TRITS))


@pytest.mark.parametrize("tiles", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("stall", [0.0, 0.7])
def test_random(tiles, stall):
    values = random_values(tiles)
    reads = [(0, 1), (BLOCKS - 1, 1), (2, 3), (2, 3), (0, BLOCKS)]
    results = rtl_results(values, reads, stall=stall)
    assert [read for read, _ in results] == [reference(values, *span) for span in reads]


@pytest.mark.parametrize("value", [LOW, HIGH - 1, 0, -1, 0x123456])
def test_extremes(value):
    values = np.full((BLOCKS, 2, TRITS), value)
    ((read, _),) = rtl_results(values, [(0, BLOCKS)])
    assert read == reference(values, 0, BLOCKS)


@pytest.mark.parametrize("tiles", [1, 3, 5])
def test_timing(tiles):
    """The first byte seven cycles after start, then one a cycle over tiles and blocks."""
    for read, cycles in rtl_results(random_values(tiles), [(1, 1), (0, 4)]):
        assert cycles == list(range(LATENCY, LATENCY + len(read)))


def test_written_again():
    """What is written after a read is what the next one finds."""
    reader, rng = Reader(2), np.random.default_rng(1)

    async def bench(ctx):
        for seed in range(3):
            values = rng.integers(LOW, HIGH, (BLOCKS, 2, TRITS))
            await reader.write(ctx, values, seed)
            read, _ = await reader.read(ctx, 0, BLOCKS)
            assert read == reference(values, 0, BLOCKS)

    reader.simulate(bench)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("wait", [*range(LATENCY + 5), 20, 47, 92])
@pytest.mark.parametrize("tiles", [2, 5])
def test_clear(tiles, wait, stall):
    """In the middle of a read, whose results stay."""
    reader, values = Reader(tiles), random_values(tiles)

    async def bench(ctx):
        await reader.write(ctx, values)
        await reader.start(ctx, 1, 3)
        if wait >= LATENCY:
            await get(ctx, reader.results.o, wait - LATENCY, stall=stall)
        else:
            for _ in range(wait):
                await ctx.tick()
        ctx.set(reader.results.clear, 1)
        await ctx.tick()
        ctx.set(reader.results.clear, 0)
        await reader.is_idle(ctx)
        read, cycles = await reader.read(ctx, 0, 2)
        assert read == reference(values, 0, 2)
        assert cycles == list(range(LATENCY, LATENCY + len(read)))

    reader.simulate(bench)
