import random
from itertools import product

import pytest

from setun.hdl.config import PRESETS, TRITS, Config
from setun.hdl.control.counters import BEFORE, NUMBERS, ROUND, Counters
from setun.hdl.protocol import MAGIC, MAP_HASH, VERSION, Register
from setun.hdl.technology.memory import BlockMemory
from setun.hdl.technology.product import PORTABLE
from setun.sim.verify.streams import simulate


CONFIG = Config(name="test", banks=3, tiles=2, depth=70, columns=100, blocks=9)
ALL_CAUSES = list(Register)[Register.CYCLES + 1:Register.ENTRIES]  # the first that applies
CAUSES, COUNTED = ALL_CAUSES[:-1], list(Register)[Register.ENTRIES:]
COUNTERS = [Register.CYCLES, *ALL_CAUSES, *COUNTED]
SINGLE = [register for register in COUNTED if register.name.startswith("BYTES")]  # one a cycle at most
STATE = {Register.PENDING: "pending", Register.ABSMAX: "absmax", Register.BEATS: "beats", Register.OFFSET: "offset"}


def rtl_read(counters, events, *, starts=(0,), clears=(), state=(), first=0, count=len(Register), stall=0.0,
             edits=()):
    """[{register: value}] as read from each of the cycles ``starts`` on, or as soon as the reading before has ended.

    ``events`` has for each cycle {register: 1 or growth}; they are 0 after its end. ``edits``, {cycle: function}, get
    the simulator's context. Returns the cycles of the starts, of the bytes of each reading as they first come, and of
    those that are taken, too.
    """
    reads, started, came, taken, cycle = [], [], [], [], 0
    rng = random.Random(1)

    async def drive(ctx):
        nonlocal cycle
        for port, value in dict(state).items():
            ctx.set(getattr(counters, port), value)
        while len(reads) < len(starts):
            now = events[cycle] if cycle < len(events) else {}
            comes = {event: any(NUMBERS.get(register) == event for register in now) for event in NUMBERS.values()}
            noise = {register: int(not comes[event]) for register, event in NUMBERS.items()}
            ctx.set(counters.i_events, comes | {register.name.lower(): value
                                                for register, value in (noise | now).items()})
            ctx.set(counters.clear, cycle in clears)
            if cycle in edits:
                edits[cycle](ctx)
            await ctx.tick()
            cycle += 1

    async def read(ctx):
        ctx.set(counters.first, first)
        ctx.set(counters.count, count)
        for start in starts:
            while cycle < start:
                await ctx.tick()
            started.append(cycle)
            ctx.set(counters.start, 1)
            await ctx.tick()
            ctx.set(counters.start, 0)
            received, coming, taking = b"", [], []
            while len(received) < 4 * count:
                ctx.set(counters.o.ready, rng.random() >= stall)
                now = cycle
                _, _, valid, ready, payload = await ctx.tick().sample(
                    counters.o.valid, counters.o.ready, counters.o.payload)
                if valid and len(coming) == len(taking):
                    coming.append(now)
                if valid and ready:
                    taking.append(now)
                    received += bytes([payload])
            values = [int.from_bytes(received[place:place + 4], "little") for place in range(0, len(received), 4)]
            reads.append(dict(zip(list(Register)[first:first + count], values)))
            came.append(coming)
            taken.append(taking)

    simulate(counters, drive, read)
    return reads, started, came, taken


def assert_counted(events, *, starts, clears=(), **options):
    """Whatever is read is right for the cycle of the start, but for the readings before; returns what was read."""
    reads, started, came, taken = rtl_read(Counters(CONFIG), events, starts=starts, clears=clears, **options)
    frozen = set()
    for read, start, coming, taking in zip(reads, started, came, taken, strict=True):
        since = max([0, *[clear + 1 for clear in clears if clear < start]])
        assert 70 <= coming[0] - start <= 135
        assert coming[1:] == [cycle + 3 for cycle in taking[:-1]]
        counted = [cycle for cycle in range(since, start) if cycle not in frozen]
        assert {register: read[register] for register in COUNTERS} == reference(events, counted)
        frozen |= set(range(start, taking[-1] + 1))
    return reads


def cause_of(now):
    return next((cause for cause in CAUSES if now.get(cause)), Register.CYCLES_IDLE)


def reference(events, cycles):
    """What has happened in them."""
    counted = [events[cycle] if cycle < len(events) else {} for cycle in cycles]
    return ({Register.CYCLES: len(counted)}
            | {cause: sum(cause_of(now) == cause for now in counted) for cause in ALL_CAUSES}
            | {register: sum(now.get(register, 0) for now in counted) for register in COUNTED})


def most(register):
    return 1 if register in SINGLE else TRITS if register == Register.WEIGHTS_ZERO else CONFIG.columns


def random_events(rng, count):
    """Causes come and go in stretches; counted events are rare or large, and numbers come as often as they may."""
    events, likely, next_of = [], 0, dict.fromkeys(NUMBERS.values(), 0)
    for cycle in range(count):
        if cycle % 16 == 0:
            likely = rng.choice([0.0, 0.2, 0.5])
        rests = {event for event in next_of if cycle < next_of[event]}
        next_of |= {event: cycle + rng.choice([TRITS, TRITS, rng.randint(TRITS, 90)])
                    for event in next_of if event not in rests}
        events.append({cause: int(rng.random() < likely) for cause in CAUSES}
                      | {register: rng.choice([0, 1, rng.randint(0, most(register)), most(register)])
                         for register in COUNTED if NUMBERS.get(register) not in rests})
    return events


