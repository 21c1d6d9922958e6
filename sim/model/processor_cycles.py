"""Cycles of the whole-token processor, instruction by instruction, from what the reference machine knows."""

from collections import Counter

from ...golden.lanes import MAX_SHIFT
from ...golden.scalars import MANTISSA_BITS
from ...hdl.array.engine import engine_latency
from ...hdl.config import TRITS
from ...hdl.control.conductor import TURN_CYCLES
from ...hdl.instructions import (
    Angle,
    Count,
    End,
    Fetch,
    Operand,
    Pass,
    Pick,
    Repeat,
    Rotate,
    Run,
    Scale,
    Source,
    Store,
    waits_for_array,
)
from ...hdl.technology.memory import BLOCK_LATENCY
from ...hdl.vector.angles import ANGLE_LATENCY
from ...hdl.vector.lanes import ANGLES, PRODUCTS, drain_cycles
from ...hdl.vector.noise import first_pause, next_pause
from ...hdl.vector.scalars import scale_cycles


__all__ = ["CAUSES", "token_cycles", "turn_cycles"]


CAUSES = ("control", "array", "lanes", "latency", "scalars")
OPERAND_STATES = 1  # of a Pass or a Store between the scalar's arrival and the first word


def token_cycles(processor, token, position):
    """The next token, and a Counter of the cycles by (instruction, cause), from the start to the last one.

    ``processor`` is a sim.model.processor.Processor. "array" is what an instruction waits for the one before on the
    array, "lanes" are words, "latency" what is waited for behind the last of them, "scalars" the scalar unit, and
    "control" all else: reading and starting instructions.
    """
    cycles = Counter({("Start", "control"): _start_cycles(processor.image, token, position)})
    now = cycles.total()  # the cycle in which the next instruction may be executed
    free = 0  # the first cycle in which the array is

    def observe(processor, instruction):
        nonlocal now, free
        name = type(instruction).__name__
        causes = {}
        if waits_for_array(instruction):
            causes["array"] = max(free - now, 0)
        states = _states(processor, instruction)
        control = 1
        if not isinstance(instruction, End):
            # The next instruction is read while this one is executed, and waited for where that is too short.
            control += 1 + max(BLOCK_LATENCY - sum(states.values()), 0)
        causes |= states | {"control": states.get("control", 0) + control}
        if isinstance(instruction, (Run, Fetch)):
            free = now + causes["array"] + 1 + _array_cycles(processor, instruction)
        now += sum(causes.values())
        for cause, count in causes.items():
            cycles[name, cause] += count

    return processor.step(token, position, observe), cycles


def turn_cycles(processor, token, position):
    """As token_cycles, with those that pass between two positions of a text."""
    following, cycles = token_cycles(processor, token, position)
    cycles["Turn", "control"] += TURN_CYCLES
    return following, cycles


def _start_cycles(image, token, position):
    """Until the first instruction is executed: token and position are divided by subtraction."""
    geometry = image.geometry
    quotients = (token // geometry.tiles, position // geometry.tiles, position // geometry.banks,
                 (image.vocabulary - 1) // geometry.tiles)
    return 1 + 2 + max(quotients) + 1


def _array_cycles(processor, instruction):
    """Of a Run or a Fetch, from the cycle behind its execution until the array is free."""
    geometry = processor.geometry
    if isinstance(instruction, Fetch):
        return (processor.token // geometry.tiles + 1 + instruction.words * geometry.tiles
                + engine_latency(geometry, True))
    blocks = processor.positions() if instruction.count is Count.POSITIONS else instruction.blocks
    beats = blocks * _beats(processor, instruction) * (1 + instruction.softmax)
    return 1 + beats + engine_latency(geometry, instruction.int8)


def _states(processor, instruction):
    """{cause: cycles} between an instruction's execution and the next one's reading."""
    geometry = processor.geometry
    match instruction:
        case Pass():
            words = processor.positions() if instruction.count is Count.POSITIONS else instruction.words
            scalar = processor.scalar(instruction.scalar) if instruction.second is Operand.SCALAR else None
            align = _align(scalar)
            if instruction.first is Source.NOISE:
                align = max(align, 1)
                if scalar.mantissa:
                    words += first_pause(geometry.tiles) + (words - 1) * next_pause(geometry.tiles)
            return {"control": BLOCK_LATENCY - 1 + OPERAND_STATES + align, "lanes": words,
                    "latency": drain_cycles(geometry.tiles, not instruction.remember)}
        case Rotate():
            return {"control": 1, "lanes": PRODUCTS * instruction.words,
                    "latency": drain_cycles(geometry.tiles, False)}
        case Store():
            pause = geometry.tiles * (instruction.words - 1)
            return {"control": BLOCK_LATENCY - 1 + OPERAND_STATES + _align(processor.scalar(instruction.scalar)),
                    "lanes": instruction.words + pause,
                    "latency": drain_cycles(geometry.tiles, True) + geometry.tiles}
        case Scale():
            return {"scalars": scale_cycles(instruction.operation, *processor.scale_operands(instruction))}
        case Pick():
            return {"control": BLOCK_LATENCY + 2}
        case Angle():
            return {"control": ANGLE_LATENCY + ANGLES}
        case Run() | Fetch() | Repeat() | End():
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
        return 2
    beyond = max(int(-scalar.exponent) - MAX_SHIFT, 0)
    return 1 + min(beyond, MANTISSA_BITS) if beyond else 0
