"""Run what is missing in the store: every experiment, variant and seed of a paper."""

import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from .. import papers
from ..base.errors import UsageError, counted, require_choice
from ..papers.shared.predictions import Predictions
from .cells import Cell, Key, OfRun
from .planned import planned
from .predictions import require_parquet
from .store import Predicted, Record, Store, clean_metrics, code_version, versions

SHOWN = 5  # errors that a summary spells out
ABREAST = 16  # runs that are made at once, at most
THREADS_NAMED_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Job(OfRun):
    """One run to make: names and a seed, nothing heavy, so that it can be sent anywhere.

    Attributes:
        paper: room of the paper.
        experiment: name of the experiment.
        version: its version.
        variant: name of the variant.
        profile: ``quick`` or ``full``.
        config_key: key of the variant's configuration.
        seed: root of the run's random streams.
        device: ``cpu`` or ``cuda``.
        status: ``missing``, or the ``status`` of the stored record (``ok``, ``failed``).
        source: where the experiment is, if it is none of a paper's: ``MODULE:ARGUMENT``, whose
            ``experiments(ARGUMENT)`` has it.
    """

    paper: str
    experiment: str
    version: int
    variant: str
    profile: str
    config_key: str
    seed: int
    device: str = "cpu"
    status: str = "missing"
    source: str = ""

    @property
    def key(self) -> Key:
        """The key of the record this run gives."""
        return Key(self.experiment, self.version, self.variant, self.config_key, self.seed)


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
        seconds: wall time; with ``dry_run`` an estimate of what one core needs, ``None`` if a
            variant never ran before.
        dry_run: nothing was run.
        interrupted: stopped from the keyboard; what was done is stored.
        rejected: one sentence for every stored line that had to be set aside, and for every file
            of records that was altered.
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
        stored = f"{self.done:,} of {counted(self.total, 'run')} {_are(self.done)} stored already"
        if self.dry_run:
            known = self.seconds is not None
            cost = f"about {self.seconds:.0f} s on one core" if known else "unknown time"
            text = f"{self.paper}: {counted(self.to_run, 'run')} to make ({cost}), {stored}"
        else:
            made = f"{self.ran:,} of {counted(self.to_run, 'run')} made in {self.seconds:.0f} s"
            text = f"{self.paper}: {made}, {stored}"
        if self.failed_before:
            wait = "waits" if self.failed_before == 1 else "wait"
            text += f", {self.failed_before} failed before and {wait} for --retry-failed"
        if self.errors:
            text += f", {len(self.errors)} failed"
        if self.interrupted:
            text += "; interrupted, and the same command resumes"
        more = [f"and {len(self.errors) - SHOWN} more"] if len(self.errors) > SHOWN else []
        return "\n  ".join([f"{text}.", *self.errors[:SHOWN], *more, *self.rejected])


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def plan(
    paper: str,
    experiment: str | Sequence[str] | None = None,
    profile: str = "full",
    seeds: int | range | None = None,
    store: Store | None = None,
    device: str = "cpu",
) -> list[Job]:
    """Return every run of a paper's profile, all variants of a seed before the next seed.

    In full, a variant has the seeds that the paper's claims ask for, or as many as its experiment
    says where no claim looks at it.

    Args:
        paper: name of its room.
        experiment: only this experiment, or these.
        profile: ``quick`` or ``full``.
        seeds: this many seeds of every variant, from 0, or these, instead of its own.
        store: where records are; the book's own when omitted.
        device: ``cpu`` or ``cuda``.

    Raises:
        UsageError: a name is not known, ``seeds`` is less than 1 or no seed, or an experiment
            cannot use the device.
    """
    papers.validate([paper])
    require_choice("profile", profile, papers.PROFILES)
    chosen_seeds = range(seeds) if isinstance(seeds, int) else seeds
    if chosen_seeds is not None and not chosen_seeds:
        raise UsageError(f"seeds is {seeds} and must be 1 or more.")
    known = planned(paper)
    chosen = [experiment] if isinstance(experiment, str) else list(experiment or known)
    for name in chosen:
        require_choice("experiment", name, known, none="(this paper has none yet)")
        where = f"experiment {name} of {paper}: device"
        require_choice(where, device, known[name].devices)
    stored = {record.key: record.status for record in (store or Store()).records(paper)}
    jobs = []
    for name in chosen:
        for variant, key in known[name].variants.get(profile, {}).items():
            for seed in chosen_seeds or known[name].seeds[profile][variant]:
                job = Job(paper, name, known[name].version, variant, profile, key, seed, device)
                jobs.append(replace(job, status=stored.get(job.key, "missing")))
    return sorted(jobs, key=lambda job: job.seed)  # stable: experiments and variants keep order


