"""Records survive interruption, damage and concurrent writers; no run is stored twice."""

import dataclasses
import hashlib
import json
import multiprocessing
import threading
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmlbook.base import files, paths
from qmlbook.base.errors import QmlbookError
from qmlbook.evidence import store as module
from qmlbook.evidence.store import Record, Store, clean_metrics, config_key


@dataclass(frozen=True)
class Config:
    depth: int = 2
    rate: float = 0.1
    classes: tuple[int, ...] = (0, 1)
    extra: dict = dataclasses.field(default_factory=dict)


def record(**changes) -> Record:
    values = {
        "paper": "fake", "experiment": "grid", "experiment_version": 1, "variant": "n2",
        "profile": "full", "config": {"depth": 2}, "config_key": "abc", "seed": 0,
        "metrics": {"accuracy": 0.5}, "seconds": 1.5, "device": "cpu", "dtype": "float64",
        "threads": 1, "versions": {"python": "3.12"}, "code_version": "0" * 12,
        "started_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Record(**(values | changes))


def failed(**changes) -> Record:
    return record(status="failed", error="ValueError: no", metrics={}, **changes)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def lines(store, name="grid.jsonl"):
    return (store.root / "fake" / name).read_text(encoding="utf-8").splitlines()


# Records


def test_a_record_is_one_line_and_comes_back():
    original = record(variant="größe\n2", metrics={"a": 1, "b": [0.25, 2]})
    assert "\n" not in original.line()
    assert Record.parse(original.line()) == original
    assert "error" not in json.loads(original.line())
    assert Record.parse(failed().line()).error == "ValueError: no"


def test_fields_are_those_of_the_contract():
    assert list(json.loads(record().line())) == [
        "paper", "experiment", "experiment_version", "variant", "profile", "config", "config_key",
        "seed", "metrics", "seconds", "device", "dtype", "threads", "versions", "code_version",
        "started_at", "status",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": -1}, {"seed": "0"}, {"seconds": float("nan")}, {"status": "good"},
        {"status": "failed"}, {"error": "what"}, {"experiment": "../grid"}, {"paper": "a/b"},
        {"variant": 3}, {"metrics": [1]}, {"metrics": {"a": float("nan")}},
    ],
)  # fmt: skip
def test_what_a_record_must_not_hold(changes):
    with pytest.raises(ValueError, match=r"is|has"):
        record(**changes)


def test_metrics_become_plain_rounded_numbers():
    import torch  # here, because the processes below import this file again

    metrics = {
        "a": np.float32(0.1), "b": torch.tensor(2), "c": np.array([1.0, 1 / 3]), "d": (1, 2.5),
        "e": True, "f": torch.tensor([0.5]), "g": 1e-20 / 3, "h": 10**6, "i": 7**30,
    }  # fmt: skip
    assert clean_metrics(metrics) == {
        "a": 0.10000000149, "b": 2, "c": [1.0, 0.333333333333], "d": [1, 2.5], "e": 1,
        "f": [0.5], "g": 3.33333333333e-21, "h": 1000000, "i": 2.25393402907e25,
    }  # fmt: skip
    assert type(clean_metrics({"count": 2**64})["count"]) is float  # of no 64-bit integer
    assert all(type(value) in (int, float, list) for value in clean_metrics(metrics).values())


@given(st.floats(min_value=-9e99, max_value=9e99))
@settings(max_examples=200)
def test_rounding_is_stable_and_small(value):
    once = clean_metrics({"x": value})["x"]
    assert clean_metrics({"x": once})["x"] == once
    assert once == pytest.approx(value, rel=1e-11, abs=0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "must be finite"), ([0.1, float("inf")], "must be finite"),
        ("0.5", "must be a number"), (None, "must be a number"), ([[1.0]], "must be a number"),
        (1 + 0j, "must be a number"), (list(range(1000)), "1000 numbers"),
        (np.zeros((2, 2)), "must be a number"),
    ],
)  # fmt: skip
def test_other_metrics_are_refused_by_name(value, message):
    with pytest.raises(ValueError, match=f"metric 'bad' .*{message}"):
        clean_metrics({"good": 1, "bad": value})


# Keys


