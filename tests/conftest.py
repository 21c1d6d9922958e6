import contextlib

import pytest
from hypothesis import HealthCheck, settings

from setun.driver.device import Device
from setun.driver.port import SerialTransport
from setun.hdl.config import PRESETS
from setun.sim.rtl.board import Terminal
from setun.sim.rtl.transport import SimulatedTransport, simulate
from tests.support.links import serving


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
