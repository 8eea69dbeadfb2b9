"""Choose settings: make the trials of a paper that are missing, keep the best in its room."""

import textwrap
from statistics import fmean
from typing import Any

import yaml

from .. import papers
from ..base import files
from ..base.errors import UsageError
from ..papers.shared.tuning import FILE, Tuning
from .store import Store
from .sweep import Runner, Summary, in_turn, plan, sweep

EXPERIMENT = "tuning"


def tuning_of(paper: str) -> Tuning:
    """Return what a paper tunes.

    Raises:
        UsageError: if the paper is not known, or tunes nothing.
    """
    tuning = getattr(papers.module(paper, "experiments"), "TUNING", None)
    if tuning is None:
        raise UsageError(f"paper {paper!r} tunes nothing: its experiments.py has no TUNING.")
    return tuning


def best(paper: str, store: Store | None = None) -> dict[str, dict[str, Any]]:
    """Return the best settings by name of what is tuned.

    Whatever lacks a run of one of its trials is left out.

    Args:
        paper: name of its room.
        store: where records are; the book's own when omitted.
    """
    store, tuning = store or Store(), tuning_of(paper)
    records = {record.key: record for record in store.records(paper, EXPERIMENT)}
    scores: dict[str, list[tuple[float, ...]]] = {}
    missing = set()
    for job in plan(paper, EXPERIMENT, store=store):
        if job.status == "ok":
            scores.setdefault(job.variant, []).append(tuning.score(records[job.key].metrics))
        else:
            missing.add(job.variant)
    means = {trial: tuple(map(fmean, zip(*runs, strict=True))) for trial, runs in scores.items()}
    return {
        name: dict(trials[max(trials, key=means.__getitem__)])
        for name, trials in tuning.trials.items()
        if missing.isdisjoint(trials)
    }


def tune(
    paper: str, *, dry_run: bool = False, store: Store | None = None, runner: Runner = in_turn
) -> tuple[Summary, dict[str, dict[str, Any]]]:
    """Make the trials that are missing; when all are stored, write the best to ``tuned.yml``.

    Args:
        paper: name of its room.
        dry_run: only say what would be run; nothing is written.
        store: where records are; the book's own when omitted.
        runner: as of `sweep`.

    Returns:
        What the sweep did, and the best settings of everything whose trials are complete.

    Raises:
        UsageError: if the paper is not known, or tunes nothing.
        QmlbookError: if a record or the file cannot be written.
    """
    tuning = tuning_of(paper)
    summary = sweep(paper, experiment=EXPERIMENT, store=store, dry_run=dry_run, runner=runner)
    chosen = best(paper, store)
    if not dry_run and len(chosen) == len(tuning.trials):
        about = f"{tuning.about} Written by `qmlbook tune {paper}`."
        head = textwrap.fill(about, 100, initial_indent="# ", subsequent_indent="# ")
        text = f"{head}\n{yaml.safe_dump(chosen, sort_keys=False)}"
        files.write(papers.claims_file(paper).with_name(FILE), text.encode())
    return summary, chosen
