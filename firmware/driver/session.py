"""Commands over a link that loses and damages bytes: how many go ahead, what is sent again, and when to give up."""

import random
from itertools import accumulate, islice
from typing import NamedTuple

from .. import errors
from ..hdl.protocol import (
    ANSWER_BYTES,
    CRC_BYTES,
    REFUSED,
    REPLY,
    WINDOW_BYTES,
    WINDOW_FRAMES,
    ArgumentsLayout,
    Command,
    Refusal,
)
from .frames import Decoder, FrameError, encode
from .transport import LinkError, LinkTimeout


__all__ = ["ATTEMPTS", "CYCLE_MARGIN", "DOUBLINGS", "OLD", "Order", "RefusedError", "SILENCE", "Session",
           "link_failure"]


ATTEMPTS = 32  # without any answer; 1 KB frames at a thousandth of damaged bytes take 32 once in a million times
OLD = 128  # answers that are nothing, read in an attempt
SILENCE = 5  # attempts that one counts as in which nothing comes back
DOUBLINGS = 6  # of the wait, at most
CYCLE_MARGIN = 10_000  # cycles that an answer may take beyond what its command does
REPEATED = (Command.READ, Command.WAIT)  # that have no effect, and are executed anew when they are sent again
DAMAGED = (Refusal.CRC, Refusal.LENGTH)


class RefusedError(errors.Error):
    """The machine refused a command: ``reason`` says why."""

    def __init__(self, command, reason):
        super().__init__(f"the accelerator refused {command.name}: {reason.name}")
        self.command, self.reason = command, reason


