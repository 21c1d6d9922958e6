from setun.hdl.build.verilog import generate
from setun.hdl.machine import Machine
from setun.sim.verify.cocotb_runner import run_cocotb
from tests.machine.stimulus import CONFIG


CYCLES = 100_000


def test_machine():
    run_cocotb(generate(Machine(CONFIG), "top"), "top", "tests.machine.cocotb_machine", {"seed": 1, "cycles": CYCLES})
