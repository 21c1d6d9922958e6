"""The long runs, made short, and that they notice what is wrong."""

import contextlib
import dataclasses
import json

import pytest

from setun import Model
from setun.driver import frames
from setun.formats.tokenizer import ByteTokenizer
from setun.hdl.build.cache import digest
from setun.hdl.build.verilog import sources
from setun.hdl.protocol import CRC_BYTES, HEADER_BYTES, REPLY, Command
from setun.sim.model.processor import Processor
from setun.sim.rtl.transport import SimulatedTransport
from tests.bench.results import soak_rows
from tests.campaigns import soak
from tests.support.checkpoints import random_checkpoint
from tests.support.configs import SMALL
from tests.support.links import Struck
from tests.support.programs import CONFIG


TEXT = bytes(range(100))


MODELS = {  # that are wrong
    "load": lambda load, machine, address, trits: load(machine, address, -trits),
    "list": lambda list_, machine, slot, q, live, skip: list_(machine, slot, -q, live, skip),
    "multiply": lambda multiply, machine, slot, base, stride, blocks, destination: multiply(
        machine, slot, base, stride, blocks, 0),
}


def model():
    return Model("random", random_checkpoint(), ByteTokenizer())


def test_tokens():
    done = []
    assert soak.soak_tokens(SimulatedTransport(SMALL), model(), TEXT, 20,
                            lambda description, made, total: done.append(made)) == (20, 0)
    assert done[-1] == 20


def test_tokens_with_a_flipped_weight(monkeypatch):
    monkeypatch.setattr(Struck, "left", 70)
    monkeypatch.setattr(Struck, "addresses", range(0, 1024, 32))
    count, wrong = soak.soak_tokens(Struck(SMALL), model(), TEXT, 3)
    assert count == 3 and wrong > 0


@pytest.fixture
def rtl():
    with contextlib.closing(SimulatedTransport(CONFIG)) as transport:
        yield transport


def test_programs(rtl):
    assert soak.soak_programs(rtl, 10, 1) == (10, 0)


def test_programs_of_another_model(rtl, monkeypatch):
    right = Processor._scale
    monkeypatch.setattr(Processor, "_scale", lambda processor, step: right(
        processor, dataclasses.replace(step, exponent=step.exponent + 1)))
    assert soak.soak_programs(rtl, 10, 1)[1] > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_link(rtl, seed):
    sent, wrong = soak.soak_link(rtl, 3000, seed)
    assert sent >= 3000 and wrong == 0


def test_link_without_checks(rtl, monkeypatch):
    """It is the CRC that keeps wrong results out."""
    parse = frames._parse

    def lenient(escaped):
        body, bad = frames.unescape(escaped)
        whole = not bad and len(body) == HEADER_BYTES + int.from_bytes(body[2:4], "little") + CRC_BYTES
        if whole and body[0] == Command.READ | REPLY:
            return body[0], body[1], body[HEADER_BYTES:-CRC_BYTES]
        return parse(escaped)

    monkeypatch.setattr(frames, "_parse", lenient)
    assert soak.soak_link(rtl, 6000, 1)[1] > 0


def test_rows(tmp_path):
    """Figures go to the table of results, those of another RTL do not."""
    path, outcome = tmp_path / "soak.json", {"what": "tokens", "done": 1000, "differences": 0, "seconds": 9}
    assert list(soak_rows(path)) == []
    path.write_text(json.dumps({"sources": digest(sources()), "outcomes": [outcome]}))
    assert list(soak_rows(path)) == [("`make soak`: 1,000 tokens", "0 differences", "")]
    path.write_text(json.dumps({"sources": "another", "outcomes": [outcome]}))
    assert list(soak_rows(path)) == []
