"""The device of this book: an ordinary QNode, and the same compiled."""

import pennylane as qml
import torch
from training import torch_step

from qmlbook.statevector import compile_qnode

COMPLEX = {"float32": "complex64", "float64": "complex128"}


def ring(x, w):
    for i in range(8):
        qml.RX(x[:, i], wires=i)
    for rotations, controlled in w:
        for i in range(8):
            qml.RY(rotations[i], wires=i)
        for i in range(8):
            qml.CRX(controlled[i], wires=(i, (i + 1) % 8))
    return [qml.expval(qml.Z(i)) for i in range(8)]


def node(dtype):
    device = qml.device("qmlbook.statevector", wires=8, dtype=COMPLEX[str(dtype)])
    return qml.QNode(ring, device, interface="torch")


def qnode(x, w):
    circuit = node(x.dtype)
    return torch_step(lambda x, w: torch.stack(list(circuit(x, w)), -1), x, w)


def compiled(x, w):
    circuit = compile_qnode(node(x.dtype))
    return torch_step(lambda x, w: torch.stack(list(circuit(x, w)), -1), x, w)
