"""Texts of models: the machine's RTL against golden, the reference machine and the cycle model."""


import numpy as np
import pytest

import setun
from setun.accelerator import smallest
from setun.check import Checker
from setun.compiler.schedule import TooLarge, compile_model
from setun.generate import CHECKS, CheckError, Generation
from setun.golden.decoder import empty_cache, step
from setun.golden.rotary import Rope
from setun.golden.sampling import sample, temperature_scalar
from setun.hdl.config import Config
from setun.hdl.protocol import Space
from tests.support.checkpoints import random_checkpoint
from tests.support.configs import SMALL


PROMPT, COUNT = list(b"And God said, "), 8


class Bytes:
    """A tokenizer whose token 7 is the first byte of a character of two."""

    def encode(self, text):
        return [ord(char) for char in text]

    def decode(self, ids):
        return bytes(0xc3 if token == 7 else 0xa4 if token == 8 else 0x61 + token % 26 for token in ids).decode(
            "utf-8", "replace")


@pytest.fixture(scope="module")
def small():
    with setun.simulate(SMALL) as device:
        yield device


def golden_tokens(model, prompt, count):
    cache, tokens = empty_cache(model), []
    for position in range(len(prompt) + count - 1):
        token = prompt[position] if position < len(prompt) else tokens[-1]
        logits, _, cache = step(model, token, position, cache)
        if position >= len(prompt) - 1:
            tokens.append(int(np.argmax(logits)))
    return tokens


def test_demo_equals_golden():
    """Text, every word that the lanes have written, keys, values and every count of cycles."""
    model = setun.load("demo")
    with setun.simulate("16x20") as device:
        generation = device.generate(model, "And God said, ", tokens=COUNT)
        tokens = list(generation)
        assert generation.ids == golden_tokens(model.integer, PROMPT, COUNT) == [token.id for token in tokens]
        assert all(token.cycles == token.predicted for token in tokens) and len(generation.prompt_cycles) == 13
        assert generation.mismatches == generation.cycle_errors == 0 and generation.values > 150_000
        again = device.generate(model, "And the ", tokens=1)  # what the text before has left behind is cleared
        assert len(list(again)) == 1
        running = device.generate(model, "And God said, ", tokens=COUNT, check="tokens")
        assert [token.id for token in running] == generation.ids and running.cycles == generation.cycles


@pytest.mark.parametrize("changes", [
    {"sub_norms": False, "activation": "silu", "tied": False, "rope": Rope(5e5, 8.0, (1.0, 4.0, 16))},
    {"sub_norms": False, "activation": "relu2", "head_dim": 24, "rope": Rope(1e4, 2.0)},
    {"sub_norms": True, "activation": "silu", "head_dim": 8, "tied": False},
], ids=["llama", "wide heads", "narrow heads"])
@pytest.mark.parametrize("check", ["values", "tokens"])
def test_other_structures(small, changes, check):
    """Of Llama, with scaled rotary embeddings, with heads that do not fill the hidden size, with a head of its own."""
    model = setun.Model("random", random_checkpoint(12, **changes), Bytes())
    generation = small.generate(model, [7, 250, 31], tokens=5, check=check)
    assert [token.id for token in generation] == golden_tokens(model.integer, [7, 250, 31], 5) == generation.ids
    assert generation.mismatches == 0 and generation.values > (10_000 if check == "values" else 1000)
    assert generation.cycles == generation.causes.total()


@pytest.mark.parametrize("temperature", [.4, 1, 3])
def test_sampled_text(small, temperature):
    """The machine draws golden's tokens, and the same again from a position in the middle."""
    model = setun.Model("random", random_checkpoint(4), Bytes())
    cache, tokens = empty_cache(model.integer), [9]
    for position in range(10):
        logits, scale, cache = step(model.integer, tokens[-1], position, cache)
        tokens.append(sample(logits, scale, temperature_scalar(temperature), 77, position))
    for check in CHECKS:
        generation = small.generate(model, [9], tokens=10, temperature=temperature, seed=77, check=check)
        assert [token.id for token in generation] == tokens[1:]
    again = small.generate(model, tokens[:6], tokens=5, temperature=temperature, seed=77)
    assert [token.id for token in again] == tokens[6:]
    assert len(set(tokens)) > 3
    with pytest.raises(setun.ArgumentError, match="temperature is nan"):
        small.generate(model, [9], temperature=float("nan"))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("others", [(), (299,)], ids=["one end", "two ends"])
