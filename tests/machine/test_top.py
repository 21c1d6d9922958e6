from dataclasses import asdict

from setun.hdl.build.verilog import generate
from setun.hdl.config import Config
from setun.hdl.top import Top
from setun.sim.verify.cocotb_runner import run_cocotb


# An odd count of banks, two tiles, and a serial vector unit. 2x5 is run through the same tests by
# tests/campaigns/test_mutants.py, whose mutant 0 changes nothing; 1x5 by the driver's tests in the compiled simulator.
CONFIG = Config(name="3x10", banks=3, tiles=2, depth=200, columns=100, blocks=40, serial=True)


def test_top():
    run_cocotb(generate(Top(CONFIG), "top"), "top", "tests.machine.cocotb_top", {"config": asdict(CONFIG)})
