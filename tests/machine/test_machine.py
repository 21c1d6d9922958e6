"""Compiled models on the machine's RTL: every token, every word of every memory and the cycles are the reference
machine's."""

import contextlib

import numpy as np
import pytest

from setun.compiler.schedule import compile_model
from setun.driver.machine import Machine, MachineError, MismatchError
from setun.driver.session import Order
from setun.golden.fixed import to_fixed
from setun.golden.sampling import temperature_scalar
from setun.hdl.config import Config
from setun.hdl.instructions import Repeat
from setun.hdl.protocol import Command, Register, Space, State, word_bytes
from setun.sim.model.device import ReferenceTransport
from setun.sim.rtl.transport import SimulatedTransport
from tests.support.checkpoints import random_checkpoint


VOCABULARY, CONTEXT = 41, 19
SIZES = {"depth": 1024, "results": 256, "elements": 256, "scalars": 256, "instructions": 256, "silu": True,
         "vocabulary": VOCABULARY, "context": CONTEXT}
GEOMETRIES = {
    "2 lanes": Config(banks=4, tiles=2, **SIZES),
    "3 lanes": Config(banks=9, tiles=3, **SIZES),
}
MODELS = {  # arguments of random_checkpoint
    "squared ReLU": {"heads": 2, "kv_heads": 1, "head_dim": 8, "hidden": 12, "inner": 20},
    "SiLU without sub-norms": {"heads": 3, "kv_heads": 3, "head_dim": 6, "hidden": 14, "inner": 18, "tied": False,
                               "activation": "silu", "sub_norms": False},
    "wide heads": {"heads": 4, "kv_heads": 2, "head_dim": 10, "hidden": 16, "inner": 28, "layers": 1},
}
MOST_CYCLES = 100_000  # of a token


@pytest.fixture(scope="module", params=GEOMETRIES)
def transports(request):
    """The RTL and the reference machine."""
    config = GEOMETRIES[request.param]
    with contextlib.closing(SimulatedTransport(config)) as rtl:
        yield rtl, ReferenceTransport(config)


def compiled(config, model="squared ReLU"):
    return compile_model(to_fixed(random_checkpoint(vocab=VOCABULARY, context=CONTEXT, **MODELS[model])), config)


def opened(transports, image):
    machines = [Machine(transport) for transport in transports]
    for machine in machines:
        machine.load(image)
    return machines


def contents(machine, image):
    """All of the memories that a model uses."""
    spaces = {space: image.used(space.name.lower()) for space in (Space.WEIGHTS, Space.RESULTS, Space.ELEMENTS,
                                                                  Space.SCALARS)}
    return {space: machine.read(space, 0, words) for space, words in spaces.items()}


def write(machine, space, address, word):
    """A word of a space as it is on the link, whatever it stands for."""
    data = word.to_bytes(word_bytes(space, machine.config), "little")
    machine._session.transact([Order(Command.WRITE, space, address, 1, len(data), data)])


@pytest.mark.parametrize("model", MODELS)
def test_texts(transports, model):
    """A whole text of given tokens, then a rewound one that is generated, sampled, and a position once more."""
    image = compiled(transports[0].config, model)
    machines = opened(transports, image)
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, CONTEXT).tolist()
    tokens[1:3] = 0, VOCABULARY - 1
    for given, first, count, temperature in ((tokens, 0, CONTEXT, 0), (tokens[:3], 2, CONTEXT - 2, 1.5),
                                             (tokens, CONTEXT - 1, 1, 1e6)):
        found = []
        for machine in machines:
            machine.sample(image, temperature_scalar(temperature), 99)
            machine.give(given)
            machine.go(first, count)
            registers = machine.wait(first + count, MOST_CYCLES)
            found.append((registers, machine.tokens(0, first + count + 1)))
        assert found[0] == found[1] and found[0][0][Register.STATE] == State.LIMIT
    rtl, reference = (contents(machine, image) for machine in machines)
    for space, values in rtl.items():
        assert (values == reference[space]).all(), space


