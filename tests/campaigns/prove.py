"""Runs the proofs, and keeps what became of them for the results. ``make formal``."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from setun.hdl.build.cache import digest
from setun.hdl.build.toolchain import build_folder
from setun.hdl.build.verilog import sources


__all__ = ["Outcomes", "kind_of"]


PROOFS = [str(Path(__file__).parent / "formal"), str(Path(__file__).parents[1] / "hdl" / "technology" / "test_ecp5.py")]
KINDS = {"test_refutes_": "refuted", "test_every_": "checks"}  # by the beginning of a test's name; others are proofs


def kind_of(nodeid):
    """"proved" for a proof, "refuted" for a design with a fault, whose proof must fail, "checks" for neither.

    Parameters
    ----------
    nodeid : str
        As pytest names a test.
    """
    name = nodeid.rpartition("::")[2]
    return next((kind for start, kind in KINDS.items() if name.startswith(start)), "proved")


class Outcomes:
    """A plugin of pytest that counts how the tests of each kind end.

    Members
    -------
    counts : dict
        {kind: [tests that passed, all tests]} by ``kind_of``.
    """

    def __init__(self):
        self.counts = {kind: [0, 0] for kind in ("proved", "refuted", "checks")}

    def pytest_runtest_logreport(self, report):
        """Called by pytest: a failure before or after the call of a test counts too."""
        if report.when == "call" or report.failed:
            count = self.counts[kind_of(report.nodeid)]
            count[0] += report.passed
            count[1] += 1


def main(arguments):
    """pytest on the proofs, all made anew, with more ``arguments``; its exit status."""
    shutil.rmtree(build_folder() / "proofs", ignore_errors=True)
    outcomes, of, start = Outcomes(), digest(sources()), time.perf_counter()
    status = pytest.main([*PROOFS, *arguments], plugins=[outcomes])
    (build_folder() / "formal.json").write_text(json.dumps({
        "sources": of, "counts": outcomes.counts, "seconds": time.perf_counter() - start}) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(["-n", "2"]))
