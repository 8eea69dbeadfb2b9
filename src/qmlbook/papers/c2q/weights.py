"""Stored source networks: one file each, in half precision.

Training one takes a minute and a half and ends elsewhere on another processor, because single
precision rounds differently; with the weights stored, every run of a head can be made again.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ...base import files
from ...base.paths import data_root


def folder() -> Path:
    """Return the folder of the stored networks."""
    return data_root() / "weights" / "c2q"


def path(width: int, seed: int) -> Path:
    """Return the file of one network."""
    return folder() / f"source-{width}-{seed}.safetensors"


def rounded(network: nn.Module, dtype: str = "float32") -> dict[str, Tensor]:
    """Return a copy of the weights as they are stored: half precision of single precision ones.

    Networks trained in double precision are not stored and stay as they are.
    """
    state = network.state_dict()
    if dtype != "float32":
        return {name: value.clone() for name, value in state.items()}
    return {
        name: value.half() if value.is_floating_point() else value.clone()
        for name, value in state.items()
    }


def load(width: int, seed: int) -> dict[str, Tensor] | None:
    """Return the stored weights of a network, ``None`` if there are none.

    Raises:
        QmlbookError: if the file is not the one that was stored.
    """
    return files.load_tensors(path(width, seed))


def save(state: dict[str, Tensor], width: int, seed: int) -> Path:
    """Store the weights of a network with their checksum; return the file."""
    return files.save_tensors(state, path(width, seed))
