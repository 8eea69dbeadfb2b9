"""The memory-bank training loop and its evaluation (namhai03/QSSL: train.py, eval.py, SSL.py).

One loop serves the released procedure with all its peculiarities and the corrected one; what
differs is named in `qmlbook.papers.klssl.experiment.Config`.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ... import data
from ...base.rng import stream
from ..shared.crops import draw_crops
from . import models

if TYPE_CHECKING:
    from .experiment import Config

ROLES = {"released": ("train", "test"), "executed": ("test", "train")}  # (trained on, evaluated on)


@dataclass(frozen=True)
class Split:
    """Two classes of a data set: images (N, 14, 14) float64 in [0, 1], labels (N,) 0 or 1."""

    images: Tensor
    labels: Tensor
    provenance: data.Provenance

    def __len__(self) -> int:
        return len(self.labels)


@lru_cache(maxsize=8)
def load_split(dataset: str, classes: tuple[int, int], split: str, n: int | None) -> Split:
    """Load two raw classes, shrink to 14x14 and map the first class to 0, the second to 1.

    Pillow's bilinear resize rounds to 8 bits after each pass (train.py line 19), so Pillow it is.
    """
    found = data.load(dataset, classes=classes, split=split, n=n)
    pixels = torch.from_numpy(shrink(found.images)).double() / 255
    labels = torch.from_numpy((found.labels == classes[1]).astype(np.int64))
    return Split(pixels, labels, found.provenance)


def shrink(images: np.ndarray) -> np.ndarray:
    """Resize images (N, 28, 28) uint8 to (N, 14, 14) uint8 with Pillow's bilinear filter."""
    size = (models.SIDE, models.SIDE)
    small = [np.asarray(Image.fromarray(i).resize(size, Image.Resampling.BILINEAR)) for i in images]
    return np.stack(small)


def splits(config: Config) -> tuple[Split, Split]:
    """Return the split a configuration trains on and the one it is evaluated on."""
    trained, evaluated = ROLES[config.split]
    classes = tuple(config.classes)
    return (
        load_split(config.dataset, classes, trained, config.n_train),
        load_split(config.dataset, classes, evaluated, config.n_eval),
    )


def build(config: Config, seed: int) -> models.Classifier:
    """Return the untrained network of a run; equal seeds give equal filters and equal angles."""
    return models.build(
        config.classifier,
        config.nlayers,
        stream(seed, "init", "encoder"),
        stream(seed, "init", "head", config.nlayers),
        config.frozen,
    )


def learning_rate(step: int, base: float, period: int, floor: float = 1e-6) -> float:
    """Return the cosine-annealed rate of optimiser step ``step`` (0 is the first).

    ``period`` is T_max in *steps*: the released code steps the schedule once per batch, so the
    rate swings up and down with period 2 T_max (train.py lines 48, 80).
    """
    return floor + (base - floor) * (1 + np.cos(np.pi * step / period)) / 2


