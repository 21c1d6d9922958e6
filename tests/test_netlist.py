"""What synthesis made of the whole machine, for each family, against the golden model."""

import contextlib
import functools
import re

import numpy as np
import pytest

from firmware.device import Device
from firmware.packing import pack, place
from golden.matvec import matvec
from golden.quantiser import absmax_quantise
from hdl.boards import ecp5, gowin, ice40
from hdl.config import Config
from sim.cycles import array_cycles
from sim.netlist import simulate_netlist
from sim.transport import SimulatedTransport


SMALL = {"banks": 2, "tiles": 2, "depth": 64, "columns": 40, "blocks": 12}
CONFIGS = {
    ecp5.FAMILY: Config(name="2x10", **SMALL),
    ice40.FAMILY: Config(name="2x10-spram", **SMALL, stack=2, single_port=True),
    gowin.FAMILY: Config(name="2x10", **SMALL),
}


def mismatches(family, change=lambda verilog: verilog, products=6):
    """Values and counts of cycles that differ from the models, over some products."""
    config, rng, wrong = CONFIGS[family], np.random.default_rng(1958), 0
    start = functools.partial(simulate_netlist, family=family, change=change)
    with contextlib.closing(SimulatedTransport(config, start=start)) as transport:
        device = Device(transport, config)
        for number in range(products):
            rows, columns = int(rng.integers(1, 60)), int(rng.integers(1, 41))
            w = rng.integers(-1, 2, (rows, columns), np.int8)
            w[rng.random(rows) < .2] = 0
            (placed,), resident = place([pack(w, config)], config)
            if resident:
                device.load([placed])
            if number % 2:
                y = rng.integers(-2 ** 31, 2 ** 31, columns)
                q, absmax = absmax_quantise(y)
            else:
                y = q = rng.integers(-128, 128, columns).astype(np.int8) * (rng.random(columns) < .6)
                absmax = None
            skip = bool(rng.integers(2))
            product = device.multiply(placed, y, quantise=absmax is not None, skip=skip)
            wrong += int((product.accumulators != matvec(w, q.astype(np.int8))).sum())
            wrong += absmax is not None and product.absmax != absmax
            cycles = product.counters["CYCLES_ISSUE"] + product.counters["CYCLES_FLUSH"]
            wrong += cycles != array_cycles(config, placed, q.astype(np.int8), skip=skip)
    return wrong


@pytest.mark.parametrize("family", CONFIGS, ids=lambda family: family.name)
def test_equals_golden(family):
    assert mismatches(family) == 0


def test_comparison_can_fail():
    """One bit of a LUT in a product: where of sum and activation only the latter has a bit set."""
    right = ecp5.lut4(lambda a, b, c, d: a ^ b ^ (c & d))

    def damage(verilog):
        place = [match.start(1) for match in re.finditer(rf"\.INIT0\(16'h({right:04x})\)", verilog)][20]
        return verilog[:place] + f"{right ^ 1 << 12:04x}" + verilog[place + 4:]

    assert mismatches(ecp5.FAMILY, damage) > 0
