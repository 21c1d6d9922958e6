"""The machine at the end of a serial line, bit by bit."""

import contextlib
import functools

import numpy as np
import pytest

from setun.compiler.packing import pack, place
from setun.driver.device import Device
from setun.driver.port import SerialTransport
from setun.driver.transport import LinkError
from setun.golden.matvec import matvec
from setun.golden.quantiser import absmax_quantise
from setun.hdl.config import PRESETS
from setun.sim.rtl.board import Terminal
from setun.sim.rtl.transport import SimulatedTransport, simulate_line
from tests.support.links import serving


CONFIG = PRESETS["1x5"]
CLOCK, BAUD = 12_000_000, 1_000_000
W = np.random.default_rng(3).integers(-1, 2, (23, 31), np.int8)
Y = np.random.default_rng(4).integers(-2 ** 31, 2 ** 31, 31)


@pytest.fixture(scope="module")
def simulator():
    return simulate_line(CONFIG, clock=CLOCK, baud=BAUD)


def product(transport):
    device = Device(transport, CONFIG)
    (placed,), _ = place([pack(W, CONFIG)], CONFIG)
    device.load([placed])
    return device.multiply(placed, Y, quantise=True)


def assert_right(result):
    q, absmax = absmax_quantise(Y)
    assert (result.accumulators == matvec(W, q)).all() and result.absmax == absmax and not result.repeated


def test_matvec():
    start = functools.partial(simulate_line, clock=CLOCK, baud=BAUD)
    with contextlib.closing(SimulatedTransport(CONFIG, start=start)) as transport:
        assert_right(product(transport))
        assert transport.cycles > 10 * CLOCK / BAUD * 23 * 3  # no byte of the results was faster than its bits


def test_matvec_through_a_port(simulator):
    with serving(simulator, Terminal()) as line, contextlib.closing(SerialTransport(line.name, BAUD, 2)) as transport:
        assert_right(product(transport))


def test_wrong_rate_of_a_port(simulator):
    """The client's rate counts, as on a cable."""
    with serving(simulator, Terminal()) as line:
        with contextlib.closing(SerialTransport(line.name, 1_234_567, .02)) as transport, pytest.raises(LinkError):
            Device(transport, CONFIG)
        with contextlib.closing(SerialTransport(line.name, BAUD, 2)) as transport:
            assert_right(product(transport))


def test_longest_frames(simulator):
    """They take longer on the line than an answer does, and nothing is sent again."""
    w, y = np.zeros((5, CONFIG.columns), np.int8), np.full(CONFIG.columns, 1 << 30)
    w[:, ::4] = 1
    device = Device(SimulatedTransport(CONFIG, start=lambda config, waveform: simulator), CONFIG)
    (placed,), _ = place([pack(w, CONFIG)], CONFIG)
    device.load([placed])
    result = device.multiply(placed, y, quantise=True)
    assert (result.accumulators == 127 * CONFIG.columns // 4).all() and not result.repeated


@pytest.mark.parametrize("factor", [.7, 1.06, 2])
def test_wrong_rate(simulator, factor):
    """Whatever garbage it makes of the bytes, the right rate works again afterwards."""
    simulator.baud = BAUD * factor
    with pytest.raises(LinkError):
        Device(SimulatedTransport(CONFIG, start=lambda config, waveform: simulator), CONFIG)
    simulator.baud = BAUD
    assert_right(product(SimulatedTransport(CONFIG, start=lambda config, waveform: simulator)))


@pytest.mark.parametrize("factor", [.97, 1.03])
def test_rates_may_differ_a_little(simulator, factor):
    simulator.baud = BAUD * factor
    try:
        assert_right(product(SimulatedTransport(CONFIG, start=lambda config, waveform: simulator)))
    finally:
        simulator.baud = BAUD
