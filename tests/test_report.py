"""Claims and records become verdicts, and verdicts become tables, by the rules and no others."""

import csv
import io
import json
import re
import shutil
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from qmlbook import papers
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.base.rng import stream
from qmlbook.evidence import report, stats
from qmlbook.evidence.cells import Cell
from qmlbook.evidence.store import Record, Store, config_key
from qmlbook.evidence.verdicts import OUTCOMES, Runs, notes, verdicts

SEEDS = 20


@dataclass(frozen=True)
class Config:
    variant: str = ""
    epochs: int = 10


def accuracy(variant: str, seed: int) -> float:
    """Return an accuracy with a part that variants of a seed share and a part of its own."""
    level = {"q2": 0.70, "q4": 0.72, "c2": 0.60, "c4": 0.61}.get(variant, 0.70)
    own = stream(seed, "own", variant).normal(0, 0.004)
    return level + stream(seed, "shared").normal(0, 0.02) + own


VARIANTS = {
    "grid": ("q2", "q4", "c2", "c4"),
    "untrained": ("q2", "q4"),
    "exact": ("all", "broken"),
    "planned": ("q2", "q4"),
}
RUN = ("grid", "untrained", "exact")
BASE = {
    "kind": "value", "source": "Fig. B | left", "experiment": "grid", "metric": "accuracy",
    "variants": ["q2", "q4"], "margin": 0.05, "seeds": SEEDS, "evidence": "measured",
    "why": "because", "note": "a deviation",
}  # fmt: skip
ORDER = {"kind": "order", "variants": {"over": ["q2", "q4"], "under": ["c2", "c4"]}}
UNTRAINED = {"untrained": ["untrained/q2", "untrained/q4"]}
EXACT = {"kind": "property", "experiment": "exact", "metric": "holds", "seeds": 2,
         "evidence": "computed"}  # fmt: skip
CLAIMS = {
    "mean": {"published": {"mean": 0.71}},
    "welch": {"published": {"mean": 0.9, "sd": 0.02, "n": 5}},
    "single": {"published": {"single": 0.70}, "variants": "q2"},
    "best": {"published": {"best": 0.9, "of": 4}, "statistic": "max",
             "controls": UNTRAINED | {"classical": ["c2", "c4"]}},
    "none": {"published": "not available"},
    "order": ORDER | {"controls": UNTRAINED},
    "reversed": {"kind": "order", "variants": {"over": "c2", "under": "q2"}},
    "difference": ORDER | {"kind": "value", "published": {"mean": 0.105},
                           "statistic": "difference"},
    "holds": EXACT | {"variants": "all", "margin": 0},
    "fails": EXACT | {"variants": "broken", "margin": 0},
    "quoted": {"kind": "order", "experiment": None, "evidence": "illustrated"},
    "later": {"published": {"mean": 1}, "experiment": "planned"},
}  # fmt: skip


class Fake:
    """A paper with claims, experiments and a store, all small enough to see through."""

    def __init__(self, folder):
        self.folder = folder
        self.store = Store(folder / "results")
        self.version = dict.fromkeys(VARIANTS, 1)
        self.claims = {name: dict(entry) for name, entry in CLAIMS.items()}

    def experiments(self, paper):
        return {
            name: papers.Experiment(
                name=name, version=self.version[name], run=dict,
                variants={"full": {v: Config(v) for v in VARIANTS[name]},
                          "quick": {v: Config(v, epochs=1) for v in VARIANTS[name]}},
                seeds={"full": 2 if name == "exact" else SEEDS, "quick": 2},
            )
            for name in (VARIANTS if paper == "fake" else ())
        }  # fmt: skip

    def claims_file(self, paper):
        entries = []
        for name, entry in (self.claims if paper == "fake" else {}).items():
            claim = BASE | {"id": name, "statement": f"The {name} claim"} | entry
            entries.append({key: value for key, value in claim.items() if value is not None})
        path = self.folder / paper / "claims.yml"
        path.parent.mkdir(exist_ok=True)
        header = {"paper": paper, "title": "T", "citation": "key"}
        path.write_text(yaml.safe_dump(header | {"claims": entries}, sort_keys=False))
        return path

    def add(self, experiment, variant, seed, **changes):
        metrics = {"accuracy": accuracy(variant, seed)}
        if experiment == "exact":
            metrics = {"holds": float(variant == "all" or seed == 0), "checked": 180}
        config = Config(variant)
        values = {
            "paper": "fake", "experiment": experiment, "experiment_version": 1,
            "variant": variant, "profile": "full", "config": vars(config),
            "config_key": config_key(config), "seed": seed, "metrics": metrics, "seconds": 2.0,
            "device": "cpu", "dtype": "float64", "threads": 1, "versions": {},
            "code_version": "0", "started_at": "2026-01-01T00:00:00+00:00",
        }  # fmt: skip
        self.store.add(Record(**(values | changes)))

    def add_all(self, seeds=SEEDS, experiments=RUN):
        for experiment in experiments:
            for variant in VARIANTS[experiment]:
                for seed in range(2 if experiment == "exact" else seeds):
                    self.add(experiment, variant, seed)
        self.store.fold("fake")

    def verdicts(self, *names):
        found = verdicts(["fake"], store=self.store)
        return [v for v in found if v.claim in names] if names else found


@pytest.fixture
def fake(tmp_path, monkeypatch):
    paper = Fake(tmp_path)
    monkeypatch.setattr(papers, "names", lambda: ["bare", "fake"])
    monkeypatch.setattr(papers, "experiments", paper.experiments)
    monkeypatch.setattr(papers, "claims_file", paper.claims_file)
    return paper


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Write the records of a finished paper once, for every test that starts from them."""
    paper = Fake(tmp_path_factory.mktemp("records"))
    paper.add_all()
    return paper.store.root


@pytest.fixture
def full(fake, records):
    shutil.copytree(records, fake.store.root)
    return fake


def runs(*variants):
    return np.array([[accuracy(v, seed) for seed in range(SEEDS)] for v in variants])


# Verdicts


def test_every_kind_of_claim_gets_its_outcome(full):
    assert {v.claim: (v.outcome, v.controls) for v in full.verdicts()} == {
        "mean": ("reproduced", "not tested"),
        "welch": ("not reproduced", "not tested"),
        "single": ("compatible", "not tested"),
        "best": ("not reproduced", "undecided"),
        "none": ("no published value", "not tested"),
        "order": ("reproduced", "explained by untrained"),
        "reversed": ("not reproduced", "not tested"),
        "difference": ("reproduced", "not tested"),
        "holds": ("reproduced", "not applicable"),
        "fails": ("not reproduced", "not applicable"),
        "quoted": ("not attempted", "not tested"),
        "later": ("not yet run", "not tested"),
    }


def test_controls_that_are_beaten(full):
    full.claims["order"]["controls"] = {"classical": ["c2", "c4"]}
    (verdict,) = full.verdicts("order")
    assert verdict.controls == "survives"
    assert any(text.startswith("minus classical: +0.1") for text in verdict.details)


def test_words_that_stand_in_place_of_a_verdict(full):
    full.claims["mean"]["cannot"] = "five runs are too few"
    full.claims["order"]["evidence"] = "illustrated"
    full.claims["welch"] |= {"cannot": "no way", "experiment": "planned"}
    mean, welch, order = full.verdicts("mean", "welch", "order")
    assert (mean.outcome, order.outcome) == ("cannot be decided", "illustrates")
    assert mean.details[:2] == ("five runs are too few", "the rule alone would say: reproduced")
    assert mean.ours["n"] == SEEDS
    assert "the rule alone would say: reproduced" in order.details
    assert (welch.outcome, welch.ours, welch.details[0]) == ("cannot be decided", None, "no way")


def test_an_order_has_a_sign_and_a_size(full):
    for lead, size in ((0.105, "as published"), (0.2, "smaller than published")):
        full.claims["order"]["published"] = {"mean": lead}
        full.claims["order"]["margin"] = 0.03
        (order,) = full.verdicts("order")
        assert (order.outcome, order.ours["size"]) == ("reproduced", size)
        assert f"| reproduced, {size} |" in report.render([order], "markdown")
        (line,) = csv.DictReader(io.StringIO(report.render([order], "csv")))
        assert line["size"] == size


def test_margins_of_controls(full):
    full.claims["order"] |= {"controls": {"classical": ["c2", "c4"]}, "control_margin": 0.2}
    (order,) = full.verdicts("order")
    assert order.controls == "explained by classical"
    assert "the margin of controls is 0.2" in order.details


def test_a_control_that_is_the_circuit_by_proof_explains_once_the_property_holds(full):
    said = {"closed form": {"exact": "holds", "because": "a formula"},
            "equal effort": {"row": "mean", "because": "asked there"},
            "same size": {"because": "there is none"}}  # fmt: skip
    full.claims["order"] |= {"settled": said}
    (order,) = full.verdicts("order")
    assert order.controls == "explained by untrained, closed form"
    assert "minus closed form: 0 in every run, by holds: a formula" in order.details
    assert "control equal effort: see mean: asked there" in order.details
    assert "control same size does not apply: there is none" in order.details
    full.claims["order"] |= {"controls": {"classical": ["c2", "c4"]}, "control_margin": 0.2}
    (order,) = full.verdicts("order")
    assert order.controls == "explained by classical, closed form"
    said["closed form"]["exact"] = "fails"
    (order,) = full.verdicts("order")
    assert order.controls == "explained by classical"
    full.claims["order"] |= {"controls": {}}
    said["closed form"]["exact"] = "holds"
    (order,) = full.verdicts("order")
    assert order.controls == "explained by closed form"


def test_undecided_controls_say_how_many_seeds_they_need(full, monkeypatch):
    gaps = stats.t_interval((runs("q2", "q4") - runs("c2", "c4")).mean(0))
    lead = float(gaps.mean)
    full.claims["order"] |= {"controls": {"classical": ["c2", "c4"]}, "control_margin": lead}
    (order,) = full.verdicts("order")
    assert order.controls == "undecided"
    assert stats.seeds_needed(gaps, lead) < SEEDS  # enough, and the lead is that of the margin
    assert not any("resolve this margin" in text for text in order.details)
    monkeypatch.setattr(stats, "seeds_needed", lambda *_: SEEDS + 1)
    (order,) = full.verdicts("order")
    assert f"seeds that could resolve this margin: classical {SEEDS + 1}" in order.details


@pytest.mark.parametrize(
    ("claim", "published", "margin", "said"),
    [
        ("mean", {"mean": 0.717}, 0.005, "20 seeds: about 140 could resolve the margin"),
        (
            "mean",
            {"mean": 0.7},
            0.018,
            "they resolve the margin, but what they show lies at its edge",
        ),
        ("mean", {"mean": 0.7, "sd": 0.4, "n": 4}, 0.2, "no number could"),
        ("single", {"single": 0.7}, 0.03, "no number could"),
    ],
)
def test_what_its_seeds_leave_open_says_how_many_could_decide(full, claim, published, margin, said):
    full.claims[claim] |= {"published": published, "margin": margin}
    (verdict,) = full.verdicts(claim)
    assert any(
        "not decidable within the budget" in text and said in text for text in verdict.details
    )


def test_medians_and_runs_that_never_learn(full):
    full.claims["mean"]["dead"] = full.claims["order"]["dead"] = 0.7
    mean, order = full.verdicts("mean", "order")
    ours, theirs = runs("q2", "q4"), runs("c2", "c4")
    dead = [(side < 0.7).sum() for side in (ours, theirs)]
    assert 0 < dead[0] < dead[1]
    assert f"median {np.median(ours):.3g}; below 0.7 are {dead[0]} of 40 runs" in mean.details
    both = f"below 0.7 are {dead[0]} of 40 runs and {dead[1]} of 40 runs"
    medians = f"medians {np.median(ours):.3g} against {np.median(theirs):.3g}"
    assert f"{medians}; {both}" in order.details


def test_best_says_how_likely_it_is_with_and_without_the_circuit(full):
    full.claims["best"]["published"] = {"best": 0.73, "of": 4}
    (verdict,) = full.verdicts("best")
    chance = stats.best_probability(runs("q2", "q4"), 0.73, 4)
    told = f"the best of 4 of the circuit reaches 0.73 with probability {chance.mean:.2f} ["
    assert any(text.startswith(told) for text in verdict.details)
    assert any("of classical reaches" in t and "minus the circuit" in t for t in verdict.details)


def test_the_tally_counts_claims_of_papers_once(full):
    full.claims["mean-part"] = BASE | {"published": {"mean": 0.71}}
    full.claims["mine"] = full.claims["mean"] | {
        "source": "this book", "provenance": "own after a pilot",
    }  # fmt: skip
    full.claims["sum"] = EXACT | {"variants": "all", "uncounted": "it is arithmetic"}
    found, others = report.tally(full.verdicts())
    assert [v.claim for v in found] == [
        "mean", "welch", "best", "order", "reversed", "difference", "holds", "fails",
    ]  # fmt: skip
    assert others == {
        "compatible": ["single"], "no published value": ["none"], "not attempted": ["quoted"],
        "not yet run": ["later"], "set aside": ["sum"],
    }  # fmt: skip
    (mine,) = full.verdicts("mine")
    assert "**mine** The mine claim (own after a pilot) |" in report.render([mine], "markdown")


def test_orders_are_corrected_for_their_number(full):
    found = full.verdicts()
    assert list(report.corrected_orders(found)) == [("fake", "order"), ("fake", "reversed")]
    weak, strong = stats.Interval(1.0, -0.2, 2.2, n=10), stats.Interval(1.0, 0.1, 1.9, n=10)
    pairs = zip(full.verdicts("order", "reversed"), (weak, strong), strict=True)
    orders = [replace(order, ours=order.ours | lead._asdict()) for order, lead in pairs]
    expected = [stats.t_p(weak), 2 * stats.t_p(strong)]  # Holm's, of two
    assert list(report.corrected_orders(orders).values()) == pytest.approx(expected)
    assert report.corrected_orders([]) == {}


def test_numbers_are_those_of_the_records(full):
    mean, order, difference = full.verdicts("mean", "order", "difference")
    expected = stats.t_interval(runs("q2", "q4").mean(0))
    assert mean.ours == {
        "statistic": "mean", "n": SEEDS,
        **{k: pytest.approx(getattr(expected, k), rel=1e-5) for k in ("mean", "low", "high")},
    }  # fmt: skip
    gaps = (runs("q2", "q4") - runs("c2", "c4")).mean(0)
    assert order.ours["mean"] == pytest.approx(gaps.mean(), rel=1e-5)
    assert order.ours["low"] == pytest.approx(stats.t_interval(gaps).low, rel=1e-5)
    assert order.ours["p"] <= 2 / (stats.SAMPLED_FLIPS + 1)
    assert difference.ours["mean"] == order.ours["mean"]
    assert "p" not in difference.ours


def test_best_pools_all_runs_and_says_how_often_it_errs(full):
    (verdict,) = full.verdicts("best")
    pooled = runs("q2", "q4").ravel()
    assert (verdict.ours["n"], verdict.ours["high"]) == (40, pytest.approx(pooled.max(), rel=1e-5))
    share = f"{stats.best_band_error(40, 4):.0%}"
    assert any(f"fall outside in {share}" in text for text in verdict.details)


def test_properties_count_their_checks(full):
    holds, fails = full.verdicts("holds", "fails")
    assert holds.ours == {"holds": True, "checked": 360}
    assert fails.ours == {"holds": False, "checked": 360}


def test_costs_and_commands(full):
    mean, best, order, quoted = full.verdicts("mean", "best", "order", "quoted")
    assert (mean.cost_s, mean.command) == (80.0, "qmlbook sweep fake --experiment grid")
    assert (best.cost_s, best.command) == (240.0, "qmlbook sweep fake")  # two experiments
    assert order.cost_s == 240.0
    assert (quoted.cost_s, quoted.command, quoted.ours) == (0.0, None, None)


def test_nothing_recorded(fake):
    outcomes = {v.claim: v.outcome for v in fake.verdicts()}
    assert outcomes.pop("none") == "no published value"
    assert {outcomes.pop(name) for name in ("holds", "fails", "quoted")} == {"not attempted"}
    assert set(outcomes.values()) == {"not yet run"}
    assert all(v.ours is None for v in fake.verdicts())
    assert report.count(fake.verdicts())["not yet run"] == len(outcomes)


def test_no_verdict_before_all_planned_runs_are_there(fake):
    fake.add_all(seeds=SEEDS - 1)
    mean, order = fake.verdicts("mean", "order")
    assert mean.outcome == order.outcome == f"incomplete ({SEEDS - 1} of {SEEDS} seeds)"
    assert (mean.ours, order.controls) == (None, "not tested")
    fake.add("grid", "q2", SEEDS - 1)
    (mean,) = fake.verdicts("mean")  # its other variant is still short of one
    assert mean.outcome == f"incomplete ({SEEDS - 1} of {SEEDS} seeds)"
    fake.add("grid", "q4", SEEDS - 1)
    assert fake.verdicts("mean")[0].outcome == "reproduced"


def test_controls_wait_for_all_their_runs(fake):
    fake.add_all(experiments=("grid",))
    fake.add("untrained", "q2", 0)
    (order,) = fake.verdicts("order")
    assert (order.outcome, order.controls) == ("reproduced", "not tested")
    assert f"control untrained: 0 of {SEEDS} seeds are recorded" in order.details
    for variant in VARIANTS["untrained"]:
        for seed in range(variant == "q2", SEEDS - 1):
            fake.add("untrained", variant, seed)
    (order,) = fake.verdicts("order")  # the last one counts as much as the first
    assert (order.outcome, order.controls) == ("reproduced", "not tested")
    assert f"control untrained: {SEEDS - 1} of {SEEDS} seeds are recorded" in order.details


def test_runs_beyond_the_plan_change_nothing(full):
    before = full.verdicts("mean", "order", "best")
    for variant in VARIANTS["grid"]:
        full.add("grid", variant, SEEDS, metrics={"accuracy": 0.0})
    assert full.verdicts("mean", "order", "best") == before


def test_runs_beyond_the_plan_replace_no_planned_one(fake):
    fake.add_all(seeds=SEEDS - 1)
    for variant in ("q2", "q4"):
        fake.add("grid", variant, SEEDS)
    assert fake.verdicts("mean")[0].outcome == f"incomplete ({SEEDS - 1} of {SEEDS} seeds)"


@pytest.mark.parametrize("today", [0, 2])
def test_records_of_other_versions_are_left_out_and_told(full, today):
    full.version["grid"] = today
    (mean,) = full.verdicts("mean")
    assert (mean.outcome, mean.ours, mean.cost_s) == ("not yet run", None, 0.0)
    told = f"{4 * SEEDS} records of other versions of the experiment are left out"
    assert f"grid: {told}" in mean.details
    assert notes(store=full.store) == [f"fake/grid: {told}."]


def test_failed_quick_and_abandoned_runs_do_not_count(fake):
    fake.add_all(seeds=SEEDS - 1)
    fake.add("grid", "q4", SEEDS - 1)
    fake.add("grid", "q2", SEEDS - 1, status="failed", error="ValueError: no", metrics={})
    for settings in (Config("q2", epochs=1), Config("q2", epochs=99)):
        fake.add("grid", "q2", SEEDS - 1, profile="quick", config_key=config_key(settings))
    (mean,) = fake.verdicts("mean")
    assert mean.outcome == f"incomplete ({SEEDS - 1} of {SEEDS} seeds)"
    assert "grid/q2: 1 failed run is left out" in mean.details
    assert notes(store=fake.store) == []


def test_a_quick_run_with_the_settings_of_the_full_one_counts(fake):
    fake.add_all(seeds=SEEDS - 1)
    for variant in ("q2", "q4"):
        fake.add("grid", variant, SEEDS - 1, profile="quick")
    assert fake.verdicts("mean")[0].outcome == "reproduced"


def test_damaged_lines_are_told(full):
    path = full.store.root / "fake" / "exact.jsonl"
    path.write_text(path.read_text() + "damaged\n")
    damaged, altered = notes(["fake"], store=full.store)
    assert damaged.startswith("fake/exact.jsonl: a line is set aside")
    assert altered.startswith("fake/exact.jsonl: the records are not those that were stored")


def test_verdicts_are_the_same_every_time(full):
    assert full.verdicts() == full.verdicts()


def test_claims_of_one_s_own_that_ask_for_other_seeds_say_how_to_make_them(full, tmp_path):
    more = {"from": SEEDS, "to": SEEDS + 9}
    mixed = {"variants": ["q2", "exact/all"], "seeds": SEEDS // 2}
    full.claims["mean"]["seeds"] = full.claims["best"]["seeds"] = SEEDS + 1
    full.claims |= {name: BASE | {"published": {"mean": 1}} for name in ("fresh", "mixed")}
    full.claims["fresh"]["seeds"] = more
    full.claims["mixed"] |= mixed
    mine = full.claims_file("fake").rename(tmp_path / "mine.yml")
    full.claims = {name: dict(entry) for name, entry in CLAIMS.items()}
    found = {v.claim: v for v in verdicts(["fake"], claims=mine, store=full.store)}
    assert found["mean"].outcome == "incomplete (20 of 21 seeds)"
    assert found["mean"].command == "qmlbook sweep fake --experiment grid --seeds 21"
    both = "qmlbook sweep fake --experiment grid --experiment untrained --seeds 21"
    assert found["best"].command == both
    assert found["order"].command == "qmlbook sweep fake"
    assert found["holds"].command == "qmlbook sweep fake --experiment exact"
    assert found["fresh"].command == "qmlbook sweep fake --experiment grid --seeds 20-29"
    # One of two experiments plans too few: the command makes the runs of both.
    several = "qmlbook sweep fake --experiment exact --experiment grid --seeds 10"
    assert found["mixed"].command == several
    # A sweep makes what the book's own claims ask for, without being told.
    full.claims["mean"]["seeds"] = more
    assert full.verdicts("mean")[0].command == "qmlbook sweep fake --experiment grid"


def test_fresh_seeds_decide_and_the_old_ones_are_shown(full):
    for name in ("mean", "order", "best"):
        full.claims[name]["seeds"] = {"from": SEEDS, "to": 2 * SEEDS - 1}
    mean, best, order = full.verdicts("mean", "best", "order")
    assert {mean.outcome, order.outcome, best.outcome} == {"not yet run"}
    told = f"20 seeds looked at before (0 to {SEEDS - 1}), which decide nothing: "
    before = stats.t_interval(runs("q2", "q4").mean(0))
    assert f"{told}{before.mean:.3g} [{before.low:.3g}, {before.high:.3g}]" in mean.details
    gaps = stats.t_interval((runs("q2", "q4") - runs("c2", "c4")).mean(0))
    assert f"{told}{gaps.mean:.3g} [{gaps.low:.3g}, {gaps.high:.3g}]" in order.details
    for seed in range(SEEDS, 2 * SEEDS):
        for variant in VARIANTS["grid"]:
            full.add("grid", variant, seed)
    mean, order = full.verdicts("mean", "order")
    assert (mean.outcome, mean.ours["n"], mean.cost_s) == ("reproduced", SEEDS, 80.0)
    fresh = [[accuracy(v, seed) for seed in range(SEEDS, 2 * SEEDS)] for v in ("q2", "q4")]
    assert mean.ours["mean"] == pytest.approx(np.mean(fresh), rel=1e-5)
    assert (order.outcome, order.controls) == ("reproduced", "not tested")
    assert f"control untrained: 0 of {SEEDS} seeds are recorded" in order.details
    assert any(text.startswith(told) for text in order.details)


@pytest.mark.parametrize("paper", papers.names())
def test_no_claim_of_the_book_asks_for_more_seeds_than_are_planned(paper):
    assert not [v.claim for v in verdicts([paper]) if "--seeds" in (v.command or "")]


def test_own_claims_are_judged_without_touching_the_book_s(full, tmp_path):
    before = full.verdicts()
    full.claims = {"mine": BASE | {"published": {"mean": 0.71}, "seeds": 4}}
    mine = full.claims_file("fake").rename(tmp_path / "mine.yml")
    full.claims = {name: dict(entry) for name, entry in CLAIMS.items()}
    (found,) = verdicts(["fake"], claims=mine, store=full.store)
    assert (found.claim, found.outcome, found.ours["n"]) == ("mine", "reproduced", 4)
    assert full.verdicts() == before
    with pytest.raises(QmlbookError, match=r"mine.yml: paper is 'fake' and must be 'bare'"):
        verdicts(["bare"], claims=mine)
    for names in (None, [], ["fake", "bare"]):
        with pytest.raises(UsageError, match="are about one paper: name it, and no other"):
            verdicts(names, claims=mine, store=full.store)
    with pytest.raises(QmlbookError, match=r"none.yml: the file is missing"):
        verdicts(["fake"], claims=tmp_path / "none.yml", store=full.store)


def test_claims_must_fit_the_experiments(full, monkeypatch):
    full.claims["mean"]["variants"] = ["q2", "q3"]
    with pytest.raises(UsageError, match="claim mean of fake: variant of grid 'q3' is not known"):
        full.verdicts()
    full.claims["mean"]["variants"] = ["gird/q2"]
    with pytest.raises(UsageError, match="claim mean of fake: experiment 'gird' is not known"):
        full.verdicts()
    full.claims["mean"] |= {"variants": ["q2"], "experiment": "to-come"}
    with pytest.raises(UsageError, match="'to-come' is not known; choose from: grid, untrained"):
        full.verdicts()
    full.claims["mean"] |= {"experiment": "grid", "metric": "acuracy"}
    with pytest.raises(QmlbookError, match=r"no number 'acuracy'; it has: accuracy"):
        full.verdicts()
    monkeypatch.setitem(VARIANTS, "grid", [])
    with pytest.raises(
        UsageError, match=r"of grid 'q2' is not known; choose from: \(it has none\)\."
    ):
        full.verdicts()


def test_a_property_that_is_neither_yes_nor_no_is_named(full):
    full.claims["holds"]["metric"] = "checked"
    said = r"claim holds of fake: 'checked' of exact: .* 1 .* or 0 .*, and one is 180\.0\.$"
    with pytest.raises(QmlbookError, match=said):
        full.verdicts()
    full.claims["holds"]["metric"] = "hold"
    with pytest.raises(
        QmlbookError, match=r"^claim holds of fake: exact/all, seed 0, has no number"
    ):
        full.verdicts()


def test_a_run_without_numbers_is_told(fake):
    fake.claims = {"mean": fake.claims["mean"]}
    for seed in range(SEEDS):
        for variant in VARIANTS["grid"]:
            fake.add("grid", variant, seed, metrics={})
    with pytest.raises(QmlbookError, match=r"no number 'accuracy'; it has none\.$"):
        fake.verdicts()


def test_papers_are_validated(fake):
    with pytest.raises(UsageError, match="paper 'fak' is not known; choose from: bare, fake"):
        verdicts(["fak"], store=fake.store)
    assert len(verdicts(store=fake.store)) == len(CLAIMS)
    assert verdicts(["bare"], store=fake.store) == []


# Rendering

KEYS = [
    "paper", "claim", "kind", "statement", "published", "source", "ours", "margin", "evidence",
    "outcome", "controls", "cost_s", "command", "provenance", "uncounted",
]  # fmt: skip


def test_json_is_the_contract(full):
    content = json.loads(report.render(full.verdicts(), "json"))
    assert [list(item) for item in content] == [KEYS] * len(CLAIMS)
    by_claim = {item["claim"]: item for item in content}
    best = by_claim["best"]
    assert best["published"] == {"best": 0.9, "of": 4}
    assert list(best["ours"]) == ["statistic", "mean", "low", "high", "n"]
    assert best["ours"]["statistic"] == "max"
    assert list(by_claim["order"]["ours"]) == ["statistic", "mean", "low", "high", "n", "p"]
    assert by_claim["none"]["published"] == "not available"
    assert by_claim["quoted"]["ours"] is by_claim["quoted"]["command"] is None


def test_outcomes_follow_from_the_json_alone(full):
    """A reader who knows the table of rules needs no more than this object."""
    found = {i["claim"]: i for i in json.loads(report.render(full.verdicts(), "json"))}
    for claim in ("mean", "welch", "difference"):
        ours, margin = found[claim]["ours"], found[claim]["margin"]
        low, high = (ours[end] - found[claim]["published"]["mean"] for end in ("low", "high"))
        inside, outside = -margin <= low <= high <= margin, low > margin or high < -margin
        expected = "reproduced" if inside else "not reproduced" if outside else "inconclusive"
        assert found[claim]["outcome"] == expected
    best = found["best"]
    assert (best["ours"]["low"] <= best["published"]["best"] <= best["ours"]["high"]) == (
        best["outcome"] == "reproduced"
    )


def test_markdown_is_a_table_for_each_kind_of_evidence(full):
    text = report.render(full.verdicts(), "markdown")
    kinds = ["Computed", "Measured", "Illustrated"]
    assert re.findall(r"^\*\*(\w+)\*\*$", text, re.MULTILINE) == kinds
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert rows.count("| claim | published | ours | margin | verdict | controls |") == len(kinds)
    assert len(rows) == 2 * len(kinds) + len(CLAIMS)
    assert all(row.replace(r"\|", "").count("|") == 7 for row in rows)
    tables = text.split("\n\n")
    assert "**quoted**" in tables[-1]
    assert "**mean**" not in tables[-1]
    best = next(row for row in rows if "**best**" in row)
    assert "| 0.9 (best of 4) | best of 4 in [" in best
    assert best.endswith("| not reproduced | undecided |")
    assert "| 0.9 ± 0.02 (n = 5) |" in text
    assert "| holds (360 checked) |" in text
    assert "| – |" in text


def test_markdown_survives_bars_and_line_ends(full):
    (verdict,) = full.verdicts("mean")
    text = report.render([replace(verdict, statement="a | b\nc")], "markdown")
    assert text.splitlines()[2].startswith(r"| **mean** a \| b c | 0.71 | 0.7")


def test_markdown_of_several_papers_names_them(full):
    (verdict,) = full.verdicts("mean")
    text = report.render([verdict, replace(verdict, paper="other")], "markdown")
    assert text.startswith("**fake**\n\n| claim |")
    assert "\n\n**other**\n\n| claim |" in text


def test_csv_has_a_column_for_every_number(full):
    rows = list(csv.DictReader(io.StringIO(report.render(full.verdicts(), "csv"))))
    assert [row["claim"] for row in rows] == list(CLAIMS)
    by_claim = {row["claim"]: row for row in rows}
    (mean,) = full.verdicts("mean")
    assert float(by_claim["mean"]["low"]) == mean.ours["low"]
    assert by_claim["mean"]["source"] == "Fig. B | left"
    assert (by_claim["holds"]["holds"], by_claim["holds"]["mean"]) == ("True", "")
    assert float(by_claim["order"]["p"]) < 0.01


def test_table_fits_the_page(full):
    text = report.render(full.verdicts())
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    for word in ("fake: computed", "published", "reproduced", "untrained", "best"):
        assert word in text
    assert "\x1b[32m" in report.render(full.verdicts(), "table", color=True)


def test_markup_in_a_statement_is_text(full):
    (verdict,) = full.verdicts("mean")
    assert "[red]" in report.render([replace(verdict, statement="[red] is a word")])


def test_incomplete_claims_show_how_many(fake):
    fake.add_all(seeds=5, experiments=("grid",))
    text = report.render(fake.verdicts("mean"), "markdown")
    assert "| – | 0.05 | incomplete (5 of 20 seeds) |" in text


@pytest.mark.parametrize("format", report.FORMATS)
def test_no_verdicts_are_rendered_too(format):
    text = report.render([], format)
    assert text == ("[]\n" if format == "json" else "")


def test_an_unknown_format_is_refused():
    with pytest.raises(UsageError, match="format 'xml' is not known; choose from: table, markdown"):
        report.render([], "xml")


def test_summary_counts_every_outcome(full):
    summary = report.count(full.verdicts())
    assert list(summary) == list(OUTCOMES)
    assert sum(summary.values()) == len(CLAIMS)
    assert (summary["reproduced"], summary["not reproduced"], summary["incomplete"]) == (4, 4, 0)
    assert summary["compatible"] == 1
    path = full.store.root / "fake" / "grid.jsonl"
    rest = [line for line in path.read_text().splitlines() if '"variant":"q2"' not in line]
    path.write_text("\n".join(rest))
    # what needs q2 and another variant is incomplete; q2 alone was not run
    counts = report.count(full.verdicts())
    assert (counts["incomplete"], counts["not yet run"]) == (6, 2)


def test_values_are_those_of_the_seeds_that_are_asked_for():
    by_seed = {seed: SimpleNamespace(metrics={"accuracy": seed / 10}) for seed in (7, 0, 1, 3)}
    runs = Runs({Cell("grid", "q2"): by_seed})
    assert runs.values("grid/q2", "accuracy").tolist() == [0.0, 0.1, 0.3, 0.7]
    assert runs.values("grid/q2", "accuracy", range(1, 5)).tolist() == [0.1, 0.3]
    assert len(runs.values("grid/c2", "accuracy", range(5))) == 0
