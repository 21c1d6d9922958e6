"""The time of a product over a serial line against the simulated RTL behind its UART."""

import contextlib
import functools

import numpy as np
import pytest

from setun.compiler.packing import pack, place
from setun.driver.device import Device
from setun.driver.frames import encode
from setun.driver.plan import Command, product_exchanges
from setun.golden.quantiser import absmax_quantise
from setun.hdl.boards import BOARDS
from setun.hdl.protocol import MAX_PAYLOAD, Kind
from setun.sim.model.cycles import flush_cycles, list_size, listing_cycles
from setun.sim.model.link import LINE_BITS, frame_bytes, product_time
from setun.sim.rtl.transport import SimulatedTransport, simulate_line


BOARD = BOARDS["icepi-zero"]
CONFIG, BYTE = BOARD.config, LINE_BITS * BOARD.clock / BOARD.baud


@pytest.fixture(scope="module")
def device():
    line = functools.partial(simulate_line, clock=BOARD.clock, baud=BOARD.baud)
    with contextlib.closing(SimulatedTransport(CONFIG, start=line)) as transport:
        yield Device(transport, CONFIG)


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
@pytest.mark.parametrize("rows, columns", [(1, 1), (160, 160), (20, 600)])
def test_time(device, rows, columns, resident):
    """Cycles within 1 % and 200 for each exchange's commands; bytes within 2 %, or three escapes, exchanges exactly."""
    rng = np.random.default_rng([rows, columns])
    packed = pack(rng.choice(np.array([-1, 0, 1], np.int8), (rows, columns)), CONFIG)
    (placed,), _ = place([packed], CONFIG, resident=resident)
    y = rng.integers(-2 ** 20, 2 ** 20, columns)
    start, before = device.transport.cycles, device.traffic
    device.multiply(placed, y, quantise=True)
    cycles, traffic = device.transport.cycles - start, np.subtract(device.traffic, before)
    beats = list_size(absmax_quantise(y)[0][packed.columns], CONFIG.banks, packed.live, True).beats
    time = product_time(product_exchanges(placed, CONFIG, streamed=not resident), byte=BYTE, latency=0,
                        vector=listing_cycles(CONFIG, columns, int8=False),
                        runs=[chunk.blocks * beats + flush_cycles(CONFIG) for chunk in placed.chunks])
    assert time.exchanges == traffic[2]
    assert (time.sent, time.received) == pytest.approx(tuple(traffic[:2]), rel=.02, abs=3)
    assert abs(time.cycles - cycles) < .01 * cycles + 200 * time.exchanges


def test_frame_bytes():
    """On average over uniform payloads."""
    rng = np.random.default_rng(1)
    for size in (0, 4, 100, MAX_PAYLOAD):
        lengths = [len(encode(Kind.WEIGHTS, rng.integers(256), rng.bytes(size))) for _ in range(300)]
        assert np.mean(lengths) == pytest.approx(frame_bytes(size), rel=.01)


def run_and_results(array, vector=0.0, latency=0.0, idle=False, byte=100.0):
    exchanges = [Command(Kind.VECTOR, 8, 0)], [Command(Kind.RUN, 12, 0)], [Command(Kind.RESULTS, 4, 30)]
    return product_time([(commands, 1) for commands in exchanges], byte=byte, latency=latency, vector=vector,
                        runs=[array], idle=idle).cycles


@pytest.mark.parametrize("latency, vector", [(0, 0), (300, 50_000)])
def test_repeated(latency, vector):
    """Exchanges that come again and again take what they take one by one."""
    weights = [Command(Kind.WEIGHTS, 900, 0), Command(Kind.WEIGHTS, 900, 0)]
    exchanges = [([Command(Kind.VECTOR, 8, 0)], 1), (weights, 50), ([Command(Kind.RUN, 12, 0)], 1)]
    single = [(commands, 1) for commands, times in exchanges for _ in range(times)]
    times = [product_time(item, byte=10, latency=latency, vector=vector, runs=[0]) for item in (exchanges, single)]
    assert times[0] == pytest.approx(times[1])


def test_what_is_hidden():
    """A short run is hidden behind the commands that follow it, of a long one what is longer; so is the vector unit.
    A latency costs once for each exchange, and hides as well."""
    line = run_and_results(0, idle=True)
    assert line == 100 * sum(frame_bytes(size) for size in (8, 12, 4, 0, 0, 30))
    hidden = 100 * (frame_bytes(0) + frame_bytes(4))
    # Only the vector's payload is taken, a byte a cycle, while the line waits.
    assert run_and_results(hidden - 1) == run_and_results(0) == line + 8
    assert run_and_results(hidden + 500) == pytest.approx(run_and_results(0) + 500)
    assert run_and_results(0, vector=100 * (frame_bytes(0) + frame_bytes(12)) + 300) == pytest.approx(
        run_and_results(0) + 300)
    assert run_and_results(0, latency=1000) == pytest.approx(run_and_results(0) + 3 * 1000)
    assert run_and_results(hidden + 500, latency=1000) == pytest.approx(run_and_results(0) + 3 * 1000)
