"""Amaranth's simulator for blocks with streams: clock, stalls and bounded time, once for all tests."""

import random

from amaranth.sim import Simulator


__all__ = ["get", "put", "simulate"]


async def put(ctx, stream, values, *, stall=0.0, seed=0):
    """Send ``values`` over a stream; before each, idle with probability ``stall`` a cycle.

    Returns the cycle numbers, counted from the call, at which they were taken.
    """
    rng, cycle, taken = random.Random(seed), 0, []
    for value in values:
        while rng.random() < stall:
            await ctx.tick()
            cycle += 1
        ctx.set(stream.payload, value)
        ctx.set(stream.valid, 1)
        while True:
            _, _, ready = await ctx.tick().sample(stream.ready)
            cycle += 1
            if ready:
                break
        ctx.set(stream.valid, 0)
        taken.append(cycle - 1)
    return taken


async def get(ctx, stream, count, *, stall=0.0, seed=1):
    """Receive ``count`` values from a stream, not ready with probability ``stall`` a cycle.

    Returns the values, and the cycle numbers, counted from the call, at which they were taken.
    """
    rng, cycle, values, taken = random.Random(seed), 0, [], []
    while len(values) < count:
        ctx.set(stream.ready, rng.random() >= stall)
        _, _, valid, ready, payload = await ctx.tick().sample(stream.valid, stream.ready, stream.payload)
        if valid and ready:
            values.append(payload)
            taken.append(cycle)
        cycle += 1
    ctx.set(stream.ready, 0)
    return values, taken


def simulate(component, *benches, cycles=100_000):
    """Run ``benches`` (``async def bench(ctx)``) to their end.

    Raises TimeoutError when they have not ended after ``cycles`` cycles.
    """
    simulator = Simulator(component)
    simulator.add_clock(1e-6)  # cycles are what counts here
    running = len(benches)

    def counted(bench):
        async def wrapper(ctx):
            nonlocal running
            await bench(ctx)
            running -= 1
        return wrapper

    async def watchdog(ctx):
        for _ in range(cycles):
            await ctx.tick()
            if not running:
                return
        raise TimeoutError(f"{running} benches still run after {cycles} cycles")

    for bench in benches:
        simulator.add_testbench(counted(bench))
    simulator.add_testbench(watchdog)
    simulator.run()
