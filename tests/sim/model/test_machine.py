"""The simulated RTL against sim.model.machine when it is reset."""

import contextlib
import struct

import numpy as np
import pytest

from setun.driver.frames import Decoder, encode
from setun.driver.link import Link
from setun.hdl.config import Config
from setun.hdl.protocol import ACCUMULATOR_BYTES, Kind, Register
from setun.sim.model.machine import Machine
from setun.sim.rtl.transport import SimulatedTransport
from tests.campaigns.soak import exercise, fill, random_vector, random_weights


CONFIGS = (
    Config(name="2x5", banks=2, tiles=1, depth=64, columns=30, blocks=8),
    Config(name="2x10", banks=2, tiles=2, depth=64, columns=30, blocks=8, stack=2, serial=True, single_port=True),
)


def read_results(link, config):
    payload, = link.transact([(Kind.RESULTS, struct.pack("<HH", 0, config.blocks))])
    low, middle, high = np.frombuffer(payload, np.uint8).astype(np.int64).reshape(-1, 3).T
    values = low | middle << 8 | high << 16
    return (values - (values >> 23 << 24)).reshape(config.blocks, config.rows)


@pytest.mark.parametrize("by", ["port", "command"])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_reset_at_every_cycle(config, by, monkeypatch):
    """From the first byte of a RUN to the last result, while a list is built and weights are written: the machine is
    then as new, but for weights that were written and results that have come."""
    monkeypatch.setattr("random.randrange", lambda n: 0)
    after = np.random.default_rng(2)
    with contextlib.closing(SimulatedTransport(config)) as transport:
        link, machine = Link(transport), Machine(config)
        link.transact([(Kind.RESET, b"")])
        fill(link, machine, after)
        exercise(link, machine, after, 4)
        cycle, ended = 0, False
        while not ended:
            rng = np.random.default_rng(10)
            for piece in random_vector(rng, machine, 0):
                link.transact([piece])
            link.transact([(Kind.WAIT, b"")])
            before = machine.results.copy()
            machine.multiply(0, 16, 15, 3, 2)
            weights = random_weights(rng, machine, 5, 9)
            commands = [(Kind.RUN, struct.pack("<BBHHHH", 0, 0, 16, 15, 3, 2)), *random_vector(rng, machine, 1),
                        weights, (Kind.RESULTS, struct.pack("<HH", 0, config.blocks))]
            request = b"".join(encode(kind, 100 + number, payload) for number, (kind, payload) in enumerate(commands))
            answer = transport.exchange(request, len(commands), cycle)
            ended = len(Decoder().feed(answer)) == len(commands)
            cycle += 1

            if by == "port":
                transport._simulator.reset()
            link = Link(transport)
            link.transact([(Kind.WAIT if by == "port" else Kind.RESET, b"")])  # may find half an answer before its own
            assert by == "command" or link.repeated == 0, cycle
            machine.reset()
            found = read_results(link, config)
            assert ((found == before) | (found == machine.results)).all()
            assert not ended or (found == machine.results).all()
            machine.results = found
            machine.counted[Register.BYTES_RESULTS] += ACCUMULATOR_BYTES * found.size
            link.transact([weights])
            machine.load(5, machine.weights[5:14].copy())
            assert exercise(link, machine, after, 2) == 0, cycle
    assert cycle > 200
