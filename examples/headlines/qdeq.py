"""QDEQ's layer, once: 4 x 4 pixels as amplitudes of four qubits, its gates, and what each says.

A single layer and not its fixed point: a case is one circuit between layers of torch, and a fixed
point is a solver around one. In the rerun the single layer is as good as the equilibrium.
"""

from qmlbook import data
from qmlbook.papers.qdeq.circuits import count_angles, layer, random_layer, tail
from qmlbook.referee.case import Case

QUBITS, SIDE = 4, 4
THETA, PHI = count_angles(random_layer(QUBITS)), count_angles(tail(QUBITS))


def circuit(x, weights):
    return layer(x, weights[:THETA], weights[THETA:], QUBITS)


def pooled(digits, n):
    """Return images of some digits, averaged to 4 x 4 pixels, and their labels."""
    found = data.load("mnist", classes=digits, n=n)
    tiles = found.images.reshape(n, SIDE, 7, SIDE, 7) / 255
    return tiles.mean((2, 4)).reshape(n, SIDE**2).round(6), found.labels  # on all machines the same


case = Case(
    circuit,
    weights=(THETA + PHI,),
    data=pooled((0, 3, 6, 9), 400),
    scale="as they are",
    name="qdeq",
    claim="One quantum layer on four qubits tells four digits apart",
    train=150,
    epochs=12,
    margin=0.02,
    budget=10,
)
