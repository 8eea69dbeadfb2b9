"""The verdicts as a table for terminals, Markdown for pages, JSON and CSV for programs."""

import csv
import io
import json
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from ..base.errors import ReportFormat, counted, require_choice
from . import stats
from .audit import RESULTS, Audit, Stratum, bound
from .claims import CHOICES
from .verdicts import OUTCOMES, Verdict

FORMATS = get_args(ReportFormat)
DECIDED = (stats.REPRODUCED, stats.NOT_REPRODUCED, stats.INCONCLUSIVE)
SET_ASIDE = "set aside"
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
    "size": ("text", "of an order with a published lead: how ours compares with it"),
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
    require_choice("format", format, FORMATS)
    if format == "json":
        content = [verdict.to_json() for verdict in verdicts]
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if format == "csv":
        lines = [_flat(verdict) for verdict in verdicts]
        return csv_text([*lines[:1], *(line.values() for line in lines)])
    return _markdown(verdicts) if format == "markdown" else _table(verdicts, color)


def outline(audit: Audit) -> Iterator[tuple[int, str]]:
    """Yield what an audit did and what follows: sentences with their depths in the outline."""
    drawn = counted(sum(one.k for one in audit.strata), "stored run")
    tools = ", ".join(f"{package} {version}" for package, version in audit.versions.items())
    yield 0, f"{audit.date}: {drawn}, drawn with seed {audit.seed}, on {audit.machine} ({tools})"
    if audit.budget is not None:
        yield (
            0,
            f"left out: runs that took more than {audit.budget:g} min, of which nothing follows",
        )
    for paper in dict.fromkeys(one.paper for one in audit.strata):
        halves = [one for one in audit.strata if one.paper == paper]
        yield 0, f"{paper}: {_follows(halves)}"
        for one in halves:
            yield 1, f"{one.half} half, up to {one.seconds:.3g} s a run: {_follows([one])}"
            yield from ((2, run) for run in one.differ + one.not_assessable + one.not_made)
    if len(audit.strata) > 2:
        # Not of all runs: a paper with many has no more weight than one with few.
        yield 0, f"all papers: {_follows(audit.strata, 'a paper’s runs, on average over papers,')}"


def _follows(strata: Sequence[Stratum], of: str = "") -> str:
    """Return in words what became of the runs that were drawn, and what follows for all."""
    drawn, share = sum(one.k for one in strata), bound(strata)
    numbers = {name: sum(len(getattr(one, name)) for one in strata) for name in RESULTS}
    told = [f"{n} of {drawn} {name.replace('_', ' ')}" for name, n in numbers.items() if n]
    of = of or counted(sum(one.runs for one in strata), "run")
    if share is None:
        return f"{', '.join(told)}; no bound follows for {of}"
    sure = f"with {stats.LEVEL:.0%} confidence, fewer than {share:.1%} of {of} could be wrong"
    return f"{', '.join(told)}; {sure}"


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
    below = [v for v in verdicts if any(v.claim.startswith(f"{other}-") for other in ids)]
    return [verdict for verdict in verdicts if verdict not in below], below


def tally(verdicts: Sequence[Verdict]) -> tuple[list[Verdict], dict[str, list[str]]]:
    """Return the claims that the papers make and runs or proofs decide, once each, and the others.

    Rows that refine a claim and this book's own questions are neither.

    Args:
        verdicts: those of one paper.

    Returns:
        The claims that are counted, and why -> identifiers of those that are not: their outcome,
        or ``set aside`` where the claim says why it is in no tally.
    """
    counted: list[Verdict] = []
    others: dict[str, list[str]] = {}
    for verdict in headlines(verdicts)[0]:
        word = SET_ASIDE if verdict.uncounted else verdict.outcome.partition(" (")[0]
        if verdict.provenance != "published":
            continue
        if word in DECIDED:
            counted.append(verdict)
        else:
            others.setdefault(word, []).append(verdict.claim)
    return counted, others


def corrected_orders(verdicts: Iterable[Verdict]) -> dict[tuple[str, str], float]:
    """Return paper and claim -> p of its t test, corrected by Holm for the number of all orders."""
    orders = [v for v in verdicts if v.kind == "order" and v.ours]
    ps = [
        stats.t_p(stats.Interval(*(v.ours[name] for name in ("mean", "low", "high", "n"))))
        for v in orders
        if v.ours
    ]
    corrected = stats.holm(ps)
    return {(v.paper, v.claim): float(p) for v, p in zip(orders, corrected, strict=True)}


def markdown_table(
    columns: Sequence[str], rows: Iterable[Iterable[str]], numbers: Container[int] = ()
) -> str:
    """Return a Markdown table.

    Args:
        columns: their names.
        rows: their cells, in Markdown.
        numbers: which columns, from 0, are set to the right.
    """
    rules = ["---:" if number in numbers else "---" for number in range(len(columns))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (columns, rules, *rows))


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
    digits = _digits(ours["high"] - ours["low"])
    band = f"[{ours['low']:.{digits}f}, {ours['high']:.{digits}f}], n = {ours['n']}"
    if ours["statistic"] == "max" and isinstance(verdict.published, Mapping):
        return f"best of {verdict.published['of']} in {band}"
    sign = "+" if ours["statistic"] == "difference" else ""
    p = f", p = {ours['p']:.2g}" if "p" in ours else ""
    return f"{ours['mean']:{sign}.{digits}f} {band}{p}"


def _digits(width: float) -> int:
    """Return the decimal places that show two digits of half an interval's width."""
    return max(0, 1 - math.floor(math.log10(width / 2))) if width > 0 else 3


def _statement(verdict: Verdict) -> str:
    """Return the statement, and who asked if it was not the paper."""
    own = "" if verdict.provenance == "published" else f" ({verdict.provenance})"
    return f"{verdict.statement}{own}"


def _cells(verdict: Verdict) -> tuple[str, ...]:
    """Return the cells of `COLUMNS` but the first."""
    margin = "–" if verdict.margin is None else f"{verdict.margin:g}"
    published = published_text(verdict.published)
    words = ", ".join(filter(None, [verdict.outcome, (verdict.ours or {}).get("size")]))
    return published, ours_text(verdict), margin, words, verdict.controls


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
        rows = [(f"**{each.claim}** {_statement(each)}", *_cells(each)) for each in members]
        title = ", ".join(filter(None, [paper if several else "", kind.capitalize()]))
        title = f"**{title}**\n\n" if title else ""
        blocks.append(title + markdown_table(COLUMNS, (map(_escaped, row) for row in rows)))
    return "\n".join(blocks)


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", r"\|")


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows, the names of their columns first, as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _flat(verdict: Verdict) -> dict[str, Any]:
    """Return the fields for a line of CSV: our numbers stand where ``ours`` would."""
    line: dict[str, Any] = {}
    for name, value in verdict.to_json().items():
        line |= (
            {item: (value or {}).get(item) for item in OURS} if name == "ours" else {name: value}
        )
    return line | {"published": published_text(verdict.published)}


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
            cells = [Text(f"{verdict.claim} {_statement(verdict)}"), *map(Text, _cells(verdict))]
            cells[4].stylize(styles.get(verdict.outcome, ""))
            table.add_row(*cells)
        console.print(table)
    return text.getvalue()
