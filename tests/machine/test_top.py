from dataclasses import asdict

import pytest

from setun.hdl.build.verilog import generate
from setun.hdl.config import Config
from setun.hdl.top import Top
from setun.sim.verify.cocotb_runner import run_cocotb


# 2x5 is run through the same tests by tests/campaigns/test_mutants.py: its mutant 0 changes nothing.
CONFIGS = (
    Config(name="1x5", banks=1, tiles=1, depth=512, columns=64, blocks=70),  # nothing to add up over banks
    Config(name="3x10", banks=3, tiles=2, depth=200, columns=100, blocks=40, serial=True),  # tiles, serial drain
)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_top(config):
    run_cocotb(generate(Top(config), "top"), "top", "tests.machine.cocotb_top", {"config": asdict(config)})
