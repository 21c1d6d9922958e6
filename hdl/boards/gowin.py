"""Gowin: everything as it is written once for all."""

from ..product import PORTABLE
from .board import Family


__all__ = ["FAMILY"]


FAMILY = Family(name="gowin", technology=PORTABLE, pll=None)
