"""Pre-training without labels, and the linear probe that judges it.

Sources: bjader/QSSL at f3eeba7, train_simclr.py (pre-training), linear_probe_simclr.py (probe).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ... import data
from ...base.rng import stream
from ..shared.crops import colour_view, draw_warps
from . import losses, models

if TYPE_CHECKING:
    from .experiment import Config

# Per channel, as released (train_simclr.py 252).
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
CHUNK = 500  # images encoded at once
DIGITS_TRAIN = 600  # of the 901 digits 0 to 4 that travel with scikit-learn; 301 to test
PROBES = ("adam", "logistic")


# --- images ---


class Pictures(NamedTuple):
    """Images (n, 3, 32, 32) uint8 or (n, 1, 8, 8), values 0 to ``top``, and labels (n,)."""

    images: Tensor
    labels: Tensor
    top: int

    def take(self, rows: Tensor, dtype: str) -> Tensor:
        """Return images as numbers from 0 to 1."""
        return self.images[rows].to(getattr(torch, dtype)) / self.top


class Split(NamedTuple):
    """What is learned from and what the probe is judged by."""

    train: Pictures
    test: Pictures


@lru_cache(maxsize=2)
def _cifar10(classes: tuple[int, ...], split: str, n: int | None) -> Pictures:
    found = data.load("cifar10", classes=classes, split=split, n=n)
    images = torch.from_numpy(found.images).permute(0, 3, 1, 2).contiguous()
    return Pictures(images, torch.from_numpy(np.searchsorted(classes, found.labels)), 255)


@lru_cache(maxsize=2)
def _digits(classes: tuple[int, ...]) -> Split:
    """Return scikit-learn's 8x8 digits, split once and for all."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = np.flatnonzero(np.isin(found.target, classes))
    rows = stream(0, "digits").permutation(rows)
    images = torch.from_numpy(found.images[rows])[:, None]
    labels = torch.from_numpy(np.searchsorted(classes, found.target[rows]))
    cut = DIGITS_TRAIN
    return Split(Pictures(images[:cut], labels[:cut], 16), Pictures(images[cut:], labels[cut:], 16))


