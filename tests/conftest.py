import contextlib

import pytest

from firmware.device import Device
from hdl.config import PRESETS
from sim.transport import SimulatedTransport


@pytest.fixture(scope="module")
def device():
    """The driver on the simulated preset 4x10."""
    config = PRESETS["4x10"]
    with contextlib.closing(SimulatedTransport(config)) as transport:
        yield Device(transport, config)
