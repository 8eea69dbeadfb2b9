"""The rules are held against simulations of laws whose answer is known."""

import itertools

import numpy as np
import pytest
import scipy.stats

from qmlbook.base.errors import QmlbookError
from qmlbook.base.rng import stream
from qmlbook.evidence import stats

TRIALS = 20_000


def within(hits: int, rate: float, trials: int = TRIALS, sigmas: float = 4.5) -> bool:
    """Say whether a count of independent trials is what ``rate`` gives, up to binomial error."""
    return abs(hits / trials - rate) <= sigmas * np.sqrt(rate * (1 - rate) / trials)


def covers(interval: stats.Interval, truth: float | np.ndarray) -> int:
    return int(np.sum((interval.low <= truth) & (truth <= interval.high)))


def rates(outcomes: list[str]) -> dict[str, float]:
    return {name: outcomes.count(name) / len(outcomes) for name in set(outcomes)}


# Intervals


@pytest.mark.parametrize("n", [3, 10, 100])
def test_t_interval_covers_the_mean(n):
    runs = stream(1, "t", n).normal(0.7, 0.1, (TRIALS, n))
    assert within(covers(stats.t_interval(runs), 0.7), 0.95)


def test_t_interval_is_the_textbook_one():
    runs = stream(2, "t").normal(size=12)
    expected = scipy.stats.ttest_1samp(runs, 0).confidence_interval(0.95)
    interval = stats.t_interval(runs)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), rel=1e-12)
    assert interval.mean == pytest.approx(runs.mean())
    assert interval.n == 12


@pytest.mark.parametrize(("n", "sd"), [(6, 0.05), (20, 0.2), (100, 0.1)])
def test_welch_interval_covers_the_difference(n, sd):
    rng = stream(3, "welch", n)
    ours, theirs = rng.normal(0.5, 0.1, (TRIALS, n)), rng.normal(0.4, sd, (TRIALS, 8))
    mean, spread = theirs.mean(-1), theirs.std(-1, ddof=1)
    # Welch's degrees of freedom are an approximation, good to about a percent at these sizes.
    hits = covers(stats.welch_interval(ours, mean, spread, 8), 0.1) / TRIALS
    assert abs(hits - 0.95) < 0.012


def test_welch_interval_is_the_textbook_one():
    rng = stream(4, "welch")
    ours, theirs = rng.normal(size=9), rng.normal(1, 3, size=5)
    expected = scipy.stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    interval = stats.welch_interval(ours, theirs.mean(), theirs.std(ddof=1), 5)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), rel=1e-10)


@pytest.mark.parametrize("n", [3, 20])
def test_prediction_interval_covers_a_new_run(n):
    runs = stream(5, "prediction", n).normal(2, 0.3, (TRIALS, n + 1))
    assert within(covers(stats.prediction_interval(runs[:, :-1]), runs[:, -1]), 0.95)


def test_paired_interval_uses_the_pairs():
    rng = stream(6, "paired")
    shared = rng.normal(0, 1, (TRIALS, 10))  # the same seed helps or hurts both
    over = shared + rng.normal(0.02, 0.01, shared.shape)
    under = shared + rng.normal(0, 0.01, shared.shape)
    interval = stats.paired_interval(over, under)
    assert within(covers(interval, 0.02), 0.95)
    assert np.median(interval.high - interval.low) < 0.03  # unpaired, it would be near 2


@pytest.mark.parametrize(("n", "m"), [(15, 3), (100, 20), (400, 20), (50, 1)])
def test_best_band_is_the_bootstrap_of_infinitely_many_samples(n, m):
    rng = stream(7, "band", n, m)
    runs = rng.normal(size=n)
    best = runs[rng.integers(n, size=(40_000, m))].max(-1)
    band = stats.best_band(runs, m)
    # The law is discrete: each end has to carry its tail up to the error of the simulation.
    assert np.mean(best <= band.low) >= 0.025 - 0.004
    assert np.mean(best < band.low) <= 0.025 + 0.004
    assert np.mean(best <= band.high) >= 0.975 - 0.004
    assert np.mean(best < band.high) <= 0.975 + 0.004


@pytest.mark.parametrize(("n", "m"), [(25, 5), (100, 20), (400, 20)])
def test_best_band_error_is_exact_for_any_continuous_law(n, m):
    rng = stream(8, "error", n, m)
    runs, new = rng.exponential(size=(TRIALS, n)), rng.exponential(size=(TRIALS, m)).max(-1)
    outside = TRIALS - covers(stats.best_band(runs, m), new)
    assert within(outside, stats.best_band_error(n, m))


