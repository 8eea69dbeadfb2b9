"""The package alone, as pip installs it from the repository's address, without a checkout."""

import importlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import nbformat
import pytest

from qmlbook import papers
from qmlbook.base import paths
from qmlbook.base.errors import UsageError
from qmlbook.book import chapters
from qmlbook.book.site import build
from qmlbook.evidence import store

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ADDRESS = "https://github.com/someone/book"
# Those of the papers take minutes, and use no more of the package than these and their own room.
NAMES = sorted(set(chapters.names(ROOT)) - set(papers.names()))
QUICK = ("data",)  # reads images; the others at night


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a folder with what a wheel holds, by the rules of the project's own file."""
    folder = tmp_path_factory.mktemp("site-packages")
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    packages = {name: Path(name).name for name in wheel["packages"]}
    for source, place in (packages | wheel["force-include"]).items():
        if (ROOT / source).is_file():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, folder / place)
            continue
        unwanted = shutil.ignore_patterns("__pycache__", ".pending")
        shutil.copytree(ROOT / source, folder / place, dirs_exist_ok=True, ignore=unwanted)
    return folder


def left_alone(installed, tmp_path):
    """Return the environment of a reader who has the package and nothing else."""
    left_out = ("QMLBOOK_DATA", "QMLBOOK_ROOT")
    env = {key: value for key, value in os.environ.items() if key not in left_out}
    return env | {"PYTHONPATH": str(installed), "QMLBOOK_CACHE": str(tmp_path / "cache")}


def test_the_package_alone_finds_what_travels_with_it_and_is_the_same_code(installed, tmp_path):
    ask = """if True:
    import json
    from qmlbook import data, papers
    from qmlbook.base import paths
    from qmlbook.evidence.store import code_version
    for name in papers.names():
        assert (papers.claims_file(name)).is_file()
    assert {status.source for status in data.status(["mnist", "fashion_mnist"])} == {"embedded"}
    print(json.dumps([str(paths.PACKAGE), str(paths.data_root()), code_version()]))
    """
    env = left_alone(installed, tmp_path)
    python = [sys.executable, "-c", ask]
    done = subprocess.run(python, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    package, root, version = json.loads(done.stdout)
    assert Path(package) == installed / "qmlbook"
    assert Path(root) == installed / "qmlbook" / "_data"
    assert paths.PACKAGE == ROOT / "src" / "qmlbook"
    assert paths.data_root() == ROOT / "data"
    assert version == store.code_version()
    scripts = (
        PROJECT["project"]["scripts"] | PROJECT["project"]["entry-points"]["pennylane.plugins"]
    )
    for target in scripts.values():
        module, name = target.split(":")
        assert callable(getattr(importlib.import_module(module), name))


def alone(installed, tmp_path, *words):
    """Run a command where only the package is; return what became of it."""
    program = [sys.executable, "-m", "qmlbook.cli", *words]
    env = left_alone(installed, tmp_path)
    return subprocess.run(program, cwd=tmp_path, env=env, capture_output=True, text=True)


def test_the_package_alone_copies_the_chapters_of_the_checkout(installed, tmp_path):
    done = alone(installed, tmp_path, "chapters", "--copy", "notebooks")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "The notebooks are in notebooks\n"
    copied = {path.stem: path.read_bytes() for path in (tmp_path / "notebooks").iterdir()}
    assert set(copied) == set(chapters.names(ROOT))
    own = chapters.copy(["data"], tmp_path / "own", root=ROOT)
    assert (own / "data.ipynb").read_bytes() == copied["data"]
    assert chapters.copy(["data"], tmp_path / "own", root=ROOT) == own  # again changes nothing
    (own / "data.ipynb").write_text("mine")
    with pytest.raises(UsageError, match=r"data\.ipynb is there with other content"):
        chapters.copy(["data"], own, root=ROOT)
    assert (own / "data.ipynb").read_text() == "mine"
    done = alone(installed, tmp_path, "chapters", "--copy", "-")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--copy '-' is no folder" in done.stderr


@pytest.mark.nightly
@pytest.mark.parametrize(
    "words",
    [
        ["report", "qdeq", "--format", "csv"],
        ["records", "qdeq", "--format", "parquet", "--to", "qdeq.parquet"],
        ["records", "qdeq", "--format", "ro-crate", "--to", "crate"],
        ["sweep", "klssl", "--experiment", "circuit", "--dry-run"],
        ["data", "verify", "mnist", "qdeq"],
        ["vectors", str(ROOT / "tests" / "vectors" / "klssl.json")],
    ],
    ids=lambda words: words[0],
)
def test_commands_that_need_no_checkout_work_where_only_the_package_is(installed, tmp_path, words):
    done = alone(installed, tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout or "--to" in words


@pytest.mark.nightly
def test_a_wheel_that_was_built_holds_what_these_tests_say_it_holds(installed, tmp_path):
    runpy.run_path(str(ROOT / "scripts" / "release.py"))["packages"](tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    there = {path.relative_to(installed).as_posix() for path in installed.rglob("*")}
    assert names <= there
    files_there = {path for path in there if (installed / path).is_file()}
    assert {name for name in files_there - names if "__pycache__" not in name} == set()
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    done = alone(unpacked, tmp_path, "chapters", "data", "--copy", "notebooks")
    assert done.returncode == 0, done.stderr
    run = [sys.executable, "-m", "papermill", "--no-progress-bar", "notebooks/data.ipynb", "-"]
    env = left_alone(unpacked, tmp_path)
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.nightly] * (n not in QUICK)) for n in NAMES]
)
def test_a_twin_runs_where_only_the_package_is(installed, tmp_path, name):
    twin = build._twin(chapters.sources(ROOT)[name], ROOT, ADDRESS)
    extra = "hardware"
    assert f'"qmlbook[{extra}] @ git+{ADDRESS}"' in twin.cells[0].source
    assert extra in PROJECT["project"]["optional-dependencies"]
    where = f"import qmlbook; assert qmlbook.__file__.startswith({str(installed)!r})"
    twin.cells.insert(1, nbformat.v4.new_code_cell(where))
    nbformat.write(twin, tmp_path / "twin.ipynb")
    env = left_alone(installed, tmp_path)
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "twin.ipynb", "run.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
