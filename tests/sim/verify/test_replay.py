"""The whole machine in four simulators: the same trace, and what golden and sim.model.cycles say."""

import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest

from setun.driver.frames import Decoder, encode
from setun.golden.codes import byte_encode
from setun.golden.quantiser import absmax_quantise
from setun.hdl.array.drain import Result
from setun.hdl.config import TRITS, Config
from setun.hdl.protocol import MAX_PAYLOAD, REPLY, Error, Flags, Kind, Register
from setun.hdl.top import Top
from setun.sim.model.cycles import listing_cycles, result_cycles
from setun.sim.model.machine import Machine
from setun.sim.verify.replay import SIMULATORS, outputs, record, replay


CONFIG = Config(name="2x5", banks=2, tiles=1, depth=64, columns=32, blocks=20)
CUT, CYCLES = 1000, 5000  # of a life that ends in the middle of a run, and of one in which all is answered
PORTS = list(outputs(Top(CONFIG)))
with_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="no iverilog: apt-get install iverilog")


class Stimulus:
    """Frames with their answers by sim.model.machine, and the products of the runs among them."""

    def __init__(self, seed):
        self.rng, self.machine = np.random.default_rng(seed), Machine(CONFIG)
        self.request, self.answers, self.products, self.listing = b"", [], [], 0

    def send(self, kind, payload=b"", answer=b""):
        sequence = len(self.answers)
        self.request += encode(kind, sequence, payload)
        self.answers.append((kind | REPLY, sequence, answer))

    def refused(self, kind, payload, error):
        sequence = len(self.answers)
        self.request += encode(kind, sequence, payload)
        self.answers.append((Kind.ERROR, sequence, bytes([error])))

    def load(self, address, words):
        trits = self.rng.integers(-1, 2, (words, CONFIG.banks, CONFIG.tiles, TRITS), np.int8)
        self.machine.load(address, trits)
        self.send(Kind.WEIGHTS, struct.pack("<HH", address, words) + byte_encode(trits).tobytes())

    def list(self, slot, n, live, flags, most):
        int8 = Flags.INT8 in flags
        y = self.rng.integers(-128, 128, n) * self.rng.integers(0, 2, n) * (1 if int8 else 1 << 20)
        for start in range(0, n, most):
            self.send(Kind.VECTOR, struct.pack("<BBHHH", slot, flags, n, live, start)
                      + y[start:start + most].astype("i1" if int8 else "<i4").tobytes())
        self.machine.list(slot, y.astype(np.int8) if int8 else absmax_quantise(y)[0], live, Flags.SKIP in flags)
        self.machine.counted[Register.BYTES_VECTOR] += n * (1 if int8 else 4)
        self.machine.counted[Register.CYCLES_VECTOR] += listing_cycles(CONFIG, n, int8)

    def run(self, *descriptor):
        slot, *rest = descriptor
        self.products.append((TRITS * rest[-1], *self.machine.multiply(*descriptor)))
        self.send(Kind.RUN, struct.pack("<BBHHHH", slot, 0, *rest))

    def all(self):
        """A bit of everything that the machine does."""
        self.load(0, CONFIG.depth)
        self.list(0, 32, 30, Flags.SKIP, 20)
        self.list(1, 29, 29, Flags.INT8, MAX_PAYLOAD)
        self.send(Kind.WAIT)
        for descriptor in ((0, 0, 16, 4, 0), (1, 3, 15, 3, 4), (0, 1, 17, 3, 7), (1, 0, 15, 4, 10)):
            self.run(*descriptor)
        self.refused(Kind.RUN, struct.pack("<BBHHHH", 0, 0, 0, 1, 1, 0), Error.LIST)
        self.refused(0x55, b"abc", Error.KIND)
        self.refused(Kind.READ, b"\0", Error.LENGTH)
        self.send(Kind.RESULTS, struct.pack("<HH", 0, 14), self.machine.fetch(0, 14))
        self.send(Kind.READ, struct.pack("<HH", 0, len(Register)), None)
        return self


def registers(payload):
    return dict(zip(Register, struct.unpack(f"<{len(Register)}I", payload), strict=True))


def check(stimulus, inputs, trace):
    """A life in which all was answered."""
    column = {name: trace[:, index] for index, name in enumerate(PORTS)}
    taken = (column["o__valid"] & inputs[:, 1]).astype(bool)
    replies = list(Decoder().feed(column["o__payload"][taken].astype(np.uint8).tobytes()))
    assert len(replies) == len(stimulus.answers)
    for reply, (kind, sequence, payload) in zip(replies, stimulus.answers, strict=True):
        assert reply[:2] == (kind, sequence) and payload in (None, reply[2]), f"{reply}, not {kind} {payload}"
    found = registers(replies[-1][2])
    for register, value in stimulus.machine.counted.items():
        assert found[register] == value, f"{register.name} is {found[register]}, not {value}"
    starts, expected = np.flatnonzero(column["trace__token"] & 1).tolist(), set()
    first = starts[0]  # a result that comes before is of an earlier life
    for destination, beats, values in stimulus.products:
        cycles, count = result_cycles(CONFIG, len(values), beats), len(values) * beats
        assert starts[:count] == list(range(starts[0], starts[0] + count)), "a gap between beats"
        expected |= {(starts[0] + int(cycles[index]), index[1], destination + TRITS * index[0] + index[2],
                      int(values[index])) for index in np.ndindex(cycles.shape)}
        del starts[:count]
    assert not starts
    results = set()
    for tile in range(CONFIG.tiles):
        words = column[f"trace__results__{tile}"]
        for cycle in first + np.flatnonzero(words[first:] & 1):
            result = Result(CONFIG).from_bits(int(words[cycle]))
            results.add((int(cycle), tile, result.address, result.value))
    assert results == expected


@pytest.fixture(scope="module")
def recorded():
    stimulus = Stimulus(1).all().all()
    return stimulus, *record(Top(CONFIG), [(stimulus.request, CUT), (stimulus.request, CYCLES)], idle=.1, stall=.2,
                             seed=1)


def test_golden(recorded):
    stimulus, inputs, trace = recorded
    assert trace[CUT - 1, PORTS.index("trace__token")] & 1, "rst does not come in the middle of a run"
    check(stimulus, inputs[CUT + 1:], trace[CUT + 1:])


@pytest.mark.parametrize("simulator", [pytest.param(name, marks=with_icarus) if name == "Icarus" else name
                                       for name in SIMULATORS])
def test_same_trace(recorded, simulator):
    _, inputs, trace = recorded
    found = replay(simulator, Top(CONFIG), inputs)
    assert found.shape == trace.shape
    for cycle, port in np.argwhere(found != trace)[:1]:
        pytest.fail(f"{PORTS[port]} is {found[cycle, port]:#x} in cycle {cycle}, and {trace[cycle, port]:#x} in "
                    "Amaranth's simulator")


def test_other_machine(recorded):
    """One that only takes longer to quantise has another trace."""
    _, inputs, trace = recorded
    assert (replay("Verilator", Top(replace(CONFIG, serial=True)), inputs) != trace).any()
