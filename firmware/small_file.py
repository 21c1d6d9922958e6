"""Files that a user writes by hand: read whole, but never more than they can be."""

import msgspec


__all__ = ["read_small"]


def read_small(path, most):
    """Bytes of a file.

    Raises OSError where it cannot be read, and msgspec.DecodeError where it is longer than ``most`` bytes.
    """
    with open(path, "rb") as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise msgspec.DecodeError(f"is longer than {most} bytes")
    return text
