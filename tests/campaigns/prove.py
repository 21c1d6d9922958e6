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


__all__ = ["Outcomes"]


PROOFS = [str(Path(__file__).parent / "formal"), str(Path(__file__).parents[1] / "hdl" / "technology" / "test_ecp5.py")]


class Outcomes:
    """A plugin of pytest that counts how tests end."""

    def __init__(self):
        self.passed = self.all = 0

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.failed:
            self.all += 1
            self.passed += report.passed


def main(arguments):
    """pytest on the proofs, all made anew, with more ``arguments``; its exit status."""
    shutil.rmtree(build_folder() / "proofs", ignore_errors=True)
    outcomes, of, start = Outcomes(), digest(sources()), time.perf_counter()
    status = pytest.main([*PROOFS, *arguments], plugins=[outcomes])
    (build_folder() / "formal.json").write_text(json.dumps({
        "sources": of, "passed": outcomes.passed, "all": outcomes.all, "seconds": time.perf_counter() - start}) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(["-n", "2"]))