class Order(NamedTuple):
    """A command and its arguments, as hdl.protocol.ArgumentsLayout, and the bytes behind them.

    Raises ValueError where it is encoded and a value is beyond its field.
    """
    command: Command
    space: int = 0
    address: int = 0
    count: int = 0
    size: int = 0
    data: bytes = b""

    def payload(self, session, number):
        """Of its frame."""
        fields = {"session": session, "turn": number >> 8, "space": self.space, "address": self.address,
                  "count": self.count, "bytes": self.size}
        for name, value in fields.items():
            if not 0 <= value < 1 << ArgumentsLayout[name].width:
                raise ValueError(f"{name} = {value} is beyond the {ArgumentsLayout[name].width} bits of its field")
        arguments = ArgumentsLayout.const({name: int(value) for name, value in fields.items()}).as_value().value
        return arguments.to_bytes(ArgumentsLayout.size // 8, "little") + self.data


class _Attempt:
    """What came back when commands were sent once.

    Parameters
    ----------
    session : int
    orders : dict
        Order by its number.

    Members
    -------
    found : dict
        What was read, by the number of its command.
    damaged : int
        Frames that came damaged.
    refused : int
        Frames that say that the machine got a damaged one, or lacks one before it.
    ended : bool
        The last command was answered, and answers come in order.
    """

    def __init__(self, session, orders):
        self.session, self.orders, self.found, self.damaged, self.refused = session, orders, {}, 0, 0
        self.ended = False

    @property
    def missing(self):
        """Commands of which nothing is known."""
        return max(len(self.orders) - len(self.found) - self.damaged - self.refused, 0)

    def take(self, frame):
        """Judge what came; an answer to anything but ``orders`` is old, and nothing. Raises RefusedError, and LinkError
        where the session has ended."""
        if isinstance(frame, FrameError):
            self.damaged += 1
            return
        kind, sequence, payload = frame
        session, turn = int.from_bytes(payload[:2], "little"), int.from_bytes(payload[2:ANSWER_BYTES], "little")
        number, rest = turn << 8 | sequence, payload[ANSWER_BYTES:]
        if kind == REFUSED:
            reason = Refusal(rest[0]) if len(rest) == 1 and rest[0] in list(Refusal) else Refusal.NONE
            ours = session == self.session and number in self.orders
            if reason in DAMAGED and not ours or ours and reason == Refusal.ORDER:
                self.refused += 1
                self.ended |= ours and number == list(self.orders)[-1]
            elif ours and reason == Refusal.SESSION:
                raise LinkError("the accelerator was restarted, or another program has opened it: start again")
            elif ours and reason:
                raise RefusedError(self.orders[number].command, reason)
        elif session == self.session and number in self.orders and number not in self.found:
            order = self.orders[number]
            if kind == order.command | REPLY and len(rest) == order.size * (order.command == Command.READ):
                self.found[number] = rest
                self.ended |= number == list(self.orders)[-1]


class Session:
    """A session of commands with one machine.

    Each command has a number, that all its copies carry, and the machine executes each number once and in order. So
    whatever the link does to bytes and frames, it is lost, damaged, doubled, delayed or delivered again much later, no
    command is executed twice or too early, but for those that have no effect; and an answer belongs to its command.
    Commands without effect are never in one window with others, so that it does not matter when they are executed anew.
    What is excluded: hdl.protocol says it.

    Parameters
    ----------
    transport : setun.driver.transport.Transport

    Members
    -------
    repeated : int
        Frames that were sent again.
    sent, received : int
        Bytes that crossed the link to the machine, and from it.
    exchanges : int
        How often commands were sent and their answers awaited: each costs the link's latency once.

    Raises LinkError where no answer comes.
    """

    def __init__(self, transport):
        self.transport, self.repeated = transport, 0
        self.sent = self.received = self.exchanges = 0
        self._decoder, self._session, self._number = Decoder(), random.randrange(1 << 16), 0
        self.transact([Order(Command.OPEN)])

    def transact(self, orders, cycles=0):
        """What was read by each command, b"" of those that read nothing.

        ``cycles`` is what the machine may need beyond a cycle or two for every byte. Raises RefusedError where a
        command is refused, LinkTimeout where no answer comes, and LinkError where the link is broken, nothing sound
        comes, or the session has ended.
        """
        orders = list(orders)
        numbers = dict(enumerate(orders, self._number))
        self._number += len(orders)
        answers, sent = {}, -1
        spent = doublings = damaged = refused = 0
        while missing := [number for number in numbers if number not in answers]:
            batch = missing[:_window([numbers[number] for number in missing])]
            self.repeated += sum(number <= sent for number in batch)
            sent = max(sent, batch[-1])
            attempt = self._attempt({number: numbers[number] for number in batch}, cycles, doublings)
            answers |= attempt.found
            if attempt.found:
                spent = doublings = damaged = refused = 0
                continue
            damaged, refused = damaged + attempt.damaged, refused + attempt.refused
            silent = not attempt.damaged and not attempt.refused
            doublings = min(doublings + silent, DOUBLINGS)
            spent += SILENCE if silent else 1
            if spent >= ATTEMPTS:
                raise link_failure(len(missing), damaged, refused)
        return [answers[number] for number in numbers]

    def _attempt(self, orders, cycles, doublings):
        """Send commands that fit the window, once, and wait."""
        request = b"".join(encode(order.command, number & 255, order.payload(self._session, number))
                           for number, order in orders.items())
        attempt = _Attempt(self._session, orders)
        limit = (cycles + CYCLE_MARGIN * (1 + len(orders)) + 4 * len(request)) << doublings
        self.sent, self.exchanges = self.sent + len(request), self.exchanges + 1
        for _ in range(OLD):  # each brings a frame at least
            received = self.transport.exchange(request, attempt.missing, limit)
            self.received += len(received)
            frames = self._decoder.feed(received)
            for frame in frames:
                attempt.take(frame)
            request = b""
            if not frames or not attempt.missing or attempt.ended:
                break
        return attempt


def _window(orders):
    """How many commands, the first ones, may be ahead of their answers."""
    repeats = orders[0].command in REPEATED
    alike = next((index for index, order in enumerate(orders) if (order.command in REPEATED) != repeats), len(orders))
    sizes = accumulate(ArgumentsLayout.size // 8 + len(order.data) + CRC_BYTES
                       for order in islice(orders, min(alike, WINDOW_FRAMES)))
    return sum(size <= WINDOW_BYTES for size in sizes)


def link_failure(count, damaged, refused):
    """The LinkError of commands that were not answered, by how many frames came damaged, and how many the machine
    found so."""
    commands = f"{count} commands" if count > 1 else "a command"
    if refused:
        return LinkError(f"{commands} came damaged to the accelerator, again and again: is the baud rate right, and "
                         "the cable sound?")
    if damaged:
        return LinkError("what comes over the link is not Setun's protocol: is the baud rate right, and is this the "
                         "accelerator's port?")
    return LinkTimeout(f"the accelerator did not answer {commands}: is this its port, is the board programmed, and is "
                       "the baud rate right?")
