"""The images of a run: CIFAR-10, or scikit-learn's digits."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...base.rng import stream
from ..shared.splits import Split, TrainTest, load_split
from .config import Config

DIGITS_TRAIN = 600  # of the 901 digits 0 to 4 that travel with scikit-learn; 301 to test


@dataclass(frozen=True)
class Pictures(Split):
    """Images (n, 3, 32, 32) uint8 or (n, 1, 8, 8), values 0 to ``top``, and labels (n,)."""

    top: int = 255

    def scaled(self, index: Tensor, dtype: str) -> Tensor:
        """Return some images as numbers from 0 to 1, float32 or float64."""
        return self.inputs[index].to(getattr(torch, dtype)) / self.top


def pictures(config: Config) -> TrainTest[Pictures]:
    """Return the images of a run.

    Raises:
        QmlbookError: if CIFAR-10 is neither here nor can be fetched.
    """
    if config.dataset == "digits":
        train, test = digits(config.classes)
        return TrainTest(train[: config.n_train], test[: config.n_test])
    train = cifar10(config.classes, "train", config.n_train)
    if config.held_out:
        return hold_out(train, config.held_out // len(config.classes))
    return TrainTest(train, cifar10(config.classes, "test", config.n_test))


@lru_cache(maxsize=2)
def cifar10(classes: tuple[int, ...], split: str, n: int | None) -> Pictures:
    """Return images of CIFAR-10, uint8."""

    def channels_first(images: np.ndarray) -> Tensor:
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    loaded = load_split("cifar10", classes, split, n, channels_first)
    return Pictures(loaded.inputs, loaded.labels, loaded.provenance)


@lru_cache(maxsize=2)
def digits(classes: tuple[int, ...]) -> TrainTest[Pictures]:
    """Return scikit-learn's 8x8 digits, split once and for all."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    order = stream(0, "digits").permutation(np.flatnonzero(np.isin(loaded.target, classes)))
    images = torch.from_numpy(loaded.images[order])[:, None]
    labels = torch.from_numpy(np.searchsorted(classes, loaded.target[order]))
    chosen = Pictures(images, labels, top=16)
    return TrainTest(chosen[:DIGITS_TRAIN], chosen[DIGITS_TRAIN:])


def hold_out(known: Pictures, each: int) -> TrainTest[Pictures]:
    """Use the last ``each`` images of every class to test."""
    last = torch.zeros(len(known), dtype=torch.bool)
    for label in known.labels.unique():
        last[(known.labels == label).nonzero()[-each:]] = True
    return TrainTest(known[~last], known[last])
