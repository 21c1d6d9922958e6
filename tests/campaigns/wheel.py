"""The wheel, installed alone into a new environment and used from another folder. ``make wheel``."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from setun.hdl.build.toolchain import build_folder


ROOT = Path(__file__).parents[2]
LOCK = ROOT / "tests" / "requirements.lock"
PARTS = ("pyproject.toml", "README.md", "LICENSE", "firmware", "golden", "hdl", "sim")  # that the wheel is made from
MOST_BYTES = 400 << 20  # of the environment, pip among it
MISSING = {("build", "--board", "icepi-zero"): "boards", ("profile", "demo", "--html", "demo.html"): "profile"}


def build_wheel(folder):
    """Path of the wheel of a copy of the tree: setuptools leaves in a tree what the next wheel would hold."""
    tree = folder / "tree"
    tree.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, tree)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, tree],
                   check=True)
    wheel, = folder.glob("setun-*.whl")
    return wheel


def size_of(folder):
    """Bytes that the files of a folder take on disk, links left out."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if not path.is_symlink())


def main():
    """Check what the wheel holds, how large the environment is, the demo, and commands whose packages are missing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel, fresh, elsewhere = build_wheel(folder), folder / "fresh", folder / "elsewhere"
        elsewhere.mkdir()
        with zipfile.ZipFile(wheel) as file:
            tops = {entry.partition("/")[0] for entry in file.namelist()}
        assert tops == {"setun", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}, tops
        subprocess.run([sys.executable, "-m", "venv", fresh], check=True)
        subprocess.run([fresh / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                        "--constraint", LOCK, wheel], check=True)
        size = size_of(fresh)
        assert size <= MOST_BYTES, f"the environment takes {size:,} bytes"

        def setun(*arguments):
            environment = {**os.environ, "PATH": os.defpath, "SETUN_BUILD": str(build_folder())}
            return subprocess.run([fresh / "bin" / "setun", *arguments], cwd=elsewhere, env=environment, text=True,
                                  capture_output=True)

        ran = setun("run", "--tokens", "2")
        said = " ".join(ran.stdout.split())
        assert ran.returncode == 0 and "values equal the golden model and the reference machine" in said, ran
        for arguments, extra in MISSING.items():
            refused = setun(*arguments)
            last = refused.stderr.splitlines()[-1]
            assert refused.returncode == 2 and "Traceback" not in refused.stderr, refused
            assert last.endswith(f" is not installed: pip install 'setun[{extra}]'"), last
    print(f"{wheel.name}: {size / (1 << 20):.0f} MiB installed; setun run passes in another folder")


if __name__ == "__main__":
    main()
