"""Processors that several tests share, so that each is compiled once."""

from setun.hdl.config import Config


__all__ = ["SMALL"]


SMALL = Config(banks=6, tiles=3, depth=4096, columns=1024, results=1024, elements=1024, scalars=256,
                 instructions=256, silu=True, vocabulary=300, context=32)
