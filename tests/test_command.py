import random
import struct

import pytest

from hdl.command import CommandReader
from hdl.config import Config
from hdl.registers import MAX_PAYLOAD, Error, Kind
from sim.streams import get, put, simulate


CONFIG = Config(name="test", banks=3, tiles=4, depth=64, columns=64, blocks=8)
STALLS = [(0, 0), (0.6, 0), (0, 0.6), (0.5, 0.5)]
LATENCY = 21  # cycles from a header to its command, and one for each byte of arguments
FORMATS = {  # of the arguments, as registers has them in its table
    Kind.READ: ("span", {"first": "H", "count": "H"}),
    Kind.WEIGHTS: ("weights", {"address": "H", "count": "H"}),
    Kind.VECTOR: ("vector", {"slot": "B", "flags": "B", "length": "H", "live": "H", "offset": "H"}),
    Kind.RUN: ("run", {"slot": "B", "zero": "B", "base": "H", "stride": "H", "blocks": "H", "destination": "H"}),
    Kind.WAIT: (None, {}),
    Kind.RESULTS: ("span", {"first": "H", "count": "H"}),
    Kind.RESET: (None, {}),
}
WITH_DATA = (Kind.WEIGHTS, Kind.VECTOR)


def argument_bytes(kind):
    return struct.calcsize("<" + "".join(FORMATS[kind][1].values()))


def frame_of(kind, payload=b"", *, sequence=0, error=Error.NONE, decodable=1):
    """(header, payload), as they come from the FrameReceiver."""
    return {"kind": kind, "sequence": sequence, "length": len(payload), "error": error, "decodable": decodable}, payload


def random_frames(rng, count):
    """Of all kinds, and a third of them wrong in some way."""
    frames = []
    for sequence in range(count):
        kind = rng.choice(list(FORMATS))
        payload = rng.randbytes(argument_bytes(kind) + (rng.randrange(30) if kind in WITH_DATA else 0))
        match rng.randrange(12):
            case 0:
                frame = frame_of(rng.choice([0, Kind.RESET + 1, 0x81, 0xff]), payload, sequence=sequence)
            case 1:
                frame = frame_of(kind, rng.randbytes(rng.randrange(14)), sequence=sequence)
            case 2:
                frame = frame_of(kind, error=rng.choice([Error.CRC, Error.LENGTH]), sequence=sequence)
            case 3:
                frame = frame_of(kind, payload, sequence=sequence, decodable=0)
            case _:
                frame = frame_of(kind, payload, sequence=sequence)
        frames.append(frame)
    return frames


def error_of(header):
    if header["error"] != Error.NONE:
        return header["error"]
    if header["kind"] not in FORMATS:
        return Error.KIND
    excess = header["length"] - argument_bytes(header["kind"])
    if excess < 0 or excess and header["kind"] not in WITH_DATA:
        return Error.LENGTH
    if header["kind"] == Kind.WEIGHTS and not header["decodable"]:
        return Error.CODE
    return Error.NONE


def reference(frame, config=CONFIG):
    """(kind, sequence, error, arguments, product, data) of the command; what means nothing is left out."""
    header, payload = frame
    kind, error = header["kind"], error_of(header)
    arguments, product, data = {}, None, b""
    if not error:
        fields, size = FORMATS[kind][1], argument_bytes(kind)
        values = struct.unpack("<" + "".join(fields.values()), payload[:size])
        arguments, data = dict(zip(fields, values, strict=True)), payload[size:]
        match kind:
            case Kind.WEIGHTS:
                product = arguments["count"] * config.banks * config.tiles
            case Kind.RUN:
                product = arguments["blocks"] * arguments["stride"]
            case Kind.RESULTS:
                product = arguments["count"] * config.rows * 3
    return kind, header["sequence"], error, arguments, product, data


def rtl_commands(frames, *, stall_in=0.0, stall_out=0.0, takes=None, config=CONFIG):
    """Commands as those of ``reference``, each taken with the first ``takes`` bytes of its data; no more may come.

    A refused command's data are those that it is taken with, none.
    """
    reader, commands = CommandReader(config), []

    async def headers(ctx):
        await put(ctx, reader.i_header, [header for header, _ in frames], stall=stall_in, seed=2)

    async def payloads(ctx):
        await put(ctx, reader.i_payload, b"".join(payload for _, payload in frames), stall=stall_in, seed=3)

    async def sink(ctx):
        for number in range(len(frames)):
            while not ctx.get(reader.o.valid):
                await ctx.tick()
            command = ctx.get(reader.o.payload)
            kind, error, arguments, product = command.kind, Error(command.error), {}, None
            data = b""
            if not error:
                name, fields = FORMATS[kind]
                arguments = {field: command.arguments[name][field] for field in fields}
                product = command.product if kind in (Kind.WEIGHTS, Kind.RUN, Kind.RESULTS) else None
                if kind in WITH_DATA:
                    wanted = command.data_bytes if takes is None else min(takes, command.data_bytes)
                    data = bytes((await get(ctx, reader.o_data, wanted, stall=stall_out, seed=number))[0])
                    if wanted == command.data_bytes:
                        assert not ctx.get(reader.o_data.valid)
            ctx.set(reader.o_data.ready, takes is None)  # which takes nothing of the next command's
            ((taken,), _) = await get(ctx, reader.o, 1, stall=stall_out, seed=number)
            ctx.set(reader.o_data.ready, 0)
            assert taken == command
            commands.append((kind, command.sequence, error, arguments, product, data))
        for _ in range(60):
            await ctx.tick()
            assert not ctx.get(reader.o.valid) and not ctx.get(reader.o_data.valid)

    simulate(reader, headers, payloads, sink, cycles=50_000)
    return commands


