"""Everything that host and hardware say to each other: frames, commands, errors and the register map.

The one definition: hardware, driver and documentation import it.

A frame on the link is ``END body END``, where ``body`` is escaped as in SLIP (RFC 1055) and consists of

    kind u8, sequence u8, length u16, payload (length bytes), CRC-32 u32

with all integers little-endian and the CRC that of Ethernet and zlib over all that stands before it. The device answers
each frame in order with one frame that carries the same sequence: ``kind | REPLY``, or ``Kind.ERROR`` with a byte of
``Error``: of several the first of CRC, LENGTH, KIND and CODE that holds for the frame as such, and then of RANGE,
LENGTH, ORDER and LIST. A frame that is answered with an error has changed nothing, and every command may be repeated
when its answer was lost; only a piece of a vector is then refused (ORDER), and the register OFFSET tells where to go
on. Two ENDs with nothing between them are no frame. Beside the frame that it executes a device has room for
WINDOW_FRAMES frames, and for WINDOW_BYTES bytes of payload and CRC in them: a driver sends no more ahead of their
answers, for not every link can stop it.

Payload of a command, and of its reply:

=======  ====================================================================  ======================================
READ     first u16, count u16                                                  count registers u32
WEIGHTS  address u16, count u16, bytes of the byte code                        none
VECTOR   slot u8, flags u8, length u16, live u16, offset u16, elements         none
RUN      slot u8, zero u8, base u16, stride u16, blocks u16, destination u16   none
WAIT     none                                                                  none
RESULTS  first u16, count u16                                                  count * R accumulators of 3 bytes
RESET    none                                                                  none
=======  ====================================================================  ======================================

WEIGHTS fills ``count`` words of all banks and tiles from word ``address`` on: for each word, for each bank, for each
tile a byte, so that the bytes of a column segment are contiguous. VECTOR sends elements ``offset`` and following of a
vector of ``length`` elements, int32 to be quantised or int8 to be taken as they are; elements from ``live`` on belong
to dead columns and only take part in the absmax. The list of a slot is ready when its last element is there. RUN queues
a matrix-vector product: ``blocks`` row blocks, the word of column c of block b at ``base + b * stride + c // banks``,
all of ``blocks * stride`` words within the memory; its results go to blocks ``destination`` and following. It is
answered when it is queued. WAIT is answered when all that was queued is finished, RESULTS likewise; the other commands
do not wait for it, and a driver that overwrites weights or a list puts a WAIT before. RESET drops all that is queued or
running, empties the lists and clears the counters; weights stay.
"""

import zlib

from amaranth.lib import data, enum

from .config import ACCUMULATOR_BITS, TRITS


__all__ = ["ACCUMULATOR_BYTES", "CRC_BYTES", "END", "ESCAPE", "ESCAPED_END", "ESCAPED_ESCAPE", "Error", "Flags",
           "HEADER_BYTES", "Kind", "LONGEST", "MAGIC", "MAP_HASH", "MAX_PAYLOAD", "REPLY", "Register", "RunLayout",
           "SpanLayout", "VERSION", "VectorLayout", "WINDOW_BYTES", "WINDOW_FRAMES", "WeightsLayout"]


END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE = 0xc0, 0xdb, 0xdc, 0xdd
HEADER_BYTES = 4
CRC_BYTES = 4
MAX_PAYLOAD = 1000
LONGEST = 2 * (HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES)  # bytes of an escaped body
WINDOW_FRAMES = 4
WINDOW_BYTES = 2 * (MAX_PAYLOAD + CRC_BYTES)
REPLY = 0x80
ACCUMULATOR_BYTES = ACCUMULATOR_BITS // 8
MAGIC = int.from_bytes(b"SETN", "little")
VERSION = 1


class Kind(enum.IntEnum, shape=8):
    """Kinds of frames."""
    READ = 0x01
    WEIGHTS = 0x02
    VECTOR = 0x03
    RUN = 0x04
    WAIT = 0x05
    RESULTS = 0x06
    RESET = 0x07
    ERROR = 0xff


class Error(enum.IntEnum, shape=3):
    """Why a frame was refused."""
    NONE = 0
    CRC = 1  # damaged on the way
    LENGTH = 2  # shorter or longer than its length field, or than its kind allows
    KIND = 3  # no such command
    RANGE = 4  # an address, slot or count beyond the memories, an unknown flag, or something where zero belongs
    CODE = 5  # a weight byte that stands for no trits
    ORDER = 6  # a piece of a vector that does not continue the last one
    LIST = 7  # a run on a slot whose list is not complete, or needs more words a row block than the stride


class Flags(enum.IntFlag, shape=8):
    """Flags of VECTOR."""
    INT8 = 1  # elements are int8 and taken as they are
    SKIP = 2  # zeros are left out of the list


class Register(enum.IntEnum, shape=16):
    """Addresses of the 32-bit registers. Counters wrap; cycles by cause sum to CYCLES.

    From when they are read until the last byte has left them nothing is counted.
    """
    MAGIC = 0
    VERSION = 1
    MAP = 2  # hash of this file's definitions
    BANKS = 3
    TILES = 4
    DEPTH = 5
    COLUMNS = 6
    BLOCKS = 7
    SLOTS = 8
    STACK = 9
    PENDING = 10  # runs queued or running
    ABSMAX = 11  # largest magnitude of the vector that was quantised last
    BEATS = 12  # length of the list that was built last, in beats
    OFFSET = 13  # at which the vector that was opened last continues; 0 where it is complete
    CYCLES = 14  # since RESET, but for those in which registers are read
    CYCLES_ISSUE = 15  # a beat enters the array
    CYCLES_FLUSH = 16  # results are on their way and no beat is there
    CYCLES_VECTOR = 17  # else: a vector is quantised and listed
    CYCLES_LOAD = 18  # else: weights are written
    CYCLES_LINK = 19  # else: another command or its reply is on the way
    CYCLES_IDLE = 20  # else
    ENTRIES = 21  # activations in the lists that were built
    MACS = 22  # products with a non-zero activation, in units of R; of CYCLES_ISSUE * BANKS in all
    WEIGHTS_ZERO = 23  # zeros among the weights that were written
    BYTES_IN = 24
    BYTES_OUT = 25
    BYTES_WEIGHTS = 26
    BYTES_VECTOR = 27
    BYTES_RESULTS = 28


WeightsLayout = data.StructLayout({"address": 16, "count": 16})
VectorLayout = data.StructLayout({"slot": 8, "flags": 8, "length": 16, "live": 16, "offset": 16})
RunLayout = data.StructLayout({"slot": 8, "zero": 8, "base": 16, "stride": 16, "blocks": 16, "destination": 16})
SpanLayout = data.StructLayout({"first": 16, "count": 16})  # READ and RESULTS


def _map_hash():
    """CRC-32 of all that hardware and driver must agree on, in canonical text."""
    names = [f"{kind.__name__}.{member.name}={int(member)}" for kind in (Kind, Error, Flags, Register)
             for member in kind]
    names += [f"{field}:{place.offset}:{place.width}"
              for layout in (WeightsLayout, VectorLayout, RunLayout, SpanLayout) for field, place in layout]
    names += [str(number) for number in (END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE, MAX_PAYLOAD, WINDOW_FRAMES,
                                         WINDOW_BYTES, REPLY, TRITS, ACCUMULATOR_BITS)]
    return zlib.crc32("\n".join(names).encode())


MAP_HASH = _map_hash()
