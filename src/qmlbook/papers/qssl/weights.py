"""Stored networks of the hardware experiment: what is left of them behind the encoder.

An encoder has 11 million weights; the 900 images of a seed, once encoded, are 900 times eight
angles. Stored are these angles, the labels, the small network behind them and its linear probe, in
one safetensors file with its checksum beside it. So the experiment, on real hardware too, needs
neither the images nor the pre-training.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...data import cache_dir
from ...errors import QmlbookError
from ...paths import data_root


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
    from safetensors.torch import load as parse

    file = path(where, name, seed)
    if not file.is_file():
        return None
    content, beside = file.read_bytes(), _checksum(file)
    if not beside.is_file() or beside.read_text("utf-8").split()[:1] != [_sha256(content)]:
        raise QmlbookError(
            f"{file} does not have the checksum in {beside.name} beside it: restore both, or "
            "remove the file to train the network anew."
        )
    tensors = parse(content)
    network = {key[8:]: value for key, value in tensors.items() if key.startswith("network.")}
    rest = {key: value for key, value in tensors.items() if not key.startswith("network.")}
    return Encoded(network=network, **rest)


def save(found: Encoded, where: Path, name: str, seed: int) -> Path:
    """Store a network with its checksum; return the file."""
    from safetensors.torch import save as pack

    tensors = {f"network.{key}": value for key, value in found.network.items()}
    for key in ("angles", "labels", "weight", "bias"):
        tensors[key] = getattr(found, key)
    content = pack({key: value.detach().contiguous() for key, value in tensors.items()})
    where.mkdir(parents=True, exist_ok=True)
    file = path(where, name, seed)
    _replace(_checksum(file), f"{_sha256(content)}  {file.name}\n".encode())
    _replace(file, content)
    return file


def _checksum(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _replace(where: Path, content: bytes) -> None:
    partial = where.with_name(f".{where.name}.{os.getpid()}")
    partial.write_bytes(content)
    os.replace(partial, where)
