import signal
import subprocess
import threading
import time

import pytest

from setun.hdl.build import toolchain
from setun.hdl.build.cache import cached


def test_slow_tool_is_stopped(tmp_path):
    with pytest.raises(TimeoutError, match="sh has not ended after 0.2 s"):
        toolchain.run(["sh", "-c", "sleep 60 & wait"], folder=tmp_path, timeout=0.2)


def until(true):
    for _ in range(3000):
        if true():
            return
        time.sleep(.01)
    pytest.fail("it has not come true")


def test_stop(tmp_path):
    """From another thread, with the children (cocotb#566); and nothing is left to stop."""
    def fail():
        with pytest.raises(toolchain.ToolError, match=r"sh failed \(-9\)"):
            toolchain.run(["sh", "-c", "sleep 60 & echo started; wait"], folder=tmp_path, timeout=60)
        ended.set()

    ended = threading.Event()
    threading.Thread(target=fail).start()
    until(lambda: toolchain._running and (tmp_path / "log").exists() and (tmp_path / "log").stat().st_size)
    toolchain.stop()
    assert ended.wait(30)
    toolchain.stop()


def test_stop_while_a_tool_starts(tmp_path, monkeypatch):
    """It waits until it knows the process."""
    class Slow(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.set()
            time.sleep(.3)

    def fail():
        with pytest.raises(toolchain.ToolError, match=r"sleep failed \(-9\)"):
            toolchain.run(["sleep", "60"], folder=tmp_path, timeout=60)
        ended.set()

    monkeypatch.setattr(toolchain.subprocess, "Popen", Slow)
    started, ended = threading.Event(), threading.Event()
    threading.Thread(target=fail, daemon=True).start()
    assert started.wait(30)
    toolchain.stop()
    assert ended.wait(30)


def test_interrupted_while_a_tool_starts(tmp_path, monkeypatch):
    """The process is known, and killed, before the exception comes."""
    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    started = []
    monkeypatch.setattr(toolchain.subprocess, "Popen", Interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            toolchain.run(["sleep", "60"], folder=tmp_path, timeout=60)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert started[0].returncode == -signal.SIGKILL and not toolchain._running


def test_stop_ends_the_wait_for_another_build(tmp_path):
    def build():
        cached(tmp_path, "key", lambda path: release.wait(30))

    def wait():
        with pytest.raises(toolchain.ToolError, match=r"^another process builds \S+key, and has not ended it$"):
            cached(tmp_path, "key", lambda path: None)
        ended.set()

    release, ended = threading.Event(), threading.Event()
    threads = [threading.Thread(target=build), threading.Thread(target=wait)]
    threads[0].start()
    until(lambda: [path for path in tmp_path.iterdir() if path.is_dir()])
    threads[1].start()
    until(lambda: toolchain._waiting)
    toolchain.stop()
    assert ended.wait(30)
    release.set()
    threads[0].join(30)
    assert (tmp_path / "key").exists()


def test_missing_package():
    """Builds that do without it keep their keys."""
    assert toolchain.package_versions(["amaranth", "no-such-package"]).keys() == {"amaranth"}
    assert toolchain.versions(["amaranth", "no-such-package"]) == toolchain.versions(["amaranth"])


@pytest.mark.parametrize("name, remedy", [("g++", "apt-get install g++"),
                                          ("gowin_pack", "pip install 'setun[boards]'")])
def test_missing_tool(monkeypatch, name, remedy):
    monkeypatch.setattr(toolchain, "environment", lambda: {"PATH": "/nowhere"})
    with pytest.raises(toolchain.ToolError) as failure:
        toolchain.tool(name)
    assert str(failure.value) == f"{name} is not installed: {remedy}"


def test_compile_once(tmp_path):
    """Verilator's own files are compiled once for each set of arguments, all others each time."""
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\necho "$@" >> calls\n[ "$1" != -bad ] && echo "$@" > "$4"\n')
    compiler.chmod(0o755)

    def compiled(flag, source):
        objects = tmp_path / "made.o"
        objects.unlink(missing_ok=True)
        done = subprocess.run(["sh", str(toolchain.COMPILE_ONCE), str(tmp_path / "objects"), "./compiler", flag, "-c",
                               "-o", "made.o", source], cwd=tmp_path)
        calls = len((tmp_path / "calls").read_text().splitlines())
        return done.returncode, calls, objects.read_text() if objects.exists() else None

    own = "wheel/include/verilated.cpp"
    made = f"-O1 -c -o made.o {own}\n"
    assert compiled("-O1", own) == (0, 1, made)
    assert compiled("-O1", own) == (0, 1, made)
    assert compiled("-O2", own) == (0, 2, made.replace("1", "2"))
    assert compiled("-O1", "wheel/include/verilated_vpi.cpp")[:2] == (0, 3)
    assert compiled("-bad", own)[::2] == compiled("-bad", own)[::2] == (1, None)
    for calls in (6, 7):
        assert compiled("-O1", "Vtop__0.cpp")[:2] == (0, calls)
    assert len(list((tmp_path / "objects").iterdir())) == 3
