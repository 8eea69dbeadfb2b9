"""The lock, the open ranges of pyproject.toml and the conda file say the same."""

import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.pylock import PackageWheel, Pylock
from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags, mac_platforms
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def lines(name):
    """Return the requirements of a file, each on one line, without comments."""
    text = (ROOT / name).read_text("utf-8").replace("\\\n", "")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


HASHED, TORCH = lines("requirements.lock"), lines("requirements-torch.lock")
LINES = [line.partition(" --hash=")[0].strip() for line in HASHED] + TORCH
LOCK = [Requirement(line) for line in LINES]
BESIDE = {"mlflow", "standards"}  # extras whose packages get an environment of their own
DIRECT = [
    Requirement(line)
    for extra, group in {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items()
    for line in group
    if extra not in BESIDE
]
PYTHONS = ["3.11", "3.12", "3.13"]
SYSTEMS = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}


def surroundings(python, platform):
    """Return what markers ask of a Python on a system."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": platform,
        "platform_system": SYSTEMS[platform],
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


def pins(name, python="3.11", platform="linux"):
    """Return the versions the lock pins for a package on one system."""
    system = surroundings(python, platform)
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
    whole = "".join(
        (ROOT / f"requirements{part}.lock").read_text("utf-8") for part in ("", "-torch")
    )
    assert not re.search(
        r"https?:|file:|--(index|extra|find|trusted)|[/\\](home|tmp|opt|usr)", whole
    )
    names = [pin.name for pin in LOCK[: len(HASHED)]]
    assert sorted(names) == names


def test_every_file_of_every_pin_but_torch_has_its_hash():
    for line in HASHED:
        pin, *hashes = re.split(r"\s+--hash=", line)
        assert hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", each) for each in hashes), pin
        assert len(set(hashes)) == len(hashes), pin
    compiled = [
        line for line in HASHED if re.match("(numpy|numba|scipy|pennylane-lightning)==", line)
    ]
    # A file for every system and Python that the book names, at least.
    assert all(line.count("--hash=") >= len(PYTHONS) * len(SYSTEMS) for line in compiled)
    assert len(compiled) == 4


def test_the_lock_in_the_form_of_pep_751_has_the_same_files_and_a_wheel_for_every_system():
    """What pip would take from it is not tried here: it needs pip 26.1."""
    text = (ROOT / "pylock.toml").read_text("utf-8")
    assert "://" not in text
    locked = Pylock.from_dict(tomllib.loads(text))
    assert locked.requires_python.contains("3.11")
    for package, line, pin in zip(locked.packages, HASHED, LOCK, strict=False):
        assert (package.name, str(package.version), str(package.marker or "")) == (
            canonicalize_name(pin.name),
            str(pin.specifier).removeprefix("=="),
            str(pin.marker or ""),
        )
        found = [*(package.wheels or ()), *([package.sdist] if package.sdist else ())]
        # Not all of them: wheels for older Pythons are left out.
        assert {one.hashes["sha256"] for one in found} <= set(re.findall("sha256:(\\w+)", line))
        assert {str(Path(one.path).parent) for one in found} == {"wheels"}
    assert len(locked.packages) == len(HASHED)
    linux = [f"manylinux_2_{minor}_x86_64" for minor in range(34, 4, -1)]
    linux += [f"manylinux{year}_x86_64" for year in (2014, 2010, 1)]
    systems = {
        "linux": linux,
        "darwin": list(mac_platforms((14, 0), "arm64")),
        "win32": ["win_amd64"],
    }
    for system, platforms in systems.items():
        for python in PYTHONS:
            version = tuple(map(int, python.split(".")))
            tags = [*cpython_tags(version, platforms=platforms)]
            tags += compatible_tags(version, f"cp{version[0]}{version[1]}", platforms)
            environment = default_environment() | surroundings(python, system)
            chosen = list(locked.select(environment=environment, tags=tags))
            assert all(isinstance(one, PackageWheel) for _, one in chosen)
            assert {str(each.name) for each, _ in chosen} == {
                canonicalize_name(pin.name)
                for pin in LOCK[: len(HASHED)]
                if pins(pin.name, python, system)
            }


# What installs the environment somewhere else, with the commands that do so.
INSTALLERS = {
    "Makefile": 1,
    "README.md": 1,
    "environment.yml": 1,
    ".binder/postBuild": 1,
    ".github/workflows/tests.yml": 1,
    "book/elsewhere.md": 1,
    "requirements.lock": 1,
    "src/qmlbook/book/course/first.md": 1,
}


def test_whoever_installs_the_lock_lets_pip_check_its_hashes():
    sources = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if sources.returncode:
        pytest.skip("this is no git checkout")
    found = {}
    for name in sources.stdout.splitlines():
        if name.startswith("tests/") or Path(name).suffix in (".jsonl", ".npz", ".safetensors"):
            continue
        text = (ROOT / name).read_text("utf-8", errors="replace")
        steps = re.findall(r"(?:pip install|PIP\)).* -r (requirements.*\.lock)|-e \.$", text, re.M)
        if steps:
            found[name] = steps.count("requirements.lock")
            assert steps.count("requirements.lock") == steps.count("requirements-torch.lock"), name
            checked = re.findall(r"--no-deps --require-hashes -r requirements\.lock", text)
            assert len(checked) == found[name], name
            # Without isolation: what builds the package is in the lock, too.
            own = re.findall(r"^.*(?:pip install|PIP\)).* -e \.$", text, re.M)
            assert own, name
            assert all("--no-deps --no-build-isolation -e ." in line for line in own), name
    assert found == INSTALLERS


@pytest.fixture
def wheel(tmp_path):
    """Return the wheel of a package of no use, and a requirement of it with the right hash."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = folder / "harmless-1.0-py3-none-any.whl"
    files = {
        "harmless.py": "x = 1\n",
        "harmless-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: harmless\nVersion: 1.0\n",
        "harmless-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in files) + "harmless-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {"harmless-1.0.dist-info/RECORD": record}).items():
            archive.writestr(name, content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"harmless==1.0 \\\n    --hash=sha256:{digest}\n")
    return path, lock


