"""Runs matrix-vector products: beat after beat, row block after row block."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..array.array import flush_cycles
from ..array.bank import Beat


__all__ = ["QUEUE_DEPTH", "Run", "RunWrite", "Sequencer"]


QUEUE_DEPTH = 1  # enough to follow without a gap


class Run(data.StructLayout):
    """A matrix-vector product: the descriptor of registers.RunLayout, checked, with the length of its list."""

    def __init__(self, config):
        super().__init__({
            "slot": config.slot_bits,
            "beats": range(config.list_depth + 1),
            "active": range(config.columns + 1),  # columns in the list whose activation is not zero
            "base": config.address_bits,
            "stride": config.address_bits + 1,
            "blocks": range(config.blocks + 1),
            "destination": config.result_bits,
        })


RunWrite = data.StructLayout({"base": 1, "stride": 1, "blocks": 1, "rest": 1})


class Sequencer(wiring.Component):
    """Queues products and issues their tokens without a gap, within a product and from one to the next.

    An idle sequencer issues the first token two cycles after a product is queued. A product of B row blocks and a list
    of L beats takes B * L cycles, and its last result is written flush_cycles(config) later
    (sim.model.cycles.result_cycles).

    Members
    -------
    clear : In(1)
        Drop all that is queued or running.
    i : In(Run)
    write : In(RunWrite)
        Fields of ``i`` that are kept. With the ``rest``, which come last, the product is queued. None is written while
        one waits.
    waiting : Out(1)
    o_token : Out(Beat)
    flushing : Out(1)
        No token is issued, and results are still on their way.
    pending : Out(range(QUEUE_DEPTH + 3))
        Products queued or running; the last one counts until its results are written.
    block_done : Out(1)
        The last token of a row block is issued; ``active`` columns were multiplied.
    active : Out
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "clear": In(1),
            "i": In(Run(config)),
            "write": In(RunWrite),
            "waiting": Out(1),
            "o_token": Out(Beat(config)),
            "flushing": Out(1),
            "pending": Out(range(QUEUE_DEPTH + 3)),
            "block_done": Out(1),
            "active": Out(range(config.columns + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        run = Signal(Run(self.config), reset_less=True)
        running, beat = Signal(), Signal.like(self.o_token.beat)
        flush = Signal(range(flush_cycles(self.config) + 1))
        following, waiting = Signal.like(run, reset_less=True), self.waiting
        last = Signal()  # the beat is; lists have five or more, and ``beats`` is here the number before the last
        opens, final = Signal(reset_less=True), Signal(reset_less=True)  # the block is the first, the last

        m.d.comb += [
            self.o_token.valid.eq(running),
            self.o_token.first.eq(beat == 0),
            self.o_token.last.eq(last),
            self.o_token.opens.eq(opens),
            self.o_token.slot.eq(run.slot),
            self.o_token.beat.eq(beat),
            self.o_token.base.eq(run.base),
            self.o_token.destination.eq(run.destination),
            self.flushing.eq(~running & (flush != 0)),
            self.pending.eq(waiting + (running | (flush != 0))),
            self.block_done.eq(running & last),
            self.active.eq(run.active),
        ]
        with m.If(running):
            m.d.sync += [flush.eq(flush_cycles(self.config)), last.eq(~last & (beat == run.beats))]
            m.d.sync += beat.eq(beat + 1)
            with m.If(last):
                m.d.sync += [
                    run.blocks.eq(run.blocks - 1),
                    final.eq(run.blocks == 2),
                    run.base.eq(run.base + run.stride),
                    opens.eq(0),
                ]
        with m.Elif(flush != 0):
            m.d.sync += flush.eq(flush - 1)
        with m.If(~running | last & final):
            m.d.sync += [running.eq(waiting), run.eq(following), opens.eq(1), final.eq(following.blocks == 1),
                         waiting.eq(0)]
        with m.If(~running | last):
            m.d.sync += beat.eq(0)
        for name in ("base", "stride", "blocks"):
            with m.If(self.write[name]):
                m.d.sync += following[name].eq(self.i[name])
        with m.If(self.write.rest):
            m.d.sync += [following[name].eq(self.i[name]) for name in ("slot", "active", "destination")]
            m.d.sync += [following.beats.eq(self.i.beats - 2), waiting.eq(1)]
        return ResetInserter(self.clear)(m)