def test_best_band_error_above_the_largest_run():
    # At n = 5 m the band ends at our best run, which m new runs beat with chance m / (n + m).
    low = stats._best_ranks(100, 20)[0]
    below = np.prod([(low + i) / (101 + i) for i in range(20)])  # E[U_(low)^20], U uniform
    assert stats.best_band_error(100, 20) == pytest.approx(below + 20 / 120)


@pytest.mark.parametrize("interval", [stats.t_interval, stats.prediction_interval])
def test_constant_runs_give_an_interval_of_zero_width(interval):
    found = interval(np.full(7, 0.1 * 3))
    assert found.low == found.mean == found.high


def test_constant_runs_in_the_other_rules():
    same = np.full(20, 0.1 * 3)
    found = stats.welch_interval(same, 0.25, 0.0, 5)
    assert found.low == found.high == pytest.approx(0.05)
    band = stats.best_band(same, 4)
    assert band.low == band.high == same[0]
    outcome, interval, p = stats.order_outcome(same, same, 0.01, stream(0, "p"))
    assert (outcome, interval.low, interval.high, p) == ("not reproduced", 0, 0, 1)


# Permutations


@pytest.mark.parametrize("n", [3, 8, 11])
def test_sign_flips_against_plain_enumeration(n):
    d = stream(9, "flip", n).normal(0.4, 1, n)
    sums = [abs(sum(s * x for s, x in zip(signs, d, strict=True)))
            for signs in itertools.product([-1, 1], repeat=n)]  # fmt: skip
    expected = sum(total >= abs(d.sum()) - 1e-9 for total in sums) / 2**n
    assert stats.sign_flip_p(d, stream(0, "unused")) == expected


def test_sign_flips_count_ties():
    # Each pattern of equal differences has an exact tie; rounding must not lose one.
    assert stats.sign_flip_p(np.full(10, 0.1), stream(0, "unused")) == 2 / 2**10


def test_sign_flips_against_scipy():
    d = stream(10, "flip").normal(0.2, 1, 12)
    test = scipy.stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=1e6)
    assert stats.sign_flip_p(d, stream(0, "unused")) == pytest.approx(test.pvalue)


def test_sampled_flips_agree_with_the_exact_p():
    d = stream(11, "flip").normal(0.35, 1, 18)
    flips = 1 - 2 * ((np.arange(2**18)[:, None] >> np.arange(18)) & 1)
    exact = np.mean(np.abs(flips @ d) >= abs(d.sum()) - 1e-9)
    sampled = stats.sign_flip_p(d, stream(0, "flip"))
    assert sampled == stats.sign_flip_p(d, stream(0, "flip"))
    assert abs(sampled - exact) < 4.5 * np.sqrt(exact * (1 - exact) / stats.SAMPLED_FLIPS)
    assert stats.sign_flip_p(np.full(40, 1.0), stream(0, "flip")) == 1 / (stats.SAMPLED_FLIPS + 1)


def test_sign_flip_p_is_uniform_without_an_effect():
    rng = stream(12, "uniform")
    ps = np.array([stats.sign_flip_p(d, rng) for d in rng.normal(size=(1500, 8))])
    assert within(int((ps <= 0.05).sum()), 12 / 256, 1500)  # 12 of 256 patterns reach p <= 0.05


# Verdicts: the table of the design, row by row


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [
        (0.50, "reproduced"),
        (0.60, "not reproduced"),
        (0.53, "inconclusive"),
        (0.40, "not reproduced"),
    ],
)
@pytest.mark.parametrize("published", [{"mean": 0.5}, {"mean": 0.5, "sd": 0.001, "n": 20}])
def test_value_rule(ours, outcome, published):
    runs = ours + np.array([-0.01, 0.01, 0.0, -0.01, 0.01])  # half-width 0.0124
    found, interval = stats.value_outcome(runs, published, 0.03)
    assert found == outcome
    assert interval.mean == pytest.approx(ours)
    assert interval.low < ours < interval.high


def test_value_rule_is_not_satisfied_by_wide_intervals():
    runs = np.array([0.2, 0.5, 0.8])
    assert stats.value_outcome(runs, {"mean": 0.5}, 0.05)[0] == "inconclusive"
    assert stats.value_outcome(runs, {"single": 0.5}, 0.05)[0] == "inconclusive"
    assert stats.value_outcome(np.tile(runs, (50, 1)), {"mean": 0.5}, 0.05)[0] == "inconclusive"


def test_published_spread_widens_the_interval():
    runs = 0.5 + 0.01 * np.sin(np.arange(50))
    alone, _ = stats.value_outcome(runs, {"mean": 0.51}, 0.03)
    spread, interval = stats.value_outcome(runs, {"mean": 0.51, "sd": 0.1, "n": 4}, 0.03)
    assert (alone, spread) == ("reproduced", "inconclusive")
    assert interval.high - interval.low > 0.2


@pytest.mark.parametrize(
    ("single", "margin", "outcome"),
    [(0.5, 0.1, "compatible"), (0.5, 0.01, "inconclusive"), (0.9, 0.1, "not reproduced")],
)
def test_single_rule(single, margin, outcome):
    runs = 0.5 + 0.02 * np.cos(np.arange(30))
    assert stats.value_outcome(runs, {"single": single}, margin)[0] == outcome


@pytest.mark.parametrize(
    ("best", "outcome"), [(0.95, "reproduced"), (0.5, "not reproduced"), (1.2, "not reproduced")]
)
def test_best_rule_pools_every_run(best, outcome):
    runs = np.linspace(0, 1, 100).reshape(4, 25)
    found, interval = stats.value_outcome(runs, {"best": best, "of": 20}, None)
    assert found == outcome
    assert interval.n == 100


def test_no_published_value():
    outcome, interval = stats.value_outcome([0.1, 0.2, 0.3], "not available", None)
    assert outcome == "no published value"
    assert interval.mean == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("advantage", "spread", "outcome"),
    [
        (0.1, 0.05, "reproduced"),
        (0.0, 0.01, "not reproduced"),
        (-0.1, 0.05, "not reproduced"),
        (0.02, 0.2, "inconclusive"),
        (0.01, 0.001, "reproduced"),  # within the margin, yet surely above zero
    ],
)
def test_order_rule(advantage, spread, outcome):
    differences = advantage + spread * np.array([-1, 1] * 6)
    under = stream(13, "under").normal(size=12)
    assert stats.order_outcome(under + differences, under, 0.02, stream(0, "p"))[0] == outcome


def test_positions_of_a_seed_are_one_observation():
    # Twelve variants that repeat the same eight seeds hold no more than the eight.
    over, under = stream(14, "pooled").normal(size=(2, 8))
    once = stats.order_outcome(over, under, 0.1, stream(0, "p"))
    repeated = stats.order_outcome(
        np.tile(over, (12, 1)), np.tile(under, (12, 1)), 0.1, stream(0, "p")
    )
    assert repeated[1].n == 8
    assert repeated[1] == pytest.approx(once[1])


def test_pairing_is_by_position_and_seed():
    over = np.array([[1.0] * 8, [5.0] * 8])
    under = np.array([[0.9] * 8, [4.7] * 8])
    _, interval, _ = stats.order_outcome(over, under, 0.0, stream(0, "p"))
    assert interval.mean == pytest.approx(0.2)


def test_false_verdicts_about_values_are_rare():
    rng = stream(15, "false values")
    margin, published = 0.05, {"mean": 0.5}
    # At the edge of the margin, "reproduced" is false (or true) with the chance of one tail.
    at_edge = [stats.value_outcome(runs, published, margin)[0]
               for runs in rng.normal(0.55, 0.03, (4000, 20))]  # fmt: skip
    assert within(at_edge.count("reproduced"), 0.025, 4000)
    assert within(at_edge.count("not reproduced"), 0.025, 4000)
    equal = rates([stats.value_outcome(runs, published, margin)[0]
                   for runs in rng.normal(0.5, 0.03, (2000, 20))])  # fmt: skip
    assert equal["reproduced"] > 0.99


def test_false_verdicts_about_singles():
    runs = stream(16, "false singles").normal(0.5, 0.02, (4000, 21))
    outcomes = [stats.value_outcome(r[:-1], {"single": r[-1]}, 0.2)[0] for r in runs]
    assert within(outcomes.count("not reproduced"), 0.05, 4000)


@pytest.mark.parametrize(("n", "m", "most"), [(25, 5, 0.25), (400, 20, 0.11), (1600, 20, 0.07)])
def test_false_verdicts_about_bests(n, m, most):
    rng = stream(17, "false bests", n)
    outcomes = [
        stats.value_outcome(ours, {"best": theirs, "of": m}, None)[0]
        for ours, theirs in ((rng.normal(size=n), rng.normal(size=m).max()) for _ in range(3000))
    ]
    assert within(outcomes.count("not reproduced"), stats.best_band_error(n, m), 3000)
    assert stats.best_band_error(n, m) < most


