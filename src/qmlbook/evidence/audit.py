"""A warranty of the stored records: make some again, drawn at random, and say what follows for all.

If all of k runs drawn from a stratum agree with their records, fewer than 1 - 0.05^(1/k) of its
runs could be wrong, with 95 % confidence: were it more, k good ones would be drawn in less than one
audit of twenty. A run agrees only where it is off by little against all that it decides: its
metrics are within a quarter of the smallest margin of their claims.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, field
from datetime import UTC, datetime
from typing import Any

from pydantic.dataclasses import dataclass

from .. import papers
from ..base.errors import UsageError
from ..base.rng import stream
from .cells import Key
from .claims import load_claims
from .stats import LEVEL
from .store import Record, Store, versions
from .sweep import Job, Runner, in_turn
from .verdicts import load_runs, value_of
from .verify import candidates, difference

LEAST = 4  # runs of every paper
DECIDING = 1 / 4  # of a margin: a smaller difference decides nothing
RESULTS = ("agree", "differ", "not_assessable", "not_made")


@dataclass
class Stratum:
    """Runs of one paper that cost about the same, and what came of those made again.

    Attributes:
        paper: room of the paper.
        half: ``cheaper`` or ``dearer``: which half of its runs, by their recorded seconds.
        runs: how many runs of this half could be drawn.
        seconds: what the dearest of them took.
        k: how many were drawn.
        agree: those that gave what their records say.
        differ: a sentence for every one that did not.
        not_assessable: a sentence for every one that is further off than a quarter of a margin
            that it decides, but no further than its experiment allows between two machines.
        not_made: a sentence for every one that failed or was killed.
    """

    paper: str
    half: str
    runs: int
    seconds: float
    k: int
    agree: list[str] = field(default_factory=list)
    differ: list[str] = field(default_factory=list)
    not_assessable: list[str] = field(default_factory=list)
    not_made: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Audit:
    """An audit and what came of it.

    Attributes:
        date: UTC, ISO 8601.
        seed: of the draw.
        budget: minutes that a run may have taken to be drawn; any when ``None``.
        machine: processor, cores, memory and system, in words.
        versions: as in a record.
        strata: two of each paper.
    """

    date: str
    seed: int
    budget: float | None
    machine: str
    versions: dict[str, str]
    strata: list[Stratum]

    @property
    def good(self) -> bool:
        """Whether every run that was drawn agrees with its record."""
        return bound(self.strata) is not None

    def to_json(self) -> str:
        """Return all of it, with the bounds, as JSON."""
        content: dict[str, Any] = asdict(self) | {"bound": bound(self.strata)}
        for one, written in zip(self.strata, content["strata"], strict=True):
            written["bound"] = bound([one])
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def bound(strata: Sequence[Stratum]) -> float | None:
    """Return the share of runs that could be wrong; ``None`` unless all that were drawn agree.

    Several strata count alike, whatever their sizes. As many runs from each tell at least as much
    as all of them from the union, since the geometric mean of the shares of good runs is at most
    the arithmetic one; where more were drawn from some, these are not counted.
    """
    if any(len(one.agree) < one.k for one in strata):
        return None
    k = len(strata) * min(one.k for one in strata)
    return float(1 - (1 - LEVEL) ** (1 / k))


def audit(
    names: Sequence[str] = (),
    *,
    k: int = 20,
    seed: int | None = None,
    budget: float | None = None,
    machine: str = "",
    store: Store | None = None,
    runner: Runner = in_turn,
    echo: Callable[[str], object] = lambda _: None,
) -> Audit:
    """Make ``k`` stored runs again, as many of each paper, half of them cheap and half dear.

    Args:
        names: papers; all that have stored runs when empty.
        k: number of runs; fewer only if a half has not as many.
        seed: of the draw; today's date, as YYYYMMDD, when omitted.
        budget: draw only runs that took at most so many minutes.
        machine: where this is, in words.
        store: where records are; the book's own when omitted.
        runner: makes the runs.
        echo: called with a sentence about every run as soon as it is made.

    Raises:
        UsageError: a paper is not known or has nothing to draw, or ``k`` is less than four for
            each paper.
    """
    store, today = store or Store(), datetime.now(UTC).date()
    seed = int(f"{today:%Y%m%d}") if seed is None else seed
    chosen = papers.validate([*dict.fromkeys(names)] or [*filter(store.records, papers.names())])
    if k < (least := LEAST * len(chosen)):
        raise UsageError(f"k is {k} and must be {least} or more, {LEAST} of every paper.")
    drawn: list[tuple[Stratum, list[tuple[Job, Record]]]] = []
    for number, paper in enumerate(chosen):
        share = k // len(chosen) + (number < k % len(chosen))
        drawn += _draw(paper, share, seed, budget, store)
    within = {paper: _within(paper, store) for paper in chosen}
    records = {(one.paper, job.key): (one, record) for one, runs in drawn for job, record in runs}
    for again in runner([job for _, runs in drawn for job, _ in runs]):
        one, record = records[again.paper, again.key]
        result, why = _result(record, again, within[one.paper][again.key])
        run = f"{again.cell} ({again.profile}), seed {again.seed}"
        getattr(one, result).append(f"{run}{why}")
        echo(f"{one.paper}/{run}: {result.replace('_', ' ')}")
    strata = [one for one, _ in drawn]
    return Audit(today.isoformat(), seed, budget, machine, versions(), strata)


def _draw(
    paper: str, k: int, seed: int, budget: float | None, store: Store
) -> Iterator[tuple[Stratum, list[tuple[Job, Record]]]]:
    """Yield the cheaper and the dearer half of a paper's runs, and what is drawn from each."""
    limit = float("inf") if budget is None else 60 * budget
    runs = [(job, record) for job, record in candidates(paper, store) if record.seconds <= limit]
    if len(runs) < 2:
        cheap = "" if budget is None else f" that took at most {budget:g} min"
        raise UsageError(f"paper {paper} has no two stored runs of today's versions{cheap}.")
    runs.sort(key=lambda run: (run[1].seconds, run[1].key))
    cheaper, dearer = runs[: len(runs) // 2], runs[len(runs) // 2 :]
    for half, of, share in (("cheaper", cheaper, k // 2), ("dearer", dearer, k - k // 2)):
        places = stream(seed, "audit", paper, half).permutation(len(of))[:share]
        stratum = Stratum(paper, half, len(of), of[-1][1].seconds, len(places))
        yield stratum, [of[place] for place in places]


def _result(stored: Record, again: Record, within: Mapping[str, float]) -> tuple[str, str]:
    """Return where a run belongs that was made again, and why."""
    tolerance = papers.experiments(stored.paper)[stored.experiment].tolerance
    assessable = {metric: limit for metric, limit in within.items() if limit >= tolerance}
    if again.error:
        return "not_made", f": {again.error}"
    if problem := difference(stored, again, assessable):
        return "differ", f": {problem}"
    if problem := difference(stored, again, within):
        return "not_assessable", f": {problem}, and {tolerance:g} between two machines"
    return "agree", ""


def _within(paper: str, store: Store) -> defaultdict[Key, dict[str, float]]:
    """Return, by run, the metrics that decide claims with a margin, and what changes nothing."""
    usable = load_runs(paper, store=store).usable
    within: defaultdict[Key, dict[str, float]] = defaultdict(dict)
    for claim in load_claims(paper):
        metric = str(claim.metric)
        margins = [margin for margin in (claim.margin, claim.controls_margin) if margin]
        runs = (usable.get(cell, {}).get(seed) for cell in claim.every_cell for seed in claim.seeds)
        for record in filter(None, runs if margins else ()):
            limit = DECIDING * min(margins) / max(1.0, abs(value_of(claim, record)))
            within[record.key][metric] = min(limit, within[record.key].get(metric, limit))
    return within