def test_config_key_is_the_digest_of_what_differs_from_the_defaults():
    config = Config(rate=0.2, classes=(3, 5))
    text = json.dumps({"classes": [3, 5], "rate": 0.2}, sort_keys=True)
    assert config_key(config) == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert config_key(Config()) == hashlib.sha256(b"{}").hexdigest()[:12]
    assert config_key(Config(extra={"a": 1})) != config_key(Config())


def test_a_new_field_changes_no_key():
    @dataclass(frozen=True)
    class Later(Config):
        momentum: float = 0.9

    assert config_key(Later(depth=4)) == config_key(Config(depth=4))
    assert config_key(Later(momentum=0.5)) != config_key(Config())


def test_fields_without_default_are_always_in_the_key():
    @dataclass(frozen=True)
    class Bare:
        name: str

    assert config_key(Bare("a")) != config_key(Bare("b"))


def test_code_version_follows_the_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PACKAGE", tmp_path)
    (tmp_path / "a.py").write_bytes(b"x = 1\n")
    (tmp_path / "notes.txt").write_bytes(b"ignored")

    def now():
        module.code_version.cache_clear()
        return module.code_version()

    first = now()
    (tmp_path / "a.py").write_bytes(b"x = 1\r\n")  # a checkout with other line ends
    assert now() == first
    (tmp_path / "notes.txt").write_bytes(b"still ignored")
    assert now() == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert now() != first
    seen = [now()]
    for name in ("room/deep/a.py", "room/deep/b.py"):  # those in the rooms count, one by one
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x = 1\n")
        seen.append(now())
    (tmp_path / "room" / "deep" / "a.py").write_bytes(b"x = 2\n")
    assert len({*seen, now()}) == 4
    last = now()
    (tmp_path / "_data").mkdir()
    (tmp_path / "_data" / "case.py").write_bytes(b"x = 1\n")  # what a wheel brings along
    assert now() == last
    module.code_version.cache_clear()


def test_versions_name_what_computes():
    assert set(module.versions()) == {"python", "numpy", "torch", "pennylane", "qmlbook"}


# The store


def test_pending_records_are_read_and_folded_in_order(store):
    records = [
        record(seed=10), record(seed=9), record(seed=2, variant="a"),
        record(seed=0, experiment_version=2), record(seed=1, config_key="aaa"),
        record(seed=0, experiment="other"),
    ]  # fmt: skip
    for item in records:
        store.add(item)
    assert len(store.records("fake")) == 6
    assert len(store.records("fake", "grid")) == 5
    assert store.fold("fake") == []
    assert not list((store.root / "fake" / ".pending").glob("*.json"))
    stored = [Record.parse(line) for line in lines(store)]
    assert stored == sorted(records[:5], key=lambda r: (r.experiment_version, r.variant,
                                                        r.config_key, r.seed))  # fmt: skip
    assert store.records("fake", "grid") == stored
    assert lines(store, "other.jsonl") == [records[5].line()]


def test_folding_again_changes_nothing(store):
    store.add(record())
    store.fold("fake")
    path = store.root / "fake" / "grid.jsonl"
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert store.fold("fake") == []
    store.add(record(experiment="other"))
    store.fold("fake")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_the_same_run_is_never_stored_twice(store):
    store.add(record())
    store.fold("fake")
    store.add(record(profile="quick", metrics={"accuracy": 0.9}))
    assert [r.metrics["accuracy"] for r in store.records("fake")] == [0.5]
    (sentence,) = store.fold("fake")
    assert "the same run is stored already" in sentence
    assert lines(store) == [record().line()]
    assert len(lines(store, "grid.jsonl.rejected")) == 1
    assert store.fold("fake") == []


