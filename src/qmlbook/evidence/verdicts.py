"""Join claims and records: one verdict for every claim.

A record counts for a claim when its run succeeded, its experiment has the version of today, its
configuration is the one of the full profile, and its seed is one that the claim asks for. Before
all of these runs are there, nothing is decided: looking early and stopping when one likes the
answer is not allowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import papers as rooms
from ..base.errors import QmlbookError, UsageError, counted, require_choice, shown
from ..base.rng import stream
from . import stats
from .cells import Cell
from .claims import Claim, load_claims
from .planned import Planned, planned, seeds_text
from .store import Record, Store

NOT_YET_RUN = "not yet run"
INCOMPLETE = "incomplete"
CANNOT = "cannot be decided"
ILLUSTRATES = "illustrates"
OUTCOMES = (
    stats.REPRODUCED,
    stats.NOT_REPRODUCED,
    stats.INCONCLUSIVE,
    CANNOT,
    stats.COMPATIBLE,
    ILLUSTRATES,
    stats.NO_PUBLISHED_VALUE,
    INCOMPLETE,
    NOT_YET_RUN,
    stats.NOT_ATTEMPTED,
)
PROFILE = "full"
FOR_PEOPLE = ("note", "details")
Experiments = Mapping[str, Planned]


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    Attributes:
        paper, claim, kind, statement, published, source, margin, evidence: as in the `Claim`.
        provenance, uncounted: as in the `Claim`.
        ours: ``None`` where nothing was decided; for a property ``{holds, checked}``; otherwise
            ``{statistic, mean, low, high, n}`` (and for an order ``p``, and ``size`` where a lead
            is published): ``mean`` is the mean of our runs, or of the paired differences, over
            ``n`` seeds (over ``n`` runs for a best), and ``low`` to ``high`` is the interval that
            decided.
        outcome: ``reproduced``, ``not reproduced``, ``inconclusive``, ``cannot be decided`` (the
            details say why), ``compatible`` (with one published run), ``illustrates``, ``no
            published value``, ``incomplete`` (followed by how many seeds of how many), ``not yet
            run`` or ``not attempted``.
        controls: ``survives`` (every control is more than its margin behind), ``explained by`` one,
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
    provenance: str = "published"
    uncounted: str = ""
    note: str = ""
    details: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the object of ``qmlbook report --format json``."""
        return {name: value for name, value in vars(self).items() if name not in FOR_PEOPLE}


@dataclass
class Runs:
    """The records of one paper, sorted by what may decide a claim.

    Attributes:
        usable: cell -> seed -> record.
        failed: cell -> number of failed runs of the version of today.
        outdated: experiment -> number of records of other versions.
    """

    usable: dict[Cell, dict[int, Record]] = field(default_factory=dict)
    failed: Counter[Cell] = field(default_factory=Counter)
    outdated: Counter[str] = field(default_factory=Counter)

    def values(
        self, cell: Cell | str, metric: str, seeds: Container[int] | None = None
    ) -> np.ndarray:
        """Return a metric of every usable run of a cell (or ``experiment/variant``), by seed.

        Args:
            cell: the cell.
            metric: name of the metric.
            seeds: only these; what is compared should have the same ones. All when omitted.

        Returns:
            (n,) floats, or (n, k) where the metric is a list of k numbers; n is 0 while nothing
            has been run.
        """
        by_seed = self.usable.get(Cell.parse(cell) if isinstance(cell, str) else cell, {})
        chosen = [seed for seed in sorted(by_seed) if seeds is None or seed in seeds]
        return np.array([by_seed[seed].metrics[metric] for seed in chosen], dtype=float)

    def describe(self) -> str:
        """Return in one sentence how many runs there are, when and where they ran, how long."""
        records = [record for by_seed in self.usable.values() for record in by_seed.values()]
        if not records:
            return "No full-profile runs are stored yet."
        days = sorted({record.started_at[:10] for record in records})
        when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        machines = sorted({f"{r.device}, {counted(r.threads, 'thread')}" for r in records})
        torch = sorted({record.versions.get("torch", "unknown") for record in records})
        minutes = sum(record.seconds for record in records) / 60
        return (
            f"{counted(len(records), 'stored run')} of {when} ({'; '.join(machines)}; "
            f"torch {', '.join(torch)}), {minutes:.0f} minutes in all."
        )


def load_runs(paper: str, *, store: Store | None = None) -> Runs:
    """Return the stored full-profile runs of a paper that count today.

    Raises:
        UsageError: the paper is not known.
    """
    return sort_runs(planned(paper), (store or Store()).records(paper))


