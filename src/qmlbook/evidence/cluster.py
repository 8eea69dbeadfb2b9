"""Make the runs of a sweep on Dask: local worker processes, or any cluster with a scheduler.

Dask's own wire moves pickled functions between client, scheduler and workers. Use it on networks
you trust, or with TLS, which Dask's own configuration switches on; nothing that is *stored* is ever
a pickle.
"""

from __future__ import annotations

import re
import sys
from asyncio import CancelledError
from collections.abc import Generator, Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..base.errors import QmlbookError, UsageError, shown
from ..papers.shared.predictions import Predictions
from .store import Predicted, Record, code_version
from .sweep import Job, execute, failed_record, in_turn

if TYPE_CHECKING:
    from distributed import Client, Future

AHEAD = 3  # jobs on their way to a worker for each one it makes
# Dask has its processes give freed memory back at once (above 64 KiB); training asks for as much
# again in the next step, and spends 40 % of its time waiting for it.
SPAWN = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**32}
NO_PAGES: dict[str, list[str]] = {"distributed.scheduler.http.routes": []}
SIZE = r"\d+(\.\d+)? ?([kMGT]i?B|B)?"
LEAST = 2**28  # bytes; a worker that has imported what it computes with takes nearly as many
ADDRESS = r"((tcp|tls|wss?|ucx)://)?[^\s/]+:\d+/?"
PATIENCE = 10  # seconds to wait for a scheduler


class WorkerRefused(RuntimeError):
    """A worker cannot make runs for this sweep; the sentence says why."""


@dataclass
class Cluster:
    """Where runs are made; calling it with jobs yields their records in the order they end.

    Attributes:
        scheduler: address of a running scheduler (``tcp://host:port``, ``tls://host:port``);
            ``None`` starts a cluster of processes on this machine, reachable from it alone. The
            files of an encrypted connection are named in Dask's configuration.
        workers: processes of the local cluster, one thread each.
        memory: limit of each local worker; one that exceeds it is restarted.
        dashboard: serve Dask's dashboard on a free local port, and say where.

    Raises:
        UsageError: one of them is out of range, or no size or address.
    """

    scheduler: str | None = None
    workers: int = 2
    memory: str = "4 GiB"
    dashboard: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"workers is {self.workers} and must be 1 or more.")
        from dask.utils import parse_bytes

        if not re.fullmatch(SIZE, self.memory) or parse_bytes(self.memory) < LEAST:
            raise UsageError(
                f"memory is {shown(self.memory)} and must be a size like 4 GiB, 256 MiB or more."
            )
        if self.scheduler is not None and not re.fullmatch(ADDRESS, self.scheduler):
            raise UsageError(
                f"scheduler is {shown(self.scheduler)} and must be an address like "
                "tcp://HOST:PORT or tls://HOST:PORT."
            )

    def __call__(self, jobs: list[Job]) -> Generator[Record]:
        """Yield the record of every job.

        Where this machine lets no worker process start, the runs are made one after the other.

        Raises:
            QmlbookError: no scheduler answers, it goes away, or a worker refuses the jobs.
        """
        if not jobs:
            return
        with ExitStack() as stack:
            try:
                where = self._local(len(jobs)) if self.scheduler is None else self._remote()
                client = stack.enter_context(where)
            except (OSError, RuntimeError, MemoryError, ImportError) as error:
                reason = " ".join(str(error).split())[:100] or type(error).__name__
                print(
                    f"No worker process can be started here ({reason}): the runs are made one "
                    "after the other.",
                    file=sys.stderr,
                )
                yield from in_turn(jobs)
            else:
                yield from _collect(client, jobs)

    @contextmanager
    def _local(self, jobs: int) -> Iterator[Client]:
        import dask
        import distributed

        settings = {
            "n_workers": min(self.workers, jobs),
            "threads_per_worker": 1,
            "memory_limit": self.memory,
            "host": "127.0.0.1",
            "dashboard_address": "127.0.0.1:0",  # left out, it would be Dask's usual port
            "scheduler_kwargs": {"dashboard": self.dashboard},
            "silence_logs": 50,  # critical only: a worker's end is told in our own words
        }
        with (
            dask.config.set(SPAWN if self.dashboard else SPAWN | NO_PAGES),
            distributed.LocalCluster(**settings) as local,
            distributed.Client(local) as client,
        ):
            if self.dashboard:
                print(f"Dask's dashboard is at {client.dashboard_link}", flush=True)
            yield client

    @contextmanager
    def _remote(self) -> Iterator[Client]:
        import distributed

        try:
            client = distributed.Client(self.scheduler, timeout=PATIENCE, set_as_default=False)
        except (OSError, TypeError, ValueError) as error:  # TypeError: tls without files
            reason = " ".join(str(error).split())[:200]
            raise QmlbookError(f"No Dask scheduler answers at {self.scheduler}: {reason}") from None
        with client:
            self.workers = max(1, sum(client.ncores().values()))
            yield client


def remote(job: dict[str, Any], expected: str) -> tuple[str, Predictions | None]:
    """Make one run on a worker and return its record as a line, and its predictions if kept.

    Raises:
        WorkerRefused: the worker has another version of the library, or lacks the device.
    """
    if (here := code_version()) != expected:
        raise WorkerRefused(
            f"a worker runs version {here} of the library and this sweep {expected}; "
            "install the same version there"
        )
    record = execute(Job(**job))
    return record.line(), record.predictions if isinstance(record, Predicted) else None


def _collect(client: Client, jobs: list[Job]) -> Iterator[Record]:
    """Keep a few jobs on their way to every worker; yield records as they come."""
    from distributed import as_completed
    from distributed.client import ClosedClientError

    version, waiting = code_version(), iter(jobs)
    sent: dict[Future, Job] = {}

    def send() -> Iterator[Future]:
        for job in waiting:
            future = client.submit(remote, asdict(job), version, pure=False)
            sent[future] = job
            yield future
            return

    ahead = (1 + AHEAD) * max(1, sum(client.ncores().values()))
    try:
        first = [future for _ in range(ahead) for future in send()]
        queue = as_completed(first, loop=client.loop)
        for future in queue:
            yield _record(future, sent.pop(future))
            queue.update(send())
    except (OSError, CancelledError, futures.CancelledError, ClosedClientError):
        raise QmlbookError(
            "The Dask scheduler went away; what was done is stored, and the same command resumes."
        ) from None


def _record(future: Future, job: Job) -> Record:
    from distributed import KilledWorker

    if future.status == "finished":
        line, predictions = future.result()
        record = Record.parse(line)
        return record if predictions is None else Predicted.of(record, predictions)
    if future.status != "error":  # cancelled or lost
        raise CancelledError
    error = future.exception()
    if isinstance(error, KilledWorker):
        return failed_record(job, "KilledWorker: every worker that tried this run died of it")
    raise QmlbookError(f"The Dask cluster cannot be used: {error}.")
