"""Mutants are dead, and those that change nothing are not."""

import json

import pytest

from setun.hdl.build.cache import digest
from setun.hdl.build.verilog import sources
from setun.hdl.link.slip import SlipDecoder
from setun.hdl.machine import Machine
from setun.sim.verify.mutation import Mutant, Netlist, mutate
from tests.bench.results import mutants_rows
from tests.campaigns import mutants as campaign
from tests.campaigns.mutants import CONFIG, COUNT, EQUIVALENT, SEED, noticed, run_mutant, summary


CYCLES = 60_000
BLOCKS = ("commander", "processor")
ALIKE = "c inv Q[0]"


@pytest.fixture(scope="module")
def machine():
    return mutate(Machine(CONFIG), COUNT, SEED)


@pytest.mark.parametrize("block", BLOCKS)
def test_killed(machine, block):
    """Of the first three mutants of a block that invert a bit, most."""
    verilog, mutants = machine
    numbers = [mutant.number for mutant in mutants
               if mutant.block == block and "inv" in mutant.change and mutant.name not in EQUIVALENT]
    assert sum(bool(run_mutant(verilog, number, CYCLES)) for number in numbers[:3]) >= 2


def test_not_changed(machine):
    """The killer does not take the design itself for dead."""
    assert run_mutant(machine[0], 0, CYCLES) == ""


def test_repeatable(tmp_path, monkeypatch):
    """The same seed gives the same mutants, and where there are more, others too."""
    made = []
    for count, seed in ((20, 1), (10, 1), (20, 2)):
        monkeypatch.setenv("SETUN_BUILD", str(tmp_path / f"{count} {seed}"))
        made.append([mutant.name for mutant in mutate(SlipDecoder(), count, seed)[1]])
    assert len(made[0]) == 20 and made[0][:10] == made[1]
    assert made[2] != made[0]


@pytest.mark.parametrize("mode, port, bit, control, changes", [
    ("const1", "A", 0, None, True), ("const1", "A", 1, None, False), ("const0", "A", 1, None, True),
    ("inv", "A", 1, None, True), ("inv", "Y", 0, None, True), ("inv", "Y", 1, None, False),
    ("cnot1", "A", 0, 1, True), ("cnot0", "A", 0, 1, False), ("cnot0", "A", 1, 0, True), ("cnot0", "Y", 1, 0, False)])
def test_changes(mode, port, bit, control, changes):
    """Bit 1 of A is 1, and bit 1 of Y is not read."""
    cell = {"type": "$add", "connections": {"A": [2, "1"], "Y": [3, 4]},
            "port_directions": {"A": "input", "Y": "output"}}
    ports = {"i": {"direction": "input", "bits": [2]}, "o": {"direction": "output", "bits": [3]}}
    netlist = Netlist(json.dumps({"modules": {"top": {"cells": {"add": cell}, "ports": ports}}}))
    control = control if control is None else str(control)
    assert netlist.changes(mode, "add", port, str(bit), control) == changes


@pytest.mark.parametrize("port, changes", [("ADDR", True), ("EN", False)])
def test_changes_memory(port, changes):
    """A read without a clock has an address, and no enable that could be another."""
    cell = {"type": "$memrd_v2", "connections": {"ADDR": [2], "EN": ["1"]},
            "port_directions": {"ADDR": "input", "EN": "input"}}
    netlist = Netlist(json.dumps({"modules": {"top": {"cells": {"read": cell}, "ports": {}}}}))
    assert netlist.changes("inv", "read", port, "0", None) == changes


def test_summary(monkeypatch):
    monkeypatch.setattr(campaign, "EQUIVALENT", {ALIKE: "it is not read"})
    dead, alive, alike = (Mutant(number, "array", cell, "inv Q[0]", "") for number, cell in enumerate("abc"))
    judged = [(dead, "multiplies: 1 is not 2"), (alive, ""), (alike, "")]
    assert summary(judged) == {"mutants": 3, "killed": 1, "equivalent": 1, "alive": 1} and noticed(judged) == []
    judged = [(alive, "stalls"), (alike, "stalls")]
    assert summary(judged) == {"mutants": 2, "killed": 2, "equivalent": 0, "alive": 0} and noticed(judged) == [ALIKE]


def test_rows(tmp_path):
    path = tmp_path / "mutants.json"
    assert list(mutants_rows(path)) == []
    found = {"sources": digest(sources()), "config": {"name": "2x5"}, "seed": 1,
             "totals": {"mutants": 1500, "killed": 1470, "equivalent": 10, "alive": 20}}
    path.write_text(json.dumps(found))
    assert list(mutants_rows(path)) == [(
        "`make mutants`: changes of one place of 2x5 by yosys' generator, seed 1, under the test bench of the whole "
        "machine",
        "1,470 of 1,500 noticed, 10 argued to be equivalent, 20 not noticed: 98.7% of the others", "at least 95%")]
    path.write_text(json.dumps(found | {"sources": "another"}))
    assert list(mutants_rows(path)) == []
