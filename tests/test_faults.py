"""What goes wrong around the code: folders, disks, networks, words, signals.

The commands run as a reader runs them, in processes of their own, on a tiny project. Nothing is
simulated that the system can be made to do: a mount is read-only, a disk is full.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import numpy as np
import pytest
from small_project import PARAMETERS, TINY, Project, chapter

from qmlbook import cli
from qmlbook.base import files, paths, threads
from qmlbook.base.errors import QmlbookError, UsageError, WriteError, choose, shown
from qmlbook.book import chapters, execute, parameters, references, stamps
from qmlbook.data import readers
from qmlbook.evidence import claims

ROOT = Path(__file__).resolve().parents[1]
resource = pytest.importorskip("resource", reason="limits, mounts and signals are those of POSIX")

# Runs several commands in one process, because imports take most of the time, and says what became
# of each: [status, standard output, standard error].
RUN = """
import contextlib, io, json, sys
from qmlbook import cli
found = []
for words in json.loads(sys.argv[1]):
    sys.argv[1:], out, err = words, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as stop:
            found.append([int(stop.code or 0), out.getvalue(), err.getvalue()])
print(json.dumps(found))
"""


def environment(root, **more):
    own = {"QMLBOOK_ROOT": str(root), "QMLBOOK_CACHE": str(root / "cache")}
    path = os.pathsep.join(filter(None, [str(paths.PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    inherited = {key: value for key, value in os.environ.items() if key != "QMLBOOK_DATA"}
    return {**inherited, **own, "PYTHONPATH": path, **more}


def commands(root, *lines, wrap=(), **options):
    """Run command lines; return (status, output, error) of each."""
    done = subprocess.run(
        [*wrap, sys.executable, "-c", RUN, json.dumps([line.split() for line in lines])],
        capture_output=True,
        text=True,
        **{"env": environment(root), **options},
    )
    assert done.returncode == 0, done.stderr
    return [tuple(one) for one in json.loads(done.stdout)]


def one_sentence(error):
    """Return whether an error is one line without a traceback."""
    return len(error.splitlines()) == 1 and error.startswith("Error: ") and error.endswith(".\n")


def tree(folder):
    """Return every file below a folder with the digest of its content."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def half_written(folder):
    """Return files and folders that only a write under way should have."""
    finished = (".lock", ".fingerprint", ".buildinfo", ".nojekyll")
    return [path for path in folder.rglob(".*") if path.name not in finished]


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(path, inside="", seconds=300):
    """Return a path as soon as it is a file with content, or a folder with such a name inside."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any(path.glob(inside)) if inside else path.is_file() and path.read_text():
            return path
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


# --- what is read-only, what is full ------------------------------------------------------------

MOUNT = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]


def can_mount():
    probe = [*MOUNT, "mount -t tmpfs none /mnt"]
    return (
        bool(shutil.which("unshare")) and not subprocess.run(probe, capture_output=True).returncode
    )


needs_mount = pytest.mark.skipif(
    not can_mount(), reason="this system lets no one mount a file system in a namespace of its own"
)


def drop_privileges():
    """Make permissions bind for root, too: without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    if os.geteuid() == 0:
        prctl, drop = ctypes.CDLL(None, use_errno=True).prctl, 24
        for capability in (1, 2):
            if prctl(drop, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "a capability cannot be dropped")


