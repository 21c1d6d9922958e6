from dataclasses import asdict

import pytest

from hdl.config import Config
from hdl.top import Top
from sim.cocotb_runner import run_cocotb
from sim.verilog import generate


CONFIGS = (
    Config(name="1x5", banks=1, tiles=1, depth=512, columns=64, blocks=70),
    Config(name="2x5", banks=2, tiles=1, depth=256, columns=64, blocks=70),
    Config(name="3x10", banks=3, tiles=2, depth=200, columns=100, blocks=40, serial=True),
)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_top(config):
    run_cocotb(generate(Top(config), "top"), "top", "cocotb_top", {"config": asdict(config)})
