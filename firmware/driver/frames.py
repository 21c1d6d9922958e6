"""The driver's side of the link: frames to bytes and back, as hdl.protocol defines them."""

import zlib

from .. import errors
from ..hdl.protocol import (
    CRC_BYTES,
    END,
    ESCAPE,
    ESCAPED_END,
    ESCAPED_ESCAPE,
    HEADER_BYTES,
    LONGEST,
    MAX_PAYLOAD,
    Error,
)


__all__ = ["Decoder", "FrameError", "encode", "escape", "unescape"]


UNESCAPED = {ESCAPED_END: END, ESCAPED_ESCAPE: ESCAPE}


class FrameError(errors.Error):
    """A frame came damaged: ``error`` says how; ``kind`` and ``sequence`` are as they came, or 0."""

    def __init__(self, error, kind, sequence):
        super().__init__(f"frame {sequence} of kind {kind:#04x} came damaged: {error.name}")
        self.error, self.kind, self.sequence = error, kind, sequence


def escape(body):
    """A body between two ENDs, escaped."""
    escaped = body.replace(bytes([ESCAPE]), bytes([ESCAPE, ESCAPED_ESCAPE]))
    return bytes([END]) + escaped.replace(bytes([END]), bytes([ESCAPE, ESCAPED_END])) + bytes([END])


def unescape(escaped):
    """The body up to the first bad escape, and whether there was one."""
    body, *pieces = escaped.split(bytes([ESCAPE]))
    for piece in pieces:
        if not piece or piece[0] not in UNESCAPED:
            return body, True
        body += bytes([UNESCAPED[piece[0]]]) + piece[1:]
    return body, False


def encode(kind, sequence, payload=b""):
    """The bytes of a frame on the link.

    Raises ValueError for a payload of more than MAX_PAYLOAD bytes.
    """
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a payload is at most {MAX_PAYLOAD} bytes, not {len(payload)}")
    covered = bytes([kind, sequence]) + len(payload).to_bytes(2, "little") + bytes(payload)
    return escape(covered + zlib.crc32(covered).to_bytes(CRC_BYTES, "little"))


def _parse(escaped):
    body, bad = unescape(escaped)
    covered, crc = body[:-CRC_BYTES], body[-CRC_BYTES:]
    kind, sequence = (body[:2] + bytes(2))[:2]
    payload = covered[HEADER_BYTES:]
    if bad:
        return FrameError(Error.CRC, kind, sequence)
    if len(covered) < HEADER_BYTES:
        return FrameError(Error.LENGTH, kind, sequence)
    if int.from_bytes(crc, "little") != zlib.crc32(covered):
        return FrameError(Error.CRC, kind, sequence)
    if int.from_bytes(covered[2:HEADER_BYTES], "little") != len(payload) or len(payload) > MAX_PAYLOAD:
        return FrameError(Error.LENGTH, kind, sequence)
    return kind, sequence, payload


class Decoder:
    """Finds the frames in the bytes of the link, in pieces of any size."""

    def __init__(self):
        self._escaped = b""

    def feed(self, received):
        """The frames that end in ``received``, in order: (kind, sequence, payload), or a FrameError where one came
        damaged; it is not raised, for the frames after it are sound. So does one that does not end when it should."""
        *ended, self._escaped = (self._escaped + received).split(bytes([END]))
        if len(self._escaped) > LONGEST:
            ended.append(self._escaped)
            self._escaped = b""
        return [_parse(escaped) for escaped in ended if escaped]
