"""The whole machine: bytes in, bytes out, and a text between them."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .control.commander import Commander
from .control.conductor import Conductor
from .link.frame import FrameReceiver, FrameTransmitter
from .processor import Processor, access_latencies
from .protocol import MAGIC, MAP_HASH, SIZES, VERSION, Register, Space, State
from .technology.product import PORTABLE


__all__ = ["Machine"]


class Machine(wiring.Component):
    """A processor on a link that carries the commands of hdl.protocol.

    Parameters
    ----------
    config : Config
    technology : Technology

    Members
    -------
    i, o : stream.Signature(8)
        The link.
    state : Out(State)
    position, token : Out
        That are run.
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        super().__init__({
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "state": Out(State),
            "position": Out(range(config.context + 1)),
            "token": Out(range(max(config.vocabulary, 2))),
        })

    def elaborate(self, platform):
        m = Module()
        config, technology = self.config, self.technology
        m.submodules.receiver = receiver = FrameReceiver(technology)
        m.submodules.commander = commander = Commander(config, latencies=access_latencies(config))
        m.submodules.transmitter = transmitter = FrameTransmitter()
        processor, conductor = Processor(config, technology), Conductor(config, technology)
        m.submodules.processor = ResetInserter(commander.clear)(processor)
        m.submodules.conductor = ResetInserter(commander.clear)(conductor)
        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        wiring.connect(m, receiver.o, commander.i)
        wiring.connect(m, commander.o_header, transmitter.i_header)
        wiring.connect(m, commander.o_payload, transmitter.i_payload)
        wiring.connect(m, transmitter.o, wiring.flipped(self.o))

        access = commander.o_access
        m.d.comb += [
            processor.i_access.eq(access),
            conductor.go.eq(commander.go),
            conductor.i_first.eq(commander.o_first),
            conductor.i_limit.eq(commander.o_limit),
            conductor.write.eq(access.write & (access.space == Space.TOKENS)),
            conductor.address.eq(access.address),
            conductor.i_token.eq(access.data),
            conductor.i_setting.eq(access.data),
            commander.hold.eq(conductor.hold),
            commander.running.eq(conductor.running),
            commander.i_position.eq(conductor.position),
            processor.start.eq(conductor.start),
            processor.i_token.eq(conductor.token),
            processor.i_position.eq(conductor.position),
            conductor.done.eq(processor.done),
            conductor.illegal.eq(processor.illegal),
            conductor.endless.eq(processor.endless),
            conductor.i_next.eq(processor.o_token),
            self.state.eq(conductor.state),
            self.position.eq(conductor.position),
            self.token.eq(conductor.token),
        ]
        self._registers(m, access, conductor, processor, commander.clear)
        with m.Switch(access.space):
            with m.Case(Space.TOKENS):
                m.d.comb += commander.i_value.eq(conductor.o_token)
            with m.Case(Space.REGISTERS):
                m.d.comb += commander.i_value.eq(self.register)
            with m.Default():
                m.d.comb += commander.i_value.eq(processor.o_value)
        return m

    def _registers(self, m, access, conductor, processor, clear):
        config, last_token, seed = self.config, Signal.like(processor.last_token), Signal.like(processor.seed)
        writes = access.write & (access.space == Space.REGISTERS)
        values = {
            Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH,
            **{register: int(getattr(config, name)) for name, register in SIZES.items()},
            Register.STATE: conductor.state, Register.POSITION: conductor.position, Register.CYCLES: conductor.cycles,
            Register.GIVEN: conductor.given, Register.LAST_TOKEN: last_token,
            Register.END_TOKEN: conductor.end_token, Register.LIMIT: conductor.limit, Register.SEED: seed,
        }
        self.register = Signal(32)
        with m.Switch(access.address):
            for register, value in values.items():
                with m.Case(register):
                    m.d.sync += self.register.eq(value)
        for register, port in ((Register.GIVEN, conductor.set_given), (Register.END_TOKEN, conductor.set_end),
                               (Register.LIMIT, conductor.set_limit)):
            m.d.comb += port.eq(writes & (access.address == register))
        with m.If(writes & (access.address == Register.LAST_TOKEN)):
            m.d.sync += last_token.eq(access.data)
        with m.If(writes & (access.address == Register.SEED)):
            m.d.sync += seed.eq(access.data)
        with m.If(clear):
            m.d.sync += [last_token.eq(0), seed.eq(0)]
        m.d.comb += [processor.last_token.eq(last_token), processor.seed.eq(seed)]
        assert set(values) == set(Register)
