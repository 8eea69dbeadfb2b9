"""References: executed notebooks under version control, with which later runs are compared.

``tests/reference/<name>.ipynb`` is a quick run of a chapter on the data in the repository, without
its images. What is compared, and how, is nbval's own business: it holds the cells of a reference
against the very notebook that the book shows or, where that is asked for, runs them in a kernel of
its own. All that is printed counts, standard error and HTML included, character by character. nbval
compares nothing for a cell that the reference never ran and knows nothing of the chapter's source,
hence the guards.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import files, paths
from . import chapters, execute, notebooks

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Drawings are not compared, only that there is one.
DRAWINGS: notebooks.Words = [
    (r'(?s)<div class="qmlbook-live".*</script>\s*</div>', "[live figure]"),
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
    nbval: bool = False,
    jobs: int = 2,
    cell_timeout: float = execute.CELL_TIMEOUT["quick"],
    root: Path | None = None,
    echo: Callable[[str], object] = execute.say,
) -> bool:
    """Compare a quick run of chapters with their references, or (``update``) write them anew.

    The reader's own data are hidden. A chapter that is up to date is not run again: it is the
    notebook that the book shows. Cells tagged ``nbval-ignore-output``, those that show stored
    records, run but are not compared.

    Args:
        selected: chapters; none for all, which also asks that every reference has a chapter.
        update: write references from a quick run instead of comparing.
        nbval: let nbval run the cells of the references itself, whatever has been run before.
        jobs: how many notebooks run at a time.
        cell_timeout: seconds one cell may take.
        root: the checkout; by default :func:`qmlbook.base.paths.project_root`.
        echo: called with one text per finished chapter.

    Returns:
        Whether every chapter agrees with a sound reference.

    Raises:
        UsageError: for an unknown chapter, or ``jobs`` below 1.
        QmlbookError: for a chapter that does not declare its parameters properly.
    """
    root = root or paths.project_root()
    wanted = list(chapters.select(selected, root))
    execute.require_jobs(jobs)
    how: dict[str, Any] = {"jobs": jobs, "cell_timeout": cell_timeout, "root": root, "echo": echo}

    def executed(names: list[str]) -> list[execute.Result]:
        return execute.run(names, embedded=True, keep_going=True, **how)

    good = True
    if update:
        files.require_writable(folder(root))
        results = executed(wanted)
        for result in results:
            if result.path:
                write(result.path, folder(root) / f"{result.name}.ipynb", root)
        wanted = [result.name for result in results if result.ok]
        good = len(wanted) == len(results)
    complaints = {name: guard(name, root) for name in wanted}
    if not selected:
        complaints |= guard_orphans(root)
    for name, each in complaints.items():
        for complaint in each:
            echo(f"{name}: FAILED: {complaint}")
    sound = [name for name, each in complaints.items() if not each]
    good = good and len(sound) == len(complaints)
    if update or not sound:
        return good
    if nbval:
        return _compare_again(sound, **how) and good
    return _compare(executed(sound), root, echo) and good


# --- guards -------------------------------------------------------------------------------------


def guard(name: str, root: Path) -> list[str]:
    """Return what is wrong with the reference of a chapter; an empty list if it is sound."""
    import nbformat

    reference, source = folder(root) / f"{name}.ipynb", chapters.read(chapters.sources(root)[name])
    if not reference.is_file():
        return [f"no reference; `qmlbook check {name} --update` writes it"]
    try:
        return guard_reference(notebooks.read(reference), source)
    except (ValueError, LookupError, AttributeError, nbformat.ValidationError):
        return [f"the reference is damaged; `qmlbook check {name} --update` writes it anew"]


def guard_reference(notebook: NotebookNode, source: NotebookNode) -> list[str]:
    """Return what would let a reference pass without checking its chapter.

    Args:
        notebook: the reference.
        source: the chapter as written.
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
    known = chapters.names(root)
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


# --- writing ------------------------------------------------------------------------------------


def write(executed: Path, target: Path, root: Path) -> None:
    """Store an executed notebook without images and without the stamp of its run."""
    notebook = notebooks.read(executed)
    notebook.metadata.pop("qmlbook", None)
    for _, cell in notebooks.code_cells(notebook):
        for output in cell.outputs:
            for kind in [kind for kind in output.get("data", {}) if notebooks.bitmap(kind)]:
                del output.data[kind]
        notebooks.replace_everywhere(cell.outputs, DRAWINGS)
    notebooks.write(notebook, target)


