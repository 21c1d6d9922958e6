import multiprocessing
import time

import pytest

from setun.hdl.build import toolchain
from setun.hdl.build.cache import cached


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
