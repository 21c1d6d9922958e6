"""The plan of a product against what the driver sends for it."""

import numpy as np
import pytest

from setun.compiler.packing import Chunk, Placed, pack, place
from setun.driver.device import Device
from setun.driver.frames import Decoder
from setun.driver.plan import product_exchanges
from setun.hdl.config import PRESETS
from setun.sim.rtl.transport import SimulatedTransport


CONFIG = PRESETS["4x10"]


class Recording(SimulatedTransport):
    """Keeps (kind, bytes of the payload, bytes of the answer's) of the frames of each exchange."""

    def exchange(self, request, replies, limit):
        answer = super().exchange(request, replies, limit)
        sizes = [len(payload) for _, _, payload in Decoder().feed(answer)]
        self.seen.append([(kind, len(payload), size) for (kind, _, payload), size in
                          zip(Decoder().feed(request), sizes, strict=True)])
        return answer


@pytest.fixture(scope="module")
def device():
    transport = Recording(CONFIG)
    transport.seen = []
    yield Device(transport, CONFIG)
    transport.close()


@pytest.mark.parametrize("chunk_blocks", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("rows, columns", [(1, 1), (95, 247), (340, 248), (341, 1000), (1280, 320)])
def test_plan(device, rows, columns, chunk_blocks):
    """Equal, exchange by exchange: resident; streamed by halves of the memory, or through one place."""
    rng = np.random.default_rng([rows, columns])
    packed = pack(rng.choice(np.array([-1, 1], np.int8), (rows, columns)), CONFIG)
    (placed,), _ = place([packed], CONFIG)
    if chunk_blocks:
        half = 8192 if chunk_blocks != 2 else 0
        placed = Placed(packed, [Chunk(index % 2 * half, first, min(chunk_blocks, packed.blocks - first), True)
                                 for index, first in enumerate(range(0, packed.blocks, chunk_blocks))])
    device.transport.seen.clear()
    before = device.traffic
    device.multiply(placed, rng.integers(-1000, 1000, columns), quantise=True)
    planned = [[command[:3] for command in commands]
               for commands, times in product_exchanges(placed, CONFIG, streamed=bool(chunk_blocks))
               for _ in range(times)]
    assert planned == device.transport.seen
    sent, received, exchanges = np.subtract(device.traffic, before)
    assert exchanges == len(planned) and sent > 10 * exchanges < received
