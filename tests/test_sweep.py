"""A sweep makes what is missing, once, and can be stopped at any moment."""

import errno
import os
import threading
import time
from dataclasses import dataclass, replace

import pytest
import torch

from qmlbook import papers
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.base.rng import stream
from qmlbook.evidence.store import Record, Store, config_key, versions
from qmlbook.evidence.sweep import Job, execute, plan, sweep


@dataclass(frozen=True)
class Config:
    depth: int = 2
    broken: bool = False


class Paper:
    """A paper of two tiny experiments that counts its runs and can be made to fail."""

    def __init__(self):
        self.ran: list[tuple[int, int]] = []
        self.stop_at: int | None = None
        self.mended = False
        self.version = 1
        self.claimed = False

    def run(self, config, seed):
        if len(self.ran) == self.stop_at:
            raise KeyboardInterrupt
        self.ran.append((config.depth, seed))
        if config.broken and not self.mended:
            raise ValueError("the circuit\n broke")
        noise = float(stream(seed, "noise").normal())
        return {"accuracy": config.depth + noise, "threads": torch.get_num_threads()}

    def experiments(self, _):
        full = {"n2": Config(), "n4": Config(depth=4)}
        main = papers.Experiment(
            name="grid", version=self.version, run=self.run,
            variants={"full": full, "quick": {"n2": Config(), "n8": Config(depth=8)}},
            seeds={"full": 3, "quick": 1},
        )  # fmt: skip
        other = papers.Experiment(
            name="other", version=1, run=self.run, dtype="float32",
            variants={"full": {"bad": Config(depth=16, broken=True)}}, seeds={"full": 2},
        )  # fmt: skip
        return {"grid": main, "other": other}


CLAIM = """
  - {id: a, statement: s, kind: value, source: p, evidence: measured, experiment: grid,
     metric: accuracy, variants: n4, seeds: {from: 2, to: 5}}
"""


@pytest.fixture
def fake(monkeypatch, tmp_path_factory):
    paper, folder = Paper(), tmp_path_factory.mktemp("claims")

    def claims_file(name):
        path = folder / f"{name}.yml"
        claims = CLAIM if name == "fake" and paper.claimed else " []"
        path.write_text(f"paper: {name}\ntitle: T\ncitation: key\nclaims:{claims}")
        return path

    monkeypatch.setattr(papers, "claims_file", claims_file)
    monkeypatch.setattr(papers, "names", lambda: ["bare", "fake"])
    monkeypatch.setattr(
        papers, "experiments", lambda name: paper.experiments(name) if name == "fake" else {}
    )
    return paper


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def run(store, **options):
    return sweep("fake", store=store, progress=False, **options)


def test_plan_finishes_all_variants_of_a_seed_first(fake, store):
    jobs = plan("fake", store=store)
    assert [(job.seed, job.experiment, job.variant) for job in jobs] == [
        (0, "grid", "n2"), (0, "grid", "n4"), (0, "other", "bad"),
        (1, "grid", "n2"), (1, "grid", "n4"), (1, "other", "bad"),
        (2, "grid", "n2"), (2, "grid", "n4"),
    ]  # fmt: skip
    assert {job.status for job in jobs} == {"missing"}
    assert jobs[1] == Job("fake", "grid", 1, "n4", "full", config_key(Config(depth=4)), 0)


def test_plan_narrows(fake, store):
    assert len(plan("fake", "grid", store=store)) == 6
    assert len(plan("fake", "grid", "quick", store=store)) == 2
    assert len(plan("fake", "grid", seeds=7, store=store)) == 14
    assert {job.seed for job in plan("fake", "grid", seeds=range(5, 7), store=store)} == {5, 6}
    assert plan("fake", "other", "quick", store=store) == []
    assert plan("bare", store=store) == []


