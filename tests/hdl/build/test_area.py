"""Area budgets, in LUT4s a product: of the 16 x 20 array, and of 8 x 10 where synthesis takes long."""

import pytest

from setun.hdl.build.area import array_area
from setun.hdl.config import PRESETS
from setun.hdl.technology.ecp5 import ECP5, FULL
from setun.hdl.technology.product import PORTABLE


@pytest.mark.parametrize("name, technology, budget", [("16x20", ECP5, 17), ("8x10", PORTABLE, 29)],
                         ids=["ecp5", "portable"])
def test_area(name, technology, budget):
    config = PRESETS[name]
    area = array_area(config, technology)
    assert area.luts / config.products <= budget
    assert area.multipliers == 0
    assert area.block_rams == config.banks * (config.tiles + 1)  # a tile's weights, and a bank's lists


def test_masked_products_take_fewer_flip_flops():
    """The rows of a tile share the register of an activation, and eight LUTs a product do what its reset does else."""
    config = PRESETS["8x10"]
    own, masked = (array_area(config, technology) for technology in (ECP5, FULL.technology))
    assert own.flip_flops - masked.flip_flops >= 5 * config.products
    assert 0 < masked.luts - own.luts <= 8 * config.products
