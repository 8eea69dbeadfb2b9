"""Running chapters: from MyST source to executed notebook.

A chapter runs in a process and a kernel of its own, and the executed notebook is stamped with what
it was made from (:mod:`qmlbook.book.stamps`). :mod:`qmlbook.book.references` compares such
notebooks with stored ones, :mod:`qmlbook.book.site.build` makes pages of them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import files, paths, threads
from ..base.command import NO_MEMORY
from ..base.errors import QmlbookError, UsageError, require_choice
from ..papers import PROFILES
from . import chapters, kernel, notebooks, stamps
from .parameters import accept, declared
from .stamps import View

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Cells with this tag may write to standard error; any other cell that does fails its chapter.
ALLOW_STDERR = "allow-stderr"
#: Cells with this tag may raise; pages show the error.
ALLOW_ERROR = "raises-exception"
#: What papermill puts before a cell that raised.
_MARKER = "papermill-error-cell-tag"
#: Seconds one cell may take, by profile.
CELL_TIMEOUT = {"quick": 600.0, "full": 6 * 3600.0}
#: What papermill says of a kernel that ended before it was ready.
_STILLBORN = "Kernel died before replying"
#: What is said where a kernel gets no more memory, threads or address space.
_NO_MEMORY = re.compile(f"{NO_MEMORY.pattern}|{_STILLBORN}")
#: Seconds a program has to end by itself, its kernel included, before it is killed.
GRACE = 15


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


# --- programs -----------------------------------------------------------------------------------


class Programs:
    """Programs started by threads; if the ``with`` block is left by an error, they are stopped.

    Each has a session of its own, so that Ctrl-C in a terminal reaches only this process, which
    passes it on once: a second one would keep a program from shutting down its kernel.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._over = False

    def run(self, command: Sequence[object], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, as :func:`subprocess.run` does, and keep what it says.

        Args:
            command: the program and its arguments.
            **options: of :class:`subprocess.Popen`, ``env`` and ``cwd`` for instance.

        Raises:
            QmlbookError: if the programs were stopped before this one began.
        """
        with self._lock:
            if self._over:
                raise QmlbookError("The command was interrupted.")
            process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                **options,
            )
            self._running.add(process)
        said = process.communicate()
        with self._lock:
            self._running.remove(process)
        return subprocess.CompletedProcess(process.args, process.returncode, *said)

    def __enter__(self) -> Programs:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop what still runs if an error ended the block; at a second interruption, kill it."""
        if kind is None:
            return
        with self._lock:
            self._over = True
            running = list(self._running)
        try:
            for process in running:
                process.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGINT)
            end = time.monotonic() + GRACE
            with suppress(subprocess.TimeoutExpired):
                for process in running:
                    process.wait(max(0.0, end - time.monotonic()))
        finally:
            for process in running:
                process.kill()


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

    A chapter whose stored notebook is fresh (:mod:`qmlbook.book.stamps`) is up to date and not run
    again. Where a parameter has another value than the chapter declares, a cell with that value
    follows the ``parameters`` cell; a quick run with the declared values therefore shows the
    chapter as it was written.

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
    root = root or paths.project_root()
    require_choice("profile", profile, PROFILES)
    require_jobs(jobs)
    orders = _orders(selected, profile, parameters or {}, root)
    with ThreadPoolExecutor(jobs) as pool, Programs() as programs:
        series = _Series(
            root, profile, embedded, cell_timeout or CELL_TIMEOUT[profile], programs, echo
        )
        futures = [pool.submit(series.make, order, force, keep_going) for order in orders]
        try:
            for future in as_completed(futures):
                echo(str(future.result()))
        except (KeyboardInterrupt, SystemExit):
            series.stopped.set()
            begun = f" while {', '.join(series.running)} ran" if series.running else ""
            echo(f"Interrupted{begun}; finished chapters are kept, the same command goes on.")
            raise
        finally:
            series.stopped.set()  # after an error nothing new is started
    return [future.result() for future in futures]


def require_jobs(jobs: int) -> None:
    """Refuse a number of chapters at a time that is not 1 or more, with ``UsageError``."""
    if jobs < 1:
        raise UsageError(f"jobs must be 1 or more, not {jobs}.")


