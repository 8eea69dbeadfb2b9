"""What the reruns teach together: which control explains what, how large effects are, what to ask.

Everything is read from claims and records; the questions of a referee are in `lessons.yml`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import papers
from ..base import strict_yaml
from ..evidence import stats
from ..evidence.cells import Cell
from ..evidence.claims import Claim, load_claims
from ..evidence.planned import planned
from ..evidence.report import tally
from ..evidence.verdicts import Verdict, behind, judge, load_runs, verdicts

#: What controls ask, and their names in the claims of the papers.
KINDS: dict[str, tuple[str, ...]] = {
    "not trained": ("untrained", "untrained-ring"),
    "no circuit": ("identity", "cosine", "closed form", "linear"),
    "classical network": ("classical", "untrained-classical", "normalised", "1d", "2d"),
    "the same, equal steps": ("1d-equal-step", "2d-equal-step"),
    "fewer layers": ("direct1",),
    "other features": ("pixels", "random-source"),
}
WORST_FIRST = (stats.EXPLAINED_BY, stats.UNDECIDED, stats.SURVIVES)
QUESTIONS = Path(__file__).with_name("lessons.yml")


def controls(paper: str) -> dict[str, dict[str, str]]:
    """Return what each kind of control says of the claims of a paper that are counted.

    Returns:
        Claim -> kind of control (`KINDS`) -> ``explained by``, if any control of this kind does;
        else ``undecided`` or ``survives``. Claims without controls that have runs are left out.

    Raises:
        UsageError: the paper is not known.
    """
    judged, runs, experiments = verdicts([paper]), load_runs(paper), planned(paper)
    claims = {claim.id: claim for claim in load_claims(paper)}
    found = {}
    for verdict in tally(judged)[0]:
        claim = claims[verdict.claim]
        named = claim.controls if isinstance(claim.controls, Mapping) else {}
        exact = {name for name in claim.settled if f" {name}" in verdict.controls}
        words = dict.fromkeys(exact, stats.EXPLAINED_BY)
        for name, variants in named.items():
            alone = replace(claim, controls={name: variants}, settled={})
            words[name] = judge(alone, experiments, runs).controls
        if words:
            found[claim.id] = _by_kind(words)
    return found


def _by_kind(words: Mapping[str, str]) -> dict[str, str]:
    """Return kind of control -> the worst that one of this kind says."""
    said = {
        kind: [word for name, word in words.items() if name in names]
        for kind, names in KINDS.items()
    }
    return {
        kind: next(word for word in WORST_FIRST if any(one.startswith(word) for one in ones))
        for kind, ones in said.items()
        if ones
    }


@dataclass(frozen=True)
class Effect:
    """A lead that a paper claims, in units of its spread over seeds.

    Attributes:
        name: paper and claim.
        spread: standard deviation of our paired differences, in the units of the metric.
        ours: our mean with its interval, in spreads.
        published: the published lead in spreads; ``None`` where none could be read.
        margin: the largest lead without consequence, in spreads.
    """

    name: str
    spread: float
    ours: stats.Interval
    published: float | None
    margin: float


def effects(paper: str) -> list[Effect]:
    """Return the leads among the counted claims of a paper.

    Raises:
        UsageError: the paper is not known.
    """
    runs, claims = load_runs(paper), {claim.id: claim for claim in load_claims(paper)}
    told = []
    for verdict in tally(verdicts([paper]))[0]:
        claim = claims[verdict.claim]
        values = np.array(behind(claim, runs).values)
        if claim.kind == "order" and verdict.ours and len(values) > 1:
            told.append(_effect(claim, verdict.ours, float(values.std(ddof=1))))
    return told


def _effect(claim: Claim, ours: Mapping[str, Any], spread: float) -> Effect:
    known = claim.published if isinstance(claim.published, Mapping) else {}
    mean, low, high = (ours[name] / spread for name in ("mean", "low", "high"))
    return Effect(
        f"{claim.paper} {claim.id}",
        spread,
        stats.Interval(mean, low, high, ours["n"]),
        known["mean"] / spread if "mean" in known else None,
        (claim.margin or 0.0) / spread,
    )


def settings(paper: str) -> dict[str, tuple[float, float]]:
    """Return how much the settings that were tried move what a paper tunes.

    Returns:
        Name of what is tuned -> best minus worst mean score of its trials, and the spread of a
        trial over its seeds, NaN where each has one; empty where the paper tunes nothing.

    Raises:
        UsageError: the paper is not known.
    """
    runs, room = load_runs(paper), papers.module(paper, "experiments")
    tuning = getattr(room, "TUNING", None)
    if not tuning:
        return {}
    moved = {}
    for name, trials in tuning.trials.items():
        scores = [
            [tuning.score(record.metrics)[0] for record in by_seed.values()]
            for trial in trials
            if (by_seed := runs.usable.get(Cell("tuning", trial)))
        ]
        if len(scores) > 1:
            means = [np.mean(each) for each in scores]
            inside = [np.var(each, ddof=1) for each in scores if len(each) > 1]
            spread = float(np.sqrt(np.mean(inside))) if inside else float("nan")
            moved[name] = (float(max(means) - min(means)), spread)
    return moved


def survivors() -> list[Verdict]:
    """Return the counted claims that reproduce and that no control explains or leaves open."""
    sound = (stats.SURVIVES, stats.NOT_APPLICABLE)
    return [
        verdict
        for paper in papers.names()
        for verdict in tally(verdicts([paper]))[0]
        if verdict.outcome == stats.REPRODUCED and verdict.controls in sound
    ]


def address(verdict: Verdict) -> str:
    """Return a link to a row of the page of verdicts, in HTML."""
    name = f"{verdict.paper} {verdict.claim}"
    return f'<a href="verdicts.html#{verdict.paper}-{html.escape(verdict.claim)}">{name}</a>'


@dataclass(frozen=True)
class Question:
    """What a referee asks.

    Attributes:
        ask: the question.
        rows: rows of the verdicts that show why, written ``paper claim``.
        told: what happened there, in a sentence without numbers.
        own: what answers it for a circuit of one's own.
        when: what the first row's outcome and controls begin with or hold when this was written.
    """

    ask: str
    rows: tuple[str, ...]
    told: str
    own: str
    when: tuple[str, str]


def questions() -> list[Question]:
    """Return the questions of a referee, in their order."""
    entries = strict_yaml.load_of(QUESTIONS.name, QUESTIONS.read_bytes())
    return [Question(**entry | {"rows": tuple(entry["rows"])}) for entry in entries]


def checklist() -> str:
    """Return the questions with their examples as they are judged today, in HTML."""
    known = {(verdict.paper, verdict.claim): verdict for verdict in verdicts()}
    items = []
    for question in questions():
        rows = [known[paper, claim] for paper, claim in map(str.split, question.rows)]
        judged = "; ".join(f"{address(row)}: {_words(row)}" for row in rows)
        items.append(
            f"<li><strong>{question.ask}</strong> {question.told} ({judged}.) "
            f"Its runs: <code>{rows[0].command}</code>. Of your own circuit: {question.own}</li>"
        )
    return f'<ol class="qmlbook-asked">{"".join(items)}</ol>'


def sheet() -> str:
    """Return the questions alone, each with a box to tick, in HTML."""
    items = [
        f"<li>☐ <strong>{one.ask}</strong> (As in {', '.join(one.rows)}.)<br>{one.own}</li>"
        for one in questions()
    ]
    return f'<ol class="qmlbook-sheet">{"".join(items)}</ol>'


def _words(verdict: Verdict) -> str:
    """Return a verdict in words: the outcome, and what controls say."""
    silent = (stats.NOT_APPLICABLE, stats.NOT_TESTED)
    return ", ".join([verdict.outcome, *([verdict.controls] * (verdict.controls not in silent))])
