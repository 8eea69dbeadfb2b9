"""Notebook files: what may be stored of an executed notebook, and how it is written.

An executed notebook holds nothing of the machine and the moment: no paths, process numbers, memory
addresses, times or random cell ids. The same patterns that clean it let a later run be compared
with it.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import files

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Kind of an output that holds the catalogue of papers; the built book has it as a file.
PAPERS = "application/vnd.qmlbook.papers+json"
Words = list[tuple[str, str]]
# Around a place, so that only whole names in a path are replaced; "]" ends a word put there before.
# A terminal's colour and an escaped line end are letters, too, and no part of a name.
_BEGINS = (
    r"(?:(?<![\w.\-\]])|(?<=\[m)|(?<=[\[;]\dm)|(?<=[\[;]\d{2}m)|(?<=[\[;]\d{3}m)|(?<=\\[nrt]))"
)
_ENDS = r"(?![\w\-+~@]|\.+[\w\-])"


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def code_cells(notebook: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """Return the code cells that say something, numbered from 1 as a reader counts them.

    A cell in which papermill put other values for parameters is not the author's and not counted.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells = [cell for cell in cells if "injected-parameters" not in tags(cell)]
    return [(number, cell) for number, cell in enumerate(cells, 1) if cell.source.strip()]


def local_words(root: Path) -> Words:
    """Return patterns for what differs between machines and runs, each with its replacement.

    Every replacement is a visible word (an empty one would hide a difference) that no pattern
    matches, so that replacing twice changes nothing.

    Args:
        root: the checkout.
    """
    places: dict[str, str] = {}
    for path, word in (
        (root, "[project]"),
        (Path(sys.prefix), "[python]"),
        (Path(tempfile.gettempdir()), "[temporary]"),
        (Path.home(), "[home]"),
    ):
        for spelling in (path, path.resolve()):
            if len(spelling.parts) > 1:  # a home at "/" is no place in particular
                places.setdefault(str(spelling), word)
    return [
        *(  # one place may lie in another: the innermost first
            (f"{_BEGINS}{re.escape(place)}{_ENDS}", places[place])
            for place in sorted(places, key=len, reverse=True)
        ),
        (r"ipykernel_\d+", "ipykernel_PID"),
        (r"\b0x[0-9A-Fa-f]{9,16}\b", "0xADDRESS"),
    ]


def replace(text: str, words: Words) -> str:
    """Return ``text`` with every pattern replaced by its word."""
    for pattern, word in words:
        text = re.sub(pattern, word, text)
    return text


def replace_everywhere(outputs: Iterable[NotebookNode], words: Words) -> None:
    """Replace in all text of outputs, in place; bitmaps are left alone."""
    for output in outputs:
        if output.output_type == "stream":
            output.text = replace(output.text, words)
        if output.output_type == "error":
            output.evalue = replace(output.evalue, words)
            output.traceback = [replace(line, words) for line in output.traceback]
        for kind, value in output.get("data", {}).items():
            if isinstance(value, str) and not bitmap(kind):
                output.data[kind] = replace(value, words)


def bitmap(kind: str) -> bool:
    """Return whether a MIME type is an image that is not text."""
    return kind.startswith("image/") and kind != "image/svg+xml"


def scrub(notebook: NotebookNode, root: Path, stamp: Mapping[str, Any]) -> NotebookNode:
    """Remove what belongs to this machine and this run, in place, and add a stamp.

    Args:
        notebook: an executed notebook.
        root: the checkout.
        stamp: what the notebook was made from, stored as ``metadata.qmlbook``.
    """
    for key in ("papermill", "jupytext", "widgets"):
        notebook.metadata.pop(key, None)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    notebook.metadata["qmlbook"] = dict(stamp)
    words = local_words(root)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not tags(cell):
            cell.metadata.pop("tags", None)
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
            replace_everywhere(cell.outputs, words)
    return notebook


def _joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Return outputs without widgets, the pieces of a stream that follow each other joined."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if "data" in output:
            output.data.pop("application/vnd.jupyter.widget-view+json", None)
        if joined and output.get("name", "") == joined[-1].get("name"):
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def read(file: Path) -> NotebookNode:
    """Return the notebook in a file; raises what ``nbformat`` raises."""
    import nbformat

    return nbformat.read(file, as_version=4)


def content(notebook: NotebookNode) -> bytes:
    """Return what a file of a notebook holds."""
    import nbformat

    return f"{nbformat.writes(notebook).rstrip()}\n".encode()


def write(notebook: NotebookNode, target: Path) -> None:
    """Write a notebook at once: readers see the old file or the new one, nothing between."""
    files.write(target, content(notebook))
