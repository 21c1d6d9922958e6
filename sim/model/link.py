"""How long a product takes over a serial line, in closed form and without simulating it."""

from typing import NamedTuple

from ...hdl.protocol import CRC_BYTES, HEADER_BYTES, Kind


__all__ = ["LINE_BITS", "Time", "frame_bytes", "product_time"]


LINE_BITS = 10  # of a byte, 8N1
ENDS = 2
ESCAPES = 2 / 256  # END and ESCAPE become two bytes
ROUNDING = 1e-3  # cycles


class Time(NamedTuple):
    """Of a product, from its first byte to the answer to its last command."""
    cycles: float  # of the device's clock
    sent: float  # bytes to the device
    received: float
    exchanges: int

    def __add__(self, other):
        return Time(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))


def frame_bytes(payload):
    """Bytes of a frame with ``payload`` bytes on the line; bytes are escaped as often as in uniform ones."""
    return ENDS + (HEADER_BYTES + payload + CRC_BYTES) * (1 + ESCAPES)


def product_time(exchanges, *, byte, latency, vector, runs, idle=False):
    """Time of a product whose commands cross a serial line.

    Commands are executed in their order, each when it has come whole: a payload is taken a byte a cycle, RESULTS waits
    for its run, and all but a piece of the vector for the list. Answers leave in the same order, while later commands
    come. An exchange ends with its last answer, and the next begins ``latency`` later; runs and lists go on meanwhile.
    What a command takes beside that, some 60 cycles, is left out.

    Parameters
    ----------
    exchanges : iterable of (list of setun.driver.plan.Command, how often)
    byte : float
        Cycles of a byte on the line.
    latency : float
        Cycles from the last byte of an exchange to the first of the next, both ways together.
    vector : float
        Cycles to quantise and list the vector when its last byte is there.
    runs : list of float
        Cycles of the array for each chunk, waits for weights from a memory included.
    idle : bool
        The line alone: the device takes no time.
    """
    now, sent, received, count = 0.0, 0.0, 0.0, 0
    done = listed = finished = 0.0  # the command before, the list, the run
    for commands, times in exchanges:
        out = sum(frame_bytes(command.payload) for command in commands)
        back = sum(frame_bytes(command.reply) for command in commands)
        sent, received, count = sent + times * out, received + times * back, count + times
        took = None
        while times:
            start = arrival = replied = now
            for command in commands:
                arrival += frame_bytes(command.payload) * byte
                done = max(arrival, done)
                if not idle:
                    if command.kind == Kind.VECTOR:
                        done += command.payload
                        listed = done + vector
                    else:
                        done = max(done, listed)
                    if command.kind == Kind.WEIGHTS:
                        done += command.payload
                    elif command.kind == Kind.RUN:
                        finished = max(done, finished) + runs[command.chunk]
                    elif command.kind == Kind.RESULTS:
                        done = max(done, finished)
                replied = max(done, replied) + frame_bytes(command.reply) * byte
            now, times = replied + latency, times - 1
            if took is not None and abs(now - start - took) < ROUNDING:  # and so will the others
                done, now, times = done + times * took, now + times * took, 0
            took = now - start
    return Time(now, sent, received, count)
