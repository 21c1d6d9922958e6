"""Models of random structure: the same from GGUF and from safetensors, and the same as transformers'.

``make fuzz`` tries many more than ``make test``.
"""

import itertools
import shutil

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setun.analysis.measure import measure_logits
from setun.formats.checkpoint import CheckpointError, load
from setun.formats.convert import convert
from setun.golden.closeness import closeness
from setun.golden.rotary import Rope
from tests.firmware.formats.test_gguf_file import scaled, write_tq
from tests.firmware.formats.test_safetensors_file import by_scale
from tests.support.checkpoints import (
    InMemory,
    assert_linear_agrees,
    assert_same,
    load_in_transformers,
    random_checkpoint,
)


FEW = settings(max_examples=max(1, settings.default.max_examples // 10), deadline=None)
ROPES = [Rope(1e4), Rope(1000042.0), Rope(1e4, 2.0), Rope(5e5, 7.5), Rope(5e5, 8.0, (1.0, 4.0, 8192)),
         Rope(5e5, 32.0, (1.0, 4.0, 8192))]
FAMILIES = {"llama": {"sub_norms": False, "activation": "silu"}, "bitnet-b1.58": {"sub_norms": True},
            "bitnet": {"sub_norms": True, "activation": "silu"}}


@st.composite
def structures(draw, family, step):
    """A checkpoint of a family, whose sizes are multiples of ``step``."""
    most = 1 if step > 16 else 3
    kv_heads, group = draw(st.integers(1, most)), draw(st.integers(1, most))
    heads = kv_heads * group
    hidden = step * heads * draw(st.integers(1, 2))
    head_dim = step * draw(st.integers(1, most)) if family == "llama" else None  # apart from hidden / heads
    rope = draw(st.sampled_from(ROPES if family == "llama" else ROPES[:2]))
    return random_checkpoint(
        draw(st.integers(0, 1 << 30)), vocab=draw(st.integers(260, 300)), context=draw(st.integers(8, 40)),
        hidden=hidden, inner=step * draw(st.integers(1, 2 * most)), heads=heads, kv_heads=kv_heads, head_dim=head_dim,
        layers=draw(st.integers(1, most)), rope=rope, tied=family == "bitnet" or draw(st.booleans()),
        kind=draw(st.sampled_from(["F32", "F16", "BF16"])), **FAMILIES[family])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder, and a way to name files in it that nobody has named."""
    folder, numbers = tmp_path_factory.mktemp("random"), itertools.count()
    return lambda: folder / str(next(numbers))


def written(path, checkpoint, form):
    convert(InMemory(checkpoint), path, form)
    found = load(path)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return found


@pytest.mark.parametrize("family", FAMILIES)
@FEW
@given(data=st.data())
def test_i2_s(folder, family, data):
    """Every structure is the same through each format, or a size that I2_S cannot hold is named."""
    checkpoint = data.draw(structures(family, data.draw(st.sampled_from([4, 8, 16]))))
    assert_same(written(folder(), checkpoint, "hf"), checkpoint)
    assert_same(written(folder(), checkpoint, "setun"), checkpoint)
    matrices = [value for layer in checkpoint.layers for value in layer if isinstance(value, tuple)]
    if all(codes.size % 128 == 0 for codes, _ in matrices):
        assert_same(written(folder(), checkpoint, "gguf-i2s"), checkpoint)
    else:
        with pytest.raises(CheckpointError, match="weights are no multiple of 128; choose --format hf or setun"):
            written(folder(), checkpoint, "gguf-i2s")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["F32", "F16", "TQ2_0", "TQ1_0"])
@FEW
@given(data=st.data())
def test_package_gguf(folder, family, kind, data):
    """Files of the package's writer are the same model as a folder."""
    checkpoint = scaled(data.draw(structures(family, 256 if kind.startswith("TQ") else 8)))
    if checkpoint.rope.bands is not None:
        checkpoint = checkpoint._replace(rope=Rope(checkpoint.rope.theta))
    heads = {"q": checkpoint.heads, "k": checkpoint.kv_heads}

    def order(name, rows):  # of architecture llama: the pairs of a head side by side
        if family != "llama" or name not in heads:
            return rows
        half = len(rows) // heads[name] // 2
        return rows[[2 * half * head + half * side + pair
                     for head in range(heads[name]) for pair in range(half) for side in (0, 1)]]

    fields = {f"{family}.attention.key_length": checkpoint.head_dim}
    if checkpoint.rope.factor != 1:
        fields |= {f"{family}.rope.scaling.type": "linear", f"{family}.rope.scaling.factor": checkpoint.rope.factor}
    path = folder()
    write_tq(path, checkpoint, gguf.GGMLQuantizationType[kind], order, fields, family)
    found = load(path)
    path.unlink()
    assert_same(found, checkpoint)


@pytest.mark.parametrize("family", ["llama", "bitnet-b1.58"])
@settings(max_examples=max(1, settings.default.max_examples // 30), deadline=None)
@given(data=st.data())
def test_transformers(folder, family, data):
    """Each BitLinear exactly, on its own input; the whole but for what a code of int8 changes that rounds differently.

    The integers are those of tiny layers and random weights, whose logits differ more than those of trained models.
    """
    checkpoint = data.draw(structures(family, 8))
    path = folder()
    convert(InMemory(checkpoint), path, "hf")
    model, tokens = load_in_transformers(path), np.arange(8)[None] * 31
    logits = assert_linear_agrees(load(path), model, tokens, by_scale)
    shutil.rmtree(path)
    ours = {numerics: measure_logits(checkpoint, tokens, numerics) for numerics in ("float", "integer")}
    apart = np.median(np.abs(ours["float"] - logits) / np.abs(logits), axis=-1)  # of each token
    assert apart.min() < 1e-5 and np.median(apart) < 0.05
    assert closeness(ours["integer"], logits, tokens).divergence < 0.03
