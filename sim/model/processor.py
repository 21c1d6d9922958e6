"""The whole-token processor as its instructions define it: memories, lanes and scalars in NumPy, no time.

Where the RTL is right or wrong it is by these values. Arithmetic is golden's named functions; what is here is where
operands come from and where results go.
"""

import numpy as np

from ...golden.attention import EXP2, EXP2_BITS, LOW_BITS, MOST_OCTAVES, WEIGHT_BITS
from ...golden.codes import level_trits
from ...golden.feed_forward import sigmoid
from ...golden.lanes import LANE_BITS, MAX_SHIFT, lane, narrow_sums, operand
from ...golden.model import LEVELS
from ...golden.rotary import ROPE_BITS, waves
from ...golden.rounding import bit_length, half_up_shift, limit
from ...golden.sampling import noise
from ...golden.scalars import Scalar, add, divide, multiply, normalise, scale_by_power, square_root
from ...hdl.array.engine import most_narrow
from ...hdl.config import TRITS
from ...hdl.instructions import (
    MOST_INSTRUCTIONS,
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
)


__all__ = ["Processor", "ProgramError"]


PLACES = 3 ** np.arange(TRITS)
LAYERS = 1 << 8  # that the count of layers tells apart


class ProgramError(ValueError):
    """A program does what a processor has no memory or no time for; ``illegal``: it comes to what is no instruction."""

    def __init__(self, text, *, illegal=False):
        super().__init__(text)
        self.illegal = illegal


