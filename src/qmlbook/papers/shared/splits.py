"""Images and their labels, as a network takes them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from ... import data


@dataclass(frozen=True)
class Split:
    """What is learned from, or judged by.

    Attributes:
        inputs: (N, ...), what the network takes.
        labels: (N,) int64, 0 to the number of classes - 1.
        provenance: which images these are.
    """

    inputs: Tensor
    labels: Tensor
    provenance: data.Provenance | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Self:
        """Return some of the images, by their numbers or by a mask (N,)."""
        return replace(self, inputs=self.inputs[index], labels=self.labels[index])


SplitT = TypeVar("SplitT", bound=Split)


class TrainTest(NamedTuple, Generic[SplitT]):
    """What is learned from and what is judged by."""

    train: SplitT
    test: SplitT


def load_split(
    dataset: str,
    classes: tuple[int, ...],
    split: str,
    n: int | None,
    prepare: Callable[[np.ndarray], Tensor],
) -> Split:
    """Load images of some classes.

    Args:
        dataset, split, n: as of `qmlbook.data.load`.
        classes: raw labels; the first one becomes label 0, the second 1, ...
        prepare: turns images as they are stored, uint8, into inputs.

    Raises:
        QmlbookError: if the images are neither here nor can be fetched.
    """
    images = data.load(dataset, classes=classes, split=split, n=n)
    labels = (images.labels[:, None] == np.array(classes)).argmax(1)
    return Split(prepare(images.images), torch.from_numpy(labels), images.provenance)


SPOILED = ("nothing", "labels", "images")


def spoil(split: SplitT, what: str, rng: np.random.Generator) -> SplitT:
    """Return a split in which images and labels have nothing to do with each other.

    Args:
        split: the split as it is.
        what: one of `SPOILED`: ``labels`` are shuffled, ``images`` get pixels uniform in [0, 1].
        rng: draws the order of the labels, or the pixels.
    """
    if what == "labels":
        return replace(split, labels=split.labels[torch.from_numpy(rng.permutation(len(split)))])
    if what == "images":
        return replace(split, inputs=torch.from_numpy(rng.random(split.inputs.shape)))
    return split


def set_apart(split: SplitT, share: float, rng: np.random.Generator) -> tuple[SplitT, SplitT]:
    """Return a split in two parts, drawn at random: what remains, and a share of it."""
    order = torch.from_numpy(rng.permutation(len(split)))
    apart = round(share * len(split))
    return split[order[apart:]], split[order[:apart]]