def sort_runs(experiments: Mapping[str, Planned], records: Iterable[Record]) -> Runs:
    """Return which of a paper's records may decide its claims."""
    runs = Runs()
    keys = {
        Cell(name, variant): key
        for name, experiment in experiments.items()
        for variant, key in experiment.variants.get(PROFILE, {}).items()
    }
    for record in records:
        experiment = experiments.get(record.experiment)
        if experiment is None or record.experiment_version != experiment.version:
            runs.outdated[record.experiment] += 1
        elif keys.get(record.cell) != record.config_key:
            continue  # the quick profile, or settings that were tried and given up
        elif record.status == "ok":
            runs.usable.setdefault(record.cell, {})[record.seed] = record
        else:
            runs.failed[record.cell] += 1
    return runs


def verdicts(
    papers: Sequence[str] | None = None, *, claims: Path | None = None, store: Store | None = None
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
    judged, store = [], store or Store()
    for paper in names:
        experiments = planned(paper)
        runs = sort_runs(experiments, store.records(paper))
        judged += _judge_all(load_claims(paper, claims), experiments, runs)
    return judged


def _judge_all(claims: Sequence[Claim], experiments: Experiments, runs: Runs) -> list[Verdict]:
    """Return the verdicts of a paper's claims; properties first, on which others may rest."""
    properties = [claim for claim in claims if claim.kind == "property"]
    alone = {claim.id: judge(claim, experiments, runs) for claim in properties}
    holding = {name for name, verdict in alone.items() if verdict.outcome == stats.REPRODUCED}
    return [judge(claim, experiments, runs, holding) for claim in claims]


def notes(papers: Sequence[str] | None = None, *, store: Store | None = None) -> list[str]:
    """Return one sentence for everything stored that `verdicts` leaves out unasked.

    These are records of other versions of an experiment, lines that cannot be read, and files that
    were altered after they were stored.
    """
    told, store = [], store or Store()
    for paper in rooms.validate(list(papers or [])):
        told += store.problems(paper)
        outdated = sort_runs(planned(paper), store.records(paper)).outdated
        for name, number in sorted(outdated.items()):
            told.append(f"{paper}/{name}: {_outdated(number)}.")
    return told


def judge(
    claim: Claim, experiments: Experiments, runs: Runs, holding: Container[str] = ()
) -> Verdict:
    """Decide one claim from the usable runs of its paper; errors as `verdicts`.

    Args:
        claim: the claim.
        experiments: what its paper plans.
        runs: the usable runs of its paper.
        holding: properties of the paper that hold, by which controls may be exact.
    """
    cells, every = _Cells.of(claim), claim.every_cell
    if claim.experiment:
        _check_cells(claim, every, experiments)
    outcome, ours, details = _outcome(claim, runs, cells)
    if (word := _word(claim, ours)) and ours:
        details.append(f"the rule alone would say: {outcome}")
    controls_outcome = claim.controls if isinstance(claim.controls, str) else stats.NOT_TESTED
    if ours and cells.controls:
        controls_outcome, more = _controls(claim, runs, cells)
        details += more
    if ours and claim.settled:
        controls_outcome, more = _settled(claim, controls_outcome, holding)
        details += more
    details += _looked_at(claim, runs, cells)
    details += _left_out(every, runs)
    used = [record for cell in every for record in runs.usable.get(cell, {}).values()]
    cost = sum(record.seconds for record in used if record.seed in claim.seeds)
    quoted = ("paper", "kind", "statement", "published", "source", "margin", "evidence", "note",
              "provenance", "uncounted")  # fmt: skip
    return Verdict(
        **{name: getattr(claim, name) for name in quoted},
        claim=claim.id,
        ours=ours,
        outcome=word or outcome,
        controls=controls_outcome,
        cost_s=round(cost, 1),
        command=_command(claim, every, experiments),
        details=tuple(filter(None, (claim.cannot, *details))),
    )


@dataclass(frozen=True)
class Behind:
    """The numbers behind a verdict, to be drawn.

    Attributes:
        values: (n,) what is compared, by seed: the mean of the variants, or their paired
            difference; of a best of several, every run. Empty while nothing is decided.
        controls: name -> interval on the same axis: for a number the one that the rule would give
            to the control, for an order that of circuit minus control.
    """

    values: tuple[float, ...] = ()
    controls: Mapping[str, stats.Interval] = field(default_factory=dict)


def behind(claim: Claim, runs: Runs) -> Behind:
    """Return the numbers behind the verdict of a claim; errors as `verdicts`.

    Args:
        claim: the claim.
        runs: the usable runs of its paper.
    """
    cells, n = _Cells.of(claim), len(claim.seeds)
    decisive = [*cells.over, *cells.under]
    if claim.kind == "property" or not decisive or _complete(runs, decisive, claim.seeds)[0] < n:
        return Behind()
    over = _values(claim, runs, cells.over, claim.seeds)
    values = over - _values(claim, runs, cells.under, claim.seeds) if cells.under else over
    kept = values.ravel() if claim.statistic == "max" else stats.per_seed(values)
    known = {
        name: _values(claim, runs, of, claim.seeds)
        for name, of in cells.controls.items()
        if _complete(runs, of, claim.seeds)[0] == n
    }
    if claim.kind == "order":
        controls = stats.controls_outcome(over, known, claim.controls_margin)[1]
    else:
        rule = partial(stats.value_outcome, published=claim.published, margin=claim.margin)
        controls = {name: rule(of)[1] for name, of in known.items()}
    return Behind(tuple(map(_short, kept)), controls)


def _word(claim: Claim, ours: Mapping[str, Any] | None) -> str | None:
    """Return what stands in place of the rule's outcome, if anything."""
    if claim.cannot:
        return CANNOT
    return ILLUSTRATES if claim.evidence == "illustrated" and ours else None


@dataclass(frozen=True)
class _Cells:
    """The cells that a claim is about, in the order in which they are paired."""

    over: list[Cell]
    under: list[Cell]
    controls: dict[str, list[Cell]]

    @classmethod
    def of(cls, claim: Claim) -> _Cells:
        over, under = claim.cells(claim.variants), claim.cells(claim.under)
        named = claim.controls if isinstance(claim.controls, Mapping) else {}
        controls = {name: claim.cells(variants) for name, variants in named.items()}
        return cls(over, under, controls)


Outcome = tuple[str, dict[str, Any] | None, list[str]]


def _outcome(claim: Claim, runs: Runs, cells: _Cells) -> Outcome:
    """Return the outcome, our numbers and sentences about them."""
    unpublished = claim.kind == "value" and isinstance(claim.published, str)
    if claim.experiment is None:
        return (stats.NO_PUBLISHED_VALUE if unpublished else stats.NOT_ATTEMPTED), None, []
    complete, any_run = _complete(runs, [*cells.over, *cells.under], claim.seeds)
    if complete == len(claim.seeds):
        return (_property if claim.kind == "property" else _number)(claim, runs, cells)
    seeds = f"{complete} of {counted(len(claim.seeds), 'seed')}"
    if unpublished:
        return stats.NO_PUBLISHED_VALUE, None, [f"{seeds} are recorded"]
    if any_run:
        return f"{INCOMPLETE} ({seeds})", None, []
    return (stats.NOT_ATTEMPTED if claim.kind == "property" else NOT_YET_RUN), None, []


def _property(claim: Claim, runs: Runs, cells: _Cells) -> Outcome:
    values = _values(claim, runs, cells.over, claim.seeds)
    try:
        outcome = stats.property_outcome(values)
    except QmlbookError as error:
        of = f"claim {claim.id} of {claim.paper}: {shown(claim.metric)} of {claim.experiment}"
        raise QmlbookError(f"{of}: {error}") from None
    checked = 0.0
    for cell in cells.over:
        for seed in claim.seeds:
            cases = runs.usable[cell][seed].metrics.get("checked", 1)
            checked += cases if isinstance(cases, int | float) else len(cases)
    return outcome, {"holds": outcome == stats.REPRODUCED, "checked": int(checked)}, []


def _number(claim: Claim, runs: Runs, cells: _Cells) -> Outcome:
    extra: dict[str, Any] = {}
    over = _values(claim, runs, cells.over, claim.seeds)
    under = _values(claim, runs, cells.under, claim.seeds) if cells.under else None
    values = over if under is None else over - under
    details = _runs_told(claim, over, under)
    published = claim.published if isinstance(claim.published, Mapping) else {}
    if claim.kind == "order" and under is not None:
        rng = stream(0, "sign-flip", claim.paper, claim.id)
        outcome, interval, p = stats.order_outcome(over, under, claim.margin, rng)
        extra = {"p": _short(p)}
        if "mean" in published:
            extra["size"] = stats.size_outcome(stats.per_seed(values), published)
    else:
        outcome, interval = stats.value_outcome(values, claim.published, claim.margin)
    if outcome == stats.INCONCLUSIVE and not claim.cannot:
        details.append(_undecidable(claim, stats.t_interval(stats.per_seed(values))))
    if claim.kind == "value" and "best" in published:
        of = int(published["of"])
        error = stats.best_band_error(interval.n, of)
        details.append(
            f"a best of {of} from exactly our distribution would fall outside in {error:.0%} of "
            f"cases (our band ends at the best of {interval.n} runs, and is "
            f"{interval.high - interval.low:.2g} wide)"
        )
    numbers = {name: _short(getattr(interval, name)) for name in ("mean", "low", "high")}
    return outcome, {"statistic": claim.statistic, **numbers, "n": interval.n, **extra}, details


def _undecidable(claim: Claim, interval: stats.Interval) -> str:
    """Return how many seeds would decide a claim that its own leave open."""
    known = claim.published
    published = known if claim.kind == "value" and isinstance(known, Mapping) else None
    needed = stats.seeds_needed(interval, claim.margin or 0.0, published)
    if needed is None:
        would = "no number could: what was published, or a single run, scatters too widely"
    elif needed <= interval.n:
        would = "they resolve the margin, but what they show lies at its edge"
    else:
        would = f"about {float(f'{needed:.2g}'):,.0f} could resolve the margin"
    return f"not decidable within the budget of {counted(interval.n, 'seed')}: {would}"


def _runs_told(claim: Claim, over: np.ndarray, under: np.ndarray | None) -> list[str]:
    """Return what a mean hides where some runs never learn: the medians, and how many did not."""
    if claim.dead is None:
        return []
    sides = {"median": over} if under is None else {"medians": over, "against": under}
    medians = " ".join(f"{word} {np.median(side):.3g}" for word, side in sides.items())
    dead = " and ".join(
        f"{(side < claim.dead).sum()} of {counted(side.size, 'run')}" for side in sides.values()
    )
    return [f"{medians}; below {claim.dead:g} are {dead}"]


def _controls(claim: Claim, runs: Runs, cells: _Cells) -> tuple[str, list[str]]:
    """Return the outcome of the controls and their intervals in words."""
    complete = {name: _complete(runs, of, claim.seeds)[0] for name, of in cells.controls.items()}
    number = len(claim.seeds)
    wanted = counted(number, "seed")
    if missing := {name: seeds for name, seeds in complete.items() if seeds < number}:
        return stats.NOT_TESTED, [
            f"control {name}: {seeds} of {wanted} are recorded" for name, seeds in missing.items()
        ]
    values = {
        name: _values(claim, runs, control, claim.seeds) for name, control in cells.controls.items()
    }
    circuit = _values(claim, runs, cells.over, claim.seeds)
    if isinstance(claim.published, Mapping) and "best" in claim.published:
        best, m = claim.published["best"], int(claim.published["of"])
        outcome, gaps = stats.best_controls_outcome(best, circuit, values, m)
        chances = {
            name: stats.best_probability(of, best, m)
            for name, of in {"the circuit": circuit, **values}.items()
        }
        return outcome, [
            f"the best of {m} of {name} reaches {best:g} with probability {_band(chance)}"
            + (f"; minus the circuit {_band(gaps[name])}" if name in gaps else "")
            for name, chance in chances.items()
        ]
    outcome, intervals = stats.controls_outcome(circuit, values, claim.controls_margin)
    told = [f"minus {name}: {_band(gap, '+.3g')}, n = {gap.n}" for name, gap in intervals.items()]
    margin = claim.controls_margin
    if claim.control_margin is not None:
        told.append(f"the margin of controls is {margin:g}")
    if outcome == stats.UNDECIDED and margin:
        needed = {name: stats.seeds_needed(gap, margin) for name, gap in intervals.items()}
        few = [f"{name} {seeds}" for name, seeds in needed.items() if (seeds or 0) > number]
        told += [f"seeds that could resolve this margin: {', '.join(few)}"] if few else []
    return outcome, told


def _settled(claim: Claim, outcome: str, holding: Container[str]) -> tuple[str, list[str]]:
    """Return the outcome of the controls with those that need no runs, and words about these."""
    told, same = [], []
    for name, said in claim.settled.items():
        if said.exact in holding and said.exact:
            same.append(name)
            told.append(f"minus {name}: 0 in every run, by {said.exact}: {said.because}")
        elif said.row or said.exact:
            told.append(f"control {name}: see {said.row or said.exact}: {said.because}")
        else:
            told.append(f"control {name} does not apply: {said.because}")
    if same and outcome.startswith(stats.EXPLAINED_BY):
        outcome = f"{outcome}, {', '.join(same)}"
    elif same:
        outcome = f"{stats.EXPLAINED_BY} {', '.join(same)}"
    return outcome, told


def _band(interval: stats.Interval, form: str = ".2f") -> str:
    """Return a mean with its interval."""
    mean, low, high, _ = interval
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def _looked_at(claim: Claim, runs: Runs, cells: _Cells) -> list[str]:
    """Return what the seeds before the claim's own said, which decide nothing any more."""
    before = range(claim.seeds[0])
    known = [before, *(runs.usable.get(cell, {}) for cell in (*cells.over, *cells.under))]
    old = sorted(set.intersection(*map(set, known)))
    if len(old) < stats.MIN_RUNS or claim.kind == "property":
        return []
    values = stats.per_seed(_values(claim, runs, cells.over, old))
    if cells.under:
        values = values - stats.per_seed(_values(claim, runs, cells.under, old))
    mean, low, high, n = stats.t_interval(values)
    return [
        f"{counted(n, 'seed')} looked at before ({old[0]} to {old[-1]}), which decide nothing: "
        f"{mean:.3g} [{low:.3g}, {high:.3g}]"
    ]


def _complete(runs: Runs, cells: Iterable[Cell], seeds: range) -> tuple[int, bool]:
    """Return how many planned seeds every cell has, and whether any cell has any of them."""
    planned = [{seed for seed in runs.usable.get(cell, {}) if seed in seeds} for cell in cells]
    return len(set.intersection(*planned)), any(planned)


def _values(claim: Claim, runs: Runs, cells: Sequence[Cell], seeds: Iterable[int]) -> np.ndarray:
    """Return the claim's metric as an array of shape (variants, seeds)."""
    seeds = list(seeds)
    rows = [[value_of(claim, runs.usable[cell][seed]) for seed in seeds] for cell in cells]
    return np.array(rows, dtype=float)


def value_of(claim: Claim, record: Record) -> float:
    """Return the claim's metric of one run.

    Raises:
        QmlbookError: the record lacks it, or it is no number.
    """
    value = record.metrics.get(str(claim.metric))
    if isinstance(value, int | float):
        return value
    numbers = [name for name, item in record.metrics.items() if not isinstance(item, list)]
    known = f"it has: {', '.join(numbers)}" if numbers else "it has none"
    raise QmlbookError(
        f"claim {claim.id} of {claim.paper}: {record.run}, has no number {claim.metric!r}; {known}."
    )


def _check_cells(claim: Claim, cells: Iterable[Cell], experiments: Experiments) -> None:
    """Refuse a cell that a paper with experiments does not have; a paper may still have none."""
    where = f"claim {claim.id} of {claim.paper}"
    for cell in cells if experiments else ():
        require_choice(f"{where}: experiment", cell.experiment, experiments)
        variants = experiments[cell.experiment].variants.get(PROFILE, {})
        of = f"{where}: variant of {cell.experiment}"
        require_choice(of, cell.variant, variants, none="(it has none)")


def _left_out(cells: Sequence[Cell], runs: Runs) -> list[str]:
    failed, outdated = runs.failed, runs.outdated
    names = dict.fromkeys(cell.experiment for cell in cells)
    return [
        *(f"{cell}: {_are(failed[cell], 'failed run')}" for cell in cells if failed[cell]),
        *(f"{name}: {_outdated(outdated[name])}" for name in names if outdated[name]),
    ]


def _are(number: int, thing: str, of: str = "") -> str:
    return f"{counted(number, thing)}{of} {'is' if number == 1 else 'are'} left out"


def _outdated(number: int) -> str:
    return _are(number, "record", of=" of other versions of the experiment")


def _command(claim: Claim, cells: Iterable[Cell], experiments: Experiments) -> str | None:
    """Return what makes the runs of a claim, which may not be the book's and ask for more."""
    if claim.experiment is None:
        return None
    planned = [experiments[name].seeds[PROFILE][variant]
               for name, variant in cells if name in experiments]  # fmt: skip
    used = dict.fromkeys(cell.experiment for cell in cells)
    if all(set(claim.seeds) <= set(seeds) for seeds in planned):
        chosen, seeds = [claim.experiment] if list(used) == [claim.experiment] else [], ""
    else:
        chosen, seeds = [*used], f" --seeds {seeds_text(claim.seeds)}"
    only = "".join(f" --experiment {name}" for name in chosen)
    return f"qmlbook sweep {claim.paper}{only}{seeds}"


def _short(number: float) -> float:
    """Return a number as plain Python float with six significant digits."""
    return float(f"{float(number):.6g}")