def test_ends(transports):
    """The end token ends a text where it is generated, not where it was given; LIMIT ends one, too."""
    image = compiled(transports[0].config)
    for machine in opened(transports, image):
        machine.give([1])
        machine.go(0, 8)
        machine.wait(8, MOST_CYCLES)
        text = machine.tokens(0, 9)
        machine.give([1], end=text[3])
        machine.go(0, 8)
        place = text.index(text[3], 1)
        assert machine.wait(8, MOST_CYCLES)[Register.STATE] == State.END_TOKEN
        assert machine.registers()[Register.POSITION] == place
        machine.give(text[:5], end=text[3])
        machine.go(0, 4)
        assert machine.wait(4, MOST_CYCLES)[Register.STATE] == State.LIMIT


def test_stops_between_tokens(transports):
    rtl, _ = opened(transports, compiled(transports[0].config))
    rtl.give([1])
    rtl.go(0, CONTEXT)
    rtl.set(Register.LIMIT, 0)
    registers = rtl.wait(CONTEXT, MOST_CYCLES)
    assert registers[Register.STATE] == State.LIMIT and registers[Register.POSITION] < CONTEXT


def test_programs_that_make_no_sense(transports):
    """They end, the link lives, and the next program runs."""
    image = compiled(transports[0].config)
    for machine in opened(transports, image):
        machine.give([1])
        before = machine.read(Space.PROGRAM, 0, 1).tolist()
        write(machine, Space.PROGRAM, 0, 0xf)  # no opcode
        machine.go(0, 1)
        with pytest.raises(MachineError, match="an instruction that is none at position 0: load the model again"):
            machine.wait(1, MOST_CYCLES)
        machine.write(Space.PROGRAM, 0, [Repeat(target=0, layers=0, weights=0, results=0, scalars=0)])
        machine.go(0, 1)
        with pytest.raises(MachineError, match="a program that does not end"):
            machine.wait(1, 100_000_000)
        machine.write(Space.PROGRAM, 0, image.program[:1])
        assert machine.read(Space.PROGRAM, 0, 1).tolist() == before
        machine.go(0, 1)
        assert machine.wait(1, MOST_CYCLES)[Register.STATE] == State.LIMIT


def test_scrub(transports):
    """Damage in any memory is found where it is and repaired; keys, values and scratch are none."""
    image = compiled(transports[0].config)
    for machine in opened(transports, image):
        machine.give([1])
        machine.go(0, 4)
        machine.wait(4, MOST_CYCLES)
        assert machine.scrub(image) == []
        word = image.map.weights["qkv"][0] + 1
        changed = image.weights[word:word + 1].copy()
        changed[0, 1, 1, 2] = (changed[0, 1, 1, 2] + 2) % 3 - 1
        machine.write(Space.WEIGHTS, word, changed)
        scale = image.map.elements["row scales"][0]
        machine.write(Space.ELEMENTS, scale, image.elements[scale:scale + 1] + np.eye(machine.config.tiles)[1])
        machine.write(Space.SCALARS, int(np.flatnonzero(image.constant["scalars"])[0]), [(7, 7)])
        machine.write(Space.PROGRAM, 3, image.program[4:5])
        found = [(damage.space, damage.address, damage.bank, damage.lane) for damage in machine.scrub(image)]
        assert found == [("weights", word, 1, 1), ("elements", scale, 0, 1),
                         ("scalars", int(np.flatnonzero(image.constant["scalars"])[0]), 0, 0), ("program", 3, 0, 0)]
        assert machine.scrub(image) == []


def test_another_machine(transports):
    config = GEOMETRIES["2 lanes" if transports[0].config.tiles == 3 else "3 lanes"]
    for transport in transports:
        with pytest.raises(MismatchError, match="BANKS is 0x. and config .* has 0x.: give the config it was built"):
            Machine(transport, config)
        assert Machine(transport).config == transport.config
