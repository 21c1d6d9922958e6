"""Runs a text, token after token."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..protocol import NO_TOKEN, State
from ..technology.memory import LUT_LATENCY
from ..technology.product import PORTABLE


__all__ = ["Conductor", "TURN_CYCLES"]


TURN_CYCLES = LUT_LATENCY + 2  # of a position, beside the processor's


class Conductor(wiring.Component):
    """Takes the token of each position from its buffer, runs the processor, and puts what comes into the next place.

    Parameters
    ----------
    config : Config
    technology : Technology

    Members
    -------
    go, i_first, i_limit : In
        Run the positions from ``i_first`` to before ``i_limit``.
    write : In(1)
        ``i_token`` to place ``address`` of the buffer.
    address, i_token : In
    o_token : Out
        What is in the buffer at ``address``, LUT_LATENCY cycles later.
    hold : Out(1)
        The buffer is taken in this cycle: nothing is written, and what comes out is none of the two above.
    set_given, set_end, set_limit : In(1)
        Of ``i_setting``.
    i_setting : In(32)
    state : Out(State)
    running : Out(1)
    position : Out
    given, end_token, limit, cycles : Out
        Registers.
    start : Out(1)
    token : Out
        That the processor is to run.
    done, illegal, endless : In(1)
    i_next : In
        Of the processor.
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        position, token = range(config.context + 1), range(max(config.vocabulary, 2))
        super().__init__({
            "go": In(1), "i_first": In(position), "i_limit": In(position), "write": In(1), "address": In(position),
            "i_token": In(token), "o_token": Out(token), "hold": Out(1),
            "set_given": In(1), "set_end": In(1), "set_limit": In(1), "i_setting": In(32),
            "state": Out(State), "running": Out(1), "position": Out(position),
            "given": Out(position), "end_token": Out(32, init=NO_TOKEN), "limit": Out(position), "cycles": Out(32),
            "start": Out(1), "token": Out(token), "done": In(1), "illegal": In(1), "endless": In(1),
            "i_next": In(token),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.tokens = tokens = self.technology.lut_memory(
            depth=self.config.context + 1, width=len(self.token))
        wait, generated = Signal(range(LUT_LATENCY + 1)), Signal()
        fetches, puts = Signal(), Signal()
        m.d.comb += [
            tokens.read_address.eq(Mux(fetches, self.position, self.address)),
            tokens.write_enable.eq(puts | self.write),
            tokens.write_address.eq(Mux(puts, self.position, self.address)),
            tokens.write_data.eq(Mux(puts, self.token, self.i_token)),
            self.o_token.eq(tokens.read_data),
            self.hold.eq(fetches | puts),
            self.running.eq(self.state == State.RUNNING),
        ]
        with m.If(self.running):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.If(self.set_given):
            m.d.sync += self.given.eq(self.i_setting)
        with m.If(self.set_end):
            m.d.sync += self.end_token.eq(self.i_setting)
        with m.If(self.set_limit):
            m.d.sync += self.limit.eq(self.i_setting)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.go):
                    m.d.sync += [self.position.eq(self.i_first), self.limit.eq(self.i_limit), self.cycles.eq(0),
                                 self.state.eq(State.RUNNING)]
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += fetches.eq(1)
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == LUT_LATENCY):
                    m.d.sync += [wait.eq(0), self.token.eq(tokens.read_data)]
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.start.eq(1)
                m.d.sync += generated.eq(self.position + 1 >= self.given)
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(self.done):
                    m.d.sync += [self.token.eq(self.i_next), self.position.eq(self.position + 1)]
                    m.next = "PUT"
                with m.If(self.illegal | self.endless):
                    m.d.sync += self.state.eq(Mux(self.illegal, State.ILLEGAL, State.WATCHDOG))
                    m.next = "IDLE"
            with m.State("PUT"):
                m.d.comb += puts.eq(generated)
                m.next = "FETCH"
                with m.If(generated & (self.token == self.end_token)):
                    m.d.sync += self.state.eq(State.END_TOKEN)
                    m.next = "IDLE"
                with m.Elif(self.position >= self.limit):
                    m.d.sync += self.state.eq(State.LIMIT)
                    m.next = "IDLE"
        return m
