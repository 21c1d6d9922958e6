"""Area budgets of the 8 x 10 array, in LUT4s a product; those of 16 x 20, by ``make results``, are smaller."""

import pytest

from setun.hdl.build.area import array_area
from setun.hdl.config import PRESETS
from setun.hdl.technology.ecp5 import ECP5, FULL
from setun.hdl.technology.product import PORTABLE


CONFIG = PRESETS["8x10"]


@pytest.mark.parametrize("technology, budget", [(ECP5, 16), (PORTABLE, 29)], ids=["ecp5", "portable"])
def test_area(technology, budget):
    area = array_area(CONFIG, technology)
    assert area.luts / CONFIG.products <= budget
    assert area.multipliers == 0
    assert area.block_rams == CONFIG.banks * (CONFIG.tiles + 1)  # a tile's weights, and a bank's lists


def test_masked_products_take_fewer_flip_flops():
    """The rows of a tile share the register of an activation, and eight LUTs a product do what its reset does else."""
    own, masked = (array_area(CONFIG, technology) for technology in (ECP5, FULL.technology))
    assert own.flip_flops - masked.flip_flops >= 5 * CONFIG.products
    assert 0 < masked.luts - own.luts <= 8 * CONFIG.products
