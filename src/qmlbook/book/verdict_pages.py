"""Verdicts on pages: the section of each paper, the table of papers, the README's copy of it.

What a verdict says in words is in `qmlbook.evidence.report`; here it meets the table of contents
and the bibliography.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import papers
from ..base.errors import UsageError, counted
from ..base.paths import project_root
from ..evidence.claims import load
from ..evidence.editions import Before, compare
from ..evidence.report import (
    DECIDED,
    corrected_orders,
    count,
    headlines,
    markdown_table,
    render,
    tally,
)
from ..evidence.stats import LEVEL, NOT_APPLICABLE, NOT_TESTED, UNDECIDED
from ..evidence.store import Store
from ..evidence.verdicts import Verdict, load_runs, verdicts
from . import chapters

# Plain HTML: a Markdown link in a cell's output would be taken for a cross-reference.
PAGE_LINK, README_LINK = '<a href="{name}.html">{title}</a>', "[{title}](book/{name}.md)"


def papers_table(link: str = PAGE_LINK, *, findings: Mapping[str, str] | None = None) -> str:
    """Return a Markdown table with a line a paper: what the claims that it makes came to.

    Counted are claims that runs or proofs decide, once each; beside them stands what is not, and
    why. Rows that refine a claim and the book's own questions are neither.

    Args:
        link: how a chapter is linked, by its paper's name and title; papers without a chapter
            have no link.
        findings: a sentence for a paper, set below its title.
    """
    columns = ("paper", "claims counted", "reproduced", "not repr.", "inconclusive",
               "explained by a control", "not counted")  # fmt: skip
    cells, linked = [], documents()
    for name in reading_order():
        main, others = tally(verdicts([name]))
        counts = count(main)
        explained = sum(verdict.controls.startswith("explained") for verdict in main)
        numbers = (len(main), *(counts[outcome] for outcome in DECIDED), explained)
        title = load(name).title
        title = link.format(name=name, title=title) if name in linked else title
        if finding := (findings or {}).get(name):
            title = f"{title}<br>{finding}"
        rest = "; ".join(f"{word}: {', '.join(claims)}" for word, claims in others.items())
        cells.append((title, *map(str, numbers), rest))
    return markdown_table(columns, cells, numbers=range(1, len(columns) - 1))


def orders_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return in words which orders are still there when all of them are tested at once."""
    corrected = corrected_orders(verdicts)
    tested = [v for v in verdicts if (v.paper, v.claim) in corrected and v.ours]
    ahead = [v for v in tested if v.ours and v.ours["low"] > 0]
    lost = [v for v in ahead if corrected[v.paper, v.claim] > 1 - LEVEL]
    names = ", ".join(f"{v.paper} {v.claim}" for v in lost)
    return (
        f"Of {len(tested)} orders with runs, {len(ahead)} have an interval above zero. Held "
        f"against all {len(tested)} at once, {len(ahead) - len(lost)} of them remain (Holm's "
        f"correction of the p values of t tests, 5 %); these do not: {names or 'none'}.\n"
    )


def reading_order() -> list[str]:
    """Return the papers in the order of their chapters; those without a chapter come last."""
    number = {name: number for number, name in enumerate(documents())}
    return sorted(papers.names(), key=lambda name: number.get(name, len(number)))


def section(paper: str) -> str:
    """Return the part of the verdicts page that belongs to one paper, in Markdown.

    A heading, where the runs come from, the main claims; then, folded away, the rows that refine
    a claim and what was written beside the claims. Every row has an address. (Headings and folds
    are HTML, since an output of a cell cannot hold a section.)

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
    about += [PAGE_LINK.format(name=paper, title="Read the chapter") + "."] * (paper in documents())
    folds = {
        f"The same in detail: {len(refined)} rows": _with_addresses(
            render(refined, "markdown") if refined else "", paper, refined
        ),
        "Notes, and the figures behind the controls": notes_markdown(main),
        "Notes on the rows in detail": notes_markdown(refined),
    }
    blocks = [
        f'<h3 id="verdicts-{paper}">{known.title}</h3>',
        " ".join(about),
        load_runs(paper).describe(),
        '<div class="qmlbook-tables">',
        _with_addresses(render(main, "markdown"), paper, main),
        *(
            f"<details>\n<summary>{summary}</summary>\n\n{text}\n</details>"
            for summary, text in folds.items()
            if text
        ),
        "</div>",
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _with_addresses(table: str, paper: str, verdicts: Sequence[Verdict]) -> str:
    """Return a table whose rows have addresses, ``verdicts.html#qssl-C6``."""
    for verdict in verdicts:
        name = f"**{verdict.claim}** "
        address = f'<span id="{paper}-{verdict.claim}"></span>'
        table = table.replace(f"| {name}", f"| {address}{name}", 1)
    return table


def edition_section(paper: str, *, store: Store | None = None) -> str:
    """Return every verdict of a paper in both editions, in Markdown: first those that differ.

    Args:
        paper: name of its room.
        store: where records are; the book's own when omitted.

    Raises:
        UsageError: the paper is not known.
    """
    rows = compare(paper, store=store)
    changed = [
        (f"**{row.claim}**", _both_words(row.before), _both_words(row.now), row.why)
        for row in rows
        if row.why
    ]
    same = [(f"**{row.claim}**", _both_words(row.now)) for row in rows if not row.why]
    blocks = [f"<h2>{load(paper).title}</h2>"]
    if changed:
        blocks.append(markdown_table(("claim", "first edition", "now", "why"), changed))
    if same:
        table = markdown_table(("claim", "in both editions"), same)
        blocks.append(
            f"<details>\n<summary>As it was: {counted(len(same), 'row')}</summary>\n\n{table}\n"
            "</details>"
        )
    return "\n\n".join(blocks) + "\n"


def _both_words(verdict: Verdict | Before | None) -> str:
    """Return the outcome, and what the controls made of it."""
    if verdict is None:
        return "–"
    words = {NOT_APPLICABLE: "", NOT_TESTED: "", UNDECIDED: "controls undecided"}
    return ", ".join(filter(None, [verdict.outcome, words.get(verdict.controls, verdict.controls)]))


def documents() -> list[str]:
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
        aside = f"Not counted: {verdict.uncounted}." if verdict.uncounted else ""
        text = " ".join(
            [verdict.note, aside, *(f"{detail}." for detail in verdict.details)]
        ).strip()
        if text:
            lines.append(f"- **{verdict.claim}** {' '.join(text.split())}\n")
    return "".join(lines)
