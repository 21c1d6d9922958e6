import errno
import multiprocessing
import os
import shutil
import time

import pytest

from setun.hdl.build import cache, toolchain
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


@pytest.mark.parametrize("error, words", [
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "{folder}: cannot be written: No space left on device: choose"),
    (OSError(errno.EROFS, os.strerror(errno.EROFS), "a/b"), "a/b: cannot be written: Read-only file system: choose"),
])
def test_disk_that_cannot_be_written(tmp_path, error, words):
    def build(path):
        raise error

    with pytest.raises(toolchain.ToolError, match="another folder for builds with SETUN_BUILD$") as caught:
        cached(tmp_path, "key", build)
    assert str(caught.value).startswith(words.format(folder=tmp_path))


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(toolchain.ToolError, match=r"file\S*: cannot be written: .*SETUN_BUILD$"):
        cached(tmp_path / "file" / "builds", "key", lambda path: None)


def test_tool_on_a_full_disk(tmp_path):
    def build(path):
        toolchain.run(["sh", "-c", "echo 'x.o: No space left on device'; echo more; exit 1"], folder=path, timeout=10)

    with pytest.raises(toolchain.ToolError) as caught:
        cached(tmp_path, "key", build)
    assert str(caught.value) == (f"{tmp_path}: x.o: No space left on device: choose another folder for builds with "
                                 "SETUN_BUILD")


def test_tool_that_cannot_say_so(tmp_path, monkeypatch):
    """Its log is on the full disk as well."""
    def build(path):
        toolchain.run(["sh", "-c", "exit 1"], folder=path, timeout=10)

    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1 << 30, 1 << 30, 4096))
    with pytest.raises(toolchain.ToolError, match=f"^{tmp_path}: No space left on device: .* SETUN_BUILD$"):
        cached(tmp_path, "key", build)


def test_slow_tool_is_no_matter_of_the_disk(tmp_path):
    with pytest.raises(TimeoutError, match="sleep has not ended after 0.1 s"):
        cached(tmp_path, "key", lambda path: toolchain.run(["sleep", "60"], folder=path, timeout=.1))


def test_left_over_of_a_killed_process(tmp_path):
    (tmp_path / "key.left" / "made").mkdir(parents=True)
    (tmp_path / "other.left").mkdir()
    cached(tmp_path, "key", lambda path: None)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["key", "other.left"]
