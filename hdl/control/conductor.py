"""Runs a text, token after token."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..commands import NO_TOKEN, State
from ..technology.memory import BLOCK_LATENCY
from ..technology.product import PORTABLE


__all__ = ["Conductor", "TOKEN_BITS", "TURN_CYCLES"]


TOKEN_BITS = 16
TURN_CYCLES = BLOCK_LATENCY + 2  # of a position, beside the processor's


class Conductor(wiring.Component):
    """Takes the token of each position from its buffer, runs the processor, and puts what comes into the next place.

    Parameters
    ----------
    geometry : Geometry
    technology : Technology

    Members
    -------
    go, i_first, i_limit : In
        Run the positions from ``i_first`` to before ``i_limit``.
    write : In(1)
        ``i_token`` to place ``address`` of the buffer.
    address, i_token : In
    o_token : Out(16)
        What is in the buffer at ``address``, BLOCK_LATENCY cycles later.
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
    token : Out(16)
        That the processor is to run.
    done, illegal, endless : In(1)
    i_next : In(16)
        Of the processor.
    """

    def __init__(self, geometry, technology=PORTABLE):
        self.geometry, self.technology = geometry, technology
        position = range(geometry.context + 1)
        super().__init__({
            "go": In(1), "i_first": In(position), "i_limit": In(position), "write": In(1), "address": In(position),
            "i_token": In(TOKEN_BITS), "o_token": Out(TOKEN_BITS), "hold": Out(1),
            "set_given": In(1), "set_end": In(1), "set_limit": In(1), "i_setting": In(32),
            "state": Out(State), "running": Out(1), "position": Out(position),
            "given": Out(position), "end_token": Out(32, init=NO_TOKEN), "limit": Out(position), "cycles": Out(32),
            "start": Out(1), "token": Out(TOKEN_BITS), "done": In(1), "illegal": In(1), "endless": In(1),
            "i_next": In(TOKEN_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.tokens = tokens = self.technology.memory(depth=self.geometry.context + 1, width=TOKEN_BITS)
        wait, generated = Signal(range(BLOCK_LATENCY + 1)), Signal()
        fetches, puts = Signal(), Signal()
        m.d.comb += [
            tokens.read_enable.eq(1),
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
                with m.If(wait == BLOCK_LATENCY):
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