def pip(folder, *words):
    """Install from a folder of wheels alone, into a folder, as the Makefile does."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    options = re.search(r"PIP\) (.*) -r requirements\.lock", makefile)[1].split()
    command = [sys.executable, "-m", "pip", "--isolated", "install", "--no-index", *options]
    command += ["--find-links", folder / "wheels", "--target", folder / "installed", *words]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    env["PIP_CONFIG_FILE"] = os.devnull
    return subprocess.run(command, capture_output=True, text=True, env=env)


@pytest.mark.nightly
def test_pip_takes_a_package_whose_hash_is_right_and_refuses_one_that_was_tampered_with(
    tmp_path, wheel
):
    path, lock = wheel
    done = pip(tmp_path, "-r", lock)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "installed" / "harmless.py").is_file()
    shutil.rmtree(tmp_path / "installed")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.py", "print('hello')\n")
    done = pip(tmp_path, "-r", lock)
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "installed").exists()
    for unchecked in ("harmless==1.0", "-e ."):  # hash mode wants a hash of everything
        lock.write_text(f"{unchecked}\n")
        assert pip(tmp_path, "-r", lock).returncode == 1


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
    assert TORCH == ["torch==2.13.0"]
    assert not [line for line in HASHED if line.startswith("torch==")]
    assert not [line for line in LINES if re.match("nvidia-|cuda-|triton=", line)]
    assert [version.major for version in pins("jupyter-book")] == [1]
    (book,) = [direct for direct in DIRECT if direct.name == "jupyter-book"]
    assert Version("2.0") not in book.specifier


def test_the_conda_file_leaves_the_packages_to_pip():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    python, pip = conda["dependencies"]
    assert conda["name"] == PROJECT["name"]
    assert pip == "pip"
    assert python.removeprefix("python=") in PYTHONS
    supported = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert all(Version(python) in supported for python in PYTHONS)
    assert Version("3.14") not in supported


@pytest.fixture
def make(tmp_path):
    """Return a function that runs make in a folder whose environment only says what it is asked.

    A command line of it that is in ``FAIL`` fails.
    """
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "requirements-torch.lock", "pyproject.toml"):
        shutil.copyfile(ROOT / name, folder / name)
    for name in ("results/one", "results/two"):
        (folder / "data" / name).mkdir(parents=True)
    # These tests may themselves be run by make, whose notes to sub-makes would change the output.
    inherited = {key: value for key, value in os.environ.items() if "MAKE" not in key}

    def ready():
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for program in ("qmlbook", "ruff", "python", "mypy", "lint-imports"):
            line = f'"{program} $*"'
            path = programs / program
            path.write_text(f'#!/bin/sh\necho {line} >>said\ntest {line} != "$FAIL"\n', "utf-8")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        (programs.parent / ".ready").touch()

    def make(*arguments, **environment):
        (folder / "said").unlink(missing_ok=True)
        done = subprocess.run(
            ["make", *arguments],
            cwd=folder,
            env={**inherited, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        said = folder / "said"
        return done, said.read_text("utf-8").splitlines() if said.is_file() else []

    make.ready = ready
    return make


def test_make_says_what_is_missing(make):
    done, _ = make("book", "PYTHON=")
    assert done.returncode == 2
    assert "No Python 3.11, 3.12 or 3.13 found" in done.stderr


def test_the_environment_is_made_from_the_lock(make):
    done, _ = make("--dry-run", "book", "PYTHON=/a path/python")
    assert done.returncode == 0
    assert '"/a path/python" -m venv' in done.stdout
    installed = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert [line.split(" -")[-1] for line in installed] == [
        "r requirements.lock",
        "r requirements-torch.lock",
        "e .",
    ]


@pytest.mark.parametrize("target", ["contracts", "test", "test-all"])
def test_a_target_stops_at_the_first_failure_whichever_it_is(make, target):
    make.ready()
    done, lines = make(target)
    assert done.returncode == 0, done.stderr
    assert len(lines) == len(set(lines)) >= 5
    for number, line in enumerate(lines, 1):
        done, ran = make(target, FAIL=line)
        assert done.returncode == 2, line
        assert ran == lines[:number]


def test_a_target_contains_the_smaller_one(make):
    make.ready()
    contracts, test, everything = (make(name)[1] for name in ("contracts", "test", "test-all"))
    assert test[: len(contracts)] == contracts
    assert everything[: len(test)] == test
    tools = {line.split()[0] for line in contracts}
    assert tools == {"ruff", "lint-imports", "python", "mypy"}
    # Every test is run once: the parts of the suite leave nothing out and share nothing.
    parts = [re.search("-m pytest .* -m (.*)", line) for line in everything]
    parts = [part[1] for part in parts if part]
    for marks in ({}, {"slow"}, {"nightly"}, {"slow", "nightly"}):
        names = {"slow": "slow" in marks, "nightly": "nightly" in marks}
        assert sum(eval(part, {}, names) for part in parts) == 1, marks


def test_determinism_is_four_checks_and_names_those_that_fail(make):
    make.ready()
    done, lines = make("determinism", "CHAPTERS=evidence klssl")
    assert done.returncode == 0
    # One thread: chapters side by side; two threads: one by one.
    assert [line.split(" --jobs ")[1] for line in lines] == [
        "2 evidence klssl",
        "1 evidence klssl",
    ] * 2
    assert all(line.startswith("qmlbook check --nbval") for line in lines)  # run again, not read
    done, lines = make("determinism", FAIL=lines[1].replace(" evidence klssl", ""))
    assert done.returncode == 2
    assert len(lines) == 4  # the others are checked all the same
    assert done.stdout.splitlines()[-1].startswith("Not the same with default 2")


def test_the_check_of_a_change_can_be_run():
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR


# Stands for uv: notes what it was asked, and writes what uv would, with hashes if asked for them.
UV = """
import sys
from pathlib import Path
words = sys.argv[1:]
Path("asked").open("a").write(" ".join(words) + "\\n")
out = Path(words[words.index("-o") + 1])
if "pylock.toml" in words:
    wheel = 'url = "https://one.example/a/b/numpy-1%2B2-py3.whl", upload-time = 2026, size = 7'
    out.write_text("wheels = [{ %s, hashes = {} }]\\n" % wheel)
    sys.exit()
