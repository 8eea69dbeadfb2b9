"""Sweeps on real Dask processes: killed workers, a killed scheduler, Ctrl-C, wrong versions."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dask
import pytest

from qmlbook import papers
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.evidence.cluster import Cluster
from qmlbook.evidence.store import Store
from qmlbook.evidence.sweep import plan, sweep

SOURCE = Path(papers.__file__).parents[2]
WHAT = {"experiment": "untrained", "profile": "quick"}  # 8 variants, some milliseconds a run


@contextmanager
def process(*arguments, **environment):
    """Run a Dask command; it is killed at the end whatever happened."""
    environment = {"PYTHONPATH": str(SOURCE), **os.environ, **environment}
    started = subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, arguments)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def scheduler(port, *options):
    return process("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", *options)


def worker(address, *options, **environment):
    fixed = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
    return process("worker", address, *fixed, *options, **environment)


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for_workers(address, n, **options):
    from distributed import Client

    deadline = time.monotonic() + 60
    while True:
        try:
            with Client(address, timeout=5, set_as_default=False, **options) as client:
                client.wait_for_workers(n, timeout=30)
                return
        except (OSError, TimeoutError):
            if time.monotonic() > deadline:
                raise


def expected_keys(store, seeds):
    return {job.key for job in plan("klssl", seeds=seeds, store=store, **WHAT)}


def stored_keys(store):
    keys = [record.key for record in store.records("klssl")]
    assert len(keys) == len(set(keys)), "a run is stored twice"
    return set(keys)


@pytest.mark.nightly
def test_two_hundred_runs_survive_a_killed_worker_and_a_killed_scheduler(tmp_path, port):
    store, address, seeds = Store(tmp_path), f"tcp://127.0.0.1:{port}", 30
    with ExitStack() as stack:
        first = stack.enter_context(scheduler(port))
        doomed = stack.enter_context(worker(address))
        stack.enter_context(worker(address))
        wait_for_workers(address, 2)
        made = 0

        def trouble(jobs):
            nonlocal made
            for record in Cluster(address)(jobs):
                made += 1
                if made == 20:
                    doomed.send_signal(signal.SIGKILL)
                if made == 90:
                    first.send_signal(signal.SIGKILL)
                yield record

        with pytest.raises(QmlbookError, match=r"scheduler went away.*same command resumes"):
            sweep("klssl", seeds=seeds, store=store, runner=trouble, **WHAT)
    half = stored_keys(store)
    assert 90 <= len(half) < 240
    with scheduler(port), worker(address), worker(address):
        wait_for_workers(address, 2)
        summary = sweep("klssl", seeds=seeds, store=store, runner=Cluster(address), **WHAT)
    assert summary.done == len(half)
    assert not summary.failed
    assert stored_keys(store) == expected_keys(store, seeds)
    assert len(stored_keys(store)) == 240
    assert not list((tmp_path / "klssl" / ".pending").glob("*.json*"))


@pytest.mark.slow
def test_a_worker_on_another_code_version_is_refused(tmp_path, port):
    shutil.copytree(SOURCE / "qmlbook", tmp_path / "other" / "qmlbook")
    with (tmp_path / "other" / "qmlbook" / "rng.py").open("a") as file:
        file.write("\n# another version\n")
    address, store = f"tcp://127.0.0.1:{port}", Store(tmp_path / "store")
    with scheduler(port), worker(address, PYTHONPATH=str(tmp_path / "other")):
        wait_for_workers(address, 1)
        with pytest.raises(QmlbookError, match=r"version .* of the library"):
            sweep("klssl", seeds=1, store=store, runner=Cluster(address), **WHAT)
    assert stored_keys(store) == set()


DEADLY = """
import os
from dataclasses import dataclass
from qmlbook import papers

@dataclass(frozen=True)
class Config:
    deadly: bool = False

def run(config, seed):
    if config.deadly and seed == 1:
        os.kill(os.getpid(), 9)
    return {"accuracy": 0.5 + seed}

papers.names = lambda: ["fake"]
papers.experiments = lambda _: {"grid": papers.Experiment(
    "grid", 1, run, {"full": {"safe": Config(), "deadly": Config(deadly=True)}}, {"full": 3})}