@contextlib.contextmanager
def without_permission(root):
    """Take the permission to write from everything below a folder."""
    every = [root, *root.rglob("*")]
    modes = {path: path.stat().st_mode for path in every if not path.is_symlink()}
    try:
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return a project with a book and a reference; tests work on copies."""
    project = Project(tmp_path_factory.mktemp("built"))
    ((status, out, error),) = commands(project.root, "build")
    assert (status, error) == (0, ""), out
    assert not half_written(project.root)
    reference = project.root / "tests" / "reference" / "tiny.ipynb"
    references.write(project.executed("tiny"), reference, project.root)
    return project.root


@pytest.fixture
def copy(built, tmp_path):
    """Return a copy of the project; its book is as current as the original."""
    return Path(shutil.copytree(built, tmp_path / "copy"))


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["permissions", pytest.param("mount", marks=needs_mount)])
def test_a_read_only_checkout(copy, kind):
    (copy / "book" / "intro.md").write_text("# Another first page\n", "utf-8")
    before = tree(copy)
    good = ["chapters", "check", "report klssl --format json", "sweep klssl --dry-run"]
    refused = ["chapters --force", "check --update", "build", "sweep klssl --experiment grid"]
    lines = good + refused
    if kind == "mount":
        only = 'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; exec "$@"'
        results = commands(copy, *lines, wrap=[*MOUNT, only, copy], cwd=copy.parent)
    else:
        with without_permission(copy):
            results = commands(copy, *lines, preexec_fn=drop_privileges)
    reason = {"mount": "(Read-only file system)", "permissions": "(Permission denied)"}[kind]
    assert len(results) == len(lines)
    for line, (status, out, error) in zip(good, results[:4], strict=True):
        assert (status, error) == (0, ""), line
        assert out, line
    assert results[0][1] == "tiny: up to date\n"
    assert results[1][1] == "tiny: up to date\ntiny: agrees with its reference\n"
    for line, (status, out, error) in zip(refused, results[4:], strict=True):
        assert status == 1, line
        assert one_sentence(error), error
        assert f"cannot be written {reason}" in error, line
        assert "running" not in out, "work was begun that could not be kept"
    assert tree(copy) == before


def limit_files(size):
    """Return what makes every write beyond a size fail, as on a full disk, in a child."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextlib.contextmanager
def limited_files(size):
    """Make every write beyond a size fail in this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["plain", "checksum", "npz", "safetensors"])
def test_a_write_that_does_not_fit_leaves_the_old_file(tmp_path, kind):
    import torch

    path, rng = tmp_path / "file", np.random.default_rng(0)

    def write(size):
        if kind == "npz":
            readers.save_npz(path, {"x": rng.integers(0, 256, size, dtype=np.uint8)})
        elif kind == "safetensors":
            files.save_tensors({"x": torch.zeros(size)}, path)
        else:
            files.write(path, b"x" * size, checksum=kind == "checksum")

    write(10)
    before = tree(tmp_path)
    assert len(before) == (1 if kind == "plain" else 2)
    with limited_files(2000), pytest.raises(WriteError, match=r"cannot be written \(File too larg"):
        write(10_000)
    with limited_files(2000), contextlib.suppress(OSError):  # for those who know Python's errors
        write(10_000)
    assert tree(tmp_path) == before
    write(10_000)
    if kind == "npz":
        readers.check_container(path)
    elif kind == "safetensors":
        assert len(files.load_tensors(path)["x"]) == 10_000


@pytest.mark.nightly
@pytest.mark.parametrize(("line", "size"), [("build", 20_000), ("chapters --force", 500)])
def test_files_that_do_not_fit(copy, line, size):
    (copy / "book" / "intro.md").write_text("# Another first page\n", "utf-8")
    kept = ["html", "executed"]
    before = {name: tree(copy / "_build" / name) for name in kept}
    ((status, _, error),) = commands(copy, line, preexec_fn=limit_files(size))
    assert status == 1
    assert one_sentence(error), error
    assert "File too large" in error
    assert {name: tree(copy / "_build" / name) for name in kept} == before
    assert not half_written(copy)


# Mounts a small disk as the folder of builds, fills it but for so many KiB, builds, makes room and
# builds again. $0 is the project, $1 the KiB, the rest the command.
FULL = """
cp -a "$0/_build" "$0/copy"; mount -t tmpfs -o size=64m none "$0/_build"
cp -a "$0/copy/." "$0/_build"; left=$1; shift
free=$(df -k --output=avail "$0/_build" | tail -n 1)
head -c $(( (free - left) * 1024 )) /dev/zero > "$0/_build/filler"
"$@" > "$0/first" || true
cp -a "$0/_build/html" "$0/after"; ls -A "$0/_build" > "$0/left"
rm "$0/_build/filler"
exec "$@"
"""


@needs_mount
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("more", "said"),
    [pytest.param(5_000_000, 1, id="staging"), pytest.param(0, 2, id="rendering")],
)
def test_a_full_disk_leaves_the_last_good_book_and_the_next_build_succeeds(copy, more, said):
    (copy / "book" / "_static" / "more.bin").write_bytes(b"x" * more)
    (copy / "book" / "intro.md").write_text("# Another first page\n", "utf-8")
    (again,) = commands(copy, "build", wrap=[*MOUNT, FULL, copy, "4000"])
    ((status, out, error),) = json.loads((copy / "first").read_text())
    assert status == 1
    assert one_sentence(error), error
    assert "No space left on device" in error
    assert len(out.splitlines()) == said  # what had been done until then
    assert tree(copy / "after") == tree(copy / "copy" / "html")
    left = (copy / "left").read_text().split()
    assert sorted(left) == [".lock", "executed", "filler", "html", "site"]
    assert again[0] == 0


# --- hanging, interrupted -----------------------------------------------------------------------

# A kernel that says who it is and neither ends nor listens.
HANGS = """import os, pathlib, signal, time

signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
started = pathlib.Path("{folder}", "started")
started.write_text(f"{{os.getppid()}} {{os.getpid()}}")
time.sleep(600)"""


def hanging(root, tags=""):
    cell = (tags, HANGS.format(folder=root))
    return chapter("Tiny", ("parameters", PARAMETERS), cell, "print('after')")


@pytest.mark.nightly
def test_the_kernel_of_a_chapter_that_hangs_is_gone_afterwards(tmp_path):
    project = Project(tmp_path)
    project.chapters(tiny=hanging(tmp_path))
    result = project.run(cell_timeout=3)["tiny"]
    assert (result.status, result.cell) == ("failed", 2)
    assert result.error == "the cell took longer than 3 s"
    assert not any(alive(int(process)) for process in (tmp_path / "started").read_text().split())

    # nbval, too: the chapter hangs where its reference says what it printed.
    notebook = chapters.sources(tmp_path)["tiny"]
    import jupytext

    stored = jupytext.read(notebook)
    for count, cell in enumerate((c for c in stored.cells if c.cell_type == "code"), 1):
        cell.execution_count = count
        if cell.source.startswith("print"):
            said = nbformat.v4.new_output("stream", name="stdout", text="after\n")
            cell.outputs = [said]
    (folder := tmp_path / "tests" / "reference").mkdir(parents=True)
    nbformat.write(stored, folder / "tiny.ipynb")
    (tmp_path / "started").unlink()
    assert not project.check(cell_timeout=3, nbval=True)
    assert "code cell 2: Timeout of 3 seconds exceeded" in project.said[-1]
    assert not any(alive(int(process)) for process in (tmp_path / "started").read_text().split())


def start(root, *words, patch=""):
    """Start a command; it has its own group, so that a signal reaches nobody else."""
    code = f"{patch}\nfrom qmlbook import cli\ncli.main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=environment(root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def leave(process, status):
    """Wait for the end of a command that was sent a signal; nobody wants a traceback of it."""
    out, error = process.communicate(timeout=300)
    assert process.returncode == status, out + error
    if status > 0:
        once = r"Interrupted: qmlbook \w+\. .* the same command goes on\.\n"
        again = r"(Still stopping; a third time leaves at once\.\n)?"
        assert re.fullmatch(once + again, error)


@pytest.mark.nightly
def test_a_command_that_is_terminated_takes_its_kernels_along(tmp_path):
    Project(tmp_path).chapters(tiny=hanging(tmp_path))
    process = start(tmp_path, "chapters")
    running = [int(word) for word in wait_for(tmp_path / "started").read_text().split()]
    assert all(map(alive, running))
    process.terminate()
    leave(process, 128 + signal.SIGTERM)
    assert not any(map(alive, running))


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)]
)
def test_an_interruption_says_what_was_interrupted_and_a_second_one_ends_it_at_once(
    tmp_path, number
):
    Project(tmp_path).chapters(tiny=hanging(tmp_path))
    process = start(tmp_path, "chapters")
    running = [int(word) for word in wait_for(tmp_path / "started").read_text().split()]
    process.send_signal(number)
    said = [process.stdout.readline(), process.stdout.readline()]
    assert said[1] == (
        "Interrupted while tiny ran; finished chapters are kept, the same command goes on.\n"
    )
    assert process.poll() is None  # it waits for a kernel that does not listen
    process.send_signal(number)
    leave(process, 128 + number)
    for _ in range(300):  # a kernel ends when it misses who started it
        if not any(map(alive, running)):
            break
        time.sleep(0.1)
    assert not any(map(alive, running))
    assert not list((tmp_path / "_build").rglob("*.ipynb"))


# Sends itself a signal when the old book has made room and the new one is not yet in its place.
BETWEEN = """
import os, pathlib, signal
real = pathlib.Path.replace
def replace(self, target):
    real(self, target)
    if pathlib.Path(target).name == ".old":
        os.kill(os.getpid(), signal.{name})
