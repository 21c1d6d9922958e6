"""The virtual board, and the driver on it when sessions end badly."""

import contextlib
import json
import multiprocessing
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import serial
from click.testing import CliRunner

from setun.accelerator import Accelerator
from setun.cli.main import main
from setun.driver.frames import Decoder, encode
from setun.driver.machine import MismatchError
from setun.driver.port import SerialTransport
from setun.driver.transport import LinkError, LinkTimeout
from setun.golden.matvec import matvec
from setun.hdl.config import PRESETS
from setun.hdl.protocol import END, REFUSED, Command
from setun.sim.rtl.board import Listener, Terminal
from setun.sim.rtl.transport import simulate
from tests.support.configs import SMALL
from tests.support.links import Noisy, serving


CONFIG = SMALL
TEXT = str({name: value for name, value in vars(SMALL).items() if name != "name"}).replace("True", "true")
PATIENT = 2  # seconds: on a busy machine, too, nothing is repeated that is not lost
W = np.random.default_rng(1).integers(-1, 2, (90, 700), np.int8)
X = np.random.default_rng(2).integers(-128, 128, 700).astype(np.int8)


@pytest.fixture(scope="module")
def simulator():
    return simulate(CONFIG)


@pytest.fixture(params=[Terminal, Listener])
def port(request, simulator):
    with serving(simulator, request.param()) as line:
        yield line.name


@pytest.fixture
def terminal(simulator):
    with serving(simulator, Terminal()) as line:
        yield line.name


@contextlib.contextmanager
def driver(port, config=None, wrap=lambda transport: transport, latency=PATIENT):
    with contextlib.closing(SerialTransport(port, latency=latency)) as transport:
        device = Accelerator(wrap(transport), config)
        device.machine  # it is there
        yield device


def check(device):
    """A product whose values and cycles are right; frames that were sent again."""
    repeated = device.machine.repeated
    device.matvec(W, X)
    return device.machine.repeated - repeated


class Aborted(Exception):
    """A user has had enough."""


class Aborting:
    """A transport on which the user ends the session after so many bytes of requests, in the middle of a frame."""

    def __init__(self, transport, count):
        self.transport, self.left = transport, count

    def exchange(self, request, replies, limit):
        if len(request) >= self.left:
            self.transport.exchange(request[:self.left], 0, limit)
            raise Aborted
        self.left -= len(request)
        return self.transport.exchange(request, replies, limit)


def test_plain_serial_port(port):
    """Nothing of ours at the other end of the line."""
    with serial.serial_for_url(port, baudrate=115200, timeout=5) as plain:
        for sequence in range(20):
            plain.write(encode(0x55, sequence, bytes(13)))
            told = plain.read(1) + plain.read_until(bytes([END]))
            assert Decoder().feed(told) == [(REFUSED, sequence, bytes(5) + b"\3")]


def test_reconnects(port):
    """One session after another."""
    for _ in range(3):
        with driver(port) as device:
            assert not check(device)


def test_new_terminal(simulator):
    for _ in range(2):
        with serving(simulator, Terminal()) as line, driver(line.name) as device:
            check(device)


@pytest.mark.parametrize("count", [5, 30, 60, 500, 5000, 12_900, 13_640, 14_000])
def test_aborted(port, count):
    """A session ends in its opening, in loading, in a product; the next one works."""
    with pytest.raises(Aborted):
        with driver(port, wrap=lambda transport: Aborting(transport, count)) as device:
            for _ in range(2):
                check(device)
    with driver(port) as device:
        assert not check(device)


def test_client_vanishes_while_answers_come(port):
    for _ in range(3):
        with serial.serial_for_url(port) as plain:
            plain.write(b"".join(encode(Command.READ, sequence, bytes(13)) for sequence in range(100)))
    with driver(port) as device:
        check(device)


def test_garbage_before(port):
    for garbage in (b"x", bytes([END, Command.READ, 4]), bytes(3000), np.random.default_rng(1).bytes(500)):
        with serial.serial_for_url(port) as plain:
            plain.write(garbage)
        with driver(port) as device:
            assert device.config == CONFIG


