from dataclasses import asdict

import pytest

from setun.hdl.build.verilog import generate
from setun.hdl.config import Config
from setun.hdl.top import Top
from setun.sim.verify.cocotb_runner import run_cocotb


CONFIGS = (
    Config(name="1x5", banks=1, tiles=1, depth=512, columns=64, blocks=70),
    Config(name="2x5", banks=2, tiles=1, depth=256, columns=64, blocks=70),
    Config(name="3x10", banks=3, tiles=2, depth=200, columns=100, blocks=40, serial=True),
)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_top(config):
    run_cocotb(generate(Top(config), "top"), "top", "tests.machine.cocotb_top", {"config": asdict(config)})
