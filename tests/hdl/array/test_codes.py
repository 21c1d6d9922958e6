import itertools

import numpy as np
import pytest
from amaranth.sim import Simulator

from setun.golden.codes import (
    BYTE_INVALID,
    byte_decode,
    byte_encode,
    plain_decode,
    plain_encode,
    word_decode,
    word_encode,
)
from setun.hdl.array.codes import ByteDecoder, Trits, WordDecoder, WordEncoder


TRITS = np.array(list(itertools.product((-1, 0, 1), repeat=5)), np.int8)


def rtl_table(component, port, values, *results):
    """Outputs of a combinational component for each value of its one input."""
    rows = []

    async def bench(ctx):
        for value in values:
            ctx.set(getattr(component, port), value)
            await ctx.delay(1e-9)
            rows.append([ctx.get(getattr(component, name)) for name in results])

    simulator = Simulator(component)
    simulator.add_testbench(bench)
    simulator.run()
    return rows


def trits_of(value):
    return [(-1 if value.sign >> index & 1 else 1) if value.non_zero >> index & 1 else 0 for index in range(5)]


@pytest.mark.parametrize("encode, decode, codes", [
    (byte_encode, byte_decode, 256), (word_encode, word_decode, 512)])
def test_codes_are_bijections(encode, decode, codes):
    encoded = encode(TRITS)
    assert len(set(encoded.tolist())) == 243 and encoded.max() < codes
    assert (decode(encoded) == TRITS).all()


def test_plain_code():
    assert (plain_decode(plain_encode(TRITS[:, :4].T)).T == TRITS[:, :4]).all()
    assert plain_encode(np.array([-1, 0, 1, 1])) == 0b10_10_01_00
    with pytest.raises(ValueError, match="code 3"):
        plain_decode(np.array([0b00_11_00_00], np.uint8))


def test_invalid_bytes():
    assert len(BYTE_INVALID) == 13
    for byte in BYTE_INVALID:
        with pytest.raises(ValueError, match="no trits"):
            byte_decode(np.array([byte]))


def test_word_decoder():
    rows = rtl_table(WordDecoder(), "code", range(512), "trits")
    assert [trits_of(row[0]) for row in rows] == word_decode(np.arange(512)).tolist()


def test_byte_decoder():
    rows = rtl_table(ByteDecoder(), "code", range(256), "trits", "valid")
    assert [byte for byte in range(256) if not rows[byte][1]] == BYTE_INVALID
    valid = [byte for byte in range(256) if rows[byte][1]]
    assert [trits_of(rows[byte][0]) for byte in valid] == byte_decode(np.array(valid)).tolist()


@pytest.mark.parametrize("junk", [0, 0b11111])
def test_word_encoder(junk):
    """Signs of zeros are ignored."""
    values = [Trits.const({"non_zero": sum(bool(trit) << index for index, trit in enumerate(trits)),
                           "sign": sum((trit < 0 or not trit and junk >> index & 1) << index
                                       for index, trit in enumerate(trits))}) for trits in TRITS.tolist()]
    rows = rtl_table(WordEncoder(), "trits", values, "word")
    assert [row[0] for row in rows] == word_encode(TRITS).tolist()
