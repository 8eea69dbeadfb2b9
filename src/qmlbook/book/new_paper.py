"""A paper more: ``qmlbook new`` makes its room, chapter, claims, vectors and line in the contents.

All are made from ``examples/add_a_paper``, a paper that runs; what is the reader's own goes in its
place.
"""

from __future__ import annotations

import importlib
import json
import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from .. import data, papers
from ..base import files, paths
from ..base.errors import QmlbookError, UsageError, shown
from . import chapters, execute, references, verdict_pages

EXAMPLE = Path("examples", "add_a_paper")
ITS_NAME = "fourier"
KEPT = {".py", ".yml", ".md", ".json"}
CONTENTS, BIBLIOGRAPHY, README = "_toc.yml", Path("book", "references.bib"), "README.md"
# What is no file on Windows, whatever its ending; a subject of the checklists; the example.
RESERVED = {"aux", "con", "nul", "prn", "book", ITS_NAME}
SOURCE = "this book, the example of `qmlbook new`; a section of your paper belongs here"
ABOUT = (
    "This chapter is for {{cite:t}}`{key}`. What follows is the example of {{doc}}`sixth`, which "
    "runs as it is: put the paper's own circuit, claims and runs in its place."
)
ENTRY = """
@misc{{{key},
  title = {{{title}}},
  author = {{{authors}}},
  howpublished = {{{where}}},
  year = {{{year}}},
}}
"""


@dataclass(frozen=True)
class Paper:
    """What is asked about a paper.

    Attributes:
        name: short name: of its room, its chapter and in every command.
        title: title of the paper.
        authors: their names, joined by ``and``, a family name first where a comma follows it.
        where: journal with volume and page, or the number of a preprint.
        year: when it appeared.
    """

    name: str
    title: str
    authors: str
    where: str
    year: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = str(getattr(self, field.name)).strip()
            if not value or not value.isprintable() or re.search(r'[{}\\$%#|<>*`"\[\]]', value):
                raise UsageError(
                    f"{field.name} is {shown(value)} and must be a text on one line without "
                    r"{ } \ $ % # | < > * ` [ ] and double quotes."
                )
        if any(person.count(",") > 1 for person in self.authors.split(" and ")):
            raise UsageError(
                f"authors is {shown(self.authors)} and must be names joined by the word and."
            )
        if not 1900 <= self.year <= 2100:
            raise UsageError(f"year is {self.year} and must be between 1900 and 2100.")

    @property
    def key(self) -> str:
        """Its key in the bibliography."""
        return f"{self.name}{self.year}"


def checkout() -> Path:
    """Return the checkout whose library runs here.

    Raises:
        UsageError: there is no checkout, or another library than its own runs.
    """
    root = paths.project_root()
    if (root / "src" / "qmlbook").resolve() != paths.PACKAGE:
        raise UsageError(
            f"The library that runs is not that of the checkout {shown(str(root))}; install it "
            "from there (pip install -e .)."
        )
    return root


def require_free(name: str) -> None:
    """Refuse a name that no paper can have, or that something has already.

    Raises:
        UsageError: says what is allowed, or who has the name.
    """
    root = checkout()
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,29}", name) or keyword.iskeyword(name):
        raise UsageError(
            f"NAME is {shown(name)} and must be 2 to 30 small letters, digits and _, a letter "
            "first, and no word of Python's."
        )
    taken = {
        "a paper": papers.names(),
        "a part of the library": [path.stem for path in (paths.PACKAGE / "papers").iterdir()],
        "a page of the book": [Path(page).name for page in chapters.documents(root)],
        "an image set": data.names(),
        "kept for something else": RESERVED,
    }
    for what, names in taken.items():
        if name in names:
            raise UsageError(f"NAME is {shown(name)}, which is {what} already; choose another.")
    places = [*targets(root, name).values(), root / "data" / "results" / name]
    for file in [*places, references.folder(root) / f"{name}.ipynb"]:
        if file.exists():
            where = file.relative_to(root).as_posix()
            raise UsageError(f"NAME is {shown(name)}, but {where} is there already; move it away.")


