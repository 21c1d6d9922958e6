import json
from types import SimpleNamespace

import pytest

from setun.hdl.build.cache import digest
from setun.hdl.build.verilog import sources
from tests.bench.results import proof_rows
from tests.campaigns import prove


def test_outcomes():
    """What fails before its call counts too; what goes well around it does not."""
    outcomes = prove.Outcomes()
    for when, passed, failed in (("setup", 1, 0), ("call", 1, 0), ("teardown", 1, 0), ("setup", 0, 1), ("call", 0, 1)):
        outcomes.pytest_runtest_logreport(SimpleNamespace(when=when, passed=bool(passed), failed=bool(failed)))
    assert (outcomes.passed, outcomes.all) == (1, 3)


@pytest.mark.parametrize("status", [0, 1])
def test_rows(status, monkeypatch, tmp_path):
    def run(arguments, plugins):
        assert not (tmp_path / "proofs").exists()
        assert arguments == [*prove.PROOFS, "-x"]
        plugins[0].passed, plugins[0].all = 3, 3 + status
        return status

    monkeypatch.setattr("tests.campaigns.prove.pytest.main", run)
    monkeypatch.setattr("tests.campaigns.prove.build_folder", lambda: tmp_path)
    (tmp_path / "proofs").mkdir()
    path = tmp_path / "formal.json"
    assert list(proof_rows(path)) == []
    assert prove.main(["-x"]) == status
    (_, figures, _), = proof_rows(path)
    assert figures == f"3 of {3 + status} end as they must, in 0 s"
    assert json.loads(path.read_text())["sources"] == digest(sources())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sources": "another"}))
    assert list(proof_rows(path)) == []
