"""What the book costs to run and what its evidence cost, as tables for the status page.

Costs of chapters are measured by :func:`measure` and kept in ``book/status.json``, beside the page
that shows them; everything about the evidence is read from the run records.
"""

import importlib.metadata
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from .. import papers
from ..base import files, paths
from ..base.errors import QmlbookError, UsageError
from ..evidence.audit import Audit
from ..evidence.claims import load
from ..evidence.report import markdown_table, outline
from ..evidence.store import Record, Store
from . import chapters, execute
from .verdict_pages import reading_order

#: Packages whose versions decide what a reader gets.
PACKAGES = (
    *("numpy", "scipy", "scikit-learn", "torch", "pennylane", "kornia", "matplotlib"),
    *("dask", "papermill", "nbval", "jupyter-book", "sphinx"),
)
NOT_MEASURED = "not measured"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Cost:
    """What one execution of a chapter took.

    Attributes:
        seconds: wall time, start of the kernel included.
        cpu_seconds: processor time of papermill and the kernel together; unlike the wall time it
            hardly depends on what else the machine does.
        memory_mb: peak resident memory of the kernel, in millions of bytes.
        measured_on: UTC date, ISO 8601.
        machine: processor, cores, memory and system, in words.
        python: version of Python.
    """

    seconds: float
    cpu_seconds: float
    memory_mb: int
    measured_on: str
    machine: str
    python: str


Costs = dict[str, dict[str, Cost]]
_FILE = TypeAdapter(Costs)
_AUDIT = TypeAdapter(Audit)


def file(root: Path | None = None) -> Path:
    """Return where a checkout keeps the costs of its chapters."""
    return (root or paths.project_root()) / "book" / "status.json"


def costs(root: Path | None = None) -> Costs:
    """Return what was measured: chapter -> profile -> cost; empty before the first measurement.

    Raises:
        QmlbookError: if the file does not hold costs.
    """
    path = file(root)
    if not path.is_file():
        return {}
    try:
        return _FILE.validate_json(path.read_bytes())
    except ValidationError as error:
        raise QmlbookError(
            f"{path.name} does not hold costs ({error.errors()[0]['msg']}); remove it, `qmlbook "
            "measure` writes it."
        ) from error


def measure(
    selected: Iterable[str] | None = None,
    *,
    profile: str = "quick",
    root: Path | None = None,
    echo: Callable[[str], object] = execute.say,
) -> Costs:
    """Execute chapters one after the other and store what each took.

    Args:
        selected: chapters; none for all.
        profile: ``quick``, which sees only the data in the repository, or ``full``.
        root: the checkout; by default :func:`qmlbook.base.paths.project_root`.
        echo: called with one line per finished chapter.

    Returns:
        The costs of all chapters, those measured earlier included.

    Raises:
        UsageError: for an unknown chapter or profile.
        QmlbookError: if a chapter failed, or on Windows, which does not tell the peak memory of
            processes that have ended.
    """
    if sys.platform == "win32":
        raise QmlbookError("Memory is measured on Linux and macOS only.")
    root = root or paths.project_root()
    known = chapters.names(root)
    for name in chapters.select(selected, root):
        cost = _in_a_fresh_process(name, profile, root)
        stored = costs(root)
        stored.setdefault(name, {})[profile] = cost
        ordered = {name: dict(sorted(stored[name].items())) for name in known if name in stored}
        files.write(file(root), _FILE.dump_json(ordered, indent=1) + b"\n")
        echo(f"{name}: {cost.seconds:.0f} s, {cost.memory_mb} MB")
    return costs(root)


def _in_a_fresh_process(name: str, profile: str, root: Path) -> Cost:
    """Return what :func:`_measured` does: a system keeps one peak for all children of a process."""
    fresh = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=fresh) as pool:
            return pool.submit(_measured, name, profile, root).result()
    except QmlbookError:
        raise
    except (OSError, ImportError, BrokenProcessPool) as error:  # no shared memory, no more memory
        raise QmlbookError(
            f"{name} could not be measured: this system starts no process for it ({error})."
        ) from error


def _measured(name: str, profile: str, root: Path) -> Cost:
    """Execute one chapter in this process, which has run nothing before, and return its cost."""
    import resource

    (result,) = execute.run(
        [name],
        profile=profile,
        jobs=1,
        force=True,
        embedded=profile == "quick",
        root=root,
        echo=lambda _: None,
    )
    if not result.ok:
        raise QmlbookError(f"{result}".splitlines()[0])
    # Children that were waited for, and theirs: papermill and, much larger, the kernel.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(
        seconds=round(result.seconds, 1),
        cpu_seconds=round(used.ru_utime + used.ru_stime, 1),
        memory_mb=round(used.ru_maxrss * unit / 1e6),
        measured_on=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        python=platform.python_version(),
    )


