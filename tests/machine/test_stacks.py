"""A machine with stacks of four tiles and three lists, in the compiled simulator."""

import contextlib
import struct

import numpy as np

from setun.driver.link import Link
from setun.golden.codes import byte_encode
from setun.golden.layout import tile_weights
from setun.golden.matvec import matvec
from setun.hdl.config import Config
from setun.hdl.protocol import Flags, Kind, Register
from setun.sim.model.cycles import flush_cycles, list_size
from setun.sim.rtl.transport import SimulatedTransport
from tests.campaigns.soak import soak_descriptors


CONFIG = Config(name="5x40-stacks", banks=5, tiles=8, depth=64, columns=60, blocks=12, slots=3, stack=4)
ZEROS = 0, .3, .8  # of the list in each slot
ORDER = 2, 0, 1, 1, 2  # slots, as they are run
ROWS = 100  # the last of three row blocks is partial


def registers(link):
    payload, = link.transact([(Kind.READ, struct.pack("<HH", 0, len(Register)))])
    return dict(zip(Register, np.frombuffer(payload, "<u4").tolist(), strict=True))


def test_each_list():
    """All lists are there before the first is run: products equal golden.matvec, cycles those of the model."""
    rng = np.random.default_rng(1)
    w = rng.integers(-1, 2, (ROWS, CONFIG.columns), np.int8)
    words = tile_weights(w, CONFIG.banks, CONFIG.tiles)
    blocks, stride = words.shape[:2]
    vectors = [rng.integers(-128, 128, CONFIG.columns) * (rng.random(CONFIG.columns) >= zeros) for zeros in ZEROS]
    with contextlib.closing(SimulatedTransport(CONFIG)) as transport:
        link = Link(transport)
        link.transact([(Kind.RESET, b"")])
        for block, weights in enumerate(words):
            link.transact([(Kind.WEIGHTS, struct.pack("<HH", block * stride, stride) + byte_encode(weights).tobytes())])
        for slot, x in enumerate(vectors):
            flags = Flags.INT8 | Flags.SKIP
            link.transact([(Kind.VECTOR, struct.pack("<BBHHH", slot, flags, len(x), len(x), 0)
                            + x.astype(np.int8).tobytes())])
        for slot in ORDER:
            before = registers(link)
            link.transact([(Kind.RUN, struct.pack("<BBHHHH", slot, 0, 0, stride, blocks, 0))])
            payload, = link.transact([(Kind.RESULTS, struct.pack("<HH", 0, blocks))])
            after = registers(link)
            raw = np.frombuffer(payload, np.uint8).reshape(-1, 3).astype(np.int32)
            found = (raw << [8, 16, 24]).sum(1, dtype=np.int32) >> 8
            assert (found[:ROWS] == matvec(w, vectors[slot])).all() and not found[ROWS:].any()
            issue, flush = (after[cause] - before[cause] for cause in (Register.CYCLES_ISSUE, Register.CYCLES_FLUSH))
            assert issue == blocks * list_size(vectors[slot], CONFIG.banks, CONFIG.columns, True).beats
            assert flush == flush_cycles(CONFIG)


def test_descriptors():
    """Weights, lists and runs as they come, while others run."""
    assert soak_descriptors(CONFIG, 120, 1) == (120, 0)
