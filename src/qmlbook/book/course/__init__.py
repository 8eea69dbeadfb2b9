"""A course from the book: notebooks for students and teachers, and slides.

Everything is made from the chapters' own sources, so that a class works on what the book says.
The folder is a course of nbgrader: ``instructor/`` holds the sources of its assignments.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ...base import files, paths
from ...base.errors import QmlbookError, UsageError
from .. import chapters, execute, notebooks

if importlib.util.find_spec("nbconvert"):  # else `write` says what is missing
    from . import assignments, slides
    from .myst import Book, Chapter

CONFIG = "nbgrader_config.py"
_CONFIG_TEXT = Path(__file__).with_name("nbgrader_config.txt").read_bytes()


def write(
    selected: Iterable[str] | None = None,
    *,
    to: Path = Path("course"),
    force: bool = False,
    root: Path | None = None,
    echo: Callable[[str], object] = execute.say,
) -> Path:
    """Write student notebooks, teacher's notebooks and slides of chapters with exercises.

    Slides show outputs where the chapter has been executed as it stands now (``qmlbook chapters``
    or ``qmlbook build``). All files appear, or none does.

    Args:
        selected: chapters; none for all that have exercises.
        to: the folder to write to. Other files in it are left alone.
        force: replace files that are there with other content (but never ``nbgrader_config.py``).
        root: the checkout; by default :func:`qmlbook.base.paths.project_root`.
        echo: called with a line per chapter.

    Returns:
        The folder.

    Raises:
        UsageError: for a chapter without exercises, a folder that is a file, or files that would
            be replaced and ``force`` is not given.
        QmlbookError: for a chapter that cannot be translated, or if nbconvert is not installed.
    """
    root = root or paths.project_root()
    wanted = select(selected, root)
    if not importlib.util.find_spec("nbconvert"):
        raise QmlbookError("Slides need nbconvert: pip install 'qmlbook[course]'.")
    book = Book.read(root)
    content: dict[str, bytes] = {CONFIG: _CONFIG_TEXT}
    executed = execute.executed(wanted, root)
    for name in wanted:
        made, line = _chapter(read(name, root, book), executed.get(name))
        content |= made
        echo(line)
    content |= {f"slides/reveal/{name}": data for name, data in slides.files().items()}
    mathjax = root / "book" / "_static" / "mathjax"
    content |= {f"slides/mathjax/{path.name}": path.read_bytes() for path in mathjax.iterdir()}
    _place(content, to, force)
    return to


def select(selected: Iterable[str] | None, root: Path) -> list[str]:
    """Return the selected chapters; all that have exercises when none is named.

    Raises:
        UsageError: names the first that is no chapter with exercises and lists those that are.
    """
    asked = {"kind": "chapter with exercises", "holding": "{exercise-start}"}
    return list(chapters.select(selected, root, **asked))


def read(name: str, root: Path, book: Book | None = None) -> Chapter:
    """Return a chapter as it is written, translated."""
    source = chapters.sources(root)[name]
    return Chapter(name, chapters.read(source), book or Book.read(root))


def _chapter(chapter: Chapter, executed: Path | None) -> tuple[dict[str, bytes], str]:
    """Return the files of one chapter, and a line that says what they hold."""
    name, solved, shown = chapter.name, assignments.instructor(chapter), chapter
    if executed:
        shown = Chapter(name, notebooks.read(executed), chapter.book)

    files = {
        f"instructor/{name}/{name}.ipynb": notebooks.content(solved),
        f"student/{name}.ipynb": notebooks.content(assignments.student(solved)),
        f"slides/{name}.html": slides.html(shown).encode(),
    }
    checked = sum(bool(assignments.checks(exercise)) for exercise in chapter.exercises)
    line = f"{name}: {len(chapter.exercises)} exercises, {checked} with self-checks"
    if not executed:
        line += f"; slides without outputs (`qmlbook chapters {name}` makes them)"
    return files, line


def _place(content: Mapping[str, bytes], folder: Path, force: bool) -> None:
    """Write files to a folder: all of them, or none where one would replace another's work."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--to {str(folder)!r} is a file; name a folder.")
    content = dict(content)
    if (folder / CONFIG).exists():
        del content[CONFIG]  # the teacher's by now
    other = [name for name, data in content.items() if not _free(folder / name, data)]
    if other and not force:
        raise UsageError(
            f"--to {str(folder)!r}: {other[0]} is there with other content"
            f"{f' (and {len(other) - 1} files more)' if other[1:] else ''}; name another folder, "
            "or add --force to replace what this command writes."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = folder if folder.exists() else folder.parent
        with tempfile.TemporaryDirectory(prefix=".course-", dir=beside) as scratch:
            fresh = Path(scratch, "course")
            for name, data in content.items():
                files.write(fresh / name, data)
            if not folder.exists():
                os.replace(fresh, folder)
                return
            for name in content:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(fresh / name, folder / name)
    except OSError as error:
        raise QmlbookError(f"--to {str(folder)!r} cannot be written ({error.strerror}).") from None


def _free(path: Path, data: bytes) -> bool:
    """Return whether writing a file there destroys nothing."""
    return not path.exists() or (path.is_file() and path.read_bytes() == data)