def targets(root: Path, name: str) -> dict[Path, Path]:
    """Return the files of the example and what becomes of them for a paper of this name.

    Raises:
        QmlbookError: the example is missing.
    """
    found = sorted(file for file in (root / EXAMPLE).rglob("*") if file.suffix in KEPT)
    if not found:
        raise QmlbookError(f"{root / EXAMPLE} is missing.")
    return {
        file: root / file.relative_to(root / EXAMPLE).as_posix().replace(ITS_NAME, name)
        for file in found
    }


def make(paper: Paper, *, echo: Callable[[str], object] = execute.say) -> list[Path]:
    """Add a paper to the checkout: all of it, or nothing where something fails.

    The chapter is executed for its reference, and the README's table gets its line.

    Args:
        paper: what was asked.
        echo: called with a line when the chapter starts and when it is done.

    Returns:
        The files that were made or changed.

    Raises:
        UsageError: the name is taken, or cannot be one.
        QmlbookError: a file cannot be read or written, or the chapter does not run.
    """
    require_free(paper.name)
    root = checkout()
    made = {target: _adapted(file, paper) for file, target in targets(root, paper.name).items()}
    bibliography = _text(root / BIBLIOGRAPHY)
    if f"{{{paper.key}," in bibliography:
        raise UsageError(f"{BIBLIOGRAPHY.as_posix()} has a {paper.key} already; change NAME.")
    made[root / BIBLIOGRAPHY] = bibliography + ENTRY.format(**vars(paper), key=paper.key)
    made[root / CONTENTS] = _with_line(_text(root / CONTENTS), paper.name)
    reference, readme = references.folder(root) / f"{paper.name}.ipynb", root / README
    with files.all_or_none(*made, reference, readme):
        for file, text in made.items():
            files.write(file, text.encode())
        importlib.invalidate_caches()
        files.write(readme, verdict_pages.with_papers_table(_text(readme)).encode())
        if not references.check([paper.name], update=True, root=root, echo=echo):
            raise QmlbookError(f"The chapter {paper.name} does not run; nothing was added.")
    return [*made, reference, readme]


def _text(file: Path) -> str:
    with files.reading(file):
        return chapters.read_text(file)


def _adapted(file: Path, paper: Paper) -> str:
    """Return a file of the example with what is the reader's own in its place."""
    text = re.sub(rf"\b{ITS_NAME}\b", paper.name, _text(file))
    own = {
        "claims.yml": {
            r"^title: .*": f"title: {json.dumps(paper.title, ensure_ascii=False)}",
            r"^citation: .*": f"citation: {paper.key}",
            r"^    source: .*": f"    source: {SOURCE}\n    provenance: own before any run",
        },
        "__init__.py": {r".+": f'"""The paper {paper.name}: ``claims.yml`` says which."""'},
        f"{ITS_NAME}.md": {r"^# .*\n\n.*": f"# {paper.title}\n\n{ABOUT.format(key=paper.key)}"},
    }
    for pattern, mine in own.get(file.name, {}).items():
        text = re.sub(pattern, mine, text, flags=re.MULTILINE)  # no answer has a backslash
    return text


def _with_line(contents: str, name: str) -> str:
    """Return the table of contents with a chapter more, after the last paper's.

    Raises:
        QmlbookError: no paper is listed.
    """
    lines = contents.splitlines(keepends=True)
    known = "|".join(papers.names())
    entries = [
        (number, found[1])
        for number, line in enumerate(lines)
        if (found := re.match(rf"(\s*)- file: book/(?:{known})(?:\.md)?\s*$", line))
    ]
    if not entries:
        raise QmlbookError(f"{CONTENTS} lists no paper after which {name} could stand.")
    number, indent = entries[-1]
    after = number + 1
    while after < len(lines) and lines[after].startswith(f"{indent}  "):  # its title, for instance
        after += 1
    return "".join([*lines[:after], f"{indent}- file: book/{name}\n", *lines[after:]])
