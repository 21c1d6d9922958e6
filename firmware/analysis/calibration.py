"""A board's power from a meter: static, a clock cycle, and a product."""

from typing import Annotated

import msgspec
import numpy as np

from ..formats.checkpoint import CheckpointError
from ..sim.model.energy import Range
from ..small_file import read_small


__all__ = ["Board", "Readings", "calibrate", "load_board", "load_readings"]


MOST_BYTES = 4096
SIGMAS = 2
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e15)]


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a meter says of a board at a clock and a load: watts, or volts and amperes."""
    load: str
    clock: Positive  # MHz
    products: Annotated[float, msgspec.Meta(ge=0, le=1e15)]  # a second, of activations that are not 0
    watts: Positive | None = None
    volts: Positive | None = None
    amperes: Positive | None = None

    def __post_init__(self):
        if (self.watts is None) == (self.volts is None or self.amperes is None):
            raise ValueError(f"the reading of load {self.load!r} must have watts, or volts and amperes")

    @property
    def power(self):
        return self.watts if self.watts is not None else self.volts * self.amperes


class Readings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Readings of a board; ``accuracy`` is the meter's, a share of what it says."""
    board: str
    readings: list[Reading]
    accuracy: Annotated[float, msgspec.Meta(gt=0, lt=1)] = .02


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With its range."""
    low: float
    mid: float
    high: float

    @property
    def range(self):
        return Range(self.low, self.mid, self.high)


class Board(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What setun calibrate writes."""
    board: str
    source: str
    static: Figure  # W
    cycle: Figure  # J a clock cycle
    product: Figure  # J
    residual: float  # the largest, a share of its reading


def _load(path, kind, remedy):
    try:
        return msgspec.yaml.decode(read_small(path, MOST_BYTES), type=kind)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path}: {error}: {remedy}") from error


def load_readings(path):
    """Readings of a YAML file. Raises CheckpointError that names file and field."""
    return _load(path, Readings, "give board, and readings with load, clock, products and watts")


def load_board(path):
    """Board of a YAML file. Raises CheckpointError that names file and field."""
    return _load(path, Board, "give what setun calibrate wrote")


def calibrate(readings, source):
    """Board by weighted least squares of P = static + clock * cycle + products * product.

    The ranges are two standard deviations, from the meter's accuracy. Raises CheckpointError where the readings do not
    decide the three, or give one below zero.
    """
    rows = np.array([[1, reading.clock * 1e6, reading.products] for reading in readings.readings]).reshape(-1, 3)
    for place, field in ((1, "clock"), (2, "products")):
        if len(set(rows[:, place])) < 2:
            raise CheckpointError(f"{source}: readings have one value of {field} only: read at two or more")
    power = np.array([reading.power for reading in readings.readings])
    scale = rows.max(axis=0)
    weighted = rows / scale / (readings.accuracy * power)[:, None]
    if np.linalg.matrix_rank(weighted) < 3:
        raise CheckpointError(f"{source}: clock and products go together in all readings: read two loads at one clock")
    found, *_ = np.linalg.lstsq(weighted, np.full(len(power), 1 / readings.accuracy), rcond=None)
    spread = SIGMAS * np.sqrt(np.diag(np.linalg.inv(weighted.T @ weighted)))
    for name, value, wide in zip(("static", "cycle", "product"), found, spread, strict=True):
        if value < -wide:
            raise CheckpointError(f"{source}: the readings make {name} negative: check their watts")
    figures = [Figure(*(max(0.0, float(value / unit)) for value in (mid - wide, mid, mid + wide)))
               for mid, wide, unit in zip(found, spread, scale, strict=True)]
    predicted = rows @ [figure.mid for figure in figures]
    return Board(board=readings.board, source=str(source), static=figures[0], cycle=figures[1], product=figures[2],
                 residual=float(np.abs(predicted / power - 1).max()))
