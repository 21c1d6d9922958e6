"""The parameters of one accelerator, and the presets that ship."""

from dataclasses import dataclass
from math import ceil

from amaranth.utils import ceil_log2

from ..errors import ArgumentError


__all__ = ["ACCUMULATOR_BITS", "Config", "GROUP", "MAX_COLUMNS", "PRESETS", "TRITS", "sum_width"]


TRITS = 5  # ternary weights in a memory word, and rows of a tile: 3 ** 5 = 243 fits 8 bits
GROUP = 4  # column banks whose products are added in a tree
MAX_COLUMNS = 32768
MAX_TILES = 996  # a word of all tiles fits a frame


def sum_width(products):
    """Bits of a signed sum of ``products`` ternary x int8 products, which reaches +-128 each; 1 for none."""
    return (128 * products).bit_length() + 1 if products else 1


ACCUMULATOR_BITS = sum_width(MAX_COLUMNS)  # on the link: 24, which are three bytes


@dataclass(frozen=True, kw_only=True)
class Config:
    """Geometry and memories of an accelerator.

    Parameters
    ----------
    name : str
        Of the preset, one line; ``{banks}x{rows}`` unless given.
    banks : int
        Column banks K, 1 to 64. Column ``c`` of a matrix lives in bank ``c % banks``.
    tiles : int
        Tiles of 5 rows a bank, 1 to 32, and at most 996 in all; the array has R = 5 * tiles rows.
    depth : int
        Weight words a tile, 5 weights each. At most 65536.
    columns : int
        Longest activation vector, at most 32768.
    blocks : int
        Row blocks of results that are held, R accumulators each, at most 65535.
    slots : int
        Activation lists that are held (two: one is built while the other is read).
    stack : int
        Tiles side by side: they share a memory, their words being one of its own, and get an activation in the same
        cycle. Divides ``tiles``.
    serial : bool
        int32 vectors are quantised an element in 44 cycles, with less logic; else an element a cycle.
    single_port : bool
        Weights lie in memories with one port, in the byte code, and are only written while nothing runs.
    """

    name: str = ""
    banks: int
    tiles: int
    depth: int
    columns: int
    blocks: int
    slots: int = 2
    stack: int = 1
    serial: bool = False
    single_port: bool = False

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name.isprintable():
            raise ArgumentError(f"Config {self.name!r}: name must be a text of one line")
        for field, low, high in (("banks", 1, 64), ("tiles", 1, 32), ("depth", 1, 65536), ("columns", 1, MAX_COLUMNS),
                                 ("blocks", 1, 65535), ("slots", 1, 16), ("stack", 1, 4)):
            value = getattr(self, field)
            if type(value) is not int or not low <= value <= high:
                raise ArgumentError(f"Config {self.name!r}: {field} must be an integer from {low} to {high}, "
                                    f"not {value!r}")
        for field in ("serial", "single_port"):
            value = getattr(self, field)
            if type(value) is not bool:
                raise ArgumentError(f"Config {self.name!r}: {field} must be true or false, not {value!r}")
        if self.banks * self.tiles > MAX_TILES:
            raise ArgumentError(f"Config {self.name!r}: banks * tiles must be at most {MAX_TILES}, "
                                f"not {self.banks * self.tiles}")
        if self.tiles % self.stack:
            raise ArgumentError(f"Config {self.name!r}: stack must divide the {self.tiles} tiles, not be {self.stack}")
        if not self.name:
            object.__setattr__(self, "name", f"{self.banks}x{self.rows}")

    @property
    def rows(self):
        """Rows of the array, R."""
        return TRITS * self.tiles

    @property
    def products(self):
        """Ternary x int8 products a cycle."""
        return self.banks * self.rows

    @property
    def capacity(self):
        """Ternary weights on chip."""
        return self.products * self.depth

    @property
    def groups(self):
        """Groups of banks, one after the other in a row."""
        return ceil(self.banks / GROUP)

    @property
    def hops(self):
        """Cycles that an activation takes down a bank: stacks of tiles."""
        return self.tiles // self.stack

    @property
    def address_bits(self):
        """Of a weight word."""
        return ceil_log2(self.depth) or 1

    @property
    def accumulator_bits(self):
        """Of the sum of a row of ``columns`` products."""
        return sum_width(self.columns)

    @property
    def result_bits(self):
        """Of the address of a result in the memory of its tile."""
        return ceil_log2(self.blocks * TRITS)

    @property
    def slot_bits(self):
        """Of the number of a list."""
        return ceil_log2(self.slots) or 1

    @property
    def list_depth(self):
        """Entries of one bank's list in one slot; a short list is padded to the drain of a tile, 5 results."""
        return max(ceil(self.columns / self.banks), TRITS)


PRESETS = {config.name: config for config in (
    Config(name="1x5", banks=1, tiles=1, depth=256, columns=512, blocks=64),
    Config(name="4x10", banks=4, tiles=2, depth=16384, columns=1024, blocks=128),
    Config(name="8x10", banks=8, tiles=2, depth=2048, columns=1024, blocks=128),
    Config(name="16x20", banks=16, tiles=4, depth=2048, columns=8192, blocks=102),
    Config(name="16x40", banks=16, tiles=8, depth=2048, columns=512, blocks=32),
    Config(name="16x50", banks=16, tiles=10, depth=2048, columns=8192, blocks=102),
    Config(name="24x100", banks=24, tiles=20, depth=512, columns=1024, blocks=102, stack=4),
    Config(name="4x10-spram", banks=4, tiles=2, depth=16384, columns=512, blocks=102, stack=2, serial=True,
           single_port=True),
    Config(name="16x20-deep", banks=16, tiles=4, depth=32768, columns=32768, blocks=1024),
)}
