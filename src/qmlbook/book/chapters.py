"""Chapters: which there are, how they are written, and what a reader may ask of them.

The contents of the book are the documents that ``_toc.yml`` lists. A chapter is a document that is
a MyST notebook; plain pages are not. :mod:`qmlbook.book.execute` runs chapters.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import files, paths
from ..base.errors import QmlbookError, UsageError, require_choice, shown
from . import notebooks
from .parameters import Parameter, declared

if TYPE_CHECKING:
    from nbformat import NotebookNode

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DIRECTIVE_END = re.compile(r"^```\s*$|^\+\+\+.*$", re.MULTILINE)


# --- text ---------------------------------------------------------------------------------------


def read_text(file: Path) -> str:
    """Return what an author wrote, with ``\\n`` for every end of a line and no byte order mark.

    Raises:
        QmlbookError: if the file is not UTF-8, or holds a control character.
    """
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise QmlbookError(
            f"{file.name}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; "
            "save the file in that encoding."
        ) from None
    if control := _CONTROL.search(text):
        line = text.count("\n", 0, control.start()) + 1
        raise QmlbookError(
            f"{file.name}, line {line}: the control character {shown(control[0])} must go."
        )
    return text


def from_yaml(text: str, name: str, first_line: int = 1) -> Any:
    """Return what YAML says.

    Args:
        text: the YAML.
        name: the file that it is in, for the error.
        first_line: where in the file it begins, for the error.

    Raises:
        QmlbookError: if it is not YAML, or gives a key twice.
    """
    from ..base import strict_yaml  # YAML takes long to load

    return strict_yaml.load_of(name, text, first_line)


def read(source: Path) -> NotebookNode:
    """Return a chapter as written, as a notebook without outputs.

    Raises:
        QmlbookError: names file and line where it is no MyST notebook.
    """
    text = read_text(source)
    try:
        return _notebook(text)
    except Exception as error:  # jupytext, nbformat and YAML raise their own, without a common kind
        ends = [match.end() for match in _DIRECTIVE_END.finditer(text)]
        end = next((end for end in ends if not _is_notebook(text[:end])), len(text))
        start = max(
            (match.start() for match in re.finditer(r"^```\{", text[:end], re.M)), default=0
        )
        line, reason = text.count("\n", 0, start) + 1, " ".join(str(error).split())
        raise QmlbookError(
            f"{source.name}, line {line}: the settings of this cell cannot be read "
            f"({shown(reason)})."
        ) from None


def _notebook(text: str) -> NotebookNode:
    import jupytext

    return jupytext.reads(text, fmt="md:myst")


def _is_notebook(text: str) -> bool:
    try:
        return bool(_notebook(text))
    except Exception:  # as above
        return False


# --- contents -----------------------------------------------------------------------------------


def documents(root: Path) -> list[str]:
    """Return every document of a checkout's book in reading order, without ``.md``.

    Raises:
        QmlbookError: if ``_toc.yml`` cannot be read or names a document by anything but text.
    """

    seen = set()

    def walk(node: Any) -> Iterator[str]:
        if id(node) in seen:  # by an alias, which may even lead to what it is a part of
            return
        if isinstance(node, dict | list):
            seen.add(id(node))
        if isinstance(node, dict):
            for key in ("root", "file"):
                if not isinstance(name := node.get(key, ""), str):
                    raise QmlbookError(f"_toc.yml: {key} must name a document, not {shown(name)}.")
                if name:
                    yield name.removesuffix(".md")
        if isinstance(node, dict | list):
            for child in node.values() if isinstance(node, dict) else node:
                yield from walk(child)

    return list(walk(from_yaml(read_text(root / "_toc.yml"), "_toc.yml")))


def sources(root: Path | None = None) -> dict[str, Path]:
    """Return the chapters in reading order: name (file stem) -> MyST notebook.

    Plain pages of the book, whose header names no kernel, are not chapters.

    Raises:
        QmlbookError: for two chapters of one name, or a page that cannot be read.
    """
    root = root or paths.project_root()
    chapters: dict[str, Path] = {}
    for document in documents(root):
        path = root / f"{document}.md"
        text = read_text(path) if path.is_file() else ""
        header = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        if header and "kernelspec" in (from_yaml(header[1], path.name, first_line=2) or ()):
            if path.stem in chapters:
                raise QmlbookError(f"_toc.yml lists two chapters called {path.stem!r}; rename one.")
            chapters[path.stem] = path
    return chapters


def names(root: Path | None = None) -> list[str]:
    """Return the names of the chapters in reading order."""
    return list(sources(root))


def select(
    selected: Iterable[str] | None, root: Path, *, kind: str = "chapter", holding: str = ""
) -> dict[str, Path]:
    """Return the selected chapters with their sources; all of them when none is named.

    Args:
        selected: names of chapters.
        root: the checkout.
        kind: what they are, for the error.
        holding: only chapters with this text can be selected.

    Raises:
        UsageError: names the first unknown chapter and lists the known ones.
    """
    known = {name: file for name, file in sources(root).items() if holding in read_text(file)}
    wanted = list(dict.fromkeys(selected or known))
    for name in wanted:
        require_choice(kind, name, known, none="(_toc.yml lists no chapter)")
    return {name: known[name] for name in wanted}


def copy(selected: Iterable[str] | None, to: Path, *, root: Path | None = None) -> Path:
    """Write chapters as notebooks without outputs that run wherever this package is installed.

    Args:
        selected: chapters; none for all.
        to: the folder; what else is in it is left alone.
        root: where the chapters are; by default :func:`qmlbook.base.paths.chapters_root`.

    Returns:
        The folder.

    Raises:
        UsageError: for an unknown chapter, or where a notebook is there already with other content.
        QmlbookError: if jupytext is missing, or the folder cannot be written.
    """
    if not importlib.util.find_spec("jupytext"):
        raise QmlbookError("Notebooks need jupytext: pip install 'qmlbook[book,hardware]'.")
    root = root or paths.chapters_root()
    content = {}
    for name, source in select(selected, root).items():
        notebook = read(source)
        notebooks.scrub(notebook, root, {})
        content[to / f"{name}.ipynb"] = notebooks.content(notebook)
    for file, text in content.items():
        if file.exists() and (not file.is_file() or file.read_bytes() != text):
            raise UsageError(f"--copy {shown(str(to))}: {file.name} is there with other content.")
    for file, text in content.items():
        files.write(file, text)
    return to


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
    chosen = select(selected, root or paths.project_root())
    return {name: declared(read(source), source) for name, source in chosen.items()}
