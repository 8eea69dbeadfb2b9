"""The QSSL room: networks, sampling, gradients, pre-training, probe, hardware path, commands."""

import copy
import json
import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from torch.nn import functional as F

from qmlbook import backends, data, papers
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.base.rng import stream
from qmlbook.evidence.claims import load_claims
from qmlbook.papers.qssl import __main__ as command
from qmlbook.papers.qssl import (
    checks,
    circuits,
    experiments,
    hardware,
    losses,
    models,
    networks,
    probes,
    recompiled,
    runs,
    training,
)
from qmlbook.papers.qssl.config import DIGITS, PUBLISHED, SOME_CIFAR10, Properties
from qmlbook.papers.qssl.pictures import cifar10 as cifar10_images
from qmlbook.papers.qssl.pictures import pictures
from qmlbook.papers.qssl.views import normalise, view
from qmlbook.papers.shared import weights
from qmlbook.papers.shared.qnodes import compiled, qnode
from qmlbook.papers.shared.tuning import tuned
from qmlbook.papers.shared.weights import count_parameters

pytestmark = pytest.mark.usefixtures("one_thread")

EXPERIMENTS = experiments.experiments()
TINY = replace(DIGITS, batches=12, checkpoints=(1, 12), n_train=200, n_test=100)
TOKEN = "planted-7f3a9c0e5b2d4816"


def angles(rows, width=8, seed=0):
    return torch.from_numpy(stream(seed, "angles").uniform(0, np.pi, (rows, width)))


def circuit(seed=0, **changes):
    """Return a circuit in double precision."""
    return models.representation(replace(DIGITS, **changes), seed).double()


def own(variant):
    """Return a tiny configuration of a variant."""
    return replace(TINY, **experiments.REPRESENTATIONS[variant])


# --- networks ---


def test_sizes_of_the_networks():
    count = count_parameters
    made = models.Model(PUBLISHED, 0)
    assert count(made.encoder.trunk) == 11_176_512
    assert count(made.encoder.squeeze) == 4_104
    assert count(made.head) == 152
    assert count(made.network) == 32
    sizes = {"all-to-all": 32, "classical": 144, "identity": 0, "cosine": 0}
    for name, size in sizes.items():
        config = replace(PUBLISHED, **experiments.REPRESENTATIONS[name])
        assert count(models.representation(config, 0)) == size
    for settings in experiments.SEARCH.values():
        config = replace(PUBLISHED, **settings)
        assert count(models.representation(config, 0)) == 144


def test_an_image_of_32_pixels_is_8_in_the_first_block_and_1_in_the_last():
    trunk, sides = models.resnet18((4, 8, 16, 32)), []
    for layer in trunk:
        if isinstance(layer, models.Block):
            layer.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    assert trunk(torch.rand(2, 3, 32, 32)).shape == (2, 32)
    assert sides == [8, 8, 4, 4, 2, 2, 1, 1]


def trunks(dtype=torch.float32):
    """A small trunk, and the same with torch's own convolutions and norms."""
    made = models.resnet18((4, 8, 16, 32)).to(dtype)
    models.initialise(made, stream(0, "trunk"))
    plain = copy.deepcopy(made)
    for layer in plain.modules():
        if isinstance(layer, models.Convolution):
            layer.__class__ = torch.nn.Conv2d
        elif isinstance(layer, models.Norm):
            layer.__class__ = torch.nn.BatchNorm2d
    return made, plain


@pytest.mark.parametrize("rows", [16, 7])  # with and without the form that oneDNN takes
def test_what_meets_only_padding_is_left_out_of_no_number(rows):
    made, plain = trunks(torch.float64)
    x = torch.from_numpy(stream(1, "images").normal(size=(rows, 3, 32, 32)))
    found, wanted = ([*net.parameters()] for net in (made, plain))
    outputs = made(x), plain(x)
    torch.testing.assert_close(*outputs)
    for output in outputs:
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_both_views_pass_at_once_and_are_normalised_apart():
    made, plain = (models.Encoder(trunk, 4, 32) for trunk in trunks(torch.float64))
    together = models.Encoder(copy.deepcopy(made.trunk), 4, 32, apart=6).double()
    for other in (plain.double(), together):
        other.squeeze.load_state_dict(made.double().squeeze.state_dict())
    views = [torch.rand(16, 3, 32, 32, dtype=torch.float64) for _ in range(2)]
    wanted = torch.cat([plain(view) for view in views])
    for encoder in (made, together):
        torch.testing.assert_close(encoder.both(views), wanted)
        torch.testing.assert_close(models.frozen(encoder)(views[0]), plain.eval()(views[0]))


def test_a_block_is_two_convolutions_and_a_way_around():
    block = models.Block(3, 5, 2).eval()
    x = torch.randn(2, 3, 6, 6)
    first, norm1, _, second, norm2 = block.body
    y = F.relu(norm1(F.conv2d(x, first.weight, stride=2, padding=1)))
    y = norm2(F.conv2d(y, second.weight, padding=1))
    around = block.around[1](F.conv2d(x, block.around[0].weight, stride=2))
    torch.testing.assert_close(block(x), F.relu(y + around))


def test_first_weights_follow_the_released_widths():
    made = models.Model(PUBLISHED, 0)
    convolution = made.encoder.trunk[5].body[3].weight
    assert convolution.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert made.encoder.squeeze.weight.abs().max().item() == pytest.approx(512**-0.5, rel=0.01)
    assert made.encoder.squeeze.bias.abs().max() <= 512**-0.5
    many = [circuit(seed).params.detach() for seed in range(40)]
    assert torch.cat(many).std().item() == pytest.approx(8**-0.5, rel=0.1)


