"""The processors that ship."""

from .instructions import Geometry


__all__ = ["PROCESSORS"]


PROCESSORS = {geometry.name: geometry for geometry in (
    Geometry(name="24x40", banks=24, tiles=8, depth=2048, results=1024, elements=512, scalars=128, instructions=256),
    Geometry(name="16x20", banks=16, tiles=4, depth=8192, results=2048, elements=1024, scalars=256, instructions=256,
             silu=True),
)}
