"""A program for people: an instruction a line, addresses by the names of what lies there."""

import dataclasses
import enum

from ..hdl.instructions import Address, Angle, Pass, Rotate, Scale, Sink, Source, Store


__all__ = ["listing"]


SPACES = {"weights": "weights", "results": "results", "elements": "elements", "angles": "elements", "scalar": "scalars",
          "a": "scalars", "b": "scalars"}


def listing(image):
    """The program of an Image as text; fields that have their usual value are left out."""
    return "".join(f"{number:4}  {_line(image.map, instruction)}\n" for number, instruction in enumerate(image.program))


def _line(places, instruction):
    parts = [type(instruction).__name__.ljust(7)]
    for field in dataclasses.fields(instruction):
        value = getattr(instruction, field.name)
        if value == field.default:
            continue
        parts.append(f"{field.name}={_told(places, instruction, field.name, value)}")
    return " ".join(parts).rstrip()


def _told(places, instruction, field, value):
    """A field's value, or the name of what lies at an address and how far behind its beginning."""
    if isinstance(value, enum.Enum):
        return value.name.lower()
    space = SPACES.get(field) or _space(instruction, field)
    if space is None or isinstance(value, bool):
        return str(value).lower() if isinstance(value, bool) else str(value)
    number = value.value if isinstance(value, Address) else value
    layered = "+layer" if isinstance(value, Address) and value.layered else ""
    name, offset = _name(getattr(places, space), number)
    return f"{name.replace(' ', '_')}{f'+{offset}' if offset else ''}{layered}"


def _space(instruction, field):
    """The memory that an address is of where its name does not tell."""
    match instruction, field:
        case Scale(), "destination":
            return "scalars"
        case Pass(), "destination":
            return "elements" if instruction.sink in (Sink.ELEMENT, Sink.TOKEN) else None
        case (Rotate() | Angle()), "destination":
            return "elements"
        case Store(), "source":
            return "results" if instruction.first is Source.RESULT else "elements"
    return None


def _name(places, number):
    """What lies at an address: the last that begins there or before, and of several the shortest."""
    name, (address, _) = max(((name, place) for name, place in places.items() if place[0] <= number),
                             key=lambda item: (item[1][0], -item[1][1]))
    return name, number - address
