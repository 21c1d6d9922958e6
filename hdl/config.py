"""The parameters of one machine, and the presets that ship."""

from dataclasses import dataclass
from math import ceil

from amaranth.utils import ceil_log2

from ..errors import ArgumentError


__all__ = ["ACCUMULATOR_BITS", "Config", "GROUP", "MAX_COLUMNS", "PRESETS", "TRITS", "sum_width"]


TRITS = 5  # ternary weights in a memory word, and rows of a tile: 3 ** 5 = 243 fits 8 bits
GROUP = 4  # column banks whose products are added in a tree
MAX_COLUMNS = 32768
MOST = {"banks": 64, "tiles": 32, "depth": 65536, "columns": MAX_COLUMNS, "results": 65535, "elements": 65535,
        "scalars": 4096, "instructions": 4096, "vocabulary": 65536, "context": 65535}
MOST_TILES = 980  # a word of all tiles fits a frame


def sum_width(products):
    """Bits of a signed sum of ``products`` ternary x int8 products, which reaches +-128 each; 1 for none."""
    return (128 * products).bit_length() + 1 if products else 1


ACCUMULATOR_BITS = sum_width(MAX_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of a processor.

    Parameters
    ----------
    name : str
        ``{banks}x{rows}`` unless given.
    banks : int
        Column banks K of the array; a multiple of ``tiles``.
    tiles : int
        Tiles N of five rows, and lanes.
    depth : int
        Words of five trits in the memory of a bank and tile.
    columns : int
        Longest list, in elements: that of slot 0. That of slot 1 is half as long at most.
    results, elements : int
        Words of 18 bits in a lane's two memories.
    scalars : int
        Registers of the scalar unit.
    instructions : int
        Words of the program memory.
    silu : bool
        Whether lanes have a table of the sigmoid, which models with SiLU need.
    vocabulary, context : int
        Most tokens and positions of a model.

    Raises ArgumentError where lanes could not reach their banks without a crossbar, or a size is out of its range.
    """
    name: str = ""
    banks: int
    tiles: int
    depth: int
    columns: int = 512
    results: int = 1024
    elements: int = 512
    scalars: int = 256
    instructions: int = 512
    silu: bool = False
    vocabulary: int = 4096
    context: int = 256

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name.isprintable():
            raise ArgumentError(f"Config {self.name!r}: name must be a text of one line")
        for field, most in MOST.items():
            value = getattr(self, field)
            if type(value) is not int or not 1 <= value <= most:
                raise ArgumentError(f"Config {self.name!r}: {field} must be an integer from 1 to {most}, "
                                    f"not {value!r}")
        if type(self.silu) is not bool:
            raise ArgumentError(f"Config {self.name!r}: silu must be true or false, not {self.silu!r}")
        if self.banks % self.tiles:
            raise ArgumentError(f"Config {self.name!r}: tiles must divide the {self.banks} banks, not be "
                                f"{self.tiles}")
        if self.banks * self.tiles > MOST_TILES:
            raise ArgumentError(f"Config {self.name!r}: banks * tiles must be at most {MOST_TILES}, "
                                f"not {self.banks * self.tiles}")
        if self.columns < 2:
            raise ArgumentError(f"Config {self.name!r}: columns must be two or more, not {self.columns}")
        if not self.name:
            object.__setattr__(self, "name", f"{self.banks}x{self.rows}")

    @property
    def rows(self):
        """Rows of the array."""
        return TRITS * self.tiles

    @property
    def products(self):
        """Ternary x int8 products a cycle."""
        return self.banks * self.rows

    @property
    def capacity(self):
        """Ternary weights on chip."""
        return self.products * self.depth

    def longest_list(self, slot):
        """Elements that the list of a slot holds."""
        return self.columns // (1 if slot == 0 else 2)

    @property
    def groups(self):
        """Groups of banks, one after the other in a row."""
        return ceil(self.banks / GROUP)

    @property
    def address_bits(self):
        """Of a weight word."""
        return ceil_log2(self.depth) or 1

    @property
    def list_depth(self):
        """Entries of one bank's list in one slot; a short list is padded to the drain of a tile, 5 results."""
        return max(ceil(self.columns / self.banks), TRITS)


PRESETS = {config.name: config for config in (
    Config(name="8x20", banks=8, tiles=4, depth=2048, results=1024, elements=512, scalars=128, instructions=256),
    Config(name="24x40", banks=24, tiles=8, depth=2048, results=1024, elements=512, scalars=128, instructions=256),
    Config(name="16x20", banks=16, tiles=4, depth=8192, results=2048, elements=1024, scalars=256, instructions=256,
           silu=True),
)}
