"""The linear probe that judges a pre-training (bjader/QSSL at f3eeba7, linear_probe_simclr.py)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...base.rng import stream
from ..shared.splits import spoil
from ..shared.training import descend, shuffled
from . import models
from .config import Config
from .pictures import Pictures, pictures
from .training import Pretrained, Snapshot
from .views import normalise, view

CHUNK = 256  # images encoded at once, few enough for the caches
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
    """A linear classifier of features (B, W) and its best accuracy in %.

    ``last`` is the accuracy after the last epoch, where a classifier is trained in epochs.
    """

    accuracy: float
    weight: Tensor
    bias: Tensor
    last: float | None = None

    def predict(self, features: Tensor) -> Tensor:
        """Return the likeliest label (B,)."""
        return self.scores(features).argmax(-1)

    def scores(self, features: Tensor) -> Tensor:
        """Return what is weighed against each other, (B, C)."""
        return F.linear(features, self.weight, self.bias)


def accuracies(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """Return the accuracies (K,) in % of K classifiers: (K, C, W), (K, C) and (K, n, W)."""
    return 100 * (_scores(weight, bias, features).argmax(-1) == labels).double().mean(-1)


def _scores(weight: Tensor, bias: Tensor, features: Tensor) -> Tensor:
    return torch.baddbmm(bias[:, None], features, weight.mT)


def probe(trained: Pretrained, angles: Mapping[int, Angles]) -> dict[int, Probe]:
    """Train a linear classifier on the frozen features of every snapshot.

    Args:
        trained: the pre-trained model.
        angles: what the encoders of the snapshots made of the images.

    Returns:
        The classifiers by number of batches.
    """
    config, split = trained.config, pictures(trained.config)
    train: list[list[Reader]] = [[] for _ in range(max(config.probe_passes, 1))]
    test: list[Reader] = []
    for number, seen in angles.items():
        network, shots = trained.at(number), stream(trained.seed, "shots", "probe", number)
        for readers, part in zip(train, seen.train, strict=True):
            readers.append(reader(network, part, shots))
        test.append(reader(network, seen.test, shots))
    fit = {"adam": fit_adam, "logistic": fit_logistic}[config.probe]
    known = spoil(split.train, config.spoiled, stream(trained.seed, "spoiled"))
    labels = known.labels, split.test.labels
    fitted = fit(config, trained.seed, [*map(together, train)], together(test), labels)
    return dict(zip(angles, fitted, strict=True))


def together(readers: list[Reader]) -> Reader:
    """Return a reader of the features (K, n, W) of K others."""
    return lambda: torch.stack([read() for read in readers])


def fit_adam(
    config: Config, seed: int, train: list[Reader], test: Reader, labels: Labels
) -> list[Probe]:
    """Train as released and keep the epoch of best test accuracy (collect_data.py 38).

    All snapshots are probed side by side. No classifier acts on another: the gradient of a sum is
    that of each, and Adam takes every number by itself.

    Args:
        config: settings of the run.
        seed: root of its random streams.
        train: readers of the training images, (K, n, W) of K snapshots, one an epoch in turn.
        test: reader of the test images.
        labels: of the training and of the test images.
    """
    (known, test_labels), shuffle = labels, stream(seed, "probe", "batches")
    layer = nn.Linear(config.features, len(config.classes), dtype=getattr(torch, config.dtype))
    models.initialise(layer, stream(seed, "probe", "init"))
    features = train[0]()
    number = len(features)
    trained = [torch.stack([p.detach()] * number).requires_grad_() for p in layer.parameters()]
    optimiser = torch.optim.Adam(trained, 1e-3, weight_decay=1e-6, fused=True)
    (weight, bias), kept = trained, [p.detach().clone() for p in trained]
    last, best = torch.zeros(number), torch.full((number,), -1.0)
    for epoch in range(config.probe_epochs):
        drops = sum(epoch >= config.probe_epochs * share for share in (0.6, 0.8))
        optimiser.param_groups[0]["lr"] = 1e-3 * 0.1**drops  # at epochs 60 and 80 of 100
        features = train[epoch % len(train)]() if epoch else features
        for batch in shuffled(shuffle, len(known), BATCH):
            scores = _scores(weight, bias, features[:, batch]).flatten(0, 1)
            descend(optimiser, number * F.cross_entropy(scores, known[batch].repeat(number)))
        with torch.no_grad():
            last = accuracies(weight, bias, test(), test_labels)
            for mine, now in zip(kept, trained, strict=True):
                mine[last > best] = now[last > best]
            best = last.maximum(best)
    rows = zip(best.tolist(), *kept, last.tolist(), strict=True)
    return [Probe(*row) for row in rows]


def fit_logistic(
    config: Config, seed: int, train: list[Reader], test: Reader, labels: Labels
) -> list[Probe]:
    """Fit scikit-learn's logistic regression to standardised features, for small sets of images.

    The arguments are those of `fit_adam`; only the first reader is used.
    """
    from sklearn.linear_model import LogisticRegression

    dtype, fitted = getattr(torch, config.dtype), []
    for features, seen in zip(train[0]().double(), test(), strict=True):
        mean, std = features.mean(0), features.std(0).clamp(min=1e-9)
        model = LogisticRegression(max_iter=1000).fit(((features - mean) / std).numpy(), labels[0])
        weight = torch.from_numpy(model.coef_) / std
        bias = torch.from_numpy(model.intercept_) - weight @ mean
        weight, bias = weight.to(dtype), bias.to(dtype)
        [right] = accuracies(weight[None], bias[None], seen[None], labels[1]).tolist()
        fitted.append(Probe(right, weight, bias))
    return fitted
