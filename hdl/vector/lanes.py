"""The lanes beside the tiles: their memories, the words that pass them, and where results go."""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ...golden.lanes import LANE_BITS
from ...golden.sampling import STATE_BITS
from ..technology.memory import BLOCK_LATENCY
from ..technology.product import PORTABLE
from .lane import LANE_LATENCY, SQUARE_LATENCY, WEIGHT_SHIFT, Lane
from .noise import Noise, first_pause, next_pause


__all__ = ["First", "Lanes", "MemoryWrite", "Second", "Step", "drain_cycles"]


SHARED_WORDS = 512  # up to which two lanes' elements fit one block RAM, as that of the ECP5 is
REMEMBER_CYCLES = 2  # behind a result: the comparison, and the larger magnitude of two signs
SUM_BITS = 48
ANGLES = 3  # words of a pair: cos, -sin, sin
PRODUCTS = 4  # of a pair of words that are rotated


class First(enum.IntEnum, shape=2):
    """The first factor, or how far the element is below the largest."""
    RESULT = 0
    POSITIVE = 1
    ELEMENT = 2
    BELOW = 3


class Second(enum.IntEnum, shape=2):
    """The second factor."""
    SCALAR = 0
    RESULT = 1
    ELEMENT = 2
    SIGMOID = 3  # of the element


class Step(data.StructLayout):
    """Words that pass the lanes.

    Members
    -------
    words : how many, or pairs of words where ``rotate`` is set
    results, elements : addresses of operands
    period : pairs of angles, where ``rotate`` is set, that are at ``elements``
    first, second : First, Second
    add : the element at ``elements`` is added
    noise : the first factor is noise; with ``slow`` words come as it does, and else it is not made
    exp2 : results are weights of the softmax
    limited : elements beyond ``limit_word``, ``limit_lane`` take no part
    write : results go to elements from ``destination`` on
    brief : nobody asks for what is remembered, and the step is done two cycles before its last results leave
    slow : N + 1 cycles from a word to the next, for a sink that takes elements one by one
    shift, scalar : of golden.lanes.operand
    """

    def __init__(self, config):
        words = range(max(config.results, config.elements) + 1)
        super().__init__({
            "words": words, "results": range(config.results), "elements": range(config.elements),
            "destination": range(config.elements), "period": words, "rotate": 1, "first": First, "second": Second,
            "add": 1, "noise": 1, "exp2": 1, "limited": 1, "limit_word": words,
            "limit_lane": range(max(config.tiles, 2)), "write": 1, "brief": 1, "slow": 1, "shift": 5,
            "scalar": signed(LANE_BITS)})


class MemoryWrite(data.StructLayout):
    """A write to a lane's memory of so many words."""

    def __init__(self, depth):
        super().__init__({"enable": 1, "address": range(depth), "data": signed(LANE_BITS)})


RESULT_CYCLES = BLOCK_LATENCY + LANE_LATENCY  # from the last operands' addresses to its results
READING_CYCLES = 2  # that pass at least between a step's end and whatever follows it


def drain_cycles(lanes, brief):
    """Cycles of a step behind the one of its last operands' addresses, ``done`` included."""
    return RESULT_CYCLES + (-READING_CYCLES if brief else REMEMBER_CYCLES + ceil_log2(lanes))