def test_noise(terminal):
    with driver(terminal, wrap=lambda transport: Noisy(transport, 1e-3, 3)) as device:
        repeated = [check(device) for _ in range(5)]
    assert any(repeated)


class Slow:
    """A Simulator that takes ``pause`` seconds more for each slice."""

    baud = None

    def __init__(self, simulator, pause):
        self.simulator, self.pause = simulator, pause

    def run(self, tx, *, cycles):
        time.sleep(self.pause)
        return self.simulator.run(tx, cycles=cycles)


def test_slow_board(simulator):
    """It takes longer for an answer than the driver waits at first."""
    with serving(Slow(simulator, .003), Terminal()) as line, driver(line.name, latency=.005) as device:
        device.matvec(W[:, :200], X[:200])
        assert device.machine.repeated


def test_config_is_read(terminal):
    """All of it but the name, which a board does not know."""
    with driver(terminal) as device:
        assert device.config == CONFIG
    with pytest.raises(MismatchError, match="BANKS is 0x6 and config 24x40 has 0x18: give the config it was built"):
        with driver(terminal, PRESETS["24x40"]):
            pass


def test_second_client_waits(simulator):
    with serving(simulator, Listener()) as line:
        with driver(line.name), pytest.raises(LinkTimeout, match="did not answer"):
            with driver(line.name, latency=.02):
                pass
        with driver(line.name) as device:
            assert device.config == CONFIG


def test_rests(simulator, terminal):
    with driver(terminal):
        pass
    for _ in range(100):
        cycles = simulator.cycles
        time.sleep(.1)
        if simulator.cycles == cycles:
            break
    assert simulator.cycles == cycles


def test_link_to_the_terminal(simulator, tmp_path):
    path = tmp_path / "board"
    path.symlink_to("/dev/no-such-port")
    with serving(simulator, Terminal(path)) as line:
        assert line.name == str(path)
        with driver(path := str(path)) as device:
            assert device.config == CONFIG
    assert not os.path.lexists(path)


def test_tcp_listens_when_it_can_answer(monkeypatch):
    """Not before the simulator is built; a port that another has is refused before that."""
    with Listener() as taken:
        port = int(taken.name.rpartition(":")[2])
        socket.create_connection(("localhost", port), 10).close()
        refused = invoke("board", "--tcp", port)
        assert refused.exit_code == 2
        assert refused.output == (f"Error: TCP port {port}: Address already in use: choose another, or 0 for a free "
                                  "one\n")

    def simulate(config):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("localhost", port), 10)
        raise KeyboardInterrupt

    monkeypatch.setattr("setun.cli.boards.simulate", simulate)
    result = invoke("board", "--tcp", port)
    assert result.exit_code == 130 and result.output == "interrupted\n"


def test_two_that_take_a_port():
    """Both may before one of them listens."""
    first = Listener()
    second = Listener(port := int(first.name.rpartition(":")[2]))
    with first, pytest.raises(LinkError, match=f"TCP port {port}: Address already in use"), second:
        pass


