"""What host and machine say to each other: frames, commands, answers, memory spaces and registers.

The one definition: hardware, driver and the reference machine import it.

A frame is ``END body END``, where ``body`` is escaped as in SLIP (RFC 1055) and consists of

    kind u8, sequence u8, length u16, payload (length bytes), CRC-32 u32

with all integers little-endian and the CRC that of Ethernet and zlib over all that stands before it. The device answers
each frame in order with one frame that carries the same sequence: the command's kind with REPLY added, or REFUSED. Two
ENDs with nothing between them are no frame. Beside the frame that it executes a device has room for WINDOW_FRAMES
frames, and for WINDOW_BYTES bytes of payload and CRC in them: a driver sends no more ahead of their answers, for not
every link can stop it.

The payload of every command begins with the fields of ArgumentsLayout:

    session u16, turn u24, space u8, address u24, count u16, bytes u16

Commands of a session are numbered from 0, which is OPEN's; the low byte of the number is the frame's sequence, the
upper three are ``turn``. The machine executes each number once and in order:

- the next number is executed, and refused with a reason where that is wrong; it then stays the next,
- a smaller one was executed before: READ and WAIT are executed again, any other command is only acknowledged,
- a larger one, before which a frame was lost, is refused (ORDER), and so is another session (SESSION).

So a command may be sent again at any time, late, and in any order. What is excluded: a frame of an earlier session that
is delivered again, while another session with the same number of 16 bits is open and has come to the same command.

=====  ==========================================================================================================
OPEN   begin the session; another one ends, what runs is stopped, and the first position comes next
READ   ``bytes`` bytes of ``count`` words of ``space`` from ``address`` on
WRITE  as many words, whose ``bytes`` bytes follow
GO     run the tokens of ``count`` positions from ``address`` on, which is at most the register POSITION
WAIT   be answered when ``address`` is reached, or nothing runs, or ``count`` times 1,024 cycles are over
=====  ==========================================================================================================

An answer begins with ``session`` and ``turn``; behind them comes what was read, or the Refusal, a byte. What is refused
has no effect, but for a WRITE whose bytes are not those of its words (LENGTH, CODE): it may have written
some of its words.

While tokens are run, only TOKENS and REGISTERS may be read or written.
"""

import dataclasses
import zlib

from amaranth.lib import data, enum

from .instructions import OPCODES, SCALAR_BITS, word_bits


__all__ = ["ANSWER_BYTES", "ARGUMENT_BYTES", "ArgumentsLayout", "CRC_BYTES", "Command", "END", "ESCAPE", "ESCAPED_END",
           "ESCAPED_ESCAPE", "Error", "SIZES", "HEADER_BYTES", "LIVE", "LONGEST", "MAGIC", "MAP_HASH",
           "MAX_PAYLOAD", "MAX_READ", "MAX_WRITE", "NO_TOKEN", "REFUSED", "REPLY", "Refusal", "Register", "SETTINGS",
           "Space", "State", "VERSION", "WAIT_UNIT", "WINDOW_BYTES", "WINDOW_FRAMES", "space_sizes", "word_bytes"]


END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE = 0xc0, 0xdb, 0xdc, 0xdd
HEADER_BYTES = 4
CRC_BYTES = 4
MAX_PAYLOAD = 1000
LONGEST = 2 * (HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES)  # bytes of an escaped body
WINDOW_FRAMES = 4
WINDOW_BYTES = 2 * (MAX_PAYLOAD + CRC_BYTES)
REPLY = 0x80
REFUSED = 0xff  # kind of the answer to a frame that was refused


class Error(enum.IntEnum, shape=3):
    """What is wrong with a frame as such."""
    NONE = 0
    CRC = 1  # damaged on the way
    LENGTH = 2  # shorter or longer than its length field says


MAGIC = int.from_bytes(b"SETN", "little")
VERSION = 2
NO_TOKEN = (1 << 32) - 1
WAIT_UNIT = 1024  # cycles


class Command(enum.IntEnum, shape=8):
    """Kinds of frames."""
    OPEN = 0x11
    READ = 0x12
    WRITE = 0x13
    GO = 0x14
    WAIT = 0x15


class Refusal(enum.IntEnum, shape=4):
    """Why a command was refused. The first three are of the frame, as those of Error."""
    NONE = 0
    CRC = 1  # damaged on the way
    LENGTH = 2  # bytes are missing, or there are more
    KIND = 3  # no such command
    RANGE = 4  # no such space, or words or positions beyond it
    CODE = 5  # a weight byte that stands for no trits
    ORDER = 6  # a command before it is missing
    SESSION = 7  # none is open, or another
    BUSY = 8  # tokens are run


