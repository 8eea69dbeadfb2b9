"""QSSL's ring circuit, eight features in and eight out, read by a linear probe.

The paper trains it without labels behind a network, on photographs. Here it stands between eight
principal components of garments and the probe, and both are trained with labels.
"""

from qmlbook.papers.qssl.circuits import count_params, features
from qmlbook.referee.case import Case

QUBITS, LAYERS = 8, 2


def circuit(x, weights):
    # Their first axis last, so that seeds can be run side by side.
    return features(x, weights.movedim(0, -1), ansatz="ring", layers=LAYERS)


case = Case(
    circuit,
    weights=(count_params("ring", QUBITS, LAYERS),),
    data="fashion_mnist",
    classes=(0, 1, 2, 3, 4),
    features=QUBITS,
    name="qssl",
    claim="The ring circuit gives a linear probe better features of five kinds of garments",
    train=300,
    epochs=12,
    margin=0.02,
    budget=10,
)
