"""The cycle model against the RTL: equality, on shapes and zero patterns of every kind."""

import numpy as np
import pytest

from setun.compiler.packing import pack, place
from setun.golden.matvec import matvec
from setun.sim.model.cycles import array_cycles, listing_cycles, multiply_cycles


def patterns(rng, n):
    """int8 vectors of every share of zeros, and with the zeros where they hurt."""
    for share in (0, .1, .5, .9, .99, 1):
        yield (rng.integers(1, 128, n) * (rng.random(n) >= share)).astype(np.int8)
    one_bank = np.zeros(n, np.int8)
    one_bank[::4] = 1
    yield one_bank


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 19, 20, 21, 64, 255, 1000, 1024])
@pytest.mark.parametrize("rows", [1, 5, 10, 11, 95, 1285])
def test_cycles(device, rows, n):
    rng = np.random.default_rng([rows, n])
    w = rng.integers(-1, 2, (rows, n), np.int8)
    w[rng.random(rows) < .1] = 0
    if n * rows > 300_000:
        w = w[:300]
    (placed,), resident = place([pack(w, device.config)], device.config)
    assert resident
    device.load([placed])
    for x in patterns(rng, n):
        for skip in (False, True):
            product = device.multiply(placed, x, quantise=False, skip=skip)
            assert (product.accumulators == matvec(w, x)).all()
            assert (product.counters["CYCLES_ISSUE"] + product.counters["CYCLES_FLUSH"]
                    == array_cycles(device.config, placed, x, skip))
            assert product.counters["CYCLES_VECTOR"] == listing_cycles(device.config, n, int8=True)
    y = rng.integers(-1000, 1000, n)
    counters = device.multiply(placed, y, quantise=True).counters
    assert counters["CYCLES_VECTOR"] == listing_cycles(device.config, n, int8=False)
    assert (counters["CYCLES_ISSUE"] + counters["CYCLES_FLUSH"] + counters["CYCLES_VECTOR"]
            == multiply_cycles(device.config, placed, y))
