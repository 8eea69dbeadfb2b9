"""The verdicts as a table for terminals, Markdown for pages, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from .. import papers
from ..base.errors import ReportFormat, UsageError, choose
from ..base.paths import project_root
from ..book import chapters
from .claims import CHOICES, load
from .store import Store
from .verdicts import OUTCOMES, Verdict, load_runs, verdicts

FORMATS = get_args(ReportFormat)
COLUMNS = ("claim", "published", "ours", "margin", "verdict", "controls")
WIDTH = 100
#: What may be in ``ours`` of a verdict, in the order of the CSV's columns: type and meaning.
OURS = {
    "statistic": ("text", "what is compared: `mean`, `max` or `difference`"),
    "mean": ("number", "mean of our runs, or of the paired differences"),
    "low": ("number", "lower end of the interval that decided"),
    "high": ("number", "upper end of that interval"),
    "n": ("whole number", "seeds behind it; for a best of several, runs"),
    "p": ("number", "of an order: p of the sign-flip permutation test"),
    "holds": ("true or false", "of a property: whether it held in every case"),
    "checked": ("whole number", "of a property: how many cases were checked"),
}


def render(verdicts: Sequence[Verdict], format: str = "table", *, color: bool = False) -> str:
    """Return verdicts as text that ends with a line end.

    Tables keep the kinds of evidence apart: what is proved, computed, measured and illustrated.

    Args:
        verdicts: what to show, in this order within a table.
        format: ``table`` (100 columns), ``markdown``, ``json`` or ``csv``.
        color: colour the table's verdicts for a terminal.

    Raises:
        UsageError: ``format`` is not known.
    """
    if format not in FORMATS:
        raise choose("format", format, FORMATS)
    if format == "json":
        content = [verdict.to_json() for verdict in verdicts]
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if format == "csv":
        return _csv(verdicts)
    return _markdown(verdicts) if format == "markdown" else _table(verdicts, color)


def count(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Return outcome -> number of verdicts, for every possible outcome.

    ``incomplete`` counts whatever is missing.
    """
    counts = dict.fromkeys(OUTCOMES, 0)
    for verdict in verdicts:
        counts[verdict.outcome.partition(" (")[0]] += 1
    return counts


def headlines(verdicts: Sequence[Verdict]) -> tuple[list[Verdict], list[Verdict]]:
    """Return the main claims and the rows that refine one: ``K8-n2`` refines ``K8``."""
    ids = {verdict.claim for verdict in verdicts}
    refines = [any(v.claim.startswith(f"{other}-") for other in ids) for v in verdicts]
    main = [verdict for verdict, below in zip(verdicts, refines, strict=True) if not below]
    return main, [verdict for verdict, below in zip(verdicts, refines, strict=True) if below]


def notes_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return a Markdown list of what is written beside claims: notes, and figures of the rule."""
    lines = []
    for verdict in verdicts:
        text = " ".join([verdict.note, *(f"{detail}." for detail in verdict.details)]).strip()
        if text:
            lines.append(f"- **{verdict.claim}** {' '.join(text.split())}\n")
    return "".join(lines)


# Plain HTML: a Markdown link in a cell's output would be taken for a cross-reference.
PAGE_LINK, README_LINK = '<a href="{name}.html">{title}</a>', "[{title}](book/{name}.md)"


def papers_table(
    link: str = PAGE_LINK,
    *,
    findings: Mapping[str, str] | None = None,
    store: Store | None = None,
) -> str:
    """Return a Markdown table with a line a paper: what its main claims came to.

    Rows that refine a claim and the book's own questions are not counted.

    Args:
        link: how a chapter is linked, by its paper's name and title; papers without a chapter
            have no link.
        findings: a sentence for a paper, set below its title.
        store: where records are; the book's own when omitted.
    """
    columns = ("paper", "claims", "reproduced", "not repr.", "inconclusive",
               "explained by a control", "open")  # fmt: skip
    rows, linked = [], _documents()
    for name in reading_order():
        found, _ = headlines(verdicts([name], store=store))
        found = [verdict for verdict in found if not verdict.source.startswith("this book")]
        counts = count(found)
        explained = sum(verdict.controls.startswith("explained") for verdict in found)
        decided = [counts[outcome] for outcome in ("reproduced", "not reproduced", "inconclusive")]
        open_ = len(found) - sum(decided)
        title = load(name).title
        title = link.format(name=name, title=title) if name in linked else title
        if finding := (findings or {}).get(name):
            title = f"{title}<br>{finding}"
        rows.append((title, *map(str, (len(found), *decided, explained, open_))))
    return markdown_table(columns, rows, numbers=range(1, len(columns)))


def markdown_table(
    columns: Sequence[str], rows: Iterable[Iterable[str]], numbers: Container[int] = ()
) -> str:
    """Return a Markdown table.

    Args:
        columns: their names.
        rows: their cells, in Markdown.
        numbers: places of columns that are set to the right.
    """
    rules = ["---:" if place in numbers else "---" for place in range(len(columns))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (columns, rules, *rows))


def reading_order() -> list[str]:
    """Return the papers in the order of their chapters; those without a chapter come last."""
    place = {name: number for number, name in enumerate(_documents())}
    return sorted(papers.names(), key=lambda name: place.get(name, len(place)))


def section(paper: str, *, store: Store | None = None) -> str:
    """Return the part of the verdicts page that belongs to one paper, in Markdown.

    A heading, the main claims, where the runs come from; then, folded away, the rows that refine
    a claim and what was written beside the claims. (Headings and folds are HTML, since an output
    of a cell cannot hold a section.)

    Args:
        paper: name of its room.
        store: where records are; the book's own when omitted.

    Raises:
        UsageError: the paper is not known.
    """
    known = load(paper)
    main, refined = headlines(verdicts([paper], store=store))
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
        load_runs(paper, store=store).describe(),
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


README_MARKS = (
    "<!-- papers: written by `make readme`, kept fresh by a test -->",
    "<!-- /papers -->",
)


def with_papers_table(readme: str) -> str:
    """Return the text of the README with its table of papers as it is today."""
    before, rest = readme.split(README_MARKS[0])
    _, after = rest.split(README_MARKS[1])
    table = papers_table(README_LINK)
    return f"{before}{README_MARKS[0]}\n\n{table}\n{README_MARKS[1]}{after}"


def published_text(published: Mapping[str, float] | str) -> str:
    """Return a published value in words, its digits as the paper has them."""
    if isinstance(published, str):
        return published
    if "best" in published:
        return f"{published['best']} (best of {published['of']})"
    if "single" in published:
        return f"{published['single']} (one run)"
    spread = f" ± {published['sd']} (n = {published['n']})" if "sd" in published else ""
    return f"{published['mean']}{spread}"


def ours_text(verdict: Verdict) -> str:
    """Return our value with the interval that decided and the number of seeds (or runs)."""
    ours = verdict.ours
    if ours is None:
        return "–"
    if "holds" in ours:
        return f"{'holds' if ours['holds'] else 'fails'} ({ours['checked']} checked)"
    places = _places(ours["high"] - ours["low"])
    band = f"[{ours['low']:.{places}f}, {ours['high']:.{places}f}], n = {ours['n']}"
    if ours["statistic"] == "max":
        return f"best of {verdict.published['of']} in {band}"
    sign = "+" if ours["statistic"] == "difference" else ""
    p = f", p = {ours['p']:.2g}" if "p" in ours else ""
    return f"{ours['mean']:{sign}.{places}f} {band}{p}"


def _places(width: float) -> int:
    """Return the decimal places that show two digits of half an interval's width."""
    return max(0, 1 - math.floor(math.log10(width / 2))) if width > 0 else 3


