"""The memory-bank training loop and its evaluation (namhai03/QSSL: train.py, eval.py, SSL.py).

One loop serves the released procedure with all its peculiarities and the corrected one; what
differs is named in `qmlbook.papers.klssl.config.Config`.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ...base.rng import stream
from ..shared.crops import draw_crops
from ..shared.splits import Split, load_split
from ..shared.training import descend, keep_best
from . import models
from .config import ROLES, Config


@lru_cache(maxsize=8)
def load_small(dataset: str, classes: tuple[int, int], split: str, n: int | None) -> Split:
    """Load two raw classes, (N, 14, 14) float64 in [0, 1]; the first class is label 0.

    Pillow's bilinear resize rounds to 8 bits after each pass (train.py line 19), so Pillow it is.
    """
    return load_split(
        dataset, classes, split, n, lambda images: torch.from_numpy(shrink(images)).double() / 255
    )


def shrink(images: np.ndarray) -> np.ndarray:
    """Resize images (N, 28, 28) uint8 to (N, 14, 14) uint8 with Pillow's bilinear filter."""
    size = (models.SIDE, models.SIDE)
    small = [np.asarray(Image.fromarray(i).resize(size, Image.Resampling.BILINEAR)) for i in images]
    return np.stack(small)


def splits(config: Config) -> tuple[Split, Split]:
    """Return the split a configuration trains on and the one it is evaluated on."""
    trained_on, evaluated_on = ROLES[config.split]
    first, second = config.classes
    return (
        load_small(config.dataset, (first, second), trained_on, config.n_train),
        load_small(config.dataset, (first, second), evaluated_on, config.n_eval),
    )


def build(config: Config, seed: int) -> models.Classifier:
    """Return the untrained network of a run; equal seeds give equal filters and equal angles."""
    rngs = stream(seed, "init", "encoder"), stream(seed, "init", "head", config.nlayers)
    return models.build(config.classifier, config.nlayers, *rngs, config.frozen)


def learning_rate(step: int, base: float, period: int, floor: float = 1e-6) -> float:
    """Return the cosine-annealed rate of optimiser step ``step`` (0 is the first).

    ``period`` is T_max in *steps*: the released code steps the schedule once per batch, so the
    rate swings up and down with period 2 T_max (train.py lines 48, 80).
    """
    return floor + (base - floor) * (1 + np.cos(np.pi * step / period)) / 2


