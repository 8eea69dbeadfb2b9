"""The linear probe that judges a pre-training (bjader/QSSL at f3eeba7, linear_probe_simclr.py)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...base.rng import stream
from ..shared.training import descend, keep_best, shuffled
from . import models
from .config import Config
from .pictures import Pictures, pictures
from .training import Pretrained, Snapshot
from .views import normalise, view

CHUNK = 500  # images encoded at once
BATCH = 256  # features a step of the probe learns from

Reader = Callable[[], Tensor]  # returns the features (n, W) of the images
Labels = tuple[Tensor, Tensor]  # of the training and of the test images


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

    def passing(number: int) -> Callable[[Tensor], Tensor]:
        rng = stream(trained.seed, "probe", "views", number)
        return lambda images: view(rng, images, config.probe_crop)

    looks = [passing(number) for number in range(config.probe_passes)] or [normalise]
    train = [_angles(trained.snapshots, split.train, look, config.dtype) for look in looks]
    test = _angles(trained.snapshots, split.test, normalise, config.dtype)
    return {n: Angles([angles[n] for angles in train], test[n]) for n in trained.snapshots}


@torch.no_grad()
def _angles(
    snapshots: Mapping[int, Snapshot], known: Pictures, look: Callable[[Tensor], Tensor], dtype: str
) -> dict[int, Tensor]:
    """Return the angles of images by all snapshots, looking at every image once."""
    parts: dict[int, list[Tensor]] = {number: [] for number in snapshots}
    for index in torch.arange(len(known)).split(CHUNK):
        seen = look(known.scaled(index, dtype))
        for number, snapshot in snapshots.items():
            parts[number].append(snapshot.encoder(seen))
    return {number: torch.cat(angles) for number, angles in parts.items()}


def reader(network: nn.Module, angles: Tensor, rng: np.random.Generator) -> Reader:
    """Return a function that gives the features (n, W) of encoded images.

    Features that are estimated from shots are estimated anew at every call, as released.

    Args:
        network: representation network.
        angles: (n, W).
        rng: stream of the shots.
    """
    if isinstance(network, models.Circuit) and network.shots is not None:
        shots, chances = network.shots, network.probabilities(angles)
        return lambda: models.sample(chances, shots, rng)
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


def accuracy(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor) -> float:
    """Return the accuracy of a linear classifier in %."""
    right = F.linear(features, weight, bias).argmax(-1) == labels
    return 100 * right.double().mean().item()


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
    fit = {"adam": fit_adam, "logistic": fit_logistic}[config.probe]
    return fit(config, trained.seed, train, test, (split.train.labels, split.test.labels))


def fit_adam(config: Config, seed: int, train: list[Reader], test: Reader, labels: Labels) -> Probe:
    """Train as released and keep the epoch of best test accuracy (collect_data.py 38).

    Args:
        config: settings of the run.
        seed: root of its random streams.
        train: readers of the training images, one an epoch in turn.
        test: reader of the test images.
        labels: of the training and of the test images.
    """
    known, test_labels = labels
    layer = nn.Linear(config.width, len(config.classes), dtype=getattr(torch, config.dtype))
    models.initialise(layer, stream(seed, "probe", "init"))
    optimiser = torch.optim.Adam(layer.parameters(), 1e-3, weight_decay=1e-6, fused=True)
    shuffle = stream(seed, "probe", "batches")

    def epochs() -> Iterator[float]:
        for epoch in range(config.probe_epochs):
            drops = sum(epoch >= config.probe_epochs * share for share in (0.6, 0.8))
            optimiser.param_groups[0]["lr"] = 1e-3 * 0.1**drops  # at epochs 60 and 80 of 100
            features = train[epoch % len(train)]()
            for batch in shuffled(shuffle, len(known), BATCH):
                descend(optimiser, F.cross_entropy(layer(features[batch]), known[batch]))
            with torch.no_grad():
                yield -accuracy(layer.weight, layer.bias, test(), test_labels)

    best = -min(keep_best(layer, epochs()))
    return Probe(best, layer.weight.detach(), layer.bias.detach())


def fit_logistic(
    config: Config, seed: int, train: list[Reader], test: Reader, labels: Labels
) -> Probe:
    """Fit scikit-learn's logistic regression to standardised features, for small sets of images.

    The arguments are those of `fit_adam`; only the first reader is used.
    """
    from sklearn.linear_model import LogisticRegression

    (known, test_labels), features = labels, train[0]().double()
    mean, std = features.mean(0), features.std(0).clamp(min=1e-9)
    fitted = LogisticRegression(max_iter=1000).fit(((features - mean) / std).numpy(), known)
    weight = torch.from_numpy(fitted.coef_) / std
    bias = torch.from_numpy(fitted.intercept_) - weight @ mean
    dtype = getattr(torch, config.dtype)
    weight, bias = weight.to(dtype), bias.to(dtype)
    return Probe(accuracy(weight, bias, test(), test_labels), weight, bias)
