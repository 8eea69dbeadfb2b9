"""Stored networks of the hardware experiment: what is left of them behind the encoder.

An encoder has 11 million weights; the 900 images of a seed, once encoded, are 900 times eight
angles. Stored are these angles, the labels, the small network behind them and its linear probe, in
one safetensors file with its checksum beside it. So the experiment, on real hardware too, needs
neither the images nor the pre-training.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ...base import files
from ...base.errors import choose
from ...base.paths import data_root
from ...base.rng import stream
from ...data import cache_dir
from . import models, training
from .config import DIGITS, PUBLISHED, Config, Hardware


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


def folder() -> Path:
    """Return the folder of the stored networks."""
    return data_root() / "weights" / "qssl"


def kept() -> Path:
    """Return the folder in the user's cache where pre-training leaves what may be stored later."""
    return cache_dir() / "qssl"


def path(where: Path, name: str, seed: int) -> Path:
    """Return the file of one network."""
    return where / f"{name}-{seed}.safetensors"


def load(where: Path, name: str, seed: int) -> Encoded | None:
    """Return a stored network, ``None`` if there is none.

    Raises:
        QmlbookError: if the file is not the one that was stored.
    """
    tensors = files.load_tensors(path(where, name, seed))
    if tensors is None:
        return None
    network = {key[8:]: value for key, value in tensors.items() if key.startswith("network.")}
    rest = {key: value for key, value in tensors.items() if not key.startswith("network.")}
    return Encoded(network=network, **rest)


def save(found: Encoded, where: Path, name: str, seed: int) -> Path:
    """Store a network with its checksum; return the file."""
    tensors = {f"network.{key}": value for key, value in found.network.items()}
    for key in ("angles", "labels", "weight", "bias"):
        tensors[key] = getattr(found, key)
    return files.save_tensors(tensors, path(where, name, seed))


def pretraining(network: str, dataset: str) -> Config:
    """Return the pre-training whose networks the hardware experiment takes."""
    template = replace(PUBLISHED, batches=176) if dataset == "cifar10" else DIGITS
    return replace(template, network=network)


STORED = {name: pretraining(name, "cifar10") for name in ("ring", "classical")}


def encoded(
    trained: training.Pretrained, angles: training.Angles, probe: training.Probe, n: int = 900
) -> Encoded:
    """Return ``n`` test images, drawn by the seed, as the hardware experiment takes them."""
    config, labels = trained.config, training.pictures(trained.config).test.labels
    rows = torch.from_numpy(stream(trained.seed, "hardware").permutation(len(labels))[:n])
    state = {name: value.float() for name, value in trained.at(config.batches).state_dict().items()}
    return Encoded(
        angles.test[rows].float(), labels[rows], state, probe.weight.float(), probe.bias.float()
    )


def keep(found: Encoded, config: Config, seed: int) -> None:
    """Leave a network of the hardware experiment in the cache, so that nobody trains it twice."""
    for name, wanted in STORED.items():
        if config == wanted:
            with suppress(OSError):  # a run does not fail for want of a cache
                save(found, kept(), name, seed)


@lru_cache(maxsize=8)
def network_after_training(network: str, dataset: str, seed: int) -> Encoded:
    """Return a network of the hardware experiment: stored, kept in the cache, or trained now.

    Raises:
        UsageError: if the network is not one of the experiment's.
        QmlbookError: if a stored file is damaged, or images are missing.
    """
    if network not in STORED:
        raise choose("network", network, STORED)
    if dataset == "cifar10":
        for where in (folder(), kept()):
            if found := load(where, network, seed):
                return found
    config = pretraining(network, dataset)
    config = replace(config, checkpoints=(config.batches,))
    trained = training.pretrain(config, seed)
    angles = training.encode(trained)[config.batches]
    return encoded(trained, angles, training.probe(trained, config.batches, angles))


def exact_features(found: Encoded, config: Hardware) -> Tensor:
    """Return the exact outputs (n, W) of a stored network."""
    settings = replace(pretraining(config.network, config.dataset), dtype="float32")
    network = models.representation(settings, 0).float()
    network.load_state_dict(found.network)
    with torch.no_grad():
        return network(found.angles)
