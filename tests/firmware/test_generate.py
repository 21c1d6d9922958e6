import numpy as np
import pytest

from setun.cli.options import DEMO
from setun.compiler.packing import CapacityError, place_model
from setun.driver.device import Device
from setun.formats import checkpoint
from setun.generate import Accelerated, Tally, generate, greedy, sampler
from setun.golden.decoder import empty_cache, step
from setun.golden.fixed import to_fixed
from setun.golden.model import KINDS
from setun.golden.rotary import Rope
from setun.golden.scalars import Scalar
from setun.hdl.config import PRESETS
from setun.sim.rtl.transport import SimulatedTransport
from tests.support.checkpoints import random_checkpoint


PROMPT, COUNT = list(b"And God said, "), 12


@pytest.fixture(scope="module")
def model():
    return to_fixed(checkpoint.load(DEMO))


def accelerate(model, name, resident):
    placed, found = place_model(model, PRESETS[name])
    assert found == resident
    device = Device(SimulatedTransport(PRESETS[name]), PRESETS[name])
    if resident:
        device.load(placed.values())
    return Accelerated(device, placed)


def golden_tokens(model, prompt, count):
    cache, tokens = empty_cache(model), []
    for position in range(len(prompt) + count - 1):
        token = prompt[position] if position < len(prompt) else tokens[-1]
        logits, _, cache = step(model, token, position, cache)
        if position >= len(prompt) - 1:
            tokens.append(int(np.argmax(logits)))
    return tokens


@pytest.mark.parametrize("name, resident, count", [("16x40", True, COUNT), ("4x10", False, 4)])
def test_demo_equals_golden(model, name, resident, count):
    """Text, every accumulator and every count of cycles."""
    accelerated = accelerate(model, name, resident)
    steps = list(generate(model, accelerated, PROMPT, count))
    assert [token for token, _, _ in steps] == golden_tokens(model, PROMPT, count)
    assert [measured for _, measured, _ in steps] == [predicted for _, _, predicted in steps]
    total = accelerated.total
    assert total.mismatches == 0 and total.cycles == total.predicted
    rows = sum(getattr(layer, kind).codes.shape[0] + 1 for layer in model.layers for kind in KINDS)
    assert total.values == rows * (len(PROMPT) + count - 1)
    assert .5 < total.utilisation < 1
    assert accelerated.tallies["down"].skipped > .5  # ReLU^2 leaves many zeros


@pytest.mark.parametrize("changes", [
    {"sub_norms": False, "activation": "silu", "tied": False, "rope": Rope(5e5, 8.0, (1.0, 4.0, 16))},
    {"sub_norms": False, "activation": "relu2", "head_dim": 24, "rope": Rope(1e4, 2.0)},
    {"sub_norms": True, "activation": "silu", "head_dim": 8, "tied": False},
], ids=["llama", "wide heads", "narrow heads"])
def test_other_structures(changes):
    """Of Llama, with scaled rotary embeddings, with heads that do not fill the hidden size, with a head of its own."""
    model = to_fixed(random_checkpoint(12, **changes))
    accelerated = accelerate(model, "4x10", True)
    steps = list(generate(model, accelerated, [7, 250, 31], 3))
    assert [token for token, _, _ in steps] == golden_tokens(model, [7, 250, 31], 3)
    assert [measured for _, measured, _ in steps] == [predicted for _, _, predicted in steps]
    assert accelerated.total.mismatches == 0 and accelerated.total.values > 1000


def test_ends(model):
    """Nothing comes behind a token that ends the text."""
    expected = golden_tokens(model, PROMPT, 6)
    end = expected[5]
    steps = list(generate(model, accelerate(model, "16x40", True), PROMPT, COUNT, ends=(end, 255)))
    assert [token for token, _, _ in steps] == expected[:expected.index(end) + 1]


class Wrong:
    """A device of which one accumulator in a thousand is wrong by one."""

    def __init__(self, device):
        self.device, self.config, self.count = device, device.config, 0

    def multiply(self, placed, y, quantise):
        product = self.device.multiply(placed, y, quantise=quantise)
        wrong = (np.arange(product.accumulators.size) + self.count) % 1000 == 999
        self.count += product.accumulators.size
        return product._replace(accumulators=product.accumulators + wrong)


def test_mismatches_are_found(model):
    accelerated = accelerate(model, "16x40", True)
    accelerated.device = Wrong(accelerated.device)
    list(generate(model, accelerated, PROMPT[:1], 1))
    assert accelerated.total.mismatches == (accelerated.total.values - 16) // 1000 > 0


def test_too_small(model):
    with pytest.raises(CapacityError, match="of 480 columns does not fit config 1x5: it needs 480 words of the 256"):
        place_model(model, PRESETS["1x5"])


def test_greedy_takes_the_first_of_equals():
    assert greedy(np.array([1, 5, 5, 2]), None) == 1


def test_sampler():
    logits = np.array([0, 100, 200])
    scale = Scalar(np.uint16(1 << 15), np.int16(-22))  # 1 / 128
    draws = np.bincount([sampler(1.0, seed)(logits, scale) for seed in range(2000)], minlength=3) / 2000
    expected = np.exp(logits / 128) / np.exp(logits / 128).sum()
    assert abs(draws - expected).max() < .04
    assert {sampler(.001, seed)(logits, scale) for seed in range(20)} == {2}
    assert [sampler(1.0, 7)(logits, scale) for _ in range(2)] == [sampler(1.0, 7)(logits, scale) for _ in range(2)]


def test_tally():
    total = Tally(calls=1, dense=100, listed=40, slots=50) + Tally(calls=2, dense=100, listed=60, slots=75)
    assert (total.calls, total.utilisation, total.skipped) == (3, .8, .5)
    assert (Tally().utilisation, Tally().skipped) == (0, 0)
