"""A task that a circuit should win: labels made by a circuit with entanglement.

The target has the gates of the circuit that is trained, and angles that are held out. Its outputs
are sums of 625 waves, and a seed learns from 120 examples. These sizes were tried with another
target first.
"""

import math

import pennylane as qml
import torch

from qmlbook.base.rng import stream
from qmlbook.referee.case import Case
from qmlbook.referee.circuits import outputs

QUBITS, LAYERS = 4, 2


def circuit(x, weights):
    for layer in weights:
        for wire in range(QUBITS):
            qml.RX(x[..., wire], wires=wire)
        for wire in range(QUBITS):
            qml.RY(layer[wire], wires=wire)
        for wire in range(QUBITS):
            qml.CNOT(wires=(wire, (wire + 1) % QUBITS))
    return qml.expval(qml.Z(0))


rng = stream(21, "target")
inputs = rng.uniform(0, 2 * math.pi, (600, QUBITS))
angles = torch.from_numpy(rng.uniform(0, 2 * math.pi, (LAYERS, QUBITS)))
values = outputs(circuit)(torch.from_numpy(inputs), angles)[:, 0]

case = Case(
    circuit,
    weights=(LAYERS, QUBITS),
    data=(inputs, (values > values.median()).long().numpy()),
    scale="as they are",
    name="made",
    claim="Where a circuit made the labels, the circuit learns them from fewer examples",
    train=120,
    test=200,
    epochs=30,
    batch=30,
    margin=0.05,
    budget=6,
)
