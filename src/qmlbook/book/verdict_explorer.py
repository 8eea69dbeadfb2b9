"""All verdicts as one figure that a reader can question: filters, pictures, the rows opened.

The tables of `verdict_pages` stay on the page for readers without scripts and on paper.
"""

from collections.abc import Mapping
from typing import Any

from ..evidence.claims import Claim, load
from ..evidence.editions import Before, compare
from ..evidence.report import ours_text, published_text
from ..evidence.verdicts import Behind, Verdict, behind, load_runs
from . import verdict_pages
from .figures import live_figures

KIND = "verdicts"


def rows() -> list[dict[str, Any]]:
    """Return what the page shows of every verdict, as JSON, papers in the order of their chapters.

    A row has the fields of a verdict, its values in words (``published_text``, ``ours_text``), why
    the claim has its rule, and what is drawn: ``values`` (of the seeds) and ``others`` (control ->
    mean, low, high). ``before`` is the verdict of the first edition where it was another one, and
    ``changed`` says why.
    """
    found = []
    for paper in verdict_pages.reading_order():
        runs, known = load_runs(paper), load(paper)
        claims = {claim.id: claim for claim in known.claims}
        for row in compare(paper):
            if row.now is not None:
                claim = claims[row.claim]
                made = _row(row.now, claim, behind(claim, runs))
                found.append(made | _history(row.before, row.why))
    return found


def html() -> str:
    """Return the page's part."""
    data = {
        "titles": {name: load(name).title for name in verdict_pages.reading_order()},
        "rows": rows(),
    }
    return live_figures.page_part(KIND, "All verdicts", data)


def _row(verdict: Verdict, claim: Claim, numbers: Behind) -> dict[str, Any]:
    told = {
        "published_text": published_text(verdict.published),
        "ours_text": ours_text(verdict),
        "why": " ".join(claim.why.split()),
        "note": " ".join(verdict.note.split()),
        "details": list(verdict.details),
        "values": [_four(value) for value in numbers.values],
        "others": {
            name: [_four(number) for number in interval[:3]]
            for name, interval in numbers.controls.items()
        },
    }
    published = verdict.published if isinstance(verdict.published, Mapping) else None
    return verdict.to_json() | {"published": published} | told


def _history(before: Before | None, why: str) -> dict[str, str]:
    if before is None or not why:
        return {"before": "", "changed": why}
    return {"before": f"{before.outcome}; controls: {before.controls}", "changed": why}


def _four(number: float) -> float:
    return float(f"{float(number):.4g}")
