"""The whole machine: bytes in, bytes out."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .array.array import Array
from .array.bank import Beat
from .array.drain import Result
from .array.loader import Loader
from .array.results import Results
from .control.counters import Cause, Counters
from .control.executor import Executor
from .control.sequencer import Sequencer
from .link.frame import FrameReceiver, FrameTransmitter
from .protocol import Kind
from .technology.product import PORTABLE
from .vector.vector import VectorUnit


__all__ = ["Top", "TraceSignature"]


class TraceSignature(wiring.Signature):
    """What a test bench sees of the machine, cycle by cycle.

    Members
    -------
    command : Out(Kind)
        That is executed, or was last.
    cause : Out(Cause)
        What the cycle is counted as.
    token : Out(Beat)
        The beat that is issued.
    results : Out(Result), one for each tile
        Accumulators as they are written.
    """

    def __init__(self, config):
        super().__init__({"command": Out(Kind, init=Kind.RESET), "cause": Out(Cause), "token": Out(Beat(config)),
                          "results": Out(Result(config)).array(config.tiles)})


class Top(wiring.Component):
    """An accelerator on a link that carries the frames of hdl.protocol.

    Parameters
    ----------
    config : Config
    technology : Technology

    Members
    -------
    i, o : stream.Signature(8)
        The link.
    trace : Out(TraceSignature)
        For observation; leave it open on a board.
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        super().__init__({
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "trace": Out(TraceSignature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.receiver = receiver = FrameReceiver(self.technology)
        m.submodules.executor = executor = Executor(config, self.technology)
        m.submodules.loader = loader = Loader(config)
        m.submodules.vector = vector = VectorUnit(config, self.technology)
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.array = array = Array(config, self.technology)
        m.submodules.results = results = Results(config, self.technology)
        m.submodules.counters = counters = Counters(config, self.technology)
        m.submodules.transmitter = transmitter = FrameTransmitter()

        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        wiring.connect(m, receiver.o, executor.i)
        wiring.connect(m, executor.o_weights, loader.i)
        wiring.connect(m, executor.o_vector, vector.i)
        wiring.connect(m, results.o, executor.i_results)
        wiring.connect(m, executor.o_header, transmitter.i_header)
        wiring.connect(m, counters.o, executor.i_registers)
        wiring.connect(m, executor.o_payload, transmitter.i_payload)
        wiring.connect(m, transmitter.o, wiring.flipped(self.o))

        m.d.comb += [
            loader.start.eq(executor.load_start),
            loader.address.eq(executor.word),
            vector.clear.eq(executor.clear),
            vector.start.eq(executor.vector_start),
            vector.opens.eq(executor.vector_opens),
            vector.slot.eq(executor.slot),
            vector.flags.eq(executor.flags),
            vector.length.eq(executor.word),
            vector.live.eq(executor.factor),
            vector.query.eq(executor.slot),
            executor.vector_busy.eq(vector.busy),
            executor.vector_expected.eq(vector.expected),
            executor.ready.eq(vector.ready),
            executor.list.eq(vector.list),
            sequencer.clear.eq(executor.clear),
            sequencer.i.eq(executor.o_run),
            sequencer.write.eq(executor.run_write),
            executor.waiting.eq(sequencer.waiting),
            executor.pending.eq(sequencer.pending),
            results.clear.eq(executor.clear),
            results.start.eq(executor.results_start),
            results.address.eq(executor.result),
            results.blocks.eq(executor.factor),
            array.i_token.eq(sequencer.o_token),
            array.i_list.eq(vector.o_write),
            array.i_weights.eq(loader.o_weights),
            self.trace.command.eq(executor.kind),
            self.trace.cause.eq(counters.cause),
            self.trace.token.eq(sequencer.o_token),
        ]
        for tile in range(config.tiles):
            m.d.comb += [
                results.i_results[tile].eq(array.o_results[tile]),
                self.trace.results[tile].eq(array.o_results[tile]),
            ]

        received, sent = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        m.d.comb += [
            counters.clear.eq(executor.clear),
            counters.start.eq(executor.registers_start),
            counters.first.eq(executor.word),
            counters.count.eq(executor.factor),
            counters.pending.eq(sequencer.pending),
            counters.absmax.eq(vector.absmax),
            counters.beats.eq(vector.built.beats),
            counters.offset.eq(vector.expected),
            counters.i_events.cycles_issue.eq(sequencer.o_token.valid),
            counters.i_events.cycles_flush.eq(sequencer.flushing),
            counters.i_events.cycles_vector.eq(vector.listing),
            counters.i_events.cycles_load.eq(loader.i.valid),
            counters.i_events.cycles_link.eq(received | sent | executor.busy),
            counters.i_events.list.eq(vector.done),
            counters.i_events.entries.eq(vector.built.entries),
            counters.i_events.block.eq(sequencer.block_done),
            counters.i_events.macs.eq(sequencer.active),
            counters.i_events.weights_zero.eq(loader.zeros),
            counters.i_events.bytes_in.eq(received),
            counters.i_events.bytes_out.eq(sent),
            counters.i_events.bytes_weights.eq(loader.i.valid),
            counters.i_events.bytes_vector.eq(vector.i.valid & vector.i.ready),
            counters.i_events.bytes_results.eq(results.o.valid & results.o.ready),
        ]
        return m