def test_equal_seeds_share_everything_but_the_representation():
    ring, rival = (models.Model(own(name), 3) for name in ("ring", "classical"))
    for part in ("encoder", "head"):
        pairs = zip(
            getattr(ring, part).parameters(), getattr(rival, part).parameters(), strict=True
        )
        assert all(torch.equal(a, b) for a, b in pairs)
    steps = [
        next(training.steps(own(name), 3, models.Model(own(name), 3), known))
        for name in ("ring", "classical")
        for known in [pictures(TINY).train]
    ]
    assert torch.equal(steps[0].angles, steps[1].angles)  # same images, same views
    assert steps[0].loss != steps[1].loss
    other = models.Model(own("ring"), 4)
    assert not torch.equal(other.encoder.squeeze.weight, ring.encoder.squeeze.weight)
    assert not torch.equal(other.network.params, ring.network.params)


def test_angles_lie_between_zero_and_pi():
    found = models.Model(TINY, 0).encoder(100 * torch.randn(50, 1, 8, 8, dtype=torch.float64))
    assert found.min() >= 0
    assert found.max() <= np.pi
    assert found.std() > 0.1


@pytest.mark.parametrize(("bend", "function"), [("leaky_relu", F.leaky_relu), ("tanh", torch.tanh)])
@pytest.mark.parametrize("last", [True, False])
def test_classical_networks(bend, function, last):
    network = models.classical(4, 2, bend, last)
    x = torch.randn(6, 4)
    wanted = network[2](function(network[0](x)))
    torch.testing.assert_close(network(x), function(wanted) if last else wanted)


# --- circuits: closed facts, gradients, samples ---


def test_a_ring_at_zero_is_the_cosine_control():
    ring = circuit()
    torch.nn.init.zeros_(ring.params)
    torch.testing.assert_close(ring(angles(5)), models.Cosine()(angles(5)), rtol=0, atol=1e-12)


def slopes(network, x):
    """Return the derivatives (outputs, W) of the features of one image."""
    return torch.autograd.functional.jacobian(lambda row: network(row[None])[0], x[0])


@pytest.mark.parametrize("ansatz", ["ring", "all-to-all"])
@pytest.mark.parametrize("gates", ["removed", "uncontrolled"])
def test_without_entangling_gates_a_feature_sees_its_own_angle(ansatz, gates):
    settings = {"network": ansatz, "seed": 3}
    local, whole = circuit(**settings, gates=gates), circuit(**settings)
    assert torch.equal(local.params, whole.params)  # equal seeds start from equal angles
    x = angles(6)
    found = slopes(local, x)
    assert (found - torch.diag(found.diagonal())).abs().max() < 1e-12
    assert (slopes(whole, x) - torch.diag(slopes(whole, x).diagonal())).abs().max() > 1e-3
    scale = local(x) / x.cos()
    cosine = torch.allclose(scale, scale[:1].expand_as(scale))
    assert cosine == (gates == "removed" or ansatz == "all-to-all")  # up to a number a feature
    torch.testing.assert_close(
        local.probabilities(x) @ models.signs(8, torch.float64), local(x).detach()
    )


def test_shifted_gradients_of_local_rotations_need_two_shifts():
    settings = {"width": 3, "gates": "uncontrolled"}
    shifted = circuit(**settings)
    shifted.shifted = True
    assert all(rule == models.TWO_TERM for rule in shifted.rules)
    for found, wanted in zip(
        gradients(shifted, angles(2, 3)), gradients(circuit(**settings), angles(2, 3)), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("read", "number"), [("z", 4), ("pairs", 8), ("axes", 16)])
def test_more_can_be_read_of_every_qubit(read, number):
    config = replace(DIGITS, width=4, read=read)
    network, x = circuit(width=4, read=read), angles(3, 4)
    node = qnode(circuits.state, wires=4, layers=2)
    states = node(x, network.params).detach().reshape(3, 2, 2, 2, 2)
    found = network(x).detach()
    assert found.shape == (3, number)
    assert config.features == number
    torch.testing.assert_close(found[:, :4], circuit(width=4)(x).detach())
    signs = models.signs(4, torch.float64)
    chances = states.abs().reshape(3, -1) ** 2
    if read != "z":
        torch.testing.assert_close(found[:, 4:8], chances @ (signs * signs.roll(-1, 1)))
    if read == "axes":
        flipped = torch.stack(
            [(states.conj() * states.flip(q + 1)).sum((1, 2, 3, 4)) for q in range(4)], 1
        )
        torch.testing.assert_close(found[:, 8:12], flipped.real)
        assert found[:, 12:].abs().max() > 0.1
    model = models.Model(config, 0)
    assert model(torch.rand(6, 1, 8, 8, dtype=torch.float64)).shape == (6, number)


def test_neighbours_have_the_shape_and_the_size_of_the_ring():
    network = models.representation(replace(DIGITS, network="neighbours"), 0).double()
    assert count_parameters(network) == 32
    found = slopes(network, angles(1)).abs() > 1e-12
    seen = [[(unit - back) % 8 for back in range(3)] for unit in range(8)]
    assert [row.nonzero()[:, 0].tolist() for row in found] == [sorted(row) for row in seen]


def test_the_surrogate_has_the_waves_of_the_encoding():
    network = models.representation(replace(DIGITS, network="fourier"), 0).double()
    assert network.layer.in_features == 16 + 4 * 28
    x = angles(40)
    again = x + 2 * np.pi * torch.tensor([1, 0, 0, 2, 0, 0, 0, 1], dtype=x.dtype)
    torch.testing.assert_close(network(x), network(again))
    local = circuit(gates="uncontrolled")  # a sum of single waves: the surrogate can be it exactly
    waves = []
    network.layer.register_forward_pre_hook(lambda _, inputs: waves.append(inputs[0].detach()))
    network(x)
    target = local(x).detach()
    fitted = torch.linalg.lstsq(waves[0][:, :16], target).solution
    torch.testing.assert_close(waves[0][:, :16] @ fitted, target)


