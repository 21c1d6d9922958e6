"""Compiles an integer model to a program of a processor, one instruction after the other.

Each function emits one step of golden's functions of the same name, in their order, so that the program's values are
theirs; scalars carry the names of golden's variables.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import Error
from ..golden.attention import EXP2_BITS, LOW_BITS, OUTPUT_FRACTION
from ..golden.feed_forward import LOG2_E, SIGMOID_BITS
from ..golden.head import ROW_BITS
from ..golden.lanes import narrow_shift
from ..golden.model import LEVELS
from ..golden.norm import GAMMA_BITS
from ..golden.quantiser import ABSMAX
from ..golden.residual import residual_unit
from ..golden.scalars import ONE, divide, multiply, normalise, scale_by_power
from ..hdl.config import TRITS, Config
from ..hdl.instructions import (
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
)
from .arrange import (
    ABSENT,
    head_order,
    heads_order,
    in_order,
    int8_words,
    matrix_words,
    plain_order,
    ternary_words,
)
from .image import Image, Map


__all__ = ["Outline", "TooLarge", "compile_model", "outline_model"]


WHAT = {"vocabulary": "tokens", "context": "positions", "columns": "elements of a list", "depth": "words of weights",
        "results": "words of results", "elements": "words of elements", "scalars": "scalars",
        "instructions": "instructions"}
VECTOR_LIST, WEIGHT_LIST = 0, 1  # slots; a query is listed while the weights of the head before are multiplied


class TooLarge(Error, ValueError):
    """A model does not fit a processor."""


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A program, and what it takes of a processor, of which weights and constants are not known.

    Members
    -------
    config : Config
    vocabulary, context, layers : int
        Of the model.
    program, stages : tuple
        As of an Image; addresses may be beyond the memories.
    needs : dict
        {parameter of a Config: what the model needs of it}.
    """
    config: Config
    vocabulary: int
    context: int
    layers: int
    program: tuple
    stages: tuple
    needs: dict

    def lacks(self):
        """What the processor has too little of, a text each."""
        return [f"{name}: the lanes have no table of the sigmoid, which SiLU needs" if name == "silu" else
                f"{name}: {needed:,} {WHAT[name]} are needed and the processor has {getattr(self.config, name):,}"
                for name, needed in self.needs.items() if needed > getattr(self.config, name)]


class _Space:
    """Addresses of one memory, given away one after the other by name."""

    def __init__(self):
        self.used, self.places = 0, {}

    def take(self, name, words):
        if name in self.places:
            return self.places[name][0]
        self.places[name] = (self.used, words)
        self.used += words
        return self.places[name][0]


