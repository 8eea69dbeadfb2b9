"""The book's device against Qiskit Aer's statevector, which shares no code with it."""

import numpy as np
import pennylane as qml
import pytest
import torch

from qmlbook import backends
from qmlbook.base.rng import stream
from qmlbook.papers.c2q import circuits as c2q
from qmlbook.papers.qssl import circuits as qssl

TOLERANCE = {"complex64": 1e-5, "complex128": 1e-10}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("ansatz", ["ring", "all-to-all"])
def test_qssl_circuits_agree_with_aer(ansatz, dtype):
    layers = {"ring": 2, "all-to-all": 3}[ansatz]
    rng = stream(0, ansatz)
    angles = rng.uniform(0, np.pi, (5, 8))
    params = rng.normal(size=qssl.count_params(ansatz, 8, layers))

    def circuit(angles, params):
        return qssl.features(angles, params, ansatz=ansatz, layers=layers)

    device = qml.device("qmlbook.statevector", wires=8, dtype=dtype)
    ours = qml.QNode(circuit, device, interface="torch")
    found = torch.stack(list(ours(torch.from_numpy(angles), torch.from_numpy(params))))
    theirs = np.stack(backends.on(ours, "aer")(angles, params))
    assert found.detach().numpy() == pytest.approx(theirs, abs=TOLERANCE[dtype])


@pytest.mark.parametrize("ansatz", range(1, 12))
def test_c2q_circuits_agree_with_aer(ansatz):
    rng = stream(ansatz, "c2q")
    features = rng.uniform(0, np.pi, 8)
    params = rng.normal(size=c2q.count_params(ansatz, "general"))

    def circuit(features, params):
        return c2q.qcnn(features, params, ansatz, "general", "angle")

    device = qml.device("qmlbook.statevector", wires=8, dtype="complex128")
    ours = qml.QNode(circuit, device, interface="torch")
    found = ours(torch.from_numpy(features), torch.from_numpy(params))
    theirs = backends.on(ours, "aer")(features, params)
    assert np.asarray(found.detach()) == pytest.approx(np.asarray(theirs), abs=1e-10)
