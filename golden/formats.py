"""Fixed-point formats of a model's vectors that do not follow from the vector itself."""

import math
from dataclasses import dataclass


__all__ = ["Formats", "LayerFormats"]


MOST_SHIFT = 31
MOST_FRACTION = 1000


@dataclass(frozen=True)
class LayerFormats:
    """Formats of a layer.

    Parameters
    ----------
    key_steps, value_steps : tuple of float
        For each kv head, what a key or a value of one unit stands for; magnitudes are at most 121 units.
    square_shift : int
        How far the square of the gate's accumulator is shifted right, 0 to 31; 0 where the activation is SiLU.
    up_bits : int
        Bits that hold the accumulators of up, 1 to 31.

    Raises ValueError for what is out of range.
    """
    key_steps: tuple[float, ...]
    value_steps: tuple[float, ...]
    square_shift: int
    up_bits: int

    def __post_init__(self):
        for name in ("key_steps", "value_steps"):
            if not all(math.isfinite(step) and step > 0 for step in getattr(self, name)):
                raise ValueError(f"{name}: {getattr(self, name)} are not all above 0")
        if not 0 <= self.square_shift <= MOST_SHIFT:
            raise ValueError(f"square_shift: {self.square_shift} is not 0 to {MOST_SHIFT}")
        if not 1 <= self.up_bits <= MOST_SHIFT:
            raise ValueError(f"up_bits: {self.up_bits} is not 1 to {MOST_SHIFT}")


@dataclass(frozen=True)
class Formats:
    """Formats of a model.

    Parameters
    ----------
    fraction : int
        Bits behind the point of the residual stream, which has 18 bits; negative where the point is beyond its last
        bit, and more than 17 where it is above its first.
    layers : tuple of LayerFormats

    Raises ValueError for what is out of range.
    """
    fraction: int
    layers: tuple[LayerFormats, ...]

    def __post_init__(self):
        if abs(self.fraction) > MOST_FRACTION:
            raise ValueError(f"fraction: {self.fraction} is not within {MOST_FRACTION}")
