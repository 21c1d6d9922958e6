"""The driver at a port whose other end does what boards and cables do."""

import contextlib
import itertools
import os
import select
import time
import tty
from types import SimpleNamespace

import pytest
import serial

from setun.driver.machine import Machine
from setun.driver.port import LATENCY, SerialTransport
from setun.driver.transport import LinkError, LinkTimeout
from setun.hdl.protocol import END
from setun.sim.rtl.board import Listener, Terminal
from tests.support.links import serving


FRAME = bytes([END, 1, 2, END])


class Answerer:
    """A Simulator that answers each byte with ``answer`` of it, and goes on for ever with ``babble``."""

    baud = None

    def __init__(self, answer, babble=b"", pause=0):
        self.answer, self.babble, self.pause = answer, babble, pause

    def run(self, tx, *, cycles):
        time.sleep(self.pause)
        return len(tx), b"".join(self.answer(byte) for byte in tx) + self.babble


@contextlib.contextmanager
def at(answer, babble=b"", pause=0, line=Terminal, latency=LATENCY):
    with serving(Answerer(answer, babble, pause), line()) as terminal:
        with contextlib.closing(SerialTransport(terminal.name, latency=latency)) as transport:
            yield transport


def once(data):
    """Answers with ``data``, and nothing after that."""
    left = [data]
    return lambda byte: left.pop() if left else b""


@pytest.mark.parametrize("line", [Terminal, Listener])
def test_carries_all_bytes(line):
    every = bytes(range(256)) * 8
    with at(lambda byte: bytes([byte]), line=line) as transport:
        assert transport.exchange(every, 8, limit=0) + transport.exchange(b"", 1, limit=0) == every


def test_low_latency(monkeypatch):
    """It is asked for, and a port that cannot do it works without: a pseudo-terminal, and a socket, which has no such
    method."""
    asked = []
    plain = serial.Serial.set_low_latency_mode

    def ask(port, value):
        asked.append(value)
        plain(port, value)

    monkeypatch.setattr(serial.Serial, "set_low_latency_mode", ask)
    for line in (Terminal, Listener):
        with at(lambda byte: bytes([byte]), line=line) as transport:
            assert transport.exchange(FRAME, 1, limit=0) == FRAME
    assert asked == [True]


def test_ends_with_the_last_frame(monkeypatch):
    """And not when its limit has gone by, after two hundred thousand looks."""
    looks = itertools.count()
    monkeypatch.setattr("setun.driver.port.time", SimpleNamespace(
        monotonic=time.monotonic, sleep=lambda seconds: (next(looks), time.sleep(seconds))))
    with at(lambda byte: FRAME if byte == 7 else b"") as transport:
        assert transport.exchange(b"\x07\x07\x00", 2, limit=10 ** 9) == FRAME * 2
        assert transport.exchange(b"\x07", 1, limit=10 ** 9) == FRAME
        assert next(looks) < 100_000
        assert transport.exchange(b"\x07", 2, limit=1000) == FRAME  # damaged ones may be fewer
        assert transport.exchange(b"", 0, limit=10 ** 9) == b""


@pytest.mark.parametrize("answer, babble, pause, error, message", [
    (lambda byte: b"", b"", 0, LinkTimeout, "did not answer a command: is this its port"),
    (once(bytes([END, 0x87, 1, 0])), b"", 0, LinkTimeout, "did not answer a command"),
    (lambda byte: b"", b"x", 0, LinkError, "not Setun's protocol"),
    (lambda byte: b"", b"x", .01, LinkTimeout, "did not answer a command"),
    (lambda byte: b"", FRAME, 0, LinkError, "not Setun's protocol"),
    (lambda byte: b"", FRAME, .01, LinkError, "not Setun's protocol"),
    (lambda byte: bytes([byte]), b"", 0, LinkTimeout, "did not answer a command"),
], ids=["stalled", "stops in a frame", "babbles", "babbles slowly", "babbles frames", "babbles frames slowly",
        "loops back"])
def test_bad_ends(answer, babble, pause, error, message):
    with at(answer, babble, pause, latency=.05) as transport, pytest.raises(error, match=message) as failure:
        Machine(transport)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("line", [Terminal, Listener])
def test_unplugged(line):
    with serving(Answerer(lambda byte: b""), line()) as terminal:
        transport = SerialTransport(terminal.name)
    with pytest.raises(LinkError, match=f"{transport.port}: the link broke: "):
        transport.exchange(b"", 1, limit=10 ** 9)
    with pytest.raises(LinkError, match="the link broke: "):
        transport.exchange(b"x", 1, limit=10 ** 9)
    transport.close()
    transport.close()


def test_two_drivers():
    with at(lambda byte: bytes([byte])) as transport:
        with pytest.raises(LinkError, match=f"{transport.port}: cannot be opened: another program uses it"):
            SerialTransport(transport.port)
        assert transport.exchange(FRAME, 1, limit=0) == FRAME
        transport.close()
        with contextlib.closing(SerialTransport(transport.port)) as again:
            assert again.exchange(FRAME, 1, limit=0) == FRAME


def test_takes_no_bytes(monkeypatch):
    """The other end reads nothing and is full."""
    monkeypatch.setattr("setun.driver.port.WRITE_SECONDS", .2)
    board, client = os.openpty()
    tty.setraw(client)
    with contextlib.closing(SerialTransport(os.ttyname(client))) as transport:
        with pytest.raises(LinkError, match="the link broke: it takes no more bytes"):
            for _ in range(100):
                transport.exchange(bytes(10_000), 0, limit=0)
    assert select.select([board], [], [], 0)[0]
    os.close(board)
    os.close(client)


@pytest.mark.parametrize("port, words", [
    ("/dev/no-such-port", "No such file or directory"),
    ("/dev/null", "it is no serial port"),
    ("socket://localhost:1", "Connection refused"),
    ("nothing://here", "protocol 'nothing' not known"),
    ("socket://localhost", "a URL is like socket://localhost:5555"),
    ("socket://localhost:99999", "a URL is like socket://localhost:5555"),
    ("socket://no-such-host.invalid:5555", "(not known|No address|name resolution)"),
])
def test_cannot_be_opened(port, words):
    with pytest.raises(LinkError, match=f"{port}: cannot be opened: .*{words}") as failure:
        SerialTransport(port)
    assert "\n" not in str(failure.value)


def test_no_such_rate():
    board, client = os.openpty()
    with pytest.raises(LinkError, match="cannot be opened: no port has such a baud rate"):
        SerialTransport(os.ttyname(client), 1 << 31)
    os.close(board)
    os.close(client)