def executed(selected: Iterable[str], root: Path) -> dict[str, Path]:
    """Return the quick runs of chapters, by name, but for those that were not run as they stand.

    Args:
        selected: chapters.
        root: the checkout.
    """
    view, folder = View(root, embedded=False), _folder(root, "quick")
    stored = {name: folder / f"{name}.ipynb" for name in chapters.select(selected, root)}
    return {
        name: file
        for name, file in stored.items()
        if view.is_fresh(stamps.stamp_of(file), "quick", {})
    }


def _folder(root: Path, name: str) -> Path:
    return root / "_build" / "executed" / name


@dataclass(frozen=True)
class _Order:
    """A chapter to be run: its source as file, as bytes and as notebook, and parameters to set."""

    name: str
    source: Path
    content: bytes
    notebook: NotebookNode
    changed: Mapping[str, Any]


def _orders(
    selected: Iterable[str] | None, profile: str, given: Mapping[str, Any], root: Path
) -> list[_Order]:
    """Return what is to be run, everything that a reader gave checked."""
    orders = []
    for name, source in chapters.select(selected, root).items():
        content, notebook = source.read_bytes(), chapters.read(source)
        known = declared(notebook, source)
        values = {**accept(name, given, known), "profile": profile}
        defaults = {each.name: each.default for each in known}
        changed = {key: value for key, value in values.items() if value != defaults[key]}
        orders.append(_Order(name, source, content, notebook, changed))
    return orders


@dataclass
class _Series:
    """Chapters that are run by one command, each by :meth:`make` in a thread.

    Attributes:
        running: names of the chapters that run now.
        stopped: set when nothing new may begin.
    """

    root: Path
    profile: str
    embedded: bool
    cell_timeout: float
    programs: Programs
    echo: Callable[[str], object]
    running: dict[str, None] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._view = View(self.root, embedded=self.embedded)
        # Runs on the reader's own data and runs that hide them must not replace each other. Where
        # a run saw none of the reader's data it serves as one that hides them.
        apart = self.embedded and stamps.has_own_data()
        names = ["embedded"] * apart + [self.profile]
        self._folders = [_folder(self.root, name) for name in names]

    def make(self, order: _Order, force: bool, keep_going: bool) -> Result:
        """Run a chapter unless it is up to date, and store its notebook if it is good."""
        for folder in () if force else self._folders:
            stored = folder / f"{order.name}.ipynb"
            if self._view.is_fresh(stamps.stamp_of(stored), self.profile, order.changed):
                return Result(order.name, "up to date", path=stored)
        if self.stopped.is_set():
            return Result(order.name, "not run")
        target = self._folders[0] / f"{order.name}.ipynb"
        files.require_writable(target.parent)
        self.echo(f"{order.name}: running")
        self.running[order.name] = None
        start = time.perf_counter()
        result = self._run(order, target)
        seconds = time.perf_counter() - start
        del self.running[order.name]
        if result:
            target.unlink(missing_ok=True)  # no old output passes for that of a chapter that fails
            if not keep_going:
                self.stopped.set()
            return Result(order.name, "failed", seconds, None, *result)
        return Result(order.name, "executed", seconds, target)

    def _run(self, order: _Order, target: Path) -> tuple[int | None, str, str] | None:
        """Run a chapter and store its notebook; return what went wrong, as :func:`_failure`."""
        with tempfile.TemporaryDirectory(prefix="qmlbook-") as folder:
            scratch = Path(folder)
            with files.writing(scratch):
                env = kernel_environment(
                    self.root, scratch, embedded=self.embedded, notes=scratch / "notes"
                )
            notebook, process = _papermill(order, env, scratch, self.cell_timeout, self.programs)
            if failure := _failure(notebook, process, self.cell_timeout):
                return failure
            stamp = {
                "profile": self.profile,
                "parameters": dict(order.changed),
                "looks": stamps.looks(scratch / "notes", order.source, order.content, self.root),
            }
        notebooks.write(notebooks.scrub(notebook, self.root, stamp), target)
        return None


