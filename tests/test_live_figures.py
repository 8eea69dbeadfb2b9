"""Figures that compute in the page: what they compute, and how they are read and worked."""

import json
import re
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pennylane as qml
import pytest
import stored_figures
import torch
from browsing import axe
from bs4 import BeautifulSoup
from scipy.stats import t
from stored_figures import HOSTILE, asked, picture

from qmlbook.base.errors import UsageError
from qmlbook.base.rng import stream
from qmlbook.book.figures import live_figures
from qmlbook.book.figures.live_figures import live
from qmlbook.evidence import stats
from qmlbook.papers.contextuality import task
from qmlbook.papers.klssl import experiments
from qmlbook.papers.klssl import training as klssl
from qmlbook.papers.klssl.config import Config
from qmlbook.papers.klssl.models import XAVIER
from qmlbook.papers.shared.crops import draw_crops
from qmlbook.papers.shared.splits import Split

ROOT = Path(__file__).parents[1]


@qml.qnode(qml.device("default.qubit", wires=2))
def pair(turn, link):
    qml.Hadamard(0)
    qml.RY(turn, 1)
    qml.CNOT((0, 1))
    qml.CRX(link, (1, 0))
    return qml.expval(qml.Z(0)), qml.expval(qml.Z(1))


ANGLES = np.pi / 4, -np.pi / 3
RUNS = range(3, 101)


def builder():
    return live("builder", picture(), "Build", HOSTILE, **live_figures.builder(pair, *ANGLES))


def studies(**start):
    start = {"n": 5, "margin": 0.03, "truth": 0.05} | start
    quantiles = live_figures.quantiles(RUNS)
    data = {"quantiles": quantiles, "least": RUNS.start, "sd": 0.05, "start": start}
    return live("studies", picture(), "Studies", HOSTILE, **data)


@qml.qnode(qml.device("default.qubit", wires=2))
def layer(v, angles):
    qml.AmplitudeEmbedding(v, wires=(0, 1), normalize=True)
    for turns in angles:
        for wire in (0, 1):
            qml.RY(turns[0][wire], wires=wire)
            qml.RZ(turns[1][wire], wires=wire)
        qml.CNOT((0, 1))
    return qml.expval(qml.Z(0)), qml.expval(qml.Z(1))


TURNS = np.array([-1.55, 0.17, 1.64, 0.85, -1.86, -2.85, 0.15, -1.88, 0.58, -2.9, 1.94, -0.77])
TURNS = TURNS.reshape(3, 2, 2)
DATA = np.array([-0.3, 0.29, 0.25, -0.87])


def fed_back(size):
    """Return the layer of the walk as a function in Python."""
    return lambda m: np.array(layer(np.tile(m, 2) + size * DATA, TURNS))


def walk(size=1.0, start=(0.3, -0.9)):
    given = live_figures.circuit(layer, DATA, TURNS)
    data = {"data": DATA.tolist(), "size": size, "start": list(start), **given}
    return live("walk", picture(), "Walk", HOSTILE, **data)


def tokens():
    return live("tokens", picture(), "Tokens </script>", HOSTILE, start=[[0, 1], [0, 2], [1, 2]])


def few(n):
    """Return images that tell two classes apart, without a data set: (n, 14, 14), labels."""
    rng = stream(0, "live images")
    labels = np.arange(n) % 2
    rows = np.arange(14)[:, None] if n else None
    shapes = np.exp(-((rows - 4 - 5 * labels[:, None, None]) ** 2) / 8) * np.ones(14)
    return np.rint(255 * shapes * rng.uniform(0.3, 1, (n, 14, 14))) / 255, labels


PUBLISHED = Config(epochs=3, batch_size=20, learning_rate=0.006, period=5)
MENDED = replace(
    PUBLISHED, loss="corrected", own_positives=True, attached=False, frozen=False, crops="image",
    learning_rate=0.02, period=None,
)  # fmt: skip
CONFIGS = {
    "published": PUBLISHED,
    "mended": MENDED,
    "sign alone": replace(PUBLISHED, loss="sign_fixed", frozen=False),
    "loop alone": replace(PUBLISHED, loss="loop_fixed", own_positives=True, crops="image"),
    "not at all": replace(PUBLISHED, epochs=0),
}