# --- comparing ----------------------------------------------------------------------------------


def _sanitizers(root: Path) -> str:
    """Return what nbval replaces before it compares, in its own format."""
    return "".join(
        f"[pattern {number}]\nregex: {pattern}\nreplace: {word}\n\n"
        for number, (pattern, word) in enumerate(notebooks.local_words(root) + DRAWINGS)
    )


def _options(scratch: Path, root: Path) -> list[str]:
    """Return the options of pytest: nbval and nothing else of any project or plugin."""
    settings, patterns = scratch / "pytest.ini", scratch / "sanitize.cfg"
    with files.writing(scratch):
        settings.write_text("[pytest]\n", "utf-8")
        patterns.write_text(_sanitizers(root), "utf-8")
    options = ["-c", str(settings), "--noconftest", "-p", "no:cacheprovider", "-p", "nbval.plugin"]
    options += ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", str(patterns)]
    return [*options, "--disable-plugin-autoload", "--color=no", "--quiet", "-rN"]


def _said(text: str) -> str:
    """Return what nbval says, with code cells counted from 1 as readers do, not from 0."""
    return re.sub(r"\bCell (\d+)", lambda match: f"code cell {int(match[1]) + 1}", text.strip())


def _compare(results: list[execute.Result], root: Path, echo: Callable[[str], object]) -> bool:
    """Let nbval compare what executed chapters printed; return whether all agree."""
    import pytest
    from nbval.plugin import IPyNbFile

    good = all(result.ok for result in results)
    with tempfile.TemporaryDirectory(prefix="qmlbook-") as scratch:
        config = pytest.Config.fromdictargs({}, _options(Path(scratch), root))
        session = pytest.Session.from_config(config)
        for result in results:
            if not result.path:
                continue
            reference = IPyNbFile.from_parent(session, path=folder(root) / f"{result.name}.ipynb")
            reference.setup_sanitize_files()
            said = "\n".join(differences(reference, notebooks.read(result.path)))
            echo(f"{result.name}: FAILED\n{said}" if said else _agrees(result.name))
            good = good and not said
    return good


def _agrees(name: str) -> str:
    return f"{name}: agrees with its reference"


def differences(reference: Any, executed: NotebookNode) -> Iterator[str]:
    """Yield what nbval says of every cell that differs from its reference.

    Args:
        reference: nbval's collector of the cells of a notebook.
        executed: a notebook that was executed from the same source.

    Raises:
        RuntimeError: if it was not: then its outputs answer another question.
    """
    import pytest
    from nbval.plugin import NbCellError, coalesce_streams

    ran = [cell for cell in executed.cells if cell.cell_type == "code"]
    for test, cell in zip(reference.collect(), ran, strict=True):
        if cell.source.strip() != test.cell.source.strip():
            theirs = test.cell.source
            raise RuntimeError(f"the reference runs {theirs!r}, the chapter {cell.source!r}")
        if test.options["skip"] or not test.options["check"]:
            continue
        ours, theirs = coalesce_streams(cell.outputs), coalesce_streams(test.cell.outputs)
        if not test.compare_outputs(ours, theirs):
            try:
                test.raise_cell_error("Cell outputs differ", "\n".join(test.comparison_traceback))
            except NbCellError:
                yield _said(test.repr_failure(pytest.ExceptionInfo.from_current()))


def _compare_again(
    names: list[str], jobs: int, cell_timeout: float, root: Path, echo: Callable[[str], object]
) -> bool:
    """Let nbval run the references; return whether all agree."""

    def agrees(name: str) -> bool:
        with tempfile.TemporaryDirectory(prefix="qmlbook-") as folder_:
            scratch = Path(folder_)
            options = [*_options(scratch, root), "--nbval-cell-timeout", str(cell_timeout)]
            process = programs.run(
                [sys.executable, "-m", "pytest", *options, folder(root) / f"{name}.ipynb"],
                env=execute.kernel_environment(root, scratch, embedded=True),
                cwd=root,
            )
        said = _said(process.stdout + process.stderr) or f"pytest exited {process.returncode}"
        echo(f"{name}: FAILED\n{said}" if process.returncode else _agrees(name))
        return not process.returncode

    with ThreadPoolExecutor(jobs) as pool, execute.Programs() as programs:
        return all(list(pool.map(agrees, names)))