def _papermill(
    order: _Order, env: Mapping[str, str], scratch: Path, cell_timeout: float, programs: Programs
) -> tuple[NotebookNode, subprocess.CompletedProcess[str]]:
    """Execute a notebook in the folder of its source, in a process of its own.

    (papermill changes the working directory of its process, which threads would share.)
    """
    import yaml

    raw, done, values = (scratch / name for name in ("raw.ipynb", "done.ipynb", "values.yml"))
    with files.writing(scratch):
        raw.write_bytes(notebooks.content(order.notebook))
        values.write_text(yaml.safe_dump(dict(order.changed)), "utf-8")
    options = ["--parameters_file", values, "--cwd", order.source.parent, "--kernel", "python3"]
    options += ["--execution-timeout", f"{cell_timeout:.0f}", "--no-progress-bar"]
    command = [sys.executable, "-m", "papermill", raw, done, *options, "--log-level", "ERROR"]
    process = programs.run(command, env=env)
    if _STILLBORN in process.stderr:  # ports are chosen before a kernel opens them: others may, too
        process = programs.run(command, env=env)
    try:
        notebook = notebooks.read(done)
    except (OSError, ValueError):  # papermill stopped before it wrote, or in the midst of it
        return order.notebook, process
    notebook.cells = [cell for cell in notebook.cells if _MARKER not in notebooks.tags(cell)]
    return notebook, process


def kernel_environment(
    root: Path, scratch: Path, *, embedded: bool, notes: Path | None = None
) -> dict[str, str]:
    """Return the environment in which the code of a chapter runs.

    The kernel ``python3`` is this very interpreter whatever kernels are installed, the library is
    the checkout's own, and nothing of the reader's IPython and matplotlib settings is seen.

    Args:
        root: the checkout.
        scratch: a folder that lives as long as the kernel.
        embedded: see only the data in the repository.
        notes: a file in which the kernel notes what it looks at.
    """
    # One thread unless the user asked for more; the other variables follow the first.
    env = dict.fromkeys(threads.VARIABLES, os.environ.get(threads.VARIABLES[0], "1")) | os.environ
    library = stamps.library(root)
    search = [str(library.parent), env.get("PYTHONPATH")]
    env["PYTHONPATH"] = os.pathsep.join(filter(None, search))
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
    program, own = ["-m", "ipykernel_launcher"], {}
    if notes:
        watched = View(root, embedded=embedded).folders
        watched |= {stamps.CACHE: Path(env["QMLBOOK_CACHE"])} if embedded else {}
        program = [kernel.__file__]
        own = {kernel.NOTES: str(notes)}
        own[kernel.WATCHED] = json.dumps({name: str(path) for name, path in watched.items()})
    spec = scratch / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *program, "-f", "{connection_file}"]
    content = {"argv": command, "display_name": "Python 3", "language": "python", "env": own}
    spec.write_text(json.dumps(content), "utf-8")
    return env


def _failure(
    notebook: NotebookNode, process: subprocess.CompletedProcess[str], cell_timeout: float
) -> tuple[int | None, str, str] | None:
    """Return number of the code cell, one-line error and traceback; ``None`` if all is well."""
    cells = notebooks.code_cells(notebook)
    begun = [
        number for number, cell in cells if cell.metadata.get("papermill", {}).get("start_time")
    ]
    last = begun[-1] if begun else None
    if "CellTimeoutError" in process.stderr:
        return last, f"the cell took longer than {cell_timeout:.0f} s", ""
    if "DeadKernelError" in process.stderr:
        return last, "the kernel died", ""
    for number, cell in cells:
        if wrong := _wrong(cell):
            return number, *wrong
    unfinished = [number for number, cell in cells if not cell.execution_count]
    if unfinished and not process.returncode:  # a cell tagged skip-execution
        return unfinished[0], "the cell was not executed", ""
    expected = any(ALLOW_ERROR in notebooks.tags(cell) for _, cell in cells)
    if process.returncode and (unfinished or not expected):  # papermill knows nothing of the tag
        said = process.stderr.strip().splitlines() or ["it said nothing"]
        if _NO_MEMORY.search(said[-1]):
            said[-1] += " (has this machine, or a limit set on it, too little memory?)"
        return last, f"papermill stopped: {said[-1]}", ""
    return None


def _wrong(cell: NotebookNode) -> tuple[str, str] | None:
    """Return one-line error and traceback of a cell whose outputs no page may show."""
    for output in cell.outputs:
        if output.output_type == "error" and ALLOW_ERROR not in notebooks.tags(cell):
            lines = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback)).splitlines()
            error = f"{output.ename}: {output.evalue}"
            if short := _NO_MEMORY.search(error):
                return f"this machine, or a limit set on it, has too little memory ({short[0]})", ""
            return error.splitlines()[0], "\n".join(lines[-15:])
        if output.get("name") == "stderr" and ALLOW_STDERR not in notebooks.tags(cell):
            lines = output.text.strip().splitlines()
            return "the cell wrote to standard error", "\n".join(lines[-15:])
    return None