def training():
    seen, other = ((pixels, labels.tolist()) for pixels, labels in (few(40), few(40)))
    names = ("not at all", "published", "mended")
    procedures = {name: live_figures.plain(CONFIGS[name]) for name in names}
    data = {"train": live_figures.images(*seen), "test": live_figures.images(*other)}
    data |= {"procedures": procedures, "first": "not at all"}
    return live("training", picture(), "Training", HOSTILE, **data)


RULE = {"margin": 0.02, "level": stats.LEVEL, "least": stats.MIN_PAIRS}


def seeds():
    seen, other = ((pixels, labels.tolist()) for pixels, labels in (few(40), few(40)))
    procedures = {name: CONFIGS[name] for name in ("not at all", "published")}
    data = {"train": live_figures.images(*seen), "test": live_figures.images(*other)}
    data |= {"procedures": {name: live_figures.plain(each) for name, each in procedures.items()}}
    return live("seeds", picture(), "Seeds", HOSTILE, **data, rule=RULE)


FIGURES = {
    "builder": builder,
    "studies": studies,
    "walk": walk,
    "tokens": tokens,
    "training": training,
    **stored_figures.FIGURES,
    "seeds": seeds,
}


# --- what Python writes ---


def test_every_kind_is_looked_at_here():
    assert FIGURES.keys() == live_figures.KINDS.keys()


@pytest.mark.parametrize("kind", FIGURES)
def test_without_scripts_the_picture_is_all_there_is(kind):
    soup = BeautifulSoup(FIGURES[kind]().html(), "html.parser")
    assert soup.img["alt"] == HOSTILE
    assert soup.img["src"].startswith("data:image/png;base64,")
    assert soup.select_one("[role=group]").has_attr("hidden")
    assert soup.select_one("[role=group]")["aria-label"]
    data, _ = soup.find_all("script")
    assert json.loads(data.string) == FIGURES[kind]().data


@pytest.mark.parametrize("kind", FIGURES)
def test_a_figure_asks_for_no_other_file(kind):
    made = FIGURES[kind]().html()
    assert not re.search(r"^\s*(import|export)\b", made, re.MULTILINE)
    assert set(re.findall(r"https?://[\w./]+", made)) <= {"http://www.w3.org/2000/svg"}  # a name
    assert "fetch(" not in made
    assert made == FIGURES[kind]().html()


@pytest.mark.parametrize("kind", FIGURES)
def test_no_two_modules_of_a_figure_give_one_name_to_two_things(kind):
    names = re.findall(r"^(?:function|class|const) (\w+)", live_figures.script(kind), re.MULTILINE)
    assert len(names) == len(set(names))
    assert kind in names


def test_other_readers_get_the_picture():
    made = builder()
    bundle = made._repr_mimebundle_()
    assert bundle["text/plain"].startswith("Build: ")
    assert bundle["image/png"] in bundle["text/html"]
    assert not plt.get_fignums()


def test_kinds_and_gates_must_be_known():
    with pytest.raises(UsageError, match="kind"):
        live("slider", plt.figure(), "label", "alt")
    plt.close("all")

    @qml.qnode(qml.device("default.qubit", wires=2))
    def swap():
        qml.SWAP((0, 1))
        return qml.expval(qml.Z(0))

    with pytest.raises(UsageError, match="qnode has the gates SWAP; its gates must be RX, RY"):
        live_figures.builder(swap)


def test_quantiles_are_those_of_student():
    np.testing.assert_allclose(live_figures.quantiles([3, 100]), t.ppf(0.975, [2, 99]))


# --- what the scripts compute ---


def test_the_builder_computes_the_circuit_that_it_was_given():
    body = """const { structure, numbers } = assembled(given.start, given.gates, given.wires);
    const state = new Circuit(structure).state(numbers);
    return [0, 1].map((w) => expectation(state, [[1, [[w, "Z"]]]]));"""
    found = asked("builder", body, live_figures.builder(pair, *ANGLES))
    np.testing.assert_allclose(found, pair(*ANGLES), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", live_figures.PALETTE)
def test_every_gate_of_the_builder_is_that_of_pennylane(name):
    gate = live_figures.PALETTE[name]
    n, angles = gate.num_wires, [0.7] * gate.num_params
    body = """const [{ gate, n, gates }, start] = [given, 3];
    const { structure, numbers } = assembled(
      [{ gate, wires: Array.from({ length: n }, (_, w) => n - w), angle: 0.7 }], gates, start);
    const made = [];
    for (let one = 0; one < 2 ** start; one++) {
      structure.basis = Array.from({ length: start }, (_, w) => (one >> (start - 1 - w)) & 1);
      const { re, im } = new Circuit(structure).state(numbers);
      made.push([Array.from(re), Array.from(im)]);
    }
    return made;"""
    gates = live_figures.builder(pair, *ANGLES)["gates"]
    re_, im = np.swapaxes(asked("builder", body, {"gate": name, "n": n, "gates": gates}), 0, 1)
    right = qml.matrix(gate(*angles, wires=range(n, 0, -1)), wire_order=range(3))
    np.testing.assert_allclose((re_ + 1j * im).T, right, rtol=0, atol=1e-12)


def test_estimates_from_shots_scatter_as_they_should():
    body = """const { structure, numbers } = assembled(given.start, given.gates, given.wires);
    return estimates(new Circuit(structure).state(numbers), 100, 4000, generator(5));"""
    found = np.array(asked("builder", body, live_figures.builder(pair, *ANGLES)))
    right = np.array(pair(*ANGLES))
    spread = np.sqrt((1 - right**2) / 100)
    assert np.abs(found.mean(0) - right).max() < 4 * spread.max() / 4000**0.5
    np.testing.assert_allclose(found.std(0), spread, rtol=0.05)


def test_the_rule_of_the_studies_is_that_of_the_book():
    body = """const [{ all, quantiles, margins }] = [given];
    return all.map((runs) => {
      const found = interval(runs, quantiles[runs.length]);
      return [found.mean - found.half, found.mean + found.half,
        ...margins.map((margin) => Object.values(RULES)[0](found, margin))];
    });"""
    rng, margins = stream(0, "live studies"), [0.01, 0.03, 0.08]
    many = [rng.normal(0.03, 0.05, n) for n in RUNS for _ in range(5)]
    quantiles = dict(zip(map(str, RUNS), live_figures.quantiles(RUNS), strict=True))
    given = {"all": [runs.tolist() for runs in many], "quantiles": quantiles, "margins": margins}
    words = set()
    for (low, high, *said), runs in zip(asked("studies", body, given), many, strict=True):
        judged = [stats.value_outcome(runs, {"mean": 0.0}, margin) for margin in margins]
        assert said == [outcome for outcome, _ in judged]
        np.testing.assert_allclose([low, high], judged[0][1][1:3], rtol=1e-12, atol=1e-15)
        words.update(said)
    assert words == {stats.REPRODUCED, stats.NOT_REPRODUCED, stats.INCONCLUSIVE}


def test_studies_at_the_edge_of_the_margin_are_wrong_as_often_as_promised():
    body = """const next = normal(generator(3));
    const drawn = Array.from({ length: 20000 }, () =>
      interval(Array.from({ length: 20 }, () => 0.03 + 0.05 * next()), given));
    return tally(drawn, 0.03, 0.03);"""
    (quantile,) = live_figures.quantiles([20])
    ours, _, lucky = asked("studies", body, quantile)
    assert ours["wrong"] == ours["reproduced"]
    assert 0.02 < ours["wrong"] < 0.03
    assert 0.48 < lucky["wrong"] < 0.52


def test_the_walk_takes_the_steps_of_the_layer():
    body = """const f = layer(given, given.size);
    const points = roots(f);
    return [walked(f, given.start, 30), points.map((p) => p.at), points.map((p) => p.radius)];"""
    path, points, radii = asked("walk", body, walk().data)
    f, right = fed_back(1.0), [np.array([0.3, -0.9])]
    for _ in range(30):
        right.append(f(right[-1]))
    np.testing.assert_allclose(path, right, rtol=0, atol=1e-12)
    assert len(points) >= 2
    for m, radius in zip(np.array(points), radii, strict=True):
        np.testing.assert_allclose(f(m), m, atol=1e-9)
        steps = 1e-5 * np.eye(2)
        jacobian = np.column_stack([(f(m + s) - f(m - s)) / 2e-5 for s in steps])
        assert np.abs(np.linalg.eigvals(jacobian)).max() == pytest.approx(radius, rel=1e-6)


@pytest.mark.parametrize(
    ("size", "start", "kind", "length"),
    [(0.3, (0.7, 0.7), "cycle", 2), (0.3, (0.3, -0.9), "point", 1), (3.0, (0.7, 0.7), "point", 1)],
)
def test_the_end_of_a_walk_is_told(size, start, kind, length):
    body = "return end(walked(layer(given, given.size), given.start, 400));"
    assert asked("walk", body, walk(size, start).data) == {"kind": kind, "length": length}


def test_tokens_have_the_answers_of_the_chapter():
    body = """return given.map(({ edges, vertices }) => {
      let words = { "": nothing() };
      const chances = { "": 1 };
      vertices.forEach((vertex, step) => {
        const token = operator(vertex, edges[step]), next = {};
        for (const [word, state] of Object.entries(words)) {
          for (const [letter, sign] of [["0", 1], ["1", -1]]) {
            const p = chance(state, token, sign);
            if (p < IMPOSSIBLE) continue;
            next[word + letter] = after(state, token, sign);
            chances[word + letter] = chances[word] * p;
          }
        }
        words = next;
      });
      return Object.fromEntries(Object.keys(words).map((word) => [word, chances[word]]));
    });"""
    pairs, rng = list(combinations(range(3), 2)), stream(0, "live tokens")
    cases, rights = [], []
    for _ in range(20):
        graphs = [[pairs[i] for i in np.flatnonzero(rng.integers(0, 2, 3))] for _ in range(6)]
        vertices = rng.integers(0, 3, 6).tolist()
        asked_for = [task.block(3, g)[v] for g, v in zip(graphs, vertices, strict=True)]
        cases.append({"edges": graphs, "vertices": vertices})
        rights.append(task.outputs(3, asked_for))
    for found, right in zip(asked("tokens", body, cases), rights, strict=True):
        assert found.keys() == right.keys()
        for word, chance in right.items():
            assert found[word] == pytest.approx(chance, abs=1e-12)


def draws(config, seed, n):
    """Return all that `klssl.training.train` draws for a run, as the page is given it."""
    model = klssl.build(config, seed)
    weight, bias = (p.detach().flatten() for p in model.encoder.conv.parameters())
    angles = torch.cat([p.detach().flatten() for p in model.head.parameters()])
    rngs = {name: stream(seed, name) for name in ("batches", "bank", "crops")}
    epochs = []
    for _ in range(config.epochs):
        order = rngs["batches"].permutation(n)
        partners = order if config.own_positives else rngs["bank"].permutation(n)
        boxes = []
        for start in range(0, n, config.batch_size):
            size = 1 if config.crops == "batch" else min(config.batch_size, n - start)
            crops = draw_crops(rngs["crops"], size, 14)
            columns = ("top", "left", "height", "width", "flip")
            lines = zip(*(getattr(crops, name).tolist() for name in columns), strict=True)
            boxes.append([dict(zip(columns, line, strict=True)) for line in lines])
        orders = {"images": order.tolist(), "partners": partners.tolist()}
        epochs.append({**orders, "crops": boxes})
    made = {"weight": weight.tolist(), "bias": bias.item(), "angles": angles.tolist()}
    return made | {"epochs": epochs}


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("published", "mended") else pytest.param(name, marks=pytest.mark.nightly)
        for name in CONFIGS
    ],
)
def test_training_in_the_page_is_that_of_the_chapter_on_the_same_draws(name):
    config, (pixels, labels) = CONFIGS[name], few(50)
    split = Split(torch.from_numpy(pixels), torch.from_numpy(labels), None)
    body = """return given.draws.map((drawn) => {
      const { network, losses } = train(given.images, given.config, drawn);
      return { losses, z: Array.from(answers(network, given.images)),
        judged: judged(network, given, given) };
    });"""
    seeds = range(3)
    given = {
        "images": pixels.reshape(50, -1).tolist(),
        "labels": labels.tolist(),
        "config": asdict(config),
        "draws": [draws(config, seed, 50) for seed in seeds],
    }
    for seed, found in zip(seeds, asked("training", body, given), strict=True):
        trained = klssl.train(config, seed, split)
        trained.model.eval()
        with torch.no_grad():
            outcome = trained.model(split.inputs)
        np.testing.assert_allclose(found["losses"], trained.losses, rtol=1e-9, atol=1e-12)
        z = (outcome[:, 0] - outcome[:, 1]).numpy()  # log sigma(z) - log sigma(-z) = z
        np.testing.assert_allclose(found["z"], z, rtol=0, atol=1e-8)
        correct = (klssl.predict(trained.model, split.inputs) == split.labels).float().mean()
        assert found["judged"]["accuracy"] == pytest.approx(correct.item())
        assert found["judged"]["matched"] == pytest.approx(max(correct.item(), 1 - correct.item()))