def test_link_stays_that_of_another(tmp_path, monkeypatch):
    """A symbolic link is replaced where it leads to a pseudo-terminal or nowhere."""
    monkeypatch.setattr("setun.cli.boards.simulate", None)
    (tmp_path / "model").symlink_to(tmp_path)
    result = invoke("board", "--link", tmp_path / "model")
    assert result.exit_code == 2 and "is no symbolic link to a pseudo-terminal" in result.output


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("check", ["values", "tokens"])
def test_run_is_the_same(check, tmp_path):
    """setun run says of a board what it says of the simulation, but how fast that is."""
    arguments = ["--prompt", "And ", "--tokens", 2, "--check", check]
    simulated = invoke("run", *arguments, "--config", "16x20", "--json", tmp_path / "simulated.json")
    with serving(simulate(PRESETS["16x20"]), Terminal()) as line:
        board = invoke("run", *arguments, "--port", line.name, "--latency", PATIENT, "--json", tmp_path / "board.json")
    assert board.exit_code == simulated.exit_code == 0, board.output
    said, of_simulation = (" ".join(result.stdout.split()) for result in (board, simulated))
    told = re.search(r" [\d.e+-]+ tokens a second, the host's work included; ([\d,.]+) bytes a token go over the "
                     r"link\.", said)
    assert said.replace(told[0], "") == re.sub(r", [\d,]+ cycles a second simulated", "", of_simulation)
    of_board, of_simulated = (json.loads((tmp_path / name).read_text()) for name in ("board.json", "simulated.json"))
    for fields in (of_board, of_simulated):
        for name in ("seconds_per_step", "link_per_token"):
            del fields[name]
    del of_simulated["simulated_cycles_per_second"]
    # Numbers of sessions are any, some bytes are escaped, and a running machine is asked now and then.
    count, of_simulator = (fields.pop("link_bytes_per_token") for fields in (of_board, of_simulated))
    assert check == "tokens" or count == pytest.approx(of_simulator, rel=.01)
    assert float(told[1].replace(",", "")) == pytest.approx(count, abs=.1)
    assert of_board == of_simulated and of_board["repeated"] == 0


def test_repeated_frames_are_told(monkeypatch):
    monkeypatch.setattr("setun.accelerator.SerialTransport", lambda *line: Noisy(SerialTransport(*line), 2e-4, 1))
    with serving(simulate(PRESETS["16x20"]), Terminal()) as line:
        result = invoke("run", "--prompt", "A", "--tokens", 2, "--port", line.name)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    told = re.search(r"(\d+) frames were sent again", said)
    assert told and int(told[1]) > 0 and "values equal the golden model" in said


def test_matvec(port, tmp_path):
    np.save(tmp_path / "w.npy", W)
    np.save(tmp_path / "x.npy", X)
    common = ["matvec", "--weights", tmp_path / "w.npy", "--activations", tmp_path / "x.npy", "--output",
              tmp_path / "out.npy"]
    result = invoke(*common, "--port", port, "--latency", PATIENT)
    assert result.exit_code == 0 and "90 x 700 on 6x15" in result.output, result.output
    assert (np.load(tmp_path / "out.npy") == matvec(W, X)).all()
    (tmp_path / "6x15.yaml").write_text(TEXT)
    assert invoke(*common, "--config", tmp_path / "6x15.yaml").stdout == result.stdout
    for options, words in ((["--config", "24x40"], "config 24x40 has"), (["--waveform", "a.vcd"], "leave out --port")):
        refused = invoke(*common, "--port", port, *options)
        line = refused.output.strip().splitlines()[-1]
        assert refused.exit_code == 2 and line.startswith("Error: ") and words in line, refused.output


def test_run_without_a_board():
    board, client = os.openpty()
    for port, words in (("/dev/no-such-port", "cannot be opened: No such file"), (os.ttyname(client), "did not answer"),
                        ("/dev/null", "cannot be opened"), ("", "cannot be opened")):
        result = invoke("run", "--port", port, "--latency", .02)
        line = result.output.strip().splitlines()[-1]
        assert result.exit_code == 2 and line.startswith("Error: ") and words in line, result.output
    os.close(board)
    os.close(client)


@contextlib.contextmanager
def board_process(folder, *options):
    """``setun board``, and the port that it says."""
    command = [sys.executable, "-c", "from setun.cli.main import main; main()", "board", *options]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) as process:
        try:
            said = re.fullmatch(r"\S+ on (\S+?)(?: at ([\d,]+) baud, for setun run --latency (\d+))?; Ctrl-C ends it\n",
                                process.stdout.readline())
            process.rate = said[2] and said[2].replace(",", ""), said[3]
            yield process, said[1] if "socket" in said[1] else str(folder / said[1])
        finally:
            process.kill()


