"""The plan of a case: chosen settings, seeds by power, sealed before the first run that decides."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..base import files
from ..base.errors import QmlbookError, UsageError, counted
from ..base.rng import stream
from ..evidence.claims import MOST_SEEDS
from ..evidence.store import Record, Store, code_version, config_key, versions
from ..evidence.sweep import Job, Runner, make
from . import circuits, runs
from .case import Case
from .decide import LEAST, PILOT, Floats, seeds_for
from .players import RIVAL, Player

TRIALS = 2  # seeds of each setting in tuning
STARTS = 32  # of facts about gradients
FILE = "plan.json"


@dataclass(frozen=True)
class Plan:
    """What is fixed before the first run that decides.

    Attributes:
        case, digest: its name, and the SHA-256 of all that decides what its runs give.
        claim, metric, data: as the case says.
        margin: a lead of this size would not matter.
        chance: score of a model that has learned nothing.
        players: name -> role, about, value (the chosen setting) and scores of its trials.
        seeds: how many decide, from 0.
        planned: how many the pilot asked for.
        pilot: rival -> standard deviation of the circuit's lead in the pilot.
        core_minutes: estimate of what the runs take.
        facts: what the circuit computes.
        versions, code_version: of what runs it.
    """

    case: str
    digest: str
    claim: str
    metric: str
    data: str
    margin: float
    chance: float
    players: dict[str, dict[str, Any]]
    seeds: int
    planned: int
    pilot: dict[str, float]
    core_minutes: float
    facts: dict[str, Any]
    versions: dict[str, str]
    code_version: str


@dataclass(frozen=True)
class Bench:
    """Where the runs of a case are made and kept.

    Attributes:
        case: the case.
        players: all that take part.
        source: where other processes find the case.
        store: of its records.
        runner: makes runs.
    """

    case: Case
    players: dict[str, Player]
    source: str
    store: Store
    runner: Runner

    def jobs(self, kind: str, chosen: Iterable[tuple[str, float]], seeds: int) -> list[Job]:
        """Return the runs of some players with their settings, all of a seed before the next."""
        stored = {r.key: r.status for r in self.store.records(self.case.name, kind)}
        made, first = [], runs.FIRST[kind]
        for seed in range(first, first + seeds):
            for player, value in chosen:
                setting = runs.Setting(player, value, kind == "tuning", self.case.digest)
                job = Job(self.case.name, kind, 1, runs.variant(player, value), "full",
                          config_key(setting), seed, source=self.source)  # fmt: skip
                status = stored.get(job.key, "missing")
                made.append(Job(**{**vars(job), "status": status}))
        return made

    def records(
        self, kind: str, chosen: Sequence[tuple[str, float]], seeds: int
    ) -> dict[tuple[str, float], list[Record]]:
        """Make the runs that are missing; return the records of every player, by seed.

        Raises:
            QmlbookError: if a run fails, or the runs were interrupted.
        """
        summary = make(
            self.case.name, lambda: self.jobs(kind, chosen, seeds), self.store, self.runner,
            retry_failed=True,
        )  # fmt: skip
        if summary.interrupted:
            raise KeyboardInterrupt
        if summary.errors:
            raise QmlbookError(f"{counted(len(summary.errors), 'run')} failed: {summary.errors[0]}")
        known = {record.key: record for record in self.store.records(self.case.name, kind)}
        found: dict[tuple[str, float], list[Record]] = {who: [] for who in chosen}
        jobs = self.jobs(kind, chosen, seeds)
        for job, who in zip(jobs, list(chosen) * seeds, strict=True):
            found[who].append(known[job.key])
        return found


def scores(records: Sequence[Record]) -> Floats:
    """Return the scores of records, (runs,)."""
    return np.array([record.metrics["score"] for record in records], dtype=float)


def require_seeds(seeds: int) -> None:
    """Refuse a number of seeds with which the rule does not hold, or that no machine runs.

    Raises:
        UsageError: says how many are allowed.
    """
    if not LEAST <= seeds <= MOST_SEEDS:
        raise UsageError(
            f"seeds is {seeds} and must be {LEAST} or more for the rule to hold, "
            f"{MOST_SEEDS:,} at most."
        )


def make_plan(bench: Bench, seeds: int | None = None) -> Plan:
    """Tune all with the same effort, look at the spread in a pilot, and fix the rest.

    Args:
        bench: the case, and where its runs go.
        seeds: to run instead of those that the pilot asks for.

    Raises:
        UsageError: if the budget is too small for a decision.
    """
    case = bench.case
    tuned = _tuned(bench)
    told = {
        name: {"role": who.role, "about": who.about, **tuned[who.like or name]}
        for name, who in bench.players.items()
    }
    chosen = [(name, entry["value"]) for name, entry in told.items()]
    deciding = [pair for pair in chosen if told[pair[0]]["role"] in (RIVAL, "circuit")]
    found = bench.records("pilot", deciding, PILOT)
    ours = scores(found["circuit", told["circuit"]["value"]])
    leads = {name: ours - scores(found[name, value])
             for name, value in deciding if name != "circuit"}  # fmt: skip
    planned = seeds_for(np.array(list(leads.values())), case.limit)
    minutes = {name: float(np.mean([r.seconds for r in found[name, value]])) / 60
               for name, value in deciding}  # fmt: skip
    # Ablations and sanity checks are circuits, too.
    per_seed = sum(minutes.get(name, minutes["circuit"]) for name, _ in chosen)
    spent = sum(record.seconds for record in bench.store.records(case.name)) / 60
    affordable = int((case.budget - spent) / per_seed)
    if seeds is None and affordable < LEAST:
        raise UsageError(
            f"budget is {case.budget:g} min; {LEAST} seeds, the fewest that decide, need about "
            f"{spent + LEAST * per_seed:.0f} min."
        )
    number = seeds or min(planned, affordable)
    return Plan(
        case=case.name, digest=case.digest, claim=case.claim, metric=case.metric,
        data=case.examples.about, margin=case.limit, chance=runs.chance(case), players=told,
        seeds=number, planned=planned, facts=asdict(_facts(case)),
        pilot={name: float(lead.std(ddof=1)) for name, lead in leads.items()},
        core_minutes=round(number * per_seed, 2), versions=versions(), code_version=code_version(),
    )  # fmt: skip


def _tuned(bench: Bench) -> dict[str, dict[str, Any]]:
    """Return, of every player with trials, the best value and the scores of all."""
    trials = [(name, value) for name, who in bench.players.items() for value in who.settings]
    found = bench.records("tuning", trials, TRIALS)
    made: dict[str, dict[str, Any]] = {}
    for name, who in bench.players.items():
        if who.settings:
            means = {value: float(scores(found[name, value]).mean()) for value in who.settings}
            best = max(means, key=means.__getitem__)  # of equals, the first
            made[name] = {"value": best, "trials": list(means.items())}
    return made


def _facts(case: Case) -> circuits.Facts:
    x = case.examples.pool.inputs[:64]
    if case.before:
        x = case.before().double()(x).detach()
    rng = stream(0, "referee", "facts")
    return circuits.facts(case.circuit, x, [case.starts(rng) for _ in range(STARTS)])


def seal(plan: Plan, folder: Path) -> str:
    """Write a plan with its SHA-256 beside it; return the digits."""
    content = (json.dumps(asdict(plan), indent=1, allow_nan=False) + "\n").encode()
    files.write(folder / FILE, content, checksum=True)
    return files.sha256(content)


def unsealed(folder: Path, digest: str) -> tuple[Plan, str] | None:
    """Return a plan that was sealed, and its seal; ``None`` if there is none yet.

    Args:
        folder: of the case.
        digest: of the case as it is now.

    Raises:
        QmlbookError: the plan, or the case, is no longer what was sealed.
    """
    file = folder / FILE
    if not file.exists():
        return None
    with files.reading(file):
        content = file.read_bytes()
    found = files.sha256(content)
    if files.stored_checksum(file) != found:
        raise QmlbookError(
            f"{file} was changed after it was sealed: a changed plan is a new case, in a folder of "
            "its own (--to)."
        )
    try:
        entries = json.loads(content)
        plan = Plan(**{field.name: entries[field.name] for field in fields(Plan)})
    except (ValueError, LookupError, TypeError, RecursionError):
        raise QmlbookError(
            f"{file} is no plan of this version: judge the case anew, in another folder (--to)."
        ) from None
    if plan.digest != digest:
        raise QmlbookError(
            f"the case {plan.case!r} was changed after its plan in {file} was sealed: a changed "
            "case is a new one, in a folder of its own (--to)."
        )
    return plan, found
