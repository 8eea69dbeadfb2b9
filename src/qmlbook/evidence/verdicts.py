"""Join claims and records: one verdict for every claim.

A record counts for a claim when its run succeeded, its experiment has the version of today, its
configuration is the one of the full profile, and its seed is below the number planned for the
claim. Before all planned runs are there, nothing is decided: looking early and stopping when one
likes the answer is not allowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from .. import papers as rooms
from ..base.errors import QmlbookError, UsageError, choose, shown
from ..base.rng import stream
from . import stats
from .claims import Claim, load_claims
from .store import Record, Store, config_key

NOT_YET_RUN = "not yet run"
INCOMPLETE = "incomplete"
OUTCOMES = (
    stats.REPRODUCED,
    stats.NOT_REPRODUCED,
    stats.INCONCLUSIVE,
    stats.NO_PUBLISHED_VALUE,
    INCOMPLETE,
    NOT_YET_RUN,
    stats.NOT_ATTEMPTED,
)
PROFILE = "full"
FOR_PEOPLE = ("note", "details")


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    Attributes:
        paper, claim, kind, statement, published, source, margin, evidence: as in the `Claim`.
        ours: ``None`` where nothing was decided; for a property ``{holds, checked}``; otherwise
            ``{statistic, mean, low, high, n}`` (and ``p`` for an order): ``mean`` is the mean of
            our runs, or of the paired differences, over ``n`` seeds (over ``n`` runs for a best),
            and ``low`` to ``high`` is the interval that decided.
        outcome: ``reproduced``, ``not reproduced``, ``inconclusive``, ``no published value``,
            ``incomplete`` (followed by how many seeds of how many), ``not yet run`` or
            ``not attempted``.
        controls: ``survives`` (the circuit beats every control), ``explained by`` a control,
            ``undecided``, ``not tested`` or ``not applicable``.
        cost_s: seconds that the runs behind this verdict took together.
        command: the command that makes these runs; ``None`` where nothing is attempted.
        note: deviations from the paper.
        details: sentences for people: intervals of the controls, runs left out.
    """

    paper: str
    claim: str
    kind: str
    statement: str
    published: Mapping[str, float] | str
    source: str
    ours: Mapping[str, Any] | None
    margin: float | None
    evidence: str
    outcome: str
    controls: str
    cost_s: float
    command: str | None
    note: str = ""
    details: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the object of ``qmlbook report --format json``."""
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in FOR_PEOPLE
        }


@dataclass
class Runs:
    """The records of one paper, sorted by what may decide a claim.

    Attributes:
        usable: (experiment, variant) -> seed -> record.
        failed: (experiment, variant) -> number of failed runs of the version of today.
        outdated: experiment -> number of records of other versions.
    """

    usable: dict[tuple[str, str], dict[int, Record]] = field(default_factory=dict)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    outdated: Counter[str] = field(default_factory=Counter)

    def values(self, place: str, metric: str) -> np.ndarray:
        """Return a metric of every usable run of ``experiment/variant``, by seed.

        Returns:
            (n,) floats, or (n, k) where the metric is a list of k numbers; n is 0 while nothing
            has been run.
        """
        found = self.usable.get(tuple(place.split("/", 1)), {})
        return np.array([found[seed].metrics[metric] for seed in sorted(found)], dtype=float)

    def describe(self) -> str:
        """Return in one sentence how many runs there are, when and where they ran, how long."""
        records = [record for by_seed in self.usable.values() for record in by_seed.values()]
        if not records:
            return "No full-profile runs are stored yet."
        days = sorted({record.started_at[:10] for record in records})
        when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        machines = sorted(
            {f"{r.device}, {r.threads} thread{'s'[: r.threads > 1]}" for r in records}
        )
        torch = sorted({record.versions["torch"] for record in records})
        minutes = sum(record.seconds for record in records) / 60
        return (
            f"{len(records):,} stored runs of {when} ({'; '.join(machines)}; "
            f"torch {', '.join(torch)}), {minutes:.0f} minutes in all."
        )


def load_runs(paper: str, *, store: Store | None = None) -> Runs:
    """Return the stored full-profile runs of a paper that count today.

    Raises:
        UsageError: the paper is not known.
    """
    return sort_runs(rooms.experiments(paper), (store or Store()).records(paper))


def sort_runs(experiments: Mapping[str, rooms.Experiment], records: Iterable[Record]) -> Runs:
    """Return which of a paper's records may decide its claims."""
    runs = Runs()
    keys = {
        (name, variant): config_key(config)
        for name, experiment in experiments.items()
        for variant, config in experiment.variants.get(PROFILE, {}).items()
    }
    for record in records:
        place = (record.experiment, record.variant)
        experiment = experiments.get(record.experiment)
        if experiment is None or record.experiment_version != experiment.version:
            runs.outdated[record.experiment] += 1
        elif keys.get(place) != record.config_key:
            continue  # the quick profile, or settings that were tried and given up
        elif record.status == "ok":
            runs.usable.setdefault(place, {})[record.seed] = record
        else:
            runs.failed[place] += 1
    return runs


