"""What the machine must reach, measured on its RTL."""

import numpy as np
import pytest

from setun.analysis.measure import measure_matvec, measure_run, measure_scrub
from setun.compiler.packing import CapacityError
from setun.configuration import config_of
from setun.golden.matvec import matvec
from setun.hdl.config import PRESETS
from setun.sim.rtl.transport import SimulatedTransport
from tests.support.checkpoints import random_checkpoint
from tests.support.links import Struck


# The memories of 16x20-deep, which make results simulates; a quarter of its array is compiled in a quarter of the time.
DEEP = config_of("8x10,depth=32768,columns=32768,blocks=1024")


def exact(config, w, x):
    """Fields of a product whose every value and count of cycles is right."""
    accumulators, fields = measure_matvec(config, w, x)
    assert (accumulators == matvec(w, x)).all() and fields["mismatches"] == 0
    assert fields["cycles"] == fields["cycles_predicted"]
    assert fields["cycles_dense"] == fields["cycles_dense_predicted"]
    return fields


def full(rng, rows, columns):
    """A random ternary matrix without dead rows and columns."""
    w = rng.integers(-1, 2, (rows, columns), np.int8)
    w[0], w[:, 0] = 1, 1
    return w


def test_utilisation_of_a_full_memory():
    rng = np.random.default_rng(1)
    config = PRESETS["16x40"]
    fields = exact(config, full(rng, 2560, 512), rng.integers(1, 128, 512).astype(np.int8))
    assert 2560 * 512 == config.capacity and fields["utilisation"] >= .97


def test_utilisation_of_streamed_weights():
    """More of them than the memories hold; ``make results`` has 2560 x 2560."""
    rng = np.random.default_rng(2)
    assert 1280 * 2560 > DEEP.capacity
    fields = exact(DEEP, full(rng, 1280, 2560), rng.integers(1, 128, 2560).astype(np.int8))
    assert fields["utilisation"] >= .99


def test_skipping():
    rng = np.random.default_rng(3)
    x = (rng.integers(1, 128, 6912) * (rng.random(6912) >= .7)).astype(np.int8)
    fields = exact(DEEP, full(rng, 600, 6912), x)
    assert fields["cycles_dense"] / fields["cycles"] >= 2.8


@pytest.mark.parametrize("n", [6912, 16384])
@pytest.mark.parametrize("weight, value", [(1, 127), (-1, -127), (1, -128), (-1, -128)])
def test_extremes(n, weight, value):
    accumulators, _ = measure_matvec(DEEP, np.full((21, n), weight, np.int8), np.full(n, value, np.int8))
    assert (accumulators == n * weight * value).all()


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 80, 81, 1000, 6912])
@pytest.mark.parametrize("zeros", [0, .33, .9, 1])
def test_lengths_and_zeros(n, zeros):
    rng = np.random.default_rng([n, int(100 * zeros)])
    w = rng.integers(-1, 2, (43, n), np.int8)
    w[rng.random(43) < .2] = 0
    w[:, rng.random(n) < .2] = 0
    exact(DEEP, w, (rng.integers(-128, 128, n) * (rng.random(n) >= zeros)).astype(np.int8))


def test_scrub(monkeypatch):
    """Weights that are hit while text is generated are wrong for a token, and told where they are."""
    monkeypatch.setattr("setun.analysis.measure.SimulatedTransport", Struck)
    monkeypatch.setattr(Struck, "left", 130)
    monkeypatch.setattr(Struck, "addresses", range(0, 1024, 64))
    run = PRESETS["4x10"], random_checkpoint(), [1, 2], 6
    damaged, _ = measure_run(*run)
    scrubbed, fields = measure_run(*run, scrub=True)
    assert fields["damages"] == [{"bank": 0, "tile": 0, "address": address} for address in Struck.addresses]
    assert 0 < scrubbed.total.mismatches < damaged.total.mismatches and not scrubbed.total.cycle_errors
    with pytest.raises(CapacityError, match="do not fit config 1x5, and none stay to be scrubbed: choose a larger one"):
        measure_run(PRESETS["1x5"], *run[1:], scrub=True)


def test_scrub_of_single_flips(monkeypatch):
    config = PRESETS["1x5"]
    found = measure_scrub(config, 40)
    assert found["weights"] == config.capacity and config.depth < found["cycles"] < 8 * config.depth
    assert found["missed"] == 0 and found["found"] + found["spare"] == 40 and found["found"] > 30
    monkeypatch.setattr(SimulatedTransport, "flip", lambda *_: None)
    assert measure_scrub(config, 40)["missed"] == found["found"]
