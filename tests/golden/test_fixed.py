import math
import pathlib
from fractions import Fraction

import numpy as np
import pytest

from setun.formats.checkpoint import load
from setun.golden.fixed import (
    fixed_embedding,
    fixed_matrix,
    fixed_norm,
    fixed_scalar,
    fixed_vector,
    to_fixed,
)
from setun.golden.formats import Formats, LayerFormats
from setun.golden.model import Ternary
from setun.golden.scalars import to_float


TINY = pathlib.Path(__file__).parents[1] / "data" / "bitnet_tiny"


def test_fixed_scalar():
    values = np.exp(np.random.default_rng(0).normal(0, 20, 500)).tolist()
    for value in [1.0, 0.5, 65535.4, 65535.5, 65536.5, 65537.0, 32768.5, 32769.5, *values]:
        exponent = math.frexp(value)[1] - 16
        mantissa = round(Fraction(value) / Fraction(2) ** exponent)
        expected = (mantissa, exponent) if mantissa < 65536 else (32768, exponent + 1)
        assert tuple(map(int, fixed_scalar(value))) == expected


@pytest.mark.parametrize("largest", [1.0, 0.999999, 0.99999, 32767.4, 32767.6, 3e-32, 1e20])
def test_fixed_vector(largest):
    values = np.array([largest, -largest / 3, 0.0])
    codes, exponent = fixed_vector(values, 32767)
    assert 16383 <= codes.max() <= 32767
    assert np.abs(codes * 2.0 ** exponent - values).max() <= 2.0 ** (exponent - 1)


def test_fixed_vector_of_zeros():
    codes, exponent = fixed_vector(np.zeros(3), 32767)
    assert not codes.any() and exponent == 0


def test_fixed_norm():
    gamma = np.random.default_rng(1).normal(1, 0.3, 20).astype(np.float32)
    norm = fixed_norm(gamma, 1e-5)
    assert norm.gamma.dtype == np.int16
    assert np.abs(norm.gamma * 2.0 ** norm.exponent - gamma).max() < np.abs(gamma).max() * 2 ** -15
    assert to_float(norm.eps) == pytest.approx(20e-5, rel=2 ** -16)
    assert to_float(norm.root) == pytest.approx(20 ** 0.5, rel=2 ** -16)


def test_fixed_embedding():
    rows = np.random.default_rng(2).normal(size=(10, 32)).astype(np.float32) * np.logspace(0, -1, 10)[:, None]
    rows[3] = 0
    embedding = fixed_embedding(rows.astype(np.float32))
    assert embedding.codes.dtype == np.int8 and embedding.scales.dtype == np.uint16
    assert (np.abs(embedding.codes.astype(int)).max(-1) == np.where(np.arange(10) == 3, 0, 121)).all()
    back = embedding.codes * embedding.scales[:, None] * 2.0 ** embedding.exponent
    assert (np.abs(back - rows).max(-1) <= np.abs(rows).max(-1) * 0.51 / 121 + 1e-12).all()


def test_fixed_matrix():
    a, b = (Ternary(np.full((rows, 3), rows - 1, np.int8), scale) for rows, scale in ((1, 0.5), (2, 0.25)))
    matrix = fixed_matrix(a, b)
    assert matrix.codes.tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 1]]
    assert [float(to_float(scale)) for scale in matrix.scales] == pytest.approx([0.5 / 127, 0.25 / 127], rel=2 ** -16)


def test_to_fixed():
    checkpoint = load(TINY)
    model = to_fixed(checkpoint)
    layer, source = model.layers[1], checkpoint.layers[1]
    assert layer.qkv.codes.shape == (64, 32) and layer.gate_up.codes.shape == (96, 32)
    assert (layer.qkv.codes[32:48] == source.k.codes).all() and (layer.gate_up.codes[48:] == source.up.codes).all()
    assert to_float(layer.down.scales[0]) == pytest.approx(source.down.scale / 127, rel=2 ** -16)
    assert model.head is model.embedding
    assert to_float(model.head_scale) == pytest.approx(2.0 ** (model.head.exponent + 16) / 127, rel=2 ** -16)


def test_formats():
    """Constants of attention from given steps, and what else the formats say."""
    checkpoint = load(TINY)
    layers = (LayerFormats((0.5, 0.25), (2.0, 8.0), 3, 11), LayerFormats((1.0, 1.0), (1.0, 1.0), 0, 17))
    model = to_fixed(checkpoint._replace(formats=Formats(-2, layers)))
    attention = model.layers[0].attention
    assert model.fraction == -2
    assert [(layer.square_shift, layer.up_bits) for layer in model.layers] == [(3, 11), (0, 17)]
    assert to_float(attention.key).tolist() == [2, 4] and to_float(attention.value).tolist() == [0.5, 0.125]
    assert to_float(attention.mix).tolist() == [0.25, 1] and to_float(attention.unit) == 8
    expected = np.array([0.5, 0.25]) * np.log2(np.e) / checkpoint.head_dim ** 0.5 / 127
    assert to_float(attention.score) == pytest.approx(expected, rel=2 ** -16)
    with pytest.raises(ValueError):
        to_fixed(checkpoint._replace(formats=Formats(-2, layers[:1])))