def execute(job: Job) -> Record:
    """Make one run; a run that raises becomes a ``failed`` record."""
    with _one_thread() as threads:
        started, clock = datetime.now(UTC), time.perf_counter()
        predictions, error = None, None
        try:
            metrics, predictions = _run(job)
        except Exception as problem:
            metrics, error = {}, " ".join(f"{type(problem).__name__}: {problem}".split())[:500]
        seconds = round(time.perf_counter() - clock, 4)
    record = _record(job, started, error, metrics=metrics, seconds=seconds, threads=threads)
    return record if predictions is None else Predicted.of(record, predictions)


def _run(job: Job) -> tuple[dict[str, float | list[float]], Predictions | None]:
    """Return the metrics of a run, and its predictions where they are kept."""
    experiment = _experiments(job)[job.experiment]
    config = experiment.variants[job.profile][job.variant]
    if experiment.predict and keeps_predictions(experiment, job):
        metrics, predictions = experiment.predict(config, job.seed)
        return clean_metrics(metrics), predictions
    elsewhere = {} if job.device == "cpu" else {"device": job.device}
    return clean_metrics(experiment.run(config, job.seed, **elsewhere)), None


def _experiments(job: Job) -> dict[str, papers.Experiment]:
    """Return the experiments of a job's paper, or of what stands in for one."""
    if not job.source:
        return papers.experiments(job.paper)
    module, _, argument = job.source.partition(":")
    return importlib.import_module(module).experiments(argument)


def keeps_predictions(experiment: papers.Experiment, job: Job) -> bool:
    """Return whether a run is one of those that keep their predictions: headlines, fresh seeds."""
    fresh = job.profile == "full" and job.seed >= experiment.seeds["full"]
    return fresh and job.variant in experiment.predicted


def failed_record(job: Job, error: str) -> Record:
    """Return the record of a run that could not even raise, because its process was killed."""
    return _record(job, datetime.now(UTC), error, metrics={}, seconds=0.0, threads=1)


def _record(job: Job, started: datetime, error: str | None, **measured: Any) -> Record:
    experiment = _experiments(job)[job.experiment]
    planned = ("paper", "experiment", "variant", "profile", "config_key", "seed", "device")
    return Record(
        **{name: getattr(job, name) for name in planned},
        **measured,
        experiment_version=job.version,
        config=asdict(experiment.variants[job.profile][job.variant]),
        dtype=experiment.dtype,
        versions=versions(),
        code_version=code_version(),
        started_at=started.isoformat(timespec="seconds"),
        status="failed" if error else "ok",
        error=error,
    )


def in_turn(jobs: Iterable[Job]) -> Generator[Record]:
    """Make the runs in this process: the default ``runner`` of `sweep`.

    One after the other; runs that differ by their seed alone at once, where their experiment can.
    """
    for group in _groups(jobs):
        yield from map(execute, group) if len(group) == 1 else _abreast(group)


