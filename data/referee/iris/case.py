"""Two kinds of iris and a variational classifier with amplitude encoding, as tutorials build it."""

import pennylane as qml

from qmlbook.referee.case import Case

QUBITS, LAYERS = 2, 4


def circuit(x, weights):
    qml.AmplitudeEmbedding(x, wires=range(QUBITS), normalize=True)
    for layer in weights:
        for wire in range(QUBITS):
            qml.Rot(layer[wire, 0], layer[wire, 1], layer[wire, 2], wires=wire)
        qml.CNOT(wires=(0, 1))
    return qml.expval(qml.Z(0))


case = Case(
    circuit,
    weights=(LAYERS, QUBITS, 3),
    data="iris",
    classes=(1, 2),
    scale="as they are",
    name="iris",
    claim="A variational classifier of two qubits tells versicolor from virginica",
    train=50,
    epochs=20,
    batch=10,
    margin=0.03,
    budget=8,
)
