"""Commands over a link that loses and damages bytes: how many go ahead, what is sent again, and when to give up."""

import random
from itertools import accumulate, islice

from .. import errors
from ..hdl.protocol import CRC_BYTES, REPLY, WINDOW_BYTES, WINDOW_FRAMES, Error, Kind
from .frames import Decoder, FrameError, encode
from .session import ATTEMPTS, CYCLE_MARGIN, DOUBLINGS, OLD, SILENCE, link_failure


__all__ = ["ATTEMPTS", "DeviceError", "Link", "window"]


ERRORS = {bytes([error]): error for error in Error}  # by the payload of their frame


class DeviceError(errors.Error):
    """The device refused a command: ``error`` says why."""

    def __init__(self, kind, error):
        super().__init__(f"the accelerator refused {kind.name}: {error.name}")
        self.kind, self.error = kind, error


class Attempt:
    """What came back when commands were sent once.

    Parameters
    ----------
    kinds : dict
        Kind of each command by its sequence.

    Members
    -------
    found : dict
        Payload of each answer by its sequence.
    damaged : int
        Frames that came damaged.
    refused : int
        Frames that say that the device got a damaged one.
    waits : bool
        A command has neither an answer nor a sign of damage, and may still be answered.
    """

    def __init__(self, kinds):
        self.kinds, self.found, self.damaged, self.refused = kinds, {}, 0, 0

    @property
    def missing(self):
        """Commands of which nothing is known."""
        return len(self.kinds) - len(self.found) - self.damaged - self.refused

    @property
    def waits(self):
        return self.missing > 0 and list(self.kinds)[-1] not in self.found  # answers come in order

    def take(self, frame):
        """Judge what came. An answer to anything but ``kinds`` is old, and nothing. Raises DeviceError."""
        if isinstance(frame, FrameError):
            self.damaged += 1
            return
        reply, sequence, payload = frame
        error = ERRORS.get(payload) if reply == Kind.ERROR else None
        if error in (Error.CRC, Error.LENGTH):  # its sequence may be damaged
            self.refused += 1
        elif sequence in self.kinds and sequence not in self.found:
            if error:
                raise DeviceError(self.kinds[sequence], error)
            if reply == self.kinds[sequence] | REPLY:
                self.found[sequence] = payload


class Link:
    """Sends commands, and sends again those that were not answered.

    Covered are links that lose, damage and add bytes, that double a few bytes or exchange them with their neighbours
    (all of which leaves a frame that CRC-32 refuses, but for one in 2 ** 32), and that delay bytes and keep their
    order. Not covered are links that deliver a whole frame again after others: the device executes an old command as
    if it were new, and its answer may carry a sequence that is waited for. Values can then be wrong and no error tells
    of it. A serial line does not do that; a relay that replays what it has buffered would.

    Frames are executed and answered in order. Each copy of a frame has a sequence of its own, and only the answer to
    the last copy counts. So when the frame that was sent last is answered, all copies before it have been executed or
    lost, and their answers are read: ``transact`` returns in that state, and the commands of the next call never mix
    with copies of these. A sequence stands for one frame, for far fewer than 256 are sent before one is answered.

    Parameters
    ----------
    transport : setun.driver.transport.Transport

    Members
    -------
    repeated : int
        Frames that were sent again.
    sent, received : int
        Bytes that crossed the link to the device, and from it.
    exchanges : int
        How often commands were sent and their answers awaited: each costs the link's latency once.
    """

    def __init__(self, transport):
        self.transport, self.repeated = transport, 0
        self.sent = self.received = self.exchanges = 0
        self._decoder, self._sequence = Decoder(), random.randrange(256)  # not that of the session before

    def transact(self, commands, cycles=0):
        """Payloads of the answers to commands, (kind, payload) each, of which each may be executed again and after
        those behind it, as often as it takes.

        ``cycles`` is what the device may need beyond a cycle or two for every byte. Raises DeviceError where a command
        is refused, LinkTimeout where no answer comes, and LinkError where the link is broken or nothing sound comes;
        copies may then still be on their way, and a new Link, that begins with RESET, is in order.
        """
        answers, sent = {}, 0
        spent = doublings = damaged = refused = 0
        while missing := [index for index in range(len(commands)) if index not in answers]:
            batch = missing[:window(len(commands[index][1]) for index in missing)]
            self.repeated += sum(index < sent for index in batch)
            sent = max(sent, batch[-1] + 1)
            attempt = self._attempt([commands[index] for index in batch], cycles, doublings)
            answers |= {batch[place]: attempt.found[sequence] for place, sequence in enumerate(attempt.kinds)
                        if sequence in attempt.found}
            if attempt.found:
                spent = doublings = damaged = refused = 0
                continue
            damaged, refused = damaged + attempt.damaged, refused + attempt.refused
            silent = not attempt.damaged and not attempt.refused
            doublings = min(doublings + silent, DOUBLINGS)
            spent += SILENCE if silent else 1
            if spent >= ATTEMPTS:
                raise link_failure(len(missing), damaged, refused)
        return [answers[index] for index in range(len(commands))]

    def _attempt(self, commands, cycles, doublings):
        """Send commands that fit the window, once, and wait."""
        kinds, frames = {}, []
        for kind, payload in commands:
            self._sequence = (self._sequence + 1) % 256
            kinds[self._sequence] = kind
            frames.append(encode(kind, self._sequence, payload))
        attempt, request = Attempt(kinds), b"".join(frames)
        limit = (cycles + CYCLE_MARGIN * (1 + len(frames)) + 4 * len(request)) << doublings
        self.sent, self.exchanges = self.sent + len(request), self.exchanges + 1
        for _ in range(OLD):  # each brings a frame at least
            received = self.transport.exchange(request, attempt.missing, limit)
            self.received += len(received)
            frames = self._decoder.feed(received)
            for frame in frames:
                attempt.take(frame)
            request = b""
            if not frames or not attempt.waits:
                break
        return attempt


def window(payloads):
    """How many commands, the first ones, may be ahead of their answers; ``payloads`` are the bytes of each."""
    sizes = accumulate(payload + CRC_BYTES for payload in islice(payloads, WINDOW_FRAMES))
    return sum(size <= WINDOW_BYTES for size in sizes)