pathlib.Path.replace = replace
"""


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_an_interrupted_build_leaves_the_last_good_book(copy, name):
    number = signal.Signals[name]
    status = -number if name == "SIGKILL" else 128 + number
    html = copy / "_build" / "html"
    before = tree(html)

    # while a chapter runs (that neither ends nor listens)
    (copy / "book" / "tiny.md").write_text(hanging(copy), "utf-8")
    process = start(copy, "build")
    running = [int(word) for word in wait_for(copy / "started").read_text().split()]
    process.send_signal(number)
    leave(process, status)
    if name == "SIGKILL":  # nobody was left to end them
        for one in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
    else:
        assert not any(map(alive, running))
    assert tree(html) == before

    # while the pages are made, and between the two renames
    (copy / "book" / "tiny.md").write_text(TINY, "utf-8")
    (copy / "book" / "intro.md").write_text("# Another first page\n", "utf-8")
    process = start(copy, "build")
    wait_for(copy / "_build", ".new-*")
    process.send_signal(number)
    leave(process, status)
    assert tree(html) == before
    leave(start(copy, "build", patch=BETWEEN.format(name=name)), status)
    if name != "SIGKILL":
        assert tree(html) == before
        assert not half_written(copy)

    # The next build finds the last good book, even if it fails itself; the one after it succeeds.
    (copy / "book" / "intro.md").write_text("# Another\n\n{doc}`nowhere`\n", "utf-8")
    ((failed, _, _),) = commands(copy, "build")
    assert failed == 1
    assert tree(html) == before
    (copy / "book" / "intro.md").write_text("# Another first page\n", "utf-8")
    ((status, _, error),) = commands(copy, "build")
    assert (status, error) == (0, "")
    assert "Another first page" in (html / "book" / "intro.html").read_text("utf-8")
    assert not half_written(copy)


def interrupt(folder, prelude=""):
    """Interrupt a program that runs among others; return its status and what ran it."""
    code = (
        f"import pathlib, signal, time; {prelude}"
        f"pathlib.Path({str(folder)!r}, 'on').write_text('x'); time.sleep(600)"
    )
    with (
        contextlib.suppress(KeyboardInterrupt),
        ThreadPoolExecutor(1) as pool,
        execute.Programs() as side_by_side,
    ):
        future = pool.submit(side_by_side.run, [sys.executable, "-c", code])
        wait_for(folder / "on")
        raise KeyboardInterrupt
    return future.result().returncode, side_by_side


def test_programs_are_stopped_together_and_none_is_started_afterwards(tmp_path):
    status, side_by_side = interrupt(tmp_path)
    assert status == -signal.SIGINT
    with pytest.raises(QmlbookError, match="interrupted"):
        side_by_side.run([sys.executable, "-c", ""])


def test_a_program_that_does_not_listen_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "GRACE", 0.2)
    status, _ = interrupt(tmp_path, "signal.signal(signal.SIGINT, signal.SIG_IGN); ")
    assert status == -signal.SIGKILL


def test_two_builds_do_not_work_in_the_same_folder_at_once(tmp_path):
    lock = tmp_path / "_build" / ".lock"
    code = "import sys, pathlib\nfrom qmlbook.base import files\n"
    code += "with files.locked(pathlib.Path(sys.argv[1])): print('in', flush=True)"
    with files.locked(lock):
        process = subprocess.Popen(
            [sys.executable, "-c", code, lock],
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            text=True,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
    assert process.communicate(timeout=60)[0] == "in\n"


# --- what is damaged ----------------------------------------------------------------------------


def call(monkeypatch, capsys, root, *words):
    """Run the command in this process; return (status, output, error)."""
    monkeypatch.setenv("QMLBOOK_ROOT", str(root))
    monkeypatch.setattr(sys, "argv", ["qmlbook", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_weights_that_are_damaged(tmp_path):
    import torch

    file = files.save_tensors({"x": torch.arange(4.0)}, tmp_path / "net.safetensors")
    assert files.load_tensors(file)["x"].tolist() == [0, 1, 2, 3]
    good, beside = file.read_bytes(), files.checksum_file(file)
    stored = beside.read_bytes()
    for content, sums in [
        (good[:-1], stored),
        (b"", stored),
        (good[:-1] + b"\xff", stored),
        (good, b""),
        (good, b"\xff\xfe\0"),
        (good, b"0" * 64 + b"  net.safetensors\n"),
        (good, None),
    ]:
        file.write_bytes(content)
        beside.unlink(missing_ok=True) if sums is None else beside.write_bytes(sums)
        with pytest.raises(QmlbookError, match=r"net\.safetensors does not have the checksum"):
            files.load_tensors(file)


def test_what_may_not_be_read_is_not_called_damaged(project):
    images = project.root / "images"
    images.mkdir()
    content = (ROOT / "data/images/mnist.npz").read_bytes()
    lines = ["data list mnist", "data verify mnist"]
    for closed in (images / "mnist.npz", images / "mnist.npz.sha256", images):
        (images / "mnist.npz").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        (images / "mnist.npz.sha256").write_text(f"{digest}  mnist.npz\n")
        before = closed.stat().st_mode
        closed.chmod(0)
        try:
            env = environment(project.root, QMLBOOK_DATA=str(images))
            results = commands(project.root, *lines, env=env, preexec_fn=drop_privileges)
        finally:
            closed.chmod(before)
        for line, (status, out, error) in zip(lines, results, strict=True):
            said = out + error
            assert "damaged" not in said, (closed, line)
            assert len(error.splitlines()) <= 1, (closed, line)
            if line != "data list mnist" or closed.suffix != ".sha256":  # which only verify reads
                assert "cannot be read (Permission denied)" in said, (closed, line)
            if line == "data verify mnist":
                assert status == 1, closed


def test_records_that_are_damaged_are_told_and_the_report_goes_on(monkeypatch, capsys, project):
    stored = project.root / "data" / "results" / "klssl" / "grid.jsonl"
    stored.parent.mkdir(parents=True)
    good = (ROOT / "data" / "results" / "klssl" / "grid.jsonl").read_bytes().splitlines()[0]
    stored.write_bytes(good + b"\n")
    whole = call(monkeypatch, capsys, project.root, "report", "klssl")
    assert (whole[0], whole[2]) == (0, "")
    damaged = good + b'\n{"half": \n\xff\xfe\n' + good[:100]
    stored.write_bytes(damaged)
    status, out, error = call(monkeypatch, capsys, project.root, "report", "klssl")
    assert (status, out) == (0, whole[1])
    assert error.count("klssl/grid.jsonl: a line is set aside") == len(error.splitlines()) == 3
    assert stored.read_bytes() == damaged  # a report changes nothing


@pytest.mark.parametrize("content", [b"claims: [", b"\xff\xfe", b"", b"[]", b"paper: klssl\n"])
def test_claims_that_are_damaged_are_one_sentence(monkeypatch, capsys, tmp_path, content):
    (damaged := tmp_path / "klssl" / "claims.yml").parent.mkdir()
    damaged.write_bytes(content)
    monkeypatch.setattr(claims.papers, "claims_file", lambda paper: damaged)
    status, out, error = call(monkeypatch, capsys, ROOT, "report", "klssl")
    assert (status, out) == (1, "")
    assert one_sentence(error), error
    assert error.startswith("Error: klssl/claims.yml: ")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("_toc.yml", "root: [", "_toc.yml, line 1: this cannot be read as YAML"),
        (
            "book/tiny.md",
            TINY.replace("kernelspec:", "kernelspec: ["),
            "tiny.md, line 8: this cannot be read as YAML",
        ),
    ],
)
def test_a_project_that_is_damaged_is_one_sentence(
    monkeypatch, capsys, project, name, content, words
):
    project.write(name, content)
    for command in ("chapters", "check", "build"):
        status, out, error = call(monkeypatch, capsys, project.root, command)
        assert (status, out) == (1, "")
        assert one_sentence(error), error
        assert words in error


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"nbformat": 4}', "null", "\0"])
def test_a_reference_that_is_damaged_is_red(monkeypatch, capsys, project, content):
    project.write("tests/reference/tiny.ipynb", content)
    status, out, error = call(monkeypatch, capsys, project.root, "check")
    assert (status, error) == (1, "")
    assert out.startswith("tiny: FAILED: the reference is damaged; `qmlbook check tiny --update`")
    assert len(out.splitlines()) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "\udcff", '{"metadata": 3}'])
def test_an_executed_notebook_that_is_damaged_is_made_again(project, content):
    target = project.executed("tiny")
    target.parent.mkdir(parents=True)
    target.write_bytes(content.encode(errors="surrogateescape"))
    assert stamps.stamp_of(target) is None


def test_papermill_may_stop_in_the_midst_of_a_notebook(project, monkeypatch):
    def stops(self, command, **_):
        Path(command[4]).write_text('{"cells": [', "utf-8")
        return subprocess.CompletedProcess(command, 1, "", "OSError: [Errno 28] No space left")

    monkeypatch.setattr(execute.Programs, "run", stops)
    result = project.run()["tiny"]
    assert result.error == "papermill stopped: OSError: [Errno 28] No space left"


# --- no network ---------------------------------------------------------------------------------


def test_without_a_network_one_sentence_says_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("QMLBOOK_DATA", raising=False)
    monkeypatch.setenv("QMLBOOK_CACHE", str(tmp_path / "cache"))
    for mirror in ("http://127.0.0.1:9", "http://nowhere.invalid"):
        monkeypatch.setenv("QMLBOOK_DATA_URL", mirror)
        status, out, error = call(monkeypatch, capsys, ROOT, "data", "fetch", "kmnist")
        assert (status, out) == (1, "")
        assert one_sentence(error), error
        assert "KMNIST could not be fetched" in error
        assert "try again with a network" in error
        assert "QMLBOOK_DATA" in error
        assert not any((tmp_path / "cache").iterdir())


# A network without anything but the machine itself, over which a kernel and papermill talk.
LOOPBACK = """
import fcntl, os, socket, struct, sys
up = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
fcntl.ioctl(socket.socket(), 0x8914, up)     # SIOCSIFFLAGS
os.execvp(sys.argv[1], sys.argv[1:])
"""
ALONE = ["unshare", "--map-root-user", "--net", sys.executable, "-c", LOOPBACK]


def can_be_alone():
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run([*ALONE, "true"], capture_output=True).returncode
    )


@pytest.mark.nightly
@pytest.mark.skipif(not can_be_alone(), reason="this system lets no one leave the network")
def test_a_book_is_built_without_a_network(project):
    env = {**os.environ, "QMLBOOK_ROOT": str(project.root)}
    ask = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    alone = subprocess.run([*ALONE, sys.executable, "-c", ask], capture_output=True, text=True)
    assert "unreachable" in alone.stderr
    command = [*ALONE, sys.executable, "-m", "qmlbook.cli", "build"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "42" in (project.root / "_build" / "html" / "book" / "tiny.html").read_text("utf-8")


# --- hostile words ------------------------------------------------------------------------------

HOSTILE = [
    "../x",
    "../../etc/passwd",
    "/etc/passwd",
    "-x",
    "",
    " ",
    "a b",
    "tiny ",
    "Tiny",
    "größe",
    "\u202etiny",
    "__class__",
    "tiny.md",
    "tiny/../tiny",
    "$(touch sprung)",
    "; touch sprung",
    "`touch sprung`",
    "{tiny}",
    "%s%n",
    "*",
    "x\ny",
    "\udcff",
    "x" * 5000,
]
PLACES = [
    ("chapters",),
    ("check",),
    ("check", "--update"),
    ("sweep",),
    ("sweep", "klssl", "--experiment"),
    ("sweep", "klssl", "--profile"),
    ("report",),
    ("report", "--format"),
    ("records",),
    ("records", "--format"),
    ("measure",),
    ("course",),
    ("data", "list"),
    ("data", "fetch"),
    ("data", "verify"),
    ("vectors",),
    (),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Return the folder of a project that no test changes."""
    return Project(tmp_path_factory.mktemp("tiny")).root


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_hostile_names_are_refused_in_one_sentence(monkeypatch, capsys, tiny, place):
    monkeypatch.chdir(tiny)
    before = sorted(tiny.rglob("*"))
    for word in HOSTILE:
        status, out, error = call(monkeypatch, capsys, tiny, *place, word)
        assert (status, out) == (2, ""), (word, error)
        assert "Traceback" not in error, word
        if error.startswith("Error: "):  # what is not ours stands in a box, which has many lines
            assert one_sentence(error), error
            assert len(error) < 1000, word
        assert sorted(tiny.rglob("*")) == before, word


