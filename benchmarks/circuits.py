"""The circuits of the speed table, as the papers define them."""

import pennylane as qml
import torch

WIRES = 8


def _read_all(wires):
    return [qml.expval(qml.Z(wire)) for wire in range(wires)]


def qssl_ring(inputs, weights, wires=WIRES):
    """QSSL: RX encoding, then two layers of RY and a ring of controlled RX."""
    for wire in range(wires):
        qml.RX(inputs[..., wire], wires=wire)
    for layer in range(2):
        for wire in range(wires):
            qml.RY(weights[layer, 0, wire], wires=wire)
        for wire in range(wires):
            qml.CRX(weights[layer, 1, wire], wires=(wire, (wire + 1) % wires))
    return _read_all(wires)


def qssl_all_to_all(inputs, weights):
    """QSSL: RX encoding, RY, then three layers of CNOTs between all pairs and RY."""
    for wire in range(WIRES):
        qml.RX(inputs[..., wire], wires=wire)
    for wire in range(WIRES):
        qml.RY(weights[0, wire], wires=wire)
    for layer in range(1, 4):
        for first in range(WIRES):
            for second in range(first + 1, WIRES):
                qml.CNOT(wires=(first, second))
        for wire in range(WIRES):
            qml.RY(weights[layer, wire], wires=wire)
    return _read_all(WIRES)


CONVOLUTIONS = (
    ((0, 7), (0, 1), (2, 3), (4, 5), (6, 7), (1, 2), (3, 4), (5, 6)),
    ((0, 6), (0, 2), (4, 6), (2, 4)),
    ((0, 4),),
)
POOLINGS = (((1, 0), (3, 2), (5, 4), (7, 6)), ((2, 0), (6, 4)), ((0, 4),))


def _su4(p, a, b):
    qml.U3(p[0], p[1], p[2], wires=a)
    qml.U3(p[3], p[4], p[5], wires=b)
    qml.CNOT(wires=(a, b))
    qml.RY(p[6], wires=a)
    qml.RZ(p[7], wires=b)
    qml.CNOT(wires=(b, a))
    qml.RY(p[8], wires=a)
    qml.CNOT(wires=(a, b))
    qml.U3(p[9], p[10], p[11], wires=a)
    qml.U3(p[12], p[13], p[14], wires=b)


def _pool(p, control, target):
    qml.ctrl(qml.U3(p[0], p[1], p[2], wires=target), control=control)
    qml.X(control)
    qml.ctrl(qml.U3(p[3], p[4], p[5], wires=target), control=control)


def c2q_qcnn(images, convolution, pooling):
    """C2Q: amplitude encoding, three rounds of SU(4) convolution and general pooling."""
    qml.AmplitudeEmbedding(images, wires=range(WIRES), normalize=True)
    for level in range(3):
        for pair in CONVOLUTIONS[level]:
            _su4(convolution[level], *pair)
        for pair in POOLINGS[level]:
            _pool(pooling[level], *pair)
    return qml.expval(qml.Z(4))


QDEQ_LAYER = (
    "RX3 RZ5 RX5 RX7 RY4 RX8 RX4 CNOT2,7 RX1 RX2 RY8 RY1 RX1 RZ1 CNOT0,2 RX2 RX1 RY2 CNOT3,4 RX6 "
    "RY1 RY0 RX2 RY6 RY0 CNOT1,0 RX4 RZ5 RZ7 RZ2 RY9 CNOT0,5 RX7 RX4 RY8 CNOT8,2 RZ2 RY2 CNOT9,0 "
    "RY0 CNOT0,1 RX7 RY5 RZ4 RX7 RX3 RY1 CNOT3,9 RX3 CNOT3,2"
)


def qdeq_layer(v, weights, tail):
    """QDEQ, ten wires: amplitude encoding of 100 features, the fixed random layer, the tail."""
    qml.AmplitudeEmbedding(v, wires=range(10), normalize=True, pad_with=0.0)
    angles = iter(range(len(weights)))
    for gate in QDEQ_LAYER.split():
        if gate.startswith("CNOT"):
            qml.CNOT(wires=[int(wire) for wire in gate[4:].split(",")])
        else:
            getattr(qml, gate[:2])(weights[next(angles)], wires=int(gate[2:]))
    for i in range(4):
        qml.RX(tail[i, 0], wires=2 * i)
        qml.RY(tail[i, 1], wires=2 * i + 1)
        qml.RZ(tail[i, 2], wires=2 * i + 3)
        qml.CRX(tail[i, 3], wires=(2 * i, 2 * i + 2))
    for i in range(4):
        qml.Hadamard(2 * i + 3)
        qml.SX(2 * i + 2)
        qml.CNOT(wires=(2 * i + 3, 2 * i))
    return _read_all(10)


def numbers(*shape, seed):
    """Return float32 parameters that are trained."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).requires_grad_()