def test_the_drawn_curves_say_what_the_claims_say():
    drawn = experiments.published()["curves"]
    assert (*drawn["batches"], 189) == experiments.CURVE
    means = {name: dict(zip(drawn["batches"], drawn[name]["mean"], strict=True)) for name in
             ("ring", "classical", "ring-100-shots", "all-to-all")}  # fmt: skip
    claims = {claim.id: claim for claim in load_claims("qssl")}
    for claim, name in {"C1": "ring", "C2": "classical", "C3": "all-to-all"}.items():
        assert claims[claim].published["mean"] == means[name][176]
    leads = [means["ring"][k] - means["classical"][k] for k in drawn["batches"]]
    assert min(leads) > 0
    assert means["ring-100-shots"][1] < means["classical"][1]


def test_with_shuffled_labels_nothing_is_learned():
    config = replace(own("identity"), batches=1, checkpoints=(1,), spoiled="labels")
    found = [runs.run_pretrain(config, seed)["accuracy_1"] for seed in range(3)]
    plain = runs.run_pretrain(replace(config, spoiled="nothing"), 0)["accuracy_1"]
    assert np.mean(found) < 35 < plain


def test_single_precision_agrees_with_double():
    single = models.representation(replace(DIGITS, dtype="float32"), 1).float()
    found = single(angles(7).float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), circuit(1)(angles(7)), rtol=0, atol=1e-5)


def test_only_the_ring_has_controlled_rotations():
    half = [False] * 3 + [True] * 3
    assert models.controlled("ring", 3, 2).tolist() == half * 2
    assert models.controlled("all-to-all", 3, 2).tolist() == [False] * 9


def gradients(network, x):
    x = x.clone().requires_grad_()
    weight = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).reshape(x.shape)
    return torch.autograd.grad((network(x) * weight).sum(), [x, network.params])