def verdicts(
    papers: Sequence[str] | None = None,
    *,
    claims: Path | None = None,
    store: Store | None = None,
) -> list[Verdict]:
    """Return the verdict of every claim of these papers, in the order of their files.

    Args:
        papers: names of rooms; all when empty.
        claims: a file with other claims about the runs of the one paper that is named.
        store: where records are; the book's own when omitted.

    Raises:
        UsageError: a paper is not known, claims contradict its experiments, or ``claims`` is given
            for several papers.
        QmlbookError: a record lacks the metric of a claim, or has one that is no number; or a
            claims file cannot be read.
    """
    names = rooms.validate(list(papers or []))
    if claims and len(papers or []) != 1:
        raise UsageError(f"claims {shown(str(claims))} are about one paper: name it, and no other.")
    found, store = [], store or Store()
    for paper in names:
        experiments = rooms.experiments(paper)
        runs = sort_runs(experiments, store.records(paper))
        found += [judge(claim, experiments, runs) for claim in load_claims(paper, claims)]
    return found


def notes(papers: Sequence[str] | None = None, *, store: Store | None = None) -> list[str]:
    """Return one sentence for everything stored that `verdicts` leaves out unasked.

    These are records of other versions of an experiment and lines that cannot be read.
    """
    found, store = [], store or Store()
    for paper in rooms.validate(list(papers or [])):
        found += store.problems(paper)
        outdated = sort_runs(rooms.experiments(paper), store.records(paper)).outdated
        for name, count in sorted(outdated.items()):
            found.append(f"{paper}/{name}: {_outdated(count)}.")
    return found


def judge(claim: Claim, experiments: Mapping[str, rooms.Experiment], runs: Runs) -> Verdict:
    """Decide one claim from the usable runs of its paper; errors as `verdicts`."""
    controls = claim.controls if isinstance(claim.controls, Mapping) else {}
    places = {name: claim.place(name) for name in (*claim.variants, *claim.under)}
    control_places = {name: claim.place(name) for names in controls.values() for name in names}
    if claim.experiment:
        _check_places(claim, {*places.values(), *control_places.values()}, experiments)
    outcome, ours, details = _outcome(claim, runs, places)
    controls_outcome = claim.controls if isinstance(claim.controls, str) else stats.NOT_TESTED
    if ours and controls:
        controls_outcome, more = _controls(claim, runs, controls, control_places)
        details += more
    everywhere = {*places.values(), *control_places.values()}
    details += _left_out(everywhere, runs)
    used = {place: runs.usable.get(place, {}) for place in everywhere}
    cost = sum(r.seconds for found in used.values() for r in found.values() if r.seed < claim.seeds)
    return Verdict(
        paper=claim.paper,
        claim=claim.id,
        kind=claim.kind,
        statement=claim.statement,
        published=claim.published,
        source=claim.source,
        ours=ours,
        margin=claim.margin,
        evidence=claim.evidence,
        outcome=outcome,
        controls=controls_outcome,
        cost_s=round(cost, 1),
        command=_command(claim, {experiment for experiment, _ in everywhere}, experiments),
        note=claim.note,
        details=tuple(details),
    )


def _outcome(
    claim: Claim, runs: Runs, places: Mapping[str, tuple[str, str]]
) -> tuple[str, dict[str, Any] | None, list[str]]:
    """Return the outcome, our numbers and sentences about them."""
    unpublished = claim.kind == "value" and isinstance(claim.published, str)
    if claim.experiment is None:
        return (stats.NO_PUBLISHED_VALUE if unpublished else stats.NOT_ATTEMPTED), None, []
    complete, any_run = _complete(runs, places.values(), claim.seeds)
    if complete < claim.seeds:
        count = f"{complete} of {claim.seeds} seeds"
        if unpublished:
            return stats.NO_PUBLISHED_VALUE, None, [f"{count} are recorded"]
        if any_run:
            return f"{INCOMPLETE} ({count})", None, []
        return (stats.NOT_ATTEMPTED if claim.kind == "property" else NOT_YET_RUN), None, []
    over = _values(claim, runs, [places[name] for name in claim.variants])
    if claim.kind == "property":
        outcome = stats.property_outcome(over)
        used = [runs.usable[place] for place in places.values()]
        checked = sum(
            found[seed].metrics.get("checked", 1) for found in used for seed in range(claim.seeds)
        )
        return outcome, {"holds": outcome == stats.REPRODUCED, "checked": int(checked)}, []
    details, extra = [], {}
    if claim.under:
        under = _values(claim, runs, [places[name] for name in claim.under])
    if claim.kind == "order":
        rng = stream(0, "sign-flip", claim.paper, claim.id)
        outcome, interval, p = stats.order_outcome(over, under, claim.margin, rng)
        extra = {"p": _short(p)}
    else:
        values = over - under if claim.under else over
        outcome, interval = stats.value_outcome(values, claim.published, claim.margin)
    if "best" in claim.published and claim.kind == "value":
        of = int(claim.published["of"])
        error = stats.best_band_error(interval.n, of)
        details.append(
            f"a best of {of} from exactly our distribution would fall outside in {error:.0%} of "
            f"cases (our band ends at the best of {interval.n} runs)"
        )
    numbers = {name: _short(getattr(interval, name)) for name in ("mean", "low", "high")}
    return outcome, {"statistic": claim.statistic, **numbers, "n": interval.n, **extra}, details


