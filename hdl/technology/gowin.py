"""Gowin: everything as it is written once for all."""

from .family import Family
from .product import PORTABLE


__all__ = ["FAMILY"]


FAMILY = Family(name="gowin", technology=PORTABLE, pll=None)
