"""Chapters in plain Markdown: what any notebook program shows, without Sphinx.

A chapter is written in MyST. Here its directives, roles and cross-references become ordinary
Markdown, captions come out of the cells' settings, and exercises are set apart from their
solutions. What cannot be translated is an error: nothing half-rendered reaches a class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from pybtex.database import BibliographyData, parse_file
from pybtex.plugin import find_plugin
from pybtex.richtext import Text

from ...base.errors import QmlbookError
from .. import chapters, notebooks

_TARGET = re.compile(r"^\([\w-]+\)=\n?", re.MULTILINE)
#: In running text: a role, a link inside the book, or a formula or code, which stay as they are.
_INLINE = re.compile(
    r"\{(?P<role>[\w:]+)\}`(?P<target>[^`]+)`"
    r"|\[(?P<words>[^\[\]]*)\]\((?![a-z]+:)(?P<label>[^()\s]+)(?:\s+\"[^\"]*\")?\)"
    r"|\$\$.*?\$\$|\$[^$]+\$|`[^`]+`",
    re.DOTALL,
)
_MARKS = ("exercise-start", "exercise-end", "solution-start", "solution-end")
_OPTIONS = re.compile(r"((?::[\w-]+:[^\n]*\n?)*)\s*(.*)", re.DOTALL)


class Directive(NamedTuple):
    """A fenced directive: its name and argument, ``:option:`` lines, then its body.

    A block of code is one without a name; its body is taken verbatim.
    """

    name: str
    argument: str
    options: dict[str, str]
    body: str


@dataclass
class Exercise:
    """An exercise with its solution.

    Attributes:
        label: its label in the book, unique among all chapters.
        number: its place in the chapter, from 1.
        asked: cells that say what is asked.
        solution: cells of the solution in their order, self-checks among them.
    """

    label: str
    number: int
    asked: list[NotebookNode] = field(default_factory=list)
    solution: list[NotebookNode] = field(default_factory=list)

    @property
    def question(self) -> str:
        """What is asked, in plain Markdown."""
        return "\n\n".join(cell.source for cell in self.asked)


@dataclass(frozen=True)
class Book:
    """What chapters refer to: the titles of all pages, and the works cited."""

    titles: dict[str, str]
    works: BibliographyData

    @classmethod
    def read(cls, root: Path) -> Book:
        """Read the pages and ``references.bib`` of a checkout."""
        titles = {}
        for page in (root / f"{name}.md" for name in chapters.documents(root)):
            if not (heading := re.search(r"^# (.+)$", chapters.read_text(page), re.MULTILINE)):
                raise QmlbookError(f"{page.name} has no title, a line that begins with '# '.")
            titles[page.stem] = heading[1]
        return cls(titles, parse_file(root / "book" / "references.bib"))

    def cite(self, key: str, textual: bool) -> str:
        """Return "Tran et al. (2025)", or without brackets of its own "Tran et al., 2025"."""
        entry = self.works.entries[key]
        names = [str(Text.from_latex(" ".join(p.last_names))) for p in entry.persons["author"]]
        who = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
        return f"{who} ({entry.fields['year']})" if textual else f"{who}, {entry.fields['year']}"

    def works_list(self, keys: Iterable[str]) -> str:
        """Return the works as a Markdown list, in the order of their authors."""
        style = find_plugin("pybtex.style.formatting", "plain")()
        backend = find_plugin("pybtex.backends", "markdown")()
        entries = style.format_bibliography(self.works, keys)
        lines = (" ".join(entry.text.render(backend).split()) for entry in entries)
        # pybtex escapes all punctuation; what is no markup reads better plain.
        return "\n".join("- " + re.sub(r"\\([-.()!])", r"\1", line) for line in lines)


class Chapter:
    """One chapter, translated.

    Attributes:
        name: the chapter's name.
        title: its heading.
        items: Markdown cells, code cells and exercises in reading order. A code cell keeps its
            tags, and its figure's ``number``, ``caption`` and ``alt`` as ``metadata.figure``.
        cited: keys of the works that it cites.

    Raises:
        QmlbookError: for a directive, role or reference that plain Markdown cannot express.
    """

    def __init__(self, name: str, notebook: NotebookNode, book: Book):
        self.name, self.book = name, book
        self.title = book.titles[name]
        self.cited: dict[str, None] = {}
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        parts = [part for part in segments(text) if isinstance(part, Directive)]
        labels = (part.options.get("label", "") for part in parts if part.name == "math")
        self._equations = {label: n for n, label in enumerate(filter(None, labels), 1)}
        settings = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in notebook.cells]
        names = (figure["name"] for figure in settings if "name" in figure)
        self._figures = {figure: n for n, figure in enumerate(names, 1)}
        self.items = _joined(self._items(notebook))

    @property
    def exercises(self) -> list[Exercise]:
        """The exercises in their order."""
        return [item for item in self.items if isinstance(item, Exercise)]

    def plain(self, text: str) -> str:
        """Return MyST text without structure (no exercises) as plain Markdown."""
        parts = [self._plain(part) for part in segments(text)]
        return "\n\n".join(part for part in parts if part.strip())

    def _plain(self, part: Directive | str) -> str:
        if isinstance(part, str):
            return self._inline(part).strip("\n")
        return self._directive(part) if part.name else part.body.strip("\n")

    def _items(self, notebook: NotebookNode) -> Iterator[NotebookNode | Exercise]:
        """Yield the items, with the solutions put into their exercises."""
        exercises: dict[str, Exercise] = {}
        part: list[NotebookNode] | None = None  # of an exercise that cells go to, if one is open
        for piece in (piece for cell in notebook.cells for piece in self._pieces(cell)):
            if not isinstance(piece, Directive):
                if part is None:
                    yield piece
                else:
                    part.append(piece)
            elif piece.name == "exercise-start":
                label = piece.options["label"]
                exercise = exercises[label] = Exercise(label, len(exercises) + 1)
                part = exercise.asked
                yield exercise
            elif piece.name == "solution-start":
                if piece.argument not in exercises:
                    raise self._error(f"a solution of {piece.argument!r}, which is no exercise")
                part = exercises[piece.argument].solution
            else:
                part = None

    def _pieces(self, cell: NotebookNode) -> Iterator[NotebookNode | Directive]:
        """Yield what a cell consists of: code, prose in plain Markdown, and marks of exercises."""
        if cell.cell_type == "code":
            if "remove-cell" not in notebooks.tags(cell):
                yield self._code(cell)
            return
        for part in segments(cell.source):
            if isinstance(part, Directive) and part.name in _MARKS:
                yield part
            elif (text := self._plain(part)).strip():
                yield new_markdown_cell(text)

    def _code(self, cell: NotebookNode) -> NotebookNode:
        """Return a code cell with the settings that notebooks and slides use."""
        code = new_code_cell(cell.source, outputs=cell.outputs)
        code.execution_count = cell.execution_count
        code.metadata["tags"] = notebooks.tags(cell)
        shown = cell.metadata.get("mystnb", {})
        if caption := shown.get("figure", {}).get("caption"):
            number = self._figures.get(shown["figure"].get("name"))
            alt = shown.get("image", {}).get("alt", "")
            code.metadata["figure"] = {"number": number, "caption": self.plain(caption), "alt": alt}
        return code

    def _directive(self, part: Directive) -> str:
        """Return a directive as plain Markdown."""
        if part.name == "math":
            number = self._equations.get(part.options.get("label", ""))
            tag = f"\n\\tag{{{number}}}" if number else ""
            return f"$$\n{part.body.strip()}{tag}\n$$"
        if part.name == "admonition":
            lines = f"**{part.argument}**\n\n{self.plain(part.body)}".splitlines()
            return "\n".join(f"> {line}".rstrip() for line in lines)
        raise self._error(f"the directive {part.name!r}")

    def _inline(self, text: str) -> str:
        """Return running text with roles, targets and links inside the book replaced."""
        if fence := re.search(r"^:{3,}.*", text, re.MULTILINE):
            raise self._error(f"{fence[0]!r}")
        return _INLINE.sub(self._reference, _TARGET.sub("", text))

    def _reference(self, match: re.Match[str]) -> str:
        """Return what a role or a link says, and anything else as it is."""
        if role := match["role"]:
            said = self._role(role, match["target"])
        elif label := match["label"]:
            number = self._figures.get(label)
            said = match["words"] or (f"Figure {number}" if number else "")
        else:
            said = match[0]
        if not said:
            raise self._error(f"the reference {match[0]}")
        return said

    def _role(self, role: str, target: str) -> str:
        """Return what a role says, empty if it is unknown or leads nowhere."""
        if role == "doc" and target in self.book.titles:
            return f"*{self.book.titles[target]}*"
        if role == "term":  # `words <term>`, or the term itself
            return target.split(" <")[0]
        if role == "eq" and target in self._equations:
            return f"({self._equations[target]})"
        keys = [key.strip() for key in target.split(",")]
        if role in ("cite", "cite:p", "cite:t") and self.book.works.entries.keys() >= set(keys):
            self.cited |= dict.fromkeys(keys)
            works = "; ".join(self.book.cite(key, role == "cite:t") for key in keys)
            return works if role == "cite:t" else f"({works})"
        return ""

    def _error(self, what: str) -> QmlbookError:
        return QmlbookError(
            f"{self.name}: {what} cannot be put into plain Markdown; known are admonitions, math, "
            "exercises, solutions, doc, eq, cite, term and links inside the book."
        )


def _joined(items: Iterable[NotebookNode | Exercise]) -> list[NotebookNode | Exercise]:
    """Return items with Markdown cells that follow each other made one."""
    joined: list[Any] = []
    for item in items:
        pair = (*joined[-1:], item)
        if len(pair) == 2 and all(getattr(cell, "cell_type", "") == "markdown" for cell in pair):
            joined[-1].source += f"\n\n{pair[1].source}"
        else:
            joined.append(item)
    return joined


def segments(text: str) -> Iterator[Directive | str]:
    """Yield Markdown in pieces: directives, and what is between them."""
    lines, at = text.splitlines(keepends=True), 0
    for token in MarkdownIt().parse(text):
        if token.type == "fence" and token.level == 0 and token.map:
            start, end = token.map
            yield "".join(lines[at:start])
            if (named := re.match(r"\{([\w:-]+)\}\s*(.*)", token.info)) and (
                content := _OPTIONS.fullmatch(token.content)
            ):
                pairs = dict(re.findall(r"^:([\w-]+):[ ]*(.*)$", content[1], re.MULTILINE))
                yield Directive(named[1], named[2].strip(), pairs, content[2])
            else:
                yield Directive("", "", {}, "".join(lines[start:end]))
            at = end
    yield "".join(lines[at:])
