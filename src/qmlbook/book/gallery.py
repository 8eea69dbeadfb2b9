"""The catalogue of papers: a gallery for people, and `papers.json` in the built book for programs.

The page of the gallery carries the catalogue in its output; `qmlbook.book.site.build` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ..base.errors import QmlbookError, shown
from ..evidence.claims import load
from ..evidence.report import DECIDED, count, markdown_table, tally
from ..evidence.verdicts import verdicts
from . import chapters, verdict_pages
from .notebooks import PAPERS

TOLD = Path(__file__).with_name("papers.yml")  # what neither claims nor records say
FILTERS = ("task", "encoding", "data", "explained_by")
HEADINGS = {"explained_by": "a control explains"}
#: Fields of a paper in the catalogue: name -> (kind, meaning).
SCHEMA = {
    "paper": ("text", "short name, as in every command"),
    "title": ("text", "title of the paper"),
    "citation": ("text", "key in the bibliography of this book"),
    "chapter": ("text or null", "address of its chapter, from the first page of this book"),
    "sentence": ("text", "what came of it, in a sentence; may be empty"),
    "task": ("list of text", "what its models learn"),
    "encoding": ("list of text", "how numbers enter its circuits"),
    "data": ("list of text", "what its runs read"),
    "explained_by": ("list of text", "controls that explain a counted claim, each once"),
    "claims": (
        "list of objects",
        "every counted claim: `claim`, `statement`, `outcome`, `controls`",
    ),
    "counts": ("object", "outcome to number of counted claims"),
    "not_counted": ("object", "why to the claims that are not counted"),
    "cost_s": ("number", "seconds that the runs behind the counted claims took"),
    "commands": ("list of text", "commands that make these runs"),
}


def schema() -> dict[str, dict[str, str]]:
    """Return what each field of a paper in the catalogue is: its kind and its meaning."""
    return {name: {"kind": kind, "meaning": meaning} for name, (kind, meaning) in SCHEMA.items()}


def schema_markdown() -> str:
    """Return `schema` as a table in Markdown."""
    cells = [(f"`{name}`", *entry) for name, entry in SCHEMA.items()]
    return markdown_table(("field", "type", "meaning"), cells)


def _told() -> dict[str, dict[str, Any]]:
    content = chapters.from_yaml(chapters.read_text(TOLD), TOLD.name)
    known = verdict_pages.reading_order()
    allowed = {"sentence", *FILTERS} - {"explained_by"}
    for name, about in content.items():
        if name not in known or not isinstance(about, dict) or set(about) - allowed:
            raise QmlbookError(
                f"{TOLD.name}: {shown(name)} must be a paper ({', '.join(known)}) with some of "
                f"{', '.join(sorted(allowed))}."
            )
    return dict(content)


def _entry(paper: str, told: dict[str, Any]) -> dict[str, Any]:
    """Return what the catalogue holds of a paper."""
    known = load(paper)
    counted, others = tally(verdicts([paper]))
    words = [v.controls.removeprefix("explained by ") for v in counted if "explained" in v.controls]
    pages = [Path(page).name for page in verdict_pages.documents()]
    return {
        "paper": paper,
        "title": known.title,
        "citation": known.citation,
        "chapter": f"book/{paper}.html" if paper in pages else None,
        "sentence": told.get("sentence", ""),
        **{name: told.get(name, []) for name in FILTERS[:-1]},
        "explained_by": sorted({control for word in words for control in word.split(", ")}),
        "claims": [
            {name: getattr(v, name) for name in ("claim", "statement", "outcome", "controls")}
            for v in counted
        ],
        "counts": {outcome: number for outcome, number in count(counted).items() if number},
        "not_counted": others,
        "cost_s": round(sum((v.cost_s for v in counted), 0.0), 1),
        "commands": sorted({v.command for v in counted if v.command}),
    }


@dataclass(frozen=True)
class Gallery:
    """The catalogue for a page: a list of cards, and chips that leave some out, by style alone.

    Attributes:
        papers: a mapping for each, with the fields of `SCHEMA`.
    """

    papers: list[dict[str, Any]]

    @classmethod
    def of_book(cls) -> Gallery:
        """Return the papers of this book, in the order of their chapters.

        Raises:
            QmlbookError: ``papers.yml`` cannot be read, or names a paper that is not there.
        """
        told = _told()
        return cls([_entry(name, told.get(name, {})) for name in verdict_pages.reading_order()])

    def html(self) -> str:
        """Return the page's part: without scripts, and without styles a plain list."""
        chips, rules = [], []
        for name in FILTERS:
            values = sorted({value for paper in self.papers for value in paper[name]})
            boxes = []
            for number, value in enumerate(values):
                key = f"gallery-{name}-{number}"
                boxes.append(
                    f'<label><input type="checkbox" id="{key}"><span>{escape(value)}</span></label>'
                )
                left_out = [p["paper"] for p in self.papers if value not in p[name]]
                cards = ", ".join(f"#card-{paper}" for paper in left_out)
                if cards:
                    rules.append(f".gallery:has(#{key}:checked) :is({cards}) {{ display: none; }}")
            heading = HEADINGS.get(name, name)
            chips.append(f"<fieldset><legend>{heading}</legend>{''.join(boxes)}</fieldset>")
        cards = "".join(map(_card, self.papers))
        return (
            f'<div class="gallery"><style>{"".join(rules)}</style>'
            f'<div class="gallery-chips">{"".join(chips)}</div><ul>{cards}</ul></div>'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        catalogue = {"schema": schema(), "papers": self.papers}
        titles = "\n".join(f"{paper['title']}: {paper['sentence']}" for paper in self.papers)
        return {"text/html": self.html(), "text/plain": titles, PAPERS: catalogue}


def _card(paper: dict[str, Any]) -> str:
    title, chapter = escape(paper["title"]), paper["chapter"]
    heading = f'<a href="{Path(chapter).name}">{title}</a>' if chapter else title
    tags = "; ".join(", ".join(paper[name]) for name in FILTERS[:-1] if paper[name])
    if paper["explained_by"]:
        tags += f"; explained by {', '.join(paper['explained_by'])}"
    return (
        f'<li id="card-{paper["paper"]}">{_thumbnail(paper)}<p><strong>{heading}</strong></p>'
        f'<p>{escape(paper["sentence"])}</p><p class="gallery-tags">{escape(tags)}</p></li>'
    )


def _thumbnail(paper: dict[str, Any]) -> str:
    """Return a square for every counted claim, by outcome; a ring where a control explains it."""
    squares = []
    order = {outcome: number for number, outcome in enumerate(DECIDED)}
    claims = sorted(paper["claims"], key=lambda c: order.get(c["outcome"], len(order)))
    for number, claim in enumerate(claims):
        x, y = 20 * (number % 8), 20 * (number // 8)
        kind = f"o{order.get(claim['outcome'], len(order))}"
        what = escape(f"{claim['claim']}: {claim['outcome']}, {claim['controls']}")
        squares.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="16" height="16">'
            f"<title>{what}</title></rect>"
        )
        if claim["controls"].startswith("explained"):
            squares.append(f'<circle cx="{x + 8}" cy="{y + 8}" r="4"/>')
    counts = ", ".join(f"{number} {outcome}" for outcome, number in paper["counts"].items())
    explained = sum(claim["controls"].startswith("explained") for claim in claims)
    label = escape(f"Claims: {counts or 'none counted'}; {explained} explained by a control")
    height = 20 * max(1, -(-len(claims) // 8))
    return (
        f'<svg role="img" aria-label="{label}" viewBox="-1 -1 160 {height}" width="160" '
        f'height="{height}">{"".join(squares)}</svg>'
    )
