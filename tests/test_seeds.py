"""A class of seeds: its texts, its rule, and how both parts of the page are worked."""

import re
from dataclasses import replace

import javascript
import numpy as np
import pytest
from scipy.stats import t
from test_live_figures import RULE, seeds

from qmlbook.base.rng import stream
from qmlbook.book.figures import live_figures
from qmlbook.evidence import stats
from qmlbook.papers.klssl import experiments, training


def asked(body, given):
    script = live_figures.script("seeds") + f"\nfunction asked(given) {{ {body} }}\n"
    return javascript.ask(script, "asked", given)


# --- the rule ---


def test_quantiles_are_those_of_scipy():
    numbers = [*range(1, 60), 99, 100, 399, 1199, 5000]
    levels = [0.5, 0.95, 0.999]
    body = "return given.levels.map((level) => given.numbers.map((df) => quantile(df, level)));"
    found = np.array(asked(body, {"numbers": numbers, "levels": levels}))
    right = t.ppf((1 + np.array(levels)[:, None]) / 2, numbers)
    np.testing.assert_allclose(found, right, rtol=1e-9)


@pytest.mark.parametrize(
    ("sizes", "times"),
    [
        ((8, 9, 20, 21, 200), 2),
        pytest.param((8, 9, 20, 21, 200, 1200), 4, marks=pytest.mark.nightly),
    ],
)
def test_the_rule_is_that_of_the_book(sizes, times):
    rng = stream(0, "class of seeds")
    many = [
        (rng.normal(mean, 0.1, n) + 1, np.ones(n))
        for n in sizes
        for mean in (-0.05, -0.01, 0, 0.005, 0.01, 0.02, 0.05)
        for _ in range(times)
    ]
    differences = [(over - under).tolist() for over, under in many]
    body = "return given.all.map((one) => order(one, given.rule));"
    words = set()
    for found, (over, under) in zip(
        asked(body, {"all": differences, "rule": RULE}), many, strict=True
    ):
        word, interval, _ = stats.order_outcome(over, under, RULE["margin"], rng)
        assert found["word"] == word
        ends = [found[name] for name in ("mean", "low", "high")]
        np.testing.assert_allclose(ends, interval[:3], rtol=1e-9, atol=1e-12)
        words.add(word)
    assert words == {stats.REPRODUCED, stats.NOT_REPRODUCED, stats.INCONCLUSIVE}


def test_fewer_runs_than_the_rule_takes_decide_nothing():
    assert asked("return order(given, { least: 8 });", [0.1] * 7) == {"word": "incomplete"}


def test_the_verdict_waits_for_the_seeds_that_were_planned_and_counts_no_others():
    better = [[[50, 52 + i % 2] for i in range(20)] for _ in range(3)]
    body = """const there = new Map(given.texts), rule = given.rule;
    return given.plans.map((planned) => {
      const { word, soFar, steps } = verdict(there, planned, 100, rule);
      return [word, soFar, steps.map(({ n }) => n)];
    });"""
    texts = list(zip((1, 41, 101), better, strict=True))
    found = asked(body, {"texts": texts, "plans": [20, 40, 60, 120], "rule": RULE})
    assert found == [
        ["reproduced", "", [20]],
        ["incomplete (20 of 40 seeds)", "reproduced", [20]],
        ["incomplete (40 of 60 seeds)", "reproduced", [20, 40]],
        ["incomplete (60 of 120 seeds)", "reproduced", [20, 40, 60]],
    ]


# --- texts ---

PAIRS = [[100 + i, 90 + 2 * i] for i in range(20)]
WRITE = "return written(given.name, given.first, given.pairs);"
READ = "return read(given.text, given.name, given.images);"


def text(first=21, pairs=PAIRS, name="0a1b2c3d"):
    return asked(WRITE, {"name": name, "first": first, "pairs": pairs})


def read(pasted, images=200):
    return asked(READ, {"text": pasted, "name": "0a1b2c3d", "images": images})


def test_a_text_comes_back_as_it_was_written_whatever_a_mail_makes_of_its_blanks():
    one, two = text(), text(41)
    assert re.fullmatch(r"qlr1 0a1b2c3d 21( \d+\.\d+){20} [0-9a-f]{8}", one)
    right = [{"first": 21, "pairs": PAIRS}, {"first": 41, "pairs": PAIRS}]
    assert read(f"{one}\n{two}") == right
    assert read(f"  {one} {two.upper()}\r\n\r\n") == right
    assert read(one.replace(" ", "\n ") + "\t" + two) == right
    assert read(f"from A.: {one} thanks!\nfrom B.: {two} (late, sorry)") == right
    assert read("") == [{"problem": "“” belongs to no text: each begins with qlr1."}]


SENTENCES = {
    "nothing of ours": (
        lambda text: "hello, my seeds!",
        "belongs to no text: each begins with qlr1",
    ),
    "cut": (lambda text: text[:60], "is cut or garbled: it has"),
    "one digit": (lambda text: text.replace(" 100.", " 180."), "was changed on its way"),
    "two results swapped": (lambda text: text.replace("100.90 101.92", "101.92 100.90"), "changed"),
}


@pytest.mark.parametrize("how", SENTENCES)
def test_a_text_that_was_changed_is_refused_with_a_sentence(how):
    change, said = SENTENCES[how]
    assert change(text()) != text()
    (found,) = read(change(text()))
    assert said in found["problem"]
    assert found["problem"].endswith(".")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"name": "ffffffff"}, "of another edition of this page"),
        ({"first": 22}, "begins with seed 22; texts begin with 1, 21, 41"),
        ({"first": 1201}, "begins with seed 1201; texts begin with 1, 21, 41 and so on to 1181"),
        ({"pairs": [[100, 201], *PAIRS[1:]]}, "no pair of numbers from 0 to 200"),
        ({"pairs": [[100], *PAIRS[1:]]}, "no pair of numbers"),
        ({"pairs": [[100, -1], *PAIRS[1:]]}, "no pair of numbers"),
    ],
)
def test_a_text_that_cannot_be_is_refused_though_its_checksum_fits(made, said):
    (found,) = read(text(**made))
    assert said in found["problem"]


def test_every_single_letter_that_changes_is_seen():
    whole = text()
    spoiled = [
        whole[:i] + ("7" if letter != "7" else "8") + whole[i + 1 :]
        for i, letter in enumerate(whole)
        if letter != " "
    ]
    body = "return given.texts.map((text) => read(text, given.name, 200).every((t) => t.problem));"
    assert all(asked(body, {"texts": spoiled, "name": "0a1b2c3d"}))


def test_seeds_that_are_there_are_refused_as_the_same_or_as_others():
    body = """const there = new Map([[21, given]]), other = given.map(([a, b]) => [a, b + 1]);
    const says = (first, pairs) => refused({ first, pairs }, there);
    return [says(21, given), says(21, other), says(41, given)];"""
    same, other, fresh = asked(body, PAIRS)
    assert same == "seeds 21 to 40 are here already; the second text was left out."
    assert other.startswith("seeds 21 to 40 are here already with other results;")
    assert fresh == ""


def test_results_that_a_seed_does_not_give_are_found_by_repeating_it():
    body = """const { run, images, name } = experimentOf(given);
    const honest = [0, 1].map((i) => run(1 + i)), [a, b] = honest[1];
    const says = (pair) => doubted({ first: 1, pairs: [honest[0], pair] }, 2, run(2));
    const said = [says([a, b]), says([a - 1, b]), says([a, b - 2])];
    return { images, name, honest, said };"""
    found = asked(body, seeds().data)
    assert found == asked(body, seeds().data)  # drawn by seeds, and by nothing else
    assert found["images"] == 40
    assert re.fullmatch("[0-9a-f]{8}", found["name"])
    assert found["honest"][0] != found["honest"][1]
    exact, near, far = found["said"]
    assert (exact, near) == ("", "")
    a, b = found["honest"][1]
    said = f"seed 2 gives {a} and {b} here, the text says {a} and {b - 2}."
    assert far == f"seeds 1 to 20 were left out: {said}"


@pytest.mark.nightly
def test_the_class_is_told_as_it_is():
    """On the images of the page, as it says below its figure."""
    published = replace(
        experiments.PRESETS["quick"]["published"], n_train=200, n_eval=200, batch_size=50
    )
    trained = replace(published, epochs=30, learning_rate=0.03, period=None)
    seen, unseen = (
        live_figures.images(part.inputs.numpy(), part.labels.tolist())
        for part in training.splits(published)
    )
    procedures = {"untrained": replace(published, epochs=0), "trained": trained}
    given = {"train": seen, "test": unseen, "rule": RULE}
    given["procedures"] = {name: live_figures.plain(each) for name, each in procedures.items()}
    body = """const { run, images } = experimentOf(given), there = new Map();
    for (let first = 1; first < 200; first += 20) {
      there.set(first, Array.from({ length: 20 }, (_, i) => run(first + i)));
    }
    return verdict(there, 200, images, given.rule);"""
    found = asked(body, given)
    first, *others = found["steps"]
    assert first["word"] == stats.INCONCLUSIVE
    assert {step["word"] for step in others} == {found["word"]} == {stats.NOT_REPRODUCED}
    assert others[-1]["low"] < others[-1]["high"] < 0  # a little worse
    half_width = (others[-1]["high"] - others[-1]["low"]) / 2
    assert half_width > 0.01  # from half of the margin to the margin, or to zero


