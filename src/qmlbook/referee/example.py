"""The case of ``qmlbook referee --example``: two digits, three qubits, inputs encoded twice."""

import pennylane as qml
from torch import Tensor

from qmlbook.referee.case import Case

QUBITS = 3


def circuit(x: Tensor, weights: Tensor) -> list:
    """Encode every feature in each of two layers, with trained rotations and CNOTs after each."""
    for layer in weights:
        for wire in range(QUBITS):
            qml.RX(x[..., wire], wires=wire)
        for wire in range(QUBITS):
            qml.RY(layer[wire], wires=wire)
        for wire in range(QUBITS):
            qml.CNOT(wires=(wire, (wire + 1) % QUBITS))
    return [qml.expval(qml.Z(wire)) for wire in range(QUBITS)]


case = Case(
    circuit,
    weights=(2, QUBITS),
    data="digits",
    classes=(3, 8),
    features=QUBITS,
    name="example",
    claim="A circuit of three qubits tells threes from eights better than models without one",
    train=80,
    epochs=8,
    batch=40,
    margin=0.05,
    budget=1,
)
