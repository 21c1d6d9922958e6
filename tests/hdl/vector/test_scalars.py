import numpy as np
import pytest

from setun.golden.scalars import Scalar, add, divide, multiply, normalise, scale_by_power, square_root
from setun.hdl.instructions import ScaleOperation
from setun.hdl.vector.scalars import ScalarUnit, scale_cycles
from setun.sim.verify.streams import simulate


REGISTERS = 20
A, B, RESULT = 3, 19, 7


def scalar(mantissa, exponent):
    return Scalar(np.int64(mantissa), np.int64(exponent if mantissa else 0))


def rtl_scalars(cases):
    """Results and cycles of (operation, a, b, value, exponent), one after the other on one unit."""
    unit, found = ScalarUnit(registers=REGISTERS), []

    async def write(ctx, address, value):
        ctx.set(unit.write_address, address)
        ctx.set(unit.write_mantissa, int(value.mantissa))
        ctx.set(unit.write_exponent, int(value.exponent))
        ctx.set(unit.write_enable, 1)
        await ctx.tick()
        ctx.set(unit.write_enable, 0)

    async def drive(ctx):
        ctx.set(unit.b, B)
        ctx.set(unit.destination, RESULT)
        for operation, a, b, value, exponent in cases:
            await write(ctx, A, a)
            await write(ctx, B, b)
            ctx.set(unit.read_address, A)
            await ctx.tick()
            ctx.set(unit.read_address, RESULT)
            ctx.set(unit.operation, operation.value)
            ctx.set(unit.value, value)
            ctx.set(unit.exponent, exponent)
            ctx.set(unit.start, 1)
            cycles = 1
            await ctx.tick()
            ctx.set(unit.start, 0)
            while not ctx.get(unit.done):
                cycles += 1
                await ctx.tick()
                assert cycles < 100
            await ctx.tick().repeat(3)
            found.append((ctx.get(unit.read_mantissa), ctx.get(unit.read_exponent), cycles + 1))

    simulate(unit, drive, cycles=1_000_000)
    return found


def check(cases):
    for (operation, a, b, value, exponent), (mantissa, power, cycles) in zip(cases, rtl_scalars(cases), strict=True):
        match operation:
            case ScaleOperation.MULTIPLY:
                expected = multiply(a, b)
            case ScaleOperation.DIVIDE:
                expected = divide(a, b)
            case ScaleOperation.ADD:
                expected = add(a, b)
            case ScaleOperation.ROOT:
                expected = square_root(a)
            case _:
                expected = normalise(value, 0)
        expected = scale_by_power(expected, exponent)
        assert (mantissa, power) == tuple(map(int, expected)), (operation, a, b, value)
        assert cycles == scale_cycles(operation, a, b, value), (operation, a, b, value)


MANTISSAS = [0, 1 << 15, (1 << 15) + 1, (1 << 16) - 1, 46340, 46341]


@pytest.mark.parametrize("operation", [ScaleOperation.MULTIPLY, ScaleOperation.DIVIDE, ScaleOperation.ADD,
                                       ScaleOperation.ROOT])
def test_operations(operation):
    """Extremes of mantissas with exponents that are near, far, even and odd, and random scalars."""
    rng = np.random.default_rng(operation.value)
    cases = [(operation, scalar(a, exponent), scalar(b, exponent - distance), 0, 0)
             for a in MANTISSAS for b in MANTISSAS for exponent, distance in ((-3, 0), (4, 1), (-20, -17), (5, 40))]
    for _ in range(400):
        a, b = (scalar(mantissa, exponent) for mantissa, exponent in zip(
            rng.integers(1 << 15, 1 << 16, 2), rng.integers(-60, 60) + rng.integers(-20, 20, 2)))
        cases.append((operation, a, b, 0, int(rng.integers(-40, 40))))
    check(cases)


@pytest.mark.parametrize("operation", [ScaleOperation.LOAD_MAXIMUM, ScaleOperation.LOAD_SUM,
                                       ScaleOperation.LOAD_PICKED])
def test_loads(operation):
    rng = np.random.default_rng(operation.value)
    values = [0, *(1 << place for place in range(48)), *((1 << place) - 1 for place in range(1, 49)),
              *(rng.integers(0, 1 << 48, 100) >> rng.integers(0, 48, 100)).tolist()]
    check([(operation, scalar(1 << 15, 9), scalar(0, 0), value, exponent) for value in values for exponent in (0, -7)])
