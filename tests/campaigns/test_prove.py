import json
from types import SimpleNamespace

import pytest

from setun.hdl.build.cache import digest
from setun.hdl.build.verilog import sources
from tests.bench.results import proof_rows
from tests.campaigns import prove


PROOF, FAULT = "formal/test_sums.py::test_link[0-1]", "test_ecp5.py::test_refutes_a[m]"
CHECK = "a.py::test_every_stream"


def test_outcomes():
    """What fails before its call counts too; what goes well around it does not; each kind has its own counts."""
    outcomes = prove.Outcomes()
    for nodeid, when, passed, failed in ((PROOF, "setup", 1, 0), (PROOF, "call", 1, 0), (PROOF, "teardown", 1, 0),
                                         (PROOF, "setup", 0, 1), (PROOF, "call", 0, 1), (FAULT, "call", 1, 0),
                                         (FAULT, "call", 0, 1), (CHECK, "call", 1, 0)):
        outcomes.pytest_runtest_logreport(SimpleNamespace(nodeid=nodeid, when=when, passed=bool(passed),
                                                          failed=bool(failed)))
    assert outcomes.counts == {"proved": [1, 3], "refuted": [1, 2], "checks": [1, 1]}


def test_faults_are_named():
    """Every test that expects a proof to fail is counted as a refutation, and no other test is."""
    for folder in map(prove.Path, prove.PROOFS):
        for path in folder.rglob("test_*.py") if folder.is_dir() else [folder]:
            for test in path.read_text().split("\ndef test_")[1:]:
                body = test.split("\n\n\n")[0]
                fails = "raises(Disproved" in body or "proof did fail" in body
                assert (prove.kind_of(f"::test_{test}") == "refuted") == fails, f"{path.name}: {test.splitlines()[0]}"


@pytest.mark.parametrize("status", [0, 1])
def test_rows(status, monkeypatch, tmp_path):
    def run(arguments, plugins):
        assert not (tmp_path / "proofs").exists()
        assert arguments == [*prove.PROOFS, "-x"]
        plugins[0].counts |= {"proved": [3, 3 + status], "refuted": [2, 2], "checks": [1, 1]}
        return status

    monkeypatch.setattr(prove.pytest, "main", run)
    monkeypatch.setattr(prove, "build_folder", lambda: tmp_path)
    (tmp_path / "proofs").mkdir()
    path = tmp_path / "formal.json"
    assert list(proof_rows(path)) == []
    assert prove.main(["-x"]) == status
    (_, proofs, _), (_, faults, _) = proof_rows(path)
    assert (proofs, faults) == (f"3 of {3 + status} hold, in 0 s with the next", "2 of 2 are refuted")
    assert json.loads(path.read_text())["sources"] == digest(sources())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sources": "another"}))
    assert list(proof_rows(path)) == []
