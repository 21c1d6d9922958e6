"""The check of a frame."""

from functools import reduce
from operator import xor

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["Crc"]


BITS = 32
POLYNOMIAL = 0xedb88320  # CRC-32 of zlib, bit 0 being the highest power
RESIDUE = 0x2144df1c  # of any bytes and their own CRC


def _remainder(value):
    """What eight zero bits more make of a register."""
    for _ in range(8):
        value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return value


REMAINDERS = [_remainder(1 << bit) for bit in range(8)]


class Crc(wiring.Component):
    """CRC of bytes, a byte a cycle; zlib.crc32.

    Members
    -------
    valid : In(1)
        ``data`` is the next byte, and in ``crc`` in the cycle after.
    data : In(8)
    shift : In(1)
        With ``valid``: no byte comes, but the low one of ``crc`` goes, and the next takes its place.
    start : In(1)
        Forget all bytes, one that comes now as well.
    crc : Out(32)
    matches : Out(1)
        The last bytes are the CRC of those before them, low bytes first.
    """

    valid: In(1)
    data: In(8)
    shift: In(1)
    start: In(1)
    crc: Out(BITS)
    matches: Out(1)

    def elaborate(self, platform):
        m = Module()
        register, low = Signal(BITS, init=-1), Signal(8)
        m.d.comb += [
            low.eq(Mux(self.shift, 0, self.data ^ register)),
            self.crc.eq(~register),
            self.matches.eq(self.crc == RESIDUE),
        ]
        rest = register >> 8
        with m.If(self.valid):
            m.d.sync += register.eq(Cat(
                reduce(xor, (low[bit] for bit in range(8) if REMAINDERS[bit] >> place & 1), rest[place])
                for place in range(BITS)))
        with m.If(self.start):
            m.d.sync += register.eq(-1)
        return m
