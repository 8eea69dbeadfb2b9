"""Splits, the training loop and evaluation (martaskrt/qdeq at a668197, train_qdeq.py)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...base.rng import stream
from ..shared.splits import Split, spoil
from ..shared.training import descend, keep_best, shuffled
from . import models
from .config import EQUILIBRIUM, Config
from .features import load_pooled

CHUNK = 2000  # images evaluated at once; one solver decision each


def splits(config: Config, seed: int) -> tuple[Split, Split, Split]:
    """Return training, validation and test images; the validation images are drawn by seed.

    Where they are spoiled, either the labels of all images but the test's are shuffled, or every
    input is noise of the images' mean and deviation: nothing is left to learn.
    """
    whole = load_pooled(config.dataset, config.classes, "train", config.n_train)
    test = load_pooled(config.dataset, config.classes, "test", config.n_test)
    rng = stream(seed, "spoiled")
    if config.spoiled == "labels":
        whole = spoil(whole, "labels", rng)
    if config.spoiled == "inputs":
        whole, test = _noise(whole, rng), _noise(test, rng)
    order = torch.from_numpy(stream(seed, "split").permutation(len(whole)))
    size = int((1 - config.validation) * len(whole))
    return whole[order[:size]], whole[order[size:]], test


def _noise(split: Split, rng: np.random.Generator) -> Split:
    """Return Gaussian noise in place of the images, with their mean and deviation."""
    drawn = torch.from_numpy(rng.normal(size=split.inputs.shape))
    return replace(split, inputs=split.inputs.mean() + split.inputs.std() * drawn)


@dataclass
class Trained:
    """A trained model.

    Attributes:
        model: with the weights of the selected epoch.
        depth: what it was evaluated with, number of layers or `EQUILIBRIUM`.
        epoch: the selected one, from 0.
        validation_loss, validation_accuracy: per epoch.
        loss: mean training loss per epoch, the penalty not included.
    """

    model: models.Classifier
    depth: int = 0
    epoch: int = 0
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)


def train(config: Config, seed: int, training: Split, validation: Split) -> Trained:
    """Train a model as the configuration says.

    Kept are the weights of the epoch with the lowest validation loss (or the last ones); those of
    a warm-up are forgotten when it ends. Adam, the norm of all gradients clipped.

    Raises:
        QmlbookError: if a gradient is not finite.
    """
    trained = Trained(models.build(config, seed))
    scores = keep_best(trained.model, _epochs(config, seed, trained, training, validation))
    trained.epoch = scores.index(min(scores))
    return trained


def _epochs(
    config: Config, seed: int, trained: Trained, training: Split, validation: Split
) -> Iterator[tuple[float, ...]]:
    """Train epoch by epoch and note how it goes; yield a score, the lowest of which is kept."""
    model, draws = trained.model, models.Draws(seed)
    moving = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(moving, lr=config.learning_rate, weight_decay=config.weight_decay)
    warm_until = round(config.warmup * config.epochs * -(-len(training) // config.batch_size))
    clip = math.inf if config.clip is None else config.clip
    for epoch in range(config.epochs):
        optimiser.param_groups[0]["lr"] = learning_rate(config, epoch)
        losses = []
        for index in shuffled(draws.batches, len(training), config.batch_size):
            batch, depth = training[index], depth_at(config, model.tally.steps, warm_until)
            given, penalty = model(batch.inputs, depth, draws)
            cross_entropy = F.cross_entropy(given, batch.labels)
            descend(optimiser, cross_entropy + config.gamma * penalty, clip)
            model.tally.steps += 1
            losses.append(cross_entropy.item())
        trained.depth = depth_at(config, model.tally.steps, warm_until)
        loss, accuracy = score(model, validation, trained.depth)
        trained.loss.append(float(np.mean(losses)))
        trained.validation_loss.append(loss)
        trained.validation_accuracy.append(accuracy)
        warm = model.tally.steps <= warm_until
        yield (-epoch,) if config.selection == "last" else (warm, loss)


def learning_rate(config: Config, epoch: int) -> float:
    """Return Adam's rate in an epoch (0 is the first): constant, or half a cosine down to 0."""
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


def depth_at(config: Config, step: int, warm_until: int) -> int:
    """Return how many layers are stacked at a step of the optimiser, or `EQUILIBRIUM`."""
    if config.model == "baseline":
        return 1
    if config.model == "direct" or step < warm_until:
        return config.layers
    return EQUILIBRIUM


@torch.no_grad()
def logits(model: models.Classifier, split: Split, depth: int) -> Tensor:
    """Return what a model gives every class, (N, C), on a split."""
    return torch.cat([model(u, depth)[0] for u in split.inputs.split(CHUNK)])


def score(model: models.Classifier, split: Split, depth: int) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy on a split."""
    given = logits(model, split, depth)
    right = given.argmax(1) == split.labels
    return F.cross_entropy(given, split.labels).item(), right.double().mean().item()


@torch.no_grad()
def residuals(model: models.Layered, split: Split, depth: int) -> dict[str, float]:
    """Return how far the model's states are from a fixed point, over a split.

    Returns:
        ``residual``, |f(z) - z| / |f(z)|, and ``residual_logged``, the released formula: its norm
        runs over a dimension of size one, which leaves the mean of |f(z) - z| / (|z| + 1e-9)
        over all entries (qdeq_model.py 208-210).
    """
    layer, apart, length, ratio = model.layer(), 0.0, 0.0, 0.0
    for u in split.inputs.split(CHUNK):
        f = layer.reduced(u)
        m = model.states(f, depth)
        value = f(m)
        apart += (value - m).square().sum().item()
        length += value.square().sum().item()
        ratio += ((value - m).abs() / (m.abs() + 1e-9)).sum().item()
    logged = ratio / (len(split) * layer.n_wires)
    return {"residual": (apart / length) ** 0.5, "residual_logged": logged}