CODE = "__import__('pathlib').Path('sprung').touch()"


@pytest.mark.parametrize(
    "words",
    [
        ("scale", CODE),
        ("scale", f"eval({CODE!r})"),
        ("scale", f'"; {CODE} #'),
        ("scale", f"1\n{CODE}"),
        ("scale", "!!python/object/apply:os.getcwd []"),
        ("scale", "3 + 4"),
        ("scale", ""),
        ("scale", "true"),
        ("scale", "null"),
        ("scale", "[1.0]"),
        ("scale", "[" * 100_000),
        ("scale", "x" * 100_000),
        ("scale", "\udcff"),
        ("label", "\udcff"),
        ("label", '"\\ud800"'),
        ("flag", "1"),
        ("flag", "yes"),
        ("count", "2.5"),
        ("count", "true"),
        ("count", "9" * 5000),
        ("__class__", "1"),
        ("scale.__class__", "1"),
        (CODE, "1"),
        ("scale; import os", "1"),
        ("größe", "1"),
        ("", "1"),
        ("--force", "1"),
        ("../scale", "1"),
        ("profile", "full"),
        ("x" * 5000, "1"),
        ("scale",),
        (),
    ],
    ids=lambda words: " ".join(ascii(word)[1:16] for word in words),
)
def test_hostile_parameters_are_refused_in_one_sentence(monkeypatch, capsys, project, words):
    declared = f'{PARAMETERS}\nlabel: str = "a"\nflag: bool = False\ncount: int = 3'
    project.chapters(tiny=chapter("Tiny", ("parameters", declared), "1"))
    monkeypatch.chdir(project.root)
    before = sorted(project.root.rglob("*"))
    status, out, error = call(monkeypatch, capsys, project.root, "chapters", "tiny", "-p", *words)
    assert (status, out) == (2, ""), error
    assert "Traceback" not in error
    if error.startswith("Error: "):
        assert one_sentence(error), error
        assert len(error) < 1000
    assert sorted(project.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [
        (2.0, "3", 3),
        (2.0, "-1e3", -1000.0),
        (3, "-4", -4),
        (True, "False", False),
        ("a", "b c", "b c"),
        ("a", "3", "3"),
        ("a", '"3"', "3"),
        ("a", "null", "null"),
        ("a", "", ""),
        ("a", CODE, CODE),
        (None, "3", 3),
        (None, "mnist", "mnist"),
        ((0, 1), "[2, 3]", [2, 3]),
        ([], "[2, 3]", [2, 3]),
        ({}, '{"a": 1}', {"a": 1}),
    ],
)
def test_values_are_taken_in_the_kind_a_chapter_declares(default, text, value):
    known = [parameters.Parameter("it", type(default).__name__, default, "")]
    (read,) = parameters.accept("tiny", {"it": text}, known).values()
    assert (read, type(read)) == (value, type(value))


