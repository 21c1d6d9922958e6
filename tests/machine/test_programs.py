"""Programs of random instructions: all that the RTL leaves behind, and its cycles, are the reference machine's."""

import contextlib
from collections import Counter

import numpy as np
import pytest

from setun.driver.machine import Machine
from setun.hdl.instructions import OPCODES
from setun.hdl.protocol import Register, Space
from setun.sim.model.device import ReferenceTransport
from setun.sim.rtl.transport import SimulatedTransport
from tests.support.programs import CONFIG, random_image


TOKENS = 4
MOST_CYCLES = 1 << 20
MEMORIES = Space.WEIGHTS, Space.RESULTS, Space.ELEMENTS, Space.SCALARS


@pytest.fixture(scope="module")
def rtl():
    with contextlib.closing(SimulatedTransport(CONFIG)) as transport:
        yield transport


def left_behind(transport, image, tokens, seed):
    """Cycles of each position, tokens, and all memories."""
    machine = Machine(transport)
    machine.load(image)
    machine.set(Register.SEED, seed)
    machine.set(Register.LAST_TOKEN, CONFIG.vocabulary - 1)
    machine.give(tokens)
    cycles = []
    for position in range(len(tokens)):
        machine.go(position, 1)
        cycles.append(machine.wait(position + 1, MOST_CYCLES)[Register.CYCLES])
    return [cycles, machine.tokens(0, len(tokens) + 1),
            *(machine.read(space, 0, image.used(space.name.lower())).tolist() for space in MEMORIES)]


def differs(transport, seed):
    """What differs between the RTL and the reference machine: names."""
    rng = np.random.default_rng(seed)
    image, tokens = random_image(rng), rng.integers(0, CONFIG.vocabulary, TOKENS).tolist()
    found, expected = (left_behind(each, image, tokens, seed) for each in (transport, ReferenceTransport(CONFIG)))
    names = ("cycles", "tokens", *(space.name.lower() for space in MEMORIES))
    return [name for name, ours, theirs in zip(names, found, expected, strict=True) if ours != theirs]


@pytest.mark.parametrize("seed", range(40))
def test_random_program(rtl, seed):
    assert differs(rtl, seed) == []


def test_all_instructions():
    """The programs have every instruction, most of them many times."""
    counts = Counter(type(instruction) for seed in range(40)
                     for instruction in random_image(np.random.default_rng(seed)).program)
    assert counts.keys() == set(OPCODES) and min(counts.values()) >= 10
