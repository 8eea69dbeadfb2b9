"""The circuits of the speed table: those of the papers, with their sizes."""

import pennylane as qml
import torch

from qmlbook.papers.c2q import circuits as c2q
from qmlbook.papers.qdeq import circuits as qdeq
from qmlbook.papers.qssl import circuits as qssl

SU4 = 10  # index of the convolution with fifteen angles


def qssl_ring(angles, params):
    """QSSL: RX encoding, then two layers of RY and a ring of controlled RX."""
    return qssl.features(angles, params, ansatz="ring", layers=2)


def qssl_all_to_all(angles, params):
    """QSSL: RX encoding, RY, then three layers of CNOTs between all pairs and RY."""
    return qssl.features(angles, params, ansatz="all-to-all", layers=3)


def c2q_qcnn(images, params):
    """C2Q: amplitude encoding, three rounds of SU(4) convolution and general pooling."""
    c2q.encode(images, "amplitude")
    c2q.network(params, SU4, "general")
    return qml.expval(qml.Z(c2q.MEASURED))  # adjoint gradients know no probabilities


def qdeq_layer(v, theta, phi):
    """QDEQ, ten wires: amplitude encoding of 100 features, the fixed random layer, the tail."""
    return qdeq.layer(v, theta, phi, 10)


COUNTS = {
    "ring": qssl.count_params("ring", 8, 2),
    "all-to-all": qssl.count_params("all-to-all", 8, 3),
    "c2q": c2q.count_params(SU4, "general"),
}


def numbers(*shape, seed):
    """Return float32 parameters that are trained."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).requires_grad_()