def test_the_page_draws_runs_of_its_own():
    body = "return [7, 7, 8].map((seed) => draws(seed, 50, given));"
    made, again, other = asked("training", body, asdict(MENDED))
    assert made == again != other
    assert len(made["epochs"]) == MENDED.epochs
    for epoch in made["epochs"]:
        assert sorted(epoch["images"]) == list(range(50))
        assert epoch["partners"] == epoch["images"]
        assert [len(boxes) for boxes in epoch["crops"]] == [20, 20, 10]
        for box in [box for boxes in epoch["crops"] for box in boxes]:
            assert box["top"] + box["height"] <= 14
            assert box["left"] + box["width"] <= 14
            assert min(box["height"], box["width"]) >= 1
    assert np.abs(made["weight"]).max() <= XAVIER


def test_the_best_of_some_is_the_mean_over_all_choices():
    values = [0.5, 0.61, 0.43, 0.58, 0.7]
    found = asked("training", "return [1, 2, 3, 4, 5].map((m) => bestOf(given, m));", values)
    right = [np.mean([max(chosen) for chosen in combinations(values, m)]) for m in range(1, 6)]
    np.testing.assert_allclose(found, right, atol=1e-12)


# --- what one should have seen ---


def answer(chapter):
    """Return what a page says below its live figure, and the rest of it."""
    text = (ROOT / "book" / f"{chapter}.md").read_text("utf-8")
    return re.search(
        r"\{admonition\} What you should have seen\n:class: dropdown\n(.*?)\n```", text
    )[1]


