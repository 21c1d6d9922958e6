"""The library as its users have it: an accelerator, simulated or at a port, text from it, one product."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest

import setun
from setun.driver.port import SerialTransport
from setun.golden.matvec import matvec
from setun.hdl.protocol import Space
from setun.sim.rtl.board import Terminal
from setun.sim.rtl.transport import simulate as simulate_rtl
from tests.support.checkpoints import random_checkpoint
from tests.support.configs import SMALL
from tests.support.links import serving


class Bytes:
    """A tokenizer of a character a token."""

    def encode(self, text):
        return [ord(char) for char in text]

    def decode(self, ids):
        return "".join(chr(token) for token in ids)


@pytest.fixture(scope="module")
def model():
    return setun.Model("random", random_checkpoint(), Bytes())


@pytest.fixture(scope="module", params=[setun.simulate, setun.reference], ids=["RTL", "reference"])
def device(request):
    with request.param(SMALL) as device:
        yield device


def test_generation(device, model):
    generation = device.generate(model, [1, 2, 3], tokens=4)
    tokens = list(generation)
    assert generation.prompt == [1, 2, 3] and [token.id for token in tokens] == generation.ids and len(tokens) == 4
    assert model.tokenizer.decode([1, 2, 3]) + "".join(token.text for token in tokens) == generation.text
    assert all(token.cycles == token.predicted > 0 for token in tokens)
    assert generation.values > 0 == generation.mismatches
    with pytest.raises(StopIteration):
        next(generation)


def test_check_is_optional(device, model):
    checked, unchecked = (device.generate(model, [5], tokens=2, check=check) for check in ("tokens", "none"))
    assert [token[:2] for token in checked] == [token[:2] for token in unchecked]
    assert unchecked.values == 0 == unchecked.predicted and unchecked.cycles == checked.cycles == checked.predicted


def test_wrong_product_is_told(device, monkeypatch):
    read = device.machine.read
    monkeypatch.setattr(device.machine, "read", lambda *given: read(*given) + (given[0] == Space.RESULTS))
    with pytest.raises(setun.CheckError, match="3 of 3 values differ"):
        device.matvec(np.ones((3, 2), np.int8), np.ones(2, np.int8))
    assert device.matvec(np.ones((3, 2), np.int8), np.ones(2, np.int8), check=False).accumulators.tolist() == [3, 3, 3]


@pytest.mark.parametrize("rows, columns", [(1, 1), (100, 300), (11, 3000), (3200, 5)])
def test_matvec(device, model, rows, columns):
    """Of any size, in pieces where it must; it takes the model's place, who comes back."""
    before = list(device.generate(model, [5], tokens=1))
    rng = np.random.default_rng(rows)
    w, x = rng.integers(-1, 2, (rows, columns), np.int8), rng.integers(-128, 128, columns).astype(np.int8)
    product = device.matvec(w, x)
    assert (product.accumulators == matvec(w, x)).all() and product.cycles == product.causes.total() > 0
    assert product.pieces == -(-columns // 1023) * -(-rows // 3060)
    sparse = device.matvec(w, np.where(rng.random(columns) < .6, 0, x).astype(np.int8))
    assert columns < 100 or sparse.cycles < product.cycles
    assert list(device.generate(model, [5], tokens=1)) == before


def test_board(model):
    """The same at a port, whose board tells what it is."""
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(serving(simulate_rtl(SMALL), Terminal()))
        device = stack.enter_context(setun.connect(line.name, latency=1))
        assert device.config == SMALL and isinstance(device.transport, SerialTransport)
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
