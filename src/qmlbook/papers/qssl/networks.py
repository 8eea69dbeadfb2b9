"""Networks of the hardware experiment: what is left of them behind the encoder.

An encoder has 11 million weights; the 900 images of a seed, once encoded, are 900 times eight
angles. Stored are these angles, the labels, the small network behind them and its linear probe, in
one safetensors file with its checksum beside it. So the experiment, on real hardware too, needs
neither the images nor the pre-training.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ...base.errors import require_choice
from ...base.rng import stream
from ..shared import weights
from . import models
from .config import DIGITS, PUBLISHED, Config
from .pictures import pictures
from .probes import Angles, Probe, encode, probe
from .training import Pretrained, pretrain

PAPER, NETWORK = "qssl", "network."  # folder of the files; what their parameters' names start with


@dataclass(frozen=True, eq=False)
class Encoded:
    """Encoded test images and what names them.

    Attributes:
        angles: (n, W) float32, radians.
        labels: (n,) int64.
        network: parameters of the representation network, by name.
        weight: (classes, W) of the linear probe.
        bias: (classes,) of the linear probe.
    """

    angles: Tensor
    labels: Tensor
    network: dict[str, Tensor]
    weight: Tensor
    bias: Tensor


def load(folder: Path, name: str, seed: int) -> Encoded | None:
    """Return a stored network, ``None`` if there is none.

    Raises:
        QmlbookError: if the file is not the one that was stored.
    """
    tensors = weights.load(folder, name, seed)
    if tensors is None:
        return None
    network = {key.removeprefix(NETWORK): tensors.pop(key) for key in [*tensors] if NETWORK in key}
    return Encoded(network=network, **tensors)


def save(encoded: Encoded, folder: Path, name: str, seed: int) -> Path:
    """Store a network with its checksum; return the file."""
    tensors = {f"{NETWORK}{key}": value for key, value in encoded.network.items()}
    for key in ("angles", "labels", "weight", "bias"):
        tensors[key] = getattr(encoded, key)
    return weights.save(tensors, folder, name, seed)


SHOTS = {"ring-100-shots": 100}  # networks that are trained with shots


def pretraining(network: str, dataset: str) -> Config:
    """Return the pre-training whose networks the hardware experiment takes."""
    template = replace(PUBLISHED, batches=176) if dataset == "cifar10" else DIGITS
    if network in SHOTS:
        return replace(template, shots=SHOTS[network])
    return replace(template, network=network)


STORED = {name: pretraining(name, "cifar10") for name in ("ring", "classical", *SHOTS)}


def some_encoded(
    trained: Pretrained, angles: Angles, judge: Probe, n: int = 900, number: int | None = None
) -> Encoded:
    """Return ``n`` test images, drawn by the seed, as the hardware experiment takes them.

    Args:
        trained: the pre-trained model.
        angles, judge: of the snapshot.
        n: number of images.
        number: of the snapshot; by default the last batch.
    """
    labels = pictures(trained.config).test.labels
    drawn = torch.from_numpy(stream(trained.seed, "hardware").permutation(len(labels))[:n])
    network = trained.at(number or trained.config.batches)
    state = {name: value.float() for name, value in network.state_dict().items()}
    return Encoded(
        angles.test[drawn].float(), labels[drawn], state, judge.weight.float(), judge.bias.float()
    )


def keep(trained: Pretrained, angles: Mapping[int, Angles], judges: Mapping[int, Probe]) -> None:
    """Leave a network of the hardware experiment in the cache, so that nobody trains it twice.

    What follows a snapshot, and which others there are, does not change it.
    """
    for name, wanted in STORED.items():
        number, config = wanted.batches, trained.config
        same = replace(config, batches=number, checkpoints=()) == replace(wanted, checkpoints=())
        if same and number in judges:
            encoded = some_encoded(trained, angles[number], judges[number], number=number)
            with suppress(OSError):  # a run does not fail for want of a cache
                save(encoded, weights.kept(PAPER), name, trained.seed)


@lru_cache(maxsize=8)
def network_after_training(network: str, dataset: str, seed: int) -> Encoded:
    """Return a network of the hardware experiment: stored, kept in the cache, or trained now.

    Raises:
        UsageError: if the network is not one of the experiment's.
        QmlbookError: if a stored file is damaged, or images are missing.
    """
    require_choice("network", network, STORED)
    if dataset == "cifar10":
        for folder in (weights.stored(PAPER), weights.kept(PAPER)):
            if encoded := load(folder, network, seed):
                return encoded
    config = pretraining(network, dataset)
    config = replace(config, checkpoints=(config.batches,))
    trained = pretrain(config, seed)
    angles = encode(trained)
    judges = probe(trained, angles)
    return some_encoded(trained, angles[config.batches], judges[config.batches])


def exact_features(encoded: Encoded, network: str = "ring", dataset: str = "cifar10") -> Tensor:
    """Return the exact outputs (n, W) of a stored network, float32."""
    settings = replace(pretraining(network, dataset), dtype="float32", shots=None)
    restored = models.representation(settings, 0).float()
    restored.load_state_dict(encoded.network)
    with torch.no_grad():
        return restored(encoded.angles)
