"""Train source networks, extract features, train heads on them.

Sources: sky-born/QCNN_transfer_learning at 7e5a792, CQtransfer_FtoM_bench.py (source, features,
quantum heads), QOSF/Training.py 49-75 (batches of the quantum heads), CCtransfer_FtoM.py 114-166
(classical heads).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ... import data
from ...base.rng import stream
from . import losses, models, weights
from .circuits import count_params
from .descent import Adam, Nesterov, minimise

if TYPE_CHECKING:
    from .experiment import Config

RULES = {"adam": Adam, "nesterov": Nesterov}


@dataclass(frozen=True)
class Recipe:
    """How a source network is made; the defaults are the released ones."""

    width: int = 256  # 256 features for amplitudes, 8 for angles
    epochs: int = 5  # 0: the initial weights
    n_train: int | None = None  # Fashion-MNIST images; None: all 60,000
    averaging: float = 0.01  # of a batch in the running statistics [Keras: momentum 0.99]
    dtype: str = "float32"  # of the training; weights are then kept in half precision
    batch_size: int = 32  # [Keras' default]


@dataclass(frozen=True)
class Digits:
    """Two digits: float64 features (N, F) or images (N, 28, 28), labels (N,) 1 for the smaller."""

    values: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


class Split(NamedTuple):
    """What a head learns from and what it is judged by."""

    train: Digits
    test: Digits


def digits(pair: tuple[int, int], split: str, n: int | None = None) -> Digits:
    """Return images of two MNIST digits, in the order of the files.

    Raises:
        QmlbookError: if they are neither here nor can be fetched.
    """
    found = data.load("mnist", classes=pair, split=split, n=n)
    images = torch.from_numpy(found.images).double() / 255
    return Digits(images, torch.from_numpy(found.labels == min(pair)).long())


@lru_cache(maxsize=2)
def _clothes(split: str, n: int | None) -> tuple[Tensor, Tensor]:
    found = data.load("fashion_mnist", split=split, n=n)
    return torch.from_numpy(found.images) / 255, torch.from_numpy(found.labels)


@lru_cache(maxsize=4)
def source(recipe: Recipe, seed: int) -> models.Source:
    """Return a source network, stored or trained now, ready to extract features.

    Raises:
        QmlbookError: if stored weights are damaged, or images are missing.
    """
    network = models.Source(
        stream(seed, "source", recipe.width, "init"), recipe.width, recipe.averaging
    )
    if recipe.epochs:
        stored = weights.load(recipe.width, seed) if recipe == Recipe(recipe.width) else None
        network.load_state_dict(stored or train_source(network, recipe, seed))
    return network.to(getattr(torch, recipe.dtype)).eval().requires_grad_(False)


def train_source(network: models.Source, recipe: Recipe, seed: int) -> dict[str, Tensor]:
    """Train a source network in place, by Adam with Keras' defaults.

    Returns:
        Its weights after the epoch of best training accuracy, as `weights.save` stores them.
    """
    images, labels = _clothes("train", recipe.n_train)
    dtype = getattr(torch, recipe.dtype)
    network.to(dtype).to(memory_format=torch.channels_last).train()  # a fifth faster
    optimiser = torch.optim.Adam(network.parameters(), eps=1e-7, fused=True)
    order, best, kept = stream(seed, "source", recipe.width, "batches"), -1, {}
    for _ in range(recipe.epochs):
        correct = 0
        for batch in torch.from_numpy(order.permutation(len(labels))).split(recipe.batch_size):
            logits = network(images[batch].to(dtype))
            optimiser.zero_grad()
            F.cross_entropy(logits, labels[batch]).backward()
            optimiser.step()
            correct += int((logits.argmax(1) == labels[batch]).sum())
        if correct > best:
            best, kept = correct, weights.rounded(network, recipe.dtype)
    return kept


def source_accuracy(network: models.Source, n: int | None = None) -> float:
    """Return the accuracy in % on Fashion-MNIST's test images."""
    images, labels = _clothes("test", n)
    dtype = network.extract[1].weight.dtype
    parts = [network(part.to(dtype)).argmax(1) for part in images.split(500)]
    return 100 * (torch.cat(parts) == labels).double().mean().item()


