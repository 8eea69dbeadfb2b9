"""References: executed notebooks under version control, with which later runs are compared (nbval).

``tests/reference/<name>.ipynb`` is a quick run of a chapter on the data in the repository, without
its images. nbval runs the cells of a reference again and compares what they print, standard error
and HTML included, character by character. It compares nothing for a cell that the reference never
ran and knows nothing of the chapter's source, hence the guards.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from ..base import files, paths
from ..base.errors import UsageError
from . import execute, notebooks
from .programs import Programs

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Drawings are not compared, only that there is one.
DRAWINGS: notebooks.Words = [
    (r"(?s)(?:<\?xml.*?)?<svg\b(?:[^>]*/>|.*?</svg>)\s*", "[drawing]"),
    (r"data:image/[\w.+\-]+;base64,[A-Za-z0-9+/=\s]+", "[image]"),
    (r"<Figure size [^>]*>", "[figure]"),
]
UNCOMPARED = {"nbval-ignore-output", "nbval-skip"}


def folder(root: Path) -> Path:
    """Return the folder of the references of a checkout."""
    return root / "tests" / "reference"


def check(
    selected: Iterable[str] | None = None,
    *,
    update: bool = False,
    jobs: int = 2,
    cell_timeout: float = execute.CELL_TIMEOUT["quick"],
    root: Path | None = None,
    echo: Callable[[str], object] = execute.say,
) -> bool:
    """Run the references again and compare, or (``update``) write them anew.

    The reader's own data are hidden. Cells tagged ``nbval-ignore-output``, those that show stored
    records, run but are not compared.

    Args:
        selected: chapters; none for all, which also asks that every reference has a chapter.
        update: write references from a quick run instead of comparing.
        jobs: how many notebooks run at a time.
        cell_timeout: seconds one cell may take.
        root: the checkout; by default :func:`qmlbook.base.paths.project_root`.
        echo: called with one text per finished chapter.

    Returns:
        Whether every chapter agrees with a sound reference.

    Raises:
        UsageError: for an unknown chapter, or ``jobs`` below 1.
        QmlbookError: (``update``) for a chapter that does not declare its parameters properly.
    """
    root = root or paths.project_root()
    wanted = list(execute.select(selected, root))
    if jobs < 1:
        raise UsageError(f"jobs must be 1 or more, not {jobs}.")
    failed = set()
    if update:
        files.require_writable(folder(root))
        results = execute.run(
            wanted, embedded=True, jobs=jobs, cell_timeout=cell_timeout, root=root, echo=echo
        )
        for result in results:
            if result.path:
                _write_reference(result.path, folder(root) / f"{result.name}.ipynb", root)
        failed = {result.name for result in results if not result.ok}
    complaints = {name: guard(name, root) for name in wanted if name not in failed}
    if not selected:
        complaints |= guard_orphans(root)
    for name, found in complaints.items():
        for complaint in found:
            echo(f"{name}: FAILED: {complaint}")
    sound = [name for name, found in complaints.items() if not found]
    good = not failed and len(sound) == len(complaints)
    if update:
        return good

    def compare(name: str) -> bool:
        said = _nbval(folder(root) / f"{name}.ipynb", root, cell_timeout, programs)
        echo(f"{name}: FAILED\n{said}" if said else f"{name}: agrees with its reference")
        return not said

    with ThreadPoolExecutor(jobs) as pool, Programs() as programs:
        return all([good, *pool.map(compare, sound)])


# --- guards -------------------------------------------------------------------------------------


def guard(name: str, root: Path) -> list[str]:
    """Return what is wrong with the reference of a chapter; an empty list if it is sound."""
    import jupytext
    import nbformat

    reference = folder(root) / f"{name}.ipynb"
    if not reference.is_file():
        return [f"no reference; `qmlbook check {name} --update` writes it"]
    source = jupytext.read(execute.sources(root)[name])
    try:
        return guard_reference(nbformat.read(reference, as_version=4), source)
    except (ValueError, LookupError, AttributeError, nbformat.ValidationError):
        return [f"the reference is damaged; `qmlbook check {name} --update` writes it anew"]


def guard_reference(notebook: NotebookNode, source: NotebookNode) -> list[str]:
    """Return what would let a reference pass without checking its chapter.

    Args:
        notebook: the reference.
        source: the chapter as written, read by jupytext.
    """
    complaints = [
        f"code cell {number} of the reference was never executed"
        for number, cell in notebooks.code_cells(notebook)
        if not cell.execution_count
    ]
    if not any(_compared(cell) for _, cell in notebooks.code_cells(notebook)):
        complaints.append("nothing to compare: no compared cell of the reference prints anything")
    ours, theirs = ([_essence(cell) for cell in book.cells] for book in (source, notebook))
    for number, pair in enumerate(zip(ours, theirs, strict=False), 1):
        if pair[0] != pair[1]:
            complaints.append(f"cell {number} differs between chapter and reference; update it")
            break
    else:
        if len(ours) != len(theirs):
            complaints.append(f"{len(ours)} cells in the chapter, {len(theirs)} in the reference")
    return complaints


def guard_orphans(root: Path) -> dict[str, list[str]]:
    """Return a complaint for every reference without a chapter."""
    known = execute.names(root)
    return {
        path.stem: [f"{path.relative_to(root)} has no chapter in _toc.yml; remove it"]
        for path in sorted(folder(root).glob("*.ipynb"))
        if path.stem not in known
    }


def _essence(cell: NotebookNode) -> tuple[str, str, list[str]]:
    return cell.cell_type, cell.source.strip(), sorted(notebooks.tags(cell))


def _compared(cell: NotebookNode) -> bool:
    """Return whether nbval would compare any text of a cell, other than that a figure appeared."""
    if UNCOMPARED & set(notebooks.tags(cell)):
        return False
    text = [output.get("text", "") for output in cell.outputs]
    text += [str(value) for output in cell.outputs for value in output.get("data", {}).values()]
    words = {word for _, word in DRAWINGS}
    return any(notebooks.replace(part, DRAWINGS).strip() not in {"", *words} for part in text)


# --- writing and comparing ----------------------------------------------------------------------


def _write_reference(executed: Path, target: Path, root: Path) -> None:
    """Store an executed notebook without images and without the stamp of its run."""
    import nbformat

    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata.pop("qmlbook", None)
    for _, cell in notebooks.code_cells(notebook):
        for output in cell.outputs:
            for kind in [kind for kind in output.get("data", {}) if notebooks.bitmap(kind)]:
                del output.data[kind]
        notebooks.replace_everywhere(cell.outputs, DRAWINGS)
    notebooks.write(notebook, target)


def _nbval(reference: Path, root: Path, cell_timeout: float, programs: Programs) -> str:
    """Run nbval over one reference; return an empty text, or what it says about differences.

    pytest sees neither the settings and conftest files of any project nor other plugins.
    """
    with tempfile.TemporaryDirectory(prefix="qmlbook-") as scratch:
        settings, patterns = Path(scratch, "pytest.ini"), Path(scratch, "sanitize.cfg")
        sanitize = "".join(
            f"[pattern {number}]\nregex: {pattern}\nreplace: {word}\n\n"
            for number, (pattern, word) in enumerate(notebooks.local_words(root) + DRAWINGS)
        )
        with files.writing(scratch):
            settings.write_text("[pytest]\n", "utf-8")
            patterns.write_text(sanitize, "utf-8")
            env = execute.kernel_environment(root, Path(scratch), embedded=True)
        options = ["-c", settings, "--noconftest", "-p", "no:cacheprovider", "-p", "nbval.plugin"]
        options += ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", patterns]
        options += ["--nbval-cell-timeout", str(cell_timeout), "--color=no", "--quiet", "-rN"]
        process = programs.run(
            [sys.executable, "-m", "pytest", *options, reference],
            env={**env, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            cwd=root,
        )
    if process.returncode == 0:
        return ""
    said = (process.stdout + process.stderr).strip() or f"pytest exited {process.returncode}"
    # nbval counts code cells from 0, readers from 1.
    return re.sub(r"\bCell (\d+)", lambda match: f"code cell {int(match[1]) + 1}", said)
