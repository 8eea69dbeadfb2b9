"""Networks that are stored, a file each with its checksum; how large a network is."""

from pathlib import Path

from torch import Tensor
from torch.nn import Module

from ...base import files
from ...base.paths import cache_dir, data_root


def stored(paper: str) -> Path:
    """Return the folder of the networks that travel with the book."""
    return data_root() / "weights" / paper


def kept(paper: str) -> Path:
    """Return the folder of the user's cache for networks that may be stored later."""
    return cache_dir() / paper


def path(folder: Path, name: str, seed: int) -> Path:
    """Return the file of one network."""
    return folder / f"{name}-{seed}.safetensors"


def load(folder: Path, name: str, seed: int) -> dict[str, Tensor] | None:
    """Return the tensors of a network by name, ``None`` if it is not there.

    Raises:
        QmlbookError: if the file is not the one that was stored.
    """
    return files.load_tensors(path(folder, name, seed))


def save(tensors: dict[str, Tensor], folder: Path, name: str, seed: int) -> Path:
    """Store the tensors of a network with their checksum; return the file.

    Raises:
        WriteError: if it cannot be written.
    """
    return files.save_tensors(tensors, path(folder, name, seed))


def count_parameters(network: Module) -> int:
    """Return the number of trained numbers of a network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