@lru_cache(maxsize=8)
def _features(
    kind: str, recipe: Recipe, seed: int, pair: tuple[int, int], split: str, n: int | None
) -> Digits:
    found = digits(pair, split, n)
    if kind == "pixels":
        return Digits(models.pixels(found.values), found.labels)
    network, dtype = source(recipe, seed), getattr(torch, recipe.dtype)
    parts = [network.extract(part.to(dtype)) for part in found.values.split(500)]
    return Digits(torch.cat(parts).double(), found.labels)


def features(config: Config, seed: int) -> Split:
    """Return the features of a run, of its training and its test digits.

    Raises:
        QmlbookError: if images are neither here nor can be fetched.
    """
    made_by = seed if config.source_seed is None else config.source_seed
    where = (config.features, config.recipe, 0 if config.features == "pixels" else made_by)
    return Split(
        _features(*where, config.pair, "train", config.n_train),
        _features(*where, config.pair, "test", config.n_test),
    )


@dataclass(frozen=True, eq=False)
class Trained:
    """A head after training: ``predict`` gives labels (B,) of features (B, F)."""

    head: nn.Module | None
    params: Tensor | None
    costs: Tensor
    config: Config

    def scores(self, values: Tensor) -> Tensor:
        """Return probabilities (B, 2) of labels 0 and 1."""
        if self.head is not None:
            return self.head(values).softmax(-1)
        circuit = models.quantum(self.config.ansatz, self.config.pooling, self.config.encoding)
        size = self.config.batch_size  # the batches of the training: nothing is compiled anew
        padded = torch.cat([values, values[:1].expand(-len(values) % size, -1)])
        parts = [circuit(part, self.params) for part in padded.split(size)]
        return torch.cat(parts)[: len(values)]

    def predict(self, values: Tensor) -> Tensor:
        """Return the likelier label (B,)."""
        with torch.no_grad():
            return losses.predict(self.scores(values))

    def accuracy(self, known: Digits) -> float:
        """Return the accuracy in %."""
        return 100 * (self.predict(known.values) == known.labels).double().mean().item()


def train(config: Config, seed: int, known: Digits) -> Trained:
    """Train a head on features.

    Args:
        config: settings of the run.
        seed: of the run; heads compared at equal seeds see the same batches if of the same sort.
        known: training features.
    """
    return (_train_quantum if config.head == "quantum" else _train_classical)(config, seed, known)


def _train_quantum(config: Config, seed: int, known: Digits) -> Trained:
    """200 steps on batches drawn with replacement; the cost is summed over a batch."""
    circuit = models.quantum(config.ansatz, config.pooling, config.encoding)
    size = count_params(config.ansatz, config.pooling)
    drawn = stream(seed, "init", config.ansatz, config.pooling).normal(size=size)
    params, costs = torch.from_numpy(drawn), torch.empty(0)
    if config.steps:
        picks = stream(seed, "batches").integers(len(known), size=(config.steps, config.batch_size))
        batches = torch.from_numpy(picks)

        def cost(params: Tensor, step: int) -> Tensor:
            batch = batches[step]
            return losses.cross_entropy(circuit(known.values[batch], params), known.labels[batch])

        rule = RULES[config.optimiser](config.stepsize)
        params, costs = minimise(rule, cost, params, config.steps)
    return Trained(None, params, costs, config)


def _classical_batches(config: Config, seed: int, available: int) -> Iterator[Tensor]:
    """Yield batches without replacement, of the first images in the order of the files."""
    rng, batches = stream(seed, "shuffle"), []
    for _ in range(config.steps):
        if not batches:
            order = torch.from_numpy(rng.permutation(min(config.first, available)))
            batches = list(order.split(config.batch_size))
        yield batches.pop(0)


def _train_classical(config: Config, seed: int, known: Digits) -> Trained:
    """Adam with Keras' defaults (but for the step size) on the mean cross entropy."""
    rng = stream(seed, "init", config.head, *([config.projections] * (config.head == "linear")))
    if config.head == "linear":
        head = models.Linear(rng, config.projections + 1, known.values.shape[1])
    else:
        head = models.classical(config.head, rng)
    optimiser = torch.optim.Adam(head.parameters(), lr=config.stepsize, eps=1e-7)
    costs = []
    for batch in _classical_batches(config, seed, len(known)):
        loss = F.cross_entropy(head(known.values[batch]), known.labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        costs.append(loss.detach())
    return Trained(head.eval(), None, torch.stack(costs) if costs else torch.empty(0), config)
