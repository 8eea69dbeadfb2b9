"""Run what is missing in the store: every experiment, variant and seed of a paper."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from .. import papers
from ..errors import UsageError, choose
from .store import Record, Store, clean_metrics, code_version, config_key, versions

SHOWN = 5  # errors that a summary spells out
THREADS_NAMED_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """One run to make: names and a seed, nothing heavy, so that it can be sent anywhere.

    Attributes:
        paper: room of the paper.
        experiment: name of the experiment.
        version: its version.
        variant: name of the variant.
        profile: ``quick`` or ``full``.
        config_key: key of the variant's configuration.
        seed: root of the run's random streams.
        status: ``missing``, or the ``status`` of the stored record (``ok``, ``failed``).
    """

    paper: str
    experiment: str
    version: int
    variant: str
    profile: str
    config_key: str
    seed: int
    status: str = "missing"


@dataclass
class Summary:
    """What a sweep did, or would do.

    Attributes:
        paper: room of the paper.
        total: runs of the plan.
        done: of these, stored and ``ok`` before the sweep.
        failed_before: stored as failed and not tried again.
        to_run: runs this sweep had to make.
        ran: runs it made that are ``ok``.
        errors: one sentence for every run that failed.
        seconds: wall time; with ``dry_run`` the estimate, ``None`` if a variant never ran before.
        dry_run: nothing was run.
        interrupted: stopped from the keyboard; what was done is stored.
        rejected: one sentence for every stored line that had to be set aside.
    """

    paper: str
    total: int
    done: int
    failed_before: int
    to_run: int
    ran: int = 0
    errors: list[str] = field(default_factory=list)
    seconds: float | None = 0.0
    dry_run: bool = False
    interrupted: bool = False
    rejected: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether something that was to run is not stored and ``ok`` now."""
        return self.interrupted or bool(self.errors)

    def __str__(self) -> str:
        stored = f"{self.done} of {self.total} runs are stored already"
        if self.dry_run:
            cost = "unknown time" if self.seconds is None else f"about {self.seconds:.0f} s"
            text = f"{self.paper}: {self.to_run} runs to make ({cost}), {stored}"
        else:
            made = f"{self.ran} of {self.to_run} runs made in {self.seconds:.0f} s"
            text = f"{self.paper}: {made}, {stored}"
        if self.failed_before:
            text += f", {self.failed_before} failed before and wait for --retry-failed"
        if self.errors:
            text += f", {len(self.errors)} failed"
        if self.interrupted:
            text += "; interrupted, and the same command resumes"
        more = [f"and {len(self.errors) - SHOWN} more"] if len(self.errors) > SHOWN else []
        return "\n  ".join([f"{text}.", *self.errors[:SHOWN], *more, *self.rejected])


def plan(
    paper: str,
    experiment: str | None = None,
    profile: str = "full",
    seeds: int | None = None,
    store: Store | None = None,
) -> list[Job]:
    """Return every run of a paper's profile, all variants of a seed before the next seed.

    Args:
        paper: name of its room.
        experiment: only this experiment.
        profile: ``quick`` or ``full``.
        seeds: this many seeds of every variant instead of the experiment's own number.
        store: where records are; the book's own when omitted.

    Raises:
        UsageError: a name is not known, or ``seeds`` is less than 1.
    """
    papers.validate([paper])
    if profile not in papers.PROFILES:
        raise choose("profile", profile, papers.PROFILES)
    if seeds is not None and seeds < 1:
        raise UsageError(f"seeds is {seeds} and must be 1 or more.")
    known = papers.experiments(paper)
    if experiment is not None and experiment not in known:
        raise choose("experiment", experiment, known or ["(this paper has none yet)"])
    stored = {record.key: record.status for record in (store or Store()).records(paper, experiment)}
    jobs = []
    for item in [known[experiment]] if experiment else known.values():
        keys = {name: config_key(config) for name, config in item.variants.get(profile, {}).items()}
        for seed in range(seeds or item.seeds.get(profile, 0)):
            for variant, key in keys.items():
                status = stored.get((item.name, item.version, variant, key, seed), "missing")
                jobs.append(
                    Job(paper, item.name, item.version, variant, profile, key, seed, status)
                )
    return sorted(jobs, key=lambda job: job.seed)  # stable: experiments and variants keep order


