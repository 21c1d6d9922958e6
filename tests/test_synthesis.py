"""Area budgets of the 16 x 20 array, in LUT4s a product."""

import pytest

from hdl.boards.ecp5 import ECP5
from hdl.config import PRESETS
from hdl.product import PORTABLE
from sim.synthesis import array_area


@pytest.mark.parametrize("technology, budget", [(ECP5, 17), (PORTABLE, 27)], ids=["ecp5", "portable"])
def test_area(technology, budget):
    config = PRESETS["16x20"]
    area = array_area(config, technology)
    assert area.luts / config.products <= budget
    assert area.multipliers == 0
    assert area.block_rams == config.banks * (config.tiles + 1)  # a tile's weights, and a bank's lists
