"""Area budgets of the array of 8 x 20, in LUT4s a product: lists, weights, products, accumulators and combiners."""

import pytest

from setun.hdl.build.area import array_area
from setun.hdl.config import PRESETS
from setun.hdl.technology.ecp5 import ECP5
from setun.hdl.technology.product import PORTABLE


CONFIG = PRESETS["8x20"]


@pytest.mark.parametrize("technology, budget", [(ECP5, 34), (PORTABLE, 50)], ids=["ecp5", "portable"])
def test_area(technology, budget):
    area = array_area(CONFIG, technology)
    assert area.luts / CONFIG.products <= budget
    assert area.multipliers == 0
    assert area.block_rams == CONFIG.banks * CONFIG.tiles  # weights; lists are in LUTs