class _Compiler:
    """The state of one compilation: memories, constants, and the program so far."""

    def __init__(self, model, config):
        self.model, self.config, self.program = model, config, []
        self.stage, self.stages = "", []
        lanes = config.tiles
        self.hidden = plain_order(model.hidden, lanes)
        self.inner = plain_order(model.inner, lanes)
        self.head = head_order(model.head_dim, lanes)
        self.queries = heads_order(model.heads, model.head_dim, lanes)
        self.keys = heads_order(model.kv_heads, model.head_dim, lanes)
        self.weights, self.results, self.elements, self.scalars = _Space(), _Space(), _Space(), _Space()
        self.constants = {}  # address in scalars: Scalar
        self.layer_scalars = []  # of each layer, in order: Scalar
        self.layer_places = {}

    def words(self, order):
        """Words of a vector in that order."""
        return len(order) // self.config.tiles

    def emit(self, *instructions):
        self.program.extend(instructions)
        self.stages.extend([self.stage] * len(instructions))

    # Scalars

    def constant(self, name, value):
        """Address of a constant that is the same in all layers."""
        address = self.scalars.take(name, 1)
        self.constants[address] = value
        return Address(address)

    def layer_constant(self, name):
        """Address of a constant of the layer, by its name in layer_values."""
        return Address(self.layer_places[name], True)

    def scale(self, operation, name, a=Address(0), b=Address(0), exponent=0, adjust=Adjust.NONE):
        """Emit a Scale into the register of that name; its address."""
        address = self.scalars.take(name, 1)
        self.emit(Scale(operation=operation, destination=address, a=a, b=b, exponent=exponent, adjust=adjust))
        return Address(address)

    def multiply(self, name, a, b, exponent=0, adjust=Adjust.NONE):
        return self.scale(ScaleOperation.MULTIPLY, name, a, b, exponent, adjust)

    def divide(self, name, a, b, exponent=0, adjust=Adjust.NONE):
        return self.scale(ScaleOperation.DIVIDE, name, a, b, exponent, adjust)

    # Steps that several halves of a layer share

    def rms_norm(self, source, words, gamma, destination):
        """y of golden's rms_norm in elements, and the register of the sum of squares. The last Pass's maximum is the
        source's."""
        self.emit(Pass(words=words, first=Source.ELEMENT, elements=source, second=Operand.RESULT, results=gamma,
                       shift=GAMMA_BITS - 1, shift_by_maximum=True, sink=Sink.ELEMENT, destination=destination))
        return self.scale(ScaleOperation.LOAD_SUM, "squares")

    def inverse_rms(self, squares, root, eps):
        """The register of the norm's scale; ``eps`` is the address of eps / unit**2."""
        mean = self.scale(ScaleOperation.ADD, "mean", squares, eps)
        square_root = self.scale(ScaleOperation.ROOT, "root", mean)
        return self.divide("norm", root, square_root, adjust=Adjust.SHIFT)

    def quantise(self, words, source, slot):
        """A list of the vector whose maximum is the last Pass's, and the register of that."""
        largest = self.scale(ScaleOperation.LOAD_MAXIMUM, "largest")
        self.to_list(words, source, slot, self.divide("reciprocal", self.absmax, largest))
        return largest

    def bit_linear(self, name, words, source, columns, scale):
        """Products of the vector with the layer's matrix of that name, and the register of their scale.

        ``scale()`` emits the vector's own and returns its register: scalars follow while the array multiplies.
        """
        largest = self.quantise(words, source, VECTOR_LIST)
        self.run_ternary(name, columns)
        return self.multiply("scale", scale(), largest, narrow_shift(ABSMAX * columns))

    def to_list(self, words, source, slot, factor):
        self.emit(Pass(words=words, first=Source.ELEMENT, elements=source, second=Operand.SCALAR, scalar=factor,
                       shift_by_scalar=True, sink=Sink.LIST, destination=slot, remember=False))

    def run_ternary(self, name, columns):
        """Products of the vector's list with the matrix of that name of the layer."""
        base, blocks, stride = self.matrices[name]
        self.emit(Run(slot=VECTOR_LIST, int8=False, weights=Address(base, True), stride=stride, blocks=blocks,
                      results=self.sums, narrow=narrow_shift(ABSMAX * columns)))

    def residual_add(self, scale, part):
        """x + results * scale, whose maximum the next norm needs."""
        factor = self.multiply("branch", scale, part, self.model.fraction)
        self.emit(Pass(words=self.words(self.hidden), first=Source.RESULT, results=Address(self.sums),
                       second=Operand.SCALAR, scalar=factor, shift_by_scalar=True, add=True, sink=Sink.ELEMENT,
                       destination=self.x))

    # The token

    def embed(self):
        """The token's row, times its scale."""
        self.stage = "embedding"
        embedding, words = self.model.embedding, self.words(self.hidden)
        base, _, stride = self.embedding_words
        self.emit(Fetch(weights=Address(base), stride=stride, words=words, results=self.sums),
                  Pick(elements=self.row_scales))
        self.angles_of_position()  # while the row is fetched
        scale = self.scale(ScaleOperation.LOAD_PICKED, "row", exponent=embedding.exponent + self.model.fraction)
        self.emit(Pass(words=words, first=Source.RESULT, results=Address(self.sums), second=Operand.SCALAR,
                       scalar=scale, shift_by_scalar=True, sink=Sink.ELEMENT, destination=self.x))

    def angles_of_position(self):
        for pair, frequency in enumerate(self.model.frequencies.tolist()):
            word, lane = divmod(pair, self.config.tiles)
            self.emit(Angle(frequency=frequency, lane=lane, destination=self.angles + 3 * word))

    def attention(self):
        self.stage = "qkv"
        model, words = self.model, self.words
        columns = model.hidden
        squares = self.rms_norm(self.x, words(self.hidden), self.gamma("attention_norm"), self.y)
        scale = self.bit_linear("qkv", words(self.hidden), self.y, columns, lambda: self.inverse_rms(
            squares, self.layer_constant("attention_norm.root"), self.layer_constant("attention_norm.eps")))
        q_scale, k_scale, v_scale = (self.multiply(f"{part}_scale", scale, self.layer_constant(f"qkv.{index}"))
                                     for index, part in enumerate("qkv"))
        head, key_words = words(self.head), words(self.keys)
        self.emit(Rotate(words=key_words // 2, results=self.sums + words(self.queries), angles=self.angles,
                         period=head // 2, destination=self.rotated + words(self.queries)),
                  Rotate(words=words(self.queries) // 2, results=self.sums, angles=self.angles, period=head // 2,
                         destination=self.rotated))
        largest = self.scale(ScaleOperation.LOAD_MAXIMUM, "largest")
        reciprocal = self.divide("reciprocal", self.absmax, largest)
        score = self.multiply("score", q_scale, largest)
        self.stage = "attention"
        for kv in range(model.kv_heads):
            self.store(kv, k_scale, v_scale)
        shift = narrow_shift(ABSMAX * LEVELS * model.head_dim)
        for kv in range(model.kv_heads):
            factor = self.multiply("score of head", score, self.layer_constant(f"score.{kv}"), shift + EXP2_BITS)
            for index in range(model.heads // model.kv_heads):
                self.attend(kv, kv * (model.heads // model.kv_heads) + index, reciprocal, factor, shift)
        self.mix()
        self.stage = "o"
        self.emit(Pass(words=words(self.queries), first=Source.ELEMENT, elements=self.o, second=Operand.SCALAR,
                       scalar=self.one, shift_by_scalar=True, sink=Sink.NOWHERE))
        source, scale = self.o, lambda: self.layer_constant("attention.unit")
        if model.layers[0].attention_sub_norm is not None:
            source, squares = self.y, self.rms_norm(self.o, words(self.queries), self.gamma("attention_sub_norm"),
                                                    self.y)

            def scale():
                return self.inverse_rms(squares, self.layer_constant("attention_sub_norm.root"),
                                        self.layer_constant("attention_sub_norm.eps"))

        scale = self.bit_linear("o", words(self.queries), source, model.heads * model.head_dim, scale)
        self.residual_add(scale, self.layer_constant("o.0"))

    def store(self, kv, k_scale, v_scale):
        """The position's key and value of a kv head."""
        head = self.words(self.head)
        for kind, scale, first, source in (
                (StoreKind.KEY, k_scale, Source.ELEMENT, self.rotated + self.words(self.queries) + kv * head),
                (StoreKind.VALUE, v_scale, Source.RESULT,
                 self.sums + self.words(self.queries) + self.words(self.keys) + kv * head)):
            name = kind.name.lower()
            factor = self.multiply(f"{name} step", scale, self.layer_constant(f"{name}.{kv}"))
            base, _, stride = self.matrices[f"{name}s.{kv}"]
            self.emit(Store(kind=kind, words=head, first=first, source=source, scalar=factor,
                            weights=Address(base, True), stride=stride))

    def attend(self, kv, head, reciprocal, factor, shift):
        """One head: scores, the softmax's weights, and the values that they mix."""
        words = self.words(self.head)
        self.to_list(words, self.rotated + head * words, VECTOR_LIST, reciprocal)
        if head:
            self.mix()
        base, _, stride = self.matrices[f"keys.{kv}"]
        self.emit(Run(slot=VECTOR_LIST, int8=True, weights=Address(base, True), stride=stride, count=Count.POSITIONS,
                      results=self.sums, narrow=shift),
                  Pass(count=Count.POSITIONS, first=Source.RESULT, results=Address(self.sums), second=Operand.SCALAR,
                       scalar=factor, shift_by_scalar=True, sink=Sink.ELEMENT, destination=self.scores,
                       limit=Limit.POSITION),
                  Pass(count=Count.POSITIONS, first=Source.BELOW, elements=self.scores, second=Operand.EXP2,
                       sink=Sink.LIST, destination=WEIGHT_LIST, limit=Limit.POSITION))
        base, _, stride = self.matrices[f"values.{kv}"]
        self.emit(Run(slot=WEIGHT_LIST, softmax=True, int8=True, weights=Address(base, True), stride=stride,
                      blocks=words, results=self.sums))
        weight = self.scale(ScaleOperation.LOAD_SUM, "weight")
        mix = self.divide("mix", self.layer_constant(f"mix.{kv}"), weight, LOW_BITS + OUTPUT_FRACTION, Adjust.NARROW)
        self.mixing = head, mix

    def mix(self):
        """The output of the head that was attended last: its sums by both digits, times the reciprocal of the weights.

        The next head is listed before, while the array is busy.
        """
        head, factor = self.mixing
        words = self.words(self.head)
        for low in (False, True):
            self.emit(Pass(words=words, first=Source.RESULT, results=Address(self.sums + low * words),
                           second=Operand.SCALAR, scalar=factor, shift=low * LOW_BITS, shift_by_scalar=True, add=low,
                           sink=Sink.ELEMENT, destination=self.o + head * words, remember=False))

    def feed_forward(self):
        self.stage = "gate_up"
        model, words = self.model, self.words
        squares = self.rms_norm(self.x, words(self.hidden), self.gamma("feed_forward_norm"), self.y)
        scale = self.bit_linear("gate_up", words(self.hidden), self.y, model.hidden, lambda: self.inverse_rms(
            squares, self.layer_constant("feed_forward_norm.root"), self.layer_constant("feed_forward_norm.eps")))
        gate_scale, up_scale = (self.multiply(f"{part}_scale", scale, self.layer_constant(f"gate_up.{index}"))
                                for index, part in enumerate(("gate", "up")))
        self.stage = "down"
        inner, gate = words(self.inner), Address(self.sums)
        if model.activation == "silu":
            t = self.multiply("log2 gate", gate_scale, self.constant("log2(e)", LOG2_E), EXP2_BITS)
            self.emit(Pass(words=inner, first=Source.RESULT, results=gate, second=Operand.SCALAR, scalar=t,
                           shift_by_scalar=True, sink=Sink.ELEMENT, destination=self.z),
                      Pass(words=inner, first=Source.RESULT, results=gate, second=Operand.SIGMOID, elements=self.z,
                           shift=SIGMOID_BITS, sink=Sink.ELEMENT, destination=self.z))
            unit = gate_scale
        else:
            square = self.multiply("gate_scale^2", gate_scale, gate_scale)
            unit = self.multiply("activated", square, self.layer_constant("square"))
            self.emit(Pass(words=inner, first=Source.POSITIVE, results=gate, second=Operand.RESULT,
                           scalar=self.layer_constant("square_shift"), shift_by_scalar=True, sink=Sink.ELEMENT,
                           destination=self.z))
        self.emit(Pass(words=inner, first=Source.ELEMENT, elements=self.z, second=Operand.RESULT,
                       results=Address(self.sums + inner), scalar=self.layer_constant("up_bits"), shift_by_scalar=True,
                       shift_by_maximum=True, sink=Sink.ELEMENT, destination=self.z))
        scale_of_product = self.multiply("unit", unit, up_scale, adjust=Adjust.SHIFT)
        source, scale = self.z, lambda: scale_of_product
        if model.layers[0].feed_forward_sub_norm is not None:
            source, squares = self.y, self.rms_norm(self.z, inner, self.gamma("feed_forward_sub_norm"), self.y)

            def scale():
                square = self.multiply("unit^2", scale_of_product, scale_of_product)
                eps = self.divide("eps", self.layer_constant("feed_forward_sub_norm.eps"), square)
                return self.inverse_rms(squares, self.layer_constant("feed_forward_sub_norm.root"), eps)

        scale = self.bit_linear("down", inner, source, model.inner, scale)
        self.residual_add(scale, self.layer_constant("down.0"))

    def logits(self):
        self.stage = "head"
        model, words = self.model, self.words(self.hidden)
        norm = model.norm
        squares = self.rms_norm(self.x, words, Address(self.last_gamma), self.y)
        largest = self.quantise(words, self.y, VECTOR_LIST)
        base, blocks, stride = self.head_words
        shift = narrow_shift(ABSMAX * LEVELS * model.hidden)
        self.emit(Run(slot=VECTOR_LIST, int8=True, weights=Address(base), stride=stride, blocks=blocks,
                      results=self.sums, narrow=shift),
                  Pass(words=blocks, first=Source.RESULT, results=Address(self.sums), second=Operand.ELEMENT,
                       elements=self.head_scales, shift=ROW_BITS, sink=Sink.ELEMENT, destination=self.logit_words))
        scale = self.inverse_rms(squares, self.constant("norm.root", scale_by_power(norm.root, norm.exponent)),
                                 self.constant("norm.eps", divide(norm.eps, self.unit_squared)))
        scale = self.multiply("scale", scale, largest, shift)
        scale = self.multiply("logits", scale, self.constant("head", model.head_scale))
        noise = self.divide("noise", Address(self.scalars.take("temperature", 1)), scale)
        self.emit(Pass(words=blocks, first=Source.NOISE, second=Operand.SCALAR, scalar=noise, shift_by_scalar=True,
                       add=True, sink=Sink.TOKEN, destination=self.logit_words, limit=Limit.VOCABULARY))

    # Memories

    def gamma(self, name):
        return Address(self.gammas[name], True)

    def norm_orders(self):
        """{name of a layer's norm: order of its vector}, of those that the model has."""
        orders = {"attention_norm": self.hidden, "attention_sub_norm": self.queries, "feed_forward_norm": self.hidden,
                  "feed_forward_sub_norm": self.inner}
        return {name: order for name, order in orders.items() if getattr(self.model.layers[0], name) is not None}

    def place(self):
        """Addresses of all that does not move."""
        model, lanes, banks = self.model, self.config.tiles, self.config.banks
        self.matrices = {}
        for name, (rows, columns) in self.layer_matrices().items():
            blocks, stride = matrix_words(rows, columns, banks, lanes, int8=name.startswith(("keys", "values")))
            self.matrices[name] = self.weights.take(name, blocks * stride), blocks, stride
        self.layer_words = self.weights.used
        self.weights.used *= len(model.layers)
        tied = model.head is model.embedding
        for name in ("embedding",) if tied else ("embedding", "head"):
            blocks, stride = matrix_words(model.vocab, len(self.hidden), banks, lanes, True)
            setattr(self, f"{name}_words", (self.weights.take(name, blocks * stride), blocks, stride))
        if tied:
            self.head_words = self.embedding_words
        vocabulary = self.words(plain_order(model.vocab, lanes))
        context = self.words(plain_order(model.context, lanes))
        sums = max(self.words(self.queries) + 2 * self.words(self.keys), 2 * self.words(self.inner), vocabulary,
                   context, self.words(self.hidden), 2 * self.words(self.head))
        self.sums = self.results.take("sums", -(-sums // TRITS) * TRITS)  # the last row block is whole
        self.gammas = {}
        start = self.results.used
        for name, order in self.norm_orders().items():
            self.gammas[name] = self.results.take(name, self.words(order))
        self.gamma_words = self.results.used - start
        self.results.used = start + self.gamma_words * len(model.layers)
        self.last_gamma = self.results.take("norm", self.words(self.hidden))
        take = self.elements.take
        self.x = take("residual", self.words(self.hidden))
        self.y = take("normed", max(self.words(self.hidden), self.words(self.queries), self.words(self.inner)))
        self.z = take("product", self.words(self.inner))
        self.rotated = take("rotated", self.words(self.queries) + self.words(self.keys))
        self.o = take("heads", self.words(self.queries))
        self.scores = take("scores", context)
        self.angles = take("angles", 3 * (self.words(self.head) // 2))
        self.row_scales = take("row scales", vocabulary)
        self.head_scales = self.row_scales if tied else take("head scales", vocabulary)
        self.logit_words = take("logits", vocabulary)

    def layer_matrices(self):
        """{name: (rows, columns)} of what a layer has in the weights' memories, in places of its vectors."""
        model, head = self.model, len(self.head)
        return {"qkv": (len(self.queries) + 2 * len(self.keys), len(self.hidden)),
                "o": (len(self.hidden), len(self.queries)),
                "gate_up": (2 * len(self.inner), len(self.hidden)),
                "down": (len(self.hidden), len(self.inner)),
                **{f"keys.{kv}": (model.context, head) for kv in range(model.kv_heads)},
                **{f"values.{kv}": (head, model.context) for kv in range(model.kv_heads)}}

    def layer_values(self, layer):
        """{name: Scalar} of a layer's constants."""
        attention, kv_heads = layer.attention, range(self.model.kv_heads)
        values = {f"{matrix}.{index}": scale for matrix in ("qkv", "o", "gate_up", "down")
                  for index, scale in enumerate(getattr(layer, matrix).scales)}
        for name in ("key", "value", "score", "mix"):
            parts = getattr(attention, name)
            values |= {f"{name}.{kv}": type(parts)(parts.mantissa[kv], parts.exponent[kv]) for kv in kv_heads}
        unit = scale_by_power(attention.unit, -OUTPUT_FRACTION)
        units = {"attention_norm": self.unit_squared, "feed_forward_norm": self.unit_squared,
                 "attention_sub_norm": multiply(unit, unit), "feed_forward_sub_norm": None}
        for name in self.norm_orders():
            norm = getattr(layer, name)
            values[f"{name}.root"] = scale_by_power(norm.root, norm.exponent)
            values[f"{name}.eps"] = norm.eps if units[name] is None else divide(norm.eps, units[name])
        return values | {"attention.unit": unit, "square": scale_by_power(ONE, layer.square_shift),
                         "square_shift": type(ONE)(ONE.mantissa, np.int64(-layer.square_shift)),
                         "up_bits": type(ONE)(ONE.mantissa, np.int64(-layer.up_bits))}

    def place_scalars(self):
        self.unit_squared = multiply(residual_unit(self.model.fraction), residual_unit(self.model.fraction))
        self.layer_scalars = [self.layer_values(layer) for layer in self.model.layers]
        self.layer_scalar_words = len(self.layer_scalars[0])
        base = self.scalars.take("layers", self.layer_scalar_words * len(self.layer_scalars))
        self.layer_places = {name: base + index for index, name in enumerate(self.layer_scalars[0])}
        self.absmax = self.constant("127", normalise(ABSMAX, 0))
        self.one = self.constant("1", ONE)

    def needs(self):
        """{parameter of a Config: what the model needs of it}."""
        vectors = max(len(self.hidden), len(self.inner), len(self.queries))
        return {
            "vocabulary": self.model.vocab, "context": self.model.context,
            # The weights of the softmax have a list of their own, half as long.
            "columns": max(vectors, 2 * self.model.context),
            "depth": self.weights.used, "results": self.results.used, "elements": self.elements.used,
            "scalars": self.scalars.used, "instructions": len(self.program), "silu": self.model.activation == "silu"}

    def outline(self):
        return Outline(config=self.config, vocabulary=self.model.vocab, context=self.model.context,
                       layers=len(self.model.layers), program=tuple(self.program), stages=tuple(self.stages),
                       needs=self.needs())

    def image(self):
        model, config = self.model, self.config
        banks, lanes = config.banks, config.tiles
        weights = np.zeros((config.depth, banks, lanes, TRITS), np.int8)
        results = np.zeros((config.results, lanes), np.int64)
        elements = np.zeros((config.elements, lanes), np.int64)

        memories = {"weights": weights, "results": results, "elements": elements}
        constant = {name: np.zeros(len(memory), bool) for name, memory in memories.items()}
        constant["scalars"] = np.zeros(config.scalars, bool)

        def put(space, address, values):
            memories[space][address:address + len(values)] = values
            constant[space][address:address + len(values)] = True

        def behind(order, rows):
            return np.where(order == ABSENT, ABSENT, order + rows)

        queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
        orders = {
            "qkv": (np.concatenate([self.queries, behind(self.keys, queries), behind(self.keys, queries + keys)]),
                    self.hidden),
            "o": (self.hidden, self.queries),
            "gate_up": (np.concatenate([self.inner, behind(self.inner, model.inner)]), self.hidden),
            "down": (self.hidden, self.inner)}
        for index, layer in enumerate(model.layers):
            for name, (rows, columns) in orders.items():
                codes = in_order(in_order(getattr(layer, name).codes, rows, 0), columns, 1)
                put("weights", index * self.layer_words + self.matrices[name][0], ternary_words(codes, banks, lanes))
            for name, order in self.norm_orders().items():
                gamma = in_order(getattr(layer, name).gamma, order, 0).reshape(-1, lanes)
                put("results", self.gammas[name] + index * self.gamma_words, gamma)
        put("results", self.last_gamma, in_order(model.norm.gamma, self.hidden, 0).reshape(-1, lanes))
        vocabulary = plain_order(model.vocab, lanes)
        for rows, (base, _, _), scales in ((model.embedding, self.embedding_words, self.row_scales),
                                           (model.head, self.head_words, self.head_scales)):
            put("weights", base, int8_words(in_order(rows.codes, self.hidden, 1), banks, lanes))
            put("elements", scales, in_order(rows.scales.astype(np.int64), vocabulary, 0).reshape(-1, lanes))
        scalars = [(0, 0)] * config.scalars
        flat = [value for layer in self.layer_scalars for value in layer.values()]
        for address, value in [*enumerate(flat, self.scalars.places["layers"][0]), *self.constants.items()]:
            scalars[address] = int(value.mantissa), int(value.exponent)
            constant["scalars"][address] = True
        return Image(
            config=config, vocabulary=model.vocab, context=model.context, program=tuple(self.program),
            stages=tuple(self.stages), weights=weights, results=results, elements=elements, scalars=scalars,
            map=Map(weights=self.weights.places, results=self.results.places, elements=self.elements.places,
                    scalars=self.scalars.places | {name: (address, 1) for name, address in self.layer_places.items()},
                    layer_words=self.layer_words),
            constant=constant)


def _compiled(model, config):
    """The _Compiler that has emitted the program of a model, whether the processor has room for it or not."""
    compiler = _Compiler(model, config)
    compiler.place()
    compiler.place_scalars()
    compiler.embed()
    target = len(compiler.program)
    compiler.attention()
    compiler.feed_forward()
    compiler.emit(Repeat(target=target, layers=len(model.layers), weights=compiler.layer_words,
                         results=compiler.gamma_words, scalars=compiler.layer_scalar_words))
    compiler.logits()
    compiler.emit(End())
    return compiler


def outline_model(model, config):
    """The Outline of an IntegerModel, or of hollow_model's, for a processor of that Config."""
    return _compiled(model, config).outline()


def compile_model(model, config):
    """The Image of an IntegerModel for a processor of that Config.

    Raises TooLarge, which names the memory and the words that it would need.
    """
    compiler = _compiled(model, config)
    for lack in compiler.outline().lacks():
        raise TooLarge(f"{lack}: choose a larger one, or a smaller model")
    return compiler.image()
