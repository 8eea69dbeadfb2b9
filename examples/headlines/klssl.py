"""KL-SSL's quantum head of two layers, asked to tell two kinds of digits.

What is trained here is the head on four numbers of an image, with labels; the paper trains it
without labels, behind an encoder. The circuit is the paper's, the task is the smallest one.
"""

from qmlbook.papers.klssl.circuits import head
from qmlbook.referee.case import Case

LAYERS, BLOCKS = 2, 3


def circuit(x, weights):
    return head(x, *weights)


case = Case(
    circuit,
    weights=(BLOCKS, LAYERS, 2),
    data="mnist",
    classes=(0, 1),
    features=4,
    name="klssl",
    claim="The quantum head of four features tells zeros from ones",
    train=150,
    epochs=15,
    margin=0.02,
    budget=10,
)
