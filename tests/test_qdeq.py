"""The QDEQ room's engine: models, gradients, penalty, memory, training, experiments."""

from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from qmlbook import papers
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.base.rng import stream
from qmlbook.evidence.store import Store, config_key
from qmlbook.papers.qdeq import checks, circuits, experiments, models, runs, surrogates
from qmlbook.papers.qdeq import training as learning
from qmlbook.papers.qdeq.config import EQUILIBRIUM, FOUR, METHODS, SPOILED, Config, Memory, Roots
from qmlbook.papers.qdeq.features import grey, load_pooled, pooled
from qmlbook.papers.qdeq.layer import Layer, Reduced, expand
from qmlbook.papers.qdeq.models import Draws
from qmlbook.papers.qdeq.solvers import SOLVERS, broyden, find_root, implicit
from qmlbook.papers.shared.qnodes import qnode
from qmlbook.papers.shared.splits import Split
from qmlbook.papers.shared.tuning import tuned

pytestmark = pytest.mark.usefixtures("one_thread", "embedded")

EXPERIMENTS = experiments.experiments()
TINY = Config(n_train=400, n_test=200, batch_size=64, epochs=2, learning_rate=0.05, eps=1e-3)
TINY_10 = replace(TINY, classes=tuple(range(10)), n_train=200, epochs=1)
CASES = [(4, "amplitude"), (4, "angle"), (10, "amplitude"), (10, "angle")]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """Only the embedded images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("QMLBOOK_DATA", raising=False)
        patch.setenv("QMLBOOK_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("QMLBOOK_DATA_URL", "http://127.0.0.1:9")
        yield


def data(seed, n, batch=5):
    return torch.from_numpy(stream(seed, "data").uniform(-0.4, 1.6, (batch, n * n)))


def normal(seed, *shape):
    return torch.from_numpy(stream(seed, "normal").normal(size=shape))


def model_of(config, seed=1):
    model = models.build(config, seed)
    assert isinstance(model, models.Layered)
    return model


def trained_numbers(model):
    return {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}


# --- the layer's reduced forms ---


@pytest.mark.parametrize(("n", "encoder"), CASES)
def test_the_reduced_map_is_the_full_one(n, encoder):
    layer, u = checks.random_layer(1, n, encoder), data(1, n)
    m = torch.from_numpy(stream(1, "m").uniform(-1, 1, (len(u), n)))
    f, general = layer.reduced(u), Reduced(layer, u)
    assert torch.allclose(expand(f(m)), layer(expand(m), u), rtol=0, atol=1e-13)
    assert torch.allclose(f.jacobian(m), general.jacobian(m), rtol=0, atol=1e-12)
    g = normal(1, len(u), n)
    assert torch.allclose(f.pulled(m, g), general.pulled(m, g), rtol=0, atol=1e-12)


@pytest.mark.parametrize("encoder", circuits.ENCODERS)
def test_solvers_stop_alike_in_both_spaces(encoder):
    layer, u = checks.random_layer(2, 4, encoder), data(2, 4)
    full = broyden(lambda z: layer(z, u), torch.zeros_like(u), 10)
    reduced = broyden(layer.reduced(u), torch.zeros(len(u), 4).double(), 10)
    assert reduced.rel_trace == pytest.approx(full.rel_trace, rel=1e-6)
    assert torch.allclose(expand(reduced.z), full.z, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("n", "encoder"), CASES[:3])
def test_the_compiled_layer_is_the_simulated_one(n, encoder):
    weights = normal(3, n, *[{"amplitude": n * n, "angle": 2**n}[encoder]] * 2)
    results = []
    for device in ("default.qubit", "qmlbook.statevector"):
        inputs = [x.requires_grad_() for x in checks.angles(3, n)]
        matrices = Layer.of(*inputs, n, encoder, device).matrices
        loss = (matrices.real * weights).sum()
        results.append((matrices.detach(), *torch.autograd.grad(loss, inputs)))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("n", "encoder"), CASES[:3])
def test_the_angles_gradient_passes_through_the_reduced_map(n, encoder):
    # Also when a solver used the map before, without gradients.
    u, weights, results = data(4, n), normal(4, 5, n), []
    for kind in ("own", "general"):
        theta, phi = (x.requires_grad_() for x in checks.angles(4, n))
        layer = Layer.of(theta, phi, n, encoder, models.DEVICE)
        f = layer.reduced(u) if kind == "own" else Reduced(layer, u)
        root = broyden(f, torch.zeros(len(u), n).double(), 10).z
        penalty = f.pulled(root, weights).square().sum()
        results.append(torch.autograd.grad((f(root) * weights).sum() + penalty, [theta, phi]))
    for ours, theirs in zip(*results, strict=True):
        assert ours.abs().max() > 1e-3
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-11)


# --- models ---


@pytest.mark.parametrize(
    ("n", "encoder", "layer"),
    [(*case, "released") for case in CASES[:3]]
    + [(4, "amplitude", "tanh"), (10, "amplitude", "tanh"), (4, "amplitude", "removed")]
    + [(4, "angle", "uncontrolled")],
)
def test_model_gradients_are_slopes_of_resolved_roots(n, encoder, layer):
    config = replace(TINY, classes=tuple(range(n)), encoder=encoder, dropout=0.0, gamma=0.0)
    config = replace(config, layer=layer, threshold=200, delta=0, eps=1e-13, train_tail=True)
    seed = 5 if encoder == "angle" else 2 if layer == "tanh" else 1
    model, u = model_of(config, seed), data(5, n)
    labels = torch.arange(5) % n
    logits, _ = model(u, EQUILIBRIUM, Draws(1))
    F.cross_entropy(logits, labels).backward()
    with torch.no_grad():
        root = model.states(model.layer().reduced(u), EQUILIBRIUM)
    assert root.abs().min() > 0.01  # away from the corner of ReLU

    def loss():
        with torch.no_grad():
            f = model.layer().reduced(u)
            m = find_root(f, root)  # from here, lest the search ends at another root
            return F.cross_entropy(model.classify(m), labels).item()

    rng, h = stream(5, "entries"), 1e-3
    for parameter in model.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.flatten()
        for entry in rng.choice(len(flat), 4, replace=False).tolist():
            kept, values = flat[entry].item(), {}
            for steps in (-2, -1, 1, 2):
                flat[entry] = kept + steps * h
                values[steps] = loss()
            flat[entry] = kept
            slope = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * h)
            assert gradient[entry].item() == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("encoder", circuits.ENCODERS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_exact_adjoint_is_the_released_one_solved_further(encoder, solver):
    # A solver that stops on |f(z) - z| is exact in the limit; ten steps to 1e-3 come near.
    u, labels, found = data(6, 4), torch.arange(5) % 4, {}
    for name, changes in {
        "exact": {},
        "solved": {"adjoint": "solver", "adjoint_threshold": 300, "eps": 1e-12},
        "released": {"adjoint": "solver", "adjoint_threshold": 12},
    }.items():
        config = replace(TINY, encoder=encoder, solver=solver, threshold=300, delta=0, gamma=0.0)
        model = model_of(replace(config, eps=1e-12), seed=3)
        model.config = replace(model.config, **changes)
        f = model.layer().reduced(u)
        root = find_root(f, torch.zeros(5, 4).double())
        solve = SOLVERS[solver]
        adjoint = None
        if changes:
            budget, eps = model.config.adjoint_threshold, changes.get("eps", 1e-3)
            adjoint = partial(solve, threshold=budget, eps=eps)
        value = implicit(f, root, adjoint, slopes=f.jacobian)
        loss = F.cross_entropy(model.classify(value), labels)
        (found[name],) = torch.autograd.grad(loss, model.theta)
    assert torch.allclose(found["solved"], found["exact"], rtol=0, atol=1e-10)
    scale = found["exact"].norm()
    assert (found["released"] - found["exact"]).norm() < 0.02 * scale


def test_the_released_adjoint_is_counted():
    u = data(7, 4)
    counts = {}
    for adjoint in ("exact", "solver"):
        model = model_of(replace(TINY, adjoint=adjoint, gamma=0.0))
        model(u, EQUILIBRIUM, Draws(1))[0].sum().backward()
        counts[adjoint] = model.tally
    f = model_of(TINY).layer().reduced(u)
    budget = 10 - int(Draws(1).budget.integers(3))
    forward = broyden(f, torch.zeros(5, 4).double(), budget).evaluations
    assert counts["exact"].evaluations == forward + 1 + 1 + 4
    assert 2 < counts["solver"].evaluations - forward - 2 <= 11


@pytest.mark.parametrize("layers", [1, 2, 5, 10])
def test_direct_models_stack_the_layer(layers):
    model, u = model_of(replace(TINY, model="direct", layers=layers)), data(8, 4)
    layer, z = model.layer(), torch.zeros_like(u)
    for _ in range(layers):
        z = layer(z, u)
    logits, penalty = model(u, layers)
    assert penalty == 0
    assert torch.allclose(logits, model.linear(z.relu()), rtol=0, atol=1e-12)
    model(u, layers, Draws(1))
    assert model.tally.evaluations == 2 * layers


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_the_classifier_leaves_the_equilibrium_alone(dropout):
    # The released ReLU works in place: without dropout it overwrites what the gradient needs.
    model = model_of(replace(TINY, dropout=dropout))
    m = normal(9, 5, 4)
    before, z = m.clone(), expand(m)
    logits = model.classify(m, Draws(1))
    assert torch.equal(m, before)
    assert (m < 0).any()
    if not dropout:
        assert torch.allclose(logits, model.linear(torch.where(z > 0, z, 0.0)), atol=1e-14)


def test_dropout_has_its_rate_and_its_scale():
    model, m = model_of(TINY), torch.full((4000, 4), 0.5).double()
    model.linear = torch.nn.Identity()
    z = model.classify(m, Draws(3))
    assert set(z.unique().tolist()) == {0.0, 0.5 / 0.95}
    assert (z == 0).double().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (z[:, 0] != z[:, 1]).any()  # features of one group drop out one by one
    assert torch.equal(model.classify(m), expand(m))


def whole_jacobian(layer, z, u):
    return torch.autograd.functional.jacobian(lambda x: layer(x, u).sum(0), z).movedim(1, 0)


@pytest.mark.parametrize(
    ("n", "encoder"), [CASES[0], pytest.param(*CASES[1], marks=pytest.mark.nightly), CASES[2]]
)
def test_the_penalty_is_that_of_the_dense_jacobian(n, encoder):
    config = replace(TINY, classes=tuple(range(n)), encoder=encoder)
    model, u = model_of(config), data(10, n, batch=3)
    with torch.no_grad():
        layer = model.layer()
        f = layer.reduced(u)
        m = f(torch.zeros(3, n).double())
        dense = whole_jacobian(layer, expand(m), u)
    e = normal(10, 3, n * n)  # one direction, in all D dimensions
    sums = e.unflatten(1, (n, n)).sum(2)
    pulled = (e[:, None] @ dense)[:, 0]
    assert torch.allclose(f.pulled(m, sums), pulled, rtol=0, atol=1e-12)
    draws, draw = Draws(4), 2000
    with torch.no_grad():
        mean = sum(model.penalty(f, m, EQUILIBRIUM, draws).item() for _ in range(draw)) / draw
    assert mean == pytest.approx(dense.square().sum().item() / u.numel(), rel=0.1)


def test_the_penalty_moves_the_angles_with_the_root_held_constant():
    model, u, h = model_of(TINY), data(11, 4), 1e-5
    with torch.no_grad():
        m = broyden(model.layer().reduced(u), torch.zeros(5, 4).double(), 30).z

    def penalty():
        return model.penalty(model.layer().reduced(u), m, EQUILIBRIUM, Draws(5))

    (gradient,) = torch.autograd.grad(penalty(), model.theta)
    for entry in range(5):
        values = []
        for step in (h, -h):
            model.theta.data[entry] += step
            values.append(penalty().item())
            model.theta.data[entry] -= step
        slope = (values[0] - values[1]) / (2 * h)
        assert gradient[entry].item() == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize(
    ("changes", "depth", "training"),
    [({"gamma": 0.0}, 0, True), ({}, 2, True), ({}, 0, False), ({"frequency": 0.0}, 0, True)],
)
def test_the_penalty_applies_to_training_at_the_equilibrium(changes, depth, training):
    model, u = model_of(replace(TINY, **changes)), data(12, 4)
    assert model(u, depth, Draws(1) if training else None)[1] == 0
    assert model_of(TINY)(u, EQUILIBRIUM, Draws(1))[1] > 0


def test_the_tail_has_a_switch_and_starts_alike():
    for trained in (False, True):
        model = model_of(replace(TINY, train_tail=trained))
        assert model.phi.requires_grad == trained
        assert torch.equal(model.phi, model_of(TINY).phi)
    still = model_of(replace(TINY, train_angles=False))
    assert [n for n, p in still.named_parameters() if p.requires_grad] == [
        "linear.weight",
        "linear.bias",
    ]


def test_parameter_counts_are_the_published_ones():
    for config, angles, classifier in ((TINY, 35, 68), (TINY_10, 40, 1010)):
        model = model_of(config)
        sizes = [p.numel() for p in model.parameters() if p.requires_grad]
        assert sizes[0] == angles
        assert sum(sizes[1:]) == classifier
        assert model.theta.abs().max() <= torch.pi


def test_variants_share_their_streams():
    first = model_of(TINY, seed=4)
    for changes in ({"model": "direct"}, {"gamma": 0.0}, {"train_tail": True}):
        other = model_of(replace(TINY, **changes), seed=4)
        assert torch.equal(first.theta, other.theta)
        assert torch.equal(first.linear.weight, other.linear.weight)
    assert not torch.equal(first.theta, model_of(TINY, seed=5).theta)


# --- controls ---


@pytest.mark.parametrize(("n", "layer"), [(n, k) for n in (4, 10) for k in surrogates.KINDS])
def test_surrogates_train_as_many_numbers_as_the_circuit(n, layer):
    config = replace(TINY, classes=tuple(range(n)))
    circuit = model_of(config)
    rival = model_of(replace(config, layer=layer))
    assert trained_numbers(rival) == trained_numbers(circuit)
    assert torch.equal(rival.linear.weight, circuit.linear.weight)
    # Every direction of the subspace changes the layer, none in the same way as the others.
    size = len(rival.theta)
    assert torch.allclose(rival.subspace.T @ rival.subspace, torch.eye(size).double(), atol=1e-12)
    again, other = (model_of(replace(config, layer=layer), seed) for seed in (1, 2))
    assert torch.equal(again.start, rival.start)
    assert torch.equal(other.subspace, rival.subspace)
    assert not torch.equal(other.start, rival.start)


def test_the_classical_equilibrium_is_its_formula():
    model, u = model_of(replace(TINY, layer="tanh")), data(15, 4)
    model.theta.data = normal(15, 35) / 4
    weights = model.start + model.subspace @ model.theta
    table = weights.view(4, 21)
    w, data_weights, b = table[:, :4], table[:, 4:20], table[:, 20]
    m = model.states(model.layer().reduced(u), EQUILIBRIUM)
    solved = torch.zeros(5, 4).double()
    for _ in range(500):
        solved = torch.tanh(solved @ w.T + u @ data_weights.T + b)
    assert torch.allclose(m, solved, rtol=0, atol=0.02)  # ten steps to 1e-3, as released
    exact = broyden(model.layer().reduced(u), torch.zeros(5, 4).double(), 200, 1e-13).z
    assert torch.allclose(exact, solved, rtol=0, atol=1e-11)


@pytest.mark.parametrize("n", [4, 10])
def test_the_slopes_of_the_classical_layer_are_those_of_autograd(n):
    layer = surrogates.tanh(surrogates.start("tanh", n, 3), n)
    u, m, g = data(16, n), normal(16, 5, n), normal(17, 5, n)
    f = layer.reduced(u)
    wanted = torch.autograd.functional.jacobian(lambda x: f(x).sum(0), m).movedim(1, 0)
    assert torch.allclose(f.jacobian(m), wanted, rtol=0, atol=1e-13)

    def of_states(z):
        return f(z.unflatten(1, (n, n)).mean(2)).sum(0)

    slopes = torch.autograd.functional.jacobian(of_states, expand(m)).movedim(1, 0)
    assert torch.allclose(f.pulled(m, g), (g[:, None] @ slopes)[:, 0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("n", [4, 10])
def test_the_quadratic_layer_is_a_quotient_of_rank_two(n):
    weights, u = surrogates.start("quadratic", n, 4), data(18, n)
    layer = surrogates.quadratic(weights, n)
    plus, minus = weights.view(n, 2, n * n).unbind(1)
    wanted = ((u @ plus.T) ** 2 - (u @ minus.T) ** 2) / u.square().sum(1, keepdim=True)
    f = layer.reduced(u)
    assert torch.allclose(f(torch.zeros(5, n).double()), wanted, rtol=0, atol=1e-12)
    eigenvalues = torch.linalg.eigvalsh(layer.matrices)
    assert ((eigenvalues.abs() > 1e-9).sum(1) == 2).all()


def test_controls_keep_the_circuits_angles():
    first = model_of(TINY, seed=4)
    for layer in ("removed", "uncontrolled"):
        other = model_of(replace(TINY, layer=layer), seed=4)
        assert torch.equal(first.theta, other.theta)
        assert torch.equal(first.phi, other.phi)


@pytest.mark.parametrize("spoiled", SPOILED[1:])
def test_spoiled_data_hold_nothing_to_learn(spoiled):
    clean, dirty = (learning.splits(replace(TINY, spoiled=s), 3) for s in ("nothing", spoiled))
    for kept, changed in zip(clean, dirty, strict=True):
        assert len(kept) == len(changed)
    if spoiled == "labels":
        for kept, changed in zip(clean[:2], dirty[:2], strict=True):
            assert torch.equal(kept.inputs, changed.inputs)
            assert (kept.labels == changed.labels).double().mean() < 0.5
        counts = [torch.cat([part.labels for part in s[:2]]).bincount() for s in (clean, dirty)]
        assert torch.equal(*counts)
        assert torch.equal(clean[2].inputs, dirty[2].inputs)
        assert torch.equal(clean[2].labels, dirty[2].labels)
    else:
        for kept, changed in zip(clean, dirty, strict=True):
            assert torch.equal(kept.labels, changed.labels)
        assert abs(dirty[2].inputs.mean() - clean[2].inputs.mean()) < 0.05
        assert abs(dirty[2].inputs.std() - clean[2].inputs.std()) < 0.05
        assert not torch.equal(dirty[2].inputs, learning.splits(TINY, 3)[2].inputs)
    config = replace(TINY, spoiled=spoiled, n_train=1000, n_test=1000, model="linear")
    assert abs(runs.run(config, 1)["accuracy"] - 0.25) < 0.15


# --- failures are said ---


def test_a_vector_of_length_zero_is_refused():
    model, u = model_of(TINY), data(13, 4)
    u[2] = 0.0
    with pytest.raises(QmlbookError, match="not finite"):
        model(u, EQUILIBRIUM, Draws(1))


def test_nan_in_data_is_refused_in_every_mode():
    training = load_pooled("mnist", FOUR, "train", 64)
    u = training.inputs.clone()
    u[5, 3] = torch.nan
    for name in ("direct", "implicit", "linear", "baseline"):
        config = replace(TINY, model=name, clip=None if name == "baseline" else 0.25)
        with pytest.raises(QmlbookError, match="not finite"):
            learning.train(config, 0, Split(u, training.labels), training)


def test_a_solver_that_does_not_arrive_is_counted():
    config = replace(TINY, eps=1e-14, epochs=1)
    training, validation, _ = learning.splits(config, 0)
    tally = learning.train(config, 0, training, validation).model.tally
    assert tally.unconverged == tally.steps == 5


# --- data ---


def test_splits_are_disjoint_shares_of_the_images():
    config = replace(TINY, n_train=401)
    training, validation, test = learning.splits(config, 3)
    whole = load_pooled("mnist", FOUR, "train", 401)
    assert (len(training), len(validation), len(test)) == (320, 81, 200)
    together = torch.cat([training.inputs, validation.inputs])
    assert torch.equal(together.sort(0).values, whole.inputs.sort(0).values)
    assert set(whole.labels.tolist()) == {0, 1, 2, 3}
    assert not torch.equal(learning.splits(config, 4)[1].inputs, validation.inputs)


def test_colour_images_become_grey_and_small():
    images = torch.from_numpy(stream(1, "colour").uniform(0, 255, (2, 32, 32, 3)))
    weights = torch.tensor([0.2989, 0.587, 0.114], dtype=torch.float64)
    shades = (images * weights).sum(-1)
    small = grey(images)
    assert small.shape == (2, 28, 28)
    # Bilinear at the centre of output pixel (r, c), by hand.
    r, c = 11, 20
    y, x = (r + 0.5) * 32 / 28 - 0.5, (c + 0.5) * 32 / 28 - 0.5
    top, left = int(y), int(x)
    y, x = y - top, x - left
    corner = shades[:, top : top + 2, left : left + 2]
    by_hand = (
        corner[:, 0, 0] * (1 - y) * (1 - x)
        + corner[:, 0, 1] * (1 - y) * x
        + corner[:, 1, 0] * y * (1 - x)
        + corner[:, 1, 1] * y * x
    )
    assert torch.allclose(small[:, r, c], by_hand, rtol=0, atol=1e-10)
    # The released order, normalised first, gives the same features.
    normalised = F.interpolate(
        ((shades / 255 - 0.1307) / 0.3081)[:, None], (28, 28), mode="bilinear"
    )
    wanted = F.avg_pool2d(normalised, 5, 3, 2).flatten(1)
    assert torch.allclose(pooled(small, 10), wanted, rtol=0, atol=1e-12)


# --- training ---


def test_training_learns_and_beats_untrained_angles():
    config = replace(TINY, n_train=1000, n_test=500, epochs=6)
    accuracies = {
        name: runs.run(replace(config, **changes), 1)["accuracy"]
        for name, changes in {
            "direct1": {"model": "direct", "layers": 1},
            "implicit": {},
            "untrained": {"train_angles": False, "gamma": 0.0},
            "linear": {"model": "linear"},
        }.items()
    }
    assert accuracies["implicit"] > accuracies["untrained"] + 0.03
    assert accuracies["direct1"] > accuracies["untrained"] + 0.03
    assert accuracies["linear"] > 0.85


def test_runs_repeat():
    for config in (TINY, replace(TINY, encoder="angle"), TINY_10):
        assert runs.run(config, 5) == runs.run(config, 5)


def test_the_lowest_validation_loss_is_kept():
    config = replace(TINY, model="direct", layers=1, epochs=6, learning_rate=0.8)
    training, validation, _ = learning.splits(config, 5)
    trained = learning.train(config, 5, training, validation)
    losses = trained.validation_loss
    assert trained.epoch == losses.index(min(losses)) != 5
    now = learning.score(trained.model, validation, trained.depth)
    assert now[0] == pytest.approx(min(losses), abs=1e-12)
    last = learning.train(replace(config, selection="last"), 5, training, validation)
    assert last.validation_loss == losses
    now = learning.score(last.model, validation, last.depth)
    assert now[0] == pytest.approx(losses[-1], abs=1e-12)


def test_warm_up_stacks_layers_first_and_forgets_what_it_kept():
    config = replace(TINY, warmup=0.5, epochs=4, gamma=0.0)
    training, validation, _ = learning.splits(config, 2)
    direct = replace(config, model="direct", epochs=2)
    before = learning.train(direct, 2, training, validation)
    trained = learning.train(config, 2, training, validation)
    # Until the switch the same steps were made; the second epoch ends after it.
    assert trained.validation_loss[0] == before.validation_loss[0]
    assert trained.loss[:2] == before.loss
    assert trained.depth == EQUILIBRIUM
    assert trained.epoch >= 2
    assert trained.model.tally.steps == 20
    half = trained.model.tally.evaluations - 10 * 4
    assert half > 10 * (3 + 2 + 4)


def test_gradients_are_clipped_and_only_moving_parameters_move(monkeypatch):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def noted(parameters, most):
        norms.append((len(parameters), most))
        return clip(parameters, most)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noted)
    config = replace(TINY, epochs=1)
    training, validation, _ = learning.splits(config, 0)
    trained = learning.train(config, 0, training, validation)
    assert norms == [(3, 0.25)] * 5
    start = model_of(config, 0)
    assert torch.equal(trained.model.phi, start.phi)
    assert not torch.equal(trained.model.theta, start.theta)


def test_the_cosine_schedule_ends_at_zero():
    config = replace(experiments.BASELINE, epochs=10)
    rates = [learning.learning_rate(config, epoch) for epoch in (0, 5, 10)]
    assert rates == pytest.approx([0.005, 0.0025, 0.0])
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.005)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=10)
    for epoch in range(10):
        assert optimiser.param_groups[0]["lr"] == pytest.approx(
            learning.learning_rate(config, epoch), abs=1e-12
        )
        optimiser.step()
        schedule.step()


def test_residuals_by_their_definitions():
    model = model_of(replace(TINY, model="direct", layers=2))
    _, _, test = learning.splits(TINY, 0)
    with torch.no_grad():
        layer, z = model.layer(), torch.zeros_like(test.inputs)
        for _ in range(2):
            z = layer(z, test.inputs)
        value = layer(z, test.inputs)
    found = learning.residuals(model, test, 2)
    assert found["residual"] == pytest.approx(((value - z).norm() / value.norm()).item())
    released = torch.norm((value - z).unsqueeze(2), dim=2) / (z.unsqueeze(2).norm(dim=2) + 1e-9)
    assert found["residual_logged"] == pytest.approx(released.mean().item())


def test_the_baseline_is_the_circuit_on_the_data():
    config = replace(experiments.BASELINE, n_train=400, n_test=200, epochs=1)
    model, u = models.build(config, 1), data(14, 4)
    assert model.theta.numel() == circuits.count_angles(circuits.random_layer(4, 0))
    assert [p.requires_grad for p in model.parameters()] == [True, True]

    def circuit():
        circuits.encode(u, 4, "amplitude")
        circuits.transform(model.theta, model.phi, 4, 0)
        return [circuits.qml.expval(circuits.qml.Z(w)) for w in range(4)]

    simulated = torch.stack(qnode(circuit, wires=4)(), -1)
    assert torch.allclose(model(u, 1, Draws(1))[0], simulated, rtol=0, atol=1e-12)
    assert set(runs.run(config, 0)) == {"accuracy", "validation_accuracy", "accuracy_75"}


# --- memory ---


@pytest.mark.parametrize("encoder", circuits.ENCODERS)
def test_memory_is_flat_in_the_budget_and_linear_in_depth(encoder):
    def kept(**changes):
        return checks.saved_bytes(Memory(batch_size=32, encoder=encoder, **changes), 0)

    flat = [kept(threshold=steps) for steps in (5, 20)]
    assert abs(flat[1] / flat[0] - 1) < 0.02
    layers = [kept(layers=count) for count in (1, 2, 3, 5)]
    more = layers[2] - layers[1]  # the first layer starts from 0, through which nothing flows back
    assert more > 32 * 16 * 8 * 35  # a state per trained gate at least
    assert layers[3] == pytest.approx(layers[0] + 4 * more, rel=0.02)
    assert flat[0] < layers[0] + more / 2
    if encoder == "amplitude":
        assert layers[3] == pytest.approx(5 * layers[0], rel=0.05)


@pytest.mark.parametrize("encoder", circuits.ENCODERS)
def test_checkpoints_keep_one_layer_and_give_the_same_gradient(encoder):
    plain = Memory(batch_size=32, encoder=encoder, layers=5)
    gradients = []
    for config in (plain, replace(plain, checkpoint=True)):
        loss, theta = checks.training_step(config, 3)
        loss.backward()
        gradients.append(theta.grad)
    assert gradients[0].abs().max() > 1e-4
    assert torch.equal(*gradients)
    kept = {
        (layers, checkpoint): checks.saved_bytes(
            replace(plain, layers=layers, checkpoint=checkpoint), 3
        )
        for layers, checkpoint in ((1, False), (2, False), (2, True), (5, True))
    }
    one = kept[2, False] - kept[1, False]  # a layer through which something flows back
    states = 32 * 16 * 4  # bytes of one layer's input
    assert kept[5, True] < one + 12 * states
    assert 3 * states <= kept[5, True] - kept[2, True] < 6 * states


def test_memory_counts_what_is_there_at_once():
    kept = checks.Kept()
    first, second = torch.zeros(100), torch.zeros(50)
    noted = [kept.note(first), kept.note(first[:10]), kept.note(second)]  # two share their memory
    assert (kept.now, kept.most) == (600, 600)
    del noted[0]
    assert kept.now == 600
    del noted[0]
    assert kept.now == 200
    noted.append(kept.note(torch.zeros(20)))
    assert (kept.now, kept.most) == (280, 600)


# --- checks ---


@pytest.mark.parametrize("name", ["overlap-bound", "contraction-bound", "angle10"])
def test_properties_hold(name):
    made = EXPERIMENTS["properties"]
    found = made.run(made.variants["full"][name], 0)
    assert found["holds"] == 1
    assert found["checked"] >= 20


def test_checks_can_fail(monkeypatch):
    # A gradient without the inverse, as training by one step would have it.
    monkeypatch.setattr(checks, "implicit", lambda f, root, **_: f(root.detach()))
    assert not all(checks.implicit_gradient(0, images=2))
    # A smaller bound than the derived one.
    monkeypatch.setattr(checks, "spectra", lambda slopes: {"norm": slopes.norm(dim=(1, 2)) * 4})
    assert not all(checks.contraction_bound(0))


def test_root_solver_reaches_more_images_than_plain_iteration():
    shares = {
        method: [runs.run_roots(Roots(method, images=40), seed) for seed in range(4)]
        for method in METHODS
    }
    plain, solved = (sum(r["converged"] for r in shares[m]) / 4 for m in METHODS)
    assert solved > 0.97
    assert plain < solved


# --- configurations and experiments ---


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset": "kmnist"}, "dataset 'kmnist' is not known; choose from: mnist"),
        ({"encoder": "phase"}, "encoder 'phase'"),
        ({"model": "deep"}, "model 'deep'"),
        ({"solver": "newton"}, "solver 'newton'"),
        ({"adjoint": "one-step"}, "adjoint 'one-step'"),
        ({"classes": (0, 1)}, "classes must be 4 or 10"),
        ({"classes": (0, 1, 2, 2)}, "classes must be 4 or 10"),
        ({"gamma": -0.1}, "gamma must lie between 0 and 1, not -0.1"),
        ({"dropout": float("nan")}, "dropout must lie"),
        ({"layers": 0}, "layers must be 1 or more, not 0"),
        ({"threshold": 4}, "threshold - delta"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"validation": 1.0}, "validation"),
        ({"layer": "deep"}, "layer 'deep' is not known; choose from: released, removed"),
        ({"layer": "tanh", "encoder": "angle"}, "layer 'tanh' encodes no angles"),
        ({"spoiled": "images"}, "spoiled 'images'"),
    ],
)
def test_bad_settings_are_named(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        replace(TINY, **changes)


def test_every_claim_finds_its_runs():
    claims = yaml.safe_load(papers.claims_file("qdeq").read_text(encoding="utf-8"))["claims"]
    asked = [claim for claim in claims if "experiment" in claim]
    assert len(asked) > 50
    for claim in asked:
        groups = claim["variants"]
        names = groups if isinstance(groups, list) else groups["over"] + groups["under"]
        for variant in names:
            place, _, name = variant.rpartition("/")
            found = EXPERIMENTS[place or claim["experiment"]]
            assert name in found.variants["full"], claim["id"]


def test_stored_runs_have_the_keys_of_today():
    # Of all that is stored but the settings given up, and of the trials.
    stored = {(record.cell, record.config_key) for record in Store().records("qdeq")}
    for name, made in EXPERIMENTS.items():
        for variant, config in made.variants["full"].items():
            keys = {key for cell, key in stored if cell == (name, variant)}
            assert not keys or config_key(config) in keys, (name, variant)


def test_tuning_is_equal_and_of_other_seeds():
    trials = experiments.TUNING.trials
    assert {len(choices) for choices in trials.values()} == {8}
    assert len(trials) == sum(map(len, experiments.FAMILIES.values()))
    made = EXPERIMENTS["tuning"].variants["full"]
    assert list(made) == [trial for choices in trials.values() for trial in choices]
    for choices in trials.values():
        for trial, changes in choices.items():
            assert changes.items() <= asdict(made[trial]).items()
    assert runs.tuning_seed(0) >= 10**6


def test_controls_run_with_tuned_settings_only():
    chosen = tuned("qdeq")
    for record in Store().records("qdeq"):
        family = experiments.TUNED_AS.get(record.experiment, record.experiment)
        if record.config.get("layer", "released") != "released" and family in experiments.FAMILIES:
            assert f"{family}-{record.variant}" in chosen, record.run


def test_models_take_their_tuned_settings_and_other_images_those_of_mnist():
    chosen = {"mnist10-linear": {"learning_rate": 0.01}, "mnist4-implicit": {"gamma": 0.3}}
    assert experiments.full("mnist4", chosen)["implicit"].gamma == 0.3
    for name in ("mnist10", "fashion_mnist10", "cifar10"):
        models = experiments.full(name, chosen)
        assert models["linear"].learning_rate == 0.01
        assert models["direct1"].learning_rate == 0.05  # not tuned
    assert EXPERIMENTS["mnist4"].variants["full"] == experiments.full("mnist4", tuned("qdeq"))


def test_quick_runs_are_small_and_need_no_other_images():
    for name, found in EXPERIMENTS.items():
        for variant, config in found.variants["quick"].items():
            assert isinstance(asdict(config), dict), (name, variant)
            if isinstance(config, Config):
                assert config.dataset in ("mnist", "fashion_mnist")
                assert config.n_train <= 1000


@pytest.mark.nightly
def test_every_quick_run_gives_its_metrics():
    wanted = {"accuracy", "residual", "residual_logged", "evaluations"}
    for found in EXPERIMENTS.values():
        for variant, config in found.variants["quick"].items():
            metrics = found.run(config, 0)
            assert all(torch.isfinite(torch.tensor(v)) for v in metrics.values()), variant
            if isinstance(config, Config):
                expected = {"linear": {"accuracy"}, "baseline": {"accuracy", "accuracy_75"}}
                assert expected.get(config.model, wanted) <= set(metrics)
            if found.name == "properties":
                assert metrics["holds"] == 1, variant


@given(st.integers(0, 10_000))
@settings(max_examples=10)
def test_ten_wire_models_are_at_their_equilibrium(seed):
    layer, u = checks.random_layer(seed, 10), data(seed, 10, batch=3)
    found = broyden(layer.reduced(u), torch.zeros(3, 10).double(), 30)
    assert found.converged
    assert (layer(expand(found.z), u) - expand(found.z)).norm() < 2e-3 * expand(found.z).norm()
