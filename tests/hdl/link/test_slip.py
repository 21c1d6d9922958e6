import random

import pytest

from setun.driver.frames import escape, unescape
from setun.hdl.link.slip import SlipDecoder, SlipEncoder
from setun.hdl.protocol import END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE
from setun.sim.verify.streams import get, put, simulate


STALLS = [(0, 0), (0.6, 0), (0, 0.6), (0.5, 0.5)]
SPECIAL = [END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE]


def random_bytes(rng, length):
    """About half of them are special."""
    return bytes(rng.choice(SPECIAL) if rng.random() < 0.5 else rng.randrange(256) for _ in range(length))


def transfer(component, values, count, stall_in, stall_out):
    """The ``count`` values that come out for ``values``, and the cycles of either; no more than that may come."""
    result, sent, received = [], [], []

    async def source(ctx):
        sent.extend(await put(ctx, component.i, values, stall=stall_in))

    async def sink(ctx):
        values, cycles = await get(ctx, component.o, count, stall=stall_out)
        result.extend(values)
        received.extend(cycles)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(component.o.valid)

    simulate(component, source, sink, cycles=20_000)
    return result, sent, received


def rtl_unescape(bodies, *, stall_in=0, stall_out=0):
    """Pairs as those of ``unescape``, one for each escaped body; and the cycles of bytes and items."""
    count = sum(len(unescape(body)[0]) + 1 for body in bodies)
    items, sent, received = transfer(SlipDecoder(), b"".join(body + bytes([END]) for body in bodies), count,
                                     stall_in, stall_out)
    pairs, body = [], b""
    for item in items:
        if item.end:
            pairs.append((body, bool(item.bad)))
            body = b""
        else:
            body += bytes([item.data])
    return pairs, sent, received


def rtl_escape(bodies, *, stall_in=0, stall_out=0):
    """The bytes for ``bodies``, and the cycles of items and bytes."""
    items = []
    for body in bodies:
        items += [{"data": byte, "end": 0, "bad": 0} for byte in body] + [{"data": END, "end": 1, "bad": 0}]
    escaped, sent, received = transfer(SlipEncoder(), items, len(b"".join(map(escape, bodies))), stall_in, stall_out)
    return bytes(escaped), sent, received


def test_reference():
    """The example of a body, by hand."""
    assert escape(bytes.fromhex("01c0dbdcdd")) == bytes.fromhex("c001dbdcdbdddcddc0")
    assert unescape(bytes.fromhex("01dbdcdbdddcdd")) == (bytes.fromhex("01c0dbdcdd"), False)
    for bad in "01db", "01db00", "01dbdb", "01dbdbdc":
        assert unescape(bytes.fromhex(bad)) == (b"\1", True)


@pytest.mark.parametrize("stall_in, stall_out", STALLS)
def test_decoder(stall_in, stall_out):
    rng = random.Random(2)
    bodies = [escape(random_bytes(rng, rng.randrange(12)))[1:-1] for _ in range(40)]
    pairs, _, _ = rtl_unescape(bodies, stall_in=stall_in, stall_out=stall_out)
    assert pairs == [unescape(body) for body in bodies]
    assert not any(bad for _, bad in pairs)


@pytest.mark.parametrize("stall_in, stall_out", STALLS)
def test_decoder_bad_escapes(stall_in, stall_out):
    rng = random.Random(3)
    bodies = [random_bytes(rng, rng.randrange(16)).replace(bytes([END]), b"") for _ in range(80)]
    pairs, _, _ = rtl_unescape(bodies, stall_in=stall_in, stall_out=stall_out)
    assert pairs == [unescape(body) for body in bodies]
    assert 10 < sum(bad for _, bad in pairs) < 70


def test_decoder_timing():
    """An item a cycle after its byte, a byte a cycle; none for an ESCAPE."""
    body = bytes([1, 2, ESCAPE, ESCAPED_END, 3, ESCAPE, ESCAPED_ESCAPE])
    _, sent, received = rtl_unescape([body, body])
    assert sent == list(range(16))
    assert received == [1, 2, 4, 5, 7, 8, 9, 10, 12, 13, 15, 16]


@pytest.mark.parametrize("stall_in, stall_out", STALLS)
def test_encoder(stall_in, stall_out):
    rng = random.Random(4)
    bodies = [random_bytes(rng, rng.randrange(12)) for _ in range(40)]
    escaped, _, _ = rtl_escape(bodies, stall_in=stall_in, stall_out=stall_out)
    assert escaped == b"".join(map(escape, bodies))


def test_encoder_timing():
    """Bytes of the link follow each other without a gap from two cycles after the first item is offered."""
    escaped, sent, received = rtl_escape([bytes([1, END, 2]), bytes([ESCAPE])])
    assert received == list(range(2, len(escaped) + 2))
    assert sent == [0, 2, 4, 5, 6, 9]
