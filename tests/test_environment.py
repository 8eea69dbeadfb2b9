"""The lock, the open ranges of pyproject.toml and the conda file say the same."""

import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LINES = [
    line
    for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
LOCK = [Requirement(line) for line in LINES]
DIRECT = [
    Requirement(line)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in group
]
PYTHONS = ["3.11", "3.12", "3.13"]
SYSTEMS = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}


def pins(name, python="3.11", platform="linux"):
    """Return the versions the lock pins for a package on one system."""
    system = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": platform,
        "platform_system": SYSTEMS[platform],
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    return [
        Version(next(iter(pin.specifier)).version)
        for pin in LOCK
        if canonicalize_name(pin.name) == canonicalize_name(name)
        and (pin.marker is None or pin.marker.evaluate(system))
    ]


def test_the_lock_names_one_exact_version_and_nothing_of_the_machine_that_made_it():
    for line, pin in zip(LINES, LOCK, strict=True):
        assert re.fullmatch(r"==[0-9][\w.]*", str(pin.specifier)), line
        assert "://" not in line, line
        assert not pin.url, line
    whole = (ROOT / "requirements.lock").read_text("utf-8")
    assert not re.search(
        r"https?:|file:|--(index|extra|find|trusted)|[/\\](home|tmp|opt|usr)", whole
    )
    names = [pin.name for pin in LOCK]
    assert sorted(names) == names


@pytest.mark.parametrize("platform", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_package_is_pinned_once_on_every_system(python, platform):
    for name in {pin.name for pin in LOCK}:
        assert len(pins(name, python, platform)) <= 1, name
    for direct in DIRECT:
        found = pins(direct.name, python, platform)
        assert len(found) == 1, f"{direct.name} is not in the lock; run `make lock`"
        assert found[0] in direct.specifier, f"{direct} does not admit {found[0]}"


def test_no_package_is_asked_for_twice():
    names = [canonicalize_name(direct.name) for direct in DIRECT]
    assert len(names) == len(set(names))


def test_torch_is_any_build_of_its_version_and_jupyter_book_is_1():
    assert [line for line in LINES if line.startswith("torch==")] == ["torch==2.13.0"]
    assert not [line for line in LINES if re.match("nvidia-|cuda-|triton=", line)]
    assert [version.major for version in pins("jupyter-book")] == [1]
    (book,) = [direct for direct in DIRECT if direct.name == "jupyter-book"]
    assert Version("2.0") not in book.specifier


def test_the_conda_file_takes_its_versions_from_the_lock():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    python, pip, packages = conda["dependencies"]
    assert conda["name"] == PROJECT["name"]
    assert pip == "pip"
    assert python.removeprefix("python=") in PYTHONS
    assert packages == {"pip": ["-r requirements.lock", "-e ."]}
    supported = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert all(Version(python) in supported for python in PYTHONS)
    assert Version("3.14") not in supported


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_says_what_is_missing_and_stops_at_the_first_failure(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copyfile(ROOT / name, tmp_path / name)

    # These tests may themselves be run by make, whose notes to sub-makes would change the output.
    inherited = {key: value for key, value in os.environ.items() if "MAKE" not in key}

    def make(*arguments, **environment):
        return subprocess.run(
            ["make", *arguments],
            cwd=tmp_path,
            env={**inherited, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    missing = make("book", "PYTHON=")
    assert missing.returncode == 2
    assert "No Python 3.11, 3.12 or 3.13 found" in missing.stderr

    for paper in "abcde":
        (tmp_path / "data" / "results" / paper).mkdir(parents=True)

    # With an environment that is ready, a target is what the environment's programs say.
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for program in ("qmlbook", "ruff", "python"):
        path = tmp_path / ".venv" / "bin" / program
        path.write_text(f'#!/bin/sh\necho "{program} $*"\ntest "$1" != "$FAIL"\n', "utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (tmp_path / ".venv" / ".ready").touch()
    steps = [
        ["ruff", "check"],
        ["ruff", "format"],
        ["python", "-m"],
        ["qmlbook", "vectors"],
        *[["qmlbook", "sweep"]] * 5,  # one for each paper with records
        ["qmlbook", "check"],
        ["qmlbook", "build"],
        ["python", "-m"],
    ]
    for count, fail in [
        (12, ""),
        (2, "format"),
        (4, "vectors"),
        (5, "sweep"),
        (10, "check"),
        (11, "build"),
    ]:
        if fail == "check":
            (tmp_path / ".venv" / "bin" / "ruff").write_text('#!/bin/sh\necho "ruff $*"\n')
        done = make("test", FAIL=fail)
        ran = re.findall("^(?:qmlbook|ruff|python) .*", done.stdout, re.MULTILINE)
        assert [line.split()[:2] for line in ran] == steps[:count]
        assert done.returncode == (2 if fail else 0)
    # Nothing but the tests' own summary may come last.
    *_, title, command = make("test").stdout.strip().splitlines()
    assert title == "== chapter pipeline, environment and pages"
    assert re.fullmatch(r"python -m pytest -q .* -m slow", command)


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_determinism_is_four_checks_and_names_those_that_fail(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    program = tmp_path / ".venv" / "bin" / "qmlbook"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n"
        'echo "$ATEN_CPU_CAPABILITY $OMP_NUM_THREADS $MKL_NUM_THREADS: $*"\n'
        'test "$ATEN_CPU_CAPABILITY $OMP_NUM_THREADS" != "$FAIL"\n'
    )
    program.chmod(0o755)
    (tmp_path / ".venv" / ".ready").touch()
    inherited = {key: value for key, value in os.environ.items() if "MAKE" not in key}

    def make(*arguments, fail=""):
        return subprocess.run(
            ["make", "determinism", *arguments],
            cwd=tmp_path,
            env={**inherited, "FAIL": fail, "MKL_NUM_THREADS": "7"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    good = make("CHAPTERS=evidence klssl")
    assert good.returncode == 0
    assert [line for line in good.stdout.splitlines() if not line.startswith("==")] == [
        f"{cpu} {threads} {threads}: check --jobs {3 - threads} evidence klssl"
        for cpu in ("default", "avx2")
        for threads in (1, 2)
    ]
    red = make(fail="default 2")
    assert red.returncode == 2
    assert red.stdout.count(": check --jobs") == 4  # the others are checked all the same
    assert red.stdout.endswith("Not the same with default 2\n")


def test_the_check_of_a_change_can_be_run():
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR
