"""Predictions of runs: what is kept, where, and what a fault leaves of it."""

import json
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from qmlbook import papers
from qmlbook.base.errors import QmlbookError
from qmlbook.evidence import cluster, export, predictions
from qmlbook.evidence.store import Predicted, Record, Store
from qmlbook.evidence.sweep import execute, plan, sweep
from qmlbook.papers.shared.predictions import Predictions

LABELS = torch.tensor([0, 1, 2, 1])


@dataclass(frozen=True)
class Config:
    depth: int = 2


def predict(config, seed):
    scores = torch.full((4, 3), 0.1 * config.depth, dtype=torch.float64)
    scores[:, 0] += seed
    return {"accuracy": 0.25}, Predictions.of(LABELS, scores)


@pytest.fixture
def store(tmp_path, monkeypatch):
    experiment = papers.Experiment(
        name="grid", version=1, run=lambda config, seed: predict(config, seed)[0],
        variants={"full": {"n2": Config(), "n4": Config(4)}, "quick": {"n2": Config()}},
        seeds={"full": 2, "quick": 1}, predict=predict, predicted=("n2",),
    )  # fmt: skip
    monkeypatch.setattr(papers, "experiments", lambda _: {"grid": experiment})
    monkeypatch.setattr(papers, "names", lambda: ("fake",))
    monkeypatch.setattr(papers, "validate", lambda names: list(names))
    monkeypatch.setattr(papers, "claims_file", lambda _: tmp_path / "claims.yml")
    monkeypatch.setattr(papers, "room", lambda _: tmp_path, raising=False)
    return Store(tmp_path / "results")


def jobs(store):
    return plan("fake", "grid", seeds=range(1, 4), store=store)


def test_headline_variants_keep_predictions_of_fresh_seeds(store):
    kept = {(r.variant, r.seed) for r in map(execute, jobs(store)) if isinstance(r, Predicted)}
    assert kept == {("n2", 2), ("n2", 3)}
    assert not isinstance(execute(plan("fake", profile="quick", store=store)[0]), Predicted)


def test_predictions_are_stored_beside_records_that_stay_as_they_are(store):
    sweep("fake", seeds=range(1, 4), store=store)
    stored = store.predictions("fake", "grid")
    assert [(key.variant, key.seed) for key in stored] == [("n2", 2), ("n2", 3)]
    scores = stored[min(stored)].scores
    assert scores.dtype == np.float16
    assert np.array_equal(scores, np.array([[2.2, 0.2, 0.2]] * 4, dtype=np.float16))
    assert stored[min(stored)].labels.tolist() == LABELS.tolist()
    assert not list((store.root / "fake" / ".pending").glob("*.*t"))
    assert all("predictions" not in vars(record) for record in store.records("fake"))
    with pytest.raises(ValueError, match="'predictions' is not known"):
        Record.parse(json.dumps({**vars(store.records("fake")[0]), "predictions": None}))
    before = (store.root / "fake" / "grid.parquet").read_bytes()
    sweep("fake", seeds=range(1, 5), store=store)
    assert len(store.predictions("fake", "grid")) == 3
    assert (store.root / "fake" / "grid.parquet").read_bytes() != before


def test_a_killed_sweep_loses_no_predictions(store):
    for job in jobs(store):
        store.add(execute(job))  # and no fold: the process died
    pending = store.root / "fake" / ".pending"
    assert len(list(pending.glob("*.parquet"))) == 2
    next(pending.glob("*.parquet")).with_suffix(".json").unlink()  # died between the two
    store.fold("fake")
    assert len(store.predictions("fake", "grid")) == 1
    assert not list(pending.glob("*.parquet"))
    summary = sweep("fake", seeds=range(1, 4), store=store)
    assert (summary.ran, len(store.predictions("fake", "grid"))) == (1, 2)


def test_trained_numbers_are_kept_in_safetensors(store, monkeypatch):
    def trained(config, seed):
        metrics, kept = predict(config, seed)
        return metrics, replace(kept, params=np.array([seed, 0.5]))

    (experiment,) = papers.experiments("fake").values()
    chosen = {"grid": replace(experiment, predict=trained)}
    monkeypatch.setattr(papers, "experiments", lambda _: chosen)
    sweep("fake", seeds=range(1, 4), store=store)
    sweep("fake", seeds=range(1, 5), store=store)
    stored = store.params("fake", "grid")
    assert [(key.variant, key.seed) for key in stored] == [("n2", 2), ("n2", 3), ("n2", 4)]
    assert all(params.tolist() == [key.seed, 0.5] for key, params in stored.items())
    assert set(stored) == set(store.predictions("fake", "grid"))
    assert not list((store.root / "fake" / ".pending").glob("*.*t*s"))
    file = store.root / "fake" / "grid.safetensors"
    before = file.read_bytes()
    file.write_bytes(b"none")
    with pytest.raises(QmlbookError, match="the trained numbers are not those that were stored"):
        store.params("fake", "grid")
    (bad,) = (check for check in store.check("fake") if not check.ok)
    assert (bad.path, "(the checksum in grid.safetensors.sha256 differs)" in bad.message) == (
        file,
        True,
    )
    file.unlink()
    with pytest.raises(QmlbookError, match="the trained numbers are gone and"):
        store.params("fake", "grid")
    file.write_bytes(before)
    file.with_name("grid.safetensors.sha256").unlink()
    assert len(store.params("fake", "grid")) == 3
    file.write_bytes(b"none")
    with pytest.raises(QmlbookError, match=r"grid\.safetensors holds no trained numbers"):
        store.params("fake", "grid")