def test_an_interrupted_fold_is_finished_by_the_next(store, monkeypatch):
    store.add(record())
    store.add(record(seed=1))

    def killed(self, **_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            store.fold("fake")
    assert len(store.records("fake")) == 2
    assert store.fold("fake") == []
    assert len(lines(store)) == 2
    assert not (store.root / "fake" / "grid.jsonl.rejected").exists()
    assert not list((store.root / "fake" / ".pending").glob("*.json"))


def test_a_write_that_fails_leaves_nothing_behind(store, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(QmlbookError, match=r"cannot be written .*No space left.*QMLBOOK_ROOT"):
        store.add(record())
    assert [path for path in store.root.rglob("*") if path.is_file()] == []
    assert store.records("fake") == []


def test_a_file_is_replaced_whole_or_not_at_all(store, monkeypatch):
    store.add(record())
    store.fold("fake")
    store.add(record(seed=1))
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: seen.append(lines(store)))
        patch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(5, "no")))
        with pytest.raises(QmlbookError, match="cannot be written"):
            store.fold("fake")
    assert seen == [[record().line()]] * 2  # while the new content was written, the old one stood
    assert lines(store) == [record().line()]
    store.fold("fake")
    assert len(lines(store)) == 2


DAMAGE = [
    ("{half", "no JSON"), ("<<<<<<< HEAD", "no JSON"),
    ("[]", "mapping"), ('{"seed": 1}', "'paper' is missing"),
    (record().line().replace("0.5", "NaN"), "no JSON"),
    (record().line().replace('"depth":2', '"depth":Infinity'), "no JSON"),
    (record().line().replace('"depth":2', '"depth":1e400'), "config is "),
    (record().line().replace('"depth":2', '"depth":[{"x":-1e999}]'), "number that is not finite"),
    (record().line().replace('"seed"', '"sed"'), "field 'sed' is not known"),
    (record().line().replace("{", '{"__dataclass_self__":1,', 1), "'__dataclass_self__' is not"),
    (record().line().replace("{", '{"self":1,', 1), "field 'self' is not known"),
    (record(experiment="e" * 100).line().replace("e" * 100, "e" * 5000), "(5002 characters"),
    (record().line().replace('"seed":0', '"seed":7,"seed":0'), "field 'seed' is there twice"),
    (record().line().replace('{"depth"', '{"x":{"a":1,"b":2,"a":1},"depth"'), "'a' is there twice"),
    (record().line().replace('{"python"', '{"' + "x" * 5000 + '":3,"python"'), "5002 characters"),
    (record().line().replace("0.5", "9" * 400), "'accuracy' is 9999"),
    (record().line().replace("0.5", "9" * 5000), "no JSON"),
    (record().line().replace("0.5", "1e200"), "'accuracy' is 1e+200 and must be finite, below"),
    (record().line().replace("0.5", "[" * 100_000 + "]" * 100_000), "no JSON: recursion limit"),
    (record().line().replace("0.5", '"' + "x" * 900_000 + '"'), "900002 characters"),
    (record().line().replace("n2", "x" * 2**20), "bytes, and 1,048,576 are the most"),
    (record().line().replace('"depth":2', '"depth":' + "9" * 5000), "no JSON"),
    (record().line().replace('"seed":0', '"seed":' + "9" * 400), "seed is 9999"),
    (record().line().replace('"threads":1', '"threads":' + "9" * 400), "threads is 9999"),
    (record().line().replace("1.5", "1e300"), "seconds is 1e+300"),
    (record().line().replace('"ok"', '"good"'), "status is 'good'"),
    (record(paper="other").line(), "belongs to other/grid"),
    (record(experiment="other").line(), "belongs to fake/other"),
    (record().line()[:-10], "no JSON: EOF"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "reason"), DAMAGE)
def test_damaged_lines_are_set_aside_and_told(store, line, reason):
    good = [record(seed=seed) for seed in range(3)]
    folder = store.root / "fake"
    folder.mkdir()
    text = "\n".join([good[0].line(), line, good[1].line(), "", good[2].line()])
    (folder / "grid.jsonl").write_text(text, encoding="utf-8")
    assert store.records("fake") == good
    (problem,) = store.problems("fake")
    assert problem.startswith("fake/grid.jsonl: a line is set aside (")
    assert reason in problem
    assert len(problem) < 300
    assert store.fold("fake") == [problem]
    assert lines(store) == [r.line() for r in good]
    assert lines(store, "grid.jsonl.rejected") == [line]
    assert store.problems("fake") == store.fold("fake") == []


def test_how_a_record_is_spaced_is_all_the_same():
    assert Record.parse(json.dumps(json.loads(record().line()), indent=1)) == record()


