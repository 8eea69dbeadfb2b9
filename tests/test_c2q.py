"""The C2Q room: source network, heads, training, exact statements, stored weights."""

import hashlib
from dataclasses import replace

import numpy as np
import pennylane as qml
import pytest
import torch

from qmlbook import papers
from qmlbook.base.errors import UsageError
from qmlbook.base.rng import stream
from qmlbook.evidence.claims import load_claims
from qmlbook.evidence.store import config_key
from qmlbook.papers.c2q import __main__ as command
from qmlbook.papers.c2q import checks, circuits, experiments, models, runs, training
from qmlbook.papers.c2q.config import QUANTUM_HEADS, WIDTHS, Properties, Recipe
from qmlbook.papers.shared import weights
from qmlbook.papers.shared.qnodes import qnode
from qmlbook.papers.shared.splits import TrainTest
from qmlbook.papers.shared.weights import count_parameters

TINY = replace(
    experiments.QUICK, n_train=200, n_test=100, source_images=320, steps=60, ansatz=4, pooling="zx"
)


def network(width=256, seed=0):
    return models.Source(stream(seed, "test"), width)


# --- networks ---


@pytest.mark.parametrize(("width", "total", "trained"), [(256, 212500, 211988), (8, 60972, 60956)])
def test_source_networks_have_the_released_sizes(width, total, trained):
    made = network(width)
    running = made.extract[-1].running_mean.numel() + made.extract[-1].running_var.numel()
    assert count_parameters(made) == trained
    assert count_parameters(made) + running == total


def test_features_end_with_batch_normalisation_and_have_both_signs():
    made = network(8)
    made.train()(torch.rand(64, 28, 28, dtype=torch.float64))
    features = made.eval().extract(torch.rand(20, 28, 28, dtype=torch.float64))
    assert features.shape == (20, 8)
    assert (features < 0).any()
    assert (features > 0).any()


def test_weights_are_glorot_uniform_and_biases_zero():
    conv, dense = network().extract[4], network().extract[10]
    for layer, fans in ((conv, 9 * (32 + 64)), (dense, 576 + 256)):
        bound = (6 / fans) ** 0.5
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
        assert not layer.bias.any()


@pytest.mark.parametrize(("kind", "size"), [("1d", 64), ("2d", 76), ("dense", 514)])
def test_classical_heads_have_the_released_sizes(kind, size):
    head = models.classical(kind, stream(0, "test"))
    assert count_parameters(head) == size
    assert head(torch.randn(3, 256, dtype=torch.float64)).shape == (3, 2)


@pytest.mark.parametrize("size", experiments.LINEAR)
def test_linear_heads_have_as_many_parameters_as_a_quantum_head(size):
    head = models.Linear(stream(0, "test"), size)
    assert count_parameters(head) == size
    assert size in {circuits.count_params(*head) for head in QUANTUM_HEADS.values()}
    x = torch.randn(7, 256, dtype=torch.float64)
    assert torch.allclose(head(2 * x) - head(x), head(x) - head(0 * x))  # affine


def test_every_quantum_head_has_a_linear_one_of_its_size():
    sizes = {circuits.count_params(*head) for head in QUANTUM_HEADS.values()}
    assert sizes == set(experiments.LINEAR)


