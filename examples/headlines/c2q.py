"""C2Q's quantum convolutional head, convolution 10 with general pooling, on bare pixels.

The paper hands it 256 transferred features. Its rerun finds that bare pixels, shrunk to 16 x 16 and
as many, do better; so the head is given those, and the case needs no network to make features. The
paper tells twos from threes with all training images, here a seed has a hundred.
"""

import torch

from qmlbook import data
from qmlbook.papers.c2q.circuits import count_params, qcnn
from qmlbook.papers.c2q.models import pixels
from qmlbook.referee.case import Case

ANSATZ, POOLING = 10, "general"


def circuit(x, weights):
    # Their first axis last, so that seeds can be run side by side.
    return qcnn(x, weights.movedim(0, -1), ANSATZ, POOLING)


def shrunk(digits, n):
    """Return images of some digits, averaged to 16 x 16 pixels, and their labels."""
    found = data.load("mnist", classes=digits, n=n)
    shrunken = pixels(torch.from_numpy(found.images / 255)[:, None])
    return shrunken.numpy().round(6), found.labels  # the same on all machines


case = Case(
    circuit,
    weights=(count_params(ANSATZ, POOLING),),
    data=shrunk((2, 3), 400),
    scale="as they are",
    name="c2q",
    claim="The quantum convolutional head of 63 angles tells twos from threes",
    train=100,
    epochs=10,
    margin=0.02,
    budget=15,
)