def test_ends(small, check, others):
    """Nothing comes behind a token that ends the text, whether the machine knows it or the host."""
    model = setun.Model("random", random_checkpoint(), Bytes())
    expected = golden_tokens(model.integer, [1], 12)
    end = expected[5]
    ended = setun.Model("ended", model.checkpoint, Bytes(), (*others, end))
    generation = small.generate(ended, [1], tokens=12, check=check)
    assert [token.id for token in generation] == expected[:expected.index(end) + 1] == generation.ids
    assert list(small.generate(model, [1], tokens=12, check="none"))[-1].id == expected[-1]


def test_text_that_is_left_behind(small):
    """A machine that still runs what nobody takes is stopped by what is asked for next."""
    model = setun.Model("random", random_checkpoint(), Bytes())
    for check in CHECKS:
        left = small.generate(model, [1], tokens=30, check="none")
        next(left)
        again = small.generate(model, [5], tokens=2, check=check)
        assert [token.id for token in again] == golden_tokens(model.integer, [5], 2)
    next(small.generate(model, [1], tokens=30, check="none"))
    assert small.matvec(np.ones((3, 2), np.int8), np.ones(2, np.int8)).accumulators.tolist() == [2, 2, 2]


def test_characters_come_whole():
    """A character of two tokens is told with its second one; one that stays half a character at the end."""
    model = setun.Model("random", random_checkpoint(), Bytes())
    generation = Generation(model, None, [1], 3)
    assert [generation._token(token, None, None).text for token in (7, 8, 7)] == ["", "\xe4", "\ufffd"]


@pytest.mark.parametrize("space", [Space.WEIGHTS, Space.RESULTS, Space.ELEMENTS, Space.SCALARS])
def test_what_differs_is_told(small, space):
    """A wrong constant in any memory, with values compared at once and with tokens or cycles at the end; never where
    nothing is checked. A scrub finds and repairs it."""
    model = setun.Model("random", random_checkpoint(3), Bytes())
    for check in ("values", "none"):
        list(small.generate(model, [5], tokens=1, check="none"))  # it is loaded
        image = small._loaded[1]
        constant = np.flatnonzero(image.constant[space.name.lower()])[3]
        values = {Space.WEIGHTS: image.weights, Space.RESULTS: image.results, Space.ELEMENTS: image.elements,
                  Space.SCALARS: np.array(image.scalars)}[space][constant:constant + 1]
        wrong = -values if space == Space.WEIGHTS else values + 1
        generation = small.generate(model, [5], tokens=2, check=check, scrub=check == "none")
        small.machine.write(space, constant, wrong)
        if check == "none":
            list(generation)
            assert {damage.address for damage in generation.damages} == {constant}
        else:
            with pytest.raises(CheckError, match="of [0-9,]+ values and .* counts of cycles differ from the models"):
                list(generation)
        small._loaded = None
    again = small.generate(model, [5], tokens=2)
    assert len(list(again)) == 2


def test_golden_beside_the_program():
    """A program that is not golden's is told, too: the scale of a row is half of what it was."""
    model = setun.Model("random", random_checkpoint(), Bytes())
    image = compile_model(model.integer, SMALL)
    image.elements[image.map.elements["row scales"][0], 0] //= 2
    checker = Checker(model.integer, image)
    assert checker.expect(0, 0).wrong > 0 and checker.mismatches > 0


def test_too_small():
    words = "depth: 1,928 words of weights are needed and the processor has 1,024: choose a larger"
    with pytest.raises(TooLarge, match=words):
        compile_model(setun.load("demo").integer, Config(banks=24, tiles=8, depth=1024))


def test_smallest():
    assert smallest(setun.load("demo")).name == "16x20"
    large = setun.Model("large", random_checkpoint(vocab=300, hidden=400, inner=900, layers=3), Bytes())
    with pytest.raises(TooLarge, match="no preset holds the model whole; 24x40: columns: 904 elements"):
        smallest(large)
