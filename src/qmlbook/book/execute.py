"""Chapters: from MyST source to executed notebook.

A chapter is a MyST notebook that ``_toc.yml`` lists. It runs in a process and a kernel of its own,
and the executed notebook is stamped with what it was made from, so that no page ever shows the
output of other code or other data. :mod:`qmlbook.book.references` compares such notebooks with
stored ones, :mod:`qmlbook.book.site.build` makes pages of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..base import files, paths
from ..base.errors import QmlbookError, UsageError, choose
from ..papers import PROFILES
from . import chapters as contents
from . import notebooks
from .parameters import Parameter, accept, declared
from .programs import Programs

if TYPE_CHECKING:
    import subprocess

    from nbformat import NotebookNode

#: Cells with this tag may write to standard error; any other cell that does fails its chapter.
ALLOW_STDERR = "allow-stderr"
#: Seconds one cell may take, by profile.
CELL_TIMEOUT = {"quick": 600.0, "full": 6 * 3600.0}
#: How the libraries of a kernel are told their number of threads; the others follow the first.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Result:
    """What became of one chapter.

    Attributes:
        name: the chapter.
        status: ``executed``, ``up to date``, ``failed`` or ``not run`` (an earlier one failed).
        seconds: wall-clock time of the run.
        path: the executed notebook, ``None`` unless there is a good one.
        cell: number of the code cell that failed, from 1, when it is known.
        error: the failure in one line.
        traceback: end of the traceback, without colours.
    """

    name: str
    status: str
    seconds: float = 0.0
    path: Path | None = None
    cell: int | None = None
    error: str = ""
    traceback: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is a good executed notebook."""
        return self.path is not None

    def __str__(self) -> str:
        """Return the line (for a failure, the lines) that a person wants to read."""
        if self.status == "failed":
            where = f" in code cell {self.cell}" if self.cell else ""
            return f"{self.name}: FAILED{where}: {self.error}\n{self.traceback}".rstrip()
        took = f" in {self.seconds:.0f} s" if self.seconds else ""
        return f"{self.name}: {self.status}{took}"


def say(line: str) -> None:
    """Print a line of progress at once, also where output is collected."""
    print(line, flush=True)


# --- which chapters there are -------------------------------------------------------------------


def sources(root: Path | None = None) -> dict[str, Path]:
    """Return the chapters in reading order: name (file stem) -> MyST notebook.

    Plain pages of the book, whose header names no kernel, are not chapters.
    """
    root = root or paths.project_root()
    found: dict[str, Path] = {}
    for document in contents.documents(root):
        path = root / f"{document}.md"
        text = path.read_text("utf-8") if path.is_file() else ""
        header = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        said = header and contents.from_yaml(header[1], f"The header of {path.name}")
        if "kernelspec" in (said or ()):
            if path.stem in found:
                raise QmlbookError(f"_toc.yml lists two chapters called {path.stem!r}; rename one.")
            found[path.stem] = path
    return found


def names(root: Path | None = None) -> list[str]:
    """Return the names of the chapters in reading order."""
    return list(sources(root))


def select(selected: Iterable[str] | None, root: Path) -> dict[str, Path]:
    """Return the selected chapters with their sources; all of them when none is named.

    Raises:
        UsageError: names the first unknown chapter and lists the known ones.
    """
    known = sources(root)
    wanted = list(dict.fromkeys(selected or known))
    for name in wanted:
        if name not in known:
            raise choose("chapter", name, known or ["(_toc.yml lists no chapter)"])
    return {name: known[name] for name in wanted}


def parameters(
    selected: Iterable[str] | None = None, *, root: Path | None = None
) -> dict[str, list[Parameter]]:
    """Return the parameters of chapters, in the order in which they are declared.

    Args:
        selected: chapters; none for all.
        root: the checkout; by default :func:`qmlbook.base.paths.project_root`.

    Raises:
        UsageError: for an unknown chapter.
        QmlbookError: for a chapter that does not declare its parameters properly.
    """
    import jupytext

    chosen = select(selected, root or paths.project_root())
    return {name: declared(jupytext.read(source), source) for name, source in chosen.items()}


# --- running ------------------------------------------------------------------------------------