def pictures(config: Config) -> Split:
    """Return the images of a run.

    Raises:
        QmlbookError: if CIFAR-10 is neither here nor can be fetched.
    """
    if config.dataset == "digits":
        train, test = _digits(config.classes)
        first, few = slice(config.n_train), slice(config.n_test)
        return Split(
            Pictures(train.images[first], train.labels[first], train.top),
            Pictures(test.images[few], test.labels[few], test.top),
        )
    train = _cifar10(config.classes, "train", config.n_train)
    if config.held_out:
        return _held_out(train, config.held_out // len(config.classes))
    return Split(train, _cifar10(config.classes, "test", config.n_test))


def _held_out(known: Pictures, each: int) -> Split:
    """Use the last ``each`` images of every class to test."""
    last = torch.zeros(len(known.labels), dtype=torch.bool)
    for label in known.labels.unique():
        last[(known.labels == label).nonzero()[-each:]] = True
    return Split(*(Pictures(known.images[m], known.labels[m], known.top) for m in (~last, last)))


def normalise(images: Tensor) -> Tensor:
    """Return colour images as the encoder takes them; grey ones stay as they are."""
    if images.shape[1] == 1:
        return images
    mean, std = (torch.tensor(v, dtype=images.dtype)[:, None, None] for v in (MEAN, STD))
    return (images - mean) / std


def view(rng: np.random.Generator, images: Tensor, scale: tuple[float, float]) -> Tensor:
    """Return a random view of images with values from 0 to 1, as the encoder takes them.

    Args:
        rng: stream of the draws.
        images: (B, 3, s, s), or grey (B, 1, s, s), which are warped instead of cropped.
        scale: smallest and largest share of a colour image that is kept.
    """
    if images.shape[1] == 1:
        return draw_warps(rng, len(images), images.shape[-1])(images[:, 0])[:, None]
    return normalise(colour_view(rng, images, scale))


# --- pre-training ---


@dataclass(frozen=True, eq=False)
class Step:
    """One batch of pre-training.

    Attributes:
        number: batches seen, this one included.
        loss: contrastive loss.
        angles: (2B, W) of the first and then the second views.
        params: (P,) the circuit's angles at that time, ``None`` without a circuit.
    """

    number: int
    loss: float
    angles: Tensor
    params: Tensor | None


def batches(seed: int, images: int, size: int) -> Iterator[Tensor]:
    """Yield row numbers without end, reshuffled every epoch, incomplete batches dropped."""
    rng = stream(seed, "batches")
    while True:
        order = torch.from_numpy(rng.permutation(images))
        yield from order[: images - images % size].split(size)


def steps(config: Config, seed: int, model: models.Model, known: Pictures) -> Iterator[Step]:
    """Train a model in place; yield after every batch (train_simclr.py, train).

    Both views pass through the network one after the other, so that batch normalisation sees them
    apart.
    """
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(
        trained, config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    draws = stream(seed, "views")
    order = batches(seed, len(known.labels), config.batch_size)
    for number, rows in zip(range(1, config.batches + 1), order, strict=False):
        images = known.take(rows, config.dtype)
        angles = [model.encoder(view(draws, images, config.crop)) for _ in range(2)]
        outputs = [model.head(model.network(part)) for part in angles]
        loss = losses.contrastive(*outputs, config.temperature)
        params = getattr(model.network, "params", None)
        before = None if params is None else params.detach().clone()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield Step(number, loss.item(), torch.cat(angles).detach(), before)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Encoder and representation network after some batches."""

    encoder: models.Encoder
    network: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pre-trained model.

    Attributes:
        config: its settings.
        seed: root of its random streams.
        network: the representation network; `at` gives it the parameters of a snapshot.
        losses: one contrastive loss a batch.
        snapshots: by number of batches, those of ``config.checkpoints``.
    """

    config: Config
    seed: int
    network: nn.Module
    losses: list[float]
    snapshots: Mapping[int, Snapshot]

    def at(self, number: int) -> nn.Module:
        """Return the representation network as it was after ``number`` batches."""
        self.network.load_state_dict(self.snapshots[number].network)
        return self.network


def pretrain(
    config: Config, seed: int, watch: Callable[[Step], None] = lambda step: None
) -> Pretrained:
    """Pre-train a model.

    Args:
        config: settings of the run.
        seed: root of its random streams; those of data, views and first weights do not depend on
            the representation network.
        watch: called after every batch.

    Raises:
        QmlbookError: if the images are neither here nor can be fetched.
    """
    model, known = models.Model(config, seed), pictures(config).train
    found, snapshots = [], {}
    for step in steps(config, seed, model, known):
        found.append(step.loss)
        if step.number in config.checkpoints:
            encoder = copy.deepcopy(model.encoder).eval().requires_grad_(False)
            state = {name: value.clone() for name, value in model.network.state_dict().items()}
            snapshots[step.number] = Snapshot(encoder, state)
        watch(step)
    return Pretrained(config, seed, model.network, found, snapshots)


# --- the linear probe ---


class Angles(NamedTuple):
    """What the encoder makes of all images: of views to train a probe with, and of test images."""

    train: list[Tensor]  # one (n, W) a pass
    test: Tensor


def encode(trained: Pretrained) -> dict[int, Angles]:
    """Return the angles of all images by all snapshots.

    The released probe draws new views in every epoch (linear_probe_simclr.py 348); here there
    are ``config.probe_passes`` of them, the same for all snapshots, kept and used in turn; with
    0 passes the images are taken as they are. That is what makes a probe cheap.
    """
    config, split = trained.config, pictures(trained.config)

    def plain(images: Tensor) -> Tensor:
        return normalise(images)

    def passing(number: int) -> Callable[[Tensor], Tensor]:
        rng = stream(trained.seed, "probe", "views", number)
        return lambda images: view(rng, images, config.probe_crop)

    looks = [passing(number) for number in range(config.probe_passes)] or [plain]
    train = [_angles(trained.snapshots, split.train, look, config.dtype) for look in looks]
    test = _angles(trained.snapshots, split.test, plain, config.dtype)
    return {n: Angles([angles[n] for angles in train], test[n]) for n in trained.snapshots}


@torch.no_grad()
def _angles(
    snapshots: Mapping[int, Snapshot], known: Pictures, look: Callable[[Tensor], Tensor], dtype: str
) -> dict[int, Tensor]:
    """Return the angles of images by all snapshots, looking at every image once."""
    parts: dict[int, list[Tensor]] = {number: [] for number in snapshots}
    for rows in torch.arange(len(known.labels)).split(CHUNK):
        seen = look(known.take(rows, dtype))
        for number, snapshot in snapshots.items():
            parts[number].append(snapshot.encoder(seen))
    return {number: torch.cat(found) for number, found in parts.items()}


def reader(network: nn.Module, angles: Tensor, rng: np.random.Generator) -> Callable[[], Tensor]:
    """Return a function that gives the features (n, W) of encoded images.

    Features that are estimated from shots are estimated anew at every call, as released.

    Args:
        network: representation network.
        angles: (n, W).
        rng: stream of the shots.
    """
    if getattr(network, "shots", None):
        known = network.probabilities(angles)
        return lambda: models.sample(known, network.shots, rng)
    with torch.no_grad():
        features = torch.cat([network(part) for part in angles.split(models.ROWS)])
    return lambda: features


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear classifier of features (B, W) and its best accuracy in %."""

    accuracy: float
    weight: Tensor
    bias: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Return the likeliest label (B,)."""
        return F.linear(features, self.weight, self.bias).argmax(-1)


def probe(trained: Pretrained, number: int, angles: Angles) -> Probe:
    """Train a linear classifier on the frozen features after ``number`` batches.

    Args:
        trained: the pre-trained model.
        number: which snapshot.
        angles: what its encoder made of the images.
    """
    config, split = trained.config, pictures(trained.config)
    network, shots = trained.at(number), stream(trained.seed, "shots", "probe", number)
    train = [reader(network, part, shots) for part in angles.train]
    test = reader(network, angles.test, shots)
    fit = {"adam": _adam, "logistic": _logistic}[config.probe]
    return fit(config, trained.seed, train, split.train.labels, test, split.test.labels)


Reader = Callable[[], Tensor]


def _judged(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor) -> Probe:
    correct = F.linear(features, weight, bias).argmax(-1) == labels
    return Probe(100 * correct.double().mean().item(), weight, bias)


def _adam(
    config: Config, seed: int, train: list[Reader], labels: Tensor, test: Reader, wanted: Tensor
) -> Probe:
    """Train as released and keep the epoch of best test accuracy (collect_data.py 38)."""
    classes = len(config.classes)
    layer = nn.Linear(config.width, classes, dtype=getattr(torch, config.dtype))
    models.initialise(layer, stream(seed, "probe", "init"))
    optimiser = torch.optim.Adam(layer.parameters(), 1e-3, weight_decay=1e-6, fused=True)
    shuffle, epochs = stream(seed, "probe", "batches"), []
    for epoch in range(config.probe_epochs):
        drops = sum(epoch >= config.probe_epochs * share for share in (0.6, 0.8))
        optimiser.param_groups[0]["lr"] = 1e-3 * 0.1**drops  # at epochs 60 and 80 of 100
        order = torch.from_numpy(shuffle.permutation(len(labels)))
        features = train[epoch % len(train)]()[order]
        for x, y in zip(features.split(256), labels[order].split(256), strict=True):
            optimiser.zero_grad()
            F.cross_entropy(layer(x), y).backward()
            optimiser.step()
        weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
        epochs.append(_judged(weight, bias, test(), wanted))
    return max(epochs, key=lambda found: found.accuracy)  # the first of equals


def _logistic(
    config: Config, seed: int, train: list[Reader], labels: Tensor, test: Reader, wanted: Tensor
) -> Probe:
    """Fit scikit-learn's logistic regression to standardised features, for small sets of images."""
    from sklearn.linear_model import LogisticRegression

    features = train[0]().double()
    mean, std = features.mean(0), features.std(0).clamp(min=1e-9)
    fitted = LogisticRegression(max_iter=1000).fit(((features - mean) / std).numpy(), labels)
    weight = torch.from_numpy(fitted.coef_) / std
    bias = torch.from_numpy(fitted.intercept_) - weight @ mean
    dtype = getattr(torch, config.dtype)
    return _judged(weight.to(dtype), bias.to(dtype), test(), wanted)
