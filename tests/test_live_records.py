"""Live figures of stored runs and trained circuits: numbers, what is told, how they work."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t
from stored_figures import (
    PUBLISHED,
    SOURCES,
    TURNS,
    asked,
    checkpoints,
    form,
    last_round,
    ring,
    sampled_ring,
    shots,
    steps,
)

from qmlbook.base.rng import stream
from qmlbook.book.figures import live_figures
from qmlbook.evidence.verdicts import load_runs
from qmlbook.papers.c2q import experiments as heads
from qmlbook.papers.qssl import circuits as rings
from qmlbook.papers.qssl import experiments, hardware, networks
from qmlbook.papers.shared.qnodes import qnode

BOOK = Path(__file__).parents[1] / "book"


def told(chapter, number):
    """Return what a page says below one of its live figures."""
    text = (BOOK / f"{chapter}.md").read_text("utf-8")
    said = r"\{admonition\} What you should have seen\n:class: dropdown\n(.*?)\n```"
    return re.findall(said, text, re.DOTALL)[number]


# --- heads at step sizes ---

RANKED = "return given.chosen.map((chosen) => ranked(given.heads, chosen));"


def test_heads_are_ranked_at_the_steps_of_their_kinds_or_at_their_best():
    published, equal, best = asked(
        "steps", RANKED, steps().data | {"chosen": [[1, 0], [1, 1], None]}
    )
    names = [[head["name"] for head in order] for order in (published, equal, best)]
    assert names[0] == ["dense", "10-general", "4-zx", "1d"]
    assert names[1] == ["dense", "1d", "10-general", "4-zx"]
    assert [head["at"] for head in best] == [1, 1, 1, 2]
    assert [head["mean"] for head in best] == [97, 91, 86, 83]


def test_the_order_of_heads_is_told_as_it_is():
    stored, said = load_runs("c2q"), told("c2q", 1)
    every = [
        {
            "name": head,
            "quantum": head in heads.TEN_HEADS,
            "runs": [
                stored.values(f"curve/{head}-2v3-{step}", "accuracy", range(10)).tolist()
                for step in heads.STEPS
            ],
        }
        for head in heads.CURVES
    ]
    small, large = heads.STEPS.index(0.001), heads.STEPS.index(0.01)
    chosen = [[large, small], [small, small], [large, large], None]
    behind = []
    for order in asked("steps", RANKED, {"heads": every, "chosen": chosen}):
        at = [head["name"] for head in order].index("10-general")
        behind.append([head["name"] for head in order[at:] if not head["quantum"]])
    others = {head["name"] for head in every if not head["quantum"]}
    assert others - set(behind[0]) == {"dense"}
    assert "ahead of eight of the nine others, all but the dense one" in said
    assert "At 0.001 for all it is ahead of seven, at 0.01 for all of two" in said
    assert "best step, of one" in said
    assert [len(names) for names in behind] == [8, 7, 2, 1]
    between = slice(heads.STEPS.index(0.003), heads.STEPS.index(0.1) + 1)
    moved = {h["name"]: np.ptp(np.mean(h["runs"], axis=1)[between]) for h in every}
    assert moved["10-general"] < 2
    assert min(moved[name] for name in ("1d", "2d", "quadratic-63", "quadratic-18")) > 5


# --- a quadratic form ---


def test_the_form_is_that_of_the_circuit():
    body = (
        "return [matrixOf(given, given.angles, 1), eigenvalues(matrixOf(given, given.angles, 1))];"
    )
    rng = stream(0, "live form")
    for angles in (TURNS, *rng.uniform(-np.pi, np.pi, (3, 6))):
        A, values = asked("form", body, form().data | {"angles": angles.tolist()})
        for x in rng.normal(size=(5, 4)):
            assert x @ A @ x / (x @ x) == pytest.approx(last_round(x, angles)[1], abs=1e-12)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(A), atol=1e-12)


def test_borders_are_where_nothing_is_decided():
    rng = stream(0, "live borders")
    many = [(m + m.T).tolist() for m in rng.normal(size=(40, 2, 2))]
    seen = set()
    for matrix, angles in zip(many, asked("form", "return given.map(borders);", many), strict=True):
        seen.add(len(angles))
        assert bool(angles) == (np.linalg.det(matrix) < 0)
        for angle in angles:
            x = np.array([np.cos(angle), np.sin(angle)])
            assert x @ matrix @ x == pytest.approx(0, abs=1e-12)
    assert seen == {0, 2}


def test_the_angles_of_the_form_do_what_the_page_says():
    said = told("c2q", 0)
    assert "The fifth angle" in said
    assert "Only the sixth moves them, two of four" in said
    body = """return given.all.map((angles) => {
      const A = matrixOf(given, angles, 1);
      return [A, eigenvalues(A)];
    });"""
    turned = [TURNS + 0.7 * (np.arange(6) == k) for k in range(6)]
    given = form().data | {"all": [TURNS.tolist(), *(one.tolist() for one in turned)]}
    (A, values), *others = asked("form", body, given)
    still = [np.allclose(B, A, atol=1e-12) for B, _ in others]
    assert still == [False, False, False, False, True, False]
    moved = [(~np.isclose(them, values, atol=1e-9)).sum() for _, them in others]
    assert moved == [0, 0, 0, 0, 0, 2]
    assert sum(values) == pytest.approx(2)


# --- networks while they learn ---

PAIR = """return given.asked.map(([names, batch]) => {
  const pair = paired(given.sources, names), values = differences(pair, batch);
  const ours = values && interval(values, given.quantiles[values.length - given.least]);
  return [pair?.seeds ?? null, values, ours, recorded(given.published, names, batch)];
});"""


def test_two_networks_are_paired_by_seed_where_most_is_known():
    asked_for = [
        [["ring", "classical"], 1], [["ring", "classical"], 14], [["ring", "ring"], 14],
        [["ring", "wide"], 1],
    ]  # fmt: skip
    data = checkpoints().data | {"asked": asked_for}
    both, without, itself, few = asked("checkpoints", PAIR, data)
    assert both[0] == ["0", "1", "2", "3"]
    assert both[1] == [3, 4, 5, 6]
    half = t.ppf(0.975, 3) * np.std(both[1], ddof=1) / 2
    assert (both[2]["mean"], both[2]["half"]) == (4.5, pytest.approx(half))
    assert both[3] == {"mean": 3.5, "spread": pytest.approx(2)}
    assert without[1:3] == [None, None]
    assert without[3]["mean"] == 1.5
    assert itself[0] == ["8", "9", "10", "11"]
    assert few == [None, None, None, None]


def test_fresh_curves_are_taken_up_by_themselves():
    of_ring = SOURCES[0]["networks"]["ring"]
    longer = {"ring": of_ring, "classical": {seed: [30, 34, 40] for seed in of_ring}}
    sources = [{**SOURCES[0], "networks": longer}, SOURCES[1]]
    data = checkpoints(sources).data | {"asked": [[["ring", "classical"], 14]]}
    [[seeds, values, _, _]] = asked("checkpoints", PAIR, data)
    assert seeds == list(of_ring)
    assert values == [2, 2, 2, 2]
    assert 14 in PUBLISHED["batches"]


def test_two_networks_are_told_as_they_are():
    stored, drawn, said = load_runs("qssl"), experiments.published()["curves"], told("qssl", 1)
    places = {"curves": experiments.CURVE, "pretrain": (1, 92, 176), "extras": (1, 92, 176)}
    sources = [
        {
            "batches": numbers,
            "networks": {
                cell.variant: {
                    seed: [run.metrics[f"accuracy_{k}"] for k in numbers]
                    for seed, run in runs.items()
                }
                for cell, runs in stored.usable.items()
                if cell.experiment in (where, "extras" if where == "pretrain" else where)
            },
        }
        for where, numbers in list(places.items())[:2]
    ]
    published = {"batches": drawn.pop("batches"), "curves": drawn}

    def at(over, under, batch):
        data = checkpoints(sources).data | {"published": published}
        [found] = asked("checkpoints", PAIR, data | {"asked": [[[over, under], batch]]})
        return (*(found[2]["mean"] + sign * found[2]["half"] for sign in (-1, 1)), found[3])

    assert "*ring* minus *classical* has its interval above zero" in said
    for batch in (1, 176):
        low, high, theirs = at("ring", "classical", batch)
        assert low > 0
        assert low < theirs["mean"] + theirs["spread"]
        assert high > theirs["mean"] - theirs["spread"]
        low, high, _ = at("ring", "untrained-ring", batch)
        assert low < 0 < high
    for name in ("untrained-ring", "identity"):
        assert at(name, "classical", 176)[0] > 0
    assert "*classical-w32* is ahead of the ring at the end" in said
    assert at("ring", "classical-w32", 176)[1] < 0


# --- a sampled circuit ---


def test_sampled_features_are_those_of_the_circuit():
    body = """const all = chances(given), random = generator(3);
    const many = Array.from({ length: 2000 }, () => features(all[0], 4, 25, random));
    return [all.map((one) => features(one, 4)), many, named(all, given)];"""
    exact, many, right = asked("shots", body, shots().data)
    angles, params, _, _ = sampled_ring()
    wanted = np.array([ring(one, params) for one in angles])
    np.testing.assert_allclose(exact, wanted, atol=1e-12)
    assert right == 100
    spread = np.sqrt((1 - wanted[0] ** 2) / 25)
    np.testing.assert_allclose(np.mean(many, axis=0), wanted[0], atol=4 * spread.max() / 2000**0.5)
    np.testing.assert_allclose(np.std(many, axis=0), spread, rtol=0.08)


@pytest.mark.nightly
def test_shots_are_told_as_they_are():
    trained, rival = (
        networks.network_after_training(n, "cifar10", 0) for n in ("ring", "classical")
    )
    params = trained.network["params"].double().numpy()
    node = qnode(rings.features, ansatz="ring", layers=2)
    level = hardware.classify(rival, networks.exact_features(rival, "classical")).accuracy
    given = live_figures.circuit(node, trained.angles[0].double().numpy(), params)
    given |= {name: getattr(trained, name).tolist() for name in ("labels", "weight", "bias")}
    given |= {
        "angles": (1000 * trained.angles).round().int().tolist(),
        "counts": [5, 10, 20, 100, 200],
    }
    body = """const all = chances(given), random = generator(7);
    return [named(all, given), given.counts.map((n) =>
      Array.from({ length: 20 }, () => named(all, given, n, random)))];"""
    exact, (five, ten, twenty, hundred, double) = asked("shots", body, given)
    right = hardware.classify(trained, networks.exact_features(trained)).accuracy
    assert exact == pytest.approx(right, abs=0.12)
    said = told("qssl", 0)
    assert (
        "With five shots a picture and fewer the classical network is nearly always ahead" in said
    )
    assert sum(one > level for one in five) <= 3
    assert "Around ten it is anyone's game, and from twenty on" in said
    assert 3 <= sum(one > level for one in ten) <= 17
    assert sum(one > level for one in twenty) >= 17
    assert "A hundred shots are within a point of the exact circuit" in said
    assert np.mean(hundred) == pytest.approx(exact, abs=1)
    assert "the second hundred adds less than a point" in said
    assert np.mean(double) == pytest.approx(np.mean(hundred), abs=1)


# --- how they are worked ---


@pytest.mark.slow
def test_steps_are_moved_by_keyboard(show_parts):
    tab = show_parts(steps())
    status = tab.get_by_role("status")
    assert status.inner_text().startswith(
        "Quantum heads with steps of 0.01, the others of 0.001: of the quantum heads 10-general "
        "with 86.0 % is best, of the others dense with 94.0 %."
    )
    assert "10-general, 86.0 %, is ahead of 1 of 2 others." in status.inner_text()
    tab.get_by_role("slider", name="step of the others").press("ArrowRight")
    assert "is ahead of 0 of 2 others" in status.inner_text()
    tab.get_by_role("slider", name="step of the quantum heads").press("Home")
    assert "steps of 0.001, the others of 0.01" in status.inner_text()
    tab.get_by_role("button", name="each at its best step").press("Enter")
    assert status.inner_text().startswith("Each head at its best step")
    names = tab.locator("svg text[text-anchor=end]").all_text_contents()[-4:]
    assert [name.split()[0] for name in names] == ["dense", "1d", "10-general", "4-zx"]
    assert [name.split()[1] for name in names] == ["◆", "◆", "●", "●"]


@pytest.mark.slow
def test_the_form_is_turned_by_keyboard(show_parts):
    tab = show_parts(form())
    status = tab.get_by_role("status")
    assert status.inner_text().startswith("Trace 2.00, eigenvalues 0.00, 0.29, 0.71, 1.00.")
    once = tab.get_by_role("img").first.get_attribute("aria-label")
    tab.get_by_role("slider", name="angle 5").press("End")
    assert tab.get_by_role("img").first.get_attribute("aria-label") == once
    tab.get_by_role("slider", name="angle 6").press("End")
    assert "eigenvalues 0.00, 0.00, 1.00, 1.00." in status.inner_text()
    for name in ("angle 1", "angle 2", "angle 3", "angle 4"):
        tab.get_by_role("slider", name=name).press("End")
    before = status.inner_text()
    tab.get_by_role("combobox", name="plane").select_option("01, 10")
    assert "In the plane of the features 01, 10" in status.inner_text() != before


@pytest.mark.slow
def test_networks_are_compared_by_keyboard(show_parts):
    tab = show_parts(checkpoints())
    status = tab.get_by_role("status")
    assert status.inner_text() == (
        "ring minus classical after 14 batches: no runs of ours with equal seeds; "
        "published +1.5 ± 3.0."
    )
    batches = tab.get_by_role("slider", name="batches")
    batches.press("Home")
    assert status.inner_text() == (
        "ring minus classical after 1 batch: ours +4.5 [+2.4, +6.6], ahead in 4 of 4 seeds; "
        "published +3.5 ± 2.0."
    )
    batches.press("End")
    assert status.inner_text().endswith("ahead in 4 of 4 seeds; not published.")
    tab.get_by_role("combobox", name="minus").select_option("wide")
    assert "no runs of ours with equal seeds; not published" in status.inner_text()
    tab.get_by_role("combobox", name="minus").select_option("ring")
    assert "after 176 batches: ours 0.0 [0.0, 0.0]" in status.inner_text()


@pytest.mark.slow
def test_shots_are_taken_by_keyboard(show_parts):
    tab = show_parts(shots())
    status = tab.get_by_role("status")
    said = r"10 shots: ([\d.]+) % of 40 pictures .* in \d+ of 10 samples. Exactly 100.0 %"
    few = re.match(said, status.inner_text())[1]
    tab.get_by_role("button", name="sample 10 times more").press("Enter")
    assert "of 20 samples" in status.inner_text()
    tab.get_by_role("slider", name="shots").press("End")
    many = re.match(said.replace("10 shots", "100 shots", 1), status.inner_text())[1]
    assert float(many) > float(few)
    assert tab.locator("svg circle").count() == 30