def _groups(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    known: dict[tuple[str, str], Mapping[str, papers.Experiment]] = {}
    groups: dict[Job, list[Job]] = {}
    for job in jobs:
        if (where := (job.paper, job.source)) not in known:
            known[where] = _experiments(job)
        at_once = known[where][job.experiment].run_all is not None
        groups.setdefault(replace(job, seed=0) if at_once else job, []).append(job)
    for group in groups.values():
        for first in range(0, len(group), ABREAST):
            yield group[first : first + ABREAST]


def _abreast(jobs: Sequence[Job]) -> Iterator[Record]:
    """Make runs at once; if one of them raises, each by itself."""
    experiment = _experiments(jobs[0])[jobs[0].experiment]
    config = experiment.variants[jobs[0].profile][jobs[0].variant]
    with _one_thread() as threads:
        started, clock = datetime.now(UTC), time.perf_counter()
        try:
            made = experiment.run_all(config, [job.seed for job in jobs])  # type: ignore[misc]  # known to `_groups`
            found = [clean_metrics(metrics) for metrics in made]
        except Exception:
            found = []
        seconds = round((time.perf_counter() - clock) / len(jobs), 4)
    if not found:
        yield from map(execute, jobs)
        return
    for job, metrics in zip(jobs, found, strict=True):
        yield _record(job, started, None, metrics=metrics, seconds=seconds, threads=threads)


# Yields the record of every job, in any order; `qmlbook.evidence.cluster.Cluster` is another one.
Runner = Callable[[list[Job]], Generator[Record]]


def sweep(
    paper: str,
    *,
    experiment: str | Sequence[str] | None = None,
    profile: str = "full",
    seeds: int | range | None = None,
    device: str = "cpu",
    dry_run: bool = False,
    retry_failed: bool = False,
    store: Store | None = None,
    progress: bool = True,
    runner: Runner = in_turn,
) -> Summary:
    """Make the runs of `plan` that are not stored, and store each as soon as it is done.

    Args:
        paper: name of its room.
        experiment: only this experiment, or these.
        profile: ``quick`` or ``full``.
        seeds: this many seeds of every variant, from 0, or these, instead of its own.
        device: ``cpu`` or ``cuda``.
        dry_run: only count, and estimate the time from earlier runs of the same variants.
        retry_failed: try runs again that are stored as failed.
        store: where records are; the book's own when omitted.
        progress: show a bar when standard error is a terminal.
        runner: yields the record of every job, in any order (other processes, a cluster).

    Returns:
        What was done; Ctrl-C ends the sweep early and is told there, not raised.

    Raises:
        UsageError: a name is not known, ``seeds`` is less than 1, or the device does not fit.
        QmlbookError: the store cannot be written, or the cluster cannot be used any more; what
            was done until then is stored.
    """
    store = store or Store()
    asked = partial(plan, paper, experiment, profile, seeds, store, device)
    return make(paper, asked, store, runner, dry_run, retry_failed, progress)


def make(
    paper: str,
    asked: Callable[[], list[Job]],
    store: Store,
    runner: Runner = in_turn,
    dry_run: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
) -> Summary:
    """Make the missing ones of some runs; all else as `sweep`.

    Args:
        paper: folder of the store.
        asked: lists the runs, each with the status of its record.
        store, runner, dry_run, retry_failed, progress: as of `sweep`.

    Raises:
        QmlbookError: as `sweep`.
    """
    todo, summary = _to_do(paper, asked(), retry_failed)  # refuses what cannot be asked for
    if dry_run:
        return replace(summary, dry_run=True, seconds=_estimate(todo, store.records(paper)))
    with store.only_sweep(paper, lambda: _say(f"{paper}: waiting for another sweep of it to end.")):
        rejected = store.fold(paper)  # what an earlier sweep could not fold
        todo, summary = _to_do(paper, asked(), retry_failed)
        summary.rejected += rejected
        if todo:
            store.require_writable(paper)
            known = _experiments(todo[0])
            if any(keeps_predictions(known[job.experiment], job) for job in todo):
                require_parquet()
            _make(todo, summary, store, runner, progress)
    return summary


def _to_do(paper: str, jobs: list[Job], retry_failed: bool) -> tuple[list[Job], Summary]:
    """Return the runs of a plan that are to be made, and the summary before they are."""
    wanted = ("missing", "failed") if retry_failed else ("missing",)
    todo = [job for job in jobs if job.status in wanted]
    done = sum(job.status == "ok" for job in jobs)
    return todo, Summary(paper, len(jobs), done, len(jobs) - len(todo) - done, len(todo))


def _make(todo: list[Job], summary: Summary, store: Store, runner: Runner, progress: bool) -> None:
    """Make runs and store each as soon as it is done; ``summary`` counts them."""
    clock = time.perf_counter()
    try:
        with closing(runner(todo)) as made, _bar(len(todo), runner, progress) as advance:
            for record in made:
                store.add(record)
                if record.error:
                    summary.errors.append(f"{record.paper}/{record.run}: {record.error}")
                else:
                    summary.ran += 1
                advance(str(record.cell), len(summary.errors))
    except KeyboardInterrupt:
        summary.interrupted = True
    finally:
        told = store.fold(summary.paper)
        summary.rejected += [sentence for sentence in told if sentence not in summary.rejected]
        summary.seconds = time.perf_counter() - clock


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _estimate(jobs: list[Job], records: list[Record]) -> float | None:
    """Return the seconds of these runs, from the median run of the same variant and settings."""
    past: dict[tuple[Cell, str], list[float]] = {}
    for record in records:
        if record.status == "ok":
            past.setdefault((record.cell, record.config_key), []).append(record.seconds)
    typical = {settings: statistics.median(seconds) for settings, seconds in past.items()}
    if any((job.cell, job.config_key) not in typical for job in jobs):
        return None
    return sum(typical[job.cell, job.config_key] for job in jobs)


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
def _bar(total: int, runner: Runner, wanted: bool) -> Iterator[Callable[[str, int], None]]:
    """Show a progress bar when a terminal watches; yield the function that advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    counts = TextColumn("{task.completed} done, {task.fields[running]} running, "
                        "{task.fields[failed]} failed of {task.total}")  # fmt: skip
    columns = ("{task.description}", BarColumn(), counts, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (wanted and console.is_terminal)) as bar:
        task = bar.add_task("", total=total, running=0, failed=0)

        def advance(text: str, failed: int) -> None:
            left = total - int(bar.tasks[task].completed) - 1
            running = min(left, getattr(runner, "workers", 1))
            bar.update(task, advance=1, description=text, running=running, failed=failed)

        yield advance
