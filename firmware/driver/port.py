"""The link over a serial port, or whatever else pyserial opens."""

import contextlib
import errno
import os
import time

import serial

from ..driver.transport import LinkError
from ..hdl.protocol import END, LONGEST, WINDOW_FRAMES


__all__ = ["BAUD", "LATENCY", "SerialTransport"]


BAUD = 3_000_000  # unless given
CLOCK = 10_000_000  # cycles a second of the slowest device
LATENCY = .25  # seconds, unless given, that drivers and USB may keep bytes; an FTDI's timer is 16 ms
PATIENCE = 2  # times as long may an exchange take in all, where bytes keep coming
WRITE_SECONDS = 2  # beyond what the bytes take on the line
POLL_SECONDS = .0005
BITS = 10  # of a byte on the line
PIECE = 4096  # bytes read at once


class SerialTransport:
    """A device at a serial port, as a ``Transport``.

    An exchange takes, where bytes are missing, ``limit`` at 10 MHz, the latency and the time of its bytes on the line
    from the last byte on, and twice that in all.

    Parameters
    ----------
    port : str
        Name of the port, or a URL of pyserial: ``/dev/ttyUSB0``, ``socket://localhost:5555``.
    baud : int
        Bits a second, 8N1.
    latency : float
        Seconds that bytes may take beyond their time on the line: on their way, or in a device that is simulated.

    Raises LinkError where the port cannot be opened, or another program has it.
    """

    def __init__(self, port, baud=BAUD, latency=LATENCY):
        self.port, self.baud, self.latency = port, baud, latency
        self._length = 0  # bytes since an END
        try:
            self._serial = serial.serial_for_url(
                port, baudrate=baud, timeout=0, write_timeout=WRITE_SECONDS + WINDOW_FRAMES * LONGEST * BITS / baud,
                exclusive=True)
        except (OSError, OverflowError, ValueError) as error:
            raise LinkError(f"{port}: cannot be opened: {_reason(error)}") from error
        # An FTDI then hands over what it has after 1 ms and not after 16. Not all systems and ports can be asked.
        with contextlib.suppress(AttributeError, NotImplementedError, OSError, ValueError):
            self._serial.set_low_latency_mode(True)

    def exchange(self, request, replies, limit):
        """Send ``request`` and return what comes; as of ``Transport``; raises LinkError where the link breaks."""
        line = BITS / self.baud
        quiet = limit / CLOCK + self.latency + line * len(request)
        most = (replies + WINDOW_FRAMES) * LONGEST  # bytes, of replies and of what an earlier exchange left
        received = b""
        try:
            self._serial.write(request)
            now = time.monotonic()
            end, silence = now + PATIENCE * quiet + line * most, now + quiet
            while replies > 0 and len(received) < most:
                now = time.monotonic()  # before looking: who was away for long looks once more
                taken = self._serial.read(PIECE)
                replies -= self._frames(taken)
                received += taken
                if taken:
                    silence = now + quiet
                elif replies > 0:
                    time.sleep(POLL_SECONDS)
                if now >= min(end, silence):
                    break
        except (OSError, ValueError) as error:
            raise LinkError(f"{self.port}: the link broke: {_reason(error)}") from error
        return received

    def _frames(self, taken):
        """Frames that end in what was taken; one that is too long ends, too."""
        count = 0
        for byte in taken:
            ends = byte == END or self._length > LONGEST
            count += ends and self._length > 0
            self._length = 0 if ends else self._length + 1
        return count

    def close(self):
        """Close the port; also twice."""
        self._serial.close()


def _reason(error):
    if isinstance(error, serial.SerialTimeoutException):
        return "it takes no more bytes"
    cause = error.__context__ if isinstance(error.__context__, OSError) else error
    code = getattr(cause, "errno", None)
    if "configure port" in str(error):  # pyserial's words for a device that has no baud rate
        return "it is no serial port"
    if code in (errno.EAGAIN, errno.EBUSY):
        return "another program uses it"
    if isinstance(error, OverflowError):
        return "no port has such a baud rate"
    if isinstance(error.__context__, (KeyError, TypeError)):  # pyserial stumbled over what it was given
        return "a URL is like socket://localhost:5555"
    if code and code > 0:
        return os.strerror(code)  # pyserial's own words quote the port again
    return getattr(cause, "strerror", None) or str(error).splitlines()[0]
