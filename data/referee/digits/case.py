"""Three handwritten digits and a data re-uploading classifier of four qubits."""

import pennylane as qml

from qmlbook.referee.case import Case

QUBITS, LAYERS = 4, 3


def circuit(x, weights):
    for layer in weights:
        for wire in range(QUBITS):
            qml.RX(x[..., wire], wires=wire)
        for wire in range(QUBITS):
            qml.RY(layer[wire, 0], wires=wire)
            qml.RZ(layer[wire, 1], wires=wire)
        for wire in range(QUBITS):
            qml.CZ(wires=(wire, (wire + 1) % QUBITS))
    return [qml.expval(qml.Z(wire)) for wire in range(QUBITS)]


case = Case(
    circuit,
    weights=(LAYERS, QUBITS, 2),
    data="digits",
    classes=(3, 5, 8),
    features=QUBITS,
    name="digits",
    claim="Data re-uploading on four qubits tells three handwritten digits apart",
    train=120,
    epochs=20,
    margin=0.03,
    budget=10,
)
