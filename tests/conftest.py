import contextlib

import pytest
from hypothesis import HealthCheck, settings

from firmware.device import Device
from firmware.port import SerialTransport
from hdl.config import PRESETS
from links import serving
from sim.board import Terminal
from sim.transport import SimulatedTransport, simulate


settings.register_profile("tests", max_examples=300, derandomize=True, database=None,
                          suppress_health_check=list(HealthCheck))
settings.register_profile("fuzz", settings.get_profile("tests"), max_examples=10_000, derandomize=False)
settings.load_profile("tests")


@pytest.fixture(scope="module", params=["simulated", "port"])
def device(request):
    """The driver on the simulated preset 4x10, and on a virtual board's port."""
    config = PRESETS["4x10"]
    with contextlib.ExitStack() as stack:
        if request.param == "simulated":
            transport = SimulatedTransport(config)
        else:
            line = stack.enter_context(serving(simulate(config), Terminal()))
            transport = SerialTransport(line.name, latency=1)  # a busy machine repeats nothing, and counters are exact
        yield Device(stack.enter_context(contextlib.closing(transport)), config)