@pytest.mark.parametrize("stall", [0.0, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_random(seed, stall):
    rng = random.Random(seed)
    events = random_events(rng, 3000)
    starts = sorted(rng.sample(range(3000), 8))
    for read in assert_counted(events, starts=starts, stall=stall):
        assert sum(read[cause] for cause in ALL_CAUSES) == read[Register.CYCLES]


def test_every_phase():
    """Readings that start in each cycle of a round lose no cycle and count none twice."""
    starts = [251 * number + number // 17 for number in range(120)]
    reads, started, _, taken = rtl_read(Counters(CONFIG), [], starts=starts, first=Register.CYCLES, count=1)
    frozen, phases = 0, set()
    for read, start, taking, ended in zip(reads, started, taken, [0, *(taking[-1] for taking in taken)]):
        phases.add((start - ended) % ROUND)
        assert read[Register.CYCLES] == start - frozen
        frozen += taking[-1] + 1 - start
    assert len(phases) == ROUND


def test_causes_by_priority():
    """All combinations of causes, a cycle each: half of them are the first one's, a quarter the second one's."""
    events = [dict(zip(CAUSES, applies, strict=True)) for applies in product((0, 1), repeat=len(CAUSES))]
    (read,) = assert_counted(events, starts=[len(events)])
    assert [read[cause] for cause in ALL_CAUSES[:-1]] == [16, 8, 4, 2, 1]


@pytest.mark.parametrize("register", COUNTED)
def test_each_event(register):
    """Alone, by one, by the most, and for long, as often as it may."""
    events = []
    for growth in [1, 0, most(register), 1] + [most(register)] * 200:
        events += [{register: growth}] + [{}] * (TRITS - 1 if register in NUMBERS else 0)
    (read,) = assert_counted(events, starts=[len(events)])
    assert read[register] == 201 * most(register) + 2


@pytest.mark.parametrize("columns", [1, 3, 4, 16384])
def test_growth_fits(columns):
    """A byte of weights has up to five zeros, however short vectors are."""
    config = Config(name="test", banks=1, tiles=1, depth=1, columns=columns, blocks=1)
    zeros = {Register.WEIGHTS_ZERO: TRITS}
    events = [zeros | {Register.ENTRIES: columns, Register.MACS: columns}, *[zeros] * (TRITS - 1)] * 26
    (read,), *_ = rtl_read(Counters(config), events, starts=[130])
    assert [read[register] for register in events[0]] == [130 * TRITS, 26 * columns, 26 * columns]


@pytest.mark.parametrize("clear", [*range(60, 70), 126, 127, 128])
def test_clear(clear):
    """In any cycle of a round: counting begins anew in the cycle after, also for what is read at once."""
    events = random_events(random.Random(5), 400)
    assert_counted(events, starts=[clear + 1, clear + 300], clears=[20, clear])


def test_wraps():
    """At 2 ** 32, each counter for itself."""
    class Open(BlockMemory):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            opened.append(m.submodules.storage)
            return m

    def fill(ctx):
        (storage,) = opened
        place = 4 * (BEFORE + Register.BYTES_IN)
        for address in range(place, place + 8):  # BYTES_IN and BYTES_OUT
            ctx.set(storage.data[address], 0xff if address % 4 else 0xf6)

    opened, counters = [], Counters(CONFIG, PORTABLE._replace(memory=Open))
    events = [{}] * 100 + [{Register.BYTES_IN: 1}] * 12
    (read,), *_ = rtl_read(counters, events, starts=[112], edits={100: fill})
    assert read[Register.BYTES_IN] == 2
    assert read[Register.BYTES_OUT] == 2 ** 32 - 10
    assert read[Register.CYCLES] == 112


@pytest.mark.parametrize("first, count", [(0, 1), (29, 1), (9, 4), (5, 11)])
def test_some(first, count):
    reads, *_ = rtl_read(Counters(CONFIG), [], starts=[0, 1], first=first, count=count)
    assert [list(read) for read in reads] == [list(Register)[first:first + count]] * 2


@pytest.mark.parametrize("config", [CONFIG, *PRESETS.values()], ids=lambda config: config.name)
def test_identification(config):
    """And the state, from bit to bit."""
    counters, rng = Counters(config), random.Random(6)
    expected = {Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH, Register.BANKS: config.banks,
                Register.TILES: config.tiles, Register.DEPTH: config.depth, Register.COLUMNS: config.columns,
                Register.BLOCKS: config.blocks, Register.SLOTS: config.slots, Register.STACK: config.stack}
    state = {port: rng.getrandbits(len(getattr(counters, port))) for port in STATE.values()}
    reads, *_ = rtl_read(counters, [], starts=[0, 0], state=state)
    expected |= {register: state[port] for register, port in STATE.items()}
    for read in reads:
        assert {register: read[register] for register in expected} == expected


def test_every_register():
    """Each register is of one sort."""
    identification = list(Register)[:Register.PENDING]
    assert sorted([*identification, *STATE, *COUNTERS]) == list(Register)