class Processor:
    """A processor that holds an image.

    Parameters
    ----------
    image : setun.compiler.image.Image

    Members
    -------
    weights : int8 [depth, banks, tiles, 5]
    results, elements : int64 [words, tiles]
    scalars : list of Scalar
    lists : dict
        {slot: (int64 [positions], int64 [positions])}: the two digits of each place of a list.
    position, token : int
        Of the token that ``step`` takes next.
    seed : int
        Of the noise that is added to logits.
    maximum, largest, sum, shift : int
        Of the last Pass: the largest magnitude and the largest element, the sum, and the last shift by a maximum.
    """

    def __init__(self, image):
        self.image, self.config = image, image.config
        self.weights = image.weights.copy()
        self.results, self.elements = image.results.copy(), image.elements.copy()
        self.scalars = [Scalar(np.int64(mantissa), np.int64(exponent)) for mantissa, exponent in image.scalars]
        self.lists, self.position, self.token, self.seed = {}, 0, 0, 0
        self.maximum = self.largest = self.sum = self.shift = self.picked = 0
        self.layer = 0
        self._strides = None

    def step(self, token, position, observe=lambda processor, counter: None):
        """Run the program for a token at a position; return the next token, the one of the largest logit.

        ``observe`` is called with this processor and the place of each instruction before it is executed.

        Raises ProgramError where the token or the position is beyond the model's, or the program does not end.
        """
        if not 0 <= token < self.image.vocabulary or not 0 <= position < self.image.context:
            raise ProgramError(f"token {token} at position {position}: the model has {self.image.vocabulary} tokens "
                               f"and {self.image.context} positions")
        self.token = self.following = token
        self.position, self.layer = position, 0
        self._strides = next((each for each in self.image.program if isinstance(each, Repeat)), None)
        counter = 0
        for _ in range(MOST_INSTRUCTIONS):
            instruction = self.image.program[counter] if counter < len(self.image.program) else None
            if instruction is None:
                raise ProgramError(f"word {counter} of the program is no instruction", illegal=True)
            observe(self, counter)
            if isinstance(instruction, End):
                return self.following
            target = self._execute(instruction)
            counter = counter + 1 if target is None else target
        raise ProgramError(f"the program does not end within {MOST_INSTRUCTIONS:,} instructions")

    @property
    def logits(self):
        """int64 [vocabulary], of the last step."""
        last = next(each for each in self.image.program if isinstance(each, Pass) and each.sink is Sink.TOKEN)
        words = self.elements[last.destination:last.destination + last.words]
        return words.reshape(-1)[:self.image.vocabulary]

    def _execute(self, instruction):
        match instruction:
            case Run():
                self._run(instruction)
            case Pass():
                self._pass(instruction)
            case Rotate():
                self._rotate(instruction)
            case Store():
                self._store(instruction)
            case Scale():
                self._scale(instruction)
            case Fetch():
                self._fetch(instruction)
            case Pick():
                word, lane_number = divmod(self.token, self.config.tiles)
                self.picked = int(self.elements[instruction.elements + word, lane_number])
            case Angle():
                cos, sin = waves(np.array([instruction.frequency]), self.position)
                words = self.elements[instruction.destination:instruction.destination + 3, instruction.lane]
                words[:] = cos[0], -sin[0], sin[0]
            case Repeat():
                if self.layer + 1 != instruction.layers:
                    self.layer = (self.layer + 1) % LAYERS
                    return instruction.target
                self.layer = 0
        return None

    def _address(self, address, stride):
        return address.value + (self.layer * getattr(self._strides, stride) if address.layered and self.layer else 0)

    def scalar(self, address):
        """The scalar at an Address."""
        return self.scalars[self._address(address, "scalars")]

    def positions(self):
        """Words of the positions so far."""
        return self.position // self.config.tiles + 1

    def _narrow(self):
        """How far sums weighted by the softmax are shifted, by the sum of its weights."""
        return max(int(bit_length(self.sum)) - WEIGHT_BITS - LOW_BITS, 0)

    def _run(self, run):
        blocks = self.positions() if run.count is Count.POSITIONS else run.blocks
        written = run.results
        for values in self.lists[run.slot][:1 + run.softmax]:
            written += self._multiply(run, blocks, values, written)

    def _multiply(self, run, blocks, values, address):
        """Results of row blocks by one digit of a list, from an address on; their words."""
        banks = self.config.banks
        words = -(-len(values) // banks)
        lists = np.zeros(words * banks, np.int64)
        lists[:len(values)] = values
        base = self._address(run.weights, "weights")
        addresses = base + np.arange(blocks)[:, None] * run.stride + np.arange(words)  # of a block's words
        if addresses.size and addresses.max() >= self.config.depth:
            raise ProgramError(f"{run}: word {addresses.max()} of {self.config.depth}")
        sums = np.einsum("bwktr,wk->btr", self.weights[addresses].astype(np.float64),
                         lists.reshape(words, banks)).astype(np.int64)  # exact: below 2**53
        shift = run.narrow + (self._narrow() if run.softmax else 0)
        if shift > most_narrow(self.config):
            raise ProgramError(f"{run}: sums are shifted by {shift}, at most {most_narrow(self.config)} can be")
        if run.int8:
            written = narrow_sums(sums @ PLACES, shift)
        else:
            written = narrow_sums(sums, shift).transpose(0, 2, 1).reshape(-1, self.config.tiles)
        self.results[address:address + len(written)] = written
        return len(written)

    def _taking_part(self, words, which):
        numbers = np.arange(words * self.config.tiles).reshape(words, -1)
        most = {Limit.NONE: numbers.size - 1, Limit.POSITION: self.position,
                Limit.VOCABULARY: self.image.vocabulary - 1}[which]
        return numbers <= most

    def _pass(self, step):
        words = self.positions() if step.count is Count.POSITIONS else step.words
        base = self._address(step.results, "results")
        results, elements = self.results[base:base + words], self.elements[step.elements:step.elements + words]
        first = {Source.RESULT: results, Source.POSITIVE: np.maximum(results, 0), Source.ELEMENT: elements,
                 Source.BELOW: self.largest - elements}.get(step.first)
        if step.first is Source.NOISE:
            first = noise(self.seed, self.position, words * self.config.tiles).reshape(words, -1)
        taking_part = self._taking_part(words, step.limit)
        if step.second is Operand.EXP2:
            octaves = np.minimum((first >> EXP2_BITS) + 1, MOST_OCTAVES)
            values = np.where(taking_part, half_up_shift(EXP2[first & (1 << EXP2_BITS) - 1], octaves), 0)
            self.sum = int(values.sum())
        else:
            shift = step.shift
            if step.second is Operand.SCALAR:
                second, scalar_shift = operand(self.scalar(step.scalar))
                shift += int(scalar_shift) if step.shift_by_scalar else 0
            else:
                second = {Operand.RESULT: results if step.first is not Source.POSITIVE else first,
                          Operand.ELEMENT: elements, Operand.SIGMOID: sigmoid(elements)}[step.second]
                shift -= int(self.scalar(step.scalar).exponent) if step.shift_by_scalar else 0
            if step.shift_by_maximum:
                shift = self.shift = max(shift + int(bit_length(self.maximum)) - (LANE_BITS - 1), 0)
            addend = self.elements[step.destination:step.destination + words] if step.add else 0
            values = lane(first, second, min(max(shift, 0), MAX_SHIFT), addend)
            magnitudes = np.abs(values)[taking_part]
            self.maximum, self.sum = int(magnitudes.max()), int(np.square(first).sum())
            self.largest = int(values[taking_part].max())
        if step.sink is Sink.ELEMENT:
            self.elements[step.destination:step.destination + words] = values
        if step.sink is Sink.TOKEN:
            self.following = int(np.where(taking_part, values, -1 << LANE_BITS).argmax())
        if step.sink is Sink.LIST:
            values, longest = values.reshape(-1), self.config.longest_list(step.destination)
            if (listed := np.flatnonzero(values)).size and listed[-1] >= longest:
                raise ProgramError(f"{step}: element {listed[-1]} of a list of {longest}")
            self.lists[step.destination] = (
                (values >> LOW_BITS, values & (1 << LOW_BITS) - 1) if step.second is Operand.EXP2
                else ((values + 128 & 255) - 128, np.zeros_like(values)))

    def _rotate(self, step):
        pairs = self.results[step.results:step.results + 2 * step.words].reshape(step.words, 2, -1)
        angles = self.elements[step.angles:step.angles + 3 * step.period].reshape(step.period, 3, -1)
        cos, negative, sin = angles[np.arange(step.words) % step.period].swapaxes(0, 1)
        low, high = pairs.swapaxes(0, 1)
        turned = np.stack([lane(high, negative, ROPE_BITS, half_up_shift(low * cos, ROPE_BITS)),
                           lane(low, sin, ROPE_BITS, half_up_shift(high * cos, ROPE_BITS))], 1)
        self.elements[step.destination:step.destination + 2 * step.words] = turned.reshape(2 * step.words, -1)
        self.maximum, self.largest = int(np.abs(turned).max()), int(turned.max())

    def _store(self, step):
        memory = self.results if step.first is Source.RESULT else self.elements
        factor, shift = operand(self.scalar(step.scalar))
        values = limit(half_up_shift(memory[step.source:step.source + step.words] * factor, shift), LEVELS).reshape(-1)
        trits = level_trits(values)
        base, banks, tiles = self._address(step.weights, "weights"), self.config.banks, self.config.tiles
        number = np.arange(len(values))
        if step.kind is StoreKind.KEY:
            block, tile = divmod(self.position, tiles)
            self.weights[base + block * step.stride + number // banks, number % banks, tile] = trits
        else:
            word, bank = divmod(self.position, banks)
            self.weights[base + number // tiles * step.stride + word, bank, number % tiles] = trits

    def scale_operands(self, step):
        """Both operands of a Scale, and the integer that it would load."""
        value = {ScaleOperation.LOAD_MAXIMUM: self.maximum, ScaleOperation.LOAD_SUM: self.sum,
                 ScaleOperation.LOAD_PICKED: self.picked}.get(step.operation, 0)
        return self.scalar(step.a), self.scalar(step.b), value

    def _scale(self, step):
        a, b, loaded = self.scale_operands(step)
        match step.operation:
            case ScaleOperation.MULTIPLY:
                value = multiply(a, b)
            case ScaleOperation.DIVIDE:
                value = divide(a, b)
            case ScaleOperation.ADD:
                value = add(a, b)
            case ScaleOperation.ROOT:
                value = square_root(a)
            case _:
                value = normalise(loaded, 0)
        adjust = {Adjust.NONE: 0, Adjust.SHIFT: self.shift, Adjust.NARROW: self._narrow()}[step.adjust]
        self.scalars[step.destination] = scale_by_power(value, step.exponent + adjust)

    def _fetch(self, step):
        block, tile = divmod(self.token, self.config.tiles)
        base = self._address(step.weights, "weights") + block * step.stride
        trits = self.weights[base:base + step.stride, :, tile].reshape(-1, TRITS)
        row = (trits.astype(np.int64) @ PLACES)[:step.words * self.config.tiles]
        self.results[step.results:step.results + step.words] = row.reshape(step.words, -1)
