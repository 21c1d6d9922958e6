import os
import random
import subprocess
import sys
from pathlib import Path

import cocotb
import pytest
from amaranth import *
from amaranth.lib import enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from setun.hdl.build import toolchain
from setun.hdl.build.verilog import generate
from setun.hdl.protocol import END
from setun.sim.rtl.simulator import Simulator
from setun.sim.verify.cocotb_runner import parameters, run_cocotb
from setun.sim.verify.streams import simulate


FRAME = bytes([END, 1, 2, 250, END])
ROOT = Path(__file__).parents[3]


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
from setun.sim.rtl.transport import simulate
from tests.support.boards import TINY
first, second, third = (simulate(TINY) for _ in range(3))
for simulator in (third, first, second):
    simulator.close()
"""


def test_closed_in_any_order():
    """What one simulator leaves behind is none of another's; glibc overwrites what is freed."""
    subprocess.run([sys.executable, "-c", CLOSED], check=True, timeout=300, cwd=ROOT,
                   env=os.environ | {"MALLOC_PERTURB_": "165"})


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
    with pytest.raises(AssertionError, match=r"(?s)1 of 2 cocotb tests of \S+ failed\nadds: .*a wrong sum"):
        run_cocotb(generate(Adder(), "adder"), "adder", __name__, {"byte": 5, "answer": 12})
