"""PennyLane: default.qubit with torch (the batch by parameter broadcasting), lightning.qubit."""

import numpy as np
import pennylane as qml
import torch
from training import torch_step


def ring(x, w):
    for i in range(8):
        qml.RX(x[:, i], wires=i)
    for layer in range(2):
        for i in range(8):
            qml.RY(w[layer, 0, i], wires=i)
        for i in range(8):
            qml.CRX(w[layer, 1, i], wires=(i, (i + 1) % 8))
    return [qml.expval(qml.Z(i)) for i in range(8)]


def training(device, method, x, w):
    circuit = qml.QNode(ring, device, interface="torch", diff_method=method)
    return torch_step(lambda x, w: torch.stack(list(circuit(x, w)), -1), x, w)


def default_qubit(x, w):
    return training(qml.device("default.qubit", wires=8), "backprop", x, w)


def lightning_qubit(x, w):
    dtype = np.complex64 if x.dtype == "float32" else np.complex128
    return training(qml.device("lightning.qubit", wires=8, c_dtype=dtype), "adjoint", x, w)