"""


@pytest.mark.nightly
def test_a_run_that_kills_its_workers_is_recorded_as_failed(tmp_path, port, monkeypatch):
    (tmp_path / "deadly.py").write_text(DEADLY)
    for name in ("names", "experiments"):  # restored at the end
        monkeypatch.setattr(papers, name, getattr(papers, name))
    exec(DEADLY, {})
    address, store = f"tcp://127.0.0.1:{port}", Store(tmp_path / "store")
    with ExitStack() as stack:
        stack.enter_context(scheduler(port))
        for _ in range(6):  # each run kills the four workers that try it
            stack.enter_context(worker(address, "--preload", tmp_path / "deadly.py"))
        wait_for_workers(address, 6)
        summary = sweep("fake", store=store, runner=Cluster(address))
    assert summary.ran == 5
    (error,) = summary.errors
    assert "grid/deadly, seed 1: KilledWorker" in error
    assert {r.status for r in store.records("fake") if r.seed != 1} == {"ok"}


@pytest.mark.nightly
def test_an_encrypted_cluster_takes_only_those_with_a_certificate(tmp_path, port):
    from distributed import Security

    own = Security.temporary()
    files = {"ca": own.tls_ca_file, "cert": own.tls_client_cert, "key": own.tls_client_key}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    options = [
        word
        for name in files
        for word in (f"--tls-{name}{'-file' * (name == 'ca')}", tmp_path / name)
    ]
    address, store = f"tls://127.0.0.1:{port}", Store(tmp_path / "store")
    # What a reader's DASK_DISTRIBUTED__COMM__TLS__CA_FILE and its neighbours, or a file, would set.
    settings = {
        "distributed.comm.tls.ca-file": str(tmp_path / "ca"),
        "distributed.comm.tls.client.cert": str(tmp_path / "cert"),
        "distributed.comm.tls.client.key": str(tmp_path / "key"),
        "distributed.comm.require-encryption": True,
    }
    with scheduler(port, "--protocol", "tls", *options), worker(address, *options):
        wait_for_workers(address, 1, security=own)
        with dask.config.set(settings):
            summary = sweep("klssl", seeds=1, store=store, runner=Cluster(address), **WHAT)
        assert summary.ran == 8
        with pytest.raises(QmlbookError, match="No Dask scheduler answers"):
            sweep("klssl", seeds=2, store=store, runner=Cluster(address), **WHAT)


def command(root):
    """Start the command on a store of its own, as a person would, on a local cluster."""
    words = ["sweep", "klssl", "--experiment", "grid", "--profile", "quick", "--seeds", "20"]
    return subprocess.Popen(
        [sys.executable, "-m", "qmlbook.cli", *words],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "QMLBOOK_ROOT": str(root)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # Jobs started in the background of a script ignore Ctrl-C, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


@pytest.mark.nightly
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "sigkill"])
def test_the_command_can_be_interrupted_and_resumed(tmp_path, how):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(SOURCE.parent / "data" / "images")
    store = Store(tmp_path / "data" / "results")
    keys = {job.key for job in plan("klssl", "grid", "quick", seeds=20, store=store)}
    first = command(tmp_path)
    deadline = time.monotonic() + 300
    while len(store.records("klssl")) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(how)
    said, _ = first.communicate(timeout=60)
    before = len(store.records("klssl"))
    assert 5 <= before < len(keys)
    if how is signal.SIGINT:
        assert first.returncode == 130
        assert "the same command resumes" in said
        assert "Traceback" not in said
    second = command(tmp_path)
    said, _ = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert f"{before} of {len(keys)} runs are stored already" in said
    assert stored_keys(store) == keys


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"workers": 0}, "workers is 0 and must be 1 or more"),
        ({"memory": "banana"}, "memory is 'banana' and must be a size like 4 GiB"),
        ({"memory": "-1 GiB"}, "memory is '-1 GiB'"),
        ({"memory": "4"}, "256 MiB or more"),
        ({"scheduler": "banana"}, "scheduler is 'banana' and must be an address like tcp://HOST"),
        ({"scheduler": "banana://host:1"}, "scheduler is 'banana://host:1'"),
        ({"scheduler": ""}, "scheduler is ''"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_before_anything_runs(asked, said):
    with pytest.raises(UsageError, match=said):
        Cluster(**asked)


def test_sizes_and_addresses_of_dask_are_taken():
    for memory in ("4 GiB", "500MB", "1.5 GB", "300000000"):
        assert Cluster(memory=memory).memory == memory
    for address in ("127.0.0.1:8786", "tcp://[::1]:8786", "tls://machine.example:8786/"):
        assert Cluster(address).scheduler == address


def test_no_scheduler_is_one_sentence(tmp_path, port, monkeypatch):
    monkeypatch.setattr("qmlbook.evidence.cluster.PATIENCE", 1)
    with pytest.raises(QmlbookError, match=f"No Dask scheduler answers at tcp://127.0.0.1:{port}"):
        sweep(
            "klssl",
            seeds=1,
            store=Store(tmp_path),
            runner=Cluster(f"tcp://127.0.0.1:{port}"),
            **WHAT,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Cluster(**options)


def test_nothing_to_do_starts_no_cluster(tmp_path):
    assert list(Cluster("tcp://nowhere.invalid:1")([])) == []


def listening():
    """Return the ports on which processes of this machine listen, 8787 among them or not."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {int(line.split()[1].split(":")[1], 16) for line in lines if line.split()[3] == "0A"}


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="ports are listed by Linux alone")
def test_no_dashboard_is_served_unless_it_is_asked_for(recwarn):
    usual = 8787
    before = listening()
    with Cluster(workers=1)._local(1) as client:
        assert usual not in listening() - before
        assert client.cluster.scheduler.http_application.applications == []
        # A second sweep beside it has nothing to warn about.
        with Cluster(workers=1)._local(1):
            assert usual not in listening() - before
    assert not [warning for warning in recwarn if str(usual) in str(warning.message)]


def test_without_processes_the_runs_are_made_one_after_the_other(tmp_path, monkeypatch, capfd):
    """No shared memory, no address space, no file handles: one line, and the same records."""
    import distributed

    def refuse(*_, **__):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(distributed, "LocalCluster", refuse)
    store = Store(tmp_path)
    assert sweep("klssl", seeds=1, store=store, runner=Cluster(), **WHAT).ran == 8
    assert stored_keys(store) == expected_keys(store, 1)
    _, error = capfd.readouterr()
    assert error.startswith("No worker process can be started here (")
    assert error.endswith("Function not implemented): the runs are made one after the other.\n")
    assert len(error.splitlines()) == 1


def test_local_workers_keep_freed_memory(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with Cluster(workers=1)._local(1) as client:
        told = client.submit(os.environ.get, "MALLOC_TRIM_THRESHOLD_").result()
    assert int(told) >= 2**30
