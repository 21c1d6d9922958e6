"""The float types of files: widened to float32, and the narrowest that holds values exactly."""

import numpy as np


__all__ = ["FLOATS", "narrow", "narrowest", "widen"]


FLOATS = {"BF16": np.dtype("<u2"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}  # BF16 as its bits


def widen(stored, kind):  # of the dtype of its kind [...] -> float32 [...]
    """float32 of what is stored."""
    if kind == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def narrow(values, kind):  # float32 [...] -> of the dtype of its kind [...]
    """Inverse of widen, for values that the type holds."""
    values = np.ascontiguousarray(values, np.float32)
    if kind == "BF16":
        return (values.view(np.uint32) >> 16).astype(FLOATS[kind])
    with np.errstate(over="ignore"):
        return values.astype(FLOATS[kind])


def narrowest(chunks, kinds=("BF16", "F16", "F32")):  # iterable of float32 [...] -> the first kind that holds them all
    """The first of the kinds that holds all values exactly; the last is not asked."""
    held = list(kinds[:-1])
    for values in chunks:
        held = [kind for kind in held if (widen(narrow(values, kind), kind) == values).all()]
    return (held or kinds[-1:])[0]