def test_false_verdicts_about_orders():
    rng = stream(18, "false orders")
    none = [stats.order_outcome(over, under, 0.0, rng)[0]
            for over, under in rng.normal(size=(3000, 2, 10))]  # fmt: skip
    assert within(none.count("reproduced"), 0.025, 3000)
    shift = np.array([[0.3], [0.0]])  # an advantage of the size of the margin
    real = [stats.order_outcome(over, under, 0.3, rng)[0]
            for over, under in shift + rng.normal(size=(3000, 2, 10))]  # fmt: skip
    assert 0 < real.count("not reproduced") / 3000 < 0.025 + 4.5 * np.sqrt(0.025 / 3000)


# Controls


def control(mean: float, half: float) -> np.ndarray:
    """Return ten runs whose difference from zero has this mean and a half-width of ``half``."""
    spread = np.array([-1, 1] * 5) / np.std([-1, 1] * 5, ddof=1)
    return -(mean + spread * half * np.sqrt(10) / scipy.stats.t.ppf(0.975, 9))


CASES = [
    ({"a": (0.1, 0.05), "b": (0.2, 0.1)}, "survives"),
    ({"a": (0.1, 0.05), "b": (0.0, 0.01)}, "explained by b"),
    ({"a": (-0.1, 0.05), "b": (0.0, 0.01)}, "explained by a, b"),
    ({"a": (0.05, 0.06)}, "undecided"),  # not significant, and no explanation either
    ({"a": (0.005, 0.001)}, "explained by a"),  # surely above zero, and surely too small
    ({"a": (0.03, 0.02)}, "undecided"),  # above zero, and perhaps too small
    ({}, "not tested"),
]


@pytest.mark.parametrize(("controls", "outcome"), CASES)
def test_controls_rule(controls, outcome):
    runs = {name: control(*numbers) for name, numbers in controls.items()}
    found, intervals = stats.controls_outcome(np.zeros(10), runs, 0.02)
    assert found == outcome
    for name, (mean, half) in controls.items():
        assert intervals[name].mean == pytest.approx(mean)
        assert intervals[name].high == pytest.approx(mean + half)


def test_a_lead_of_exactly_the_margin_is_none():
    lead, none = np.full(10, 0.25), np.zeros(10)  # without spread: the interval is the lead
    assert stats.controls_outcome(lead, {"a": none}, 0.25)[0] == "explained by a"
    assert stats.controls_outcome(none, {"a": none}, None)[0] == "explained by a"
    assert stats.order_outcome(lead, none, 0.25, stream(0, "p"))[0] == "reproduced"


def test_controls_without_a_margin_take_zero():
    runs = {"a": control(0.005, 0.01)}
    assert stats.controls_outcome(np.zeros(10), runs, 0.02)[0] == "explained by a"
    assert stats.controls_outcome(np.zeros(10), runs, None)[0] == "undecided"
    assert stats.controls_outcome(np.zeros(10), "not applicable", None)[0] == "not applicable"


def test_a_control_of_the_same_law_rarely_loses():
    rng = stream(19, "controls")
    outcomes = [
        stats.controls_outcome(circuit, {"a": twin}, 1.0)[0]
        for circuit, twin in rng.normal(size=(3000, 2, 40))
    ]
    assert outcomes.count("survives") == 0
    assert outcomes.count("explained by a") / 3000 > 0.9


def test_a_lead_of_the_margin_survives_as_rarely_as_it_is_explained():
    shift = np.array([[1.0], [0.0]])
    outcomes = [
        stats.controls_outcome(circuit, {"a": control}, 1.0)[0]
        for circuit, control in shift + stream(20, "at margin").normal(size=(3000, 2, 40))
    ]
    assert within(outcomes.count("survives"), 0.025, 3000)
    assert within(outcomes.count("explained by a"), 0.025, 3000)


# What is an error and no verdict


@pytest.mark.parametrize("bad", [[0.1, 0.2], [0.1, np.nan, 0.2, 0.3], [0.1, 0.2, 0.3, np.inf]])
@pytest.mark.parametrize("published", [{"mean": 0.5}, {"single": 0.5}, {"best": 0.5, "of": 1}])
def test_too_few_or_not_finite_values(bad, published):
    with pytest.raises(QmlbookError, match=r"decide nothing|not a finite"):
        stats.value_outcome(bad, published, 0.1)