def _cells(verdict: Verdict) -> tuple[str, ...]:
    """Return the cells of `COLUMNS` but the first."""
    margin = "–" if verdict.margin is None else f"{verdict.margin:g}"
    published = published_text(verdict.published)
    return published, ours_text(verdict), margin, verdict.outcome, verdict.controls


def _groups(verdicts: Sequence[Verdict]) -> list[tuple[str, str, list[Verdict]]]:
    """Return paper, kind of evidence (empty if the paper shows one kind only) and verdicts."""
    groups = []
    for paper in dict.fromkeys(verdict.paper for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.paper == paper]
        kinds = [kind for kind in CHOICES["evidence"] if any(v.evidence == kind for v in own)]
        for kind in kinds:
            title = kind if len(kinds) > 1 else ""
            groups.append((paper, title, [v for v in own if v.evidence == kind]))
    return groups


def _markdown(verdicts: Sequence[Verdict]) -> str:
    """Return a Markdown table for each group; papers are named if there are more than one."""
    groups = _groups(verdicts)
    several = len({paper for paper, _, _ in groups}) > 1
    blocks = []
    for paper, kind, members in groups:
        rows = [(f"**{each.claim}** {each.statement}", *_cells(each)) for each in members]
        title = ", ".join(filter(None, [paper if several else "", kind.capitalize()]))
        title = f"**{title}**\n\n" if title else ""
        blocks.append(title + markdown_table(COLUMNS, (map(_escaped, row) for row in rows)))
    return "\n".join(blocks)


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", r"\|")


def _csv(verdicts: Sequence[Verdict]) -> str:
    """Return one line a verdict, the numbers of ``ours`` in columns of their own."""
    text = io.StringIO()
    writer = None
    for verdict in verdicts:
        row: dict[str, Any] = {}
        for name, value in verdict.to_json().items():
            if name == "published":
                row[name] = published_text(value)
            elif name == "ours":
                row |= {item: (value or {}).get(item) for item in OURS}
            else:
                row[name] = value
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return text.getvalue()


def _table(verdicts: Sequence[Verdict], color: bool) -> str:
    """Return a rich table for each group, no wider than 100 columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}
    text = io.StringIO()
    console = Console(file=text, width=WIDTH, force_terminal=color, no_color=not color)
    for paper, kind, members in _groups(verdicts):
        title = f"{paper}: {kind}" if kind else paper
        table = Table(title=title, title_justify="left", expand=True)
        for name, ratio in zip(COLUMNS, (8, 4, 6, None, 4, 4), strict=True):
            table.add_column(name, ratio=ratio, overflow="fold", min_width=len(name))
        for verdict in members:
            cells = [Text(f"{verdict.claim} {verdict.statement}"), *map(Text, _cells(verdict))]
            cells[4].stylize(styles.get(verdict.outcome, ""))
            table.add_row(*cells)
        console.print(table)
    return text.getvalue()