def execute(job: Job) -> Record:
    """Make one run; a run that raises becomes a ``failed`` record."""
    experiment = papers.experiments(job.paper)[job.experiment]
    config = experiment.variants[job.profile][job.variant]
    with _one_thread() as threads:
        started, clock = datetime.now(UTC), time.perf_counter()
        try:
            metrics, error = clean_metrics(experiment.run(config, job.seed)), None
        except Exception as problem:
            metrics, error = {}, " ".join(f"{type(problem).__name__}: {problem}".split())[:500]
        seconds = round(time.perf_counter() - clock, 4)
    return Record(
        paper=job.paper,
        experiment=job.experiment,
        experiment_version=job.version,
        variant=job.variant,
        profile=job.profile,
        config=asdict(config),
        config_key=job.config_key,
        seed=job.seed,
        metrics=metrics,
        seconds=seconds,
        device=str(getattr(config, "device", "cpu")),
        dtype=experiment.dtype,
        threads=threads,
        versions=versions(),
        code_version=code_version(),
        started_at=started.isoformat(timespec="seconds"),
        status="failed" if error else "ok",
        error=error,
    )


def in_turn(jobs: Iterable[Job]) -> Iterator[Record]:
    """Make the runs one after the other, in this process: the default ``runner`` of `sweep`."""
    return map(execute, jobs)


def sweep(
    paper: str,
    *,
    experiment: str | None = None,
    profile: str = "full",
    seeds: int | None = None,
    dry_run: bool = False,
    retry_failed: bool = False,
    store: Store | None = None,
    progress: bool = True,
    runner: Callable[[list[Job]], Iterator[Record]] = in_turn,
) -> Summary:
    """Make the runs of `plan` that are not stored, and store each as soon as it is done.

    Args:
        paper: name of its room.
        experiment: only this experiment.
        profile: ``quick`` or ``full``.
        seeds: this many seeds of every variant instead of the experiment's own number.
        dry_run: only count, and estimate the time from earlier runs of the same variants.
        retry_failed: try runs again that are stored as failed.
        store: where records are; the book's own when omitted.
        progress: show a bar when standard error is a terminal.
        runner: yields the record of every job, in any order (other processes, a cluster).

    Returns:
        What was done; Ctrl-C ends the sweep early and is told there, not raised.

    Raises:
        UsageError: a name is not known, or ``seeds`` is less than 1.
        QmlbookError: the store cannot be written.
    """
    store = store or Store()
    jobs = plan(paper, experiment, profile, seeds, store)
    todo = [job for job in jobs if job.status in ("missing", "failed" if retry_failed else "")]
    done = sum(job.status == "ok" for job in jobs)
    failed_before = len(jobs) - len(todo) - done
    summary = Summary(paper, len(jobs), done, failed_before, len(todo), dry_run=dry_run)
    if dry_run:
        return replace(summary, seconds=_estimate(todo, store.records(paper, experiment)))
    clock = time.perf_counter()
    summary.rejected += store.fold(paper)  # what an earlier sweep could not fold
    try:
        with _bar(len(todo), progress) as advance:
            for record in runner(todo):
                store.add(record)
                if record.error:
                    place = f"{record.experiment}/{record.variant}, seed {record.seed}"
                    summary.errors.append(f"{paper}/{place}: {record.error}")
                summary.ran += record.status == "ok"
                advance(f"{record.experiment}/{record.variant}")
    except KeyboardInterrupt:
        summary.interrupted = True
    finally:
        summary.rejected += store.fold(paper)
    summary.seconds = time.perf_counter() - clock
    return summary


def _estimate(jobs: list[Job], records: list[Record]) -> float | None:
    """Return the seconds of these runs, from the median run of the same variant and settings."""
    past: dict[tuple[str, str, str], list[float]] = {}
    for record in records:
        if record.status == "ok":
            place = (record.experiment, record.variant, record.config_key)
            past.setdefault(place, []).append(record.seconds)
    known = {place: statistics.median(seconds) for place, seconds in past.items()}
    costs = [known.get((job.experiment, job.variant, job.config_key)) for job in jobs]
    return None if None in costs else float(sum(costs))


@contextmanager
def _one_thread() -> Iterator[int]:
    """Give torch one thread unless the environment names a number; yield the number it has.

    Small circuits gain nothing from more, and several jobs side by side would lose.
    """
    import torch

    before = torch.get_num_threads()
    if not any(os.environ.get(name) for name in THREADS_NAMED_BY):
        torch.set_num_threads(1)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


@contextmanager
def _bar(total: int, wanted: bool) -> Iterator[Callable[[str], None]]:
    """Show a progress bar when a terminal watches; yield the function that advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (wanted and console.is_terminal)) as bar:
        task = bar.add_task("", total=total)
        yield lambda text: bar.update(task, advance=1, description=text)
