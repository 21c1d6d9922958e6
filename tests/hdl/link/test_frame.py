import random
import struct
import zlib

import pytest

from setun.driver.frames import Decoder, FrameError, encode, escape
from setun.hdl.link.frame import PREFIX_BYTES, RING_BYTES, FrameReceiver, FrameTransmitter, Status
from setun.hdl.protocol import (
    CRC_BYTES,
    END,
    ESCAPE,
    ESCAPED_END,
    ESCAPED_ESCAPE,
    MAX_PAYLOAD,
    REFUSED,
    REPLY,
    WINDOW_BYTES,
    WINDOW_FRAMES,
    Command,
    Error,
)
from setun.sim.verify.streams import get, put, simulate


STALLS = [(0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5)]
SPECIAL = [END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE]
GOOD = (Command.WRITE, 0xdb, b"\xc0")


def random_payload(rng, length):
    """A third of the bytes are special."""
    return bytes(rng.choice(SPECIAL) if rng.random() < 0.3 else rng.randrange(256) for _ in range(length))


def random_frames(rng, count, longest):
    return [(rng.randrange(256), rng.choice(SPECIAL + [rng.randrange(256)]),
             random_payload(rng, rng.randrange(longest + 1))) for _ in range(count)]


def summary(frame):
    """Of what a Decoder finds, all that the device tells of it."""
    if isinstance(frame, FrameError):
        return frame.error, frame.kind, frame.sequence, b""
    return (Error.NONE, *frame)


def reference(link):
    return [summary(frame) for frame in Decoder().feed(link)]


async def get_frames(ctx, receiver, count, stall=0):
    """Frames as those of ``reference``."""
    frames = []
    for number in range(count):
        (*header, status), _ = await get(ctx, receiver.o, PREFIX_BYTES, stall=stall, seed=number)
        kind, sequence, length = struct.unpack("<BBH", bytes(header))
        payload, _ = await get(ctx, receiver.o, length, stall=stall, seed=number)
        status = Status.from_bits(status)
        frames.append((Error(status.error), kind, sequence, bytes(payload)))
    return frames


def rtl_receive(link, *, stall_in=0, stall_out=0):
    """Frames as those of ``reference``, as many as it finds; no more may come."""
    receiver, frames = FrameReceiver(), []

    async def source(ctx):
        await put(ctx, receiver.i, link, stall=stall_in)

    async def sink(ctx):
        frames.extend(await get_frames(ctx, receiver, len(reference(link)), stall=stall_out))
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(receiver.o.valid)

    simulate(receiver, source, sink, cycles=60_000)
    return frames


def rtl_transmit(frames, *, stall_in=0, stall_out=0):
    """The bytes for ``frames``, and the cycles at which they come."""
    transmitter, link, cycles = FrameTransmitter(), [], []

    async def headers(ctx):
        await put(ctx, transmitter.i_header, [{"kind": kind, "sequence": sequence, "length": len(payload)}
                                              for kind, sequence, payload in frames], stall=stall_in, seed=2)

    async def payloads(ctx):
        items = []
        for *_, payload in frames:
            items += [{"data": byte, "end": 0, "bad": 0} for byte in payload] + [{"data": END, "end": 1, "bad": 0}]
        await put(ctx, transmitter.i_payload, items, stall=stall_in, seed=3)

    async def sink(ctx):
        values, taken = await get(ctx, transmitter.o, len(b"".join(encode(*frame) for frame in frames)),
                                  stall=stall_out)
        link.extend(values)
        cycles.extend(taken)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(transmitter.o.valid)

    simulate(transmitter, headers, payloads, sink, cycles=60_000)
    return bytes(link), cycles


def body_of(kind, sequence, payload, *, length=None, flip=0):
    """A body with another length than its payload's, or a damaged CRC, before it is escaped."""
    covered = bytes([kind, sequence]) + (len(payload) if length is None else length).to_bytes(2, "little") + payload
    return covered + (zlib.crc32(covered) ^ flip).to_bytes(4, "little")


