import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import cocotb
import pytest
from amaranth import *
from amaranth.lib import enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hdl.registers import END
from sim import toolchain
from sim.cocotb_runner import parameters, run_cocotb
from sim.simulator import Simulator
from sim.streams import simulate
from sim.verilog import cached, generate


FRAME = bytes([END, 1, 2, 250, END])


class Phase(enum.Enum, shape=1):
    EMPTY = 0
    FULL = 1


class Table(wiring.Component):
    """A memory of threes."""
    address: In(4)
    data: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=16, init=[3] * 16)
        read = memory.read_port(domain="comb")
        m.d.comb += [read.addr.eq(self.address), self.data.eq(read.data)]
        return m


class Half(wiring.Component):
    """A byte register; adds 3 to every byte but END."""
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = Table()
        m.d.comb += table.address.eq(self.i.payload)
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
            m.d.sync += self.o.payload.eq(Mux(self.i.payload == END, END, self.i.payload + table.data))
        return m


class Adder(wiring.Component):
    """Answers each byte with itself plus 6, and takes a byte every third cycle only."""
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    trace: Out(wiring.Signature({"phase": Out(Phase)}))

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = Half()
        m.submodules.second = second = Half()
        turn = Signal(range(3))
        m.d.sync += turn.eq(Mux(turn == 2, 0, turn + 1))
        m.d.comb += [
            first.i.payload.eq(self.i.payload),
            first.i.valid.eq(self.i.valid & (turn == 2)),
            self.i.ready.eq(first.i.ready & (turn == 2)),
        ]
        wiring.connect(m, first.o, second.i)
        wiring.connect(m, second.o, wiring.flipped(self.o))
        m.d.comb += self.trace.phase.eq(self.o.valid)
        return m


def plus_6(data):
    return bytes(byte if byte == END else (byte + 6) % 256 for byte in data)


def amaranth_exchange(tx, want):
    """Answer and cycles of Simulator.exchange, in Amaranth's own simulator."""
    dut, rx, cycles = Adder(), bytearray(), 0

    async def bench(ctx):
        nonlocal cycles
        sent = 0
        ctx.set(dut.o.ready, 1)
        while sent < len(tx) or len(rx) < want:
            ctx.set(dut.i.valid, sent < len(tx))
            ctx.set(dut.i.payload, tx[sent] if sent < len(tx) else 0)
            _, _, ready, valid, payload = await ctx.tick().sample(dut.i.ready, dut.o.valid, dut.o.payload)
            if valid:
                rx.append(payload)
            sent += bool(ready and sent < len(tx))
            cycles += 1

    simulate(dut, bench)
    return bytes(rx), cycles


@pytest.mark.parametrize("size", [0, 1, 7, 200])
def test_exchange_equals_amaranth(size):
    tx = bytes(random.Random(size).choices(range(100), k=size))
    simulator = Simulator(Adder(), "adder")
    rx = simulator.exchange(tx, want=size, limit=10_000)
    assert (rx, simulator.cycles) == amaranth_exchange(tx, size)
    assert rx == plus_6(tx)


def test_frames():
    simulator = Simulator(Adder(), "adder")
    assert simulator.exchange(FRAME * 3, frames=3, limit=1000) == plus_6(FRAME * 3)
    assert simulator.exchange(FRAME[1:], frames=1, limit=1000) == plus_6(FRAME[1:])
    assert simulator.cycles_per_second > 0


def test_reset():
    simulator = Simulator(Adder(), "adder")
    for _ in range(2):
        simulator.exchange(b"abc", want=3, limit=1000)
        assert simulator.cycles == 11
        simulator.reset()
        assert simulator.cycles == 0


CLOSED = """
from hdl.config import PRESETS
from sim.transport import simulate
first, second, third = (simulate(PRESETS["1x5"]) for _ in range(3))
for simulator in (third, first, second):
    simulator.close()
"""


def test_closed_in_any_order():
    """What one simulator leaves behind is none of another's; glibc overwrites what is freed."""
    subprocess.run([sys.executable, "-c", CLOSED], check=True, timeout=300, env=os.environ | {"MALLOC_PERTURB_": "165"},
                   cwd=Path(__file__).parents[1])


