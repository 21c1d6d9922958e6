"""Cycles of the whole-token processor, instruction by instruction, from what the reference machine knows."""

from collections import Counter

from amaranth.utils import ceil_log2

from ...golden.lanes import MAX_SHIFT
from ...golden.scalars import MANTISSA_BITS
from ...hdl.array.engine import engine_latency
from ...hdl.config import TRITS
from ...hdl.instructions import Angle, Count, End, Fetch, Operand, Pass, Pick, Repeat, Rotate, Run, Scale, Store
from ...hdl.processor import STORE_CYCLES
from ...hdl.technology.memory import BLOCK_LATENCY
from ...hdl.vector.angles import ANGLE_LATENCY
from ...hdl.vector.lanes import ANGLES, DRAIN_CYCLES, PRODUCTS
from ...hdl.vector.scalars import scale_cycles


__all__ = ["CAUSES", "instruction_cycles", "start_cycles", "token_cycles"]


CAUSES = ("control", "array", "lanes", "latency", "scalars")
OPERAND_STATES = 5  # of a Pass or a Store between the scalar's arrival and the first word


def start_cycles(image, token, position):
    """From the start until the first instruction is executed: token and position are divided by subtraction."""
    geometry = image.geometry
    quotients = (token // geometry.tiles, position // geometry.tiles, position // geometry.banks,
                 (image.vocabulary - 1) // geometry.tiles)
    return 1 + 2 + max(quotients) + 1


def instruction_cycles(processor, instruction):
    """{cause: cycles} of an instruction before it is executed, from the cycle in which it is until the next one is.

    ``processor`` is a sim.model.processor.Processor. "array" are beats, "lanes" words, "latency" what is waited for
    behind the last of them, "scalars" the scalar unit, and "control" all else.
    """
    if isinstance(instruction, End):
        return {"control": 1}
    causes = _causes(processor, instruction)
    states = sum(causes.values())
    # The next instruction is read while this one is executed, and waited for where that is too short.
    return causes | {"control": causes.get("control", 0) + 2 + max(BLOCK_LATENCY - states, 0)}


def token_cycles(processor, token, position):
    """The next token, and a Counter of the cycles by (instruction, cause)."""
    cycles = Counter({("Start", "control"): start_cycles(processor.image, token, position)})

    def observe(processor, instruction):
        for cause, count in instruction_cycles(processor, instruction).items():
            cycles[type(instruction).__name__, cause] += count

    return processor.step(token, position, observe), cycles


def _causes(processor, instruction):
    geometry = processor.geometry
    drain = DRAIN_CYCLES + ceil_log2(max(geometry.tiles, 2)) + 2
    match instruction:
        case Run():
            blocks = processor.positions() if instruction.count is Count.POSITIONS else instruction.blocks
            return {"control": 1, "array": blocks * _beats(processor, instruction), "latency": engine_latency(geometry)}
        case Fetch():
            return {"control": processor.token // geometry.tiles + 1, "array": instruction.words * geometry.tiles,
                    "latency": engine_latency(geometry)}
        case Pass():
            words = processor.positions() if instruction.count is Count.POSITIONS else instruction.words
            scalar = processor.scalar(instruction.scalar) if instruction.second is Operand.SCALAR else None
            return {"control": BLOCK_LATENCY + OPERAND_STATES + _align(scalar), "lanes": words, "latency": drain}
        case Rotate():
            return {"control": 1, "lanes": PRODUCTS * instruction.words, "latency": drain}
        case Store():
            pause = geometry.tiles * (instruction.words - 1)
            return {"control": BLOCK_LATENCY + OPERAND_STATES + _align(processor.scalar(instruction.scalar)),
                    "lanes": instruction.words + pause, "latency": drain + geometry.tiles + STORE_CYCLES}
        case Scale():
            return {"scalars": scale_cycles(instruction.operation, *processor.scale_operands(instruction))}
        case Pick():
            return {"control": BLOCK_LATENCY + 2}
        case Angle():
            return {"control": ANGLE_LATENCY + ANGLES}
        case Repeat():
            return {}


def _beats(processor, run):
    """Beats of a row block: the longest bank's list, and five where five results must leave."""
    high, low = processor.lists[run.slot]
    banks = processor.geometry.banks
    listed = (high != 0) | (low != 0)
    longest = max(int(listed[bank::banks].sum()) for bank in range(banks))
    return max(longest, 1 if run.int8 else TRITS)


def _align(scalar):
    """Cycles in which a scalar's exponent is brought into the range of shifts."""
    if scalar is None or not scalar.mantissa:
        return 0
    if scalar.exponent > 0:
        return 1
    return min(max(int(-scalar.exponent) - MAX_SHIFT, 0), MANTISSA_BITS)