@dataclass(frozen=True)
class Bank:
    """Rows (N, 2) of all training images, kept from the end of the last epoch, and their sums.

    ``tangent`` (N, 2, P) is their derivative by the head's coordinates *at that time*. The
    released bank is not detached, so every loss also pushes the weights through these old rows;
    a first-order term with the right value and the right gradient says the same without keeping
    the old graph alive.
    """

    rows: Tensor
    tangent: Tensor | None
    total: Tensor
    total_tangent: Tensor | None

    @classmethod
    def build(cls, model: models.Classifier, responses: Tensor, attached: bool) -> Bank:
        """Evaluate all filter responses (N, 4) in evaluation mode."""
        model.eval()
        head, where = model.head, model.head.coordinates().detach()
        inputs = head.prepare(model.encoder.normalise(responses)).detach()
        with torch.no_grad():
            rows = head.rows(inputs, where)
            tangent = torch.func.jacfwd(lambda c: head.rows(inputs, c))(where) if attached else None
        return cls(rows, tangent, rows.sum(0), tangent.sum(0) if attached else None)

    def select(self, index: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows at ``index`` (B, 2) and the sum of all rows (2,)."""
        rows, total = self.rows[index], self.total
        if self.tangent is not None:
            shift = coordinates - coordinates.detach()  # zero, with gradient
            rows = rows + self.tangent[index] @ shift
            total = total + self.total_tangent @ shift
        return rows, total


@dataclass
class Trained:
    """A trained network with its history: mean loss per epoch, and largest weight movement."""

    model: models.Classifier
    losses: list[float]
    movement: float


def train(config: Config, seed: int, split: Split) -> Trained:
    """Train a network as the configuration says; without epochs, only set its batch norm.

    Keeps the weights of the epoch with the lowest mean training loss (train.py lines 83-85).
    """
    model = build(config, seed)
    if config.epochs == 0:
        settle(model, split)
        return Trained(model, [], 0.0)
    start, best, losses = deepcopy(model.state_dict()), None, []
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    batches = -(-len(split) // config.batch_size)
    period = config.period or config.epochs * batches
    rngs = {name: stream(seed, name) for name in ("batches", "bank", "crops")}
    views = Views(model.encoder, split.images, config)
    for epoch in range(config.epochs):
        bank = _bank(config, model, views)
        model.train()
        epoch_losses = []
        for batch, (index, partner) in enumerate(_order(len(split), config, rngs)):
            optimiser.param_groups[0]["lr"] = learning_rate(
                epoch * batches + batch, config.learning_rate, period
            )
            x = views.clean(index)
            if config.loss == "supervised":
                loss = F.nll_loss(model.head(x), split.labels[index])
            else:
                y = views.augmented(index, rngs["crops"])
                loss = _bank_loss(config, model.head, x, y, bank, partner)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            epoch_losses.append(loss.item())
        losses.append(float(np.mean(epoch_losses)))
        if losses[-1] == min(losses):
            best = deepcopy(model.state_dict())
    model.load_state_dict(best)
    moved = max((p.detach() - start[name]).abs().max() for name, p in model.named_parameters())
    return Trained(model, losses, float(moved))


class Views:
    """Clean and augmented features of a split, batch by batch.

    While the filter is frozen, its responses to the clean images are computed once, and a crop
    that a whole batch shares is folded into the filter.
    """

    def __init__(self, encoder: models.Encoder, images: Tensor, config: Config) -> None:
        """Prepare the views of images (N, 14, 14)."""
        self.encoder, self.images, self.shared = encoder, images, config.crops == "batch"
        self.responses = encoder.filter(images).detach() if config.frozen else None

    def everything(self) -> Tensor:
        """Return the filter's responses (N, 4) to all clean images."""
        if self.responses is not None:
            return self.responses
        return self.encoder.filter(self.images).detach()

    def clean(self, index: Tensor) -> Tensor:
        """Return features (B, 4) of the clean images at ``index``."""
        if self.responses is not None:
            return self.encoder.normalise(self.responses[index])
        return self.encoder(self.images[index])

    def augmented(self, index: Tensor, rng: np.random.Generator) -> Tensor:
        """Return features (B, 4) of freshly cropped and flipped images."""
        images = self.images[index]
        crops = draw_crops(rng, 1 if self.shared else len(index), models.SIDE)
        if self.shared and self.responses is not None:
            matrix = self.encoder.filter_matrix(*crops.matrices())
            responses = images.flatten(1) @ matrix + self.encoder.conv.bias.detach()
            return self.encoder.normalise(responses)
        return self.encoder(crops(images))


def _bank(config: Config, model: models.Classifier, views: Views) -> Bank | None:
    if config.loss == "supervised":
        return None
    return Bank.build(model, views.everything(), config.attached)


def _order(
    n: int, config: Config, rngs: dict[str, np.random.Generator]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the image indices of each batch and the bank rows paired with them.

    The released loader reshuffles at each pass, so row i of the bank and image i of the batch are
    different images (SSL.py lines 6-19, train.py lines 56-57).
    """
    images = rngs["batches"].permutation(n)
    partners = images if config.own_positives else rngs["bank"].permutation(n)
    pairs = torch.from_numpy(np.stack([images, partners]))
    yield from pairs.split(config.batch_size, dim=1)


def _bank_loss(
    config: Config, head: models.Head, x: Tensor, y: Tensor, bank: Bank, partner: Tensor
) -> Tensor:
    """Return the loss of a batch from features x, y (B, 4) and the paired bank rows."""
    coordinates = head.coordinates()
    pos, total = bank.select(partner, coordinates)
    if config.own_positives:  # negatives: every bank row but the image's own
        total, count = total - pos, len(bank.rows) - 1
    else:  # negatives: the bank rows of all other batches
        total, count = total - pos.sum(0), len(bank.rows) - len(pos)
    rows = [head.rows(head.prepare(view), coordinates) for view in (x, y)]
    return models.loss(config.loss, config.gamma, *rows, pos, total, count)


def settle(model: models.Classifier, split: Split) -> None:
    """Set the running statistics of batch norm to those of a whole split, in place."""
    responses = model.encoder.filter(split.images).detach()
    norm = model.encoder.norm
    norm.running_mean.fill_(responses.mean())
    norm.running_var.fill_(responses.var())


def predict(model: models.Classifier, images: Tensor) -> Tensor:
    """Return the more probable outcome (N,) 0 or 1 of each image, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return model(images).argmax(-1)


def subset_accuracies(
    correct: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
    """Return the released evaluation on subsets, k = 2, 5, 10 (eval.py lines 25-60).

    Each is the mean over stratified random subsets of floor(M / k) images: ten of them, but no
    more after the first with an accuracy below 0.6.
    """
    results = {}
    for k in (2, 5, 10):
        draws: list[float] = []
        while len(draws) < 10 and (not draws or draws[-1] >= 0.6):
            draws.append(float(correct[stratified(labels, len(labels) // k, rng)].mean()))
        results[f"accuracy_k{k}"] = float(np.mean(draws))
    return results


def stratified(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``size`` indices without replacement that keep the shares of the two classes."""
    ones = round(size * float(labels.mean()))
    parts = [(0, size - ones), (1, ones)]
    return np.concatenate([rng.choice(np.flatnonzero(labels == c), n, False) for c, n in parts])
