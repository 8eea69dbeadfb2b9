"""The task of the case made, with a target and a circuit of three layers.

In made, eight outputs of untrained circuits came too close to tell. Here the target has 2,401
coefficients, and a seed learns from 120 examples. These sizes were tried with two other targets
first.
"""

import math

import pennylane as qml
import torch

from qmlbook.base.rng import stream
from qmlbook.referee.case import Case
from qmlbook.referee.circuits import outputs

QUBITS, LAYERS = 4, 3


def circuit(x, weights):
    for layer in weights:
        for wire in range(QUBITS):
            qml.RX(x[..., wire], wires=wire)
        for wire in range(QUBITS):
            qml.RY(layer[wire], wires=wire)
        for wire in range(QUBITS):
            qml.CNOT(wires=(wire, (wire + 1) % QUBITS))
    return qml.expval(qml.Z(0))


rng = stream(22, "target")
inputs = rng.uniform(0, 2 * math.pi, (600, QUBITS))
angles = torch.from_numpy(rng.uniform(0, 2 * math.pi, (LAYERS, QUBITS)))
values = outputs(circuit)(torch.from_numpy(inputs), angles)[:, 0]

case = Case(
    circuit,
    weights=(LAYERS, QUBITS),
    data=(inputs, (values > values.median()).long().numpy()),
    scale="as they are",
    name="deeper",
    claim="Where a circuit made the labels, the circuit learns them from fewer examples",
    train=120,
    test=200,
    epochs=40,
    batch=20,
    margin=0.05,
    budget=12,
)
