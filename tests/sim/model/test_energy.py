import pytest

from setun.hdl.config import sum_width
from setun.sim.model.energy import Range, add_energy, arithmetic_tables, coefficient, coefficients, partial_sum_bits


def entries(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, dict) and "mid" in value:
            yield (*path, key), value
        elif isinstance(value, dict):
            yield from entries(value, (*path, key))


@pytest.mark.parametrize("path, entry", list(entries(coefficients())), ids=lambda value: ".".join(value)
                         if isinstance(value, tuple) else "")
def test_coefficients(path, entry):
    """In order, with a known tier, and a source of their own or of their table."""
    figure, tier = coefficient(*path)
    assert 0 < figure.low <= figure.mid <= figure.high
    assert tier in ("measured", "calibrated", "modelled", "table")
    above = coefficients()
    for key in path[:-1]:
        above = above[key]
    assert entry.get("source") or above.get("source")


def test_published():
    """Horowitz's figures, by hand."""
    assert coefficient("arithmetic", "45nm", "int32_add")[0].mid == pytest.approx(.1e-12, rel=1e-6, abs=0)
    assert coefficient("arithmetic", "45nm", "fp16_multiply")[0].mid == pytest.approx(1.1e-12, rel=1e-6, abs=0)


@pytest.mark.parametrize("table", arithmetic_tables())
def test_additions(table):
    """Of 8 and 32 bits as published, and between them otherwise."""
    narrow, wide = (coefficient("arithmetic", table, name)[0] for name in ("int8_add", "int32_add"))
    assert add_energy(table, 8).mid == pytest.approx(narrow.mid, rel=1e-6, abs=0)
    assert add_energy(table, 32).mid == pytest.approx(wide.mid, rel=1e-6, abs=0)
    assert add_energy(table, 20).mid == pytest.approx((narrow.mid + wide.mid) / 2, rel=1e-6, abs=0)


def test_partial_sums():
    """An addition less than there are products, each as wide as the RTL's sum: of two, two and four, then of groups."""
    assert partial_sum_bits(1) == []
    assert partial_sum_bits(4) == [10, 10, 11]
    assert partial_sum_bits(7) == [10, 10, 11, 10, 10, 11]
    for banks in range(1, 65):
        widths = partial_sum_bits(banks)
        assert len(widths) == banks - 1
        assert banks == 1 or widths[-1] == sum_width(banks)


def test_range():
    total = Range(1, 2, 3) + Range(10, 20, 30) * .5
    assert total == (6, 12, 18)
    assert Range(1e-12, 2e-12, 3e-12).text() == "2 [1-3] pJ"
    assert Range(5e-10, 9.994e-10, 3e-9).text() == "999 [500-3,000] pJ"
    assert Range(2e-3, 2e-3, 2e-3).text("W") == "2 mW"
    assert Range(0, 0, 0).text() == "0 fJ"