class Space(enum.IntEnum, shape=3):
    """Memories, and the bytes of a word on the link."""
    WEIGHTS = 0  # for each bank, for each tile a byte: written in the byte code, read as an int8 that its trits are
    RESULTS = 1  # for each lane three bytes, signed
    ELEMENTS = 2  # the same
    SCALARS = 3  # four bytes: mantissa, and exponent above it
    PROGRAM = 4  # an instruction
    TOKENS = 5  # two bytes
    REGISTERS = 6  # four bytes


LIVE = (Space.TOKENS, Space.REGISTERS)  # that are there while tokens are run


class Register(enum.IntEnum, shape=8):
    """Addresses of the registers, of 32 bits."""
    MAGIC = 0
    VERSION = 1
    MAP = 2  # hash of the definitions
    BANKS = 3
    TILES = 4
    DEPTH = 5
    RESULTS = 6
    ELEMENTS = 7
    SCALARS = 8
    INSTRUCTIONS = 9
    COLUMNS = 10
    SILU = 11
    VOCABULARY = 12
    CONTEXT = 13
    STATE = 14  # State
    POSITION = 15  # that comes next; those before it were run in this session
    CYCLES = 16  # since GO, while tokens are run
    GIVEN = 17  # tokens that the host wrote: what comes at these positions is not replaced
    LAST_TOKEN = 18  # the model's largest token
    END_TOKEN = 19  # ends a text where it is generated; NO_TOKEN: none does
    LIMIT = 20  # position that is not run any more; GO sets it, and a smaller one stops the machine after a token
    SEED = 21  # of the noise that is added to logits


# That the host writes.
SETTINGS = Register.GIVEN, Register.LAST_TOKEN, Register.END_TOKEN, Register.LIMIT, Register.SEED
SIZES = {"banks": Register.BANKS, "tiles": Register.TILES, "depth": Register.DEPTH, "results": Register.RESULTS,
            "elements": Register.ELEMENTS, "scalars": Register.SCALARS, "instructions": Register.INSTRUCTIONS,
            "columns": Register.COLUMNS, "silu": Register.SILU, "vocabulary": Register.VOCABULARY,
            "context": Register.CONTEXT}


class State(enum.IntEnum, shape=3):
    """What the machine does, or why it stopped."""
    IDLE = 0
    RUNNING = 1
    LIMIT = 2  # all positions were run
    END_TOKEN = 3
    ILLEGAL = 4  # an instruction that is none
    WATCHDOG = 5  # a program of one token that does not end


ArgumentsLayout = data.StructLayout({"session": 16, "turn": 24, "space": 8, "address": 24, "count": 16, "bytes": 16})
ARGUMENT_BYTES = ArgumentsLayout.size // 8
ANSWER_BYTES = 5  # session and turn
MAX_READ = MAX_PAYLOAD - ANSWER_BYTES
MAX_WRITE = MAX_PAYLOAD - ARGUMENT_BYTES


def word_bytes(space, config):
    """Bytes of one item of a space on the link: a word, or a lane's part of it, or a tile's."""
    return {Space.WEIGHTS: 1, Space.RESULTS: 3, Space.ELEMENTS: 3, Space.SCALARS: -(-sum(SCALAR_BITS) // 8),
            Space.PROGRAM: -(-word_bits(config) // 8), Space.TOKENS: 2, Space.REGISTERS: 4}[space]


def space_sizes(config):
    """{Space: words}. Behind the last position there is a place for the token that it gives."""
    return {Space.WEIGHTS: config.depth, Space.RESULTS: config.results, Space.ELEMENTS: config.elements,
            Space.SCALARS: config.scalars, Space.PROGRAM: config.instructions, Space.TOKENS: config.context + 1,
            Space.REGISTERS: len(Register)}


def _map_hash():
    """CRC-32 of all that hardware and driver must agree on, in canonical text."""
    names = [f"{kind.__name__}.{member.name}={int(member)}" for kind in (Command, Refusal, Space, Register, State)
             for member in kind]
    names += [f"{field}:{place.offset}:{place.width}" for field, place in ArgumentsLayout]
    names += [f"{kind.__name__}.{field.name}:{getattr(field.type, '__name__', field.type)}" for kind in OPCODES
              for field in dataclasses.fields(kind)]
    return zlib.crc32("\n".join(names).encode())


MAP_HASH = _map_hash()
