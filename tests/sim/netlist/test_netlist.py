"""The accelerator after synthesis for each family, driven like any other: products, and cycles, as of the RTL."""

import contextlib
import dataclasses
import functools
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from setun.compiler.packing import Chunk, Placed, pack, place
from setun.compiler.schedule import compile_model
from setun.driver.device import Device
from setun.driver.machine import Machine
from setun.golden.fixed import to_fixed
from setun.golden.matvec import matvec
from setun.golden.quantiser import absmax_quantise
from setun.golden.sampling import temperature_scalar
from setun.hdl.boards import BOARDS
from setun.hdl.commands import Space
from setun.hdl.config import PRESETS, Config
from setun.hdl.instructions import Geometry
from setun.hdl.technology import ecp5
from setun.sim.model.cycles import array_cycles
from setun.sim.model.device import ReferenceTransport
from setun.sim.netlist.netlist import simulate_board_netlist, simulate_netlist
from setun.sim.rtl.transport import SimulatedTransport
from tests.support.checkpoints import random_checkpoint


# A small machine in the cells of ulx3s-2400, whose own netlist is too large to simulate. test_boards has three boards'.
CONFIG = Config(name="2x10", banks=2, tiles=2, depth=512, columns=40, blocks=12)
# Of the board whose own takes longest to compile. Its netlist is that of tests/hdl/build/test_bitstream.py.
SMALLER = {"tang-nano-20k": Config(name="1x5-tiny", banks=1, tiles=1, depth=64, columns=64, blocks=12)}


@contextlib.contextmanager
def driven(config, start):
    with contextlib.closing(SimulatedTransport(config, start=start)) as transport:
        yield Device(transport, config)


def started(config, family, **options):
    return driven(config, functools.partial(simulate_netlist, family=family, **options))


@pytest.fixture(scope="module")
def device():
    with started(CONFIG, ecp5.FULL) as device:
        yield device


def wrong(device, placed, w, x, *, quantise, skip=True):
    """Whether a product differs from the golden one, or its cycles from the closed form."""
    product = device.multiply(placed, x, quantise=quantise, skip=skip)
    q, absmax = absmax_quantise(x) if quantise else (x.astype(np.int8), 0)
    cycles = product.counters["CYCLES_ISSUE"] + product.counters["CYCLES_FLUSH"]
    return ((product.accumulators != matvec(w, q)).any() or (quantise and product.absmax != absmax)
            or cycles != array_cycles(device.config, placed, q, skip))


def ternary(rng, rows, columns):
    return rng.integers(-1, 2, (rows, columns), np.int8)


def elements(rng, count, quantise):
    """int8 or int32, two in five of them zero; among many the lowest and the highest."""
    high = 2 ** 31 if quantise else 128
    x = rng.integers(-high, high, count) * (rng.random(count) < .6)
    if count > 30:
        x[[7, 19]] = -high, high - 1
    return x


def test_identifies(device):
    device.identify()


@pytest.mark.parametrize("rows, columns", [(1, 1), (10, 2), (23, 9), (30, 40), (117, 10)])
def test_products(device, rows, columns):
    rng = np.random.default_rng([rows, columns])
    w = ternary(rng, rows, columns)
    (placed,), resident = place([pack(w, device.config)], device.config)
    assert resident
    device.load([placed])
    for quantise in (False, True):
        for skip in (False, True):
            assert not wrong(device, placed, w, elements(rng, columns, quantise), quantise=quantise, skip=skip)


def test_extremes(device):
    w = np.ones((20, 40), np.int8)
    w[::2] = -1
    (placed,), _ = place([pack(w, device.config)], device.config)
    device.load([placed])
    for value in (-128, -1, 0, 127):
        assert not wrong(device, placed, w, np.full(40, value), quantise=False)
    for value in (-2 ** 31, -1, 0, 2 ** 31 - 1):
        assert not wrong(device, placed, w, np.full(40, value), quantise=True)


def test_dead_rows_and_columns(device):
    rng = np.random.default_rng(3)
    w = ternary(rng, 40, 30)
    w[::3], w[:, 5:20] = 0, 0
    (placed,), _ = place([pack(w, device.config)], device.config)
    device.load([placed])
    assert not wrong(device, placed, w, elements(rng, 30, True), quantise=True)


def test_chunks(device):
    """Weights that are streamed, in chunks that alternate between the halves of the memory."""
    rng = np.random.default_rng(4)
    w = ternary(rng, 75, 30)
    packed = pack(w, device.config)
    chunks = [Chunk(index % 2 * 256, first, min(2, packed.blocks - first), True)
              for index, first in enumerate(range(0, packed.blocks, 2))]
    for quantise in (False, True):
        assert not wrong(device, Placed(packed, chunks), w, elements(rng, 30, quantise), quantise=quantise)


def test_whole_tokens():
    """A machine of whole tokens in the cells of the ECP5: a sampled text, all that it has written, and its cycles are
    those of the reference machine."""
    geometry = Geometry(banks=4, tiles=2, depth=512, columns=64, results=256, elements=256, scalars=128,
                        instructions=256, vocabulary=41, context=19)
    image = compile_model(to_fixed(random_checkpoint(vocab=41, context=19, heads=2, kv_heads=1, head_dim=8, hidden=12,
                                                     inner=20)), geometry)
    found = []
    start = functools.partial(simulate_netlist, family=ecp5.FAMILY)
    for transport in (SimulatedTransport(geometry, start=start), ReferenceTransport(geometry)):
        with contextlib.closing(transport):
            machine = Machine(transport, geometry)
            machine.load(image)
            machine.sample(image, temperature_scalar(1), 3)
            machine.give([1, 2, 3])
            machine.go(0, 12)
            registers = machine.wait(12, 1 << 20)
            found.append([registers, machine.tokens(0, 13), *(
                machine.read(space, 0, image.used(space.name.lower())).tolist()
                for space in (Space.WEIGHTS, Space.RESULTS, Space.ELEMENTS, Space.SCALARS))])
    assert found[0] == found[1] and len(set(found[0][1])) > 5


@pytest.mark.parametrize("name", ["icebreaker", "icepi-zero", "tang-nano-20k"])
def test_boards(name):
    """What is placed and routed of the small ones, over their serial lines."""
    board = BOARDS[name]
    board = dataclasses.replace(board, config=SMALLER.get(name, board.config))
    with driven(board.config, lambda config, waveform: simulate_board_netlist(board, waveform=waveform)) as device:
        device.identify()
        rng = np.random.default_rng(5)
        w = ternary(rng, 43, 37)
        (placed,), resident = place([pack(w, board.config)], board.config)
        if resident:
            device.load([placed])
        for quantise in (False, True):
            assert not wrong(device, placed, w, elements(rng, 37, quantise), quantise=quantise)


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
                      r"\\array\.drain_0\.accumulator_0\.chain\.bits_2 )")

    def damage(verilog):
        assert len(cell.findall(verilog)) == 1
        return cell.sub(lambda match: f"{int(match[1], 16) ^ 1 << 0b0101:04x}", verilog)

    config = PRESETS["1x5"]
    with started(config, ecp5.FAMILY, change=damage) as device:
        w = np.ones((10, 40), np.int8)
        (placed,), _ = place([pack(w, config)], config)
        device.load([placed])
        assert wrong(device, placed, w, np.full(40, 127), quantise=False)
        assert not wrong(device, placed, w, np.zeros(40, np.int8), quantise=False, skip=False)
