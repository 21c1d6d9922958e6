"""Takes commands apart: arguments, and the product of two of them that its check needs."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .frame import Header
from .registers import ACCUMULATOR_BYTES, Error, Kind, RunLayout, SpanLayout, VectorLayout, WeightsLayout


__all__ = ["Command", "CommandReader"]


LAYOUTS = {Kind.READ: SpanLayout, Kind.WEIGHTS: WeightsLayout, Kind.VECTOR: VectorLayout, Kind.RUN: RunLayout,
           Kind.WAIT: None, Kind.RESULTS: SpanLayout, Kind.RESET: None}
WITH_DATA = (Kind.WEIGHTS, Kind.VECTOR)
ARGUMENT_BYTES = max(layout.size // 8 for layout in LAYOUTS.values() if layout)


class Command(data.Struct):
    """A command with its arguments, seen as the layout of each kind.

    What its kind does not use is meaningless, and all of it where ``error`` is set.
    """
    kind: 8
    sequence: 8
    error: 8
    arguments: data.UnionLayout({"span": SpanLayout, "weights": WeightsLayout, "vector": VectorLayout,
                                 "run": RunLayout})
    data_bytes: 16  # that follow the arguments
    product: 32  # WEIGHTS: bytes of ``count`` words; RUN: blocks * stride; RESULTS: bytes of ``count`` blocks


class CommandReader(wiring.Component):
    """Turns frames into commands. A command stands on ``o`` until it is taken, when it has been executed.

    A command is there 21 cycles and one for every byte of its arguments after its header, and one without arguments or
    with an error four cycles after it. Its data are taken from ``o_data`` while it stands; what is left of them when it
    is taken is dropped.

    Members
    -------
    i_header, i_payload : In
        From the FrameReceiver.
    o : Out(stream.Signature(Command))
    o_data : Out(stream.Signature(8))
        Valid while bytes of the command that stands on ``o`` are left.
    more : Out(1)
        They are.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_header": In(stream.Signature(Header)),
            "i_payload": In(stream.Signature(8)),
            "o": Out(stream.Signature(Command)),
            "o_data": Out(stream.Signature(8)),
            "more": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        command = Signal(Command, reset_less=True)
        left, more = Signal(16), Signal()  # bytes of the payload, and whether there are any
        position = Signal(range(ARGUMENT_BYTES + 1))
        factor, multiplicand = Signal(16, reset_less=True), Signal(32, reset_less=True)
        step = Signal(range(16))
        size = Signal(range(ARGUMENT_BYTES + 1), reset_less=True)  # bytes of the arguments that are left
        m.d.comb += [self.o.payload.eq(command), self.more.eq(more)]

        header = Signal(Header, reset_less=True)
        with m.If(self.i_payload.valid & self.i_payload.ready):
            m.d.sync += [left.eq(left - 1), more.eq(left != 1)]

        known, holds, undecodable = (Signal(name=name, reset_less=True) for name in ("known", "holds", "undecodable"))
        misfits, weights, run = (Signal(name=name, reset_less=True) for name in ("misfits", "weights", "run"))
        arguments = command.arguments
        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += self.i_header.ready.eq(1)
                m.d.sync += header.eq(self.i_header.payload)
                with m.If(self.i_header.valid):
                    m.next = "KIND"
            with m.State("KIND"):
                m.d.sync += [command.kind.eq(header.kind), command.sequence.eq(header.sequence),
                             left.eq(header.length), more.eq(header.length != 0), position.eq(0), known.eq(1),
                             holds.eq(0), weights.eq(header.kind == Kind.WEIGHTS),
                             run.eq(header.kind == Kind.RUN)]
                with m.Switch(header.kind):
                    for kind, layout in LAYOUTS.items():
                        with m.Case(kind):
                            m.d.sync += size.eq(layout.size // 8 if layout else 0)
                            if kind in WITH_DATA:
                                m.d.sync += holds.eq(1)
                    with m.Default():
                        m.d.sync += known.eq(0)
                m.next = "LENGTH"
            with m.State("LENGTH"):
                m.d.sync += [misfits.eq((left[4:] == 0) & (left[:4] < size) | ~holds & (left != size)),
                             undecodable.eq(weights & ~header.decodable)]
                m.next = "ERROR"
            with m.State("ERROR"):
                m.next = "ARGUMENTS"
                with m.If(header.error.any() | ~known | misfits | undecodable | (size == 0)):
                    m.next = "COMMAND"
                m.d.sync += command.error.eq(header.error)
                with m.If(~header.error.any()):
                    m.d.sync += command.error.eq(
                        Mux(~known, Error.KIND, Mux(misfits, Error.LENGTH, Mux(undecodable, Error.CODE, Error.NONE))))
            with m.State("ARGUMENTS"):
                m.d.comb += self.i_payload.ready.eq(1)
                with m.If(self.i_payload.valid):
                    m.d.sync += [arguments.as_value().word_select(position, 8).eq(self.i_payload.payload),
                                 position.eq(position + 1), size.eq(size - 1)]
                    with m.If(size == 1):
                        m.next = "FACTORS"
            with m.State("FACTORS"):
                m.d.sync += [command.product.eq(0), step.eq(0), command.data_bytes.eq(left)]
                m.d.sync += [factor.eq(arguments.span.count), multiplicand.eq(config.rows * ACCUMULATOR_BYTES)]
                with m.If(weights):
                    m.d.sync += [factor.eq(arguments.weights.count), multiplicand.eq(config.banks * config.tiles)]
                with m.If(run):
                    m.d.sync += [factor.eq(arguments.run.blocks), multiplicand.eq(arguments.run.stride)]
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [factor.eq(factor >> 1), multiplicand.eq(multiplicand << 1), step.eq(step + 1)]
                with m.If(factor[0]):
                    m.d.sync += command.product.eq(command.product + multiplicand)
                with m.If(step == 15):
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o_data.payload.eq(self.i_payload.payload),
                    self.o_data.valid.eq(self.i_payload.valid & more),
                    self.i_payload.ready.eq(self.o_data.ready & more),
                ]
                with m.If(self.o.ready):
                    m.next = "REST"
            with m.State("REST"):
                m.d.comb += self.i_payload.ready.eq(more)
                with m.If(~more):
                    m.next = "HEADER"
        return m
