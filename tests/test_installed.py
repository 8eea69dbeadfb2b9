"""The package alone, as pip installs it from the repository's address, without a checkout."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

from qmlbook import papers
from qmlbook.book import chapters
from qmlbook.book.site import build

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ADDRESS = "https://github.com/someone/book"
# Those of the papers take minutes, and use no more of the package than these and their own room.
NAMES = sorted(set(chapters.names(ROOT)) - set(papers.names()))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a folder with what a wheel holds, by the rules of the project's own file."""
    folder = tmp_path_factory.mktemp("site-packages")
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    packages = {name: Path(name).name for name in wheel["packages"]}
    for source, place in (packages | wheel["force-include"]).items():
        unwanted = shutil.ignore_patterns("__pycache__", ".pending")
        shutil.copytree(ROOT / source, folder / place, dirs_exist_ok=True, ignore=unwanted)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_twin_runs_where_only_the_package_is(installed, tmp_path, name):
    twin = build._twin(chapters.sources(ROOT)[name], ROOT, ADDRESS)
    extra = "hardware"
    assert f'"qmlbook[{extra}] @ git+{ADDRESS}"' in twin.cells[0].source
    assert extra in PROJECT["project"]["optional-dependencies"]
    where = f"import qmlbook; assert qmlbook.__file__.startswith({str(installed)!r})"
    twin.cells.insert(1, nbformat.v4.new_code_cell(where))
    nbformat.write(twin, tmp_path / "twin.ipynb")
    left_out = ("QMLBOOK_DATA", "QMLBOOK_ROOT")
    env = {key: value for key, value in os.environ.items() if key not in left_out}
    env |= {"PYTHONPATH": str(installed), "QMLBOOK_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "twin.ipynb", "run.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
