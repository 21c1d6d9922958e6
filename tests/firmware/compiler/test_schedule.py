"""A compiled program on the reference machine has golden's values: logits, keys, values and tokens."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setun.compiler.arrange import head_order, in_order
from setun.compiler.schedule import TooLarge, compile_model
from setun.formats.checkpoint import load
from setun.golden.decoder import empty_cache, step
from setun.golden.fixed import to_fixed
from setun.golden.rotary import Rope
from setun.hdl.config import Config
from setun.hdl.instructions import decode, encode, word_bits
from setun.sim.model.processor import Processor
from tests.support.checkpoints import random_checkpoint


FLAGSHIP = Config(banks=24, tiles=8, depth=2048)


def stored(processor, name, layer, order, positions):
    """Keys [positions, head_dim] or values [head_dim, positions] of a kv head, as they lie in the weights' memories."""
    config, image = processor.config, processor.image
    address, words = image.map.weights[name]
    memory = processor.weights[address + layer * image.map.layer_words:][:words]
    rows = len(order) if name.startswith("values") else image.context
    blocks = -(-rows // config.tiles)
    integers = memory.astype(np.int64) @ 3 ** np.arange(5)  # [words, banks, tiles]
    matrix = integers.reshape(blocks, -1, config.banks, config.tiles).transpose(0, 3, 1, 2)
    matrix = matrix.reshape(blocks * config.tiles, -1)
    return matrix[:positions, :len(order)] if name.startswith("keys") else matrix[:len(order), :positions]


def assert_equal(checkpoint, config, tokens):
    """Every token's logits, and all keys and values at the end."""
    model = to_fixed(checkpoint)
    processor, cache = Processor(compile_model(model, config)), empty_cache(model)
    for position, token in enumerate(tokens):
        logits, scale, cache = step(model, np.int64(token), position, cache)
        assert processor.step(int(token), position) == logits.argmax()
        assert (processor.logits == logits).all()
        assert processor.scalars[processor.image.map.scalars["logits"][0]] == scale
    order = head_order(model.head_dim, config.tiles)
    for layer, entry in enumerate(cache):
        for kv in range(model.kv_heads):
            keys = stored(processor, f"keys.{kv}", layer, order, len(tokens))
            values = stored(processor, f"values.{kv}", layer, order, len(tokens))
            assert (keys == in_order(entry.k[kv], order, 1)).all()
            assert (values == in_order(entry.v[kv].T, order, 0)).all()


def test_demo():
    assert_equal(load("demo"), FLAGSHIP, b"In the be")


@st.composite
def cases(draw):
    """Arguments of random_checkpoint, and a processor that holds such a model."""
    kv_heads, tiles = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 4, 8]))
    heads = kv_heads * draw(st.integers(1, 3))
    head_dim = 2 * draw(st.integers(2, 16))
    structure = {
        "seed": draw(st.integers(0, 1000)), "vocab": draw(st.integers(40, 300)), "context": draw(st.integers(8, 40)),
        "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "hidden": draw(st.integers(8, 70)),
        "inner": draw(st.integers(8, 120)), "layers": draw(st.integers(1, 3)), "sub_norms": draw(st.booleans()),
        "activation": draw(st.sampled_from(["relu2", "silu"])), "tied": draw(st.booleans()),
        "rope": draw(st.sampled_from([Rope(1e4), Rope(1e4, 8.0, (1.0, 4.0, 16))]))}
    return structure, Config(banks=tiles * draw(st.integers(1, 4)), tiles=tiles, depth=1 << 15, results=2048,
                               elements=2048, scalars=512, instructions=1024, silu=structure["activation"] == "silu")


@given(cases())
@settings(deadline=None, max_examples=15)
def test_random_shapes(case):
    structure, config = case
    tokens = np.random.default_rng(structure["seed"]).integers(0, structure["vocab"], min(structure["context"], 10))
    assert_equal(random_checkpoint(**structure), config, tokens)


def test_long_rows():
    """Sums of more than 1,032 columns are narrowed on their way into the lanes."""
    assert_equal(random_checkpoint(hidden=1200, inner=2100, heads=2, kv_heads=1, head_dim=8, layers=1),
                 Config(banks=16, tiles=4, depth=1 << 15, columns=2112, results=4096, elements=4096), [7, 8, 9])


def test_position_again():
    """A token at a position that was taken before gives what it gave, whatever came behind it."""
    model = to_fixed(random_checkpoint())
    processor = Processor(compile_model(model, Config(banks=8, tiles=4, depth=4096, instructions=1024)))
    first = [(processor.step(token, position), processor.logits.copy()) for position, token in enumerate([5, 6, 7, 8])]
    again, logits = processor.step(6, 1), processor.logits.copy()
    assert again == first[1][0] and (logits == first[1][1]).all()


@pytest.mark.parametrize("field", ["depth", "results", "elements", "scalars", "instructions"])
def test_too_large(field):
    """What is too small is named, with how much there is and would have to be."""
    config = dataclasses.replace(Config(banks=8, tiles=4, depth=4096, instructions=1024), **{field: 60})
    with pytest.raises(TooLarge, match=rf"^{field}: [\d,]+ [\w ]+ are needed and the processor has 60: "):
        compile_model(to_fixed(random_checkpoint()), config)


@pytest.mark.parametrize("structure, needed", [
    ({"hidden": 70, "inner": 20, "heads": 2, "head_dim": 8}, 72),
    ({"hidden": 20, "inner": 70, "heads": 2, "head_dim": 8}, 72),
    ({"hidden": 20, "inner": 20, "heads": 9, "head_dim": 8}, 72),
    ({"hidden": 20, "inner": 20, "heads": 1, "head_dim": 8, "context": 33}, 66)])
def test_too_long(structure, needed):
    """A vector must fit its list, and the positions one of half its length."""
    config = Config(banks=8, tiles=4, depth=4096, columns=64, instructions=1024)
    checkpoint = random_checkpoint(**{"kv_heads": 1, "context": 8} | structure)
    with pytest.raises(TooLarge, match=f"^columns: {needed} elements of a list are needed and the processor has 64"):
        compile_model(to_fixed(checkpoint), config)


def test_no_table():
    with pytest.raises(TooLarge, match="^silu: the lanes have no table of the sigmoid, which SiLU needs: choose"):
        compile_model(to_fixed(random_checkpoint(activation="silu")), FLAGSHIP)


def test_fits_what_it_says():
    """A processor of just the sizes that were used holds the model."""
    model, config = to_fixed(random_checkpoint()), Config(banks=8, tiles=4, depth=4096, instructions=1024)
    image = compile_model(model, config)
    used = {name: max(address + words for address, words in getattr(image.map, name).values())
            for name in ("results", "elements", "scalars")}
    exact = dataclasses.replace(config, **used, instructions=len(image.program))
    assert compile_model(model, exact).program == image.program
    for name, words in used.items():
        with pytest.raises(TooLarge, match=f"^{name}"):
            compile_model(model, dataclasses.replace(exact, **{name: words - 1}))


def test_program_is_encoded():
    """Each instruction of a program comes back from its bits."""
    image = compile_model(to_fixed(random_checkpoint(activation="silu")),
                          Config(banks=8, tiles=4, depth=4096, instructions=1024, silu=True))
    for instruction in image.program:
        word = encode(instruction, image.config)
        assert word < 1 << word_bits(image.config) and decode(word, image.config) == instruction
