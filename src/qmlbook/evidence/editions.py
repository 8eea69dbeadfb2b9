"""What the verdicts of the first edition were, and why one of today is another.

``data/editions/first.json`` is what ``qmlbook report --format json`` said at the end of the first
edition, shortened to what a verdict is. It is never written again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from .. import papers
from ..base import files
from ..base.errors import QmlbookError
from ..base.paths import data_root
from .claims import Claim, load_claims
from .stats import COMPATIBLE
from .store import Store
from .verdicts import CANNOT, ILLUSTRATES, Verdict, verdicts


@checked(frozen=True)
class Before:
    """A verdict of the first edition; the fields are those of `Verdict`."""

    paper: str
    claim: str
    outcome: str
    controls: str
    ours: Mapping[str, Any] | None


@dataclass(frozen=True)
class Row:
    """A claim in both editions.

    Attributes:
        claim: its identifier.
        before: its verdict in the first edition; ``None`` if it is new.
        now: its verdict of today; ``None`` if it was dropped.
        why: why they differ, in a few words; empty if they do not.
    """

    claim: str
    before: Before | None
    now: Verdict | None
    why: str


_FILE = TypeAdapter(list[Before])


def first_edition() -> list[Before]:
    """Return the verdicts of the first edition.

    Raises:
        QmlbookError: their file is missing or damaged.
    """
    path = data_root() / "editions" / "first.json"
    with files.reading("the verdicts of the first edition"):
        content = path.read_bytes()
    try:
        return _FILE.validate_json(content)
    except ValidationError:
        raise QmlbookError("The verdicts of the first edition are damaged.") from None


def compare(paper: str, *, store: Store | None = None) -> list[Row]:
    """Return every claim of a paper with its verdict before and now.

    Args:
        paper: name of its room.
        store: where records are; the book's own when omitted.

    Raises:
        UsageError: the paper is not known.
    """
    papers.validate([paper])
    before = {each.claim: each for each in first_edition() if each.paper == paper}
    claims = {claim.id: claim for claim in load_claims(paper)}
    rows = []
    for now in verdicts([paper], store=store):
        then = before.pop(now.claim, None)
        why = _why(then, now, claims[now.claim]) if then else "a new claim"
        rows.append(Row(now.claim, then, now, why))
    return [*rows, *(Row(name, then, None, "dropped") for name, then in before.items())]


def _why(before: Before, now: Verdict, claim: Claim) -> str:
    """Return what made the verdict another one."""
    first, last = claim.seeds[0], claim.seeds[-1]
    runs = f"fresh seeds, {first} to {last}" if first else "more runs"
    told = []
    if now.outcome != before.outcome:
        words = {
            CANNOT: claim.cannot,
            COMPATIBLE: "one published run decides nothing",
            ILLUSTRATES: "illustrated rows decide nothing",
        }
        told.append(words.get(now.outcome, runs))
    if now.controls != before.controls:
        proved = {name: said.exact for name, said in claim.settled.items() if said.exact}
        exact = [
            f"{n}: the circuit itself, by {row}" for n, row in proved.items() if n in now.controls
        ]
        told += exact
        if not exact or _is_best(claim):
            told.append(_why_controls(before, claim))
    if told and first:
        told.append(runs)
    return "; ".join(dict.fromkeys(told))


def _why_controls(before: Before, claim: Claim) -> str:
    """Return which rule about controls is another one."""
    named = before.controls.removeprefix("explained by ").split(", ")
    known = claim.controls if isinstance(claim.controls, Mapping) else {}
    gone = [name for name in named if before.controls != name and name not in known]
    if gone:
        return f"{', '.join(gone)}: no control of this claim"
    if _is_best(claim):
        return "chances of reaching the maximum are compared"
    if claim.control_margin is not None:
        return f"the margin of its controls is {claim.control_margin:g}"
    return "a control is beaten only by more than the margin"


def _is_best(claim: Claim) -> bool:
    return isinstance(claim.published, Mapping) and "best" in claim.published