def test_too_few_or_not_finite_pairs():
    seven, nan = np.zeros(7), np.full(9, np.nan)
    with pytest.raises(QmlbookError, match="8 or more"):
        stats.order_outcome(seven, seven, 0.1, stream(0, "p"))
    with pytest.raises(QmlbookError, match="finite"):
        stats.order_outcome(nan, np.zeros(9), 0.1, stream(0, "p"))
    with pytest.raises(QmlbookError, match="3 or more"):
        stats.controls_outcome(np.zeros(2), {"a": np.ones(2)}, 0.1)
    with pytest.raises(QmlbookError, match="finite"):
        stats.controls_outcome(np.zeros(9), {"a": nan}, 0.1)


def test_best_needs_five_runs_for_each_published_one():
    with pytest.raises(QmlbookError, match="99 runs decide nothing here; 100"):
        stats.value_outcome(np.zeros(99), {"best": 0.5, "of": 20}, None)


@pytest.mark.parametrize("margin", [None, -0.1])
def test_a_margin_is_needed(margin):
    with pytest.raises(QmlbookError, match="margin is"):
        stats.value_outcome(np.zeros(5), {"mean": 0.5}, margin)
    with pytest.raises(QmlbookError, match="margin is"):
        stats.order_outcome(np.ones(9), np.zeros(9), margin, stream(0, "p"))


@pytest.mark.parametrize(
    ("holds", "outcome"),
    [([], "not attempted"), ([1.0], "reproduced"), ([1.0, 0.0], "not reproduced")],
)
def test_property_rule(holds, outcome):
    assert stats.property_outcome(holds) == outcome


@pytest.mark.parametrize("value", [0.5, 1.0000001, float("nan")])
def test_property_is_yes_or_no(value):
    with pytest.raises(QmlbookError, match=rf"must be 1 .* or 0 .*, and one is {value}\.$"):
        stats.property_outcome([1, value])


@pytest.mark.parametrize("margin", [0.95, 0.5])
def test_seeds_needed_give_four_studies_of_five_the_power_to_explain(margin):
    pilot = control(0.0, 2.06 * scipy.stats.t.ppf(0.975, 9) / np.sqrt(10))
    interval = stats.controls_outcome(np.zeros(10), {"a": pilot}, margin)[1]["a"]
    needed = stats.seeds_needed(interval, margin)
    assert needed == int(np.ceil((2.8016 * 2.06 / margin) ** 2))
    found = stats.t_interval(stream(25, "needed").normal(0, 2.06, (TRIALS, needed)))
    assert abs(np.mean(found.high <= margin) - 0.8) < 0.02


@pytest.mark.parametrize(
    "published", [{"mean": 3.0}, {"mean": 3.0, "sd": 1.0, "n": 12}], ids=["mean", "sd"]
)
def test_seeds_needed_give_four_studies_of_five_that_agree_the_power_to_say_so(published):
    scale, margin = 2.06, 1.2
    interval = stats.t_interval([3 - scale / np.sqrt(2), 3 + scale / np.sqrt(2)])
    needed = stats.seeds_needed(interval, margin, published)
    rng = stream(26, "needed")
    ours = rng.normal(3, scale, (TRIALS, needed))
    theirs = rng.normal(3, published.get("sd", 0.0) / np.sqrt(12), TRIALS)
    fixed = published | {"mean": 0.0}
    kept = [
        stats.value_outcome(runs - centre, fixed, margin)[0] == stats.REPRODUCED
        for runs, centre in zip(ours, theirs, strict=True)
    ]
    assert abs(np.mean(kept) - 0.8) < 0.05


def test_no_number_of_seeds_mends_what_was_published():
    narrow = stats.t_interval([0.9, 1.0, 1.1])  # sd 0.1
    assert stats.seeds_needed(narrow, 0.5, {"mean": 1.0, "sd": 0.4, "n": 4}) is None
    assert stats.seeds_needed(narrow, 0.19, {"single": 1.0}) is None
    needed = stats.seeds_needed(narrow, 0.21, {"single": 1.0})
    assert needed == int(np.ceil(0.01 / ((0.21 / scipy.stats.norm.ppf(0.975)) ** 2 - 0.01)))


# The best of several


@pytest.mark.parametrize("hits", [0, 3, 50, 100])
def test_the_chance_of_a_best_has_the_textbook_s_interval(hits):
    runs = np.arange(100) < hits
    single = scipy.stats.binomtest(hits, 100).proportion_ci(0.95, "exact")
    found = stats.best_probability(runs, 1, 20)
    expected = [1 - (1 - p) ** 20 for p in (hits / 100, *single)]
    assert [found.mean, found.low, found.high] == pytest.approx(expected)
    assert found.n == 100


