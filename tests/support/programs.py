"""Programs of random instructions, within what hdl.instructions allows, and images that hold them."""

import numpy as np

from setun.compiler.image import Image, Map
from setun.hdl.array.engine import most_narrow
from setun.hdl.config import TRITS, Config
from setun.hdl.instructions import (
    Address,
    Adjust,
    Angle,
    Count,
    End,
    Fetch,
    Limit,
    Operand,
    Pass,
    Pick,
    Repeat,
    Rotate,
    Run,
    Scale,
    ScaleOperation,
    Sink,
    Source,
    Store,
    StoreKind,
    waits_for_array,
)


__all__ = ["CONFIG", "random_image"]


CONFIG = Config(banks=4, tiles=2, depth=256, columns=48, results=128, elements=128, scalars=32, instructions=64,
                silu=True, vocabulary=64, context=24)
LAYERS = 3


class _Writer:
    """Emits instructions one after the other, and knows what the next may ask for.

    What a program must keep: lists are not written while the array reads them; nobody asks for what a step does not
    remember; steps that overlap in a memory have the same words; exponents stay within their bits.
    """

    def __init__(self, config, rng):
        self.config, self.rng, self.program = config, rng, []
        self.remembered = self.squares = self.summed = self.shifted = False  # a maximum, sums, a shift
        self.reading = set()  # slots that the array may still read
        self.digits = False  # slot 1's list is of the softmax

    def upto(self, most):
        return int(self.rng.integers(0, most + 1))

    def one(self, *choices):
        return choices[int(self.rng.integers(len(choices)))]

    def place(self, size, words, stride=0):
        """An Address of so many words; where it is of a layer, in each of LAYERS."""
        layered = bool(self.rng.integers(2)) and size - words >= LAYERS * stride
        return Address(self.upto(size - words - (LAYERS * stride if layered else 0)), layered)

    def emit(self, instruction):
        if waits_for_array(instruction):
            self.reading.clear()
        if isinstance(instruction, Run):
            self.reading.add(instruction.slot)
        self.program.append(instruction)

    def words(self):
        return self.one(1, 2, 3, 1 + self.upto(20))

    def list(self, slot, digits=False):
        """A list of int8 or of the softmax's digits in a slot."""
        if slot in self.reading:
            self.emit(self.rotate())
        longest = self.config.longest_list(slot) // self.config.tiles
        if digits:
            self.emit(self.scores())
            self.emit(Pass(count=Count.POSITIONS, first=Source.BELOW, elements=0, second=Operand.EXP2, sink=Sink.LIST,
                           destination=slot, limit=Limit.POSITION))
            self.remembered, self.squares, self.summed = False, False, True
        else:
            words = 1 + self.upto(longest - 1)
            self.emit(Pass(words=words, first=Source.ELEMENT, elements=self.upto(self.config.elements - words),
                           second=Operand.SCALAR, scalar=self.scalar(), shift=self.one(9, 20, 31), sink=Sink.LIST,
                           destination=slot, remember=False))
            self.remembered = self.squares = self.summed = False
        self.digits = digits if slot == 1 else self.digits

    def scores(self):
        self.remembered = self.squares = True
        return Pass(count=Count.POSITIONS, first=Source.ELEMENT, elements=40, second=Operand.SCALAR,
                    scalar=self.scalar(), shift=self.one(16, 18), sink=Sink.ELEMENT, destination=0,
                    limit=Limit.POSITION)

    def scalar(self):
        return self.place(self.config.scalars // 2, 1, 2)

    def run(self):
        slot = self.upto(1)
        softmax = slot == 1 and self.digits and self.summed
        int8 = softmax or bool(self.rng.integers(2))
        # Stored rows of keys grow with the positions.
        stride, count = 1 + self.upto(3), Count.POSITIONS if int8 and self.rng.integers(2) else Count.GIVEN
        blocks = 1 + self.upto(3)
        most = -(-self.config.context // self.config.tiles) if count is Count.POSITIONS else blocks
        listed = -(-self.config.columns // self.config.banks)
        written = most * (1 if int8 else TRITS) * (1 + softmax)
        self.emit(Run(slot=slot, softmax=softmax, int8=int8,
                      weights=self.place(self.config.depth, (most - 1) * stride + listed, 4), stride=stride,
                      blocks=0 if count is Count.POSITIONS else blocks, count=count,
                      results=self.upto(self.config.results - written),
                      narrow=0 if softmax else self.upto(most_narrow(self.config))))

    def pass_(self):
        config, words = self.config, self.words()
        first = self.one(Source.RESULT, Source.POSITIVE, Source.ELEMENT, Source.NOISE)
        seconds = {Source.RESULT: (Operand.SCALAR, Operand.RESULT, Operand.ELEMENT, Operand.SIGMOID),
                   Source.POSITIVE: (Operand.SCALAR, Operand.RESULT, Operand.ELEMENT),
                   Source.ELEMENT: (Operand.SCALAR, Operand.RESULT), Source.NOISE: (Operand.SCALAR,)}[first]
        second = self.one(*seconds)
        elements = self.upto(config.elements - words)
        add = first is Source.NOISE or first is not Source.ELEMENT and second in seconds[:2] and bool(
            self.rng.integers(2))
        # What it reads of the elements it may write itself, word by word, or must leave alone.
        same = elements if first is Source.ELEMENT or second in (Operand.ELEMENT, Operand.SIGMOID) else None
        destination = self.upto(config.elements - words)
        if same is not None and abs(destination - same) < words:
            destination = same
        remember = first is Source.NOISE or bool(self.rng.integers(2))
        by_maximum = self.remembered and first is not Source.NOISE and bool(self.rng.integers(2))
        sink = self.one(Sink.NOWHERE, Sink.ELEMENT, Sink.ELEMENT, *[Sink.TOKEN] * remember)
        self.emit(Pass(words=words, first=first, second=second, results=self.place(config.results, words, 5),
                       elements=destination if add else elements, scalar=self.scalar(), add=add,
                       shift=self.upto(31), shift_by_scalar=bool(self.rng.integers(2)), shift_by_maximum=by_maximum,
                       sink=sink, destination=destination, limit=self.one(*Limit) if remember else Limit.NONE,
                       remember=remember))
        self.remembered, self.squares, self.summed = remember, remember and first is not Source.NOISE, False
        self.shifted |= by_maximum

    def rotate(self):
        words, period = 1 + self.upto(6), 1 + self.upto(3)
        angles = self.upto(10)
        self.remembered, self.squares, self.summed = True, False, False
        return Rotate(words=words, results=self.upto(self.config.results - 2 * words), angles=angles, period=period,
                      destination=32 + self.upto(self.config.elements - 32 - 2 * words))

    def store(self):
        kind, words, stride, config = self.one(*StoreKind), 1 + self.upto(5), 2 + self.upto(4), self.config
        most = (-(-config.context // config.tiles) * stride if kind is StoreKind.KEY else
                words * config.tiles * stride + -(-config.context // config.banks))
        first = self.one(Source.RESULT, Source.ELEMENT)
        words = min(words, stride * config.banks // config.tiles)
        self.emit(Store(kind=kind, words=words, first=first, source=self.upto(config.elements - words),
                        scalar=self.scalar(), weights=self.place(config.depth, most, 4), stride=stride))
        self.remembered = self.squares = self.summed = False

    def scale(self):
        half = self.config.scalars // 2
        operation = self.one(
            ScaleOperation.MULTIPLY, ScaleOperation.DIVIDE, ScaleOperation.ADD, ScaleOperation.ROOT,
            *[ScaleOperation.LOAD_MAXIMUM] * self.remembered, *[ScaleOperation.LOAD_SUM] * (self.squares | self.summed))
        adjusts = [Adjust.NONE, *[Adjust.SHIFT] * self.shifted, *[Adjust.NARROW] * self.summed]
        self.emit(Scale(operation=operation, destination=half + self.upto(half - 1), a=self.scalar(), b=self.scalar(),
                        exponent=self.upto(20) - 10, adjust=self.one(*adjusts)))

    def fetch(self):
        config, stride = self.config, 1 + self.upto(2)
        words = 1 + self.upto(stride * config.banks // config.tiles - 1)
        rows = -(-config.vocabulary // config.tiles) * stride
        self.emit(Fetch(weights=self.place(config.depth, rows, 4), stride=stride, words=words,
                        results=self.upto(config.results - words)))

    def pick(self):
        """A scalar of an element, of which none is negative."""
        config, words = self.config, -(-self.config.vocabulary // self.config.tiles)
        elements = self.upto(config.elements - words)
        self.emit(Pass(words=words, first=Source.POSITIVE, second=Operand.RESULT,
                       results=self.place(config.results, words, 5), elements=elements, shift=self.upto(31),
                       sink=Sink.ELEMENT, destination=elements, remember=False))
        self.remembered = self.squares = self.summed = False
        self.emit(Pick(elements=elements))
        self.emit(Scale(operation=ScaleOperation.LOAD_PICKED, destination=config.scalars - 1))

    def angle(self):
        config = self.config
        self.emit(Angle(frequency=self.upto((1 << 24) - 1), lane=self.upto(config.tiles - 1),
                        destination=self.upto(config.elements - 3)))

    def any(self):
        self.one(self.run, self.run, self.pass_, self.pass_, self.pass_, self.scale, self.scale, self.store, self.fetch,
                 self.pick, self.angle, lambda: self.emit(self.rotate()), lambda: self.list(0),
                 lambda: self.list(1, bool(self.rng.integers(2))))()


def random_image(rng, config=CONFIG, count=30):
    """Image of about so many random instructions, some of them repeated for layers, and of random memories."""
    writer = _Writer(config, rng)
    writer.list(0)
    writer.list(1, True)
    while len(writer.program) < count:
        writer.any()
    if rng.integers(2):
        writer.emit(writer.rotate())  # the lists are not read any more
        writer.emit(Repeat(target=0, layers=1 + writer.upto(LAYERS - 1), weights=4, results=5, scalars=2))
    writer.emit(End())
    program = tuple(writer.program)
    wide = rng.integers(0, 18, (2, 128, 1))
    results, elements = (rng.integers(-1 << 17, 1 << 17, (size, config.tiles)) >> each[:size]
                         for size, each in zip((config.results, config.elements), wide))
    scalars = [(int(mantissa), int(exponent) if mantissa else 0) for mantissa, exponent in zip(
        np.where(rng.random(config.scalars) < .1, 0, rng.integers(1 << 15, 1 << 16, config.scalars)),
        rng.integers(-40, 6, config.scalars))]
    constant = {"weights": config.depth, "results": config.results, "elements": config.elements,
                "scalars": config.scalars}
    return Image(
        config=config, vocabulary=config.vocabulary, context=config.context, program=program,
        stages=("any",) * len(program), results=results, elements=elements, scalars=scalars,
        weights=rng.integers(-1, 2, (config.depth, config.banks, config.tiles, TRITS), np.int8),
        map=Map(**{space: {"all": (0, words)} for space, words in constant.items()}, layer_words=0),
        constant={space: np.ones(words, bool) for space, words in constant.items()})
