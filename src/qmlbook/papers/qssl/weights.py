"""Stored networks of the hardware experiment: what is left of them behind the encoder.

An encoder has 11 million weights; the 900 images of a seed, once encoded, are 900 times eight
angles. Stored are these angles, the labels, the small network behind them and its linear probe, in
one safetensors file with its checksum beside it. So the experiment, on real hardware too, needs
neither the images nor the pre-training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...base import files
from ...base.paths import data_root
from ...data import cache_dir


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