@pytest.mark.parametrize("ansatz", ["ring", "all-to-all"])
def test_four_shifts_are_the_exact_gradient_and_two_only_of_plain_rotations(ansatz):
    settings = {"network": ansatz, "width": 4, "layers": 2, "seed": 5}
    x = angles(3, 4)
    exact = gradients(circuit(**settings), x)
    shifted = circuit(**settings)
    shifted.shifted = True
    for found, wanted in zip(gradients(shifted, x), exact, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    two = circuit(**settings, gradient="two-term")
    assert two.shifted
    to_angles, to_params = gradients(two, x)
    torch.testing.assert_close(to_angles, exact[0], rtol=0, atol=1e-12)
    wanted = models.controlled(ansatz, 4, 2)
    # Of the last block only the first: after the others nothing acts on their control any more,
    # so it is read out as it was, and the frequency 1/2 does not reach the outputs.
    wanted[-3:] = False
    assert ((to_params - exact[1]).abs() > 1e-9).tolist() == wanted.tolist()


def test_half_of_the_qubits_measured_is_dephasing():
    mixed = qnode(
        circuits.features,
        device="default.mixed",
        wires=4,
        layers=2,
        activation="partial_dephasing_half",
    )
    network = circuit(width=4, activation="partial_measurement_half")
    x = angles(3, 4)
    wanted = torch.stack([torch.stack(mixed(row, network.params)) for row in x])
    torch.testing.assert_close(network(x), wanted, rtol=0, atol=1e-10)
    found = network.probabilities(x) @ models.signs(4, torch.float64)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
    assert not torch.allclose(network(x), circuit(width=4)(x), atol=1e-2)


@pytest.mark.parametrize("ansatz", ["ring", "all-to-all"])
@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("width", range(2, 9))
def test_branches_have_the_probabilities_of_the_compiled_circuit(ansatz, dtype, error, width):
    options = {"layers": 2, "activation": "partial_dephasing_half"}
    whole = compiled(circuits.probabilities, dtype=dtype, ansatz=ansatz, **options)
    kind, rng = getattr(torch, dtype), stream(width, "branches", ansatz)
    x = torch.from_numpy(rng.uniform(-4, 4, (5, width))).to(kind)
    params = torch.from_numpy(rng.normal(0, 2, circuits.count_params(ansatz, width, 2))).to(kind)
    found = models.branched(x, params, ansatz, dtype)
    assert found.dtype == kind
    torch.testing.assert_close(found, whole(x, params), rtol=0, atol=error)


@pytest.mark.parametrize("activation", circuits.ACTIVATIONS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("most", [2, 3])
def test_probabilities_belong_to_the_outputs(activation, layers, most, monkeypatch):
    """However they are computed: two layers of 3 qubits are, with and without a matrix."""
    monkeypatch.setattr(models, "MATRIX", most)
    network = circuit(width=3, layers=layers, activation=activation)
    whole = isinstance(network.probable, partial)
    assert whole == (activation != "null" and layers == 2 and most == 3)
    found = network.probabilities(angles(4, 3)) @ models.signs(3, torch.float64)
    torch.testing.assert_close(found, network(angles(4, 3)).detach(), rtol=0, atol=1e-10)


def test_samples_have_the_spread_and_the_correlations_of_bit_strings():
    network, shots, rows = circuit(width=3), 50, 20_000
    torch.nn.init.constant_(network.params, 1.2)
    chances = network.probabilities(angles(1, 3))
    exact = (chances @ models.signs(3, torch.float64))[0]
    torch.testing.assert_close(exact, network(angles(1, 3))[0].detach(), rtol=0, atol=1e-12)
    found = models.sample(chances.expand(rows, -1), shots, stream(0, "shots"))
    values = models.signs(3, torch.float64)
    covariance = ((values * chances[0, :, None]).T @ values - exact[:, None] * exact) / shots
    error = (found.mean(0) - exact) / (covariance.diagonal() / rows).sqrt()
    assert error.abs().max() < 5
    torch.testing.assert_close(covariance.diagonal(), (1 - exact**2) / shots, rtol=1e-9, atol=1e-12)
    assert (torch.cov(found.T) - covariance).abs().max() < 5 * 2 / shots / rows**0.5
    assert covariance[0, 1].abs() > 10 * 2 / shots / rows**0.5  # there is something to see
    ones = (1 + found) * shots / 2
    torch.testing.assert_close(ones, ones.round(), rtol=0, atol=1e-9)  # whole shots


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("width", [2, 5, 8])
def test_draws_fall_between_the_edges_of_their_bit_strings(kind, width):
    rng = stream(width, "chances")
    chances = rng.dirichlet(np.full(2**width, 0.05), 30).astype(kind)  # many close to 0
    edges = torch.from_numpy(chances).cumsum(-1).numpy()[:, :-1]
    drawn = stream(0, "shots").random((30, 40), dtype=kind)
    values = models.signs(width, torch.float64)
    rows = zip(edges, drawn, strict=True)
    wanted = torch.stack([values[np.searchsorted(*row, "right")].mean(0) for row in rows])
    found = models.sample(torch.from_numpy(chances), 40, stream(0, "shots"))
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-6)


def test_certain_outcomes_are_certain():
    chances = torch.zeros(3, 4)
    chances[range(3), [0, 2, 3]] = 1
    found = models.sample(chances, 10, stream(0, "shots"))
    assert found.tolist() == [[1, 1], [-1, 1], [-1, -1]]


@pytest.mark.nightly
def test_sampled_gradients_are_right_on_average():
    settings = {"width": 3, "layers": 1, "seed": 2}
    x = angles(2, 3)
    exact = torch.cat([part.flatten() for part in gradients(circuit(**settings), x)])
    sampled = circuit(**settings, shots=20)
    found = [torch.cat([part.flatten() for part in gradients(sampled, x)]) for _ in range(225)]
    found = torch.stack(found)
    assert ((found.mean(0) - exact) / (found.std(0) / 15)).abs().max() < 5
    assert found.std(0).min() > 0


# --- images ---


def test_digits_are_split_once():
    train, test = pictures(DIGITS)
    assert (len(train.labels), len(test.labels)) == (600, 301)
    assert train.inputs.shape == (600, 1, 8, 8)
    assert set(test.labels.tolist()) == set(range(5))
    assert train.scaled(torch.arange(600), "float64").max() == 1
    few = pictures(TINY)
    assert torch.equal(few.train.inputs, train.inputs[:200])
    assert len(few.test.labels) == 100


@pytest.fixture
def cifar10(monkeypatch):
    """Random pictures in place of CIFAR-10."""

    def load(name, *, classes, split, n):
        rng = stream(7, split)
        amount = n or 100
        images = rng.integers(0, 256, (amount, 32, 32, 3), dtype=np.uint8)
        return SimpleNamespace(images=images, labels=np.arange(amount) % 5, provenance=None)

    monkeypatch.setattr(data, "load", load)
    cifar10_images.cache_clear()
    yield replace(
        SOME_CIFAR10, n_train=60, n_test=20, batch_size=20, batches=2,
        channels=(8, 16, 16, 32), checkpoints=(1, 2), probe="adam", probe_epochs=3, probe_passes=2,
    )  # fmt: skip
    cifar10_images.cache_clear()


@pytest.mark.nightly
def test_colour_images_go_all_the_way(cifar10):
    result = runs.run_pretrain(cifar10, 0)
    names = {f"{name}_{k}" for name in ("accuracy", "last") for k in (1, 2)}
    assert result.keys() == {*names, "loss_2", "losses"}
    assert result["last_2"] <= result["accuracy_2"]
    assert len(result["losses"]) == 2
    train = pictures(cifar10).train
    assert train.inputs.shape == (60, 3, 32, 32)
    plain = normalise(torch.full((1, 3, 2, 2), 0.5))[0, :, 0, 0]
    assert plain.tolist() == pytest.approx([0.0425, 0.0893, 0.2662], abs=1e-3)


def test_held_out_images_are_the_last_of_each_class(cifar10):
    whole = pictures(cifar10).train
    train, test = pictures(replace(cifar10, held_out=10))
    assert torch.equal(test.inputs, whole.inputs[-10:])
    assert torch.equal(train.inputs, whole.inputs[:-10])
    assert test.labels.bincount().tolist() == [2] * 5


def test_views_differ_and_a_stream_repeats_them():
    images = torch.rand(4, 3, 32, 32)
    one, two = (view(stream(0, "v", k), images, (0.2, 1.0)) for k in (0, 1))
    assert not torch.equal(one, two)
    assert torch.equal(one, view(stream(0, "v", 0), images, (0.2, 1.0)))


def test_batches_drop_what_is_left_over_and_shuffle_anew():
    order = training.batches(0, 25, 10)
    found = [next(order) for _ in range(4)]
    assert [len(rows) for rows in found] == [10] * 4
    assert len(set(torch.cat(found[:2]).tolist())) == 20
    assert sorted(torch.cat(found[2:]).tolist()) != sorted(torch.cat(found[:2]).tolist())


# --- pre-training ---


@pytest.mark.parametrize("variant", ["ring", "classical"])
def test_pretraining_learns_and_repeats(variant):
    config = replace(own(variant), batches=40, checkpoints=(1, 40))
    first = training.pretrain(config, 0)
    assert np.mean(first.losses[-5:]) < np.mean(first.losses[:5]) - 0.7
    assert np.mean(first.losses[-5:]) < np.log(2 * 64 - 1)  # better than chance
    again = training.pretrain(replace(config, batches=3, checkpoints=()), 0)
    assert again.losses == first.losses[:3]
    assert (
        training.pretrain(replace(config, batches=1, checkpoints=()), 1).losses[0]
        != (first.losses[0])
    )


def test_a_step_is_reported_with_the_numbers_that_made_its_loss():
    config = replace(own("ring"), head=False, batches=2, checkpoints=())
    model = models.Model(config, 0)
    start = model.network.params.detach().clone()
    first, second = training.steps(config, 0, model, pictures(config).train)
    assert torch.equal(first.params, start)
    assert not torch.equal(second.params, start)
    network = models.representation(config, 0).double()
    outputs = network(first.angles).chunk(2)
    assert losses.contrastive(*outputs, 0.07).item() == pytest.approx(first.loss, abs=1e-9)


def test_an_untrained_ring_keeps_its_angles_while_the_encoder_learns():
    trained = training.pretrain(own("untrained-ring"), 0)
    start = models.representation(own("ring"), 0).params
    assert torch.equal(trained.at(12).params.float(), start.float())
    first, last = (trained.snapshots[k].encoder.squeeze.weight for k in (1, 12))
    assert not torch.equal(first, last)


def test_snapshots_are_of_their_batch():
    trained = training.pretrain(own("ring"), 0)
    early, late = (trained.at(k).params.detach().clone() for k in (1, 12))
    assert not torch.equal(early, late)
    short = training.pretrain(replace(own("ring"), batches=1, checkpoints=(1,)), 0)
    assert torch.equal(short.at(1).params, early)
    assert not trained.snapshots[1].encoder.training
    for a, b in zip(
        short.snapshots[1].encoder.state_dict().values(),
        trained.snapshots[1].encoder.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_a_sampled_ring_trains_and_repeats():
    config = replace(own("ring-100-shots"), batches=3, checkpoints=(3,), batch_size=16)
    one, two = (runs.run_pretrain(config, 0) for _ in range(2))
    assert one == two
    exact = runs.run_pretrain(replace(config, shots=None), 0)
    assert 0 < abs(one["losses"][0] - exact["losses"][0]) < 3


def test_states_of_the_cosine_control_are_those_of_the_encoding():
    step = training.Step(1, 0.0, angles(3), None)
    states = runs.states(own("cosine"), step)
    overlap = ((angles(3)[0] - angles(3)[1]) / 2).cos().prod() ** 2
    assert losses.overlaps(states)[0, 1].item() == pytest.approx(overlap.item(), abs=1e-9)


# --- the probe ---


def toy(dtype=torch.float64):
    """Features of five classes that a linear classifier separates, with their labels."""
    labels = torch.arange(400) % 5
    noise = torch.from_numpy(stream(0, "toy").normal(0, 0.1, (400, 8)))
    return (F.one_hot(labels, 8) + noise).to(dtype), labels


@pytest.mark.parametrize("kind", ["adam", "logistic"])
def test_a_probe_separates_what_can_be_separated(kind):
    features, labels = toy()
    config = replace(TINY, probe=kind, probe_epochs=300)
    fit = {"adam": probes.fit_adam, "logistic": probes.fit_logistic}[kind]
    [found] = fit(config, 0, [lambda: features[None]], lambda: features[None], (labels, labels))
    assert found.accuracy > 95
    assert (found.predict(features) == labels).double().mean() * 100 == found.accuracy


def test_the_released_probe_keeps_its_best_epoch_and_takes_passes_in_turn():
    features, labels = toy()
    asked, seen = [], []

    def test():
        seen.append(len(seen))
        return (features if len(seen) == 2 else torch.zeros_like(features))[None]

    readers = [lambda k=k: asked.append(k) or features[None] for k in range(2)]
    config = replace(TINY, probe="adam", probe_epochs=5)
    [found] = probes.fit_adam(config, 0, readers, test, (labels, labels))
    assert asked == [0, 1, 0, 1, 0]
    assert (found.predict(features) == labels).double().mean() * 100 == found.accuracy
    assert found.last == 20  # of five classes the one that the biases prefer


@pytest.mark.parametrize("kind", ["adam", "logistic"])
def test_snapshots_probed_together_are_those_probed_one_by_one(kind):
    features, labels = toy()
    some = torch.stack([features, features.roll(3, 1), 0.1 * features + features.roll(1, 0)])
    config = replace(TINY, probe_epochs=7)
    fit = {"adam": probes.fit_adam, "logistic": probes.fit_logistic}[kind]
    both = fit(config, 0, [lambda: some], lambda: some, (labels, labels))
    for k, found in enumerate(both):
        one = some[k : k + 1]
        [alone] = fit(config, 0, [lambda one=one: one], lambda one=one: one, (labels, labels))
        torch.testing.assert_close(found.weight, alone.weight)
        torch.testing.assert_close(found.bias, alone.bias)
        assert (found.accuracy, found.last) == (alone.accuracy, alone.last)


def test_features_from_shots_are_drawn_anew_and_exact_ones_are_kept():
    x, rng = angles(6), stream(0, "shots")
    sampled = probes.reader(circuit(shots=100), x, rng)
    one, two = sampled(), sampled()
    exact = probes.reader(circuit(), x, rng)
    assert not torch.equal(one, two)
    assert torch.equal(exact(), exact())
    assert ((one + two) / 2 - exact()).abs().max() < 0.4


def test_a_probe_learns_from_views_and_is_judged_by_plain_images(cifar10):
    trained = training.pretrain(cifar10, 0)
    found = probes.encode(trained)
    assert list(found) == [1, 2]
    assert [part.shape for part in found[2].train] == [(60, 8)] * 2
    assert not torch.equal(*found[2].train)
    split = pictures(cifar10)
    plain = normalise(split.test.scaled(torch.arange(20), "float32"))
    torch.testing.assert_close(found[2].test, trained.snapshots[2].encoder(plain))
    once = probes.encode(replace(trained, config=replace(cifar10, probe_passes=0)))
    assert len(once[1].train) == 1
    assert once[1].train[0].shape == (60, 8)


# --- configurations and experiments ---


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "star"}, "network 'star' is not known; choose from: ring, all-to-all"),
        ({"activation": "relu"}, "activation 'relu'"),
        ({"gradient": "three-term"}, "gradient 'three-term' .*exact, two-term"),
        ({"bend": "relu"}, "bend 'relu'"),
        ({"dataset": "imagenet"}, "dataset 'imagenet'"),
        ({"probe": "svm"}, "probe 'svm'"),
        ({"dtype": "bfloat16"}, "dtype 'bfloat16'"),
        ({"width": 1}, "width must be 2 or more, not 1"),
        ({"layers": 0}, "layers must be 1 or more"),
        ({"batch_size": 1}, "batch_size must be 2 or more"),
        ({"shots": 0}, "shots must be 1 or more, or None"),
        ({"network": "classical", "shots": 100}, "belong to circuits, not to network 'classical'"),
        ({"network": "identity", "trained": False}, "belong to circuits"),
        ({"network": "classical", "gates": "removed"}, "belong to circuits"),
        ({"gates": "none"}, "gates 'none'"),
        ({"shots": 9, "read": "axes"}, "shots read the bits of every qubit"),
        ({"spoiled": "images"}, "spoiled 'images'"),
        ({"classes": (1, 0)}, r"classes must rise, not \[1, 0\]"),
        ({"checkpoints": (1, 195)}, "checkpoints must lie between 1 and batches=194"),
    ],
)
def test_settings_that_do_not_exist_are_refused_in_one_sentence(changes, words):
    with pytest.raises(UsageError, match=words) as caught:
        replace(PUBLISHED, **changes)
    assert "\n" not in str(caught.value)


