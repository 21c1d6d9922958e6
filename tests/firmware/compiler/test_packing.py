import numpy as np
import pytest

from setun.compiler.packing import CapacityError, pack, place
from setun.golden.codes import byte_decode
from setun.hdl.config import Config


CONFIG = Config(name="small", banks=3, tiles=2, depth=32, columns=64, blocks=4)


def ternary(rows, columns, seed=0):
    return np.random.default_rng(seed).integers(-1, 2, (rows, columns), np.int8)


def unpacked(packed, config):
    """The matrix, from the bytes as they lie in the memories."""
    trits = byte_decode(packed.weights)  # [blocks, words, banks, tiles, 5]
    w = np.zeros(packed.shape, np.int8)
    for place_in_row, row in enumerate(packed.rows):
        block, rest = divmod(place_in_row, config.rows)
        tile, line = divmod(rest, 5)
        for place_in_column, column in enumerate(packed.columns[:packed.live]):
            word, bank = divmod(place_in_column, config.banks)
            w[row, column] = trits[block, word, bank, tile, line]
    return w


@pytest.mark.parametrize("shape", [(1, 1), (10, 3), (11, 4), (37, 64)])
def test_pack_keeps_the_matrix(shape):
    w = ternary(*shape)
    assert (unpacked(pack(w, CONFIG), CONFIG) == w).all()


def test_what_is_dead_is_dropped():
    w = ternary(30, 40)
    w[[0, 7, 29]] = 0
    w[:, [3, 39]] = 0
    packed = pack(w, CONFIG)
    assert len(packed.rows) == 27 and packed.live == 38 and packed.columns[-2:].tolist() == [3, 39]
    assert packed.weights.shape == (3, 13, 3, 2)
    assert (unpacked(packed, CONFIG) == w).all()


def test_all_zero():
    packed = pack(np.zeros((4, 4), np.int8), CONFIG)
    assert packed.blocks == 0 and packed.live == 0
    assert place([packed], CONFIG) == ([(packed, [])], True)


def test_resident_matrices_do_not_overlap():
    placed, resident = place([pack(ternary(20, 9, seed), CONFIG) for seed in range(4)], CONFIG)
    assert resident
    words = [chunk.base + word for packed, chunks in placed for chunk in chunks
             for word in range(chunk.blocks * packed.words)]
    assert words == list(range(len(words))) and not any(chunk.load for _, chunks in placed for chunk in chunks)


def test_results_limit_a_chunk():
    (placed,), resident = place([pack(ternary(90, 3), CONFIG)], CONFIG)
    assert resident and [chunk.blocks for chunk in placed.chunks] == [4, 4, 1]


def test_streamed_chunks_take_turns():
    (placed,), resident = place([pack(ternary(60, 30), CONFIG)], CONFIG)
    assert not resident
    assert [(chunk.base, chunk.first, chunk.blocks) for chunk in placed.chunks] == [
        (index % 2 * 16, index, 1) for index in range(6)]


@pytest.mark.parametrize("w, error, message", [
    (np.full((2, 2), 2, np.int8), ValueError, "must be -1, 0 or \\+1, not 2"),
    (np.zeros((0, 3), np.int8), ValueError, "at least one row"),
    (np.zeros(3, np.int8), ValueError, "at least one row"),
    (np.ones((1, 65), np.int8), CapacityError, "vector of 65 elements does not fit config small, which takes 64"),
])
def test_refused(w, error, message):
    with pytest.raises(error, match=message):
        pack(w, CONFIG)


def test_row_block_too_long():
    shallow = Config(name="shallow", banks=1, tiles=1, depth=16, columns=64, blocks=4)
    with pytest.raises(CapacityError, match="row block of 17 columns"):
        pack(np.ones((1, 17), np.int8), shallow)


def test_long_row_blocks_take_the_whole_memory():
    shallow = Config(name="shallow", banks=1, tiles=1, depth=16, columns=64, blocks=4)
    (placed,), resident = place([pack(np.ones((12, 12), np.int8), shallow)], shallow)
    assert not resident
    assert [(chunk.base, chunk.first, chunk.blocks) for chunk in placed.chunks] == [(0, 0, 1), (0, 1, 1), (0, 2, 1)]
