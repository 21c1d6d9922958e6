"""A processor of which only the program is known: what its cycles depend on is assumed."""

import zlib

import numpy as np

from ...golden.scalars import ONE, Scalar
from ...hdl.instructions import Count, Pass, Repeat, ScaleOperation, Sink, Source
from .processor_cycles import Meter


__all__ = ["AssumedProcessor", "assumed_token"]


SEED = 1958
# Integers that are loaded as scalars: what they have of their bits decides how long that takes.
LOADED = {ScaleOperation.LOAD_MAXIMUM: 1 << 16, ScaleOperation.LOAD_SUM: 1 << 40, ScaleOperation.LOAD_PICKED: 1 << 15}


class AssumedProcessor:
    """What sim.model.processor_cycles asks of a processor, without values.

    Lists have zeros at random places, drawn with a fixed seed; the softmax's weights have none. Scalars lie within the
    lanes' shifts, and nothing is sampled.

    Parameters
    ----------
    outline : setun.compiler.schedule.Outline
    zeros : dict
        {stage: share of zeros among what it lists}; none in those that are not named.
    layers : int
        That are run, one or more.
    """

    def __init__(self, outline, zeros, layers):
        self.image, self.config, self.zeros, self.layers = outline, outline.config, zeros, layers
        self.lists, self.token, self.position = {}, 0, 0
        self._zero = False

    def positions(self):
        """Words of the positions so far."""
        return self.position // self.config.tiles + 1

    def scalar(self, address):
        """Of the instruction that is observed."""
        return Scalar(np.int64(0), np.int64(0)) if self._zero else Scalar(ONE.mantissa, np.int64(-16))

    def scale_operands(self, step):
        """As of sim.model.processor.Processor."""
        return ONE, ONE, LOADED.get(step.operation, 0)

    def step(self, token, position, observe):
        """Observe the program of a token at a position, with as many layers as there are to be."""
        self.token, self.position, counter, layer = token, position, 0, 0
        while counter < len(self.image.program):
            instruction, stage = self.image.program[counter], self.image.stages[counter]
            self._zero = isinstance(instruction, Pass) and instruction.first is Source.NOISE
            observe(self, counter)
            if isinstance(instruction, Pass) and instruction.sink is Sink.LIST:
                self.lists[instruction.destination] = self._list(instruction, stage)
            counter += 1
            if isinstance(instruction, Repeat):
                layer += 1
                counter = instruction.target if layer < self.layers else counter

    def _list(self, instruction, stage):
        if instruction.count is Count.POSITIONS:  # the softmax's weights, in two digits
            ones = np.ones(self.position + 1, np.int8)
            return ones, ones
        elements, share = instruction.words * self.config.tiles, self.zeros.get(stage, 0.0)
        rng = np.random.default_rng([SEED, zlib.crc32(stage.encode()), elements])
        listed = (rng.random(elements) >= share).astype(np.int8)
        return listed, np.zeros_like(listed)


def assumed_token(outline, zeros, position, token=0):
    """(Counter of the cycles by Spent, Counter of the work, Events) of a token at a position.

    Layers are alike, and so two are run: each takes what the second adds to the first. Events are of those two.
    """
    meters = []
    for layers in (1, 2)[:outline.layers]:
        processor = AssumedProcessor(outline, zeros, layers)
        processor.token = token
        meters.append(Meter(processor, token, position))
        processor.step(token, position, meters[-1])
    first, last = meters[0], meters[-1]
    more = outline.layers - len(meters)
    cycles, work = (type(counts)({key: count + more * (count - before[key]) for key, count in counts.items()})
                    for before, counts in ((first.cycles, last.cycles), (first.work, last.work)))
    return cycles, work, last.events