def test_full_variants_are_the_published_setting_but_for_what_they_are_named_after():
    full = EXPERIMENTS["pretrain"].variants["full"]
    assert full["ring"] == replace(PUBLISHED, batches=176)
    assert {config.n_train for config in full.values()} == {None}
    extras = EXPERIMENTS["extras"].variants["full"]
    assert (extras["classical-w16"].width, extras["classical-w32"].width) == (16, 32)
    partial = extras["ring-100-shots-partial"]
    assert (partial.shots, partial.activation) == (100, "partial_measurement_half")
    seeds = {name: item.seeds["full"] for name, item in EXPERIMENTS.items()}
    assert seeds | {"tuning": 0} == {
        "pretrain": 8, "extras": 4, "separation": 5, "hardware": 8, "tuning": 0, "properties": 1,
        "curves": 8, "widths": 8, "rivals": 8, "text": 8, "tuned": 8, "two-classes": 12,
        "machine": 8,
    }  # fmt: skip
    search = EXPERIMENTS["tuning"].variants["full"]["tanh"]
    assert search.seeds_from >= max(seeds.values())  # no claim sees these
    assert search.held_out == 5000


def test_rows_of_old_seeds_can_be_asked_of_fresh_ones(tmp_path):
    """As the amendment of 2026-11-30 says that they flip."""
    text = papers.claims_file("qssl").read_text("utf-8").replace("\n#+", "\n")
    old = re.compile(r"^    experiment: pretrain$.*?^    evidence: ", re.DOTALL | re.MULTILINE)
    local = "      removed: [removed]\n      uncontrolled: [uncontrolled]\n"

    def fresh(row):
        row = row[0].replace("experiment: pretrain", "experiment: curves")
        row = row.replace("seeds: 8\n", "seeds: {from: 8, to: 23}\n")
        return row.replace("      cosine: [cosine]\n", local)

    flipped = tmp_path / "qssl" / "claims.yml"
    flipped.parent.mkdir()
    flipped.write_text(old.sub(fresh, text), "utf-8")
    claims = load_claims("qssl", flipped)
    assert not [claim.id for claim in claims if claim.experiment == "pretrain"]
    asked = [claim for claim in claims if claim.experiment == "curves"]
    assert {claim.seeds for claim in asked} == {range(8, 24), range(8, 12)}
    for claim in claims:
        for cell in claim.every_cell:
            assert cell.variant in EXPERIMENTS[cell.experiment].variants["full"], claim.id


