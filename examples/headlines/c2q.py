"""C2Q's quantum convolutional head, convolution 10 with general pooling, on bare pixels.

The paper hands it 256 transferred features. Its rerun finds that bare pixels do better; so the head
is given 64 of them, padded with zeros, which makes the case one that travels with scikit-learn.
"""

import torch

from qmlbook.papers.c2q.circuits import count_params, qcnn
from qmlbook.referee.case import Case

ANSATZ, POOLING, FEATURES = 10, "general", 256


def circuit(x, weights):
    padded = torch.nn.functional.pad(x, (0, FEATURES - x.shape[-1]))
    return qcnn(padded, weights, ANSATZ, POOLING)


case = Case(
    circuit,
    weights=(count_params(ANSATZ, POOLING),),
    data="digits",
    classes=(2, 3),
    scale="as they are",
    name="c2q",
    claim="The quantum convolutional head of 63 angles tells twos from threes",
    train=100,
    epochs=10,
    margin=0.02,
    budget=15,
)
