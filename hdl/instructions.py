"""Instructions of the whole-token processor, and the memories that they work on.

A token is a program: the array multiplies lists of int8 by ternary words (Run), the lanes beside its tiles do all that
is elementwise (Pass, Rotate, Store), a scalar unit follows the scales (Scale), and a few instructions move single
values. Word w of a vector holds its elements w N to w N + N - 1, element i in lane i % N: there is a lane for each of
the N tiles. Each lane has two memories: results, which the array writes and which holds norms' weights too, and
elements, which lanes write.

Addresses of weights, results and scalars may be of a layer: the layer's stride is then added once for each time that
Repeat has gone back.
"""

import dataclasses
import enum
from dataclasses import dataclass

from amaranth import signed
from amaranth.lib import data

from ..errors import ArgumentError


__all__ = ["ARRAY_KINDS", "Address", "Adjust", "Angle", "Count", "End", "Fetch", "Instruction", "Limit",
           "MOST_INSTRUCTIONS", "OPCODES", "OPCODE_BITS", "Operand", "Pass", "Pick", "Repeat", "Rotate", "Run",
           "SCALAR_BITS", "Scale", "ScaleOperation", "Sink", "Source", "Store", "StoreKind", "decode", "encode",
           "layout", "waits_for_array", "word_bits"]


SCALAR_BITS = 16, 12  # mantissa and exponent
OPCODE_BITS = 4
SHIFT_BITS = 5
PHASE_BITS = 24
MOST_INSTRUCTIONS = 1 << 20  # of a token, before the watchdog ends it


class Count(enum.Enum):
    """How many words or row blocks an instruction works on."""
    GIVEN = 0
    POSITIONS = 1  # those that hold the positions so far, the current one among them


class Operand(enum.Enum):
    """The second factor of a lane."""
    SCALAR = 0
    RESULT = 1  # of the same address as a first factor from there
    ELEMENT = 2
    SIGMOID = 3  # of the element, from the table
    EXP2 = 4  # no factor: the result is the table's 1023 * 2**-x


class Source(enum.Enum):
    """The first factor of a lane, or where a scalar is loaded from."""
    RESULT = 0
    POSITIVE = 1  # the result, or 0 where it is negative; a second factor RESULT as well
    ELEMENT = 2
    BELOW = 3  # how far the element is below the largest element of the last Pass
    NOISE = 4  # Gumbel's, of the position's token of that number, times a scalar; none is made for one that is 0


class Sink(enum.Enum):
    """Where a lane's result goes."""
    NOWHERE = 0
    ELEMENT = 1
    LIST = 2  # 8 bits, or the two digits of a weight of the softmax
    TOKEN = 3  # nowhere, but the number of the largest becomes the next token


class Limit(enum.Enum):
    """Elements that take part; the others are as if they were not there."""
    NONE = 0
    POSITION = 1  # up to the current position
    VOCABULARY = 2


class Adjust(enum.Enum):
    """What is added to the exponent of a scalar, beside a constant."""
    NONE = 0
    SHIFT = 1  # the shift of the last Pass whose shift followed a maximum
    NARROW = 2  # the shift of sums that were weighted with the softmax


class ScaleOperation(enum.Enum):
    """As in golden/scalars.py; the loads normalise an integer."""
    MULTIPLY = 0
    DIVIDE = 1
    ADD = 2
    ROOT = 3
    LOAD_MAXIMUM = 4  # magnitude of the last Pass
    LOAD_SUM = 5  # of the last Pass: of squares of first factors, or of EXP2's results
    LOAD_PICKED = 6  # element, of Pick


class StoreKind(enum.Enum):
    """Keys are rows of a matrix whose row is the position; values are rows by element and columns by position."""
    KEY = 0
    VALUE = 1


@dataclass(frozen=True)
class Address:
    """An address, and whether the layer's stride is added."""
    value: int
    layered: bool = False

    def __str__(self):
        return f"{self.value}+layer" if self.layered else str(self.value)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Multiply row blocks by a list; block b lies at ``weights`` + b ``stride`` and its results go to the lanes.

    Ternary products leave five words of results a block, those of int8, whose five trits are the rows of a tile, one.
    Sums are shifted right by ``narrow``, at most as far as brings the largest into a lane. With ``softmax`` the list
    holds weights of two digits: all blocks are run with the upper and then with the lower ones, and sums are shifted by
    what the last Pass's sum needs as well.
    """
    slot: int
    softmax: bool = False
    int8: bool
    weights: Address
    stride: int
    blocks: int = 0
    count: Count = Count.GIVEN
    results: int
    narrow: int = 0


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Stream words through the lanes: first times second, shifted, plus an addend, as golden.lanes.lane.

    The shift is ``shift``; with ``shift_by_scalar`` less the scalar's exponent; with ``shift_by_maximum`` plus the bits
    of the last Pass's maximum less 17; and always 0 to 31. Maximum, largest element and sum are cleared before; they
    may only be asked for with ``remember``, without which a Pass is done earlier. One that lists elements multiplied by
    a scalar does not wait for the array.
    """
    words: int = 0
    count: Count = Count.GIVEN
    first: Source
    second: Operand
    results: Address = Address(0)
    elements: int = 0
    scalar: Address = Address(0)
    add: bool = False  # the element at the destination
    shift: int = 0
    shift_by_scalar: bool = False
    shift_by_maximum: bool = False
    sink: Sink
    destination: int = 0  # of elements, or a list's slot
    limit: Limit = Limit.NONE
    remember: bool = True


@dataclass(frozen=True, kw_only=True)
class Rotate:
    """Rotary embedding of pairs of words of results, 2 w and 2 w + 1, by the angles of w modulo ``period``."""
    words: int  # pairs
    results: int
    angles: int
    period: int
    destination: int