def test_every_metric_of_a_claim_is_measured():
    quick = {
        "pretrain": replace(own("identity"), batches=176, checkpoints=(1, 92, 176)),
        "separation": replace(own("cosine"), head=False, batches=100, checkpoints=()),
        "hardware": None,
        "properties": Properties(widths=(2, 3)),
    }
    metrics = {
        name: set(EXPERIMENTS[name].run(config, 0)) for name, config in quick.items() if config
    }
    metrics["extras"] = metrics["pretrain"]
    metrics["hardware"] = {"accuracy"}
    for claim in load_claims("qssl"):
        if claim.experiment:
            assert claim.metric in metrics[claim.experiment], claim.id


def test_what_a_run_says_of_every_test_image_gives_its_accuracy(cifar10):
    metrics, kept = runs.predict(cifar10, 0)
    assert kept.scores.shape == (20, 5)
    assert kept.params.shape == (32,)
    right = (kept.scores.argmax(1) == kept.labels).mean()
    assert 100 * right == pytest.approx(metrics["accuracy_2"])
    assert runs.predict(replace(cifar10, network="identity"), 0)[1].params is None


def test_the_mean_loss_is_that_of_the_last_twenty_batches():
    result = runs.run_pretrain(replace(TINY, batches=25, checkpoints=(24,)), 0)
    assert result["loss_24"] == pytest.approx(np.mean(result["losses"][4:24]), abs=1e-4)


def test_separation_compares_early_with_late_batches(monkeypatch):
    def fake(config, seed, watch):
        for k in range(100):
            watch(training.Step(k + 1, 10 - 0.05 * k, torch.zeros(4, 2), None))

    series = iter(np.linspace(0, 0.99, 100))

    def pairs(_):
        d = torch.tensor(next(series))
        return {"tr_rho2": 1 - d, "tr_sigma2": 1 - d, "tr_rho_sigma": d, "d_hs": d}

    monkeypatch.setattr(training, "pretrain", fake)
    monkeypatch.setattr(losses, "hilbert_schmidt_pairs", pairs)
    found = runs.run_separation(replace(own("cosine"), width=2, checkpoints=()), 0)
    expected = {
        "loss_90": 5.275, "loss_fall": 4.475, "distance_90": 0.945, "distance_gain": 0.895,
        "purity_gain": -0.895, "spread_gain": 0.895, "correlation": -1,
    }  # fmt: skip
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert len(found["distances"]) == 100


def test_the_tuned_network_is_the_released_one_before_the_search():
    assert experiments.extras({})["classical-tuned"] == experiments.SEARCH["leaky-relu"]
    chosen = {"classical-tuned": experiments.SEARCH["tanh"]}
    assert experiments.extras(chosen)["classical-tuned"]["bend"] == "tanh"
    assert experiments.equal({}) == experiments.EQUAL
    chosen = {"ring-equal": {"learning_rate": 3e-3}}
    assert experiments.equal(chosen)["ring"] == {"learning_rate": 3e-3}
    sizes = {name: len(trials) for name, trials in experiments.TUNING.trials.items()}
    assert sizes == {"classical-tuned": 4, "ring-equal": 8, "classical-equal": 8}
    made = EXPERIMENTS["extras"].variants["full"]["classical-tuned"]
    assert made == replace(PUBLISHED, batches=176, **tuned("qssl")["classical-tuned"])


