"""The machine after synthesis for each family, driven like any other: texts, memories and cycles as of the RTL."""

import contextlib
import dataclasses
import functools
import os
import re
import subprocess
import sys

import pytest

from setun.compiler.schedule import compile_model
from setun.driver.machine import Machine
from setun.golden.fixed import to_fixed
from setun.golden.sampling import temperature_scalar
from setun.hdl.boards import BOARDS
from setun.hdl.config import Config
from setun.hdl.protocol import Space
from setun.hdl.technology import ecp5, ice40
from setun.sim.model.device import ReferenceTransport
from setun.sim.netlist.netlist import simulate_board_netlist, simulate_netlist
from setun.sim.rtl.transport import SimulatedTransport
from tests.support.checkpoints import random_checkpoint


CONFIG = Config(banks=4, tiles=2, depth=512, columns=64, results=256, elements=256, scalars=128, instructions=256,
                    vocabulary=41, context=19)
MOST_CYCLES = 1 << 20  # of a text


@functools.cache
def image():
    return compile_model(to_fixed(random_checkpoint(vocab=41, context=19, heads=2, kv_heads=1, head_dim=8, hidden=12,
                                                    inner=20)), CONFIG)


def text_of(transport, tokens=12):
    """All that a machine tells and has written behind a sampled text of a small model."""
    with contextlib.closing(transport):
        machine = Machine(transport, CONFIG)
        machine.load(image())
        machine.sample(image(), temperature_scalar(1), 3)
        machine.give([1, 2, 3])
        machine.go(0, tokens)
        registers = machine.wait(tokens, MOST_CYCLES)
        return [registers, machine.tokens(0, tokens + 1), *(
            machine.read(space, 0, image().used(space.name.lower())).tolist()
            for space in (Space.WEIGHTS, Space.RESULTS, Space.ELEMENTS, Space.SCALARS))]


@functools.cache
def expected(tokens=12):
    found = text_of(ReferenceTransport(CONFIG), tokens)
    assert len(set(found[1])) > tokens // 3
    return found


@pytest.mark.parametrize("family", [ecp5.FAMILY, ice40.FAMILY], ids=lambda family: family.name)
def test_families(family):
    start = functools.partial(simulate_netlist, family=family)
    assert text_of(SimulatedTransport(CONFIG, start=start)) == expected()


@pytest.mark.parametrize("name", ["icepi-zero", "tang-nano-20k"])
def test_boards(name):
    """From pin to pin, over the serial line."""
    board = dataclasses.replace(BOARDS[name], config=CONFIG, baud=BOARDS[name].clock // 8)
    start = lambda config, waveform: simulate_board_netlist(board, waveform=waveform)
    assert text_of(SimulatedTransport(CONFIG, start=start), 3) == expected(3)


def test_simulator_is_found_again():
    """The cells' text, which it is cached by, does not change with the order of a set."""
    code = ("from setun.hdl.technology import ecp5; from setun.sim.netlist.netlist import cells; "
            "print(cells(ecp5.FAMILY, 'LUT4 CCU2C DP16KD TRELLIS_FF TRELLIS_IO EHXPLLL DCCA'))")
    texts = {subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed},
                            capture_output=True, text=True, check=True).stdout for seed in "123"}
    assert len(texts) == 1 and all(f"module {name}" in next(iter(texts)) for name in ("LUT4", "EHXPLLL"))


def test_comparison_can_fail():
    """A bit of one LUT of the first accumulator is wrong where two of its inputs are 1."""
    cell = re.compile(r"(?<=CCU2C #\(\n    \.INIT0\(16'h)(\w{4})(?=[^;]*\) "
                      r"\\processor\.engine\.accumulator_0_0\.chain\.bits_2 )")

    def damage(verilog):
        assert len(cell.findall(verilog)) == 1
        return cell.sub(lambda match: f"{int(match[1], 16) ^ 1 << 0b0101:04x}", verilog)

    start = functools.partial(simulate_netlist, family=ecp5.FAMILY, change=damage)
    assert text_of(SimulatedTransport(CONFIG, start=start)) != expected()