def test_a_plan_makes_the_seeds_that_claims_ask_for(fake, store):
    fake.claimed = True
    full = [(job.seed, job.variant) for job in plan("fake", "grid", store=store)]
    assert full == [(0, "n2"), (1, "n2"), (2, "n2"), (2, "n4"), (3, "n4"), (4, "n4"), (5, "n4")]
    assert [job.seed for job in plan("fake", "grid", "quick", store=store)] == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paper": "fak"}, "paper 'fak' is not known; choose from: bare, fake"),
        ({"experiment": "gird"}, "experiment 'gird' is not known; choose from: grid, other"),
        ({"paper": "bare", "experiment": "grid"}, "this paper has none yet"),
        ({"profile": "slow"}, "profile 'slow' is not known; choose from: quick, full"),
        ({"seeds": 0}, "seeds is 0 and must be 1 or more"),
    ],
)
def test_requests_are_checked_before_anything_runs(fake, store, arguments, message):
    with pytest.raises(UsageError, match=message):
        sweep(**({"paper": "fake", "store": store, "progress": False} | arguments))
    assert fake.ran == []


def test_a_record_says_what_ran(fake):
    job = Job("fake", "grid", 1, "n4", "full", config_key(Config(depth=4)), 2)
    record = execute(job)
    assert record.metrics["accuracy"] == pytest.approx(4 + stream(2, "noise").normal())
    assert record.config == {"depth": 4, "broken": False}
    assert record.key == ("grid", 1, "n4", config_key(Config(depth=4)), 2)
    assert (record.status, record.error, record.device, record.dtype) == (
        "ok", None, "cpu", "float64")  # fmt: skip
    assert (record.versions, len(record.code_version)) == (versions(), 12)
    assert record.started_at.endswith("+00:00")
    assert len(record.started_at) == 25
    assert Record.parse(record.line()) == record


def test_a_sweep_stores_every_run_once(fake, store):
    summary = run(store, experiment="grid")
    assert (summary.total, summary.done, summary.to_run, summary.ran) == (6, 0, 6, 6)
    assert not summary.failed
    assert "6 of 6 runs made" in str(summary)
    assert len(store.records("fake")) == len(fake.ran) == 6
    assert (store.root / "fake" / "grid.jsonl").is_file()
    again = run(store, experiment="grid")
    assert (again.done, again.to_run, again.ran, len(fake.ran)) == (6, 0, 0, 6)


def test_more_seeds_and_new_versions_run_only_what_is_new(fake, store):
    run(store, experiment="grid")
    assert run(store, experiment="grid", seeds=5).ran == 4
    fake.version = 2
    assert run(store, experiment="grid").ran == 6
    assert len(store.records("fake")) == 16  # the older version stays, and is told by the report


def test_profiles_share_a_run_when_their_settings_are_equal(fake, store):
    run(store, experiment="grid")
    summary = run(store, experiment="grid", profile="quick")
    assert (summary.done, summary.ran) == (1, 1)
    stored = {(r.variant, r.seed): r.profile for r in store.records("fake")}
    assert (stored["n2", 0], stored["n8", 0]) == ("full", "quick")


def test_a_failed_run_is_recorded_and_others_go_on(fake, store):
    summary = run(store)
    assert (summary.ran, summary.failed) == (6, True)
    assert summary.errors == [
        f"fake/other/bad, seed {seed}: ValueError: the circuit broke" for seed in (0, 1)
    ]
    first, *told = str(summary).splitlines()
    assert first.endswith(", 2 failed.")
    assert told == [f"  {error}" for error in summary.errors]
    many = run(store, experiment="other", seeds=9)
    assert str(many).endswith("\n  and 2 more")
    first = store.records("fake", "other")[0]
    assert (first.status, first.metrics, first.dtype) == ("failed", {}, "float32")


def at_once(monkeypatch, fake, run_all):
    """Let the experiment `grid` make several seeds at once."""
    own = fake.experiments("fake")
    own["grid"] = replace(own["grid"], run_all=run_all)
    monkeypatch.setattr(papers, "experiments", lambda name: own if name == "fake" else {})


def test_runs_that_differ_by_their_seed_alone_are_made_at_once(fake, store, tmp_path, monkeypatch):
    run(store, experiment="grid", seeds=20)
    asked = []

    def run_all(config, seeds):
        asked.append((config.depth, list(seeds)))
        return [fake.run(config, seed) for seed in seeds]

    at_once(monkeypatch, fake, run_all)
    other = Store(tmp_path / "other")
    assert run(other, experiment="grid", seeds=20).ran == 40
    first, last = list(range(16)), list(range(16, 20))
    assert asked == [(2, first), (2, last), (4, first), (4, last)]
    made, alone = ({r.key: r.metrics for r in s.records("fake")} for s in (other, store))
    assert made == alone