def check_refused(damaged, expected):
    """Each of ``damaged`` is refused as expected, and sound frames around them come through."""
    link, frames = encode(*GOOD), [summary(GOOD)]
    for piece, errors in zip(damaged, expected, strict=True):
        link += piece + encode(*GOOD)
        frames += errors + [summary(GOOD)]
    assert reference(link) == frames
    assert rtl_receive(link) == frames


def test_reference():
    """A frame by hand. The CRC-32 of 123456789 is cbf43926 in every catalogue."""
    assert zlib.crc32(b"123456789") == 0xcbf43926
    covered = bytes([Command.GO, 0xc0, 2, 0, 0xdb, 9])
    crc = 0xffffffff
    for byte in covered:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xedb88320 if crc & 1 else 0)
    assert zlib.crc32(covered) == crc ^ 0xffffffff
    assert encode(Command.GO, 0xc0, b"\xdb\x09") == escape(covered + (crc ^ 0xffffffff).to_bytes(4, "little"))
    assert Decoder().feed(encode(Command.GO, 0xc0, b"\xdb\x09")) == [(Command.GO, 0xc0, b"\xdb\x09")]


def test_reference_in_pieces():
    frames = random_frames(random.Random(1), 20, 30)
    link, decoder = b"".join(encode(*frame) for frame in frames), Decoder()
    assert [frame for byte in link for frame in decoder.feed(bytes([byte]))] == frames


def test_encode_too_long():
    encode(Command.WRITE, 0, bytes(MAX_PAYLOAD))
    with pytest.raises(ValueError, match="^a payload is at most 1000 bytes, not 1001$"):
        encode(Command.WRITE, 0, bytes(MAX_PAYLOAD + 1))


def test_frame_error():
    (error,) = Decoder().feed(escape(body_of(Command.WAIT | REPLY, 7, b"", flip=1)))
    assert str(error) == "frame 7 of kind 0x95 came damaged: CRC"


@pytest.mark.parametrize("stall_in, stall_out", STALLS)
def test_receiver(stall_in, stall_out):
    link = b"".join(encode(*frame) for frame in random_frames(random.Random(2), 25, 20))
    assert rtl_receive(link, stall_in=stall_in, stall_out=stall_out) == reference(link)


@pytest.mark.parametrize("stall_in, stall_out", STALLS)
def test_receiver_refuses_noise(stall_in, stall_out):
    """Mangled frames, bad escapes, truncation and noise, mixed at random with sound frames."""
    rng, link = random.Random(3), b""
    for frame in random_frames(rng, 45, 10):
        piece = bytearray(encode(*frame))
        match rng.randrange(5):
            case 0:
                piece[rng.randrange(len(piece))] = rng.choice(SPECIAL)
            case 1:
                del piece[rng.randrange(len(piece))]
            case 2:
                piece += random_payload(rng, rng.randrange(12))
        link += piece
    link += bytes([END])
    frames = reference(link)
    assert {frame[0] for frame in frames} == {Error.NONE, Error.CRC, Error.LENGTH}
    assert rtl_receive(link, stall_in=stall_in, stall_out=stall_out) == frames


def test_receiver_flipped_bits():
    """No frame with a flipped bit passes, wherever it is, nor does it spoil the next one."""
    sound, link = encode(Command.GO, 0xc0, b"\xdb"), b""
    for bit in range(8 * len(sound)):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        link += bytes(damaged) + encode(*GOOD)
    frames = reference(link)
    assert [frame for frame in frames if frame[0] == Error.NONE] == [summary(GOOD)] * 8 * len(sound)
    assert rtl_receive(link) == frames


def test_receiver_truncated():
    body = body_of(Command.WAIT, 5, b"\x01\x02\x03")
    damaged = [escape(body[:length]) for length in range(len(body))]
    expected = [[]]
    for length in range(1, len(body)):
        kind, sequence = (body[:min(length, 2)] + bytes(2))[:2]
        expected.append([(Error.LENGTH if length < 8 else Error.CRC, kind, sequence, b"")])
    check_refused(damaged, expected)