def test_the_walk_is_told_as_it_is():
    text = (ROOT / "book" / "qdeq.md").read_text("utf-8")
    assert all(f"{turn:g}" in text for turn in TURNS.ravel())
    body = """return given.sizes.map((size) => {
      const f = layer(given, size), points = roots(f), grid = [-0.9, -0.5, -0.1, 0.3, 0.7];
      const ends = grid.flatMap((x) => grid.map((y) => end(walked(f, [x, y], 400))));
      return [points.map((p) => p.radius), ends.map((e) => e.kind + e.length)];
    });"""
    found = asked("walk", body, walk().data | {"sizes": [1, 0.3, 2, 3]})
    (radii, ends), (small, cycles), *large = found
    said = answer("qdeq")
    assert "At size 1 there are five fixed points. Three attract" in said
    assert (len(radii), sum(radius < 1 for radius in radii)) == (5, 3)
    assert set(ends) == {"point1"}
    assert "say 0.3, only one of them still attracts" in said
    assert sum(radius < 1 for radius in small) == 1
    assert cycles.count("cycle2") > len(cycles) / 3
    assert "From size 2 on a single fixed point is left" in said
    for radii, ends in large:
        assert len(radii) == 1
        assert radii[0] < 1
        assert set(ends) == {"point1"}