@dataclass(frozen=True, kw_only=True)
class Store:
    """Write words, times a scalar and limited to +-121, into the weights' memories as a key or a value."""
    kind: StoreKind
    words: int
    first: Source
    source: int
    scalar: Address
    weights: Address
    stride: int


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Compute a scalar of one or two others, and add to its exponent."""
    operation: ScaleOperation
    destination: int
    a: Address = Address(0)
    b: Address = Address(0)
    exponent: int = 0
    adjust: Adjust = Adjust.NONE


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """Copy the token's row of a matrix of int8 in the weights' memories to the results, ``words`` words."""
    weights: Address
    stride: int
    words: int
    results: int


@dataclass(frozen=True, kw_only=True)
class Pick:
    """Read the token's element of the vector at ``elements``."""
    elements: int


@dataclass(frozen=True, kw_only=True)
class Angle:
    """Write cos, -sin and sin of a pair of the rotary embedding at the current position into three words."""
    frequency: int
    lane: int
    destination: int


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """Go back to ``target`` for the next layer, until ``layers`` were done; strides of a layer's addresses."""
    target: int
    layers: int
    weights: int
    results: int
    scalars: int


@dataclass(frozen=True, kw_only=True)
class End:
    """The token is done."""


def waits_for_array(instruction):
    """Whether an instruction is not executed while a Run or a Fetch is on its way."""
    if isinstance(instruction, Pass):
        return not (instruction.first is Source.ELEMENT and instruction.second is Operand.SCALAR
                    and instruction.sink is Sink.LIST)
    return isinstance(instruction, ARRAY_KINDS)


ARRAY_KINDS = (Run, Fetch, Pass, Rotate, Store, End)  # that wait while a Run or a Fetch is on its way
OPCODES = (End, Run, Pass, Rotate, Store, Scale, Fetch, Pick, Angle, Repeat)
Instruction = Run | Pass | Rotate | Store | Scale | Fetch | Pick | Angle | Repeat | End


def _bits(count):
    return max((count - 1).bit_length(), 1)


def _width(kind, name, config):
    """Bits of a field of an instruction, by the class and the name of the field."""
    lanes = {"weights": config.depth, "results": config.results, "elements": config.elements,
             "scalar": config.scalars, "a": config.scalars, "b": config.scalars}
    sizes = lanes | {
        "words": max(config.results, config.elements), "blocks": config.depth, "stride": config.depth,
        "destination": config.scalars if kind is Scale else config.elements, "angles": config.elements,
        "period": config.elements, "source": max(config.results, config.elements), "lane": config.tiles,
        "target": config.instructions, "layers": 256, "slot": 4, "scalars": config.scalars}
    fixed = {"narrow": SHIFT_BITS, "shift": SHIFT_BITS, "exponent": SCALAR_BITS[1], "frequency": PHASE_BITS}
    return fixed.get(name) or _bits(sizes[name] + (name in ("words", "blocks", "stride", "period", "layers")))


def _fields(kind, config):
    """(name, type, bits, layered) of the fields of an instruction, from the low bits on."""
    for field in dataclasses.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, enum.Enum):
            yield field.name, field.type, _bits(len(field.type)), False
        elif field.type is bool:
            yield field.name, bool, 1, False
        else:
            yield field.name, field.type, _width(kind, field.name, config), field.type is Address


def word_bits(config):
    """Bits of an instruction of such a processor."""
    return OPCODE_BITS + max(sum(bits + layered for _, _, bits, layered in _fields(kind, config)) for kind in OPCODES)


def layout(kind, config):
    """The fields of an instruction behind its opcode, as an Amaranth layout; enumerations are their values."""
    fields = {}
    for name, _, bits, layered in _fields(kind, config):
        value = signed(bits) if name == "exponent" else bits
        fields[name] = data.StructLayout({"value": bits, "layered": 1}) if layered else value
    return data.StructLayout(fields)


def encode(instruction, config):
    """The instruction as an integer of ``word_bits`` bits, the opcode lowest. Raises ArgumentError for a field that is
    out of range."""
    kind = type(instruction)
    word, position = OPCODES.index(kind), OPCODE_BITS
    for name, form, bits, layered in _fields(kind, config):
        value = getattr(instruction, name)
        if layered:
            word |= value.layered << position + bits
            value = value.value
        elif isinstance(value, enum.Enum):
            value = value.value
        low = -(1 << bits - 1) if name == "exponent" else 0
        if not low <= value < low + (1 << bits):
            raise ArgumentError(f"{kind.__name__}: {name} is {value}, and such a processor has {bits} bits for it")
        word |= (int(value) & (1 << bits) - 1) << position
        position += bits + layered
    return word


def decode(word, config):
    """Inverse of encode. Raises ArgumentError for a word that is no instruction."""
    opcode = word & (1 << OPCODE_BITS) - 1
    if opcode >= len(OPCODES):
        raise ArgumentError(f"{word:#x} is no instruction: opcode {opcode}")
    kind, position, values = OPCODES[opcode], OPCODE_BITS, {}
    for name, form, bits, layered in _fields(kind, config):
        value = word >> position & (1 << bits) - 1
        if layered:
            value = Address(value, bool(word >> position + bits & 1))
        elif form is bool:
            value = bool(value)
        elif form is not int:
            try:
                value = form(value)
            except ValueError:
                raise ArgumentError(f"{word:#x} is no instruction: {name} {value}") from None
        elif name == "exponent" and value >> bits - 1:
            value -= 1 << bits
        values[name] = value
        position += bits + layered
    if word >> position:
        raise ArgumentError(f"{word:#x} is no instruction: bits beyond those of {kind.__name__}")
    return kind(**values)