def run(
    selected: Iterable[str] | None = None,
    *,
    profile: str = "quick",
    parameters: Mapping[str, Any] | None = None,
    keep_going: bool = False,
    jobs: int = 2,
    force: bool = False,
    embedded: bool = False,
    cell_timeout: float | None = None,
    root: Path | None = None,
    echo: Callable[[str], object] = say,
) -> list[Result]:
    """Execute chapters and store them as ``_build/executed/<profile>/<name>.ipynb``.

    A chapter whose stored notebook was made from the same source, library, data, lock, profile
    and parameters is up to date and not run again. Where a parameter has another value than the
    chapter declares, a cell with that value follows the ``parameters`` cell; a quick run with the
    declared values therefore shows the chapter as it was written.

    Args:
        selected: chapters; none for all.
        profile: ``quick`` or ``full``, each with its own folder.
        parameters: other values for parameters; text is read by
            :func:`qmlbook.book.parameters.parse_value`.
        keep_going: run the other chapters when one fails.
        jobs: how many chapters run at a time.
        force: run chapters that are up to date, too.
        embedded: hide the reader's own data (see :func:`kernel_environment`).
        cell_timeout: seconds one cell may take before its chapter fails; by default
            ``CELL_TIMEOUT`` of the profile.
        root: the checkout; by default :func:`qmlbook.base.paths.project_root`.
        echo: called with a line when a chapter starts and when it is done.

    Returns:
        One result per chapter, in reading order. A failed chapter is a result, not an exception,
        and leaves no executed notebook behind.

    Raises:
        UsageError: for an unknown chapter, profile or parameter, or ``jobs`` below 1.
        QmlbookError: for a chapter that does not declare its parameters properly.
    """
    import jupytext

    root = root or paths.project_root()
    chapters = select(selected, root)
    if profile not in PROFILES:
        raise choose("profile", profile, PROFILES)
    if jobs < 1:
        raise UsageError(f"jobs must be 1 or more, not {jobs}.")
    before = {name: _written(source) for name, source in chapters.items()}
    written = {name: jupytext.read(source) for name, source in chapters.items()}
    defaults = {
        name: {each.name: each.default for each in declared(written[name], source)}
        for name, source in chapters.items()
    }
    given = {name: accept(name, parameters or {}, defaults[name]) for name in chapters}
    cell_timeout = cell_timeout or CELL_TIMEOUT[profile]
    # Runs on the reader's own data and runs that hide them must not replace each other.
    own_data = _own_data()
    folder = root / "_build" / "executed" / ("embedded" if embedded and own_data else profile)
    common = _common_digest(root, "" if embedded else own_data)
    stopped = threading.Event()

    def one(name: str) -> Result:
        source, target = chapters[name], folder / f"{name}.ipynb"
        values = {**given[name], "profile": profile}
        changed = {key: value for key, value in values.items() if value != defaults[name][key]}
        fingerprint = _digest(common.encode(), before[name])
        stamp = {"profile": profile, "parameters": changed, "fingerprint": fingerprint}
        if not force and _stamp(target) == stamp:
            return Result(name, "up to date", path=target)
        if stopped.is_set():
            return Result(name, "not run")
        files.require_writable(folder)
        echo(f"{name}: running")
        start = time.perf_counter()
        executed, process = _papermill(
            written[name], source, changed, root, embedded, cell_timeout, programs
        )
        seconds = time.perf_counter() - start
        if failure := _failure(executed, process, cell_timeout):
            target.unlink(missing_ok=True)  # no old output passes for that of a chapter that fails
            if not keep_going:
                stopped.set()
            return Result(name, "failed", seconds, None, *failure)
        notebooks.write(notebooks.scrub(executed, root, stamp), target)
        return Result(name, "executed", seconds, target)

    with ThreadPoolExecutor(jobs) as pool, Programs() as programs:
        futures = [pool.submit(one, name) for name in chapters]
        try:
            for future in as_completed(futures):
                echo(str(future.result()))
        finally:
            stopped.set()  # after an interruption nothing new is started
    return [future.result() for future in futures]


def _papermill(
    notebook: NotebookNode,
    source: Path,
    changed: Mapping[str, Any],
    root: Path,
    embedded: bool,
    cell_timeout: float,
    programs: Programs,
) -> tuple[NotebookNode, subprocess.CompletedProcess[str]]:
    """Execute a notebook in the folder of its source, in a process of its own.

    (papermill changes the working directory of its process, which threads would share.)
    """
    import nbformat

    with tempfile.TemporaryDirectory(prefix="qmlbook-") as scratch:
        raw, done, values = (Path(scratch, name) for name in ("raw.ipynb", "done.ipynb", "p.yml"))
        with files.writing(scratch):
            nbformat.write(notebook, raw)
            values.write_text(yaml.safe_dump(dict(changed)), "utf-8")
            env = kernel_environment(root, Path(scratch), embedded=embedded)
        options = ["--parameters_file", values, "--cwd", source.parent, "--kernel", "python3"]
        options += ["--execution-timeout", f"{cell_timeout:.0f}", "--no-progress-bar"]
        process = programs.run(
            [sys.executable, "-m", "papermill", raw, done, *options, "--log-level", "ERROR"],
            env=env,
        )
        try:
            return nbformat.read(done, as_version=4), process
        except (OSError, ValueError):  # papermill stopped before it wrote, or in the midst of it
            return notebook, process