def test_of_runs_made_at_once_only_those_that_fail_are_failed(fake, store, monkeypatch):
    def one(config, seed):
        if seed == 3:
            raise ValueError("seed 3 broke")
        return {"accuracy": 0.5}

    monkeypatch.setattr(fake, "run", one)
    at_once(monkeypatch, fake, lambda config, seeds: [one(config, seed) for seed in seeds])
    assert run(store, experiment="grid", seeds=6).errors == [
        f"fake/grid/{name}, seed 3: ValueError: seed 3 broke" for name in ("n2", "n4")
    ]
    assert sum(record.status == "ok" for record in store.records("fake")) == 10


def test_failed_runs_wait_to_be_asked_for(fake, store):
    run(store)
    count, fake.mended = len(fake.ran), True
    waiting = run(store)
    assert (waiting.failed_before, waiting.to_run, len(fake.ran)) == (2, 0, count)
    assert "2 failed before and wait for --retry-failed" in str(waiting)
    retried = run(store, retry_failed=True)
    assert (retried.ran, retried.failed_before, retried.failed) == (2, 0, False)
    assert {r.status for r in store.records("fake")} == {"ok"}


def test_metrics_that_are_no_numbers_fail_the_run(fake, store, monkeypatch):
    monkeypatch.setattr(Paper, "run", lambda *_: {"accuracy": float("nan")})
    summary = run(store, experiment="grid", seeds=1)
    assert "ValueError: metric 'accuracy' is nan and must be finite" in summary.errors[0]


def test_an_interrupted_sweep_keeps_what_is_done_and_resumes(fake, store):
    fake.stop_at = 4
    summary = run(store, experiment="grid")
    assert (summary.interrupted, summary.ran, summary.failed) == (True, 4, True)
    assert "interrupted, and the same command resumes" in str(summary)
    assert len(store.records("fake")) == 4
    assert not list((store.root / "fake" / ".pending").glob("*.json"))
    fake.stop_at = None
    assert run(store, experiment="grid").ran == 2
    assert len(set(fake.ran)) == len(fake.ran) == 6


def test_a_killed_sweep_is_resumed_from_its_pending_records(fake, store):
    for job in plan("fake", "grid", store=store)[:3]:
        store.add(execute(job))  # and no fold: the process died
    summary = run(store, experiment="grid")
    assert (summary.done, summary.ran) == (3, 3)
    assert len(store.records("fake")) == 6


def test_dry_run_counts_and_estimates(fake, store):
    unknown = run(store, experiment="grid", dry_run=True)
    assert (unknown.to_run, unknown.ran, unknown.seconds) == (6, 0, None)
    assert str(unknown) == "fake: 6 runs to make (unknown time), 0 of 6 runs are stored already."
    assert fake.ran == []
    assert not any(store.root.iterdir())
    for job in plan("fake", "grid", store=store)[:3]:
        record = execute(job)
        seconds = {"n2": 2.0, "n4": 10.0}[job.variant] * (1 + job.seed)
        store.add(Record.parse(record.line().replace(f'"seconds":{record.seconds}',
                                                     f'"seconds":{seconds}')))  # fmt: skip
    known = run(store, experiment="grid", dry_run=True)
    # missing: n4 twice more (10 s each), n2 once more (median of 2 s and 4 s)
    assert (known.done, known.to_run, known.seconds) == (3, 3, 23.0)
    assert run(store, experiment="grid", profile="quick", dry_run=True).seconds is None


def test_damaged_records_are_told_and_made_again(fake, store):
    run(store, experiment="grid")
    path = store.root / "fake" / "grid.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[:-40], encoding="utf-8")
    summary = run(store, experiment="grid")
    assert summary.ran == 1
    aside, altered = summary.rejected
    assert "a line is set aside" in aside
    assert "the records are not those that were stored" in altered
    assert path.read_text(encoding="utf-8").count("\n") == 6


