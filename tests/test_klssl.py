"""The KL-SSL room: closed form, losses, the bank, training, what short runs should do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from qmlbook.base.errors import UsageError
from qmlbook.base.rng import stream
from qmlbook.evidence.store import config_key
from qmlbook.papers.klssl import checks, circuits, experiments, models, runs, training
from qmlbook.papers.shared.crops import draw_crops
from qmlbook.papers.shared.qnodes import qnode
from qmlbook.papers.shared.splits import set_apart, spoil

TINY = replace(experiments.QUICK_PUBLISHED, n_train=128, n_eval=200, batch_size=32, epochs=2)


def angles(seed, *shape):
    return torch.from_numpy(stream(seed, "angles").uniform(0, 2 * np.pi, shape))


def outputs(seed, n):
    return models.outputs_of_parity(torch.from_numpy(stream(seed, "z").uniform(-1, 1, n)))


# --- circuit and closed form ---


@pytest.mark.parametrize("n", range(1, 18))
def test_closed_form_equals_the_simulated_circuit(n):
    features, weights = angles(n, 20, 4), angles(100 + n, 3, n, 2)
    simulated = qnode(circuits.head, wires=5)(features, *weights)[:, 0]
    z = models.parity(features, models.effective_phases(*weights))
    assert torch.allclose(simulated, (1 + z) / 2, rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
def test_gradients_of_the_closed_form_are_those_of_the_circuit(n):
    features = angles(n, 6, 4)

    def of_circuit(*weights):
        return qnode(circuits.head, wires=5)(features, *weights)[:, 0]

    def of_formula(*weights):
        return (1 + models.parity(features, models.effective_phases(*weights))) / 2

    weights = tuple(angles(5 + n, 3, n, 2))
    jacobian = torch.autograd.functional.jacobian
    for ours, theirs in zip(
        jacobian(of_formula, weights), jacobian(of_circuit, weights), strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("n", "effective"), [(1, 3), (2, 4), (4, 4), (8, 4), (16, 4)])
def test_depth_adds_no_effective_parameters(n, effective):
    features, weights = angles(1, 60, 4), tuple(angles(2, 3, n, 2))
    jacobian = torch.autograd.functional.jacobian(
        lambda *w: models.parity(features, models.effective_phases(*w)), weights
    )
    stacked = torch.cat([j.flatten(1) for j in jacobian], 1)
    assert torch.linalg.matrix_rank(stacked, rtol=1e-9) == effective


@given(st.integers(0, 1000), st.sampled_from([2, 4, 16]))
@settings(max_examples=30)
def test_first_angles_of_odd_layers_have_no_effect(seed, n):
    features, weights = angles(seed, 8, 4), angles(seed + 1, 3, n, 2)
    before = models.parity(features, models.effective_phases(*weights))
    weights[:, 1::2, 0] += angles(seed + 2, 3, n // 2)
    after = models.parity(features, models.effective_phases(*weights))
    assert torch.allclose(before, after, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 16])
def test_without_entangling_gates_it_is_a_product_of_cosines_at_every_depth(n):
    features, weights = angles(n, 20, 4), angles(50 + n, 3, n, 2)
    without = qnode(circuits.head, wires=5)(features, *weights, entangling=False)[:, 0]
    one, two, three = weights.sum(1)  # the angles of every wire simply add up
    phases = torch.stack([one[0], one[1] + three[0], two[0] + three[1], two[1]])
    z = models.parity(features, phases)
    assert torch.allclose(without, (1 + z) / 2, rtol=0, atol=1e-10)


def test_answers_are_squeezed():
    z = torch.linspace(-1, 1, 11, dtype=torch.float64)
    probabilities = models.outputs_of_parity(z).exp()
    assert probabilities.sum(1) == pytest.approx(np.ones(11))
    assert probabilities.min() == pytest.approx(1 / (1 + np.e))
    expected = F.log_softmax(torch.stack([(1 + z) / 2, (1 - z) / 2], 1), 1)
    assert torch.allclose(models.outputs_of_parity(z), expected, rtol=0, atol=1e-14)


# --- losses ---


def released_loop(gamma, x, y, pos, neg):
    """The arithmetic of SSL.py lines 21-31 as its loop performs it, overwritten names and all."""
    kl = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)
    positive = kl(pos, x) + kl(pos, y)
    batch, negative = len(x), 0.0
    for i in range(batch):
        x = x[i].repeat(len(neg), 1)
        y = y[i].repeat(len(neg), 1)
        negative = negative + kl(neg, x) + kl(neg, y)
    return gamma * positive + (1 - gamma) * negative / len(x)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 9), st.floats(0.01, 0.99))
@settings(max_examples=60)
def test_published_loss_equals_the_released_loop(seed, batch, more, gamma):
    x, y, pos, neg = (
        outputs(seed + k, n) for k, n in enumerate((batch, batch, batch, batch + more))
    )
    ours = models.loss("published", gamma, x, y, pos, neg.sum(0), len(neg))
    assert ours.item() == pytest.approx(released_loop(gamma, x, y, pos, neg).item(), abs=1e-13)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 7))
@settings(max_examples=40)
def test_collapsed_sums_equal_the_double_sum(seed, batch, h):
    x, y, pos, neg = (outputs(seed + k, n) for k, n in enumerate((batch, batch, batch, h)))
    double = sum(models.divergence(v[i], n) for v in (x, y) for i in range(batch) for n in neg)
    double = double / (batch * h)
    positive = models.positive_term(x, y, pos)
    for kind, sign in (("loop_fixed", 1), ("corrected", -1)):
        ours = models.loss(kind, 0.3, x, y, pos, neg.sum(0), h)
        assert ours.item() == pytest.approx(
            (0.3 * positive + sign * 0.7 * double).item(), abs=1e-12
        )


def test_too_few_negatives_are_refused():
    x = outputs(0, 3)
    with pytest.raises(ValueError, match="at least as many negatives"):
        models.loss("published", 0.5, x, x, x, outputs(1, 2).sum(0), 2)


@pytest.mark.parametrize("loss", ["published", "sign_fixed"])
def test_the_released_loop_takes_no_negatives_of_each_image(loss):
    with pytest.raises(
        UsageError, match=f"own_positives .* loss '{loss}' .* choose from: "
    ) as said:
        replace(TINY, loss=loss, own_positives=True)
    for other in str(said.value).partition("choose from: ")[2].rstrip(".").split(", "):
        config = replace(TINY, loss=other, own_positives=True, n_train=64, epochs=1)
        assert training.train(config, 0, training.splits(config)[0]).losses


def test_gradients_of_every_loss_match_finite_differences():
    neg = outputs(9, 6)
    inputs = [
        torch.from_numpy(stream(k, "z").uniform(-0.9, 0.9, 4)).requires_grad_() for k in range(3)
    ]
    for kind in ("published", "loop_fixed", "sign_fixed", "corrected"):
        assert torch.autograd.gradcheck(
            lambda *z, kind=kind: models.loss(
                kind, 0.4, *(models.outputs_of_parity(v) for v in z), neg.sum(0), 6
            ),
            inputs,
            eps=1e-6,
            atol=1e-8,
        )


def test_the_published_loss_is_least_for_a_constant_answer():
    constant, decided = (
        outputs(0, 1).repeat(8, 1),
        models.outputs_of_parity(torch.tensor([0.9, -0.9] * 4)),
    )
    low, high = (
        models.loss("published", 0.5, v, v, v.roll(1, 0), v.sum(0), 8) for v in (constant, decided)
    )
    assert abs(low) < 1e-12
    assert high > 0.1


# --- encoder, views, bank ---


def test_a_shared_crop_folds_into_the_filter():
    model = training.build(TINY, 3)
    images = torch.from_numpy(stream(0, "images").random((9, 14, 14)))
    crops = draw_crops(stream(1, "crops"), 1, 14)
    folded = model.encoder.filter_cropped(images, crops)
    assert torch.allclose(folded, model.encoder.filter(crops(images)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("classifier", ["quantum", "simulated", "classical"])
def test_the_attached_bank_has_the_gradient_of_the_graph_it_replaces(classifier):
    model = models.build(classifier, 2, stream(0, "e"), stream(0, "h"))
    responses, index = torch.from_numpy(stream(0, "r").normal(size=(12, 4))), torch.arange(5)
    weight = torch.from_numpy(stream(1, "w").normal(size=(5, 2)))
    bank, head = training.Bank.build(model, responses, attached=True), model.head
    pos, total = bank.select(index, head.coordinates())
    ((pos * weight).sum() + (total**2).sum()).backward()
    ours = [p.grad.clone() for p in head.parameters() if p.grad is not None]
    head.zero_grad()
    kept = head(model.encoder.normalise(responses))  # the graph that the released code keeps
    ((kept[index] * weight).sum() + (kept.sum(0) ** 2).sum()).backward()
    theirs = [p.grad for p in head.parameters() if p.grad is not None]
    assert len(ours) == len(theirs) > 0
    assert all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in zip(ours, theirs, strict=True))


def test_only_what_the_released_code_trains_receives_a_gradient():
    assert [models.published_sizes("quantum", n) for n in (2, 16)] == [(64, 12), (148, 96)]
    assert [models.published_sizes("classical", n) for n in (2, 16)] == [(102, 10), (382, 10)]


@pytest.mark.parametrize("frozen", [True, False])
def test_the_normalised_stack_has_the_weights_of_the_plain_one_and_keeps_images_apart(frozen):
    plain, normalised = (
        models.build(kind, 16, stream(0, "filter"), stream(0, "head"), frozen)
        for kind in ("classical", "normalised")
    )
    ours, theirs = (dict(m.named_parameters()).values() for m in (normalised, plain))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    features = torch.from_numpy(stream(0, "features").normal(size=(200, 4)))
    prepared = normalised.head.prepare(features)
    assert prepared.requires_grad is not frozen
    assert torch.allclose(prepared.std(0), torch.ones(4).double(), atol=0.01)
    assert plain.head.prepare(features).std(0).max() < 0.01


def test_the_normalised_stack_is_as_large_and_trains_as_much_as_the_plain_one():
    for n in (2, 16):
        assert models.published_sizes("normalised", n) == models.published_sizes("classical", n)


def test_what_is_never_trained_cannot_normalise():
    with pytest.raises(UsageError, match=r"'normalised' .* epochs must be 1 or more"):
        replace(TINY, classifier="normalised", epochs=0)
    assert "accuracy" in runs.run(replace(TINY, classifier="normalised", epochs=1), 0)


def test_mended_networks_train_everything():
    config = replace(
        experiments.QUICK_CORRECTED, n_train=64, n_eval=64, epochs=1, classifier="classical"
    )
    split, _ = training.splits(config)
    before = {k: v.clone() for k, v in training.build(config, 0).named_parameters()}
    after = dict(training.train(config, 0, split).model.named_parameters())
    assert all((after[name] != value).any() for name, value in before.items())


# --- training and evaluation ---


def test_training_gate_by_gate_gives_the_same_numbers():
    split, _ = training.splits(TINY)
    formula = training.train(TINY, 1, split)
    gates = training.train(replace(TINY, classifier="simulated"), 1, split)
    assert formula.losses == pytest.approx(gates.losses, abs=1e-11)
    assert torch.allclose(formula.model.head.w_1, gates.model.head.w_1, rtol=0, atol=1e-9)


def test_a_run_is_a_function_of_its_seed():
    assert runs.run(TINY, 3) == runs.run(TINY, 3)
    assert runs.run(TINY, 3) != runs.run(TINY, 4)


def test_paired_runs_start_from_the_same_weights():
    quantum, untrained = training.build(TINY, 5), training.build(replace(TINY, epochs=0), 5)
    assert torch.equal(quantum.head.w_2, untrained.head.w_2)
    classical = training.build(replace(TINY, classifier="classical"), 5)
    ratio = quantum.encoder.conv.weight / classical.encoder.conv.weight
    assert ratio.detach().numpy() == pytest.approx(
        7 * (6 / 98) ** 0.5 * np.ones_like(ratio.detach())
    )


def test_the_rate_swings_with_the_released_period():
    rates = [training.learning_rate(step, 1e-3, 50) for step in range(201)]
    assert rates[0] == rates[100] == rates[200] == pytest.approx(1e-3)
    assert rates[50] == rates[150] == pytest.approx(1e-6)


def test_subsets_stop_after_a_bad_draw():
    labels = np.repeat([0, 1], 500)
    good, bad = np.ones(1000, bool), labels == 5
    rng = stream(0, "subsets")
    assert set(training.subset_accuracies(good, labels, rng).values()) == {1.0}
    used = stream(1, "subsets")
    training.subset_accuracies(bad, labels, used)
    one_draw_each = stream(1, "subsets")
    for k in (2, 5, 10):
        training.stratified(labels, 1000 // k, one_draw_each)
    assert used.random() == one_draw_each.random()


def test_strata_keep_the_shares():
    labels = np.repeat([0, 1], [300, 700])
    chosen = training.stratified(labels, 100, stream(0, "s"))
    assert len(set(chosen)) == 100
    assert labels[chosen].mean() == 0.7


def test_matched_accuracy_is_decided_on_the_training_split():
    trained_on, evaluated_on = training.splits(TINY)
    trained = training.train(replace(TINY, epochs=0), 0, trained_on)
    metrics = runs.evaluate(trained, trained_on, evaluated_on, 0)
    flipped = replace(trained_on, labels=1 - trained_on.labels)
    other = runs.evaluate(trained, flipped, evaluated_on, 0)
    assert other["matched"] == pytest.approx(1 - metrics["matched"])


def test_untrained_draws_agree_with_untrained_networks():
    trained_on, evaluated_on = training.splits(TINY)
    draws = checks.untrained_accuracies(trained_on, evaluated_on, 300, 0)
    networks = [runs.run(replace(TINY, epochs=0), s)["accuracy"] for s in range(150)]
    assert draws.mean() == pytest.approx(np.mean(networks), abs=0.05)
    assert draws.std() == pytest.approx(np.std(networks), rel=0.25)


def test_small_published_runs_behave_as_the_full_ones_do():
    small = experiments.QUICK_PUBLISHED
    classical = [runs.run(replace(small, classifier="classical"), s) for s in range(5)]
    assert sum(run["minority"] < 0.01 for run in classical) >= 4
    quantum = [runs.run(small, s)["accuracy"] for s in range(10)]
    assert np.mean(quantum) == pytest.approx(0.5, abs=0.12)
    assert 0.03 < np.std(quantum) < 0.2


@pytest.mark.nightly
def test_the_mended_loss_teaches_both_heads():
    for classifier in ("quantum", "classical"):
        config = replace(experiments.QUICK_CORRECTED, classifier=classifier)
        assert np.median([runs.run(config, s)["matched"] for s in range(5)]) > 0.65


def test_quick_presets_keep_the_weight_of_the_negative_term():
    batch, n = experiments.SMALL["batch_size"], experiments.SMALL["n_train"]
    assert batch / (n - batch) == pytest.approx(512 / (2115 - 512), abs=0.02)


def test_shrinking_is_pillows_bilinear_with_rounding():
    flat = np.full((2, 28, 28), 77, np.uint8)
    assert (training.shrink(flat) == 77).all()
    step = np.zeros((1, 28, 28), np.uint8)
    step[:, :, 14:] = 200
    middle = training.shrink(step)[0, 7]
    assert middle.tolist() == [0] * 6 + [25, 175] + [200] * 6


def test_published_runs_are_those_behind_the_claims():
    found = experiments.published_runs()
    assert {len(five) for cells in found.values() for five in cells.values()} == {5}
    assert max(max(five) for five in found["mnist"].values()) == 0.664


# --- what leaks through, and trials ---


def test_spoiled_splits_keep_one_side_and_lose_the_other():
    split = training.splits(TINY)[0]
    labels = spoil(split, "labels", stream(0, "spoiled"))
    assert torch.equal(labels.inputs, split.inputs)
    assert not torch.equal(labels.labels, split.labels)
    assert torch.equal(labels.labels.sort().values, split.labels.sort().values)
    images = spoil(split, "images", stream(0, "spoiled"))
    assert torch.equal(images.labels, split.labels)
    assert images.inputs.shape == split.inputs.shape
    assert abs(images.inputs.mean() - 0.5) < 0.01
    assert spoil(split, "nothing", stream(0, "spoiled")) is split


def test_spoiled_runs_end_near_chance():
    for what in ("labels", "images"):
        config = replace(experiments.QUICK_CORRECTED, spoiled=what, epochs=10)
        assert abs(runs.run(config, 0)["matched"] - 0.5) < 0.1


def test_what_is_set_apart_is_not_trained_on():
    split = training.splits(TINY)[0]
    rest, apart = set_apart(split, 0.25, stream(0, "validation"))
    assert (len(rest), len(apart)) == (96, 32)
    together = torch.cat([rest.inputs, apart.inputs]).flatten(1)
    assert len(together.unique(dim=0)) == len(split.inputs.flatten(1).unique(dim=0))


def test_a_trial_does_not_look_at_the_images_of_the_evidence(monkeypatch):
    images = training.splits(TINY)[0]
    monkeypatch.setattr(training, "splits", lambda config: (images, None))
    assert 0 <= runs.run_tuning(TINY, 0)["matched"] <= 1


def test_every_network_has_eight_different_trials_and_is_run_as_tuned(monkeypatch):
    made = experiments.experiments()["tuning"].variants["full"]
    for trials in experiments.TUNING.trials.values():
        assert len({config_key(made[trial]) for trial in trials}) == 8
    chosen = {"corrected-mnist-quantum": {"learning_rate": 0.5}}
    monkeypatch.setattr(experiments, "tuned", lambda _: chosen)
    tuned = experiments.experiments()["tuned"].variants["full"]
    assert tuned["corrected-mnist-quantum"] == replace(experiments.CORRECTED, learning_rate=0.5)
    assert tuned["published-mnist-classical"].learning_rate == experiments.PUBLISHED.learning_rate
