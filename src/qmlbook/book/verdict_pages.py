"""Verdicts on pages: the section of each paper, the table of papers, the README's copy of it.

What a verdict says in words is in `qmlbook.evidence.report`; here it meets the table of contents
and the bibliography.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import papers
from ..base.errors import UsageError
from ..base.paths import project_root
from ..evidence.claims import load
from ..evidence.report import count, headlines, markdown_table, render
from ..evidence.verdicts import Verdict, load_runs, verdicts
from . import chapters

# Plain HTML: a Markdown link in a cell's output would be taken for a cross-reference.
PAGE_LINK, README_LINK = '<a href="{name}.html">{title}</a>', "[{title}](book/{name}.md)"


def papers_table(link: str = PAGE_LINK, *, findings: Mapping[str, str] | None = None) -> str:
    """Return a Markdown table with a line a paper: what its main claims came to.

    Rows that refine a claim and the book's own questions are not counted.

    Args:
        link: how a chapter is linked, by its paper's name and title; papers without a chapter
            have no link.
        findings: a sentence for a paper, set below its title.
    """
    columns = ("paper", "claims", "reproduced", "not repr.", "inconclusive",
               "explained by a control", "open")  # fmt: skip
    cells, linked = [], _documents()
    for name in reading_order():
        main, _ = headlines(verdicts([name]))
        main = [verdict for verdict in main if not verdict.source.startswith("this book")]
        counts = count(main)
        explained = sum(verdict.controls.startswith("explained") for verdict in main)
        decided = [counts[outcome] for outcome in ("reproduced", "not reproduced", "inconclusive")]
        undecided = len(main) - sum(decided)
        title = load(name).title
        title = link.format(name=name, title=title) if name in linked else title
        if finding := (findings or {}).get(name):
            title = f"{title}<br>{finding}"
        cells.append((title, *map(str, (len(main), *decided, explained, undecided))))
    return markdown_table(columns, cells, numbers=range(1, len(columns)))


def reading_order() -> list[str]:
    """Return the papers in the order of their chapters; those without a chapter come last."""
    number = {name: number for number, name in enumerate(_documents())}
    return sorted(papers.names(), key=lambda name: number.get(name, len(number)))


def section(paper: str) -> str:
    """Return the part of the verdicts page that belongs to one paper, in Markdown.

    A heading, the main claims, where the runs come from; then, folded away, the rows that refine
    a claim and what was written beside the claims. (Headings and folds are HTML, since an output
    of a cell cannot hold a section.)

    Args:
        paper: name of its room.

    Raises:
        UsageError: the paper is not known.
    """
    known = load(paper)
    main, refined = headlines(verdicts([paper]))
    # Only what the book can link to: a reader's own paper may have no chapter and no reference.
    cited = f"{{{known.citation}," in _references()
    about = [f"{{cite:t}}`{known.citation}`."] if cited else []
    about += [PAGE_LINK.format(name=paper, title="Read the chapter") + "."] * (
        paper in _documents()
    )
    folds = {
        f"The same in detail: {len(refined)} rows": render(refined, "markdown") if refined else "",
        "Notes, and the figures behind the controls": notes_markdown(main),
    }
    blocks = [
        f'<h3 id="verdicts-{paper}">{known.title}</h3>',
        " ".join(about),
        render(main, "markdown"),
        load_runs(paper).describe(),
        *(
            f"<details>\n<summary>{summary}</summary>\n\n{text}\n</details>"
            for summary, text in folds.items()
            if text
        ),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _documents() -> list[str]:
    """Return the names of the book's documents in reading order; none without a checkout."""
    try:
        return [Path(document).name for document in chapters.documents(project_root())]
    except UsageError:
        return []


def _references() -> str:
    """Return the text of ``references.bib``; empty without a checkout."""
    try:
        return (project_root() / "book" / "references.bib").read_text(encoding="utf-8")
    except (UsageError, OSError):
        return ""


_BEGINS = "<!-- papers: written by `make readme`, kept fresh by a test -->"
_ENDS = "<!-- /papers -->"


def with_papers_table(readme: str) -> str:
    """Return the text of the README with its table of papers as it is today."""
    before, rest = readme.split(_BEGINS)
    _, after = rest.split(_ENDS)
    return f"{before}{_BEGINS}\n\n{papers_table(README_LINK)}\n{_ENDS}{after}"


def notes_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return a Markdown list of what is written beside claims: notes, and figures of the rule."""
    lines = []
    for verdict in verdicts:
        text = " ".join([verdict.note, *(f"{detail}." for detail in verdict.details)]).strip()
        if text:
            lines.append(f"- **{verdict.claim}** {' '.join(text.split())}\n")
    return "".join(lines)
