import contextlib
import os


# Before NumPy is loaded: workers share the cores, and the threads of a BLAS would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from setun.driver.device import Device
from setun.hdl.config import PRESETS
from setun.sim.rtl.transport import SimulatedTransport


settings.register_profile("tests", max_examples=300, derandomize=True, database=None,
                          suppress_health_check=list(HealthCheck))
settings.register_profile("fuzz", settings.get_profile("tests"), max_examples=10_000, derandomize=False)
settings.load_profile("tests")


@pytest.fixture(scope="module")
def device():
    """The driver on 4x10. What a port can change is tested in test_port.py, and products there in test_board.py."""
    config = PRESETS["4x10"]
    with contextlib.closing(SimulatedTransport(config)) as transport:
        yield Device(transport, config)
