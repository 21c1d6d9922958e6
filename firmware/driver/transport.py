"""What carries frames between the driver and a device, and how it fails."""

from typing import Protocol

from ..errors import Error


__all__ = ["LinkError", "LinkTimeout", "Transport"]


class LinkError(Error):
    """The link does not work, or what came over it makes no sense."""


class LinkTimeout(LinkError, TimeoutError):
    """The device has not answered in the time it was given."""


class Transport(Protocol):
    """Bytes to a device and back. Frames and their repetition are the driver's business."""

    def exchange(self, request: bytes, replies: int, limit: int) -> bytes:
        """Send ``request`` whole, and return the bytes received when ``replies`` frames are complete, damaged ones too,
        or when nothing more comes: fewer bytes then, or none.

        The bytes may begin with what an earlier exchange left behind, and they are not checked. An empty request waits
        on. ``limit`` bounds the wait, in cycles of the device's clock; a real link takes as much time, and what its own
        speed and buffers need.

        Raises LinkError where the link is closed or broken.
        """
        ...

    def close(self) -> None:
        """Release the link. Nothing follows but further calls of ``close``."""
        ...