pins = ["numpy==2.4.6", "nvidia-cublas==13.1", "torch==2.13.0+cpu", "triton==3.7.1"]
left_out = [word.partition("=")[2] for word in words if word.startswith("--no-emit-package=")]
pins = [pin for pin in pins if pin.partition("==")[0] not in left_out]
end = " --hash=sha256:00\\n" if "--generate-hashes" in words else "\\n"
out.write_text("".join(pin + end for pin in pins))
"""


def test_a_new_lock_leaves_torch_and_what_belongs_to_one_build_of_it_to_the_second_step(tmp_path):
    for name in ("pyproject.toml", "requirements.lock", "requirements-torch.lock", "pylock.toml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "scripts").mkdir()
    shutil.copyfile(ROOT / "scripts" / "lock.py", tmp_path / "scripts" / "lock.py")
    uv, program = tmp_path / "uv", tmp_path / "uv.py"
    program.write_text(UV)
    quoted = shlex.join([sys.executable, str(program)])  # no `#!` of a Python whose path has spaces
    uv.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
    uv.chmod(0o755)
    subprocess.run([sys.executable, tmp_path / "scripts" / "lock.py", uv], check=True, cwd=tmp_path)
    made = [
        (tmp_path / f"requirements{part}.lock").read_text().splitlines() for part in ("", "-torch")
    ]
    kept = [[line for line in lines if not line.startswith("#")] for lines in made]
    assert kept == [["numpy==2.4.6 --hash=sha256:00"], ["torch==2.13.0"]]
    for lines, name in zip(made, ("requirements.lock", "requirements-torch.lock"), strict=True):
        before = (ROOT / name).read_text("utf-8").splitlines()
        assert [line for line in lines if line[0] == "#"] == [
            line for line in before if line[0] == "#"
        ]
    asked = (tmp_path / "asked").read_text()
    extras = set(PROJECT["optional-dependencies"]) - BESIDE
    assert {word for word in asked.split() if word.startswith("--extra=")} == {
        f"--extra={name}" for name in extras
    }
    assert not list(tmp_path.glob("*.part*"))
    assert (tmp_path / "pylock.toml").read_text().splitlines()[-1] == (
        'wheels = [{ path = "wheels/numpy-1+2-py3.whl", hashes = {} }]'
    )