def test_projections_keep_lengths_on_average():
    x = torch.randn(200, 256, dtype=torch.float64)
    projected = x @ models.Linear(stream(0, "test"), 63).projection
    assert (projected.norm(dim=1) / x.norm(dim=1)).mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: models.classical("3d", stream(0, "t")), "kind .*3d.*1d, 2d, dense"),
        (lambda: models.Linear(stream(0, "t"), 1), "parameters must be 2 or more"),
        (lambda: replace(experiments.PUBLISHED, pair=(1, 7)), "pair"),
        (lambda: replace(experiments.PUBLISHED, head="3d"), "head .*3d"),
        (lambda: replace(experiments.PUBLISHED, ansatz=12), "ansatz.*12"),
        (lambda: replace(experiments.PUBLISHED, pooling="max"), "pooling .*max"),
        (lambda: replace(experiments.PUBLISHED, encoding="basis"), "encoding .*basis"),
        (lambda: replace(experiments.PUBLISHED, features="random"), "features .*random"),
        (lambda: replace(experiments.PUBLISHED, optimiser="sgd"), "optimiser .*sgd"),
        (lambda: replace(experiments.PUBLISHED, encoding="angle", head="1d"), "angle.*'1d'"),
        (lambda: replace(experiments.PUBLISHED, encoding="angle", features="pixels"), "pixels"),
        (
            lambda: replace(experiments.PUBLISHED, batch_size=0),
            "batch_size must be 1 or more, not 0",
        ),
    ],
)
def test_what_does_not_exist_is_refused_in_one_sentence(make, words):
    with pytest.raises(UsageError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


# --- data ---


def test_labels_are_one_for_the_smaller_digit():
    found = training.load_digits((8, 9), "test", 40)
    assert found.labels.sum() == 20
    assert found.inputs.shape == (40, 28, 28)
    eight = found.inputs[found.labels == 1][0]
    assert eight.max() <= 1
    again = training.load_digits((8, 9), "test", 2)
    assert torch.equal(again.inputs[again.labels == 1][0], eight)


def test_pixels_are_averages():
    images = torch.rand(3, 28, 28, dtype=torch.float64)
    shrunk = models.pixels(images)
    assert shrunk.shape == (3, 256)
    assert torch.allclose(models.pixels(torch.ones_like(images)), torch.ones_like(shrunk))


def test_all_sorts_of_features_fit_the_encodings():
    for changes in ({}, {"features": "untrained"}, {"features": "pixels"}, {"encoding": "angle"}):
        config = replace(TINY, **changes)
        split = training.load_features(config, 0)
        assert split.train.inputs.shape == (200, WIDTHS[config.encoding])
        assert len(split.test) == 100


def test_seeds_have_source_networks_of_their_own_unless_one_is_named():
    own = replace(TINY, features="untrained", source_seed=None)
    shared = replace(own, source_seed=0)
    first, second = (training.load_features(own, seed).test.inputs for seed in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(training.load_features(shared, 1).test.inputs, first)


# --- quantum heads ---


@pytest.mark.parametrize(
    "head",
    [  # one of each pooling every time
        pytest.param(
            head, marks=[pytest.mark.nightly] * (name not in ("3-zx", "7-general", "11-trivial"))
        )
        for name, head in QUANTUM_HEADS.items()
    ],
)
def test_a_head_is_a_quadratic_form(head):
    assert checks.is_quadratic_form(*head, seed=1, images=5)


def test_the_form_gives_both_probabilities():
    size = circuits.count_params(10, "general")
    params = torch.from_numpy(stream(3, "test").normal(size=size))
    forms = models.form(params, 10, "general")
    x = torch.from_numpy(stream(4, "test").normal(size=(6, 256)))
    values = torch.einsum("bi,lij,bj->bl", x, forms, x) / (x * x).sum(1, keepdim=True)
    simulated = models.quantum(10, "general")(x, params)
    assert torch.allclose(values, simulated, atol=1e-12)
    assert torch.allclose(forms.sum(0), torch.eye(256, dtype=torch.float64), atol=1e-12)
    assert forms[1].trace().item() == pytest.approx(128)


def test_poolings_agree_at_zero():
    assert checks.poolings_agree(seed=5, images=8)


@pytest.mark.parametrize(
    ("ansatz", "pooling", "effective"),
    [(1, "zx", 5), (1, "general", 14), (4, "zx", 17), (7, "general", 29), (11, "none", 24)],
)
def test_effective_parameters(ansatz, pooling, effective):
    assert checks.effective_parameters(ansatz, pooling, seed=2) == effective


def test_convolution_one_with_zero_pooling_reads_one_bit():
    x = torch.from_numpy(stream(6, "test").normal(size=(4, 256)))
    zero = torch.zeros(6, dtype=torch.float64)
    bit = (torch.arange(256) >> 3) & 1
    share = (x[:, bit == 0] ** 2).sum(1) / (x**2).sum(1)
    assert torch.allclose(models.quantum(1, "zx")(x, zero)[:, 0], share, atol=1e-12)
    few = torch.from_numpy(stream(7, "test").normal(size=(4, 8)))
    cosine = (few[:, 4] / 2).cos() ** 2
    assert torch.allclose(models.quantum(1, "zx", "angle")(few, zero)[:, 0], cosine, atol=1e-12)


def test_drawings_show_every_block():
    tape = qnode(circuits.layout, wires=8).construct((), {})
    names = [op.label() for op in tape.operations]
    assert [names.count(name) for name in ("U1", "U2", "U3", "V1", "V2", "V3")] == [
        8,
        4,
        1,
        4,
        2,
        1,
    ]
    assert tape.measurements[0].wires.tolist() == [circuits.MEASURED]


# --- training ---


@pytest.mark.parametrize("optimiser", ["adam", "nesterov"])
def test_quantum_heads_learn(optimiser):
    config = replace(TINY, features="pixels", optimiser=optimiser, stepsize=0.03)
    split = training.load_features(config, 0)
    before = training.train(replace(config, steps=0), 0, split.train)
    after = training.train(config, 0, split.train)
    assert len(after.costs) == 60
    assert after.costs[-10:].mean() < 0.9 * after.costs[:10].mean()
    assert after.accuracy(split.test) > before.accuracy(split.test) + 5
    scores = after.scores(split.test.inputs)
    assert torch.allclose(after.scores(split.test.inputs[:57]), scores[:57], atol=1e-12)
    assert torch.equal(
        training.train(config, 0, split.train).params, after.params
    )  # the same seed, the same run


@pytest.mark.parametrize("kind", ["1d", "dense", "linear"])
def test_classical_heads_learn(kind):
    config = replace(TINY, head=kind, features="pixels", stepsize=0.02)
    split = training.load_features(config, 1)
    after = training.train(config, 1, split.train)
    assert after.accuracy(split.test) > 70
    assert torch.allclose(after.scores(split.test.inputs).sum(1), torch.ones(100).double())


def test_untrained_heads_keep_the_initial_angles_of_their_seed():
    config = replace(TINY, steps=0)
    split = training.load_features(config, 0)
    start = training.train(config, 0, split.train).params
    trained = training.train(replace(config, steps=1), 0, split.train).params
    assert (start - trained).abs().max().item() == pytest.approx(0.01, rel=1e-3)  # Adam's first
    other = training.train(config, 1, split.train).params
    assert not torch.allclose(start, other)


def test_classical_heads_see_the_first_images_only():
    config = replace(TINY, head="dense", features="pixels", first=150, steps=4)
    train = training.load_features(config, 0).train
    first = training.train(config, 0, train)
    assert len(first.costs) == 4
    assert torch.equal(training.train(config, 0, train[:150]).params, first.params)
    everything = replace(config, first=200)
    assert not torch.equal(training.train(everything, 0, train).params, first.params)


def test_sources_learn_and_are_the_same_every_time():
    recipe = replace(TINY.recipe, n_train=640, epochs=2)
    made = [training.train_source(network(8, 0), replace(recipe, width=8), 0) for _ in range(2)]
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    learnt = network(8, 0)
    learnt.load_state_dict(made[0])
    assert training.source_accuracy(learnt.eval(), 300) > 30


def test_a_run_has_the_promised_metric():
    result = runs.run(replace(TINY, features="pixels", steps=5), 0)
    assert list(result) == ["accuracy"]
    assert 0 <= result["accuracy"] <= 100


# --- controls: local gates, quadratic forms, spoiled data, trials ---


def wire_matrix(wire, params, *names):
    """The gates of one wire, multiplied by hand."""
    tape = qml.tape.make_qscript(circuits.network)(params, *names)
    assert all(len(op.wires) == 1 for op in tape.operations)
    made = np.eye(2)
    for op in tape.operations:
        if op.wires[0] == wire:
            made = np.asarray(qml.matrix(op)) @ made
    return made


@pytest.mark.parametrize("gates", ["uncontrolled", "removed"])
@pytest.mark.parametrize("head", ["1-zx", "5-general", "10-general", "11-trivial"])
def test_local_gates_read_the_reduced_state_of_each_wire(head, gates):
    names = (*QUANTUM_HEADS[head], gates)
    x = stream(1, "local").normal(size=256)
    params = torch.from_numpy(stream(2, "local").normal(size=circuits.count_params(*names)))
    simulated = qnode(circuits.local, wires=8)(torch.from_numpy(x), params, *names)
    state = (x / np.linalg.norm(x)).reshape((2,) * 8)
    for wire in range(8):
        half = np.moveaxis(state, wire, 0).reshape(2, -1)
        turned = wire_matrix(wire, params, *names) @ (half @ half.T)
        expected = np.trace(turned @ wire_matrix(wire, params, *names).conj().T @ np.diag([1, -1]))
        assert simulated[wire].item() == pytest.approx(expected.real, abs=1e-10)


@pytest.mark.parametrize("head", QUANTUM_HEADS)
def test_local_gates_keep_the_gates_on_one_wire(head):
    ansatz, pooling = QUANTUM_HEADS[head]
    for whole, free, bare in zip(
        *(circuits.blocks(ansatz, pooling, g) for g in circuits.GATE_SETS), strict=True
    ):
        single = [(name, wires) for name, wires in whole if len(wires) == 1]
        rotations = [name for name, _ in whole if name in circuits.UNCONTROLLED]
        assert list(bare) == single
        assert len(free) == len(single) + len(rotations)
    counts = [circuits.count_params(ansatz, pooling, gates) for gates in circuits.GATE_SETS]
    assert counts[0] == counts[1] >= counts[2]
    assert circuits.count_params(ansatz, pooling) == counts[0]


@pytest.mark.nightly
def test_fewer_parameters_of_local_gates_are_effective():
    ranks = [checks.effective_parameters(10, "general", gates=g) for g in circuits.GATE_SETS]
    counts = [circuits.count_params(10, "general", g) + n for g, n in
              zip(circuits.GATE_SETS, (0, 9, 9), strict=True)]  # fmt: skip
    assert all(rank < count for rank, count in zip(ranks, counts, strict=True))
    assert max(ranks[1:]) <= 17 < ranks[0]  # two numbers of each of eight wires, and a bias


@pytest.mark.parametrize("size", [2, 6, 27, 63])
def test_a_quadratic_form_is_one_of_as_many_parameters(size):
    scores = models.quadratic(stream(0, "form"), 256, size)
    x, params = stream(1, "form").normal(size=(7, 256)), stream(2, "form").normal(size=size)
    x, params = torch.from_numpy(x), torch.from_numpy(params).requires_grad_()
    half = size // 2
    projection = stream(0, "form").normal(size=(256, half)) / half**0.5
    v, w = params.detach()[: 2 * half].reshape(2, half).numpy()
    matrix = projection @ (np.outer(v, v) - np.outer(w, w)) @ projection.T
    logit = np.einsum("bi,ij,bj->b", x, matrix, x) / (x**2).sum(1).numpy()
    logit = logit + (params[-1].item() if size % 2 else 0.0)
    assert np.allclose(scores(x, params)[:, 1].detach(), 1 / (1 + np.exp(-logit)), atol=1e-12)
    assert torch.allclose(scores(x, params).sum(1), torch.ones(7).double())
    assert torch.allclose(scores(-3 * x, params), scores(x, params))
    assert torch.autograd.gradcheck(lambda p: scores(x, p), params)


@pytest.mark.parametrize("changes", [
    {"gates": "uncontrolled"}, {"gates": "removed", "ansatz": 1}, {"head": "quadratic"},
])  # fmt: skip
def test_controls_are_trained_as_the_quantum_heads(changes):
    config = replace(TINY, features="pixels", stepsize=0.03, **changes)
    digits = training.load_features(config, 0)
    before = training.train(replace(config, steps=0), 0, digits.train)
    made = training.train(config, 0, digits.train)
    assert made.costs[-10:].mean() < made.costs[:10].mean()
    assert made.params.shape == before.params.shape
    assert not torch.equal(made.params, before.params)


def test_gates_are_left_out_of_amplitude_encoded_quantum_heads_alone():
    for changes in ({"head": "1d"}, {"encoding": "angle"}):
        with pytest.raises(UsageError, match="gates are left out of a quantum head"):
            replace(TINY, gates="removed", **changes)


def test_spoiled_features_are_those_of_noise_or_have_the_labels_of_others():
    true, labels, images = (
        training.load_features(replace(TINY, features="pixels", spoiled=what), 0)
        for what in ("nothing", "labels", "images")
    )
    for split, shuffled, noise in zip(true, labels, images, strict=True):
        assert torch.equal(split.inputs, shuffled.inputs)
        assert not torch.equal(split.labels, shuffled.labels)
        assert torch.equal(split.labels, noise.labels)
        assert noise.inputs.shape == split.inputs.shape
        assert noise.inputs.std(0).max() < split.inputs.std(0).max()


def test_trials_look_at_no_test_digit_and_differ(monkeypatch):
    asked = []
    real = training.load_features

    def watched(config, seed):
        asked.append((config.source_seed, seed))
        return TrainTest(real(config, seed).train, None)

    monkeypatch.setattr(training, "load_features", watched)
    result = runs.run_tuning(replace(TINY, features="pixels", steps=3), 1)
    assert 0 <= result["accuracy"] <= 100 < 10**6 <= asked[0][1]
    assert asked[0][0] == 1
    made = experiments.experiments()["tuning"].variants["full"]
    for trials in experiments.TUNING.trials.values():
        assert len({config_key(made[trial]) for trial in trials}) == 8


# --- experiments and stored weights ---


def test_the_grid_is_the_charts():
    variants = experiments.experiments()["grid"].variants["full"]
    assert len(variants) == 22 * 3 * 2
    assert len(experiments.experiments()["angle"].variants["full"]) == 18
    config = variants["11-trivial-8v9-nesterov"]
    assert (config.ansatz, config.pooling, config.pair) == (11, "none", (8, 9))
    assert config.optimiser == "nesterov"
    steps = {
        name: {c.stepsize for c in experiments.experiments()[name].variants["full"].values()}
        for name in ("grid", "classical", "equal-step", "small-step")
    }
    assert steps == {
        "grid": {0.01},
        "classical": {0.001},
        "equal-step": {0.01},
        "small-step": {0.001},
    }


def test_waiting_rules_compare_heads_with_forms_of_their_size(tmp_path):
    written = papers.claims_file("c2q").read_text("utf-8")
    flipped = tmp_path / "c2q" / "claims.yml"
    flipped.parent.mkdir()
    flipped.write_text(written.replace("\n#+", "\n"), "utf-8")
    known = experiments.experiments()
    claims = {claim.id: claim for claim in load_claims("c2q", flipped)}
    for name in ("P-b", "K1", "K2"):
        assert {"local-removed", "local-uncontrolled", "quadratic"} <= set(claims[name].controls)
        over = claims[name].cells(claims[name].variants)
        for head, form in zip(over, claims[name].controls["quadratic"], strict=True):
            config = known["grid"].variants["full"][head.variant]
            size = circuits.count_params(config.ansatz, config.pooling)
            assert form == f"quadratic/quadratic-{size}-{head.variant.split('-')[2]}"


def test_stored_networks_are_the_ones_that_were_trained():
    files = sorted(path.name for path in weights.stored("c2q").glob("*.safetensors"))
    sums = [path.name for path in weights.stored("c2q").glob("*.sha256")]
    assert sorted(sums) == [f"{name}.sha256" for name in files]
    for name in files:
        line = (weights.stored("c2q") / f"{name}.sha256").read_text("utf-8")
        digest = hashlib.sha256((weights.stored("c2q") / name).read_bytes()).hexdigest()
        assert line == f"{digest}  {name}\n"
    assert files == sorted(f"source-{w}-{s}.safetensors" for w in (256, 8) for s in range(10))
    for width in (256, 8):
        made = training.source(Recipe(width), 3)
        assert training.source_accuracy(made, 1000) > 85


def test_a_source_network_comes_back_as_it_was_stored(tmp_path):
    state = training.rounded(network(8))
    weights.save(state, tmp_path, training.source_name(8), 0)
    loaded = weights.load(tmp_path, training.source_name(8), 0)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_weights_are_kept_in_half_precision_only_if_they_are_stored():
    state = training.rounded(network(8))
    floats = [value for value in state.values() if value.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float16}
    assert training.rounded(network(8), "float64")["extract.1.weight"].dtype == torch.float64


def test_the_command_says_what_is_wrong(capsys):
    assert command.main(["--seeds", "0"]) == 2
    assert "seeds must be 1 or more" in capsys.readouterr().err
    assert command.main(["--width", "7"]) == 2
    assert "invalid choice: 7" in capsys.readouterr().err


def test_the_command_leaves_stored_networks_alone_and_downloads_nothing(
    capsys, monkeypatch, tmp_path
):
    monkeypatch.delenv("QMLBOOK_DATA", raising=False)
    monkeypatch.setenv("QMLBOOK_CACHE", str(tmp_path))
    monkeypatch.setenv("QMLBOOK_DATA_URL", "http://127.0.0.1:9")
    before = weights.path(weights.stored("c2q"), "source-8", 0).read_bytes()
    assert command.main(["--width", "8", "--seeds", "1"]) == 0
    said = capsys.readouterr().out
    assert "width 8, seed 0: stored, test accuracy" in said
    assert said.endswith(" on 3,000 of 10,000 images\n")
    assert not list(tmp_path.iterdir())
    assert weights.path(weights.stored("c2q"), "source-8", 0).read_bytes() == before


@pytest.mark.nightly
def test_properties_hold_as_recorded():
    found = runs.run_properties(Properties(images=3, inputs=80), seed=0)
    assert found["quadratic_form"] == found["poolings_agree"] == found["fewer_effective"] == 1
    sizes = [circuits.count_params(*head) for head in QUANTUM_HEADS.values()]
    assert np.all(np.array(found["effective"]) < sizes)
    assert found["checked"] == 22