@pytest.mark.parametrize("stall_in, stall_out", STALLS)
def test_random(stall_in, stall_out):
    frames = random_frames(random.Random(1), 60)
    expected = [reference(frame) for frame in frames]
    assert {command[2] for command in expected} == {Error.NONE, Error.CRC, Error.LENGTH, Error.KIND, Error.CODE}
    assert rtl_commands(frames, stall_in=stall_in, stall_out=stall_out) == expected


@pytest.mark.parametrize("takes", [0, 1, 7])
@pytest.mark.parametrize("stall_in", [0, 0.6])
def test_rest_is_dropped(takes, stall_in):
    """What is left when a command is taken does not reach the next one."""
    rng = random.Random(2)
    frames = [frame_of(kind, rng.randbytes(argument_bytes(kind) + length), sequence=length)
              for kind in WITH_DATA for length in (0, 1, 2, 7, 8, 20)]
    frames += [frame_of(Kind.RUN, rng.randbytes(10))] + frames
    expected = [(*command[:-1], command[-1][:takes]) for command in map(reference, frames)]
    assert rtl_commands(frames, takes=takes, stall_in=stall_in) == expected


def test_longest():
    payload = random.Random(3).randbytes(MAX_PAYLOAD)
    frames = [frame_of(kind, payload) for kind in (Kind.WEIGHTS, Kind.VECTOR, Kind.RUN, 0, Kind.WEIGHTS)]
    assert rtl_commands(frames) == [reference(frame) for frame in frames]


@pytest.mark.parametrize("kind", FORMATS)
def test_length(kind):
    """One byte less and one more than the arguments."""
    size = argument_bytes(kind)
    frames = [frame_of(kind, bytes(length)) for length in (size - 1, size, size + 1) if length >= 0]
    errors = [command[2] for command in rtl_commands(frames)]
    assert errors[-2:] == [Error.NONE, Error.NONE if kind in WITH_DATA else Error.LENGTH]
    assert size == 0 or errors[0] == Error.LENGTH


def test_kind():
    """All bytes; those that are no commands are refused whatever their payload."""
    frames = [frame_of(kind, bytes(argument_bytes(kind) if kind in FORMATS else kind % 11)) for kind in range(256)]
    commands = rtl_commands(frames)
    assert [kind for kind, _, error, *_ in commands if not error] == list(FORMATS)
    assert {error for kind, _, error, *_ in commands if kind not in FORMATS} == {Error.KIND}


def test_precedence():
    """The link's errors come first, and a length is looked at before what is there."""
    frames = [frame_of(Kind.WEIGHTS, error=Error.CRC, decodable=0), frame_of(0, error=Error.LENGTH),
              frame_of(Kind.WEIGHTS, bytes(3), decodable=0), frame_of(Kind.WEIGHTS, bytes(5), decodable=0),
              frame_of(Kind.VECTOR, bytes(8), decodable=0)]
    assert [command[2] for command in rtl_commands(frames)] == [
        Error.CRC, Error.LENGTH, Error.LENGTH, Error.CODE, Error.NONE]


@pytest.mark.parametrize("banks, tiles", [(1, 1), (3, 4), (64, 15)])
def test_product(banks, tiles):
    """At the ends of both factors."""
    config = Config(name="test", banks=banks, tiles=tiles, depth=1, columns=1, blocks=1)
    values = [0, 1, 2, 0x5555, 0x8000, 0xfffe, 0xffff]
    frames = [frame_of(kind, struct.pack("<HH", 9, count)) for kind in (Kind.WEIGHTS, Kind.RESULTS) for count in values]
    frames += [frame_of(Kind.RUN, struct.pack("<BBHHHH", 1, 0, 7, stride, blocks, 5))
               for stride in values for blocks in values]
    commands = rtl_commands(frames, config=config)
    assert commands == [reference(frame, config) for frame in frames]
    assert commands[-1][4] == 0xffff * 0xffff


def test_latency():
    """Twenty-one cycles and the bytes of the arguments; four, where there are none to be read."""
    reader = CommandReader(CONFIG)
    frames = [frame_of(kind, bytes(argument_bytes(kind))) for kind in FORMATS]
    frames += [frame_of(Kind.RUN, bytes(9)), frame_of(0), frame_of(Kind.RUN, error=Error.CRC)]
    taken, there = [], []

    async def headers(ctx):
        taken.extend(await put(ctx, reader.i_header, [header for header, _ in frames]))

    async def payloads(ctx):
        await put(ctx, reader.i_payload, b"".join(payload for _, payload in frames))

    async def sink(ctx):
        there.extend((await get(ctx, reader.o, len(frames)))[1])

    simulate(reader, headers, payloads, sink)
    expected = [LATENCY + argument_bytes(kind) if argument_bytes(kind) else 4 for kind in FORMATS] + [4] * 3
    assert [after - before for before, after in zip(taken, there, strict=True)] == expected
