"""A virtual board: a simulated accelerator on a pseudo-terminal or a TCP port, like one on a serial cable."""

import contextlib
import fcntl
import os
import select
import socket
import struct
import threading
import tty
from pathlib import Path

from ...driver.transport import LinkError


__all__ = ["Listener", "Terminal", "serve"]


SLICE = 128  # cycles between looks at the line
QUIET_CYCLES = 1 << 18  # without a byte, after which the clock rests: longer than anything that is run takes
AHEAD = 1 << 16  # bytes that may wait for a client; then the device has to
PIECE = 4096  # bytes taken from the line at once
STOP_SECONDS = .1  # between looks at ``stop`` while the clock rests
TCGETS2, TERMIOS2 = 0x802C542A, struct.Struct("4I20B2I")  # Linux' asm-generic/termbits.h: any rate, in bits a second


class Terminal:
    """A pseudo-terminal in raw mode, a context manager. Bytes that nobody reads wait for whoever opens it next.

    Parameters
    ----------
    link : path | None
        Symbolic link to it, that is there inside the context.

    Members
    -------
    name : str
        Of the port that a client opens.
    baud : int
        That the client has set.
    """

    def __init__(self, link=None):
        # It keeps both ends: without a client's end reading fails.
        self._board, self._client = os.openpty()
        tty.setraw(self._client)
        os.set_blocking(self._board, False)
        self.name = self._client_name = os.ttyname(self._client)
        self._link = link and Path(link)
        if self._link:
            self.name = str(self._link)

    @property
    def baud(self):
        """Bits a second that the client has set on the pseudo-terminal."""
        *_, rate = TERMIOS2.unpack(fcntl.ioctl(self._board, TCGETS2, bytes(TERMIOS2.size)))
        return rate

    def wait(self, seconds, reads, writes):
        """Wait until there are bytes where it ``reads``, or room for some where it ``writes``; at most ``seconds``."""
        select.select([self._board] * reads, [self._board] * writes, [], seconds)

    def read(self):
        """Bytes that came, perhaps none."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._board, PIECE)
        return b""

    def write(self, data):
        """How many bytes of ``data`` were taken; those that nobody can get any more count as well."""
        with contextlib.suppress(BlockingIOError):
            return os.write(self._board, data)
        return 0

    def __enter__(self):
        if self._link:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self._client_name)
        return self

    def __exit__(self, *error):
        os.close(self._board)
        os.close(self._client)
        if self._link and self._link.is_symlink() and self._link.readlink() == Path(self._client_name):
            self._link.unlink()


class Listener:
    """A TCP port of this machine, for one client after another, with the methods of ``Terminal``.

    The port is taken at once, and clients are refused until the context is entered.

    Parameters
    ----------
    port : int
        0 takes a free one.

    Members
    -------
    name : str
        URL for pyserial.
    baud : None
        It has none.

    Raises LinkError where the port cannot be had, also when the context is entered.
    """

    baud = None

    def __init__(self, port=0):
        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with self._taken(port):
            self._server.bind(("localhost", port))
        self._client = None
        self.name = "socket://{}:{}".format(*self._server.getsockname())

    def wait(self, seconds, reads, writes):
        """Wait as Terminal does; for a client, where there is none. At most ``seconds``."""
        if self._client:
            select.select([self._client] * reads, [self._client] * writes, [], seconds)
        elif select.select([self._server], [], [], seconds)[0]:
            self._client, _ = self._server.accept()
            self._client.setblocking(False)
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self):
        """Bytes that came, perhaps none."""
        if self._client:
            try:
                if data := self._client.recv(PIECE):
                    return data
                self._hang_up()
            except BlockingIOError:
                pass
            except OSError:
                self._hang_up()
        return b""

    def write(self, data):
        """Number of bytes that were taken; all, where there is no client."""
        if self._client:
            try:
                return self._client.send(data)
            except BlockingIOError:
                return 0
            except OSError:
                self._hang_up()
        return len(data)

    def _hang_up(self):
        self._client.close()
        self._client = None

    @staticmethod
    @contextlib.contextmanager
    def _taken(port):
        try:
            yield
        except OSError as error:
            raise LinkError(f"TCP port {port}: {error.strerror}: choose another, or 0 for a free one") from error

    def __enter__(self):
        with self._taken(self._server.getsockname()[1]):
            self._server.listen(1)
        return self

    def __exit__(self, *error):
        if self._client:
            self._hang_up()
        self._server.close()


def serve(simulator, line, stop=threading.Event()):
    """Carry bytes between a ``Simulator`` and a line until ``stop`` is set, whatever the client does.

    The clock runs while there are bytes and some time longer, and rests then. The host at the serial line of a
    simulator that has one takes over the client's baud rate.
    """
    incoming, outgoing, quiet = b"", b"", QUIET_CYCLES
    while not stop.is_set():
        rests = quiet >= QUIET_CYCLES or len(outgoing) > AHEAD
        takes = len(incoming) < PIECE
        line.wait(STOP_SECONDS if rests else 0, takes, bool(outgoing))
        if takes:
            incoming += line.read()
        if outgoing:
            outgoing = outgoing[line.write(outgoing):]
        if simulator.baud and line.baud:
            simulator.baud = line.baud
        if len(outgoing) <= AHEAD and (incoming or not rests):
            sent, received = simulator.run(incoming, cycles=SLICE)
            incoming, outgoing = incoming[sent:], outgoing + received
            quiet = 0 if sent or received else quiet + SLICE
