"""Run a random sample of stored runs again and compare: can the records be trusted here?"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from types import MappingProxyType

from .. import papers
from ..base.errors import UsageError, counted
from ..base.rng import stream
from .cells import Cell
from .store import Record, Store, config_key
from .sweep import Job, Runner, in_turn


@dataclass
class Verification:
    """What came of running stored runs again.

    Attributes:
        paper: room of the paper.
        agree: runs that gave the stored metrics within their experiment's tolerance.
        differ: one sentence for every run that did not.
        unavailable: one sentence for every kind of run that cannot be made here, mostly because
            its images are not here.
    """

    paper: str
    agree: list[str] = field(default_factory=list)
    differ: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether something was compared and everything compared agrees."""
        return bool(self.agree) and not self.differ

    def __str__(self) -> str:
        tried = len(self.agree) + len(self.differ)
        agree = "agrees" if tried == 1 else "agree"
        head = (
            f"{self.paper}: {len(self.agree)} of {counted(tried, 'run')} made again {agree} with "
            "the record"
        )
        if self.unavailable:
            kinds = f"{counted(len(self.unavailable), 'kind')} of run"
            head += f"; {kinds} could not be made here, the first: {self.unavailable[0]}"
        return "\n  ".join([head, *self.differ])


def verify(
    paper: str,
    *,
    sample: int = 5,
    profile: str | None = None,
    seed: int = 0,
    cheapest: bool = False,
    store: Store | None = None,
    runner: Runner = in_turn,
) -> Verification:
    """Make ``sample`` stored runs again, drawn at random, and compare every metric.

    Args:
        paper: name of its room.
        sample: number of runs to compare; fewer are compared only if no more can be made here.
        profile: only runs of this profile; both when omitted.
        seed: of the draw.
        cheapest: the quickest runs of as many kinds as possible instead of a random draw.
        store: where records are; the book's own when omitted.
        runner: makes the runs.

    Raises:
        UsageError: the paper is not known, ``sample`` is less than 1, or nothing is stored.
    """
    if sample < 1:
        raise UsageError(f"sample is {sample} and must be 1 or more.")
    again = dict(candidates(paper, store or Store()))
    stored = {job: record for job, record in again.items() if profile in (None, job.profile)}
    if not stored:
        raise UsageError(f"paper {paper} has no stored runs of today's versions to verify.")
    if cheapest:
        order = _one_of_each(sorted(stored, key=lambda job: stored[job].seconds))
    else:
        jobs = list(stored)
        order = (jobs[i] for i in stream(seed, "verify").permutation(len(jobs)))
    result, missing = Verification(paper), set()
    # Not everything stored can be made here: go on until enough could be.
    usable = (job for job in order if (job.cell, job.profile) not in missing)
    while chunk := list(islice(usable, sample - len(result.agree) - len(result.differ))):
        by_key = {job.key: job for job in chunk}
        for record in runner(chunk):
            job = by_key[record.key]
            what = f"{job.cell} ({job.profile}), seed {job.seed}"
            if record.status == "failed":
                missing.add((job.cell, job.profile))
                result.unavailable.append(f"{what}: {record.error}")
            elif problem := difference(stored[job], record):
                result.differ.append(f"{what}: {problem}")
            else:
                result.agree.append(what)
    return result


def candidates(paper: str, store: Store) -> Iterator[tuple[Job, Record]]:
    """Yield a job for every stored run that today's experiments could make again.

    Raises:
        UsageError: the paper is not known.
    """
    papers.validate([paper])
    experiments = papers.experiments(paper)
    profiles = {
        (Cell(name, variant), config_key(config)): profile
        for name, experiment in experiments.items()
        for profile in reversed(papers.PROFILES)
        for variant, config in experiment.variants.get(profile, {}).items()
    }
    for record in store.records(paper):
        profile = profiles.get((record.cell, record.config_key))
        if profile is None or record.status != "ok" or record.device != "cpu":
            continue
        if record.experiment_version == experiments[record.experiment].version:
            names = (record.experiment, record.experiment_version, record.variant)
            yield Job(paper, *names, profile, record.config_key, record.seed), record


def _one_of_each(jobs: Iterable[Job]) -> Iterator[Job]:
    """Yield the first job of every variant, then the second ones, and so on."""
    turns: defaultdict[Cell, Iterator[int]] = defaultdict(count)
    return iter(sorted(jobs, key=lambda job: next(turns[job.cell])))


def difference(
    stored: Record, again: Record, within: Mapping[str, float] = MappingProxyType({})
) -> str | None:
    """Return a sentence about the metric that differs most, or nothing.

    Args:
        stored: the record.
        again: what came of making its run again.
        within: by metric, the largest difference relative to the larger of 1 and its size; for
            metrics without one it is the tolerance of their experiment.
    """
    tolerance = papers.experiments(stored.paper)[stored.experiment].tolerance
    if stored.metrics.keys() != again.metrics.keys():
        return f"has the metrics {sorted(again.metrics)}, stored are {sorted(stored.metrics)}"
    limits = {name: within.get(name, tolerance) for name in again.metrics}
    gaps = {name: _gap(stored.metrics[name], again.metrics[name]) for name in again.metrics}
    worst = max(((gap, name) for name, gap in gaps.items() if gap > limits[name]), default=None)
    if worst is None:
        return None
    name = worst[1]
    now, then = again.metrics[name], stored.metrics[name]
    allowed = f"allowed is a relative difference of {limits[name]:.3g}"
    return f"{name} is {now}, stored is {then}, {allowed}"


def _gap(a: float | list[float], b: float | list[float]) -> float:
    """Return the largest difference, relative to the larger of 1 and the size of ``a``."""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return max((_gap(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    if isinstance(a, list) or isinstance(b, list):
        return float("inf")
    return abs(a - b) / max(1.0, abs(a))
