"""Cycles of the whole-token processor, instruction by instruction, from what the reference machine knows."""

from collections import Counter
from typing import NamedTuple

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


__all__ = ["CAUSES", "Event", "Meter", "Spent", "WORK", "cycles_by", "token_cycles", "turn_cycles"]


CAUSES = ("control", "array", "lanes", "latency", "scalars")
# Products of activations that are not 0, those of an int8 weight counted once; beats of the array; elements through
# lanes; words of keys and values written; operations of the scalar unit.
WORK = ("ternary products", "int8 products", "beats", "lane operations", "stored words", "scalar operations")
OPERAND_STATES = 2  # of a Pass or a Store between the scalar's arrival and the first word


class Spent(NamedTuple):
    """What a cycle is counted under."""
    stage: str  # of the token, as of setun.compiler.image.Image
    instruction: str  # its name; "Start" and "Turn" are before the first and behind the last one
    cause: str


class Event(NamedTuple):
    """An instruction's work on a unit, for pictures."""
    unit: str
    stage: str
    instruction: str
    start: int  # cycles from the token's start
    cycles: int


class Meter:
    """Counts what a token takes; observes Processor.step.

    Parameters
    ----------
    processor : sim.model.processor.Processor
    token, position : int

    Members
    -------
    cycles : Counter
        Cycles by Spent, from the start to the last one. "array" is what an instruction waits for the one before on the
        array, "lanes" are words, "latency" what is waited for behind the last of them, "scalars" the scalar unit, and
        "control" all else: reading and starting instructions.
    work : Counter
        What is done, by one of WORK.
    events : list of Event
    """

    def __init__(self, processor, token, position):
        start = _start_cycles(processor.image, token, position)
        self.cycles, self.work = Counter({Spent(processor.image.stages[0], "Start", "control"): start}), Counter()
        self.events = [Event("control", processor.image.stages[0], "Start", 0, start)]
        self._now = start  # the cycle in which the next instruction may be executed
        self._free = 0  # the first cycle in which the array is

    def __call__(self, processor, counter):
        """Before the instruction at ``counter`` is executed."""
        instruction, stage = processor.image.program[counter], processor.image.stages[counter]
        name = type(instruction).__name__
        causes = {}
        if waits_for_array(instruction):
            causes["array"] = max(self._free - self._now, 0)
        states = _states(processor, instruction)
        control = 1
        if not isinstance(instruction, End):
            # The next instruction is read while this one is executed, and waited for where that is too short.
            control += 1 + max(BLOCK_LATENCY - sum(states.values()), 0)
        causes |= states | {"control": states.get("control", 0) + control}
        begin = self._now + causes.get("array", 0)
        if isinstance(instruction, (Run, Fetch)):
            cycles = _array_cycles(processor, instruction)
            self._free = begin + 1 + cycles
            self.events.append(Event("array", stage, name, begin + 1, cycles))
        self._now += sum(causes.values())
        unit = {Scale: "scalars", Pass: "lanes", Rotate: "lanes", Store: "lanes"}.get(type(instruction), "control")
        self.events.append(Event(unit, stage, name, begin, self._now - begin))
        for cause, count in causes.items():
            self.cycles[Spent(stage, name, cause)] += count
        self.work.update(_work(processor, instruction))


def token_cycles(processor, token, position):
    """The next token, and the Meter of this one."""
    meter = Meter(processor, token, position)
    return processor.step(token, position, meter), meter


def turn_cycles(processor, token, position):
    """As token_cycles, with the cycles that pass between two positions of a text."""
    following, meter = token_cycles(processor, token, position)
    meter.cycles[Spent(processor.image.stages[-1], "Turn", "control")] += TURN_CYCLES
    return following, meter


def cycles_by(field, cycles):
    """{value of that field of Spent: cycles}, of a Counter by Spent; the order is that of the first of each."""
    found = Counter()
    for spent, count in cycles.items():
        found[getattr(spent, field)] += count
    return found


def _work(processor, instruction):
    """{one of WORK: how much} of an instruction."""
    config = processor.config
    match instruction:
        case Run():
            blocks = _blocks(processor, instruction)
            digits = 1 + instruction.softmax
            beats = blocks * _beats(processor, instruction) * digits
            high, low = processor.lists[instruction.slot]
            listed = int((high != 0).sum() + (low != 0).sum()) if instruction.softmax else int((high != 0).sum())
            # Rows of a tile are five, or the digits of one.
            return {"int8 products" if instruction.int8 else "ternary products":
                    listed * blocks * config.tiles * (1 if instruction.int8 else TRITS), "beats": beats}
        case Fetch():
            return {"beats": instruction.words * config.tiles}
        case Pass():
            words = processor.positions() if instruction.count is Count.POSITIONS else instruction.words
            return {"lane operations": words * config.tiles}
        case Rotate():
            return {"lane operations": PRODUCTS * instruction.words * config.tiles}
        case Store():
            return {"lane operations": instruction.words * config.tiles,
                    "stored words": instruction.words * config.tiles}
        case Scale():
            return {"scalar operations": 1}
    return {}


def _start_cycles(image, token, position):
    """Until the first instruction is executed: token and position are divided by subtraction."""
    config = image.config
    quotients = (token // config.tiles, position // config.tiles, position // config.banks,
                 (image.vocabulary - 1) // config.tiles)
    return 1 + 2 + max(quotients) + 1


def _array_cycles(processor, instruction):
    """Of a Run or a Fetch, from the cycle behind its execution until the array is free."""
    config = processor.config
    if isinstance(instruction, Fetch):
        return (processor.token // config.tiles + 1 + instruction.words * config.tiles
                + engine_latency(config, True))
    beats = _blocks(processor, instruction) * _beats(processor, instruction) * (1 + instruction.softmax)
    return 1 + beats + engine_latency(config, instruction.int8)


def _states(processor, instruction):
    """{cause: cycles} between an instruction's execution and the next one's reading."""
    config = processor.config
    match instruction:
        case Pass():
            words = processor.positions() if instruction.count is Count.POSITIONS else instruction.words
            scalar = processor.scalar(instruction.scalar) if instruction.second is Operand.SCALAR else None
            align = _align(scalar)
            if instruction.first is Source.NOISE:
                align = max(align, 1)
                if scalar.mantissa:
                    words += first_pause(config.tiles) + (words - 1) * next_pause(config.tiles)
            return {"control": BLOCK_LATENCY - 1 + OPERAND_STATES + align, "lanes": words,
                    "latency": drain_cycles(config.tiles, not instruction.remember)}
        case Rotate():
            return {"control": 2, "lanes": PRODUCTS * instruction.words,
                    "latency": drain_cycles(config.tiles, False)}
        case Store():
            pause = config.tiles * (instruction.words - 1)
            return {"control": BLOCK_LATENCY - 1 + OPERAND_STATES + _align(processor.scalar(instruction.scalar)),
                    "lanes": instruction.words + pause,
                    "latency": drain_cycles(config.tiles, True) + config.tiles}
        case Scale():
            return {"scalars": scale_cycles(instruction.operation, *processor.scale_operands(instruction))}
        case Pick():
            return {"control": BLOCK_LATENCY + 2}
        case Angle():
            return {"control": ANGLE_LATENCY - 1 + ANGLES}
        case Run() | Fetch() | Repeat() | End():
            return {}


def _blocks(processor, run):
    return processor.positions() if run.count is Count.POSITIONS else run.blocks


def _beats(processor, run):
    """Beats of a row block: the longest bank's list, and five where five results must leave."""
    high, low = processor.lists[run.slot]
    banks = processor.config.banks
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
