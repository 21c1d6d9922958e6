"""What is built of texts and tools, kept under a key of all it is made from."""

import hashlib
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from . import toolchain


__all__ = ["cached", "digest"]


LOCK_SECONDS = 12 * 3600  # longer than any build


def digest(*parts, packages=toolchain.PACKAGES):
    """Key of a build: a hash of all it is made from, and of the versions of the ``packages`` that make it."""
    return hashlib.sha256("\0".join([toolchain.versions(packages), *parts]).encode()).hexdigest()[:20]


def cached(folder, key, build):
    """The folder ``folder / key``, made by ``build(path)`` the first time.

    It appears complete or not at all; of processes that want the same key at the same time one builds and the others
    wait. Raises ToolError where the wait is too long, or toolchain.stop() ends it.
    """
    result = Path(folder) / key
    if result.exists():
        return result
    result.parent.mkdir(parents=True, exist_ok=True)
    try:
        with toolchain.stoppable() as stopped:
            held = FileLock(result.with_suffix(".lock")).acquire(timeout=LOCK_SECONDS, cancel_check=stopped.is_set)
    except Timeout:
        raise toolchain.ToolError(f"another process builds {result}, and has not ended it") from None
    with held:
        if not result.exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix=f"{key}.", ignore_cleanup_errors=True) as own:
                (Path(own) / "made").mkdir()
                build(Path(own) / "made")
                (Path(own) / "made").rename(result)
    return result
