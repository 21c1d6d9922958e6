"""What the machine must reach, measured on its RTL."""

import numpy as np
import pytest

import setun
from setun.accelerator import Accelerator
from setun.analysis.measure import measure_matvec, measure_run, measure_scrub
from setun.golden.matvec import matvec
from setun.hdl.config import Config
from setun.sim.rtl.transport import SimulatedTransport
from tests.support.checkpoints import random_checkpoint
from tests.support.configs import SMALL
from tests.support.links import Struck


@pytest.fixture(scope="module")
def device():
    with setun.simulate(SMALL) as device:
        yield device


def exact(device, w, x):
    """Fields of a product whose every value and count of cycles is right."""
    accumulators, fields = measure_matvec(device, w, x)
    assert (accumulators == matvec(w, x)).all() and fields["mismatches"] == 0
    assert fields["cycles"] == fields["cycles_predicted"]
    assert fields["cycles_dense"] == fields["cycles_dense_predicted"]
    return fields


def test_utilisation(device):
    """Of a matrix that fills the results' memories; list, start and drain are in its cycles."""
    rng = np.random.default_rng(1)
    fields = exact(device, rng.integers(-1, 2, (3060, 120), np.int8), rng.integers(1, 128, 120).astype(np.int8))
    assert fields["pieces"] == 1 and fields["utilisation"] >= .95


def test_pieces(device):
    """More weights than the memories hold."""
    rng = np.random.default_rng(2)
    assert 1280 * 900 > SMALL.capacity
    fields = exact(device, rng.integers(-1, 2, (1280, 900), np.int8), rng.integers(1, 128, 900).astype(np.int8))
    assert fields["pieces"] > 1 and fields["utilisation"] >= .89


def test_skipping(device):
    rng = np.random.default_rng(3)
    x = (rng.integers(1, 128, 1000) * (rng.random(1000) >= .7)).astype(np.int8)
    fields = exact(device, rng.integers(-1, 2, (600, 1000), np.int8), x)
    assert fields["cycles_dense"] / fields["cycles"] >= 2.4


@pytest.mark.parametrize("n", [1023, 6912])
@pytest.mark.parametrize("weight, value", [(1, 127), (-1, -127), (1, -128), (-1, -128)])
def test_extremes(device, n, weight, value):
    accumulators, _ = measure_matvec(device, np.full((21, n), weight, np.int8), np.full(n, value, np.int8))
    assert (accumulators == n * weight * value).all()


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 17, 18, 19, 1000])
@pytest.mark.parametrize("zeros", [0, .33, .9, 1])
def test_lengths_and_zeros(device, n, zeros):
    rng = np.random.default_rng([n, int(100 * zeros)])
    w = rng.integers(-1, 2, (43, n), np.int8)
    exact(device, w, (rng.integers(-128, 128, n) * (rng.random(n) >= zeros)).astype(np.int8))


class Characters:
    def encode(self, text):
        return list(map(ord, text))

    def decode(self, ids):
        return "".join(map(chr, ids))


def test_scrub(monkeypatch):
    """Weights that are hit while text is generated make it wrong, and are told where they are."""
    model, fields = setun.Model("random", random_checkpoint(), Characters()), {}
    addresses = range(0, 1024, 64)
    for scrub in (False, True):
        transport = Struck(SMALL)
        transport.left, transport.addresses = 1 << 30, addresses
        with Accelerator(transport, SMALL) as device:
            list(device.generate(model, [1], tokens=1, check="none"))  # it is loaded
            transport.left = 16  # in the middle of a position
            _, fields[scrub] = measure_run(device, model, [1, 2], 6, scrub=scrub)
    found = {(damage["bank"], damage["lane"]): damage["address"] for damage in fields[True]["damages"]}
    assert set(found) == {(0, 0)} and {damage["address"] for damage in fields[True]["damages"]} <= set(addresses)
    assert len(fields[True]["damages"]) > 5
    assert 0 < fields[True]["mismatches"] < fields[False]["mismatches"]


def test_scrub_of_single_flips(monkeypatch):
    config = Config(banks=2, tiles=1, depth=64, results=128, elements=64, scalars=16, instructions=16)
    found = measure_scrub(config, 40)
    assert found["weights"] == config.capacity and found["cycles"] > config.depth
    assert found["missed"] == 0 and found["found"] + found["spare"] == 40 and found["found"] > 30
    monkeypatch.setattr(SimulatedTransport, "flip", lambda *_: None)
    assert measure_scrub(config, 40)["missed"] == found["found"]
