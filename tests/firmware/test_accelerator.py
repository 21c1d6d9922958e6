"""The library as its users have it: an accelerator, simulated or at a port, text from it, one product."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest

import setun
from setun.driver.port import SerialTransport
from setun.golden.matvec import matvec
from setun.sim.rtl.board import Terminal
from setun.sim.rtl.transport import simulate as simulate_rtl
from tests.support.checkpoints import random_checkpoint
from tests.support.links import serving


CONFIG = setun.PRESETS["4x10"]


class Bytes:
    """A tokenizer whose token 7 is the first byte of a character of two."""

    def encode(self, text):
        return [ord(char) for char in text]

    def decode(self, ids):
        return bytes(0xc3 if token == 7 else 0xa4 if token == 8 else 0x61 + token % 26 for token in ids).decode(
            "utf-8", "replace")


@pytest.fixture(scope="module")
def model():
    return setun.Model("random", random_checkpoint(), Bytes())


@pytest.fixture(scope="module")
def device():
    with setun.simulate(CONFIG) as device:
        yield device


def test_generation(device, model):
    generation = device.generate(model, [1, 2, 3], tokens=4)
    tokens = list(generation)
    assert generation.prompt == [1, 2, 3] and [token.id for token in tokens] == generation.ids and len(tokens) == 4
    assert model.tokenizer.decode([1, 2, 3]) + "".join(token.text for token in tokens) == generation.text
    assert all(token.cycles == token.predicted > 0 for token in tokens)
    assert generation.total.values > 0 == generation.total.mismatches and generation.resident
    with pytest.raises(StopIteration):
        next(generation)


def test_characters_come_whole(device, model):
    """A character of two tokens is told with its second one; one that stays half a character at the end."""
    script = iter([7, 8, 7])
    tokens = list(device.generate(model, [1], tokens=3, choose=lambda logits, scale: next(script)))
    assert [token.text for token in tokens] == ["", "\xe4", "\ufffd"]


def test_check_is_optional(device, model):
    checked, unchecked = (device.generate(model, [5], tokens=2, check=check) for check in (True, False))
    assert [token[:3] for token in checked] == [token[:3] for token in unchecked]
    assert unchecked.total.values == 0 == unchecked.total.predicted and unchecked.total.cycles == checked.total.cycles


def test_wrong_value_is_told(device, model, monkeypatch):
    """At the end of a generation that is checked, and never where nothing is."""
    multiply = device.device.multiply

    def wrong(*arguments, **options):
        product = multiply(*arguments, **options)
        return product._replace(accumulators=product.accumulators + (np.arange(len(product.accumulators)) == 0))

    monkeypatch.setattr(device.device, "multiply", wrong)
    generation = device.generate(model, [5], tokens=1)
    next(generation)
    with pytest.raises(setun.CheckError, match="^8 of [0-9,]+ values and 0 of 8 counts of cycles differ"):
        next(generation)
    list(device.generate(model, [5], tokens=1, check=False))
    with pytest.raises(setun.CheckError, match="1 of 3 values differ"):
        device.matvec(np.ones((3, 2), np.int8), np.ones(2, np.int8))
    assert device.matvec(np.ones((3, 2), np.int8), np.ones(2, np.int8), check=False).accumulators.tolist() == [3, 2, 2]


def test_matvec_takes_the_model_s_place(device, model):
    before = list(device.generate(model, [5], tokens=1))
    rng = np.random.default_rng(1)
    w, x = rng.integers(-1, 2, (100, 300), np.int8), rng.integers(-1, 2, 300).astype(np.int8)
    skipped, dense = device.matvec(w, x), device.matvec(w, x, skip=False)
    assert (skipped.accumulators == matvec(w, x)).all() and (dense.accumulators == matvec(w, x)).all()
    assert set(skipped.cycles) == {"issue", "flush", "vector", "load", "link", "idle"}
    assert 0 < skipped.cycles["issue"] < dense.cycles["issue"] and skipped.cycles["load"] > 0 == skipped.repeated
    assert list(device.generate(model, [5], tokens=1)) == before


def test_board(model):
    """The same at a port, whose board tells what it is."""
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(serving(simulate_rtl(CONFIG), Terminal()))
        device = stack.enter_context(setun.connect(line.name, latency=1))
        assert device.config == CONFIG and isinstance(device.transport, SerialTransport)
        assert list(device.generate(model, [5], tokens=1))
    with pytest.raises(setun.Error, match="cannot be opened"):
        setun.connect(line.name + "-gone")


@pytest.mark.parametrize("prompt, tokens, words", [
    ("", 1, "prompt is empty: give at least one character"),
    ([], 1, "prompt is empty"),
    ([1], 0, "tokens is 0: ask for one at least"),
    ([300], 1, "prompt has the token 300 and the model 300 tokens: leave it out"),
    ([-1], 1, "prompt has the token -1"),
    ([1] * 30, 4, "prompt of 30 tokens and 4 tokens exceed the model's context of 32: shorten one of them"),
])
def test_prompts_refused(device, model, prompt, tokens, words):
    with pytest.raises(setun.ArgumentError, match=words):
        device.generate(model, prompt, tokens=tokens)


@pytest.mark.parametrize("w, x, words", [
    (np.ones((2, 2)), np.ones(2, np.int8), r"weights is float64 \[2, 2\] and must be int8 \[M, n\]"),
    (np.ones((2, 2), np.int8), np.ones(2), r"activations is float64 \[2\] and must be int8 \[n\]"),
    (np.ones((2, 3), np.int8), np.ones(2, np.int8), "weights has 3 columns and activations 2 elements"),
    (np.full((2, 2), 2, np.int8), np.ones(2, np.int8), "weights has the value 2: only -1, 0 and [+]1 are ternary"),
    (np.ones((2, 1025), np.int8), np.ones(1025, np.int8), "1025 elements does not fit config 4x10"),
])
def test_matrices_refused(device, w, x, words):
    with pytest.raises(setun.Error, match=words):
        device.matvec(w, x)


def test_import_loads_nothing():
    """Neither RTL nor numbers before they are asked for; and what is named is there."""
    code = ("import sys, setun; "
            "print(*(name for name in sys.modules if name.startswith(('setun.', 'amaranth', 'numpy'))))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
    assert all(getattr(setun, name) is not None for name in setun.__all__) and set(setun.__all__) <= set(dir(setun))
    with pytest.raises(AttributeError, match="module 'setun' has no attribute 'nonsense'"):
        setun.nonsense
