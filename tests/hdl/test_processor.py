"""Compiled models on the processor's RTL: every token, all its logits and its cycles are those of the models."""

import contextlib

import numpy as np
import pytest

from setun.compiler.schedule import compile_model
from setun.golden.fixed import to_fixed
from setun.hdl.instructions import Geometry
from setun.sim.model.processor import Processor as Reference
from setun.sim.model.processor_cycles import token_cycles
from tests.support.checkpoints import random_checkpoint
from tests.support.processor_bench import ProcessorBench


SIZES = {"depth": 1024, "results": 256, "elements": 256, "scalars": 256, "instructions": 256, "silu": True}
PROCESSORS = {
    "2 lanes": Geometry(banks=4, tiles=2, **SIZES),
    "3 lanes": Geometry(banks=9, tiles=3, **SIZES),
}
MODELS = {  # arguments of random_checkpoint
    "squared ReLU": {"heads": 2, "kv_heads": 1, "head_dim": 8, "hidden": 12, "inner": 20},
    "SiLU without sub-norms": {"heads": 3, "kv_heads": 3, "head_dim": 6, "hidden": 14, "inner": 18, "tied": False,
                               "activation": "silu", "sub_norms": False},
    "wide heads": {"heads": 4, "kv_heads": 2, "head_dim": 10, "hidden": 16, "inner": 28, "layers": 1},
}
VOCABULARY, CONTEXT = 41, 19


@pytest.fixture(scope="module", params=PROCESSORS)
def bench(request):
    with contextlib.closing(ProcessorBench(PROCESSORS[request.param], VOCABULARY, CONTEXT)) as found:
        yield found


@pytest.mark.parametrize("model", MODELS)
def test_tokens(bench, model):
    """A text to the last position, and the last token once more."""
    checkpoint = random_checkpoint(vocab=VOCABULARY, context=CONTEXT, **MODELS[model])
    image = compile_model(to_fixed(checkpoint), bench.geometry)
    reference, (address, words) = Reference(image), image.map.elements["logits"]
    bench.load(image)
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, CONTEXT).tolist()
    tokens[1:3] = 0, VOCABULARY - 1
    for position, token in [*enumerate(tokens), (CONTEXT - 1, tokens[-1])]:
        found, cycles = bench.step(token, position)
        expected, predicted = token_cycles(reference, token, position)
        assert (found, cycles) == (expected, predicted.total())
        assert (bench.elements(address, words).reshape(-1)[:VOCABULARY] == reference.logits).all()
