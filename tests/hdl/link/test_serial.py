"""The machine at the end of a serial line, bit by bit."""

import contextlib
import functools

import numpy as np
import pytest

from setun.accelerator import Accelerator
from setun.driver.port import SerialTransport
from setun.driver.transport import LinkError
from setun.golden.matvec import matvec
from setun.hdl.protocol import Space
from setun.sim.rtl.board import Terminal
from setun.sim.rtl.transport import SimulatedTransport, simulate_line
from tests.support.boards import TINY as CONFIG
from tests.support.links import serving


CLOCK, BAUD = 12_000_000, 1_000_000
W = np.random.default_rng(3).integers(-1, 2, (23, 31), np.int8)
X = np.random.default_rng(4).integers(-128, 128, 31).astype(np.int8)


@pytest.fixture(scope="module")
def simulator():
    return simulate_line(CONFIG, clock=CLOCK, baud=BAUD)


def again(simulator):
    """A transport of a simulator that was used before."""
    return SimulatedTransport(CONFIG, start=lambda config, waveform: simulator)


def assert_right(transport):
    """Nothing is sent again once the session is open; what garbage left on the line may cost its first frame."""
    accelerator = Accelerator(transport, CONFIG)
    repeated = accelerator.machine.repeated
    assert (accelerator.matvec(W, X).accumulators == matvec(W, X)).all() and accelerator.machine.repeated == repeated


def test_matvec():
    start = functools.partial(simulate_line, clock=CLOCK, baud=BAUD)
    with contextlib.closing(SimulatedTransport(CONFIG, start=start)) as transport:
        assert_right(transport)
        assert transport.cycles > 10 * CLOCK / BAUD * 23 * 3  # no byte of the results was faster than its bits


def test_matvec_through_a_port(simulator):
    with serving(simulator, Terminal()) as line, contextlib.closing(SerialTransport(line.name, BAUD, 2)) as transport:
        assert_right(transport)


def test_wrong_rate_of_a_port(simulator):
    """The client's rate counts, as on a cable."""
    with serving(simulator, Terminal()) as line:
        with contextlib.closing(SerialTransport(line.name, 1_234_567, .02)) as transport, pytest.raises(LinkError):
            assert_right(transport)
        with contextlib.closing(SerialTransport(line.name, BAUD, 2)) as transport:
            assert_right(transport)


def test_longest_frames(simulator):
    """They take longer on the line than an answer does, and nothing is sent again."""
    accelerator = Accelerator(again(simulator), CONFIG)
    words = np.random.default_rng(5).integers(-1, 2, (CONFIG.depth, 1, 1, 5), np.int8)
    elements = np.arange(CONFIG.elements)[:, None] - 7
    for space, values, expected in ((Space.WEIGHTS, words, words @ 3 ** np.arange(5)),
                                    (Space.ELEMENTS, elements, elements)):
        accelerator.machine.write(space, 0, values)
        assert (accelerator.machine.read(space, 0, len(values)) == expected).all()
    assert not accelerator.machine.repeated


@pytest.mark.parametrize("factor", [.7, 1.06, 2])
def test_wrong_rate(simulator, factor):
    """Whatever garbage it makes of the bytes, the right rate works again afterwards."""
    simulator.baud = BAUD * factor
    with pytest.raises(LinkError):
        assert_right(again(simulator))
    simulator.baud = BAUD
    assert_right(again(simulator))


@pytest.mark.parametrize("factor", [.97, 1.03])
def test_rates_may_differ_a_little(simulator, factor):
    simulator.baud = BAUD * factor
    try:
        assert_right(again(simulator))
    finally:
        simulator.baud = BAUD