def test_another_runner_may_return_records_in_any_order(fake, store):
    def backwards(jobs):
        yield from map(execute, reversed(jobs))

    summary = run(store, experiment="grid", runner=backwards)
    assert summary.ran == 6
    assert fake.ran[0] == (4, 2)
    stored = [Record.parse(line) for line in (store.root / "fake" / "grid.jsonl").open()]
    assert [(r.variant, r.seed) for r in stored] == [
        (variant, seed) for variant in ("n2", "n4") for seed in range(3)
    ]


def test_a_job_has_one_thread_unless_the_environment_says_otherwise(fake, monkeypatch):
    job = Job("fake", "grid", 1, "n2", "full", config_key(Config()), 0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        record = execute(job)
        assert record.threads == record.metrics["threads"] == 1
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        record = execute(job)
        assert record.threads == record.metrics["threads"] == 2
    finally:
        torch.set_num_threads(before)


def test_nothing_is_printed_when_nobody_watches(fake, store, capfd):
    sweep("fake", experiment="grid", store=store, progress=True)
    assert capfd.readouterr() == ("", "")


def test_a_bar_is_shown_to_a_terminal(fake, store, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setitem(os.environ, "TERM", "xterm")
    sweep("fake", experiment="grid", store=store, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "6 done, 0 running, 0 failed of 6" in err


def test_a_full_disk_loses_nothing_that_was_stored(fake, store, monkeypatch):
    real, written = os.fsync, []

    def full(file):
        written.append(file)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(QmlbookError, match="No space left on device"):
        run(store, experiment="grid")
    monkeypatch.setattr(os, "fsync", real)
    before = len(store.records("fake"))
    assert 1 <= before < 6
    assert run(store, experiment="grid").done == before
    assert len({record.key for record in store.records("fake")}) == 6
    assert not list((store.root / "fake" / ".pending").glob("*.json*"))


def test_a_device_must_be_one_that_the_experiment_knows(fake, store, monkeypatch):
    with pytest.raises(UsageError, match="device 'cuda' is not known; choose from: cpu"):
        run(store, experiment="grid", device="cuda")
    real, seen = fake.experiments("fake")["grid"], []

    def run_there(config, seed, device="cpu"):
        seen.append(device)
        return {"accuracy": 0.5}

    grid = replace(real, run=run_there, devices=("cpu", "cuda"))
    monkeypatch.setattr(papers, "experiments", lambda _: {"grid": grid})
    run(store, experiment="grid", device="cuda")
    assert set(seen) == {"cuda"}
    assert {record.device for record in store.records("fake")} == {"cuda"}


def test_of_two_sweeps_of_a_paper_one_waits_and_no_run_is_made_twice(fake, store, capfd):
    """The second one starts while the first is at work, and then finds everything stored."""
    summaries, threads = [], []

    def second():
        summaries.append(run(store, experiment="grid"))

    def runner(jobs):
        for number, job in enumerate(jobs):
            if number == 2:
                threads.append(threading.Thread(target=second))
                threads[0].start()
                deadline = time.monotonic() + 60
                while "waiting" not in capfd.readouterr().err and time.monotonic() < deadline:
                    time.sleep(0.01)
            yield execute(job)

    assert run(store, experiment="grid", runner=runner).ran == 6
    threads[0].join(60)
    (waited,) = summaries
    assert (waited.done, waited.ran, waited.rejected) == (6, 0, [])
    assert len(fake.ran) == len(store.records("fake")) == 6


def test_one_run_is_said_in_the_singular(fake, store):
    one = run(store, experiment="grid", profile="quick", dry_run=True)
    assert str(one).startswith("fake: 2 runs to make")
    only = run(store, experiment="other", seeds=1)
    assert str(only).startswith("fake: 0 of 1 run made in ")
    again = run(store, experiment="other", seeds=1)
    assert str(again).endswith("0 of 1 run are stored already, "
                               "1 failed before and waits for --retry-failed.")  # fmt: skip


def test_several_experiments_are_checked_before_anything_runs(fake, store):
    with pytest.raises(UsageError, match="experiment 'nosuch'"):
        run(store, experiment=["grid", "nosuch"])
    assert fake.ran == []