def machine() -> str:
    """Return processor, cores, memory and system of this machine in words, and no names."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = next(iter(models), "") or platform.processor() or platform.machine()
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {size:.0f} GiB, {platform.system()}"


# --- tables -------------------------------------------------------------------------------------


def chapters_table(root: Path | None = None) -> str:
    """Return a Markdown table of what each chapter takes, in reading order.

    Without a checkout, where only the package is installed, a sentence says so.
    """
    try:
        stored, rows = costs(root), []
    except UsageError as error:
        return f"{error}\n"
    for name in chapters.names(root):
        quick, full = (_words(stored.get(name, {}).get(profile)) for profile in papers.PROFILES)
        at_full_scale = full[0] if full[0] == NOT_MEASURED else ", ".join(full)
        rows.append([f'<a href="{name}.html">{name}</a>', *quick, at_full_scale])
    columns = ("chapter", "time", "processor", "memory", "the same in full")
    return markdown_table(columns, rows, numbers=(1, 2, 3))


def _words(cost: Cost | None) -> list[str]:
    """Return time, processor time and memory in words."""
    if cost is None:
        return [NOT_MEASURED, "–", "–"]
    words = (_duration(cost.seconds), _duration(cost.cpu_seconds), f"{cost.memory_mb} MB")
    return [word.replace(" ", "\u00a0") for word in words]  # a number keeps its unit


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def conditions(root: Path | None = None) -> list[str]:
    """Return when and on which machines costs were measured, one line for each.

    Without a checkout there are none.
    """
    days: dict[str, set[str]] = {}
    try:
        stored = costs(root)
    except UsageError:
        return []
    for by_profile in stored.values():
        for profile, cost in by_profile.items():
            where = f"{profile}: {cost.machine}; Python {cost.python}"
            days.setdefault(where, set()).add(cost.measured_on)
    return [f"{where}; measured on {', '.join(sorted(days[where]))}" for where in sorted(days)]


def evidence_table(*, store: Store | None = None) -> str:
    """Return a Markdown table with a line a paper: how many runs are stored, when, where, how long.

    Failed runs, other versions of an experiment and the quick profile are counted too: the table
    says what is in the store, the verdicts say what counts.

    Args:
        store: where records are; the book's own when omitted.
    """
    store, rows = store or Store(), []
    for name in reading_order():
        records = store.records(name)
        rows.append([load(name).title, *_stored(records)])
    columns = ("paper", "runs", "core-hours", "made", "on", "versions")
    return markdown_table(columns, rows, numbers=(1, 2))


def _stored(records: list[Record]) -> list[str]:
    """Return the cells of `evidence_table` after the first."""
    if not records:
        return ["0", "–", "–", "–", "–"]
    hours = sum(record.seconds * record.threads for record in records) / 3600
    days = sorted({record.started_at[:10] for record in records})
    made = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    devices = sorted({record.device for record in records})
    versions = [
        f"{package} {', '.join(sorted({r.versions.get(package, '?') for r in records}))}"
        for package in ("python", "torch", "pennylane", "numpy")
    ]
    return [f"{len(records):,}", f"{hours:.1f}", made, ", ".join(devices), "; ".join(versions)]


def audit_file() -> Path:
    """Return where the last audit of the records is kept, beside them."""
    return paths.data_root() / "audit.json"


def last_audit() -> str:
    """Return as a Markdown list what the last audit found that was kept, if there is one.

    Raises:
        QmlbookError: if its file does not hold an audit.
    """
    path = audit_file()
    if not path.is_file():
        return "No audit is kept: `qmlbook audit --save` makes one.\n"
    try:
        kept = _AUDIT.validate_json(path.read_bytes())
    except ValidationError as error:
        raise QmlbookError(
            f"{path.name} does not hold an audit ({error.errors()[0]['msg']}); remove it, `qmlbook "
            "audit --save` writes it."
        ) from error
    return "".join(f"{'  ' * depth}- {sentence}\n" for depth, sentence in outline(kept))


def versions_table() -> str:
    """Return a Markdown table of the versions of the main packages that run this."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return markdown_table(("package", "version"), versions.items())
