"""The whole-token processor: a program in memory, the array, the lanes, the scalar unit, and what steps them."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..golden.attention import LOW_BITS, WEIGHT_BITS
from ..golden.lanes import LANE_BITS, MAX_SHIFT
from ..golden.rotary import ROPE_BITS, WAVE
from ..golden.sampling import STATE_BITS
from .array.engine import Engine, EngineBeat, engine_latency
from .array.list_writer import ListWriter
from .array.store_writer import StoreWriter
from .config import TRITS
from .control.access import Access
from .instructions import (
    ARRAY_KINDS,
    MOST_INSTRUCTIONS,
    OPCODE_BITS,
    OPCODES,
    SCALAR_BITS,
    Adjust,
    Angle,
    Count,
    Limit,
    Operand,
    Pass,
    Scale,
    ScaleOperation,
    Sink,
    Source,
    Store,
    StoreKind,
    layout,
    word_bits,
)
from .protocol import Space
from .technology.memory import BLOCK_LATENCY
from .technology.product import PORTABLE
from .vector.angles import ANGLE_LATENCY, Angles
from .vector.lanes import First, Lanes, Second, Step
from .vector.scalars import ScalarUnit


__all__ = ["Processor", "access_latencies"]




def access_latencies(config):
    """{Space: cycles until what is read is there}; None stands for the other spaces. A weight is a product with 1."""
    return {Space.WEIGHTS: 3 + engine_latency(config, True) + 1, None: 2 + BLOCK_LATENCY + 1}


def _bit_length(m, value, name):
    """Bits of a number: where its highest one stands."""
    bits = Signal(range(len(value) + 1), name=name)
    for place in range(len(value)):
        with m.If(value[place]):
            m.d.comb += bits.eq(place + 1)
    return bits


class Processor(wiring.Component):
    """Executes hdl.instructions, one after the other: sim.model.processor.

    Parameters
    ----------
    config : Config
    technology : Technology

    Members
    -------
    i_access : In(Access)
        Of the memories, while not busy.
    o_value : Out
        What ``i_access`` reads, access_latencies(config) later.
    start : In(1)
        Run the program for ``i_token`` at ``i_position``, while not busy.
    busy : Out(1)
    done : Out(1)
        Pulse; ``o_token`` is the next token.
    illegal, endless : Out(1)
        Pulse: it has come to an instruction that is none, or executed MOST_INSTRUCTIONS, and is not busy any more.
    last_token : In(range(vocabulary))
        The model's largest token.
    seed : In(32)
        Of the noise that is added to logits.
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        token, access = range(max(config.vocabulary, 2)), Access(config)
        super().__init__({
            "i_access": In(access),
            "o_value": Out(access["data"].width),
            "last_token": In(token),
            "seed": In(STATE_BITS),
            "start": In(1),
            "i_token": In(token),
            "i_position": In(range(max(config.context, 2))),
            "busy": Out(1),
            "done": Out(1),
            "illegal": Out(1),
            "endless": Out(1),
            "o_token": Out(token),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        self.access = Signal.like(self.i_access, name="access")  # near to what it goes to
        m.d.sync += self.access.eq(self.i_access)
        m.submodules.engine = self.engine = Engine(config, self.technology)
        m.submodules.lanes = self.lanes = Lanes(config, self.technology)
        m.submodules.lists = self.lists = ListWriter(config)
        m.submodules.stores = self.stores = StoreWriter(config)
        m.submodules.scalars = self.scalars = ScalarUnit(
            registers=config.scalars, table=WAVE.tolist(), technology=self.technology)
        m.submodules.angles = self.angles = Angles(position_bits=len(self.i_position))
        m.submodules.program = program = self.technology.memory(depth=config.instructions, width=word_bits(config))

        counter = Signal(range(config.instructions))
        self.word = word = Signal(word_bits(config), reset_less=True)
        unread = Signal(range(BLOCK_LATENCY + 1))  # cycles until the memory shows the instruction at ``counter``
        with m.If(unread != 0):
            m.d.sync += unread.eq(unread - 1)
        self.layer = Signal(range(256))
        self.bases = {name: Signal(range(size), name=f"base_{name}") for name, size in (
            ("weights", config.depth), ("results", config.results), ("scalars", config.scalars))}
        self.fields = {kind: data.View(layout(kind, config), word[OPCODE_BITS:][:layout(kind, config).size])
                       for kind in OPCODES}
        self.token, self.position = Signal.like(self.o_token), Signal.like(self.i_position)
        self.shift, self.picked = Signal(7), Signal(LANE_BITS)
        executed = Signal(range(MOST_INSTRUCTIONS + 1))
        m.d.comb += [program.read_enable.eq(1), self.o_token.eq(self.token),
                     program.read_address.eq(Mux(self.busy, counter, self.access.address))]
        self._registers()
        self._places(m)
        self._measures(m)
        self._connect(m)
        self._scale_wires(m)
        m.d.comb += [self.angles.frequency.eq(self.fields[Angle].frequency), self.angles.position.eq(self.position),
                     self.angles.magnitude.eq(self.scalars.read_mantissa)]

        # Scalars, angles and the program go on while the array multiplies; all else waits for its results.
        needs_array, read = Signal(reset_less=True), program.read_data  # with ``word``
        passes = data.View(layout(Pass, config), read[OPCODE_BITS:][:layout(Pass, config).size])
        lists_elements = ((read[:OPCODE_BITS] == OPCODES.index(Pass)) & (passes.first == Source.ELEMENT.value)
                          & (passes.second == Operand.SCALAR.value) & (passes.sink == Sink.LIST.value))
        self._sequencer(m)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += [self.step.results.eq(self.access.address), self.step.elements.eq(self.access.address),
                             self.step.rotate.eq(0)]
                with m.If(self.start):
                    m.d.sync += [self.token.eq(self.i_token), self.position.eq(self.i_position), counter.eq(0),
                                 unread.eq(BLOCK_LATENCY), executed.eq(0),
                                 self.layer.eq(0), *(base.eq(0) for base in self.bases.values())]
                    m.next = "SPLIT"
            with m.State("SPLIT"):
                self._split(m)
            with m.State("READ"):
                m.d.sync += [word.eq(read), needs_array.eq(Cat(
                    read[:OPCODE_BITS] == OPCODES.index(kind) for kind in ARRAY_KINDS).any() & ~lists_elements)]
                with m.If(unread == 0):
                    m.next = "EXECUTE"
            with m.State("EXECUTE"):
                with m.If(~(self.array_busy & needs_array)):
                    m.d.sync += [counter.eq(counter + 1), unread.eq(BLOCK_LATENCY), executed.eq(executed + 1)]
                    with m.Switch(word[:OPCODE_BITS]):
                        for opcode, kind in enumerate(OPCODES):
                            with m.Case(opcode):
                                getattr(self, f"_start_{kind.__name__.lower()}")(m, self.fields[kind], counter)
                        with m.Default():
                            m.d.comb += self.illegal.eq(1)
                            m.next = "IDLE"
                    with m.If(executed == MOST_INSTRUCTIONS):
                        m.d.comb += self.endless.eq(1)
                        m.next = "IDLE"
            self._pass_states(m)
            self._scale_states(m)
            self._pick_states(m)
            self._angle_states(m)
        m.d.comb += [self.busy.eq(~fsm.ongoing("IDLE")), self.angles.sine.eq(~fsm.ongoing("COSINE"))]
        self._memories(m, program)
        return m

    def _wait(self, m, name, cycles, after):
        """A state of so many cycles."""
        count = Signal(range(cycles + 1), name=f"wait_{name}")
        with m.State(name):
            m.d.sync += count.eq(count + 1)
            with m.If(count == cycles - 1):
                m.d.sync += count.eq(0)
                m.next = after

    def _address(self, field, space):
        return (field.value + Mux(field.layered, self.bases[space], 0))[:len(field.value)]

    def _registers(self):
        """Registers of what is executed, beside those of the units."""
        config = self.config
        self.block, self.blocks = (Signal(range(config.depth + 1), name=name) for name in ("block", "blocks"))
        self.beats = Signal(range(max(config.list_depth, TRITS) + 1))
        self.stride, self.base = Signal(range(config.depth + 1)), Signal(range(config.depth))
        self.digits = Signal()
        self.left = Signal(range(config.results * config.tiles + 1))
        self.run_start, self.fetch_start, self.array_busy = Signal(), Signal(), Signal()
        self.exponent = Signal(signed(SCALAR_BITS[1]), reset_less=True)
        self.angle_writes = Signal()
        self.angle_address, self.angle_value = Signal(range(config.elements)), Signal(signed(LANE_BITS))

    # Token and position as words and lanes

    def _places(self, m):
        config = self.config
        self.places = {}
        for name, whole, divisor in (("token", self.token, config.tiles), ("position", self.position, config.tiles),
                                     ("column", self.position, config.banks),
                                     ("last", self.last_token, config.tiles)):
            self.places[name] = (Signal(len(whole), name=f"{name}_quotient"),
                                 Signal(max(len(whole), len(C(divisor))), name=f"{name}_rest"), divisor)

    def _split(self, m):
        """Divide by lanes and banks, by subtraction; each token once."""
        fresh = Signal(init=1)
        busy = []
        sources = {"token": self.token, "position": self.position, "column": self.position, "last": self.last_token}
        for name, (quotient, rest, divisor) in self.places.items():
            with m.If(fresh):
                m.d.sync += [quotient.eq(0), rest.eq(sources[name])]
            with m.Elif(rest >= divisor):
                m.d.sync += [quotient.eq(quotient + 1), rest.eq(rest - divisor)]
            busy.append(rest >= divisor)
        m.d.sync += fresh.eq(0)
        with m.If(~fresh & ~Cat(busy).any()):
            m.d.sync += fresh.eq(1)
            m.next = "READ"

    def _measures(self, m):
        """What shifts follow: bits of the last step's maximum, and of its sum."""
        maximum_bits = _bit_length(m, self.lanes.maximum, "bits_of_maximum")
        bits_of_sum = _bit_length(m, self.lanes.sum[:32], "bits_of_sum")
        self.maximum_bits, sum_bits = (Signal.like(bits, reset_less=True) for bits in (maximum_bits, bits_of_sum))
        self.narrow = Signal(5, reset_less=True)
        spare = WEIGHT_BITS + LOW_BITS
        # Two registers, for what follows a step comes two cycles behind its end.
        m.d.sync += [self.maximum_bits.eq(maximum_bits), sum_bits.eq(bits_of_sum),
                     self.narrow.eq(Mux(sum_bits < spare, 0, sum_bits - spare))]

    def _connect(self, m):
        """Wires between the units that hold whatever is executed."""
        engine, lanes, lists, stores, config = self.engine, self.lanes, self.lists, self.stores, self.config
        self.step, self.beat = Signal(Step(config), reset_less=True), Signal(EngineBeat(config))
        self.int8, self.narrow_now = Signal(), Signal.like(engine.narrow)
        self.result_start, self.result_address = Signal(), Signal(range(config.results))
        self.fetching = Signal()
        self.listing = Signal()
        self.storing = Signal()
        self.starts = Signal()
        m.d.sync += self.starts.eq(0)
        m.d.comb += [
            lanes.start.eq(self.starts), lists.start.eq(self.starts & self.listing),
            stores.start.eq(self.starts & self.storing),
            lanes.i_step.eq(self.step), lanes.seed.eq(self.seed), lanes.position.eq(self.position),
            engine.i_beat.eq(self.beat), engine.int8.eq(self.int8), engine.narrow.eq(self.narrow_now),
            engine.write.eq(lists.write), lists.query.eq(self.beat.slot),
            lists.i_valid.eq(lanes.o_valid & self.listing), lists.i_takes.eq(lanes.o_takes),
            stores.i_valid.eq(lanes.o_valid & self.storing),
        ]
        m.d.comb += [port.eq(o) for port, o in zip(lists.i, lanes.o)]
        m.d.comb += [port.eq(o) for port, o in zip(stores.i, lanes.o)]
        m.d.comb += [port.eq(o) for port, o in zip(engine.i_entries, lists.o_entries)]
        m.d.comb += [port.eq(o) for port, o in zip(engine.i_lengths, lists.o_lengths)]
        # Results of a Run: word after word in each lane. Of a Fetch: the token's tile fills lane after lane.
        target = Signal(config.tiles)
        fetched_word = Signal(range(config.results))
        chosen = Signal(signed(LANE_BITS))
        fetched = Signal()
        token_lane = Signal(config.tiles, reset_less=True)
        for tile in range(config.tiles):
            m.d.sync += token_lane[tile].eq(self.places["token"][1] == tile)
            with m.If(token_lane[tile]):
                m.d.comb += [chosen.eq(engine.o_results[tile]), fetched.eq(engine.o_valid[tile])]
        with m.If(self.result_start):
            m.d.sync += [target.eq(1), fetched_word.eq(self.result_address)]
        with m.Elif(fetched):
            m.d.sync += [target.eq(target.rotate_left(1)), fetched_word.eq(fetched_word + target[-1])]
        access, from_array = self.access, self.busy & ~self.fetching
        place, value = Signal(range(config.results)), Signal(signed(LANE_BITS))  # what does not come lane by lane
        m.d.comb += [place.eq(Mux(self.busy, fetched_word, access.address)),
                     value.eq(Mux(self.busy, chosen, access.data))]
        address = Signal(range(config.results))
        with m.If(self.result_start):
            m.d.sync += address.eq(self.result_address)
        with m.Elif(engine.o_valid[0]):
            m.d.sync += address.eq(address + 1)
        for tile in range(config.tiles):
            write = lanes.write_results[tile]
            from_host = access.write & (access.space == Space.RESULTS) & (access.lane == tile)
            m.d.comb += [
                write.enable.eq(Mux(from_array, engine.o_valid[tile],
                                    Mux(self.busy, fetched & target[tile], from_host))),
                write.address.eq(Mux(from_array, address, place)),
                write.data.eq(Mux(from_array, engine.o_results[tile], value)),
            ]
            later = Signal.like(address, name=f"result_{tile + 1}", reset_less=True)  # as the next tile's results
            m.d.sync += later.eq(address)
            address = later

    def _memories(self, m, program):
        """What is written and read from outside."""
        access, config = self.access, self.config
        weights = self.engine.i_weights
        # A Store's last word may leave when the program has ended, long before the host's next.
        stored, late = self.stores.o_weights, Signal.like(weights, name="late_weights", reset_less=True)
        from_host, late_from_host = Signal(), Signal()
        m.d.sync += [late.word.eq(access.data), late.address.eq(access.address), late_from_host.eq(from_host)]
        m.d.comb += [
            from_host.eq(access.write & (access.space == Space.WEIGHTS)),
            weights.bank.eq(Mux(from_host, 1 << access.bank, stored.bank)),
            weights.tile.eq(Mux(from_host, 1 << access.lane, stored.tile)),
            weights.address.eq(Mux(late_from_host, late.address, stored.address)),
            weights.word.eq(Mux(late_from_host, late.word, stored.word)),
        ]
        with m.Switch(access.space):
            with m.Case(Space.RESULTS):
                m.d.sync += self.o_value.eq(Array(self.lanes.o_read_results)[access.lane])
            with m.Case(Space.ELEMENTS):
                m.d.sync += self.o_value.eq(Array(self.lanes.o_read_elements)[access.lane])
            with m.Case(Space.WEIGHTS):
                for tile, result in enumerate(self.engine.o_results):
                    with m.If(self.engine.o_valid[tile] & (access.lane == tile)):
                        m.d.sync += self.o_value.eq(result)
            with m.Case(Space.SCALARS):
                m.d.sync += self.o_value.eq(Cat(self.scalars.read_mantissa, self.scalars.read_exponent))
            with m.Default():
                m.d.sync += self.o_value.eq(program.read_data)
        for lane in range(config.tiles):
            write = self.lanes.write_elements[lane]
            with m.If(self.busy):
                m.d.comb += [write.enable.eq(self.angle_writes & (self.fields[Angle].lane == lane)),
                             write.address.eq(self.angle_address), write.data.eq(self.angle_value)]
            with m.Else():
                m.d.comb += [write.enable.eq(access.write & (access.space == Space.ELEMENTS) & (access.lane == lane)),
                             write.address.eq(access.address), write.data.eq(access.data)]
        m.d.comb += [
            self.scalars.write_enable.eq(access.write & (access.space == Space.SCALARS)),
            self.scalars.write_address.eq(access.address),
            self.scalars.write_mantissa.eq(access.data[:SCALAR_BITS[0]]),
            self.scalars.write_exponent.eq(access.data[SCALAR_BITS[0]:]),
            program.write_enable.eq(access.write & (access.space == Space.PROGRAM)),
            program.write_address.eq(access.address),
            program.write_data.eq(access.data),
        ]

    # Run and Fetch: beats of row blocks

    def _start_run(self, m, fields, counter):
        count = self.places["position"][0] + 1
        narrow = fields.narrow + Mux(fields.softmax, self.narrow, 0)
        m.d.sync += [
            self.block.eq(0), self.beats.eq(Mux(fields.int8, 1, TRITS)),
            self.blocks.eq(Mux(fields.count == Count.POSITIONS.value, count, fields.blocks)),
            self.int8.eq(fields.int8), self.narrow_now.eq(narrow), self.fetching.eq(0),
            self.beat.slot.eq(fields.slot), self.beat.low.eq(0), self.beat.probe.eq(0), self.beat.beat.eq(0),
            self.digits.eq(fields.softmax), self.base.eq(self._address(fields.weights, "weights")),
            self.beat.base.eq(self._address(fields.weights, "weights")),
            self.stride.eq(fields.stride), self.result_address.eq(fields.results),
        ]
        m.d.comb += self.run_start.eq(1)
        m.next = "READ"

    def _start_fetch(self, m, fields, counter):
        """The token's row block, an element a block."""
        m.d.sync += [
            self.int8.eq(1), self.narrow_now.eq(0), self.fetching.eq(1), self.beat.probe.eq(1), self.beat.bank.eq(0),
            self.beat.base.eq(self._address(fields.weights, "weights")), self.beat.beat.eq(0),
            self.block.eq(0), self.blocks.eq(self.places["token"][0]), self.stride.eq(fields.stride),
            self.left.eq(fields.words * self.config.tiles), self.result_address.eq(fields.results),
        ]
        m.d.comb += self.fetch_start.eq(1)
        m.next = "READ"

    def _sequencer(self, m):
        """Beats of a Run or a Fetch, and the time until its results are in the lanes' memories."""
        config, beat, lists, access = self.config, self.beat, self.lists, self.access
        last_beat = beat.beat + 1 == self.beats
        flush = Signal(range(engine_latency(config, False) + 1))
        latencies = [engine_latency(config, int8) for int8 in (False, True)]
        m.d.sync += flush.eq(Mux(self.int8, latencies[True], latencies[False]) - 1)
        m.d.comb += self.result_start.eq(0)
        with m.FSM(name="sequencer") as fsm:
            with m.State("IDLE"):
                with m.If(self.run_start):
                    m.next = "LENGTH"
                with m.If(self.fetch_start):
                    m.next = "ROW"
                with m.If(~self.busy & access.read & (access.space == Space.WEIGHTS)):
                    m.d.sync += [beat.bank.eq(access.bank), beat.base.eq(access.address), beat.probe.eq(1),
                                 self.int8.eq(1), self.narrow_now.eq(0)]
                    m.next = "PROBE"
            with m.State("PROBE"):
                m.d.comb += [beat.valid.eq(1), beat.first.eq(1), beat.last.eq(1)]
                m.next = "IDLE"
            with m.State("LENGTH"):
                m.d.comb += self.result_start.eq(1)
                with m.If(lists.o_beats > self.beats):
                    m.d.sync += self.beats.eq(lists.o_beats)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [beat.valid.eq(1), beat.first.eq(beat.beat == 0), beat.last.eq(last_beat)]
                m.d.sync += beat.beat.eq(beat.beat + 1)
                with m.If(last_beat):
                    m.d.sync += [beat.beat.eq(0), beat.base.eq(beat.base + self.stride), self.block.eq(self.block + 1)]
                    with m.If(self.block + 1 == self.blocks):
                        m.next = "FLUSH"
                        with m.If(self.digits & ~beat.low):
                            m.d.sync += [beat.low.eq(1), beat.base.eq(self.base), self.block.eq(0)]
                            m.next = "RUN"
            with m.State("ROW"):
                m.d.comb += self.result_start.eq(1)
                with m.If(self.block == self.blocks):
                    m.next = "FETCH"
                with m.Else():
                    m.d.sync += [self.block.eq(self.block + 1), beat.base.eq(beat.base + self.stride)]
            with m.State("FETCH"):
                m.d.comb += [beat.valid.eq(1), beat.first.eq(1), beat.last.eq(1)]
                m.d.sync += [self.left.eq(self.left - 1), beat.bank.eq(beat.bank + 1)]
                with m.If(beat.bank == config.banks - 1):
                    m.d.sync += [beat.bank.eq(0), beat.base.eq(beat.base + 1)]
                with m.If(self.left == 1):
                    m.next = "FLUSH"
            with m.State("FLUSH"):
                m.d.sync += flush.eq(flush - 1)
                with m.If(flush == 0):
                    m.next = "IDLE"
        m.d.comb += self.array_busy.eq(~fsm.ongoing("IDLE"))

    # Pass, Rotate and Store: words through the lanes

    def _start_pass(self, m, fields, counter):
        step, lists = self.step, self.lists
        words = Mux(fields.count == Count.POSITIONS.value, self.places["position"][0] + 1, fields.words)
        limit_word, limit_lane = self.places["position"][0], self.places["position"][1]
        m.d.sync += [
            step.words.eq(words), step.results.eq(self._address(fields.results, "results")),
            step.elements.eq(Mux(fields.add, fields.destination, fields.elements)),
            step.destination.eq(fields.destination), step.rotate.eq(0), step.slow.eq(0), step.add.eq(fields.add),
            step.exp2.eq(fields.second == Operand.EXP2.value), step.limited.eq(fields.limit != Limit.NONE.value),
            step.limit_word.eq(Mux(fields.limit == Limit.POSITION.value, limit_word, self.places["last"][0])),
            step.limit_lane.eq(Mux(fields.limit == Limit.POSITION.value, limit_lane, self.places["last"][1])),
            step.write.eq(fields.sink == Sink.ELEMENT.value), step.noise.eq(fields.first == Source.NOISE.value),
            step.brief.eq(~fields.remember),
            self.listing.eq(fields.sink == Sink.LIST.value), self.storing.eq(0),
            lists.slot.eq(fields.destination), lists.digits.eq(fields.second == Operand.EXP2.value),
        ]
        firsts = {Source.RESULT: First.RESULT, Source.POSITIVE: First.POSITIVE, Source.ELEMENT: First.ELEMENT,
                  Source.BELOW: First.BELOW, Source.NOISE: First.RESULT}
        with m.Switch(fields.first):
            for source, first in firsts.items():
                with m.Case(source.value):
                    m.d.sync += step.first.eq(first)
        seconds = {Operand.SCALAR: Second.SCALAR, Operand.RESULT: Second.RESULT, Operand.ELEMENT: Second.ELEMENT,
                   Operand.SIGMOID: Second.SIGMOID}
        with m.Switch(fields.second):
            for operand, second in seconds.items():
                with m.Case(operand.value):
                    m.d.sync += step.second.eq(second)
        m.next = "SCALAR"

    def _start_rotate(self, m, fields, counter):
        step = self.step
        m.d.sync += [
            step.words.eq(fields.words), step.results.eq(fields.results), step.elements.eq(fields.angles),
            step.period.eq(fields.period), step.destination.eq(fields.destination), step.rotate.eq(1), step.slow.eq(0),
            step.first.eq(First.RESULT), step.second.eq(Second.ELEMENT), step.add.eq(0), step.noise.eq(0),
            step.exp2.eq(0), step.limited.eq(0), step.brief.eq(0), step.write.eq(1), step.shift.eq(ROPE_BITS),
            self.listing.eq(0), self.storing.eq(0),
        ]
        m.next = "ROTATE"

    def _start_store(self, m, fields, counter):
        step, stores = self.step, self.stores
        is_value = fields.kind == StoreKind.VALUE.value
        key_word, key_tile, _ = self.places["position"]
        value_word, value_bank, _ = self.places["column"]
        from_results = fields.first == Source.RESULT.value
        m.d.sync += [
            step.words.eq(fields.words), step.results.eq(fields.source), step.elements.eq(fields.source),
            step.rotate.eq(0), step.slow.eq(1), step.first.eq(Mux(from_results, First.RESULT, First.ELEMENT)),
            step.second.eq(Second.SCALAR), step.add.eq(0), step.noise.eq(0), step.exp2.eq(0), step.limited.eq(0),
            step.brief.eq(1), step.write.eq(0),
            self.listing.eq(0), self.storing.eq(1),
            stores.value.eq(is_value), stores.fixed.eq(Mux(is_value, value_bank, key_tile)),
            stores.stride.eq(fields.stride),
            stores.address.eq(self._address(fields.weights, "weights")
                              + Mux(is_value, value_word, key_word * fields.stride)),
        ]
        m.next = "SCALAR"

    def _start_lanes(self, m):
        m.d.sync += self.starts.eq(1)

    def _pass_states(self, m):
        step, scalars, lanes = self.step, self.scalars, self.lanes
        fields = self.fields[Pass]
        mantissa, exponent = scalars.read_mantissa, scalars.read_exponent
        shift = Signal(signed(SCALAR_BITS[1] + 2), reset_less=True)
        factor, some = Signal(LANE_BITS - 1, reset_less=True), Signal(reset_less=True)  # whether it is not 0
        largest = (1 << LANE_BITS - 1) - 1
        takes_scalar = self.storing | (fields.second == Operand.SCALAR.value)
        self._wait(m, "SCALAR", BLOCK_LATENCY - 1, "OPERAND")
        with m.State("OPERAND"):
            m.d.sync += [factor.eq(mantissa), some.eq(mantissa[-1]), shift.eq(-exponent)]
            # The highest bit of a mantissa is only clear in 0.
            with m.If(step.noise):  # it has to be known whether there is any before words begin
                m.d.sync += step.slow.eq(mantissa[-1])
            with m.If(step.noise | takes_scalar & mantissa[-1] & ((exponent >= 1) | (exponent < -MAX_SHIFT))):
                m.next = "ALIGN"
            with m.Else():
                self._start_lanes(m)
                m.next = "SHIFT"
        with m.State("ALIGN"):
            # golden.lanes.operand: a negative shift doubles the factor as far as it goes.
            with m.If(takes_scalar & shift[-1] & some):
                m.d.sync += shift.eq(0)
                with m.If(shift == -1):
                    m.d.sync += factor.eq(factor << 1)
                with m.Else():
                    m.d.sync += factor.eq(largest)
            with m.Elif(takes_scalar & ~shift[-1] & shift[MAX_SHIFT.bit_length():-1].any() & some):
                m.d.sync += [shift.eq(shift - 1), factor.eq(factor >> 1), some.eq(factor[1:].any())]
            with m.Else():
                self._start_lanes(m)
                m.next = "SHIFT"
        # Words are on their way already: the factor is asked for three cycles after their start, the shift seven.
        by_scalar, by_maximum = self.storing | fields.shift_by_scalar, ~self.storing & fields.shift_by_maximum
        given = Mux(self.storing, 0, fields.shift)
        with m.State("SHIFT"):
            m.d.sync += shift.eq(given + Mux(by_scalar, shift, 0) + Mux(by_maximum, self.maximum_bits, 0)
                                 - Mux(by_maximum, LANE_BITS - 1, 0))
            m.d.sync += step.scalar.eq(factor)
            m.next = "LIMIT"
        with m.State("LIMIT"):
            bounded = Signal.like(shift)
            m.d.comb += bounded.eq(Mux(shift < 0, 0, shift))
            m.d.sync += step.shift.eq(Mux(bounded > MAX_SHIFT, MAX_SHIFT, bounded))
            with m.If(by_maximum):
                m.d.sync += self.shift.eq(bounded)
            m.next = "LANES"
        with m.State("ROTATE"):
            self._start_lanes(m)
            m.next = "LANES"
        token = self.lanes.best_word * self.config.tiles + self.lanes.best_lane
        with m.State("LANES"):
            with m.If(lanes.done):
                with m.If(~self.storing & ~step.rotate & (fields.sink == Sink.TOKEN.value)):
                    m.d.sync += self.token.eq(token)
                with m.If(self.storing):
                    m.next = "STORED"
                with m.Else():
                    m.next = "READ"
        self._wait(m, "STORED", self.config.tiles, "READ")  # until the last word's elements were taken

    # Scale

    def _start_scale(self, m, fields, counter):
        adjust = Mux(fields.adjust == Adjust.SHIFT.value, self.shift,
                     Mux(fields.adjust == Adjust.NARROW.value, self.narrow, 0))
        m.d.sync += self.exponent.eq(fields.exponent + adjust)
        m.next = "SCALE"

    def _scale_wires(self, m):
        fields, scalars, lanes = self.fields[Scale], self.scalars, self.lanes
        # Asked for while the instruction is seen first, so that it is there two cycles later.
        with m.Switch(self.word[:OPCODE_BITS]):
            with m.Case(OPCODES.index(Store)):
                m.d.comb += scalars.read_address.eq(self._address(self.fields[Store].scalar, "scalars"))
            with m.Case(OPCODES.index(Pass)):
                m.d.comb += scalars.read_address.eq(self._address(self.fields[Pass].scalar, "scalars"))
            with m.Case(OPCODES.index(Scale)):
                m.d.comb += scalars.read_address.eq(self._address(fields.a, "scalars"))
            with m.Case(OPCODES.index(Angle)):
                m.d.comb += [scalars.read_address.eq(self.angles.place), scalars.read_table.eq(self.busy)]
        with m.If(~self.busy):
            m.d.comb += scalars.read_address.eq(self.access.address)
        m.d.comb += [
            scalars.operation.eq(fields.operation), scalars.destination.eq(fields.destination),
            scalars.b.eq(self._address(fields.b, "scalars")),
            scalars.exponent.eq(self.exponent),
        ]
        with m.Switch(fields.operation):
            with m.Case(ScaleOperation.LOAD_MAXIMUM.value):
                m.d.comb += scalars.value.eq(lanes.maximum)
            with m.Case(ScaleOperation.LOAD_SUM.value):
                m.d.comb += scalars.value.eq(lanes.sum)
            with m.Default():
                m.d.comb += scalars.value.eq(self.picked)

    def _scale_states(self, m):
        with m.State("SCALE"):
            m.d.comb += self.scalars.start.eq(1)
            m.next = "SCALING"
        with m.State("SCALING"):
            with m.If(self.scalars.done):
                m.next = "READ"

    # Pick, Angle, Repeat, End

    def _start_pick(self, m, fields, counter):
        m.d.sync += [self.step.elements.eq(fields.elements + self.places["token"][0]), self.step.rotate.eq(0)]
        m.next = "PICK"

    def _pick_states(self, m):
        self._wait(m, "PICK", BLOCK_LATENCY + 1, "PICKED")
        with m.State("PICKED"):
            for lane, element in enumerate(self.lanes.o_read_elements):
                with m.If(self.places["token"][1] == lane):
                    m.d.sync += self.picked.eq(element)
            m.next = "READ"

    def _start_angle(self, m, fields, counter):
        m.next = "COSINE"

    def _angle_states(self, m):
        fields = self.fields[Angle]
        with m.State("COSINE"):  # asked for, and in the next the sine
            m.next = "SINE"
        self._wait(m, "SINE", ANGLE_LATENCY - 2, "ANGLE_0")
        for place, value in enumerate((self.angles.o, -self.angles.o, self.angles.o)):
            with m.State(f"ANGLE_{place}"):
                m.d.comb += [self.angle_writes.eq(1), self.angle_address.eq(fields.destination + place),
                             self.angle_value.eq(value)]
                m.next = f"ANGLE_{place + 1}" if place < 2 else "READ"

    def _start_repeat(self, m, fields, counter):
        with m.If(self.layer + 1 == fields.layers):
            m.d.sync += [self.layer.eq(0), *(base.eq(0) for base in self.bases.values())]
        with m.Else():
            m.d.sync += [self.layer.eq(self.layer + 1), counter.eq(fields.target),
                         *(base.eq(base + getattr(fields, name)) for name, base in self.bases.items())]
        m.next = "READ"

    def _start_end(self, m, fields, counter):
        m.d.comb += self.done.eq(1)
        m.next = "IDLE"