# --- exact statements ---


@pytest.mark.parametrize("ansatz", ["ring", "all-to-all"])
def test_two_shifts_miss_controlled_rotations_by_the_known_factor(ansatz):
    found = checks.derivatives(ansatz, 3, 0)
    torch.testing.assert_close(found["four"], found["exact"], rtol=0, atol=1e-12)
    assert checks.shift_rules_hold(ansatz, 3, 0)
    same = torch.allclose(found["two"], found["exact"], atol=1e-6)
    assert same == (ansatz == "all-to-all")


def test_a_wrong_rule_is_noticed(monkeypatch):
    monkeypatch.setattr(models, "FOUR_TERM", models.TWO_TERM)
    assert not checks.shift_rules_hold("ring", 3, 0)


def test_the_chain_of_cnots_has_an_order(monkeypatch):
    assert len(checks.cnots(8)) == 28
    assert all(checks.chain_holds(n) for n in range(2, 9))
    monkeypatch.setattr(checks, "chain", lambda n: [(t - 1, t) for t in range(1, n)])
    assert not checks.chain_holds(4)


def test_properties_hold():
    assert runs.run_properties(Properties(), 0) == {
        "shift_rules": 1, "chain": 1, "fewer_parameters": 1, "checked": 14,
    }  # fmt: skip


# --- hardware ---


@pytest.fixture
def encoded():
    """A network after training, made up: the probe names which of five outputs is largest."""
    state = {"params": circuit().params.detach().float()}
    x = angles(24).float()
    labels = circuit()(x.double())[:, :5].argmax(1)
    return networks.Encoded(x, labels, state, torch.eye(8)[:5], torch.zeros(5))


def test_an_ideal_backend_gives_the_exact_answers(encoded):
    found = hardware.run(encoded, "aer", images=10)
    exact = circuit()(encoded.angles[:10].double()).detach()
    torch.testing.assert_close(found.features.double(), exact, rtol=0, atol=1e-5)
    assert found.accuracy == 100
    assert found.table().sum() == found.table().trace() == 10


@pytest.mark.nightly
def test_noise_shrinks_outputs_and_mitigation_gives_some_back(encoded):
    exact = circuit()(encoded.angles.double()).detach()
    mitigated, noisy = hardware.mitigated_and_raw(encoded, shots=2000)
    again = hardware.run(encoded, shots=2000, mitigate=True)
    assert torch.equal(again.features, mitigated.features)
    with pytest.raises(UsageError, match="whose errors are undone"):
        backends.with_and_without(hardware.circuit(), *hardware.numbers(encoded, 1))

    def slope(answers):
        return (answers.features * exact).sum() / (exact**2).sum()

    assert slope(noisy) < 0.95
    assert slope(noisy) < slope(mitigated) < 1.02
    assert noisy.accuracy > 60
    rows = noisy.table().sum(1)
    assert rows.tolist() == encoded.labels.bincount(minlength=5).tolist()


@pytest.mark.parametrize(
    ("connected", "closed"), [("any", True), pytest.param("line", False, marks=pytest.mark.nightly)]
)
def test_few_cnots_prepare_nearly_the_same_states(encoded, connected, closed):
    params = encoded.network["params"].double()
    few = encoded.angles[:6].double()
    targets = compiled(circuits.state, layers=2)(few, params)
    found = recompiled.recompile(targets, connected)
    assert found.overlap.min() >= recompiled.LEAST
    assert found.cnots.max() <= 12  # of 32 as compiled for connected qubits
    assert ((7, 0) in recompiled.order(8, connected, 8)) == closed
    exact = circuit()(few)
    for number, (rows, chosen) in found.angles.items():
        options = {"pairs": recompiled.order(8, connected, number), "n_qubits": 8}
        states = compiled(recompiled.state, **options)(torch.from_numpy(chosen))
        overlap = (states.conj() * targets[rows]).sum(1).abs() ** 2
        torch.testing.assert_close(overlap, torch.from_numpy(found.overlap[rows]))
        node = qnode(recompiled.features, wires=8, **options)
        read = torch.stack([*map(torch.as_tensor, node(chosen))], -1)
        assert (read - exact[rows]).abs().max() < 0.2
    short = recompiled.recompile(targets[:2], connected, most=1)
    assert set(short.cnots) == {1}  # what is not near enough keeps what it has
    assert short.overlap.max() < recompiled.LEAST


def test_recompiled_circuits_run_with_fewer_gates(encoded):
    found = hardware.run_recompiled(encoded, "line", images=4, shots=500)
    whole = hardware.sizes(encoded)["part of ibmq_paris"].transpiled.two_qubit
    assert (found.routed == found.circuits.cnots).all()  # along a line no detour is needed
    assert found.routed.max() < whole / 2
    exact = circuit()(encoded.angles[:4].double()).detach()
    assert (found.named.features - exact).abs().mean() < 0.15


def test_compiling_makes_the_circuit_longer(encoded):
    found = hardware.sizes(encoded)
    ideal = found["every pair of qubits connected"]
    part, whole = found["part of ibmq_paris"], found["whole ibmq_paris"]
    assert ideal.written.two_qubit == 2 * 8
    assert ideal.transpiled.two_qubit == 2 * 2 * 8  # two CNOTs a controlled rotation
    assert min(part.transpiled.two_qubit, whole.transpiled.two_qubit) > ideal.transpiled.two_qubit
    assert part.transpiled.depth > ideal.written.depth


