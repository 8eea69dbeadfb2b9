"""Slides of a chapter: one HTML file for reveal.js, made by nbconvert.

A heading opens a slide, every code cell with the words before it a slide below. A slide has room
for a few sentences: it shows the first ones, and formulas and lists; the whole text is in the
speaker's notes. Figures are shown with their captions; their code, and long code, is folded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from .. import notebooks
from .assignments import caption
from .myst import Chapter, Exercise

_HERE = Path(__file__).parent
#: Characters of text that fit on a slide: beside a cell, and alone.
_ROOM_BESIDE, _ROOM_ALONE = 260, 800
_ROOM_BELOW = 200  # of closing words under a cell
_FORMULA = 150  # what a displayed formula takes of it at least
_LONG_CODE = 12  # lines; longer code is folded


def html(chapter: Chapter) -> str:
    """Return the slides of a chapter; outputs are shown where the chapter has been executed."""
    exporter = SlidesExporter(
        template_name="slides",
        extra_template_basedirs=[str(_HERE)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    return exporter.from_notebook_node(deck(chapter))[0]


def files() -> dict[str, bytes]:
    """Return what slides load from the folder ``reveal/`` beside them."""
    wanted = ("reveal.js", "reveal.css", "notes.js", "LICENSE")
    return {name: (_HERE / "slides" / name).read_bytes() for name in wanted}


def deck(chapter: Chapter) -> NotebookNode:
    """Return the notebook that nbconvert makes slides of."""
    slides = _Deck(chapter.title)
    for item in chapter.items:
        if isinstance(item, Exercise):
            slides.waiting.append(f"**Exercise {item.number}.** {item.question}")
            slides.close()
        elif item.cell_type == "markdown":
            slides.markdown(item.source)
        else:
            slides.code(item)
    slides.close()
    for number, cell in enumerate(slides.cells):
        cell.id = f"cell-{number}"
    return new_notebook(cells=slides.cells, metadata={"title": chapter.title})


class _Deck:
    """Slides that grow cell by cell."""

    def __init__(self, title: str):
        self.title = title
        self.cells: list[NotebookNode] = []
        self.section = ""  # heading of the section, "" before the first one
        self.bare = False  # whether the last slide has nothing but its heading
        self.waiting: list[str] = []  # blocks of text that have no slide yet

    def markdown(self, source: str) -> None:
        """Take a cell of text, block by block."""
        for kind, block in _blocks(source):
            heading = re.match(r"(#+) +(.+)", block) if kind == "heading" else None
            if heading and len(heading[1]) < 3:
                self.close()
                self.section = heading[2] if len(heading[1]) == 2 else ""
                self._add(block, "slide")
                self.bare = True
            elif kind == "blockquote":  # a box has a slide of its own, and is short
                self.close()
                self._open()
                self._add(block)
            else:
                self.waiting.append(block)

    def code(self, cell: NotebookNode) -> None:
        """Put a code cell on a slide, after the words that wait."""
        tags, figure = notebooks.tags(cell), cell.metadata.get("figure")
        if not self.section and not figure:
            return  # parameters and imports
        self._open()
        self._text(_ROOM_BESIDE)
        shown = new_code_cell(cell.source, outputs=cell.outputs)
        long = cell.source.count("\n") >= _LONG_CODE
        shown.metadata["folded"] = bool(figure or "hide-input" in tags or long)
        if "remove-input" in tags:
            shown.metadata["transient"] = {"remove_source": True}
        self.cells.append(shown)
        if figure:
            shown.metadata["alt"] = figure["alt"]
            self._add(caption(figure), caption=True)
        self.cells[-1].metadata["last_words"] = True  # there is room for them

    def close(self) -> None:
        """Put the words that wait on a slide; a few of them go below the last cell."""
        if self.waiting:
            few = len("".join(self.waiting)) <= _ROOM_BELOW
            if not (few and self.cells and self.cells[-1].metadata.get("last_words")):
                self._open()
            self._text(_ROOM_ALONE)

    def _open(self) -> None:
        """Begin a slide below the last one, unless that one has room."""
        if not self.bare:
            self._add(f"### {self.section or self.title}", "subslide")
        self.bare = False

    def _text(self, room: int) -> None:
        """Show what fits of the words that wait; all of them are notes if anything is left out."""
        if not self.waiting:
            return
        kept: list[str] = []
        cut = False  # words after a gap would not be understood, formulas are
        for block in self.waiting:
            part, formula = _shortened(block, room), block.startswith("$$")
            size = max(len(part), _FORMULA if formula else 0)
            fits = part and (not kept or size <= room) and (formula or not cut)
            if fits:
                kept.append(part)
                room -= size
            cut = cut or not fits or part != block
        if kept:
            self._add("\n\n".join(kept))
        if kept != self.waiting:
            self._add("\n\n".join(self.waiting), "notes")
        self.waiting = []

    def _add(self, source: str, slide_type: str = "-", **settings: object) -> None:
        metadata = {"slideshow": {"slide_type": slide_type}, **settings}
        self.cells.append(new_markdown_cell(source, metadata=metadata))


def _blocks(source: str) -> Iterator[tuple[str, str]]:
    """Yield the blocks of Markdown: kind (as markdown-it calls it) and text."""
    lines = source.splitlines(keepends=True)
    for token in MarkdownIt().enable("table").parse(source):
        if token.level == 0 and token.map and token.nesting >= 0:
            text = "".join(lines[slice(*token.map)]).strip()
            yield token.type.removesuffix("_open"), text


def _shortened(block: str, room: int) -> str:
    """Return the first sentences of a paragraph that fit; empty if not even one does."""
    if len(block) <= room:
        return block
    ends = [match.end() for match in re.finditer(r"[.?!][*)]*(?=\s)", block)]
    fitting = [block[:end] for end in ends if end <= room or end == ends[0]]
    return next((text for text in reversed(fitting) if _whole(text)), "")


def _whole(text: str) -> bool:
    """Return whether no formula, code, emphasis or link is cut off."""
    pairs = text.count("[") == text.count("]") and text.count("(") == text.count(")")
    return pairs and all(text.count(mark) % 2 == 0 for mark in ("$", "`", "**"))
