"""What is built of texts and tools, kept under a key of all it is made from."""

import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from . import toolchain


__all__ = ["cached", "digest", "written_in"]


LOCK_SECONDS = 12 * 3600  # longer than any build
REMEDY = "choose another folder for builds with SETUN_BUILD"
FULL = "No space left on device"  # what tools say, if they can still write it
SPARE = 1 << 20  # bytes; with less the disk is full


def digest(*parts, packages=toolchain.PACKAGES):
    """Key of a build: a hash of all it is made from, and of the versions of the ``packages`` that make it."""
    return hashlib.sha256("\0".join([toolchain.versions(packages), *parts]).encode()).hexdigest()[:20]


@contextlib.contextmanager
def written_in(folder):
    """Turns what goes wrong with the files in a folder of builds into a ToolError that names file and SETUN_BUILD."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a tool's TimeoutError
            raise
        where = error.filename or folder
        raise toolchain.ToolError(f"{where}: cannot be written: {error.strerror}: {REMEDY}") from error


@contextlib.contextmanager
def _space_in(folder):
    """Turns the failure of a tool that has filled the disk into a ToolError that says so."""
    try:
        yield
    except toolchain.ToolError as error:
        said = [line.strip() for line in str(error).splitlines() if FULL in line]
        if not said and shutil.disk_usage(folder).free >= SPARE:
            raise
        raise toolchain.ToolError(f"{folder}: {said[0] if said else FULL}: {REMEDY}") from error


def cached(folder, key, build):
    """The folder ``folder / key``, made by ``build(path)`` the first time.

    It appears complete or not at all; of processes that want the same key at the same time one builds and the others
    wait. What a process that was killed left half-built is removed by the next one.

    Raises ToolError where the wait is too long, toolchain.stop() ends it, or ``folder`` cannot be written.
    """
    result = Path(folder) / key
    if result.exists():
        return result
    with written_in(folder):
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
                    with _space_in(folder):
                        build(Path(own) / "made")
                    (Path(own) / "made").rename(result)
    return result