def test_receiver_wrong_length():
    """With a right CRC; the one with a wrong CRC tells that first."""
    lengths = [0, 3, 5, 0x104, 0x8004, 0xffff]
    check_refused(
        [escape(body_of(Command.GO, 6, b"four", length=length, flip=flip)) for length in lengths for flip in (0, 1)],
        [[(error, Command.GO, 6, b"")] for _ in lengths for error in (Error.LENGTH, Error.CRC)])


def test_receiver_longest_and_too_long():
    """MAX_PAYLOAD bytes pass, one more does not; a payload beyond the ring neither overwrites nor stops anything."""
    rng = random.Random(5)
    longest = (Command.WRITE, 1, bytes(rng.randrange(256) for _ in range(MAX_PAYLOAD)))
    too_long = [escape(body_of(Command.WRITE, 2, bytes(MAX_PAYLOAD + 1))),
                escape(body_of(Command.WRITE, 3, bytes(RING_BYTES), flip=1)),
                escape(body_of(Command.WRITE, 4, bytes(3 * RING_BYTES), length=0))]
    check_refused([encode(*longest), *too_long, encode(*longest)],
                  [[summary(longest)], [(Error.LENGTH, Command.WRITE, 2, b"")], [(Error.CRC, Command.WRITE, 3, b"")],
                   [(Error.LENGTH, Command.WRITE, 4, b"")], [summary(longest)]])


@pytest.mark.parametrize("bad", [bytes([ESCAPE]), bytes([ESCAPE, 0]), bytes([ESCAPE, ESCAPE, ESCAPED_END])])
def test_receiver_bad_escape(bad):
    """Anywhere, even where the CRC before it is right, or where nothing else is."""
    end, body = bytes([END]), escape(body_of(Command.WAIT, 4, b""))[1:-1]
    damaged = [end + body[:place] + bad + end for place in range(len(body) + 1)]
    expected = [[(Error.CRC, Command.WAIT * (place > 0), 4 * (place > 1), b"")] for place in range(len(body) + 1)]
    check_refused(damaged, expected)


def test_receiver_noise_and_empty_frames():
    end = bytes([END])
    check_refused([b"\x55", end, 3 * end, b"", bytes(20)],
                  [[(Error.LENGTH, 0x55, 0, b"")], [], [], [], [(Error.CRC, 0, 0, b"")]])


def test_receiver_ring_wraps():
    rng = random.Random(7)
    link = b""
    for sequence in range(16):
        body = body_of(Command.WRITE, sequence, bytes(rng.randrange(256) for _ in range(rng.randrange(400))),
                       flip=rng.random() < 0.3)
        link += escape(body)
    assert sum(len(payload) for *_, payload in reference(link)) > RING_BYTES
    assert rtl_receive(link) == reference(link)


