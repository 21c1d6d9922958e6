"""The whole machine in four simulators: the same trace, and what the reference machine answers."""

import itertools
import shutil
from dataclasses import replace

import numpy as np
import pytest

from setun.driver.frames import Decoder
from setun.hdl.machine import Machine
from setun.sim.verify.replay import SIMULATORS, outputs, record, replay
from tests.machine.stimulus import CONFIG, Stimulus


FRAMES = 16  # the first session's program, and its run
CUT, CYCLES = 400, 11_000  # of a life that ends in the middle of a frame, and of one in which all is answered
PORTS = list(outputs(Machine(CONFIG)))
with_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="no iverilog: apt-get install iverilog")


@pytest.fixture(scope="module")
def recorded():
    """Frames with their answers, stimulus and trace."""
    sent = list(itertools.islice(Stimulus(1), FRAMES))
    request = b"".join(frame.request for frame in sent)
    return sent, *record(Machine(CONFIG), [(request, CUT), (request, CYCLES)], idle=.01, stall=.1, seed=1)


def test_reference(recorded):
    """Each frame is answered as the reference machine does."""
    sent, inputs, trace = recorded
    column = {name: trace[CUT + 1:, index] for index, name in enumerate(PORTS)}
    taken = (column["o__valid"] & inputs[CUT + 1:, 1]).astype(bool)
    found = list(Decoder().feed(column["o__payload"][taken].astype(np.uint8).tobytes()))
    expected = list(Decoder().feed(b"".join(frame.answer for frame in sent)))
    assert found == expected and len(found) == FRAMES
    assert len(set(column["state"].tolist())) > 1 and column["position"].any()


@pytest.mark.parametrize("simulator", [pytest.param(name, marks=with_icarus) if name == "Icarus" else name
                                       for name in SIMULATORS])
def test_same_trace(recorded, simulator):
    _, inputs, trace = recorded
    found = replay(simulator, Machine(CONFIG), inputs)
    assert found.shape == trace.shape
    for cycle, port in np.argwhere(found != trace)[:1]:
        pytest.fail(f"{PORTS[port]} is {found[cycle, port]:#x} in cycle {cycle}, and {trace[cycle, port]:#x} in "
                    "Amaranth's simulator")


def test_other_machine(recorded):
    """One with another memory has another trace."""
    _, inputs, trace = recorded
    other = replace(CONFIG, name="other", elements=CONFIG.elements // 2)
    assert (replay("Verilator", Machine(other), inputs) != trace).any()