def test_a_refused_value_is_shown_with_one_that_would_do():
    known = [parameters.Parameter("scale", "float", 2.0, "")]
    with pytest.raises(
        UsageError, match=r"parameter scale of tiny takes a value such as 2\.0, not 'fast'\."
    ):
        parameters.accept("tiny", {"scale": "fast"}, known)


@pytest.mark.slow
def test_code_in_a_text_parameter_arrives_as_text(project):
    texts = {
        "one": CODE,
        "two": f'"""\n{CODE}\n"""',
        "three": f"\\'); {CODE} # {{x}} %s \u202e\n",
        "four": "!!python/object/apply:os.getcwd []",
    }
    declared = PARAMETERS + "".join(f'\n{name} = "x"' for name in texts)
    show = f"print([{', '.join(texts)}] == {list(texts.values())!r})"
    project.chapters(tiny=chapter("Tiny", ("parameters", declared), show))
    assert project.run(parameters=texts)["tiny"].ok
    assert project.outputs("tiny")[-1] == ["True\n"]
    assert not list(project.root.rglob("sprung"))


def test_what_is_shown_of_a_name_is_short_and_on_one_line():
    assert str(choose("name", "x", ["a", "b"])) == "name 'x' is not known; choose from: a, b."
    long = str(choose("name", "x" * 5000, ["a"]))
    assert len(long) < 200
    assert "(5002 characters)" in long
    assert "/data/x.json'" in shown("/a/long/path" * 10 + "/data/x.json")
    assert str(choose("name", "a\n\u202eb", ["a"])).startswith(r"name 'a\n\u202eb' is not")


# --- the same on other machines -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, ["1", "1", "1", "1"]),
        ({"OMP_NUM_THREADS": "2"}, ["2", "2", "2", "2"]),
        ({"MKL_NUM_THREADS": "3"}, ["1", "3", "1", "1"]),
        ({"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "1"}, ["2", "1", "2", "2"]),
    ],
)
def test_one_variable_names_the_threads_of_a_kernel(monkeypatch, project, tmp_path, given, wanted):
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    env = execute.kernel_environment(project.root, tmp_path, embedded=True)
    assert [env[name] for name in threads.VARIABLES] == wanted


@pytest.mark.nightly
def test_threads_and_instructions_take_effect_in_the_kernels_of_a_check(project, monkeypatch):
    said = project.root / "said"
    look = f"""import pathlib, torch

pathlib.Path({str(said)!r}).write_text(
    f"{{torch.get_num_threads()}} {{torch.backends.cpu.get_cpu_capability()}}")
print("looked")"""
    project.chapters(tiny=chapter("Tiny", ("parameters", PARAMETERS), look))
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    assert project.check(update=True)
    assert said.read_text().split()[0] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert project.check(nbval=True), project.said
    assert said.read_text() == "2 DEFAULT"