@pytest.mark.parametrize("pieces", [
    [encode(Command.WRITE, sequence % 256, b"") for sequence in range(RING_BYTES // PREFIX_BYTES + 2)],
    [encode(Command.WRITE, length, bytes([length]) * length) for length in (5, 7, 11, 13, 17, 19, 23, 29) * 16],
    [encode(Command.WRITE, 0, bytes(MAX_PAYLOAD)), encode(Command.WRITE, 1, bytes([1]) * MAX_PAYLOAD),
     encode(Command.WRITE, 2, bytes([2]) * 40)],
    [encode(Command.WRITE, 1, b""),
     *(bytes([number % END]) * (number % 3 + 1) + bytes([END]) for number in range(450))],
], ids=["empty", "short", "longest", "noise"])
def test_receiver_back_pressure(pieces):
    """The input stops while nothing is taken; then all comes."""
    receiver, link = FrameReceiver(), b"".join(pieces)
    frames, sent = [], []

    async def source(ctx):
        sent.extend(await put(ctx, receiver.i, link))

    async def sink(ctx):
        await ctx.tick().repeat(len(link) + 7 * len(pieces) + 10)
        assert not sent and not ctx.get(receiver.i.ready)
        frames.extend(await get_frames(ctx, receiver, len(pieces)))

    simulate(receiver, source, sink, cycles=60_000)
    assert frames == reference(link)


def test_window_fits():
    """What a driver may send ahead of the answers is taken while none is taken out, in frames of any size."""
    for lengths in ([MAX_PAYLOAD, MAX_PAYLOAD, 0], [WINDOW_BYTES // WINDOW_FRAMES - CRC_BYTES] * WINDOW_FRAMES):
        receiver, sent = FrameReceiver(), []
        link = b"".join(encode(Command.WRITE, 0, bytes(length)) for length in lengths)

        async def source(ctx):
            sent.extend(await put(ctx, receiver.i, link))

        simulate(receiver, source, cycles=60_000)
        assert sum(length + CRC_BYTES for length in lengths) >= WINDOW_BYTES and len(sent) == len(link)


def test_receiver_timing():
    """A byte of the link a cycle, and one more a frame; the first byte comes seven cycles after END."""
    receiver, length, count = FrameReceiver(), 100, 4
    link = b"".join(encode(Command.WRITE, sequence, bytes(length)) for sequence in range(count))
    sent, came = [], []

    async def source(ctx):
        sent.extend(await put(ctx, receiver.i, link))

    async def sink(ctx):
        came.extend((await get(ctx, receiver.o, count * (PREFIX_BYTES + length)))[1])

    simulate(receiver, source, sink)
    ends = [cycle for cycle, byte in zip(sent, link, strict=True) if byte == END][1::2]
    # The cycle after a frame falls on its successor's first END, which waits in the decoder, or the byte after it.
    stalls = [sum(end + 1 < cycle for end in ends) for cycle in sent]
    assert [cycle - stall for cycle, stall in zip(sent, stalls)] == list(range(len(link)))
    assert came == [end + 7 + index for end in ends for index in range(PREFIX_BYTES + length)]


@pytest.mark.parametrize("stall_in, stall_out", STALLS)
def test_transmitter(stall_in, stall_out):
    frames = random_frames(random.Random(8), 25, 20)
    link, _ = rtl_transmit(frames, stall_in=stall_in, stall_out=stall_out)
    assert link == b"".join(encode(*frame) for frame in frames)


def test_transmitter_longest():
    frames = [(Command.READ | REPLY, 1, bytes(index % 251 for index in range(MAX_PAYLOAD)))]
    assert rtl_transmit(frames)[0] == encode(*frames[0])


def test_transmitter_timing():
    """A byte a cycle, but for one before the CRC, and none there after an escape."""
    frames = [(Command.READ | REPLY, 1, bytes(20)), (Command.WAIT | REPLY, 2, b""), (REFUSED, 3, bytes([1, END]))]
    link, cycles = rtl_transmit(frames)
    runs = [(2, 25), (28, 10), (39, 18)]
    assert cycles == [first + index for first, count in runs for index in range(count)] and len(cycles) == len(link)


@pytest.mark.parametrize("length, bad", [(28, 2), (23, 3), (18, 4)])
def test_full_and_bad(length, bad):
    """Bodies with a bad escape, one after the other, overwrite none of the frames that wait when the ring is full."""
    sizes = MAX_PAYLOAD, MAX_PAYLOAD, length
    link = b"".join(encode(Command.GO, number, bytes(size)) for number, size in enumerate(sizes))
    link += bytes([ESCAPE, 0, END]) * bad
    receiver, frames = FrameReceiver(), []

    async def source(ctx):
        await put(ctx, receiver.i, link)

    async def sink(ctx):
        for _ in range(len(link) + 100):
            await ctx.tick()
        frames.extend(await get_frames(ctx, receiver, len(reference(link))))

    simulate(receiver, source, sink, cycles=10_000)
    assert frames == reference(link)