def test_altered_predictions_are_refused_and_never_sealed(store):
    sweep("fake", seeds=range(1, 4), store=store)
    file = store.root / "fake" / "grid.parquet"
    before, checksum = file.read_bytes(), file.with_name("grid.parquet.sha256")
    assert all(check.ok for check in store.check("fake"))
    runs = store.predictions("fake", "grid")
    worse = {key: replace(kept, scores=-kept.scores) for key, kept in runs.items()}
    file.write_bytes(predictions.dump(worse))
    sealed, said = checksum.read_bytes(), "fake/grid.parquet: the predictions are not those"
    assert [check.message.startswith(said) for check in store.check("fake")] == [False, True]
    with pytest.raises(QmlbookError, match=said):
        store.predictions("fake", "grid")
    with pytest.raises(QmlbookError, match=said):
        sweep("fake", seeds=range(1, 5), store=store)
    assert checksum.read_bytes() == sealed
    file.write_bytes(before)
    store.fold("fake")  # what the sweep had made is there
    assert len(store.predictions("fake", "grid")) == 3


@pytest.mark.parametrize("gone", [True, False])
def test_predictions_that_are_gone_or_altered_are_told_and_nothing_is_made_of_them(
    store, tmp_path, gone
):
    sweep("fake", seeds=range(1, 4), store=store)
    file = store.root / "fake" / "grid.parquet"
    before, checksum = file.read_bytes(), file.with_name("grid.parquet.sha256")
    sealed = checksum.read_bytes()
    file.unlink() if gone else file.write_bytes(before + b"x")
    said = f"fake/grid.parquet: the predictions are {'gone' if gone else 'not those'}"
    (problem,) = store.problems("fake")
    assert problem.startswith(said)
    assert store.fold("fake") == [problem]
    assert [check.message for check in store.check("fake") if not check.ok] == [problem]
    for make in (
        lambda: store.predictions("fake", "grid"),
        lambda: export.predictions(["fake"], store=store),
        lambda: export.for_new_folder(["fake"], tmp_path / "crate", store=store),
        lambda: sweep("fake", seeds=range(1, 5), store=store),
    ):
        with pytest.raises(QmlbookError, match=said):
            make()
    assert checksum.read_bytes() == sealed
    file.write_bytes(before)
    assert store.fold("fake") == store.problems("fake") == []
    assert len(store.predictions("fake", "grid")) == 3


def test_predictions_without_a_checksum_are_sealed_as_they_are(store):
    sweep("fake", seeds=range(1, 4), store=store)
    file = store.root / "fake" / "grid.parquet"
    before, checksum = file.read_bytes(), file.with_name("grid.parquet.sha256")
    sealed = checksum.read_bytes()
    checksum.unlink()
    assert [check.ok for check in store.check("fake")] == [True, False]
    assert store.fold("fake") == []
    assert (file.read_bytes(), checksum.read_bytes()) == (before, sealed)


def test_predictions_come_back_from_workers(store):
    job = next(job for job in jobs(store) if job.key.seed == 3 and job.variant == "n2")
    line, kept = cluster.remote(vars(job), cluster.code_version())
    assert Record.parse(line).metrics == {"accuracy": 0.25}
    assert kept.scores[0, 0] == np.float16(3.2)


def test_predictions_as_text(store):
    sweep("fake", seeds=range(2, 3), store=store)
    first, line, *rest = export.predictions(["fake"], store=store).splitlines()
    assert first == "paper,experiment,version,variant,config_key,seed,image,label,scores"
    assert line.startswith("fake,grid,1,n2,")
    assert line.endswith(',2,0,0,"[2.19921875,0.199951171875,0.199951171875]"')
    assert len(rest) == 3
    (run,) = json.loads(export.predictions(["fake"], "json", store=store))
    assert (run["seed"], run["labels"], len(run["scores"])) == (2, [0, 1, 2, 1], 4)


def test_what_is_no_prediction_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"labels \(4,\) and scores \(3, 3\)"):
        Predictions.of(LABELS, torch.ones(3, 3))
    with pytest.raises(ValueError, match="not finite"):
        Predictions.of(LABELS, torch.full((4, 2), 1e9))
    damaged = tmp_path / "grid.parquet"
    damaged.write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(QmlbookError, match=r"grid\.parquet holds no predictions"):
        predictions.load(damaged)


def test_nothing_is_computed_where_predictions_could_not_be_kept(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(QmlbookError, match=r"Package pyarrow is missing .* 'qmlbook\[book\]'"):
        sweep("fake", seeds=range(1, 4), store=store)
    assert store.records("fake") == []
    assert sweep("fake", seeds=2, store=store).ran == 4  # which keep none


def test_a_library_without_memory_is_not_called_missing(store, monkeypatch, tmp_path):
    (tmp_path / "pyarrow.py").write_text(
        "raise ImportError('libarrow.so: failed to map segment from shared object')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match="failed to map segment"):
        sweep("fake", seeds=range(1, 4), store=store)