@pytest.fixture
def config(tmp_path_factory):
    """Path of a file that describes the small machine."""
    path = tmp_path_factory.mktemp("config") / "6x15.yaml"
    path.write_text(TEXT)
    return str(path)


@pytest.mark.parametrize("options, number", [(["--tcp", "0"], signal.SIGINT), (["--link", "port"], signal.SIGTERM)])
def test_command(config, options, number, tmp_path):
    """setun board says where it is, serves one client after another, and ends with Ctrl-C or when it is terminated."""
    with board_process(tmp_path, "--config", config, *options) as (process, port):
        for _ in range(2):
            with driver(port) as device:
                assert device.config == CONFIG
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    assert not list(tmp_path.iterdir())


def test_command_with_the_uart_of_a_board(config, tmp_path):
    """The driver needs what setun board says: the baud rate and the latency."""
    w, x = W[:20, :100], X[:100]
    np.save(tmp_path / "w.npy", w)
    np.save(tmp_path / "x.npy", x)
    with board_process(tmp_path, "--config", config, "--board", "icepi-zero", "--link", "port") as (process, port):
        baud, latency = process.rate
        result = invoke("matvec", "--weights", tmp_path / "w.npy", "--activations", tmp_path / "x.npy", "--port", port,
                        "--baud", baud, "--latency", latency, "--output", tmp_path / "out.npy", "--json",
                        tmp_path / "fields.json")
    assert result.exit_code == 0 and "20 x 100 on 6x15" in result.output, result.output
    assert (np.load(tmp_path / "out.npy") == matvec(w, x)).all()
    assert json.loads((tmp_path / "fields.json").read_text())["repeated"] == 0


def endless(port, ready, count):
    """A driver that goes on until it is killed, in the middle of a frame after ``count`` bytes, or by another."""
    def wrap(transport):
        return Aborting(transport, count) if count else transport

    try:
        with driver(port, wrap=wrap) as device:
            while True:
                check(device)
                ready.set()
    except Aborted:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("options", [["--tcp", "0"], ["--link", "port"]])
def test_killed(config, options, tmp_path):
    """Drivers die at once, in loading, in a product, at any time; the next one works on the board that is left."""
    spawn, rng = multiprocessing.get_context("spawn"), random.Random(1)
    with board_process(tmp_path, "--config", config, *options) as (_, port):
        for count in (30, 5000, 12_900, 13_640, 14_000, None, None, None):
            ready = spawn.Event()
            process = spawn.Process(target=endless, args=(port, ready, count))
            process.start()
            if count is None:
                assert ready.wait(60)
                time.sleep(rng.random() / 4)
                process.kill()
            process.join(60)
            assert process.exitcode == -signal.SIGKILL
            with driver(port) as device:
                check(device)


@pytest.mark.parametrize("options", [["--tcp", "0"], []])
def test_unplugged_while_it_runs(options, tmp_path, monkeypatch):
    with board_process(tmp_path, "--config", "16x20", *options) as (process, port):
        class Unplugged(SerialTransport):
            def exchange(self, request, replies, limit):
                if request[1:2] == bytes([Command.GO]):
                    process.kill()
                    process.wait()
                return super().exchange(request, replies, limit)

        monkeypatch.setattr("setun.accelerator.SerialTransport", Unplugged)
        result = invoke("run", "--tokens", 2, "--port", port)
    line = result.output.strip().splitlines()[-1]
    assert result.exit_code == 2 and line.startswith(f"Error: {port}: the link broke: "), result.output


@pytest.mark.parametrize("options, words", [
    (["--tcp", "0", "--link", "x"], "leave out --tcp"),
    (["--link", "."], "exists and is no symbolic link to a pseudo-terminal"),
    (["--link", "/dev/stdin"], "exists and is no symbolic link to a pseudo-terminal"),
    (["--link", "no/port"], "--link cannot be made: no is no folder"),
    (["--config", "17x3"], "17x3"),
])
def test_command_refuses(options, words):
    result = invoke("board", *options)
    assert result.exit_code == 2 and words in result.output.strip().splitlines()[-1], result.output
