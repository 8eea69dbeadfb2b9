"""Stored runs are made again and compared; what cannot be made here is said."""

import json

import pytest
from rooms import OURS

from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.evidence.store import Store
from qmlbook.evidence.sweep import sweep
from qmlbook.evidence.verify import verify
from qmlbook.papers.klssl import training


@pytest.mark.slow
@pytest.mark.parametrize(
    "paper",
    [pytest.param(n, marks=[pytest.mark.nightly] * (n in ("c2q", "qssl"))) for n in OURS],
)
def test_stored_runs_are_made_again(paper):
    """The cheapest quick runs of the book's own records, from as many experiments as possible."""
    result = verify(paper, profile="quick", cheapest=True, sample=6)
    assert result.good, str(result)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    sweep("klssl", experiment=["untrained", "parameters"], profile="quick", seeds=2, store=made)
    return made


def change(store, experiment, metric, by):
    file = store.root / "klssl" / f"{experiment}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line["metrics"][metric] += by
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_honest_records_agree(store):
    result = verify("klssl", sample=6, store=store)
    assert len(result.agree) == 6
    assert result.good


def test_a_changed_number_is_found(store):
    change(store, "untrained", "accuracy", 1e-6)
    result = verify("klssl", sample=18, store=store)
    assert not result.good
    assert len(result.differ) == 16
    assert "accuracy is" in result.differ[0]
    assert "untrained/" in str(result)


def test_rounding_is_tolerated(store):
    change(store, "untrained", "accuracy", 1e-12)
    assert verify("klssl", sample=5, store=store).good


def test_cheapest_takes_one_run_of_as_many_kinds_as_possible(store):
    result = verify("klssl", sample=9, cheapest=True, store=store)
    assert len({place.split(",")[0] for place in result.agree}) == 9


def test_what_cannot_be_made_here_is_said_and_replaced(store, monkeypatch):
    real = training.load_small

    def without_fashion(dataset, *rest):
        if dataset == "fashion_mnist":
            raise QmlbookError("no fashion today")
        return real(dataset, *rest)

    monkeypatch.setattr(training, "load_small", without_fashion)
    result = verify("klssl", sample=8, store=store)
    assert len(result.agree) == 8
    assert result.good
    assert any("no fashion today" in kind for kind in result.unavailable)


def test_nothing_compared_is_not_good(store, monkeypatch):
    def nothing(*_):
        raise QmlbookError("no images")

    monkeypatch.setattr(training, "load_small", nothing)
    (store.root / "klssl" / "parameters.jsonl").unlink()
    result = verify("klssl", sample=3, store=store)
    assert not result.good
    assert result.unavailable


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sample": 0}, "sample is 0"), ({"profile": "full"}, "no stored runs")],
)
def test_requests_that_make_no_sense(store, options, message):
    (store.root / "klssl" / "parameters.jsonl").unlink()
    with pytest.raises(UsageError, match=message):
        verify("klssl", store=store, **options)
