import numpy as np
import pytest

from setun.golden.quantiser import absmax_quantise
from setun.hdl.config import TRITS, Config
from setun.hdl.protocol import Flags
from setun.hdl.vector.vector import VectorUnit
from setun.sim.model.cycles import ListSize, list_size, padded_lists, vector_cycles
from setun.sim.verify.streams import put, simulate


COLUMNS = 24
HELD = ("slot", "flags", "live")  # arguments that hold for a cycle after the start


class Host:
    """Sends vectors to a VectorUnit, and holds the list memories of its array."""

    def __init__(self, banks, serial=False):
        self.banks = banks
        self.config = Config(name="test", banks=banks, tiles=1, depth=64, columns=COLUMNS, blocks=1, serial=serial)
        self.unit = VectorUnit(self.config)
        self.memory = np.full((self.config.slots, banks, self.config.list_depth, 2), 99)
        self.ended = False

    def simulate(self, bench):
        async def ended(ctx):
            await bench(ctx)
            self.ended = True
        simulate(self.unit, self.banks_bench, ended, cycles=60_000)

    async def banks_bench(self, ctx):
        started = False
        while not self.ended:
            _, _, write, starts = await ctx.tick().sample(self.unit.o_write, self.unit.start)
            if started:
                for port in HELD:
                    ctx.set(getattr(self.unit, port), 0)
            started = starts
            chosen = [bank for bank in range(self.banks) if write.select >> bank & 1]
            self.memory[write.slot, chosen, write.address] = write.index, write.value

    async def pulse(self, ctx, **ports):
        for port, value in ports.items():
            ctx.set(getattr(self.unit, port), value)
        await ctx.tick()
        for port in ports:
            if port not in HELD:
                ctx.set(getattr(self.unit, port), 0)

    async def piece(self, ctx, y, *, live, flags=0, slot=0, offset=0, count=None, stall=0.0):
        """Send a piece of ``y``. Returns the cycle from its start in which its last byte was taken."""
        count = len(y) - offset if count is None else count
        await self.pulse(ctx, start=1, slot=slot, flags=flags, length=len(y), live=live, opens=offset == 0)
        part = y[offset:offset + count].astype(np.int8 if flags & Flags.INT8 else "<i4").tobytes()
        return 1 + (await put(ctx, self.unit.i, part, stall=stall))[-1]

    async def idle(self, ctx):
        cycles = 0
        while ctx.get(self.unit.busy):
            await ctx.tick()
            cycles += 1
        return cycles

    def is_listed(self, ctx, y, *, live, flags=0, slot=0):
        """Assert that what the array and the registers read is the list of ``y``."""
        q, absmax = (y, None) if flags & Flags.INT8 else absmax_quantise(y)
        size = list_size(q, self.banks, live, flags & Flags.SKIP)
        ctx.set(self.unit.query, slot)
        for port in (self.unit.list, self.unit.built):
            assert ListSize(*(ctx.get(port[name]) for name in ListSize._fields)) == size
        assert ctx.get(self.unit.expected) == 0
        assert ctx.get(self.unit.ready) >> slot & 1
        assert absmax is None or ctx.get(self.unit.absmax) == absmax
        assert self.lists(slot, size.beats) == padded_lists(q, self.banks, live, flags & Flags.SKIP).tolist()

    def lists(self, slot, beats):
        return self.memory[slot, :, :beats].tolist()


