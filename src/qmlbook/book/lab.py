"""What the studies of the lab *Find the flaw* share: digits, training, and the word at the end."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.rng import stream
from ..evidence import stats
from ..papers.shared.splits import Split, TrainTest
from ..papers.shared.training import descend, shuffled

MARGIN = 0.02
#: Flaws that a study may have: a name, and what it is. Not all of them are in the lab.
FLAWS = {
    "best of several": "what is reported is the largest of several runs, of the rest no word",
    "chance level": "the value to beat is not what guessing would give",
    "control left out": "the cheapest explanation was not run",
    "epoch chosen on the test": "training stops where the images that judge like it best",
    "labels among the features": "what is to be predicted is part of what it is predicted from",
    "margin chosen afterwards": "what counts as equal was settled when the runs were known",
    "randomness not shared": "two methods that are compared draw their luck separately",
    "rival not tuned": "settings were sought for one method, the other took what was there",
    "runs left out": "runs that failed were dropped",
    "shift of another gate": "a gradient by a shift rule that does not belong to the gate",
    "splits exchanged": "learned from the images that should judge, judged by the others",
    "too few seeds": "a rule was applied to fewer runs than it needs",
    "unequal steps": "one method was trained for more, or longer, steps than the other",
}


class Finding(NamedTuple):
    """What a study says: the word of its rule, and the mean with its 95 % interval."""

    word: str
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.word}: {self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"

    @classmethod
    def of(cls, word: str, interval: stats.Interval) -> Finding:
        """Return a finding, rounded so that it is the same on every machine."""
        return cls(word, *(round(float(number), 4) for number in interval[:3]))


def led(over: ArrayLike, under: ArrayLike, margin: float = MARGIN) -> Finding:
    """Return whether one method leads another, by the book's rule for an order.

    Args:
        over: (n,) scores of the one that is said to lead, 8 seeds or more.
        under: (n,) scores of the other at the same seeds, or one value to beat.
        margin: a lead of this size would be none.

    Raises:
        QmlbookError: for fewer than 8 seeds.
    """
    scores = torch.as_tensor(over, dtype=torch.float64)
    others = torch.as_tensor(under, dtype=torch.float64).expand(scores.shape)
    draws = stream(0, "lab", "sign-flip")
    word, interval, _ = stats.order_outcome(scores.numpy(), others.numpy(), margin, draws)
    return Finding.of(word, interval)


@cache
def _digits() -> Split:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return Split(torch.from_numpy(images).reshape(-1, 1, 8, 8) / 16, torch.from_numpy(labels))


def digits(
    seed: int, classes: tuple[int, ...] = (3, 5, 8), *, train: int = 60, side: int = 8
) -> TrainTest[Split]:
    """Return digits of scikit-learn: some to learn from, all others of these classes to judge by.

    Args:
        seed: draws which are which.
        classes: the first one becomes label 0, the second 1, ...
        train: how many to learn from.
        side: 8; or 4, 2 or 1 for averages over squares. Inputs are (N, side * side) in [0, 1].
    """
    every = _digits()
    matches = every.labels[:, None] == torch.tensor(classes)
    kept = matches.any(1)
    inputs = F.avg_pool2d(every.inputs[kept], 8 // side).flatten(1)
    images = Split(inputs, matches[kept].int().argmax(1))
    order = torch.from_numpy(stream(seed, "lab", "images").permutation(len(images)))
    return TrainTest(images[order[:train]], images[order[train:]])


def steps(
    model: nn.Module,
    split: Split,
    seed: int,
    *,
    rate: float = 0.01,
    epochs: int = 10,
    batch: int = 20,
) -> Iterator[int]:
    """Train a model by Adam; yield the number of every epoch, from 1, when it is over.

    Args:
        model: (B, features) -> (B, classes).
        split: what it learns from.
        seed: draws the order of the batches.
        rate, epochs, batch: size of a step, how often each image is seen, images in a step.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    rng = stream(seed, "lab", "batches")
    for epoch in range(1, epochs + 1):
        for index in shuffled(rng, len(split), batch):
            part = split[index]
            descend(optimiser, F.cross_entropy(model(part.inputs), part.labels))
        yield epoch


def network(seed: int, *widths: int) -> nn.Sequential:
    """Return layers of these widths with tanh between them, drawn by a seed, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream(seed, "lab", "network").integers(2**62)))
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Tanh()] * bool(layers)
            layers.append(nn.Linear(before, after, dtype=torch.float64))
    return nn.Sequential(*layers)


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """Return the share of images that a model names rightly."""
    said: Tensor = model(split.inputs).argmax(1)
    return float((said == split.labels).double().mean())
