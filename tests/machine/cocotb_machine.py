"""The whole machine by its ports: every byte that it answers is the reference machine's, with stalls both ways."""

import json
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from setun.sim.verify.cocotb_runner import parameters
from setun.sim.verify.coverage import Model
from tests.machine.stimulus import POINTS, Stimulus


MOST_CYCLES = 100_000  # of an answer
STALLS = (0, .02, .3)  # probabilities of a byte that is not offered, or not taken, in a cycle
REPORT = 20_000  # cycles between reports


class Bench:
    """Sends and receives bytes.

    Members
    -------
    cycles : int
        Since reset.
    """

    def __init__(self, dut, seed):
        self.dut, self.rng, self.cycles = dut, random.Random(seed), 0
        self.idle = self.stall = 0.0

    async def reset(self):
        Clock(self.dut.clk, 10, "ns").start()
        self.dut.i__valid.value, self.dut.o__ready.value, self.dut.i__payload.value, self.dut.rst.value = 0, 0, 0, 1
        if hasattr(self.dut, "mutant"):
            self.dut.mutant.value = parameters().get("mutant", 0)
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def exchange(self, request, count):
        """Send bytes, and receive so many."""
        dut, sent, received, offered = self.dut, 0, bytearray(), False
        for _ in range(MOST_CYCLES):
            offered = offered or sent < len(request) and self.rng.random() >= self.idle
            ready = self.rng.random() >= self.stall
            dut.i__valid.value, dut.o__ready.value = int(offered), int(ready)
            dut.i__payload.value = request[sent] if offered else 0
            await ReadOnly()
            taken = offered and dut.i__ready.value
            if ready and dut.o__valid.value:
                received.append(int(dut.o__payload.value))
            await RisingEdge(dut.clk)
            self.cycles += 1
            if taken:
                sent, offered = sent + 1, False
            if sent == len(request) and len(received) >= count:
                dut.i__valid.value, dut.o__ready.value = 0, 0
                return bytes(received)
        raise AssertionError(f"no answer after {MOST_CYCLES} cycles: {sent} of {len(request)} bytes sent, "
                             f"{len(received)} of {count} received")


@cocotb.test()
async def answers(dut):
    """Until the functional model is closed, or for so many cycles."""
    values = parameters()
    model, bench = Model("machine", POINTS), Bench(dut, values["seed"])
    await bench.reset()
    reported = 0
    for number, (request, answer) in enumerate(Stimulus(values["seed"], model.meet)):
        if number % 16 == 0:
            bench.idle, bench.stall = bench.rng.choice(STALLS), bench.rng.choice(STALLS)
        found = await bench.exchange(request, len(answer))
        assert found == answer, f"frame {number}: {found.hex()} came, not {answer.hex()}, for {request.hex()}"
        closed = model.closed
        if bench.cycles >= reported or closed or bench.cycles >= values["cycles"]:
            reported += REPORT
            if "report" in values:
                Path(values["report"]).write_text(json.dumps({
                    "cycles": bench.cycles, "seed": values["seed"], "points": model.report()}))
        if closed or bench.cycles >= values["cycles"]:
            return
