"""What the tools of `make contracts` find, shown by faults planted in a copy of the library."""

import graphlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "qmlbook"
SCRIPTS = Path(sys.executable).parent
WHITELIST = ROOT / "scripts" / "whitelist.py"
# Every folder with code: "" is the package itself.
ROOMS = sorted({p.parent.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py")} - {"."})


def tool(name, *arguments, cwd):
    """Run a tool of the environment in a checkout, as `make contracts` does."""
    env = {**os.environ, "PYTHONPATH": str(cwd / "src"), "MYPYPATH": str(cwd / "src")}
    program = [sys.executable, name] if name.endswith(".py") else [SCRIPTS / name]
    done = subprocess.run([*program, *arguments], cwd=cwd, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Return a checkout with a folder name of two words, for the tools to read."""
    root = tmp_path_factory.mktemp("a copy")
    skip = shutil.ignore_patterns("__pycache__", "_static", "_build")
    for name in ("src", "scripts", "book", "benchmarks"):
        shutil.copytree(ROOT / name, root / name, ignore=skip)
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    return root


@pytest.fixture
def plant(copy):
    """Return a function that plants a module of its own in every room, for one test."""
    planted = []

    def plant(text):
        for room in ROOMS:
            planted.append(copy / "src" / "qmlbook" / room / "planted.py")
            dotted = ".".join(["qmlbook", *room.split("/")])
            planted[-1].write_text(text.format(room=dotted), "utf-8")

    yield plant
    for path in planted:
        path.unlink()


def dotted(room):
    return f"qmlbook.{room.replace('/', '.')}"


def test_an_upward_import_is_red_in_every_room(copy, plant):
    plant("from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from qmlbook import cli\n")
    status, said = tool("lint-imports", "--no-cache", "--no-logo", cwd=copy)
    assert status == 1
    for room in ROOMS:
        assert f"{dotted(room)}.planted -> qmlbook.cli " in said, room


def test_a_circle_is_red_in_every_room(copy, plant):
    plant("from {room} import turn\n")
    for room in ROOMS:
        turn = copy / "src" / "qmlbook" / room / "turn.py"
        turn.write_text(f"from {dotted(room)} import planted\n")
    status, said = tool("lint-imports", "--no-cache", "--no-logo", cwd=copy)
    for room in ROOMS:
        (copy / "src" / "qmlbook" / room / "turn.py").unlink()
    assert status == 1
    for room in ROOMS:
        assert f"No cycles are allowed in {dotted(room)}." in said, room


def test_a_paper_that_imports_another_is_red(copy):
    names = [path.parent.name for path in sorted(PACKAGE.glob("papers/*/claims.yml"))]
    first, second = names[:2]
    planted = copy / "src" / "qmlbook" / "papers" / first / "planted.py"
    planted.write_text(f"from ..{second} import circuits\n")
    status, said = tool("lint-imports", "--no-cache", "--no-logo", cwd=copy)
    planted.unlink()
    assert status == 1
    assert f"qmlbook.papers.{first}.planted -> qmlbook.papers.{second}.circuits" in said


def test_a_room_without_a_floor_is_red(copy):
    attic = copy / "src" / "qmlbook" / "attic"
    attic.mkdir()
    (attic / "__init__.py").touch()
    status, said = tool("lint-imports", "--no-cache", "--no-logo", cwd=copy)
    shutil.rmtree(attic)
    assert status == 1
    assert "attic" in said


def test_an_unused_function_is_red_in_every_room(copy, plant):
    plant('"""Planted."""\n\n\ndef nobody_calls_this() -> None:\n    """Do nothing."""\n')
    status, said = tool("scripts/unused.py", cwd=copy)
    assert status == 1
    for room in ROOMS:
        assert re.search(rf"{room}.planted\.py:4: unused function 'nobody_calls_this'", said), room


def test_an_unused_import_is_red_in_every_room(copy, plant):
    plant('"""Planted."""\n\nimport os\n')
    status, said = tool("ruff", "check", "--no-cache", "--output-format", "concise", ".", cwd=copy)
    assert status == 1
    for room in ROOMS:
        assert re.search(rf"{room}.planted\.py:3:8: F401", said), room


def test_a_function_without_types_is_red_in_every_room(copy, plant):
    plant('"""Planted."""\n\n\ndef untyped(value):\n    """Return it."""\n    return value\n')
    files = [f"src/qmlbook/{room}/planted.py" for room in ROOMS]
    options = ["--follow-imports", "skip", "--cache-dir", os.devnull]
    status, said = tool("mypy", *options, *files, cwd=copy)
    assert status == 1
    for room in ROOMS:
        assert re.search(rf"{room}.planted\.py:4: error: Function is missing a type", said), room


def test_no_module_imports_itself_by_a_detour():
    """Packages count as modules: what a room says about itself must not need who asks for it."""
    graph = grimp.build_graph("qmlbook", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imports) > len(ROOMS)
    tuple(graphlib.TopologicalSorter(imports).static_order())  # a CycleError names the circle


def test_every_exception_has_a_reason_in_words():
    lines = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted([*PACKAGE.rglob("*.py"), *(ROOT / "scripts").glob("*.py")])
        for line in path.read_text("utf-8").splitlines()
    ]
    unexplained = r"# type: ignore(?!\[[\w, -]+\]  # \w+ \w+)"
    assert [line for line in lines if re.search(unexplained, line)] == []
    for line in WHITELIST.read_text("utf-8").splitlines()[2:]:
        assert re.fullmatch(r"(_\.\w+  # \S+.* \w+)?", line), line


def test_every_name_of_the_whitelist_is_in_the_library():
    library = "\n".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    for name in re.findall(r"^_\.(\w+)", WHITELIST.read_text("utf-8"), re.MULTILINE):
        assert re.search(rf"\b{name}\b", library), name