def test_no_hit_in_a_hundred_runs_still_allows_half_of_all_bests():
    found = stats.best_probability(np.zeros(100), 1, 20)
    assert (found.low, round(found.high, 2)) == (0.0, 0.52)


@pytest.mark.parametrize(("ours", "theirs", "shared"), [(0.05, 0.05, 0.5), (0.03, 0.01, 0.0)])
def test_differences_of_such_chances_cover_the_truth(ours, theirs, shared):
    """Also where seeds are lucky for both, and where a control hardly ever gets there."""
    rng = stream(21, "best difference")
    truth = (1 - (1 - theirs) ** 20) - (1 - (1 - ours) ** 20)
    trials = 2000
    own = rng.random((2, trials, 100))
    together = rng.random((trials, 100))
    lucky = rng.random((trials, 100)) < shared  # then one draw decides both
    draws = np.where(lucky, together, own)
    found = [
        stats.best_difference(control < theirs, circuit < ours, 1, 20)
        for circuit, control in zip(*draws, strict=True)
    ]
    hits = sum(each.low <= truth <= each.high for each in found)
    assert hits / trials > 0.94
    assert {each.n for each in found} == {100}


def test_pairs_narrow_the_difference_of_chances():
    circuit = np.arange(100) % 10 == 0
    paired = stats.best_difference(circuit, circuit, 1, 5)
    unpaired = stats.best_difference(np.roll(circuit, 1), circuit, 1, 5)
    assert paired.mean == unpaired.mean == 0
    assert 0 < paired.high < unpaired.high / 5


def test_controls_of_a_best_are_compared_by_their_chances():
    runs = stream(0, "runs").normal(0.5, 0.1, (4, 400))
    weak, strong = runs - 0.4, runs + 0.1
    controls = {"weak": weak, "strong": strong}
    outcome, gaps = stats.best_controls_outcome(0.65, runs, controls, 20)
    assert outcome == "explained by strong"
    assert gaps["weak"].high < -stats.BEST_MARGIN < gaps["strong"].low
    assert stats.best_controls_outcome(0.65, runs, {"weak": weak}, 20)[0] == "survives"
    few = {"twin": stream(1, "twin").normal(0.5, 0.1, (1, 100))}
    assert stats.best_controls_outcome(0.65, runs[:1, :100], few, 20)[0] == "undecided"
    assert stats.best_controls_outcome(0.65, runs, {}, 20) == ("not tested", {})
    assert stats.best_controls_outcome(0.65, runs, "not applicable", 20)[0] == "not applicable"
    with pytest.raises(QmlbookError, match="99 runs decide nothing"):
        stats.best_controls_outcome(0.65, runs[0, :99], {"a": weak[0, :99]}, 20)


# Sizes of leads, and many orders at once


@pytest.mark.parametrize(
    ("published", "size"),
    [
        ({"mean": 0.1}, "as published"),
        ({"mean": 0.15}, "smaller than published"),
        ({"mean": 0.05}, "larger than published"),
        ({"mean": 0.05, "sd": 0.1, "n": 5}, "as published"),  # its own spread enters
    ],
)
def test_size_rule(published, size):
    assert stats.size_outcome(0.1 + 0.02 * np.array([-1, 1] * 6), published) == size


def test_false_sizes_are_as_rare_as_the_interval_says():
    leads = stream(22, "sizes").normal(0.1, 0.05, (3000, 10))
    sizes = [stats.size_outcome(lead, {"mean": 0.1}) for lead in leads]
    assert within(sizes.count("as published"), 0.95, 3000)


def test_t_p_is_the_textbook_one():
    differences = stream(23, "t").normal(0.4, 1, (5, 9))
    expected = scipy.stats.ttest_1samp(differences, 0, axis=-1).pvalue
    assert stats.t_p(stats.t_interval(differences)) == pytest.approx(expected)
    assert stats.t_p(stats.t_interval(np.zeros(9))) == 1
    assert stats.t_p(stats.t_interval(np.ones(9))) == 0


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert list(stats.holm([])) == []


def test_holm_keeps_the_error_of_a_family():
    ps = stream(24, "family").random((4000, 50))
    false = sum((stats.holm(p) < 0.05).any() for p in ps)
    assert within(false, 1 - (1 - 0.05 / 50) ** 50, 4000)