def test_images_of_a_seed_are_drawn_from_the_test_images():
    config = replace(TINY, checkpoints=(12,))
    trained = training.pretrain(config, 1)
    angles = probes.encode(trained)
    found, probe = angles[12], probes.probe(trained, angles)[12]
    made = networks.some_encoded(trained, found, probe, 30)
    rows = stream(1, "hardware").permutation(100)[:30]
    assert torch.equal(made.angles, found.test[rows].float())
    assert torch.equal(made.labels, pictures(config).test.labels[rows])
    assert torch.equal(made.network["params"], trained.at(12).params.float())
    whole = networks.some_encoded(trained, found, probe, 100)
    answers = hardware.classify(whole, trained.at(12)(whole.angles.double()).detach())
    assert answers.accuracy == pytest.approx(probe.accuracy, abs=1.5)


def test_stored_networks_are_used_checked_and_kept(encoded, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "stored", lambda paper: tmp_path / "stored")
    monkeypatch.setattr(weights, "kept", lambda paper: tmp_path / "kept")
    networks.network_after_training.cache_clear()
    assert networks.load(weights.stored("qssl"), "ring", 0) is None
    monkeypatch.setattr(networks, "some_encoded", lambda *_, **__: encoded)
    longer = {"batches": 189, "checkpoints": (176, 189)}
    for seed, config, number in (
        (0, replace(networks.STORED["ring"], **longer), 176),
        (1, DIGITS, 176),
        (2, networks.STORED["ring"], 92),
        (3, replace(networks.STORED["ring"], temperature=0.2), 176),
    ):
        networks.keep(SimpleNamespace(config=config, seed=seed), {number: None}, {number: None})
    assert [path.name for path in weights.kept("qssl").glob("*.safetensors")] == [
        "ring-0.safetensors"
    ]
    assert command.main(["hardware", "--images", "3", "--shots", "10"]) == 0
    networks.network_after_training.cache_clear()
    found = networks.network_after_training("ring", "cifar10", 0)
    assert torch.equal(found.angles, encoded.angles)
    assert torch.equal(found.network["params"], encoded.network["params"])
    with pytest.raises(UsageError, match="network 'cosine'"):
        networks.network_after_training("cosine", "cifar10", 0)
    networks.network_after_training.cache_clear()
    file = weights.path(weights.kept("qssl"), "ring", 0)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(QmlbookError, match="checksum"):
        networks.network_after_training("ring", "cifar10", 0)
    networks.network_after_training.cache_clear()


def test_stored_networks_are_all_there_and_whole():
    names = [f"{name}-{seed}" for name in ("ring", "classical") for seed in range(8)]
    files = sorted(weights.stored("qssl").glob("*.safetensors"))
    assert [file.stem for file in files] == sorted(names)
    for file in files:
        name, seed = file.stem.rsplit("-", 1)
        found = networks.load(weights.stored("qssl"), name, int(seed))
        assert found.angles.shape == (900, 8)
        exact = hardware.classify(found, networks.exact_features(found, name))
        assert exact.accuracy > 30  # one in five is chance


# --- the way to real hardware ---


def test_without_an_account_the_command_says_what_to_do(offline, capsys, monkeypatch):
    monkeypatch.setattr(
        networks, "network_after_training", lambda *_: pytest.fail("trained before asking")
    )
    assert command.main(["hardware", "--machine", "ibm_somewhere"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "save_account once in your own shell" in shown.err
    assert shown.err.count("\n") == 1


def test_a_saved_token_shows_nowhere(offline, encoded, capsys, caplog):
    offline.parent.mkdir()
    account = {"channel": "ibm_quantum_platform", "token": TOKEN, "url": "https://cloud.ibm.com"}
    offline.write_text(json.dumps({"default-ibm-quantum-platform": account}))
    with caplog.at_level("DEBUG"), pytest.raises(QmlbookError, match="not be opened") as caught:
        hardware.run(encoded, "ibm", hardware=True, device="ibm_somewhere")
    assert caught.value.__context__ is None
    assert command.main(["hardware", "--machine", "ibm_somewhere"]) == 1
    assert TOKEN not in str(caught.value) + caplog.text + "".join(capsys.readouterr())


NOTEBOOK = """
import socket
import torch
from qmlbook.papers.qssl import hardware, networks

def refuse(*_, **__):
    raise OSError("no network in this test")

socket.create_connection = socket.socket.connect = refuse
found = networks.Encoded(
    torch.zeros(1, 8), torch.zeros(1, dtype=torch.int64), {"params": torch.zeros(32)},
    torch.eye(8)[:5], torch.zeros(5),
)
hardware.run(found, "ibm", hardware=True, device="ibm_somewhere")
"""


@pytest.mark.nightly
def test_no_token_enters_an_executed_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("QISKIT_IBM_TOKEN", TOKEN)
    monkeypatch.setenv("QISKIT_IBM_CHANNEL", "ibm_quantum_platform")
    cell = nbformat.v4.new_code_cell(NOTEBOOK)
    executed = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(executed, allow_errors=True, timeout=120).execute()
    written = nbformat.writes(executed)
    assert "could not be opened" in written
    assert TOKEN not in written


def test_a_job_is_read_later(encoded):
    exact = circuit()(encoded.angles[:2].double()).detach()
    node = backends.on(hardware.circuit(), "ibm", shots=2000)
    numbers = hardware.numbers(encoded, 2)
    job = backends.submit(node, *numbers)
    outputs = np.stack(backends.resume(job, node, *numbers), -1)
    assert (torch.from_numpy(outputs) - exact).abs().max() < 0.5
    with pytest.raises(UsageError, match="not one of this session's"):
        hardware.run(encoded, "ibm", images=2, shots=2000, job=job)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hardware", "--images", "0"], "images must be 1 or more, not 0"),
        (["hardware", "--seed", "-1"], "seed must be 0 or more, not -1"),
        (["hardware", "--job", "x"], "job belongs to a machine"),
        (["store", "--seeds", "0"], "seeds must be 1 or more, not 0"),
    ],
)
def test_wrong_commands_are_refused(words, told, capsys):
    assert command.main(words) == 2
    assert told in capsys.readouterr().err
