"""What the papers' rooms share: batches, steps, the best epoch, splits, stored networks, grids."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pennylane as qml
import pytest
import torch
from torch import nn

from qmlbook import data
from qmlbook.base.errors import QmlbookError
from qmlbook.base.rng import stream
from qmlbook.papers.shared import grids, initial, probes, qnodes, splits, training, weights


def test_an_epoch_shows_every_image_once():
    batches = training.shuffled(stream(0, "batches"), 10, 4)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(torch.cat(batches).tolist()) == list(range(10))


def test_endless_batches_are_reshuffled_every_epoch():
    first = list(itertools.islice(training.endless(stream(0, "batches"), 6, 3), 6))
    epochs = [torch.cat(first[i : i + 2]).tolist() for i in (0, 2, 4)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize(("clip", "length"), [(None, 5.0), (math.inf, 5.0), (0.5, 0.5)])
def test_a_step_follows_the_gradient_cut_to_the_largest_norm(clip, length):
    point = nn.Parameter(torch.tensor([3.0, 4.0]))
    training.descend(torch.optim.SGD([point], lr=1.0), (point**2).sum() / 2, clip)
    assert torch.allclose(point.detach(), torch.tensor([3.0, 4.0]) * (1 - length / 5), atol=1e-5)


def test_a_gradient_that_is_not_finite_is_refused_before_the_step():
    point = nn.Parameter(torch.tensor([0.0]))
    with pytest.raises(QmlbookError, match="not finite"):
        training.descend(torch.optim.SGD([point], lr=1.0), point.sqrt().sum(), math.inf)
    assert point.item() == 0


@pytest.mark.parametrize(
    ("scores", "best"),
    [([3.0, 1.0, 2.0], 1), ([2.0, 1.0, 1.0], 1), ([(1, 0.0), (0, 5.0), (0, 4.0)], 2)],
)
def test_the_network_ends_as_it_was_in_the_best_epoch(scores, best):
    network = nn.Linear(1, 1)

    def epochs():
        for number, score in enumerate(scores):
            initial.assign(network.bias, np.array([number]))
            yield score

    assert training.keep_best(network, epochs()) == scores
    assert network.bias.item() == best


def test_without_an_epoch_the_network_stays():
    network = nn.Linear(1, 1)
    before = network.bias.item()
    assert training.keep_best(network, iter(())) == []
    assert network.bias.item() == before


def test_weights_are_drawn_from_the_stream_alone():
    before = torch.get_rng_state()
    one, other = (nn.Linear(5, 40, dtype=torch.float64) for _ in range(2))
    torch.set_rng_state(before)
    for layer in (one, other):
        initial.draw_uniform(stream(0, "init"), 0.25, *layer.parameters())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.weight, other.weight)
    assert not torch.equal(one.weight[:, 0], one.bias)
    assert 0.2 < one.weight.abs().max() <= 0.25


@pytest.mark.parametrize("classes", [(1, 7), (7, 1)])
def test_labels_count_the_classes_as_they_were_named(classes):
    split = splits.load_split("mnist", classes, "test", 40, torch.from_numpy)
    raw = data.load("mnist", classes=classes, split="test", n=40)
    assert (np.array(classes)[split.labels] == raw.labels).all()
    assert torch.equal(split.inputs, torch.from_numpy(raw.images))
    assert split.provenance == raw.provenance


def test_some_images_of_a_split_keep_their_labels():
    split = splits.Split(torch.arange(6), torch.tensor([0, 1, 0, 1, 0, 1]))
    assert len(split[:2]) == 2
    assert split[torch.tensor([5, 0])].labels.tolist() == [1, 0]
    assert split[split.labels == 1].inputs.tolist() == [1, 3, 5]


def test_a_network_comes_back_as_it_was_stored(tmp_path):
    tensors = {"bias": torch.arange(3.0)}
    file = weights.save(tensors, tmp_path, "ring", 2)
    assert file == weights.path(tmp_path, "ring", 2)
    assert torch.equal(weights.load(tmp_path, "ring", 2)["bias"], tensors["bias"])
    assert weights.load(tmp_path, "ring", 3) is None
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(QmlbookError, match="checksum"):
        weights.load(tmp_path, "ring", 2)


@dataclass(frozen=True)
class Config:
    """Something to vary."""

    network: str = "ring"
    layers: int = 2
    steps: int = 10


def test_variants_are_named_after_what_was_chosen_on_every_axis():
    networks = {"plain": {}, "wide": {"network": "wide", "layers": 9}}
    made = grids.variants(Config(), networks, grids.axis("layers", (1, 4), "n{}"))
    assert list(made) == ["plain-n1", "plain-n4", "wide-n1", "wide-n4"]
    assert made["wide-n4"] == Config("wide", 4)
    assert grids.axis("steps", {"few": 1}) == {"few": {"steps": 1}}
    assert grids.changed(made, steps=3)["plain-n1"] == Config(layers=1, steps=3)


def test_numbers_of_a_room_are_read_and_may_be_missing():
    assert set(grids.read_numbers("klssl", "published.yml")) == {"mnist", "kmnist", "fashion_mnist"}
    assert grids.read_numbers("klssl", "nothing.yml") == {}


def test_a_circuit_is_compiled_once_and_agrees_with_pennylane():
    def circuit(x, wire=0):
        import pennylane as qml

        qml.RX(x[..., 0], wires=wire)
        return qml.expval(qml.Z(wire))

    x = torch.tensor([[0.3], [2.0]], dtype=torch.float64)
    exact = qnodes.qnode(circuit, wires=2, wire=1)(x)
    assert torch.allclose(qnodes.ours(circuit, 2, wire=1)(x), exact)
    compiled = qnodes.compiled(circuit, 2, wire=1)
    assert torch.allclose(compiled(x), exact)
    assert compiled is qnodes.compiled(circuit, 2, wire=1)
    single = qnodes.compiled(circuit, 2, "float32", wire=1)(x.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), exact, atol=1e-6)


# --- probes ---


def test_parameters_that_move_nothing_or_the_same_do_not_count():
    data = torch.from_numpy(stream(1, "data").normal(size=(20, 3)))

    def outputs(p):  # p[0] and p[1] enter as a sum, p[3] not at all
        return torch.sin((p[0] + p[1]) * data) + p[2] * data.square()

    point = torch.tensor([0.3, -0.4, 0.7, 1.1], dtype=torch.float64)
    assert probes.effective_parameters(outputs, point) == 2


@pytest.mark.parametrize("read", [(0,), (3,), (1, 2), (0, 1, 2, 3)])
def test_gates_outside_the_light_cone_change_nothing(read):
    rng = stream(2, "gates")
    gates = [tuple(rng.permutation(4)[: 1 + i % 2].tolist()) for i in range(9)]
    cone, inside = probes.light_cone(gates, read)
    sizes = [2 ** len(wires) for wires in gates]
    drawn = [rng.normal(size=(2, size, size)) for size in sizes]
    unitaries = [np.linalg.qr(real + 1j * imaginary)[0] for real, imaginary in drawn]
    start = torch.from_numpy(rng.uniform(-3, 3, (4, 2)))

    def measured(chosen, start=start):
        def circuit():
            for wire, (y, z) in enumerate(start):
                qml.RY(y, wire)
                qml.RZ(z, wire)
            for number in chosen:
                qml.QubitUnitary(unitaries[number], wires=gates[number])
            return [qml.expval(qml.Z(wire)) for wire in read]

        return torch.stack(qnodes.qnode(circuit, wires=4)())

    whole = measured(range(9))
    assert torch.allclose(measured(inside), whole, rtol=0, atol=1e-12)
    for number in inside:  # and every gate inside counts
        fewer = [other for other in inside if other != number]
        assert not torch.allclose(measured(fewer), whole, rtol=0, atol=1e-6)
    for wire in range(4):
        turned = start.clone()
        turned[wire] += 0.3
        changed = not torch.allclose(measured(range(9), turned), whole, rtol=0, atol=1e-9)
        assert changed == (wire in cone)
