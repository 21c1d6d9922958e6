import random
from itertools import product

import pytest
from amaranth import Signal

import hdl.counters
from hdl.config import PRESETS, TRITS, Config
from hdl.counters import Counters
from hdl.registers import MAGIC, MAP_HASH, VERSION, Register
from sim.streams import simulate


CONFIG = Config(name="test", banks=3, tiles=2, depth=70, columns=100, blocks=9)
ALL_CAUSES = list(Register)[Register.CYCLES + 1:Register.ENTRIES]  # the first that applies
CAUSES, COUNTED = ALL_CAUSES[:-1], list(Register)[Register.ENTRIES:]
COUNTERS = [Register.CYCLES, *ALL_CAUSES, *COUNTED]
STATE = {Register.PENDING: "pending", Register.ABSMAX: "absmax", Register.BEATS: "beats", Register.OFFSET: "offset"}


def rtl_count(events, *, snapshots=(), clears=(), config=CONFIG, counters=None):
    """{register: value} as they are read after each snapshot, one a cycle while counting goes on.

    ``events`` has for each cycle {register: 1 or growth}; they are 0 after its end.
    """
    counters = counters or Counters(config)
    reads, pending = [], []

    async def bench(ctx):
        for cycle in range(max([len(events), *snapshots]) + len(COUNTERS) + 1):
            now = events[cycle] if cycle < len(events) else {}
            ctx.set(counters.i_events, {register.name.lower(): value for register, value in now.items()})
            ctx.set(counters.clear, cycle in clears)
            ctx.set(counters.snapshot, cycle in snapshots)
            if pending:
                ctx.set(counters.address, pending[0])
                reads[-1][pending.pop(0)] = ctx.get(counters.value)
            if cycle in snapshots:
                assert not pending
                reads.append({})
                pending.extend(COUNTERS)
            await ctx.tick()

    simulate(counters, bench)
    return reads


def cause_of(now):
    return next((cause for cause in CAUSES if now.get(cause)), Register.CYCLES_IDLE)


def reference(events, *, snapshots, clears=()):
    """What has happened since the last clear and before each snapshot."""
    reads = []
    for snapshot in snapshots:
        since = max([-1, *[clear for clear in clears if clear < snapshot]]) + 1
        counted = [events[cycle] if cycle < len(events) else {} for cycle in range(since, snapshot)]
        reads.append({Register.CYCLES: len(counted)}
                     | {cause: sum(cause_of(now) == cause for now in counted) for cause in ALL_CAUSES}
                     | {register: sum(now.get(register, 0) for now in counted) for register in COUNTED})
    return reads


def random_events(rng, count, largest):
    """Causes come and go in stretches; counted events are rare or large."""
    events, likely = [], 0
    for cycle in range(count):
        if cycle % 16 == 0:
            likely = rng.choice([0.0, 0.2, 0.5])
        events.append({cause: int(rng.random() < likely) for cause in CAUSES}
                      | {register: rng.choice([0, 1, rng.randint(0, largest), largest]) for register in COUNTED})
    return events


@pytest.mark.parametrize("seed", range(3))
def test_random(seed):
    rng = random.Random(seed)
    events = random_events(rng, 300, CONFIG.columns)
    schedule = {"snapshots": [0, 40, 100, 140, 200, 299], "clears": [70, 119, 199]}
    reads = rtl_count(events, **schedule)
    assert reads == reference(events, **schedule)
    for read in reads:
        assert sum(read[cause] for cause in ALL_CAUSES) == read[Register.CYCLES]


def test_causes_by_priority():
    """All combinations of causes, a cycle each: half of them are the first one's, a quarter the second one's."""
    events = [dict(zip(CAUSES, applies, strict=True)) for applies in product((0, 1), repeat=len(CAUSES))]
    (read,) = rtl_count(events, snapshots=[len(events)])
    assert [read[cause] for cause in ALL_CAUSES] == [16, 8, 4, 2, 1, 1]
    assert read[Register.CYCLES] == 32


@pytest.mark.parametrize("register", COUNTED)
def test_each_event(register):
    """Alone, by one, by the most, and for long."""
    events = [{register: growth} for growth in [1, 0, CONFIG.columns, 1] + [CONFIG.columns] * 20]
    (read,) = rtl_count(events, snapshots=[len(events)])
    assert read == reference(events, snapshots=[len(events)])[0]
    assert read[register] == 21 * CONFIG.columns + 2


@pytest.mark.parametrize("columns", [1, 3, 4, 16384])
def test_growth_fits(columns):
    """A byte of weights has up to five zeros, however short vectors are."""
    config = Config(name="test", banks=1, tiles=1, depth=1, columns=columns, blocks=1)
    events = [{Register.WEIGHTS_ZERO: TRITS, Register.ENTRIES: columns, Register.MACS: columns}] * 3
    (read,) = rtl_count(events, snapshots=[3], config=config)
    assert [read[register] for register in events[0]] == [3 * TRITS, 3 * columns, 3 * columns]


def test_clear():
    """Counting begins anew in the cycle after; what was seen before stays until the next snapshot."""
    events = random_events(random.Random(5), 100, CONFIG.columns)
    assert rtl_count(events, snapshots=[30], clears=[31, 33]) == reference(events, snapshots=[30])
    (read,) = rtl_count(events, snapshots=[31], clears=[30])
    assert set(read.values()) == {0}


def test_wraps(monkeypatch):
    """At 2 ** 32, each counter for itself."""
    monkeypatch.setattr(hdl.counters, "Signal", lambda *args, **options: Signal(*args, init=2 ** 32 - 10, **options))
    events = [dict.fromkeys([*CAUSES[:1], *COUNTED], 1)] * 12
    reads = rtl_count(events, snapshots=[9, 49])
    assert [read[Register.BYTES_IN] for read in reads] == [2 ** 32 - 1, 2]
    assert [read[Register.CYCLES] for read in reads] == [2 ** 32 - 1, 39]
    assert [read[Register.CYCLES_LOAD] for read in reads] == [2 ** 32 - 10] * 2


@pytest.mark.parametrize("config", [CONFIG, *PRESETS.values()], ids=lambda config: config.name)
def test_identification(config):
    """They are there without a snapshot, and so is the state."""
    counters, rng = Counters(config), random.Random(6)
    expected = {Register.MAGIC: MAGIC, Register.VERSION: VERSION, Register.MAP: MAP_HASH, Register.BANKS: config.banks,
                Register.TILES: config.tiles, Register.DEPTH: config.depth, Register.COLUMNS: config.columns,
                Register.BLOCKS: config.blocks, Register.SLOTS: config.slots}

    async def bench(ctx):
        for value in (0, 1, rng.getrandbits(32), 2 ** 32 - 1):
            for register, port in STATE.items():
                ctx.set(getattr(counters, port), value)
                expected[register] = ctx.get(getattr(counters, port))
                assert expected[register] == value % (1 << len(getattr(counters, port)))
            for register, known in expected.items():
                ctx.set(counters.address, register)
                assert ctx.get(counters.value) == known
            await ctx.tick()

    simulate(counters, bench)


def test_every_register():
    """Each register is of one sort."""
    identification = list(Register)[:Register.PENDING]
    assert sorted([*identification, *STATE, *COUNTERS]) == list(Register)
