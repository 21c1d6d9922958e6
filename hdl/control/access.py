"""How the memories are reached from outside."""

from amaranth.lib import data

from ..protocol import Space, space_sizes, word_bytes


__all__ = ["Access"]


class Access(data.StructLayout):
    """One item of a memory space, to be written, or to be read from the cycle of ``read`` on.

    ``lane`` is a tile's in WEIGHTS, whose data are written as 9 bits of golden.codes.word_encode.
    """

    def __init__(self, config):
        sizes = space_sizes(config)
        most = max(word_bytes(space, config) for space in Space)
        super().__init__({
            "write": 1, "read": 1, "space": Space, "bank": range(max(config.banks, 2)),
            "lane": range(max(config.tiles, 2)), "address": range(max(*sizes.values(), 2)), "data": 8 * most})
