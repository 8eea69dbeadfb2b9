"""From a case to a report: plan, seal, runs, rule."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..base.errors import UsageError, counted
from ..evidence import stats
from ..evidence.store import Record, Store
from ..evidence.sweep import Runner, in_turn
from ..evidence.verdicts import CANNOT
from . import runs
from .case import Case, load_case, require_fit
from .decide import Decision, above_chance, decide, interval
from .plan import Bench, Plan, make_plan, require_seeds, scores, seal, unsealed
from .players import RIVAL, SANITY, SUBJECT, players
from .report import Report, Row, write

EXAMPLE = Path(__file__).with_name("example.py")


def referee(
    given: Case | Path,
    folder: Path,
    *,
    seeds: int | None = None,
    budget: float | None = None,
    runner: Runner = in_turn,
    echo: Callable[[str], object] = lambda _: None,
) -> Report:
    """Judge a case; what is stored in the folder is not run again.

    Args:
        given: the case, or the Python file that names it ``case``.
        folder: where its plan, its runs and its report go.
        seeds: to run instead of those that the pilot asks for.
        budget: minutes of one core, instead of the case's own.
        runner: makes the runs; other processes need the case in a file that they see, too.
        echo: told what is done.

    Raises:
        UsageError: the case cannot be judged as it is; one sentence says why.
        QmlbookError: it was changed after its plan was sealed, or a run failed.
    """
    if seeds is not None:
        require_seeds(seeds)
    file = given if isinstance(given, Path) else None
    case = load_case(file) if file else given
    assert isinstance(case, Case)
    if budget is not None:
        case = replace(case, budget=budget)
    require_fit(case)
    source = runs.source(case, file)
    bench = Bench(case, players(case), source, Store(folder / "runs"), runner)
    if (sealed := unsealed(folder, case.digest)) is None:
        echo(f"{case.name}: {case.examples.about}. Tuning and pilot ...")
        plan = make_plan(bench, seeds)
        digits = seal(plan, folder)
        many = f"{counted(plan.seeds, 'seed')} of {counted(len(plan.players), 'player')}"
        echo(f"Sealed {digits[:12]}: {many}, about {plan.core_minutes:.1f} core-minutes.")
    else:
        plan, digits = sealed
        if seeds not in (None, plan.seeds):
            raise UsageError(
                f"seeds is {seeds}, and the plan in {folder} was sealed with {plan.seeds}: leave "
                "it out, or judge the case in another folder (--to)."
            )
        echo(f"The plan was sealed before, {digits[:12]}; what is missing is run.")
    chosen = [(name, entry["value"]) for name, entry in plan.players.items()]
    found = bench.records("runs", chosen, plan.seeds)
    unsealed(folder, case.digest)  # nobody touched it meanwhile
    spent = sum(record.seconds for record in bench.store.records(case.name)) / 60
    at = shlex.quote(str(file)) if file and file != EXAMPLE else "--example" if file else ""
    command = f"qmlbook referee {at} --to {shlex.quote(str(folder))}" if at else ""
    report = judged(plan, digits, {who[0]: made for who, made in found.items()}, spent, command)
    write(report, folder)
    return report


def judged(
    plan: Plan, seal: str, records: dict[str, Sequence[Record]], spent: float, command: str
) -> Report:
    """Return the report of a plan and its runs.

    Args:
        plan: what was fixed.
        seal: its digest.
        records: player -> runs, by seed.
        spent: core-minutes of all runs.
        command: that repeats it.
    """
    values = {name: scores(made) for name, made in records.items()}
    ours = values["circuit"]
    role = {name: entry["role"] for name, entry in plan.players.items()}
    leads = {name: ours - each for name, each in values.items() if role[name] == RIVAL}
    decision = decide(leads, plan.margin)
    checks = {name: each for name, each in values.items() if role[name] == SANITY}
    learned = [n for n, each in checks.items() if above_chance(each, plan.chance, plan.margin)]
    word = CANNOT if learned else decision.word
    rows = []
    for name, each in values.items():
        lead = interval(ours - each)
        if role[name] == SUBJECT:
            said = ""
        elif role[name] == RIVAL:
            said = _said(name, decision, plan.margin)
        elif role[name] == SANITY:
            said = "above chance" if name in learned else "not above chance"
        else:
            said = "describes"
        rows.append(Row(name, role[name], plan.players[name]["about"], plan.players[name]["value"],
                        float(each.mean()), lead.mean, lead.low, lead.high, said))  # fmt: skip
    curves = {
        name: np.mean([record.metrics["curve"] for record in made], 0).round(4).tolist()
        for name, made in records.items() if "curve" in made[0].metrics
    }  # fmt: skip
    shots = int(np.median([record.metrics["shots"] for record in records["circuit"]]))
    return Report(plan, seal, word, rows, curves, shots, round(spent, 2), command)


def _said(name: str, decision: Decision, margin: float) -> str:
    if decision.intervals[name].low > margin:
        return stats.SURVIVES
    named = decision.word.removeprefix(f"{stats.EXPLAINED_BY} ").split(", ")
    return stats.EXPLAINED_BY if name in named else stats.UNDECIDED
