"""Data, the training loop and evaluation (martaskrt/qdeq at a668197: train_qdeq.py, load_*.py)."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ... import data
from ...base.errors import QmlbookError
from ...base.rng import stream
from . import models
from .features import features, grey
from .models import EQUILIBRIUM, Draws

if TYPE_CHECKING:
    from .experiment import Config

CHUNK = 2000  # images evaluated at once; one solver decision each


@dataclass(frozen=True)
class Split:
    """Pooled images u (N, D) float64 and the places (N,) of their labels among the classes."""

    u: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Split:
        return Split(self.u[index], self.labels[index])


@lru_cache(maxsize=8)
def load_split(dataset: str, classes: tuple[int, ...], split: str, n: int | None) -> Split:
    """Load, normalise and pool a split; the number of classes is the number of wires."""
    found = data.load(dataset, classes=classes, split=split, n=n)
    images = torch.from_numpy(found.images).to(models.DTYPE)
    pooled = [features(grey(part), len(classes)) for part in images.split(CHUNK)]
    labels = np.searchsorted(np.array(sorted(classes)), found.labels)
    return Split(torch.cat(pooled), torch.from_numpy(labels))


def splits(config: Config, seed: int) -> tuple[Split, Split, Split]:
    """Return training, validation and test images; the validation images are drawn by seed."""
    whole = load_split(config.dataset, config.classes, "train", config.n_train)
    test = load_split(config.dataset, config.classes, "test", config.n_test)
    order = torch.from_numpy(stream(seed, "split").permutation(len(whole)))
    size = int((1 - config.validation) * len(whole))
    return whole[order[:size]], whole[order[size:]], test


@dataclass
class Trained:
    """A trained model.

    Attributes:
        model: with the weights of the selected epoch.
        depth: what it was evaluated with, number of layers or `EQUILIBRIUM`.
        validation_loss, validation_accuracy: per epoch.
        loss: mean training loss per epoch, the penalty not included.
        epoch: the selected one, from 0.
    """

    model: nn.Module
    depth: int
    validation_loss: list[float]
    validation_accuracy: list[float]
    loss: list[float]
    epoch: int


def train(config: Config, seed: int, training: Split, validation: Split) -> Trained:
    """Train a model as the configuration says.

    Kept are the weights of the epoch with the lowest validation loss (or the last ones); what was
    kept during a warm-up is forgotten when it ends. Adam, the norm of all gradients clipped.
    """
    model, draws = models.build(config, seed), Draws(seed)
    moving = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(moving, lr=config.learning_rate, weight_decay=config.weight_decay)
    warm_until = round(config.warmup * config.epochs * -(-len(training) // config.batch_size))
    history = Trained(model, 0, [], [], [], 0)
    best, kept = math.inf, None
    for epoch in range(config.epochs):
        optimiser.param_groups[0]["lr"] = learning_rate(config, epoch)
        losses = []
        order = torch.from_numpy(draws.batches.permutation(len(training)))
        for index in order.split(config.batch_size):
            if model.tally.steps == warm_until:
                best = math.inf
            depth = depth_at(config, model.tally.steps, warm_until)
            losses.append(_step(config, model, training[index], depth, draws, optimiser, moving))
        history.depth = depth_at(config, model.tally.steps, warm_until)
        loss, accuracy = score(model, validation, history.depth)
        history.validation_loss.append(loss)
        history.validation_accuracy.append(accuracy)
        history.loss.append(float(np.mean(losses)))
        if loss < best or config.selection == "last":
            best, kept, history.epoch = loss, deepcopy(model.state_dict()), epoch
    if kept:
        model.load_state_dict(kept)
    return history


def _step(
    config: Config,
    model: nn.Module,
    batch: Split,
    depth: int,
    draws: Draws,
    optimiser: torch.optim.Optimizer,
    moving: list[nn.Parameter],
) -> float:
    """Make one step of the optimiser; return the loss without the penalty."""
    logits, penalty = model(batch.u, depth, draws)
    loss = F.cross_entropy(logits, batch.labels)
    optimiser.zero_grad()
    (loss + config.gamma * penalty).backward()
    most = math.inf if config.clip is None else config.clip
    if not nn.utils.clip_grad_norm_(moving, most).isfinite():
        raise QmlbookError(
            f"the gradient is not finite at step {model.tally.steps}: check the images for NaN."
        )
    optimiser.step()
    model.tally.steps += 1
    return loss.item()


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
def score(model: nn.Module, split: Split, depth: int) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy on a split."""
    logits = torch.cat([model(u, depth)[0] for u in split.u.split(CHUNK)])
    hits = logits.argmax(1) == split.labels
    return F.cross_entropy(logits, split.labels).item(), hits.double().mean().item()


@torch.no_grad()
def residuals(model: models.QDEQ, split: Split, depth: int) -> dict[str, float]:
    """Return how far the model's states are from a fixed point, over a split.

    Returns:
        ``residual``, |f(z) - z| / |f(z)|, and ``residual_logged``, the released formula: its norm
        runs over a dimension of size one, which leaves the mean of |f(z) - z| / (|z| + 1e-9)
        over all entries (qdeq_model.py 208-210).
    """
    layer, apart, length, ratio = model.layer(), 0.0, 0.0, 0.0
    for u in split.u.split(CHUNK):
        f = layer.reduced(u)
        m = model.states(f, depth)
        value = f(m)
        apart += (value - m).square().sum().item()
        length += value.square().sum().item()
        ratio += ((value - m).abs() / (m.abs() + 1e-9)).sum().item()
    logged = ratio / (len(split) * layer.n_wires)
    return {"residual": (apart / length) ** 0.5, "residual_logged": logged}