@dataclass(frozen=True)
class Bank:
    """Outputs (N, 2) of all training images, kept from the end of the last epoch, and their sum.

    ``tangents`` are the derivatives by the head's coordinates *at that time*, (N, 2, P), and their
    sum (2, P); ``None`` if the bank is detached. The released bank is not, so every loss also
    pushes the weights through these old outputs; a first-order term with the right value and the
    right gradient says the same without keeping the old graph alive.
    """

    outputs: Tensor
    total: Tensor
    tangents: tuple[Tensor, Tensor] | None

    @classmethod
    def build(cls, model: models.Classifier, responses: Tensor, attached: bool) -> Bank:
        """Evaluate all filter responses (N, 4) in evaluation mode."""
        model.eval()
        head, coordinates = model.head, model.head.coordinates().detach()
        inputs = head.prepare(model.encoder.normalise(responses)).detach()
        tangents = None
        with torch.no_grad():
            outputs = head.outputs(inputs, coordinates)
            if attached:
                tangent = torch.func.jacfwd(lambda c: head.outputs(inputs, c))(coordinates)
                tangents = tangent, tangent.sum(0)
        return cls(outputs, outputs.sum(0), tangents)

    def select(self, index: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs at ``index`` (B, 2) and the sum of all outputs (2,)."""
        outputs, total = self.outputs[index], self.total
        if self.tangents:
            tangent, total_tangent = self.tangents
            shift = coordinates - coordinates.detach()  # zero, with gradient
            outputs = outputs + tangent[index] @ shift
            total = total + total_tangent @ shift
        return outputs, total


@dataclass
class Trained:
    """A trained network with its history: mean loss per epoch, and largest weight movement."""

    model: models.Classifier
    losses: list[float]
    movement: float


def train(config: Config, seed: int, split: Split) -> Trained:
    """Train a network as the configuration says; without epochs, only set its batch norm.

    Keeps the weights of the epoch with the lowest mean training loss (train.py lines 83-85).
    Computes where the split's tensors are.
    """
    model = build(config, seed).to(split.inputs.device)
    if config.epochs == 0:
        settle(model, split)
        return Trained(model, [], 0.0)
    start = deepcopy(model.state_dict())
    scores = keep_best(model, _epochs(config, seed, model, split))
    moved = max((p.detach() - start[name]).abs().max() for name, p in model.named_parameters())
    return Trained(model, [loss for loss, _ in scores], float(moved))


def _epochs(
    config: Config, seed: int, model: models.Classifier, split: Split
) -> Iterator[tuple[float, int]]:
    """Train epoch by epoch; yield the mean loss and, so that of equals the last counts, -epoch."""
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    batches = -(-len(split) // config.batch_size)
    period = config.period or config.epochs * batches
    rngs = {name: stream(seed, name) for name in ("batches", "bank", "crops")}
    views = Views(model.encoder, split.inputs, config)
    for epoch in range(config.epochs):
        bank = None
        if config.loss != "supervised":
            bank = Bank.build(model, views.responses().detach(), config.attached)
        model.train()
        losses = []
        for batch, (index, partner) in enumerate(_pairs(len(split), config, rngs)):
            optimiser.param_groups[0]["lr"] = learning_rate(
                epoch * batches + batch, config.learning_rate, period
            )
            x = views.clean(index)
            if bank is None:
                loss = F.nll_loss(model.head(x), split.labels[index])
            else:
                y = views.augmented(index, rngs["crops"])
                loss = _bank_loss(config, model.head, x, y, bank, partner)
            descend(optimiser, loss)
            losses.append(loss.item())
        yield float(np.mean(losses)), -epoch


class Views:
    """Clean and augmented features of a split, batch by batch.

    While the filter is frozen, its responses to the clean images are computed once, and a crop
    that a whole batch shares is folded into the filter.
    """

    def __init__(self, encoder: models.Encoder, images: Tensor, config: Config) -> None:
        """Prepare the views of images (N, 14, 14)."""
        self.encoder, self.images, self.shared = encoder, images, config.crops == "batch"
        self.kept = encoder.filter(images).detach() if config.frozen else None

    def responses(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Return the filter's responses (B, 4) to the clean images at ``index``, by default all."""
        return self.encoder.filter(self.images[index]) if self.kept is None else self.kept[index]

    def clean(self, index: Tensor) -> Tensor:
        """Return features (B, 4) of the clean images at ``index``."""
        return self.encoder.normalise(self.responses(index))

    def augmented(self, index: Tensor, rng: np.random.Generator) -> Tensor:
        """Return features (B, 4) of freshly cropped and flipped images."""
        images = self.images[index]
        crops = draw_crops(rng, 1 if self.shared else len(index), models.SIDE)
        if self.shared and self.kept is not None:
            return self.encoder.normalise(self.encoder.filter_cropped(images, crops))
        return self.encoder(crops(images))


def _pairs(
    n: int, config: Config, rngs: dict[str, np.random.Generator]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the image indices of each batch and the stored outputs paired with them.

    The released loader reshuffles at each pass, so output i of the bank and image i of the batch
    are of different images (SSL.py lines 6-19, train.py lines 56-57).
    """
    images = rngs["batches"].permutation(n)
    partners = images if config.own_positives else rngs["bank"].permutation(n)
    pairs = torch.from_numpy(np.stack([images, partners]))
    yield from pairs.split(config.batch_size, dim=1)


def _bank_loss(
    config: Config, head: models.Head, x: Tensor, y: Tensor, bank: Bank, partner: Tensor
) -> Tensor:
    """Return the loss of a batch from features x, y (B, 4) and the paired stored outputs."""
    coordinates = head.coordinates()
    pos, total = bank.select(partner, coordinates)
    if config.own_positives:  # negatives: every stored output but the image's own
        total, count = total - pos, len(bank.outputs) - 1
    else:  # negatives: the stored outputs of all other batches
        total, count = total - pos.sum(0), len(bank.outputs) - len(pos)
    x, y = (head.outputs(head.prepare(view), coordinates) for view in (x, y))
    return models.loss(config.loss, config.gamma, x, y, pos, total, count)


def settle(model: models.Classifier, split: Split) -> None:
    """Set the running statistics of batch norm to those of a whole split, in place."""
    responses = model.encoder.filter(split.inputs).detach()
    mean, variance, _ = model.encoder.norm.buffers()
    mean.fill_(responses.mean())
    variance.fill_(responses.var())


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