# --- how they are worked ---


def run(tab, number):
    """Run the seeds of a number by keyboard, and return the text."""
    tab.get_by_label("my number in the class").fill(str(number))
    tab.get_by_role("button", name="run my 20 seeds").press("Enter")
    tab.get_by_role("status").first.filter(has_text="Hand in the text").wait_for()
    return tab.get_by_label("my text").input_value()


def hand_in(tab, *texts):
    """Paste texts, add them by keyboard, and return the status and what is refused."""
    tab.get_by_label("texts of the class").fill("\n".join(texts))
    tab.get_by_role("button", name="add and check").press("Enter")
    status = tab.get_by_role("status").last
    status.filter(has_text="were added").wait_for()
    return status.inner_text(), tab.locator("li").all_inner_texts()


@pytest.mark.slow
@pytest.mark.parametrize(
    "motion", ["no-preference", pytest.param("reduce", marks=pytest.mark.nightly)]
)
def test_a_class_runs_hands_in_and_decides(show_parts, motion):
    tab = show_parts(seeds(), reduced_motion=motion)
    plan = tab.get_by_role("slider", name="texts planned")
    plan.press("Home")
    for _ in range(2):
        plan.press("ArrowRight")
    one, two, three = (run(tab, number) for number in (1, 2, 3))
    assert len({one, two, three}) == 3
    status, refusals = hand_in(tab, one, two[:70], one)
    assert status.startswith("1 of 3 texts were added, 2 refused. 20 seeds: ")
    garbled, twice = refusals
    assert "is cut or garbled" in garbled
    assert twice == "Seeds 1 to 20 are here already; the second text was left out."
    word = tab.get_by_text("Verdict:")
    assert "incomplete (20 of 60 seeds); the rule alone would say so far:" in word.inner_text()
    status, refusals = hand_in(tab, two, three)
    assert status.startswith("2 of 2 texts were added, 0 refused. 60 seeds: ")
    assert refusals == []
    mean, low, high = map(
        float, re.search(r"60 seeds: (\S+) \[(\S+), (\S+)\]", status.replace("−", "-")).groups()
    )
    pairs = [pair.split(".") for each in (one, two, three) for pair in each.split()[3:-1]]
    assert len(pairs) == 60
    before, after = np.array(pairs, int).T / 40
    outcome, interval, _ = stats.order_outcome(after, before, 0.02, stream(0, "flip"))
    assert [mean, low, high] == [pytest.approx(end, abs=6e-4) for end in interval[:3]]
    assert word.inner_text() == f"Verdict: {outcome}"
    assert tab.get_by_role("img", name="The interval narrows with the seeds. 60 seeds").count() == 1
    tab.get_by_role("button", name="start again").press("Enter")
    assert "incomplete (0 of 60 seeds)" in word.inner_text()


@pytest.mark.slow
def test_invented_results_are_found_though_their_checksum_fits(show_parts):
    tab = show_parts(seeds())
    honest = run(tab, 1)
    name, pairs = honest.split()[1], [[0, 40]] * 20
    status, (refusal,) = hand_in(tab, text(1, pairs, name))
    assert status.startswith("0 of 1 texts were added, 1 refused.")
    assert re.fullmatch(
        r"Seeds 1 to 20 were left out: seed \d+ gives \d+ and \d+ here, the text says 0 and 40\.",
        refusal,
    )
    tab.get_by_role("slider", name="seeds to repeat").press("Home")
    assert hand_in(tab, text(1, pairs, name))[0].startswith("1 of 1")


@pytest.mark.slow
def test_a_number_must_be_one_of_the_class(show_parts):
    tab = show_parts(seeds())
    for wrong in ("0", "61", "1.5", ""):
        tab.get_by_label("my number in the class").fill(wrong)
        tab.get_by_role("button", name="run my 20 seeds").press("Enter")
        said = tab.get_by_role("status").first.inner_text()
        assert said == "My number must be a whole number from 1 to 60."
