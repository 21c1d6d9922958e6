"""Links for tests: a virtual board in a thread, and wrappers of a transport that do what real links do to bytes."""

import contextlib
import random
import threading

from setun.hdl.array.codes import WORD_BITS
from setun.hdl.protocol import END
from setun.sim.rtl.board import serve
from setun.sim.rtl.transport import SimulatedTransport


@contextlib.contextmanager
def serving(simulator, line):
    """The line, while a thread serves it."""
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(simulator, line, stop))
    with line:
        thread.start()
        try:
            yield line
        finally:
            stop.set()
            thread.join()


class Noisy:
    """A transport on which at one byte in ``1 / rate`` some bytes are lost, changed, doubled, or change places with
    those behind them, or another comes, both ways."""

    def __init__(self, transport, rate, seed):
        self.transport, self.rate, self.rng = transport, rate, random.Random(seed)

    def damage(self, data):
        damaged, done = b"", 0
        while self.rate:
            start = done + int(self.rng.expovariate(self.rate))
            if start >= len(data):
                break
            middle = start + self.rng.choice([1, 1, 2, 8])
            end = middle + self.rng.choice([1, 1, 2, 8])
            piece, behind, other = data[start:middle], data[middle:end], self.rng.randrange(256)
            damaged += data[done:start] + self.rng.choice([
                behind, bytes([other]) + behind, bytes([other]) + piece + behind,
                bytes([piece[0] ^ 1 << other % 8]) + piece[1:] + behind, piece + piece + behind, behind + piece])
            done = end
        return damaged + data[done:]

    def exchange(self, request, replies, limit):
        return self.damage(self.transport.exchange(self.damage(request), replies, limit))

    def close(self):
        self.transport.close()


class Lazy:
    """A transport that keeps any part of what it carries, both ways, for later, and may not wait as long as asked."""

    def __init__(self, transport, seed):
        self.transport, self.rng = transport, random.Random(seed)
        self.outgoing = self.incoming = b""

    def part(self, data):
        size = len(data) if self.rng.random() < .8 else self.rng.randrange(len(data) + 1)
        return data[:size], data[size:]

    def exchange(self, request, replies, limit):
        now, self.outgoing = self.part(self.outgoing + request)
        limit = 2 * len(now) + limit // self.rng.choice([1, 4, 64])
        come, self.incoming = self.part(self.incoming + self.transport.exchange(now, replies, limit))
        return come

    def close(self):
        self.transport.close()


class Replaying:
    """A transport that now and then delivers frames of long ago once more, to the machine and from it."""

    def __init__(self, transport, seed):
        self.transport, self.rng, self.replayed = transport, random.Random(seed), 0
        self.sent, self.came = [], []

    def again(self, data, kept):
        kept += [bytes([END]) + body + bytes([END]) for body in data.split(bytes([END])) if body]
        if self.rng.random() < .6:
            self.replayed += 1
            data = b"".join(self.rng.choices(kept, k=2)) + data if kept else data
        return data

    def exchange(self, request, replies, limit):
        request = self.again(request, self.sent)
        return self.again(self.transport.exchange(request, replies, limit), self.came)

    def close(self):
        self.transport.close()


class Struck(SimulatedTransport):
    """Flips whether some weights are zero, of ``addresses`` in the first tile, before the exchange after ``left``."""
    addresses, left = (0,), 40

    def exchange(self, request, replies, limit):
        self.left -= 1
        for address in self.addresses if self.left == 0 else ():
            self.flip(0, 0, address, WORD_BITS - 1)
        return super().exchange(request, replies, limit)
