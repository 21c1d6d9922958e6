"""What is built of texts and tools, kept under a key of all it is made from."""

import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from . import toolchain


__all__ = ["cached", "digest"]


LOCK_SECONDS = 12 * 3600  # longer than any build
REMEDY = "choose another folder for builds with SETUN_BUILD"
FULL = "No space left on device"  # what tools say


def digest(*parts):
    """Key of a build: a hash of all it is made from, and of the tools' versions."""
    return hashlib.sha256("\0".join([toolchain.versions(), *parts]).encode()).hexdigest()[:20]


@contextlib.contextmanager
def kept_in(folder):
    """Turns what goes wrong with the files in a folder of builds into a ToolError that names file and SETUN_BUILD."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a tool's TimeoutError
            raise
        where = error.filename or folder
        raise toolchain.ToolError(f"{where}: cannot be written: {error.strerror}: {REMEDY}") from error
    except toolchain.ToolError as error:
        lines = [line for line in str(error).splitlines() if FULL in line]
        if not lines:
            raise
        raise toolchain.ToolError(f"{folder}: a tool says: {lines[0].strip()}: {REMEDY}") from error


def cached(folder, key, build):
    """The folder ``folder / key``, made by ``build(path)`` the first time.

    It appears complete or not at all; of processes that want the same key at the same time one builds and the others
    wait. What a process that was killed left half-built is removed by the next one.

    Raises ToolError where the wait is too long, toolchain.stop() ends it, or ``folder`` cannot be written.
    """
    result = Path(folder) / key
    if result.exists():
        return result
    with kept_in(folder):
        result.parent.mkdir(parents=True, exist_ok=True)
        try:
            with toolchain.stoppable() as stopped:
                held = FileLock(result.with_suffix(".lock")).acquire(timeout=LOCK_SECONDS, cancel_check=stopped.is_set)
        except Timeout:
            raise toolchain.ToolError(f"another process builds {result}, and has not ended it") from None
        with held:
            if not result.exists():
                for left in result.parent.glob(f"{key}.*/"):
                    shutil.rmtree(left, ignore_errors=True)
                with tempfile.TemporaryDirectory(dir=folder, prefix=f"{key}.", ignore_cleanup_errors=True) as own:
                    (Path(own) / "made").mkdir()
                    build(Path(own) / "made")
                    (Path(own) / "made").rename(result)
    return result