def test_bytes_that_are_no_text_are_set_aside(store):
    store.add(record())
    store.fold("fake")
    with (store.root / "fake" / "grid.jsonl").open("ab") as file:
        file.write(b"\xff\xfe broken\n")
    assert len(store.records("fake")) == 1
    assert len(store.fold("fake")) == 1
    aside = store.root / "fake" / "grid.jsonl.rejected"
    assert aside.read_bytes() == b"\xff\xfe broken\n"


def test_a_second_line_of_the_same_run_is_set_aside(store):
    folder = store.root / "fake"
    folder.mkdir()
    second = record(metrics={"accuracy": 0.9}).line()
    (folder / "grid.jsonl").write_text(f"{record().line()}\n{second}\n", encoding="utf-8")
    assert store.records("fake") == [record()]
    assert len(store.fold("fake")) == 1
    assert lines(store, "grid.jsonl.rejected") == [second]
    assert lines(store) == [record().line()]


def test_rejected_lines_add_up(store):
    folder = store.root / "fake"
    folder.mkdir()
    for text in ("one", "two"):
        with (folder / "grid.jsonl").open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        store.fold("fake")
    assert lines(store, "grid.jsonl.rejected") == ["one", "two"]


def test_a_damaged_pending_file_is_set_aside(store):
    store.add(record())
    (store.root / "fake" / ".pending" / "x.json").write_text("{", encoding="utf-8")
    assert store.records("fake") == [record()]
    assert len(store.fold("fake")) == 1
    assert [path.name for path in (store.root / "fake" / ".pending").iterdir()
            if not path.name.startswith(".")] == ["x.json.rejected"]  # fmt: skip


def alter(store):
    """Change a number in a stored record, and nothing in its form."""
    path = store.root / "fake" / "grid.jsonl"
    path.write_text(path.read_text("utf-8").replace("0.5", "0.6"), encoding="utf-8")
    return path


def test_a_record_that_is_altered_is_noticed_until_it_is_restored_or_accepted(store):
    store.add(record())
    store.fold("fake")
    assert [(check.ok, check.message) for check in store.check("fake")] == [(True, "1 record")]
    path = store.root / "fake" / "grid.jsonl"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.with_name("grid.jsonl.sha256").read_text() == f"{digest}  grid.jsonl\n"
    before = alter(store).read_bytes()
    said = "fake/grid.jsonl: the records are not those that were stored"
    assert store.problems("fake")[0].startswith(said)
    assert not store.check("fake")[0].ok
    store.add(record(seed=1))  # a sweep goes on and covers nothing up
    assert store.fold("fake")[0].startswith(said)
    assert len(lines(store)) == 2
    assert store.problems("fake")[0].startswith(said)
    path.write_text(f"{record().line()}\n", encoding="utf-8")
    assert store.problems("fake") == []
    path.write_bytes(before)
    path.with_name("grid.jsonl.sha256").unlink()
    assert [check.ok for check in store.check("fake")] == [False]
    assert store.fold("fake") == []
    assert [check.ok for check in store.check("fake")] == [True]


def test_records_that_are_gone_are_missed(store):
    store.add(record())
    store.add(record(experiment="other"))
    store.fold("fake")
    path = store.root / "fake" / "grid.jsonl"
    before = path.read_bytes()
    path.unlink()
    said = "fake/grid.jsonl: the records are gone and grid.jsonl.sha256 is there"
    assert [problem.partition(";")[0] for problem in store.problems("fake")] == [said]
    assert [(check.path.stem, check.ok) for check in store.check("fake")] == [
        ("grid", False),
        ("other", True),
    ]
    assert store.fold("fake") == store.problems("fake")
    store.add(record(seed=1))  # a sweep goes on and covers nothing up
    assert "grid.jsonl: the records are not those" in store.fold("fake")[0]
    path.write_bytes(before)
    assert store.problems("fake") == store.fold("fake") == []
    path.unlink()
    path.with_name("grid.jsonl.sha256").unlink()
    assert store.problems("fake") == []


def test_a_file_is_parsed_once_while_its_content_is_the_same(store, monkeypatch):
    for seed in range(3):
        store.add(record(seed=seed))
    store.fold("fake")
    parsed, real = [], Record.parse
    monkeypatch.setattr(Record, "parse", lambda line: parsed.append(line) or real(line))
    for _ in range(3):
        assert len(Store(store.root).records("fake")) == 3
        assert store.problems("fake") == []
    assert len(parsed) == 3
    alter(store)  # as many bytes, perhaps in the same tick of the clock
    assert {item.metrics["accuracy"] for item in store.records("fake")} == {0.6}