class Lanes(wiring.Component):
    """N lanes with their two memories; a word of N elements a cycle.

    A step is taken in the cycle of ``start``, and holds until ``done``, when its results are in memory and ``maximum``,
    ``largest``, ``best`` and ``sum`` are those of all lanes: drain_cycles behind the last word.

    Parameters
    ----------
    config : Config
    technology : Technology

    Members
    -------
    start, i_step
    seed, position : In
        Of the noise.
    busy, done : Out(1)
    write_results, write_elements : In(MemoryWrite), one for each lane
        From elsewhere, while no step writes there; the address of elements is the same in all lanes.
    o_read_results, o_read_elements : Out(signed(18)), one for each lane
        While no step runs, what is at ``i_step.results`` and ``i_step.elements``, BLOCK_LATENCY cycles later.
    o_valid, o_takes : Out(1), Out(tiles)
        A word of results.
    o : Out(signed(18)), one for each lane
    maximum, largest, sum, best_word, best_lane : Out
    """

    def __init__(self, config, technology=PORTABLE):
        self.config, self.technology = config, technology
        lanes = config.tiles
        self.word_bits = range(max(config.results, config.elements) + 1)
        super().__init__({
            "start": In(1),
            "i_step": In(Step(config)),
            "seed": In(STATE_BITS),
            "position": In(range(config.context)),
            "busy": Out(1),
            "done": Out(1),
            "write_results": In(MemoryWrite(config.results)).array(lanes),
            "write_elements": In(MemoryWrite(config.elements)).array(lanes),
            "o_read_results": Out(signed(LANE_BITS)).array(lanes),
            "o_read_elements": Out(signed(LANE_BITS)).array(lanes),
            "o_valid": Out(1),
            "o_takes": Out(lanes),
            "o": Out(signed(LANE_BITS)).array(lanes),
            "maximum": Out(LANE_BITS),
            "largest": Out(signed(LANE_BITS)),
            "best_word": Out(self.word_bits),
            "best_lane": Out(range(max(lanes, 2))),
            "sum": Out(SUM_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        config, step, lanes = self.config, self.i_step, self.config.tiles
        issue = self._issue(m)
        m.submodules.noise = noise = Noise(lanes=lanes)
        m.d.comb += [noise.start.eq(self.start), noise.seed.eq(self.seed), noise.position.eq(self.position),
                     noise.take.eq(issue.valid & step.noise)]

        control = Signal(data.StructLayout({"valid": 1, "chain": 1, "ends": 1, "exp2": 1, "takes": lanes}))
        m.d.comb += [control.valid.eq(issue.valid), control.chain.eq(issue.chain), control.ends.eq(issue.ends),
                     control.exp2.eq(step.exp2), control.takes.eq(issue.takes)]
        for stage in range(BLOCK_LATENCY):
            later = Signal.like(control, name=f"control_{stage}")
            m.d.sync += later.eq(control)
            control = later

        factor, shift = Signal(signed(LANE_BITS), reset_less=True), Signal.like(step.shift, reset_less=True)
        m.d.sync += [factor.eq(Mux(~step.exp2 & (step.second == Second.SCALAR), step.scalar, 0)),
                     shift.eq(Mux(step.exp2, WEIGHT_SHIFT, step.shift))]

        valid = Signal(lanes)
        written = Signal.like(step.destination)  # where the next result goes
        with m.If(self.start):
            m.d.sync += written.eq(step.destination)
        with m.Elif(valid[0]):
            m.d.sync += written.eq(written + 1)
        clear, count = Signal(), Signal(range(config.elements + 1), reset_less=True)
        m.d.sync += clear.eq(self.start)
        with m.If(valid[0]):
            m.d.sync += count.eq(count + 1)
        with m.If(clear):
            m.d.sync += count.eq(0)
        top = Signal.like(self.largest, reset_less=True)  # of the step before
        with m.If(self.start):
            m.d.sync += top.eq(self.largest)
        writes_elements = [Signal.like(write, name=f"write_{number}", reset_less=True)
                           for number, write in enumerate(self.write_elements)]
        m.d.sync += [later.eq(write) for later, write in zip(writes_elements, self.write_elements)]
        outside = Cat(write.enable for write in writes_elements).any()
        elements = self._elements(m, issue.elements, Mux(outside, writes_elements[0].address, written))
        found = []
        for number in range(lanes):
            m.submodules[f"results_{number}"] = results = self.technology.memory(
                depth=config.results, width=LANE_BITS)
            m.submodules[f"lane_{number}"] = lane = Lane(
                count_bits=len(count), silu=config.silu, technology=self.technology)
            result = results.read_data.as_signed()
            element, writes, written_data = elements[number]
            taken = Mux((step.first == First.POSITIVE) & result[-1], 0, result)
            outside, computed = writes_elements[number], self.write_results[number]
            m.d.comb += [
                results.write_enable.eq(computed.enable),
                results.write_address.eq(computed.address),
                results.write_data.eq(computed.data),
                results.read_enable.eq(1),
                results.read_address.eq(issue.results),
                writes.eq(outside.enable | lane.o_valid & step.write),
                written_data.eq(Mux(outside.enable, outside.data, lane.o)),
                self.o_read_results[number].eq(result),
                self.o_read_elements[number].eq(element),
                *(lane.control[name].eq(control[name]) for name in ("valid", "chain", "ends", "exp2")),
                lane.control.takes.eq(control.takes[number]),
                lane.control.sigmoid.eq(step.second == Second.SIGMOID),
                lane.below.eq(top - element),
                lane.c.eq(Mux(step.add, element, 0)),
                lane.a.eq(Mux(step.noise, noise.o[number], Mux(step.first[1], element, taken))),
                lane.b.eq(Mux(step.exp2 | (step.second == Second.SCALAR), 0,
                              Mux(step.second == Second.RESULT, taken, element))),
                lane.factor.eq(factor),
                lane.shift.eq(shift),
                lane.count.eq(count),
                lane.clear.eq(clear),
                valid[number].eq(lane.o_valid),
                self.o_takes[number].eq(lane.o_takes),
                self.o[number].eq(lane.o),
            ]
            found.append(lane)
        m.d.comb += self.o_valid.eq(valid[0])
        self._gather(m, found)
        self._sum(m, found, control.valid & ~control.exp2, clear)
        return m

    def _elements(self, m, read_address, write_address):
        """For each lane, what is read of its elements, and the enable and the data of a write."""
        config, found = self.config, []
        shared = 2 if config.elements <= SHARED_WORDS else 1
        for first in range(0, config.tiles, shared):
            lanes = min(shared, config.tiles - first)
            m.submodules[f"elements_{first}"] = memory = self.technology.memory(
                depth=config.elements, width=LANE_BITS, lanes=lanes)
            m.d.comb += [memory.read_enable.eq(1), memory.read_address.eq(read_address),
                         memory.write_address.eq(write_address)]
            found.extend((memory.read_data.word_select(lane, LANE_BITS).as_signed(), memory.write_enable[lane],
                          memory.write_data.word_select(lane, LANE_BITS)) for lane in range(lanes))
        return found

    def _issue(self, m):
        """Addresses and marks of a word a cycle, and when a step is done."""
        config, step, lanes = self.config, self.i_step, self.config.tiles
        issue = Signal(data.StructLayout({
            "valid": 1, "chain": 1, "ends": 1, "takes": lanes, "results": range(config.results),
            "elements": range(config.elements)}))
        running, drain = Signal(), Signal(range(drain_cycles(lanes, False)))
        word = Signal(self.word_bits, reset_less=True)
        product = Signal(range(PRODUCTS), reset_less=True)
        angle, pair = Signal(self.word_bits, reset_less=True), Signal(range(config.elements), reset_less=True)
        pause = Signal(range(first_pause(lanes) + 1), reset_less=True)
        last_product, final = Signal(), Signal()
        second = product[0]  # of two products that are added
        m.d.comb += [
            last_product.eq(~step.rotate | (product == PRODUCTS - 1)),
            final.eq(last_product & (word + 1 == step.words)),
            issue.valid.eq(running & (pause == 0)),
            issue.chain.eq(step.rotate & second),
            issue.ends.eq(~step.rotate | second),
            self.busy.eq(running | drain.any()),
        ]
        for number in range(lanes):
            beyond = (step.limit_word < word) | (word == step.limit_word) & (step.limit_lane < number)
            m.d.comb += issue.takes[number].eq(~(step.limited & beyond))
        with m.If(step.rotate):
            # low cos, high -sin, high cos, low sin: their words of results and of the pair's angles.
            m.d.comb += [
                issue.results.eq(step.results + (word << 1) + (product[0] ^ product[1])),
                issue.elements.eq(step.elements + pair + Mux(second, 1 + product[1], 0)),
            ]
        with m.Else():
            m.d.comb += [issue.results.eq(step.results + word), issue.elements.eq(step.elements + word)]

        m.d.sync += self.done.eq(0)
        with m.If(self.start):
            m.d.sync += [running.eq(1), word.eq(0), product.eq(0), angle.eq(0), pair.eq(0),
                         pause.eq(Mux(step.noise & step.slow, first_pause(lanes), 0))]
        with m.Elif(running & (pause != 0)):
            m.d.sync += pause.eq(pause - 1)
        with m.Elif(running):
            with m.If(step.slow):
                # One cycle more than elements are taken in, or what noise takes.
                m.d.sync += pause.eq(Mux(step.noise, next_pause(lanes), lanes))
            m.d.sync += product.eq(product + 1)
            with m.If(last_product):
                m.d.sync += [product.eq(0), word.eq(word + 1), angle.eq(angle + 1), pair.eq(pair + ANGLES)]
                with m.If(angle + 1 == step.period):
                    m.d.sync += [angle.eq(0), pair.eq(0)]
            with m.If(final):
                m.d.sync += [running.eq(0), word.eq(0), pair.eq(0),
                             drain.eq(Mux(step.brief, drain_cycles(lanes, True), drain_cycles(lanes, False)) - 1)]
        with m.Elif(drain != 0):
            m.d.sync += [drain.eq(drain - 1), self.done.eq(drain == 1)]
        return issue

    def _gather(self, m, lanes):
        """Smallest, largest and best of all lanes, a level of a tree a cycle, and then the largest magnitude."""
        kept = data.StructLayout({"smallest": signed(LANE_BITS), "largest": signed(LANE_BITS),
                                  "word": range(self.config.elements + 1), "lane": range(max(len(lanes), 2))})
        nodes = []
        for number, lane in enumerate(lanes):
            node = Signal(kept, name=f"leaf_{number}")
            m.d.comb += [node.smallest.eq(lane.smallest), node.largest.eq(lane.largest), node.word.eq(lane.best),
                         node.lane.eq(number)]
            nodes.append(node)
        while len(nodes) > 1:
            level = []
            for number in range(0, len(nodes), 2):
                node = Signal(kept, name=f"node_{len(nodes)}_{number}", reset_less=True)
                m.d.sync += node.eq(nodes[number])
                if number + 1 < len(nodes):
                    left, right = nodes[number:number + 2]
                    # Of the same word, that of the lower lane is the first: it is on the left.
                    places = [Cat(~side.word, side.largest[:-1], ~side.largest[-1]) for side in (left, right)]
                    lower = Mux(right.smallest < left.smallest, right.smallest, left.smallest)
                    m.d.sync += node.smallest.eq(lower)
                    with m.If(places[0] < places[1]):
                        m.d.sync += [node.largest.eq(right.largest), node.word.eq(right.word),
                                     node.lane.eq(right.lane)]
                level.append(node)
            nodes = level
        found, maximum = nodes[0], Signal.like(self.maximum, reset_less=True)
        m.d.sync += maximum.eq(Mux((found.smallest + found.largest)[-1], -found.smallest, found.largest))
        m.d.comb += [self.maximum.eq(maximum), self.largest.eq(nodes[0].largest),
                     self.best_word.eq(nodes[0].word), self.best_lane.eq(nodes[0].lane)]

    def _sum(self, m, lanes, squares, clear):
        """Sum of all lanes' squares, which are there where ``squares`` was set SQUARE_LATENCY cycles before, and of
        their weights."""
        totals = []
        for name, values in (("square", [lane.square for lane in lanes]), ("weight", [lane.weight for lane in lanes])):
            while len(values) > 1:
                level = []
                for number in range(0, len(values), 2):
                    value = sum(values[number + 1:number + 2], values[number])
                    total = Signal.like(value, name=f"{name}s_{len(values)}_{number}", reset_less=True)
                    m.d.sync += total.eq(value)
                    level.append(total)
                values = level
            totals += values
        for stage in range(SQUARE_LATENCY + ceil_log2(len(lanes))):
            later = Signal(name=f"squares_{stage}")
            m.d.sync += later.eq(squares)
            squares = later
        m.submodules.sum = add = self.technology.chosen_add(width=SUM_BITS)
        # A total of weights is 0 unless there are some.
        m.d.comb += [add.total.eq(self.sum), add.a.eq(totals[0]), add.b.eq(totals[1]), add.choose.eq(~squares)]
        m.d.sync += self.sum.eq(add.o)
        with m.If(clear):
            m.d.sync += self.sum.eq(0)