def vectors(rng, int8):
    """Of several lengths, ranges and shares of zeros, with the number of live columns."""
    low, high = (-2 ** 7, 2 ** 7) if int8 else (-2 ** 31, 2 ** 31)
    result = [(np.array([value] * n), live) for value in (0, low, high - 1) for n, live in ((COLUMNS, COLUMNS), (1, 0))]
    for n in (1, 2, 5, COLUMNS - 1):
        y = rng.integers(low, high, n) * (rng.random(n) < 0.6)
        result += [(y, int(rng.integers(n + 1))), (y // 40, n)]
    return result


@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize("flags", [0, Flags.SKIP, Flags.INT8, Flags.INT8 | Flags.SKIP])
@pytest.mark.parametrize("banks", [1, 3, 16])
def test_random(banks, flags, serial):
    """One piece each, in the cycles of the closed form."""
    host, rng = Host(banks, serial), np.random.default_rng(banks)

    async def bench(ctx):
        for count, (y, live) in enumerate(vectors(rng, flags & Flags.INT8)):
            command = {"live": live, "flags": flags, "slot": count % 2}
            cycles = await host.piece(ctx, y, **command)
            cycles += 1 + await host.idle(ctx)
            assert cycles == vector_cycles(host.config, len(y), live, flags & Flags.INT8)
            host.is_listed(ctx, y, **command)
    host.simulate(bench)


@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize("flags", [0, Flags.INT8])
def test_latency(flags, serial):
    """From the last byte of a slow host to ready."""
    host = Host(4, serial)

    async def bench(ctx):
        for n in (1, 6, COLUMNS):
            await host.piece(ctx, np.ones(n, int), live=n, flags=flags, stall=0.7)
            cycles = 1 + await host.idle(ctx)
            assert cycles == (5 if flags & Flags.INT8 else 44 * n + 17 if serial else n + 20)
            assert ctx.get(host.unit.ready) == 1
    host.simulate(bench)


@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize("stall", [0.0, 0.7])
@pytest.mark.parametrize("flags", [0, Flags.INT8 | Flags.SKIP])
def test_pieces(flags, stall, serial):
    """Pieces of all sizes; what a second slot holds stays."""
    host, rng = Host(4, serial), np.random.default_rng(5)

    async def bench(ctx):
        other = rng.integers(-5, 5, COLUMNS)
        await host.piece(ctx, other, live=COLUMNS, slot=1)
        await host.idle(ctx)
        kept = host.lists(1, TRITS + 1)
        for sizes in ((1, 1, 1), (7, 1, 9), (COLUMNS - 1, 1)):
            y = rng.integers(-99, 99, sum(sizes)) // 9
            offset = 0
            for count in sizes:
                assert ctx.get(host.unit.expected) == offset
                await host.piece(ctx, y, live=len(y) - 1, flags=flags, offset=offset, count=count, stall=stall)
                assert ctx.get(host.unit.ready) == 0b10
                await host.idle(ctx)
                offset += count
            host.is_listed(ctx, y, live=len(y) - 1, flags=flags)
            assert host.lists(1, TRITS + 1) == kept and ctx.get(host.unit.ready) == 0b11
    host.simulate(bench)


@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize("first, second", [(0, Flags.INT8), (Flags.INT8, 0), (0, 0), (Flags.INT8, Flags.INT8)])
def test_reopened(first, second, serial):
    """An open vector is abandoned by the next, to whichever slot."""
    host, rng = Host(4, serial), np.random.default_rng(6)

    async def bench(ctx):
        for count in (1, 9):
            for slot in (0, 1):
                await host.piece(ctx, np.full(COLUMNS, -100), live=COLUMNS, flags=first, count=count)
                await host.idle(ctx)
                assert not ctx.get(host.unit.ready) & 1
                y = rng.integers(-9, 9, COLUMNS)
                await host.piece(ctx, y, live=10, flags=second, slot=slot)
                await host.idle(ctx)
                host.is_listed(ctx, y, live=10, flags=second, slot=slot)
    host.simulate(bench)


@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize("flags", [0, Flags.INT8])
def test_clear(flags, serial):
    """In any state: idle in the next cycle, no list, and the next vector is as the first."""
    host, rng = Host(4, serial), np.random.default_rng(7)

    async def bench(ctx):
        y = rng.integers(-100, 100, 7)
        for cycles in range(0, vector_cycles(host.config, 7, 7, flags) - 1, 3):
            await host.piece(ctx, y[:1], live=1, flags=Flags.INT8, slot=1)
            await host.idle(ctx)
            await host.pulse(ctx, start=1, opens=1, flags=flags, length=7, live=7)
            ctx.set(host.unit.i.valid, 1)
            for _ in range(cycles):
                await ctx.tick()
            ctx.set(host.unit.i.valid, 0)
            assert ctx.get(host.unit.ready) == 0b10
            await host.pulse(ctx, clear=1)
            assert not ctx.get(host.unit.busy) and not ctx.get(host.unit.ready) and not ctx.get(host.unit.expected)
            await host.piece(ctx, y[:5], live=5, flags=flags)
            await host.idle(ctx)
            host.is_listed(ctx, y[:5], live=5, flags=flags)
            assert ctx.get(host.unit.ready) == 1
    host.simulate(bench)


@pytest.mark.parametrize("serial", [False, True])
def test_absmax_is_kept(serial):
    """Dead columns take part in it, int8 vectors do not."""
    host = Host(4, serial)

    async def bench(ctx):
        await host.piece(ctx, np.array([1, 2, -300]), live=2)
        await host.idle(ctx)
        await host.piece(ctx, np.array([5, 6, 7]), live=3, flags=Flags.INT8)
        await host.idle(ctx)
        assert ctx.get(host.unit.absmax) == 300
    host.simulate(bench)