def _controls(
    claim: Claim,
    runs: Runs,
    controls: Mapping[str, Sequence[str]],
    places: Mapping[str, tuple[str, str]],
) -> tuple[str, list[str]]:
    """Return the outcome of the controls and their intervals in words."""
    missing = []
    for name, variants in controls.items():
        complete, _ = _complete(runs, [places[variant] for variant in variants], claim.seeds)
        if complete < claim.seeds:
            missing.append(f"control {name}: {complete} of {claim.seeds} seeds are recorded")
    if missing:
        return stats.NOT_TESTED, missing
    values = {
        name: _values(claim, runs, [places[variant] for variant in variants])
        for name, variants in controls.items()
    }
    circuit = _values(claim, runs, [claim.place(name) for name in claim.variants])
    if isinstance(claim.published, Mapping) and "best" in claim.published:
        best, m = claim.published["best"], int(claim.published["of"])
        outcome, bands = stats.best_controls_outcome(best, circuit, values, m)
        return outcome, [
            f"best of {m} of {name}: [{band.low:.3g}, {band.high:.3g}], n = {band.n}"
            for name, band in bands.items()
        ]
    outcome, intervals = stats.controls_outcome(circuit, values, claim.margin)
    return outcome, [
        f"minus {name}: {mean:+.3g} [{low:+.3g}, {high:+.3g}], n = {n}"
        for name, (mean, low, high, n) in intervals.items()
    ]


def _complete(runs: Runs, places: Iterable[tuple[str, str]], seeds: int) -> tuple[int, bool]:
    """Return how many planned seeds every place has, and whether any place has any of them."""
    found = [{seed for seed in runs.usable.get(place, {}) if seed < seeds} for place in places]
    return len(set.intersection(*found)), any(found)


def _values(claim: Claim, runs: Runs, places: Sequence[tuple[str, str]]) -> np.ndarray:
    """Return the claim's metric as an array of shape (variants, seeds)."""
    values = np.empty((len(places), claim.seeds))
    for row, place in enumerate(places):
        for seed in range(claim.seeds):
            metrics = runs.usable[place][seed].metrics
            value = metrics.get(claim.metric)
            if not isinstance(value, int | float):
                numbers = [name for name, item in metrics.items() if not isinstance(item, list)]
                raise QmlbookError(
                    f"claim {claim.id} of {claim.paper}: {'/'.join(place)}, seed {seed}, has no "
                    f"number {claim.metric!r}; it has: {', '.join(numbers)}."
                )
            values[row, seed] = value
    return values


def _check_places(
    claim: Claim,
    places: Iterable[tuple[str, str]],
    experiments: Mapping[str, rooms.Experiment],
) -> None:
    """Refuse a variant that an experiment does not have; an experiment may still be to come."""
    for name, variant in sorted(places):
        if name not in experiments:
            continue
        known = experiments[name].variants.get(PROFILE, {})
        if variant not in known:
            raise choose(f"claim {claim.id} of {claim.paper}: variant of {name}", variant, known)


def _left_out(places: Iterable[tuple[str, str]], runs: Runs) -> list[str]:
    places = sorted(places)
    left_out = [
        f"{'/'.join(place)}: {runs.failed[place]} failed runs are left out"
        for place in places
        if runs.failed[place]
    ]
    for name in dict.fromkeys(name for name, _ in places):
        if runs.outdated[name]:
            left_out.append(f"{name}: {_outdated(runs.outdated[name])}")
    return left_out


def _outdated(count: int) -> str:
    return f"{count} records of other versions of the experiment are left out"


def _command(
    claim: Claim, used: set[str], experiments: Mapping[str, rooms.Experiment]
) -> str | None:
    """Return what makes the runs of a claim that may ask for more seeds than are planned."""
    if claim.experiment is None:
        return None
    known = sorted(name for name in used if name in experiments)
    if any(experiments[name].seeds.get(PROFILE, 0) < claim.seeds for name in known):
        chosen, seeds = known, f" --seeds {claim.seeds}"
    else:
        chosen, seeds = [claim.experiment] if used == {claim.experiment} else [], ""
    only = "".join(f" --experiment {name}" for name in chosen)
    return f"qmlbook sweep {claim.paper}{only}{seeds}"


def _short(number: float) -> float:
    """Return a number as plain Python float with six significant digits."""
    return float(f"{float(number):.6g}")
