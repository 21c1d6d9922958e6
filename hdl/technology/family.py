"""A family of devices."""

from typing import NamedTuple

from .product import Technology


__all__ = ["Family"]


class Family(NamedTuple):
    """A family of devices that one set of tools builds for."""
    name: str  # as in the tools' names
    technology: Technology
    pll: type | None  # component (port, *, i_frequency, o_frequency): o, and locked if o runs before
