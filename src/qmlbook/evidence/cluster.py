"""Make the runs of a sweep on Dask: local worker processes, or any cluster with a scheduler.

Dask's own wire moves pickled functions between client, scheduler and workers. Use it on networks
you trust, or with TLS; nothing that is *stored* is ever a pickle.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..base.errors import QmlbookError, UsageError
from .store import Record, code_version
from .sweep import Job, execute, failed_record

if TYPE_CHECKING:
    from distributed import Client, Future, Security

AHEAD = 3  # jobs on their way to a worker for each one it makes
# Dask has its processes give freed memory back at once (above 64 KiB); training asks for as much
# again in the next step, and spends 40 % of its time waiting for it.
SPAWN = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**32}
PATIENCE = 10  # seconds to wait for a scheduler


class WorkerRefused(RuntimeError):
    """A worker cannot make runs for this sweep; the sentence says why."""


@dataclass
class Cluster:
    """Where runs are made; calling it with jobs yields their records in the order they end.

    Attributes:
        scheduler: address of a running scheduler (``tcp://host:port``, ``tls://host:port``);
            ``None`` starts a cluster of processes on this machine, reachable from it alone.
        workers: processes of the local cluster, one thread each.
        memory: limit of each local worker; one that exceeds it is restarted.
        dashboard: serve Dask's dashboard on a free local port, and say where.
        tls_ca, tls_cert, tls_key: files for an encrypted connection; all or none.
    """

    scheduler: str | None = None
    workers: int = 2
    memory: str = "4 GiB"
    dashboard: bool = False
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"workers is {self.workers} and must be 1 or more.")
        given = [bool(file) for file in (self.tls_ca, self.tls_cert, self.tls_key)]
        if any(given) and not all(given):
            raise UsageError("--tls-ca, --tls-cert and --tls-key belong together: give all three.")
        if all(given) and self.scheduler is None:
            raise UsageError("--tls-ca, --tls-cert and --tls-key need --scheduler ADDRESS.")

    def __call__(self, jobs: list[Job]) -> Iterator[Record]:
        """Yield the record of every job.

        Raises:
            QmlbookError: no scheduler answers, it goes away, or a worker refuses the jobs.
        """
        if not jobs:
            return
        with self._client(len(jobs)) as client:
            yield from _collect(client, jobs)

    @contextmanager
    def _client(self, jobs: int) -> Iterator[Client]:
        import dask
        import distributed

        if self.scheduler is None:
            settings = {
                "n_workers": min(self.workers, jobs),
                "threads_per_worker": 1,
                "memory_limit": self.memory,
                "host": "127.0.0.1",
                "dashboard_address": "127.0.0.1:0" if self.dashboard else None,
                "silence_logs": 50,  # critical only: a worker's end is told in our own words
            }
            with (
                dask.config.set(SPAWN),
                distributed.LocalCluster(**settings) as local,
                distributed.Client(local) as client,
            ):
                if self.dashboard:
                    print(f"Dask's dashboard is at {client.dashboard_link}", flush=True)
                yield client
            return
        try:
            client = distributed.Client(
                self.scheduler, timeout=PATIENCE, security=self._security(), set_as_default=False
            )
        except (OSError, TypeError, ValueError) as error:  # TypeError: tls without files
            reason = " ".join(str(error).split())[:200]
            raise QmlbookError(f"No Dask scheduler answers at {self.scheduler}: {reason}") from None
        with client:
            self.workers = max(1, sum(client.ncores().values()))
            yield client

    def _security(self) -> Security | None:
        from distributed import Security

        if self.tls_ca is None:
            return None
        return Security(
            tls_ca_file=self.tls_ca,
            tls_client_cert=self.tls_cert,
            tls_client_key=self.tls_key,
            require_encryption=True,
        )


def remote(job: dict[str, Any], expected: str) -> str:
    """Make one run on a worker and return its record as a line.

    Raises:
        WorkerRefused: the worker has another version of the library, or lacks the device.
    """
    if (here := code_version()) != expected:
        raise WorkerRefused(
            f"a worker runs version {here} of the library and this sweep {expected}; "
            "install the same version there"
        )
    return execute(Job(**job)).line()


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
        return Record.parse(future.result())
    if future.status != "error":  # cancelled or lost
        raise CancelledError
    error = future.exception()
    if isinstance(error, KilledWorker):
        return failed_record(job, "KilledWorker: every worker that tried this run died of it")
    raise QmlbookError(f"The Dask cluster cannot be used: {error}.")