def test_limit():
    simulator = Simulator(Adder(), "adder")
    with pytest.raises(TimeoutError, match="no end after 1000 cycles: 5 of 5 bytes sent, 5 received"):
        simulator.exchange(FRAME, frames=2, limit=1000)
    assert simulator.cycles == 1000


def test_waveform(tmp_path):
    path = tmp_path / "adder.vcd"
    simulator = Simulator(Adder(), "adder", waveform=path)
    simulator.exchange(FRAME, frames=1, limit=1000)
    simulator.close()
    with pytest.raises(ValueError, match="the simulator is closed"):
        simulator.cycles
    assert "trace__phase" in path.read_text()
    assert "TOP.trace__phase\n" in (tmp_path / "adder.vcd.gtkw").read_text()
    assert (tmp_path / "adder.vcd.trace__phase.txt").read_text().split() == ["0", "EMPTY", "1", "FULL"]


def test_verilog_is_deterministic_and_shared():
    text = generate(Adder(), "adder")
    assert text == generate(Adder(), "adder")
    assert str(toolchain.__file__).rsplit("/", 1)[0] not in text
    assert text.count("endmodule") == 3 and text.count("= 8'h03;") == 1


def test_cache_hit_builds_nothing(monkeypatch):
    Simulator(Adder(), "adder")
    monkeypatch.setattr(toolchain, "run", None)
    monkeypatch.setenv("PATH", "")
    assert Simulator(Adder(), "adder").exchange(b"a", want=1, limit=100) == b"g"


def _build_slowly(folder, barrier, builds):
    def build(path):
        with builds:
            builds.value += 1
        time.sleep(.5)
        (path / "name").write_text("made")

    barrier.wait(20)
    assert (cached(folder, "key", build) / "name").read_text() == "made"


def test_one_of_two_processes_builds(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, builds = context.Barrier(2), context.Value("i", 0)
    builders = [context.Process(target=_build_slowly, args=(tmp_path, barrier, builds)) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(30)
    assert [builder.exitcode for builder in builders] == [0, 0]
    assert builds.value == 1


def test_failed_build_leaves_nothing(tmp_path):
    def build(path):
        toolchain.run(["sh", "-c", "echo the reason; exit 3"], folder=path, timeout=10)

    with pytest.raises(toolchain.ToolError, match=r"sh failed \(3\); its log ends:\nthe reason"):
        cached(tmp_path, "key", build)
    assert not (tmp_path / "key").exists() and not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_slow_tool_is_stopped(tmp_path):
    with pytest.raises(TimeoutError, match="sh has not ended after 0.2 s"):
        toolchain.run(["sh", "-c", "sleep 60 & wait"], folder=tmp_path, timeout=0.2)


def until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(.01)


def test_stop(tmp_path):
    """From another thread, with the children; and nothing is left to stop."""
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


def test_missing_package(monkeypatch):
    monkeypatch.setattr(toolchain, "PACKAGES", ("amaranth", "no-such-package"))
    with pytest.raises(toolchain.ToolError, match="^no-such-package is not installed: pip install no-such-package$"):
        toolchain.versions()


def test_missing_tool(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SETUN_BUILD", str(tmp_path))
    with pytest.raises(toolchain.ToolError, match=r"^g\+\+ is not installed: apt-get install g\+\+$"):
        Simulator(Adder(), "adder")


@cocotb.test()
async def adds(dut):
    """Run by cocotb in the simulation and not by pytest, as is the next."""
    Clock(dut.clk, 10, "ns").start()
    dut.rst.value, dut.o__ready.value, dut.i__valid.value = 0, 1, 1
    dut.i__payload.value = parameters()["byte"]
    for _ in range(20):
        await RisingEdge(dut.clk)
        await ReadOnly()
        if dut.o__valid.value:
            assert int(dut.o__payload.value) == parameters()["answer"], "a wrong sum"
            return
    assert False, "no answer"


@cocotb.test()
async def hides_registers(dut):
    assert not hasattr(dut, "turn")


def test_cocotb_runner():
    run_cocotb(generate(Adder(), "adder"), "adder", __name__, {"byte": 5, "answer": 11})
    with pytest.raises(AssertionError, match=r"(?s)1 of 2 cocotb tests of \w+ failed\nadds: .*a wrong sum"):
        run_cocotb(generate(Adder(), "adder"), "adder", __name__, {"byte": 5, "answer": 12})
