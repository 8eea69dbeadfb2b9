"""Training steps on `qmlbook.statevector` beside what one would use instead, one thread.

A step is a forward and a backward pass in weights and, where the paper trains through them, inputs.
``lightning.qubit`` takes adjoint gradients, which do not reach the amplitudes of a state.
"""

import pennylane as qml
import pytest
import torch
from circuits import COUNTS, c2q_qcnn, numbers, qdeq_layer, qssl_all_to_all, qssl_ring

from qmlbook.statevector import compile_qnode, observable_matrix, quadratic_form

torch.set_num_threads(1)

OURS = ("qmlbook.statevector", "compiled")
THEIRS = ("default.qubit", "lightning.qubit")


def _node(function, how, wires):
    if how == "lightning.qubit":
        device = qml.device("lightning.qubit", wires=wires)
        return qml.QNode(function, device, interface="torch", diff_method="adjoint")
    if how == "default.qubit":
        return qml.QNode(function, qml.device("default.qubit", wires=wires), interface="torch")
    node = qml.QNode(function, qml.device("qmlbook.statevector", wires=wires), interface="torch")
    return compile_qnode(node) if how == "compiled" else node


def _training(node, *given):
    def step():
        found = node(*given)
        found = torch.stack(list(found)) if isinstance(found, (list, tuple)) else found
        found.square().sum().backward()
        for tensor in given:
            tensor.grad = None

    return step


@pytest.mark.parametrize("how", OURS + THEIRS)
@pytest.mark.parametrize("batch", [1, 32, 256, 1024])
@pytest.mark.parametrize("circuit", ["ring", "all-to-all"])
def test_qssl(measure, circuit, batch, how):
    function = qssl_ring if circuit == "ring" else qssl_all_to_all
    weights = numbers(COUNTS[circuit], seed=1)
    step = _training(_node(function, how, 8), numbers(batch, 8, seed=0), weights)
    letter = "a" if circuit == "ring" else "b"
    measure(f"({letter}) QSSL {circuit}, batch {batch}", how, step)


@pytest.mark.parametrize("how", OURS + THEIRS)
@pytest.mark.parametrize("batch", [1, 32, 256, 1024])
def test_qssl_in_double_precision(measure, batch, how):
    inputs, weights = (
        given.detach().double().requires_grad_()
        for given in (numbers(batch, 8, seed=0), numbers(COUNTS["ring"], seed=1))
    )
    step = _training(_node(qssl_ring, how, 8), inputs, weights)
    measure(f"(a) QSSL ring, batch {batch}, double precision", how, step)


@pytest.mark.parametrize("how", OURS + THEIRS)
def test_c2q_training(measure, how):
    images = numbers(50, 256, seed=0).detach()
    step = _training(_node(c2q_qcnn, how, 8), images, numbers(COUNTS["c2q"], seed=1))
    measure("(c) C2Q QCNN, training step, batch 50", how, step)


@pytest.mark.parametrize("how", OURS + THEIRS)
def test_c2q_scoring(measure, how):
    images = numbers(2000, 256, seed=0).detach()
    weights = numbers(COUNTS["c2q"], seed=1).detach()
    node = _node(c2q_qcnn, how, 8)

    def step():
        with torch.no_grad():
            node(images, weights)

    measure("(c) C2Q QCNN, scoring 2000 images", how, step)


@pytest.mark.parametrize("how", [*OURS, "quadratic form", "default.qubit"])
def test_qdeq(measure, how):
    v = numbers(256, 100, seed=0)
    weights, tail = numbers(40, seed=1), numbers(16, seed=2)
    along = torch.ones(256, 10)

    def through_states():
        for _ in range(11):
            with torch.no_grad():
                node(v, weights, tail)
        found = torch.stack(node(v, weights, tail), 1)
        for _ in range(11):
            torch.autograd.grad(found, v, along, retain_graph=True)

    def through_forms():
        with torch.no_grad():
            forms = observable_matrix(node, v[:1], weights, tail, features=100)
        for _ in range(11):
            with torch.no_grad():
                quadratic_form(forms, v / v.norm(dim=1, keepdim=True))
        found = quadratic_form(forms, v / v.norm(dim=1, keepdim=True))
        for _ in range(11):
            torch.autograd.grad(found, v, along, retain_graph=True)

    node = _node(qdeq_layer, "qmlbook.statevector" if how == "quadratic form" else how, 10)
    step = through_forms if how == "quadratic form" else through_states
    measure("(d) QDEQ layer, batch 256, 12 evaluations and 11 products", how, step)


@pytest.mark.parametrize("how", OURS + THEIRS)
@pytest.mark.parametrize("wires", [4, 8, 12, 16])
def test_growth(measure, wires, how):
    weights = numbers(4 * wires, seed=1)
    step = _training(_node(qssl_ring, how, wires), numbers(8, wires, seed=0), weights)
    measure(f"(e) ring, {wires} qubits, batch 8", how, step)