def test_the_studies_are_told_as_they_are():
    body = """return given.map(([n, truth, quantile]) => {
      const next = normal(generator(n));
      const drawn = Array.from({ length: 4000 }, () =>
        interval(Array.from({ length: n }, () => truth + 0.05 * next()), quantile));
      return tally(drawn, 0.03, truth);
    });"""
    numbers = [5, 26, 100, 5, 20]
    cases = zip(numbers, [0.05] * 3 + [0.03] * 2, live_figures.quantiles(numbers), strict=True)
    five, some, many, *edge = asked("studies", body, list(cases))

    def refused(rules):
        return 1 - rules[0]["reproduced"] - rules[0]["inconclusive"]

    assert five[0]["inconclusive"] > 0.85  # almost always decides nothing
    assert five[0]["wrong"] < 0.01
    assert refused(some) == pytest.approx(0.5, abs=0.05)  # some twenty-five runs
    assert refused(many) > 0.95
    assert five[1]["reproduced"] > 0.5  # calls most of the small studies reproduced
    assert some[1]["reproduced"] < 0.05
    for rules in edge:
        assert rules[0]["wrong"] < 0.035
        assert rules[2]["wrong"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.nightly
def test_training_is_told_as_it_is():
    quick = {name: experiments.PRESETS["quick"][name] for name in ("published", "corrected")}
    small = {"n_train": 200, "n_eval": 200, "batch_size": 50}
    steps = {"epochs": 30, "learning_rate": 0.03, "period": None}
    procedures = {
        "not at all": replace(quick["published"], **small, epochs=0),
        "as published": replace(quick["published"], **small, **steps),
        "mended": replace(quick["corrected"], **small, **steps),
    }
    seen, unseen = (
        live_figures.images(part.inputs.numpy(), part.labels.tolist())
        for part in klssl.splits(procedures["mended"])
    )
    body = """const [seen, unseen] = [split(given.seen), split(given.unseen)];
    return given.procedures.map((config) => Array.from({ length: 20 }, (_, i) => {
      const { network } = train(seen.images, config, draws(i + 1, seen.images.length, config));
      const z = answers(network, unseen.images);
      return [judged(network, seen, unseen).accuracy, Math.sqrt(squares(z, meanOf(z)) / z.length)];
    }));"""
    plain = [live_figures.plain(config) for config in procedures.values()]
    given = {"seen": seen, "unseen": unseen, "procedures": plain}
    untrained, published, mended = np.array(asked("training", body, given))
    assert published[:, 1].mean() == pytest.approx(untrained[:, 1].mean() / 2, rel=0.15)
    assert published[:, 0].mean() == pytest.approx(0.5, abs=0.05)
    best = np.mean([max(chosen) for chosen in combinations(untrained[:, 0], 5)])
    assert best == pytest.approx(0.65, abs=0.01)
    assert np.mean(np.abs(mended[:, 0] - 0.5) > 0.4) > 0.5


# --- how they are worked ---


WIDTHS = {"phone": 390, "desktop": 1280}


AT_NIGHT = pytest.mark.nightly
LOOKS = [
    ("phone", "dark"),
    pytest.param("desktop", "light", marks=AT_NIGHT),  # also in the pages
    pytest.param("phone", "light", marks=AT_NIGHT),
    pytest.param("desktop", "dark", marks=AT_NIGHT),
]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_live_figures_fit_and_are_accessible(show_parts, width, theme):
    size = {"width": WIDTHS[width], "height": 800}
    tab = show_parts(*(make() for make in FIGURES.values()), theme=theme, viewport=size)
    assert tab.locator(".qmlbook-live [role=group]:visible").count() == len(FIGURES)
    assert tab.locator(".qmlbook-live > img:visible").count() == 0
    assert tab.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert axe(tab) == []
    pressed = ".qmlbook-live :is(button, select, input):visible"
    for control in tab.locator(pressed).all():
        assert control.bounding_box()["height"] >= 44
    smallest = """() => Math.min(...[...document.querySelectorAll(".qmlbook-live svg text")].map(
        (text) => parseFloat(getComputedStyle(text).fontSize) *
            Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b)))"""
    assert tab.evaluate(smallest) >= 9


@pytest.mark.slow
def test_without_scripts_and_on_paper_figures_are_their_pictures(show_parts):
    figures = [make() for make in FIGURES.values()]
    still = show_parts(*figures, java_script_enabled=False)
    assert still.locator("img:visible").count() == len(figures)
    assert still.locator("[role=group]:visible").count() == 0
    tab = show_parts(*figures)
    tab.locator("[role=group]").last.wait_for(state="visible")
    assert tab.locator("img:visible").count() == 0
    tab.emulate_media(media="print")
    assert tab.locator("img:visible").count() == len(figures)
    assert tab.locator("[role=group]:visible").count() == 0


@pytest.mark.slow
def test_on_a_slide_a_figure_is_its_picture(show_parts):
    class Slide:
        def html(self):
            return f'<div class="reveal">{studies().html()}</div>'

    tab = show_parts(Slide())
    tab.wait_for_load_state()
    assert tab.locator("img:visible").count() == 1
    assert tab.locator("[role=group]:visible").count() == 0


@pytest.mark.slow
def test_a_circuit_is_built_by_keyboard(show_parts):
    tab = show_parts(builder())
    status, gates = tab.get_by_role("status"), tab.get_by_role("list", name="gates")
    assert gates.get_by_role("listitem").count() == 4
    tab.get_by_role("button", name="remove gate 1").focus()
    for _ in range(4):
        tab.keyboard.press("Enter")
    assert gates.get_by_role("listitem").count() == 0
    assert status.inner_text().startswith("0 gates. Z of wire 0: 1.00, estimates ± 0.00;")
    tab.get_by_role("combobox", name="gate").select_option("H")
    tab.get_by_role("button", name="add").press("Space")
    tab.get_by_role("combobox", name="gate").select_option("CNOT")
    tab.get_by_role("button", name="add").press("Space")
    rows = [" ".join(row.split()) for row in tab.locator("tbody tr").all_inner_texts()]
    assert rows == [
        "00 0.71 + 0.00 i 0.50",
        "01 0.00 + 0.00 i 0.00",
        "10 0.00 + 0.00 i 0.00",
        "11 0.71 + 0.00 i 0.50",
    ]
    assert "wire 1: 0.00, estimates ± 0.10" in status.inner_text()
    tab.get_by_role("slider", name="shots").press("ArrowRight")
    assert "estimates ± 0.06" in status.inner_text()
    tab.get_by_role("combobox", name="gate").select_option("RX")
    tab.get_by_role("button", name="add").press("Space")
    angle = tab.get_by_role("slider", name="RX on 0")
    assert angle.get_attribute("aria-valuetext") == "0.25 π"
    angle.press("ArrowRight")
    assert angle.get_attribute("aria-valuetext") == "0.29 π"
    before = tab.locator("circle").evaluate_all("all => all.map((c) => c.getAttribute('cx'))")
    tab.get_by_role("button", name="measure again").press("Enter")
    after = tab.locator("circle").evaluate_all("all => all.map((c) => c.getAttribute('cx'))")
    assert before != after


@pytest.mark.slow
def test_studies_are_moved_by_keyboard(show_parts):
    tab = show_parts(studies())
    status = tab.get_by_role("status")
    assert status.inner_text().startswith("5 runs; the true difference 0.050 matters")
    tab.get_by_role("slider", name="runs").press("End")
    assert status.inner_text().startswith("100 runs;")
    row = tab.get_by_role("row", name="interval within the margin").inner_text().split()
    assert row[-3:-1] == ["%", "0.0"], row  # wrong: never
    before = status.inner_text()
    tab.get_by_role("slider", name="true difference").press("Home")
    assert "the true difference 0.000 does not matter" in status.inner_text()
    tab.get_by_role("slider", name="runs").press("Home")
    once = tab.locator("tbody").inner_text()
    tab.get_by_role("button", name="draw other studies").press("Enter")
    assert tab.locator("tbody").inner_text() != once
    assert status.inner_text() != before


@pytest.mark.slow
def test_a_walk_begins_where_one_clicks_or_says(show_parts):
    tab = show_parts(walk(0.3, (0.7, 0.7)))
    status, plane = tab.get_by_role("status"), tab.get_by_role("img").first
    told = "From (0.70, 0.70), with data of size 0.30, the walk ends in a cycle of 2 points."
    assert status.inner_text().startswith(told)
    box = plane.bounding_box()
    plane.click(position={"x": 0.55 * box["width"], "y": 0.3 * box["height"]})
    assert not status.inner_text().startswith("From (0.70, 0.70)")
    tab.get_by_role("slider", name="start, qubit 0").press("Home")
    tab.get_by_role("slider", name="start, qubit 1").press("End")
    assert status.inner_text().startswith("From (−1.00, 1.00)")
    tab.get_by_role("slider", name="size of the data").press("End")
    assert "the walk ends in the fixed point" in status.inner_text()
    assert "Fixed points: 1, of which 0 repel." in status.inner_text()
    assert plane.get_attribute("aria-label") == status.inner_text()


@pytest.mark.slow
def test_tokens_are_answered_by_keyboard_until_an_answer_is_impossible(show_parts):
    tab = show_parts(tokens())
    status = tab.get_by_role("status")
    assert tab.get_by_role("button", name="edge 0–1").get_attribute("aria-pressed") == "true"
    for vertex, name in enumerate(("X₀Z₁Z₂", "Z₀X₁Z₂")):
        tab.get_by_role("button", name=f"answer +1 to {name}, 50 %").press("Enter")
        assert status.inner_text() == f"{name} is +1. {vertex + 1} answers, all possible."
    tab.get_by_role("button", name="answer +1 to Z₀Z₁X₂, impossible").press("Enter")
    assert status.inner_text() == ("Z₀Z₁X₂ cannot be +1 after these answers: wrong at token 3.")
    assert tab.evaluate("document.activeElement.textContent") == "start again"
    assert tab.get_by_role("button", name="answer").first.is_disabled()
    tab.keyboard.press("Enter")
    for pair in ("0–1", "0–2", "1–2"):
        tab.get_by_role("button", name=f"edge {pair}").press("Space")
    assert tab.get_by_role("button", name=", 100 %").count() == 3
    assert tab.get_by_role("img", name="edges: none").count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_twenty_seeds_are_trained_in_the_page(show_parts, motion):
    tab = show_parts(training(), reduced_motion=motion)
    status = tab.get_by_role("status")
    assert status.inner_text().startswith("not at all: 20 seeds, mean accuracy")
    tab.get_by_role("combobox", name="trained").select_option("mended")
    tab.evaluate(WATCH)
    tab.get_by_role("button", name="train 20 seeds").press("Enter")
    status.filter(has_text="mended: 20 seeds").wait_for()
    drawn = tab.evaluate("window.drawn")
    assert (drawn <= 2) == (motion == "reduce")
    best = re.search(r"mended: .*?best of 1 ([\d.]+)", status.inner_text())[1]
    tab.get_by_role("slider", name="best of m runs").press("End")
    assert re.search(r"mended: .*?best of 20 ([\d.]+)", status.inner_text())[1] > best


# How often the histogram is drawn anew.
WATCH = """() => {
  window.drawn = 0;
  const inside = document.querySelector("svg > g:last-child");
  new MutationObserver((all) => {
    window.drawn += all.some((one) => one.removedNodes.length > 5);
  }).observe(inside, { childList: true });
}"""


@pytest.mark.slow
def test_the_same_figure_twice_on_a_page_is_two_figures(show_parts):
    tab = show_parts(studies(), studies())
    first, second = tab.locator(".qmlbook-live").all()
    first.get_by_role("slider", name="runs").press("End")
    assert first.get_by_role("status").inner_text().startswith("100 runs")
    assert second.get_by_role("status").inner_text().startswith("5 runs")