BOOK = sorted(paths.results_dir().glob("*/*.jsonl"))


@pytest.mark.parametrize("path", BOOK, ids=[f"{path.parent.name}-{path.stem}" for path in BOOK])
def test_folding_what_is_stored_in_the_book_changes_no_byte(path):
    """Records that someone altered, and an order that a sweep would change, are red here."""
    store = Store()
    text = "".join(item.line() + "\n" for item in store.records(path.parent.name, path.stem))
    assert text.encode() == path.read_bytes()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.with_name(f"{path.name}.sha256").read_text() == f"{digest}  {path.name}\n"


def test_what_nobody_may_read_is_not_called_damaged(store, monkeypatch):
    store.add(record())
    store.fold("fake")

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(QmlbookError, match=r"grid.jsonl cannot be read \(Permission denied\)\.$"):
        store.records("fake")


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_a_retry_takes_the_place_of_a_failure(store, order):
    history = [
        failed(started_at="2026-01-01T00:00:00+00:00"),
        failed(started_at="2026-01-02T00:00:00+00:00"),
        record(started_at="2026-01-03T00:00:00+00:00"),
    ]
    for i in order:
        store.add(history[i])
        if i == order[0]:
            store.fold("fake")
    assert store.fold("fake") == []
    assert store.records("fake") == [history[2]]
    assert lines(store) == [history[2].line()]


@pytest.mark.parametrize("turn", [1, -1])
def test_success_counts_whatever_the_clocks_say(store, turn):
    good = record(started_at="2026-01-01T00:00:00+00:00")
    for item in [good, failed(started_at="2026-01-02T00:00:00+00:00")][::turn]:
        store.add(item)
        assert store.fold("fake") == []
    assert store.records("fake") == [good]


def test_only_the_asked_experiment_is_read(store):
    store.add(record())
    store.add(record(experiment="other"))
    store.fold("fake")
    (store.root / "fake" / "grid.jsonl").write_text("damaged\n", encoding="utf-8")
    assert store.records("fake", "other") == [record(experiment="other")]
    assert store.records("fake", "absent") == []
    assert store.records("absent") == []


def _write_many(root, start):
    own = Store(root)
    for seed in range(start, start + 25):
        own.add(record(seed=seed))
        if seed % 5 == 0:
            own.fold("fake")


def test_several_processes_write_and_fold_at_once(store):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_many, args=(store.root, 25 * i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert store.fold("fake") == []
    assert [Record.parse(line).seed for line in lines(store)] == list(range(75))
    assert not (store.root / "fake" / "grid.jsonl.rejected").exists()


def test_a_fold_waits_for_the_one_under_way(store):
    store.add(record())
    thread = threading.Thread(target=store.fold, args=("fake",))
    with files.locked(store.root / "fake" / ".pending" / ".lock"):
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert not (store.root / "fake" / "grid.jsonl").exists()
    thread.join(10)
    assert lines(store) == [record().line()]


def test_twenty_thousand_records_are_read_quickly(store):
    config = {f"field{i}": i / 7 for i in range(20)}
    metrics = {f"metric{i}": i / 3 for i in range(8)}
    folder = store.root / "fake"
    folder.mkdir()
    one = record(config=config, metrics=metrics)
    with (folder / "grid.jsonl").open("w", encoding="utf-8") as file:
        for seed in range(20_000):
            file.write(replace(one, seed=seed).line() + "\n")
    lines = (folder / "grid.jsonl").read_text("utf-8").splitlines()
    clock = time.process_time()
    plain = [json.loads(line) for line in lines]
    parsed = time.process_time() - clock
    assert len(store.records("fake")) == len(plain)
    assert time.process_time() - clock - parsed < 10 * parsed  # measured: twice as long


def test_the_default_store_is_the_book_s_own(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("QMLBOOK_ROOT", str(tmp_path))
    assert Store().root == tmp_path / "data" / "results" == paths.results_dir()