def kernel_environment(root: Path, scratch: Path, *, embedded: bool) -> dict[str, str]:
    """Return the environment in which the code of a chapter runs.

    The kernel ``python3`` is this very interpreter whatever kernels are installed, the library is
    the checkout's own, and nothing of the reader's IPython and matplotlib settings is seen.

    Args:
        root: the checkout.
        scratch: a folder that lives as long as the kernel.
        embedded: see only the data in the repository.
    """
    spec = scratch / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": argv, "display_name": "Python 3", "language": "python"}
    spec.write_text(json.dumps(kernel), "utf-8")
    # One thread unless the user asked for more, because chapters run two at a time.
    env = dict.fromkeys(THREADS, os.environ.get(THREADS[0], "1")) | os.environ
    env["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(_library(root).parent), env.get("PYTHONPATH")])
    )
    env["QMLBOOK_ROOT"] = str(root)
    env["JUPYTER_PATH"] = env["IPYTHONDIR"] = str(scratch)
    env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # keeps the debugger from remarking on itself
    for name in ("MPLBACKEND", "MATPLOTLIBRC", "PYTEST_ADDOPTS"):
        env.pop(name, None)
    if embedded:
        env.pop("QMLBOOK_DATA", None)
        env["QMLBOOK_CACHE"] = str(scratch / "cache")
    for name in {"QMLBOOK_DATA", "QMLBOOK_CACHE"} & env.keys():  # kernels start in other folders
        env[name] = str(Path(env[name]).expanduser().absolute())
    return env


def _own_data() -> str:
    """Return the reader's data that could answer in place of the repository's; empty if none."""
    from ..data import cache_dir

    cached = sorted(path.name for path in cache_dir().glob("[!.]*"))
    return "\n".join([os.environ.get("QMLBOOK_DATA", ""), *cached]).strip()


def _library(root: Path) -> Path:
    """Return the package that chapters of a checkout import: its own, else the running one."""
    own = root / "src" / "qmlbook"
    return own if own.is_dir() else paths.PACKAGE


def _failure(
    executed: NotebookNode, process: subprocess.CompletedProcess[str], cell_timeout: float
) -> tuple[int | None, str, str] | None:
    """Return number of the code cell, one-line error and traceback; ``None`` if all is well."""
    cells = notebooks.code_cells(executed)
    begun = [
        number for number, cell in cells if cell.metadata.get("papermill", {}).get("start_time")
    ]
    last = begun[-1] if begun else None
    if "CellTimeoutError" in process.stderr:
        return last, f"the cell took longer than {cell_timeout:.0f} s", ""
    if "DeadKernelError" in process.stderr:
        return last, "the kernel died", ""
    for number, cell in cells:
        for output in cell.outputs:
            if output.output_type == "error":
                lines = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback)).splitlines()
                error = f"{output.ename}: {output.evalue}".splitlines()[0]
                return number, error, "\n".join(lines[-15:])
            if output.get("name") == "stderr" and ALLOW_STDERR not in notebooks.tags(cell):
                lines = output.text.strip().splitlines()
                return number, "the cell wrote to standard error", "\n".join(lines[-15:])
        if not cell.execution_count and not process.returncode:  # a cell tagged skip-execution
            return number, "the cell was not executed", ""
    if process.returncode:
        said = process.stderr.strip().splitlines() or ["it said nothing"]
        return last, f"papermill stopped: {said[-1]}", ""
    return None


def executed(selected: Iterable[str], root: Path) -> dict[str, Path]:
    """Return the quick runs of chapters, by name, but for those that were not run as they stand.

    Args:
        selected: chapters.
        root: the checkout.
    """
    folder, common = root / "_build" / "executed" / "quick", _common_digest(root, _own_data())
    fresh = {}
    for name, source in select(selected, root).items():
        target = folder / f"{name}.ipynb"
        fingerprint = _digest(common.encode(), _written(source))
        if _stamp(target) == {"profile": "quick", "parameters": {}, "fingerprint": fingerprint}:
            fresh[name] = target
    return fresh


# --- staleness ----------------------------------------------------------------------------------


def _stamp(target: Path) -> Any:
    """Return what an executed notebook was made from; ``None`` if there is no readable one."""
    try:
        return json.loads(target.read_text("utf-8"))["metadata"].get("qmlbook")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _written(source: Path) -> bytes:
    """Return a chapter as written, with the figures in the JSON file of its name, if it has one."""
    files = (source, source.with_suffix(".json"))
    return b"".join(file.read_bytes() for file in files if file.is_file())


def _common_digest(root: Path, own_data: str) -> str:
    """Return the digest of what all chapters depend on: library, data, lock, reader's data."""
    library = _library(root)
    files = {f"src/{path.relative_to(library).as_posix()}": path for path in library.rglob("*")}
    files |= {path.relative_to(root).as_posix(): path for path in (root / "data").rglob("*")}
    files["requirements.lock"] = root / "requirements.lock"
    parts = [own_data]
    for name, path in sorted(files.items()):
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.split("/"))
        if path.is_file() and not hidden:
            parts += [name, hashlib.sha256(path.read_bytes()).hexdigest()]
    return _digest(*(part.encode() for part in parts))


def _digest(*parts: bytes) -> str:
    """Return the SHA-256 of parts, each hashed by itself so that only equal lists agree."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
